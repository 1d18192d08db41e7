//! The page in a real browser and its JSON twins.

mod answers;
#[path = "../support/browser.rs"]
mod browser;
mod fixture;
mod guesses;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use browser::Browser;
use codeops::journal::{Log, Record};
use codeops::port::{Board, SystemClock};
use codeops::web::{Limits, Page, PageConfig, WebError, serve};
use codeops_core::desired::Diagnostic;
use codeops_core::model::{
    AlertId, AlertState, Fingerprint, Health, HoldId, InstanceHealth, Kept, PageEvent, PageId, Pin, RevisionState,
    RunEvent, RunId, Secret, Sync, Verb,
};
use codeops_core::plan::Difference;
use codeops_core::policy::Hold;
use fixture::{EVIL, GUESSED, SECRET, Served, ago, app, board, calm, line, name, revision};
use futures_util::StreamExt;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::support::site::codeops;

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirect = reqwest::redirect::Policy::none();
    Client::builder().no_proxy().redirect(redirect).timeout(Duration::from_secs(30)).build().expect("the page answers")
}

async fn get(served: &Served, path: &str) -> Response {
    client().get(served.url(path)).send().await.expect("the page answers")
}

async fn json(served: &Served, path: &str) -> Value {
    get(served, path).await.json().await.expect("the page answers")
}

#[tokio::test]
async fn every_json_answer_is_as_documented() {
    let served = Served::rich().await;
    let document = schema::openapi();
    let paths = [
        ("/api/v1/status", "/api/v1/status"),
        ("/api/v1/resources", "/api/v1/resources"),
        ("/api/v1/resources/app/shop", "/api/v1/resources/{kind}/{name}"),
        ("/api/v1/resources/app/batch", "/api/v1/resources/{kind}/{name}"),
        ("/api/v1/resources/app/shop/stats", "/api/v1/resources/{kind}/{name}/stats"),
        ("/api/v1/events", "/api/v1/events"),
        ("/api/v1/revisions", "/api/v1/revisions"),
        ("/api/v1/revisions/3f2a9c1", "/api/v1/revisions/{id}"),
        ("/api/v1/holds", "/api/v1/holds"),
        ("/api/v1/alerts", "/api/v1/alerts"),
        ("/api/v1/alerts?state=firing&limit=1", "/api/v1/alerts"),
        ("/api/v1/runs", "/api/v1/runs"),
        ("/api/v1/runs?state=waiting&playbook=app-down&target=app/shop", "/api/v1/runs"),
        ("/api/v1/runs/r2", "/api/v1/runs/{id}"),
        ("/api/v1/runs/r4", "/api/v1/runs/{id}"),
        ("/api/v1/runs/r5", "/api/v1/runs/{id}"),
        ("/api/v1/pages", "/api/v1/pages"),
        ("/api/v1/pages?run=r2", "/api/v1/pages"),
        ("/api/v1/pages/p1", "/api/v1/pages/{id}"),
        ("/api/v1/events?run=r2&category=run", "/api/v1/events"),
    ];
    for (path, documented) in paths {
        let answer = get(&served, path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let schema = schema::of_answer(&document, documented, "200", "application/json");
        let wrong = schema::mistakes(&document, schema, &answer.json().await.unwrap(), path);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    for path in [
        "/api/v1/resources/app/nobody",
        "/api/v1/resources/x/y",
        "/api/v1/runs/r99",
        "/api/v1/runs/99",
        "/api/v1/pages/p99",
        "/api/v1/alerts?state=running",
        "/api/v1/runs?state=firing",
        "/api/v1/runs?target=shop",
        "/api/v1/events?limit=0",
    ] {
        let answer = get(&served, path).await;
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json", "{path}");
        let schema = schema::of_answer(&document, "/readyz", "503", "application/problem+json");
        let wrong = schema::mistakes(&document, schema, &answer.json().await.unwrap(), path);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[tokio::test]
async fn plots_show_no_instance_that_is_gone() {
    let limits = Limits { sample: Duration::from_millis(20), ..Limits::default() };
    let served = Served::start(board(), PageConfig { limits, ..PageConfig::default() }).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let plotted = async |instance: &str| {
        let text = get(&served, "/apps/shop").await.text().await.expect("a page");
        text.contains(&format!("<title>{instance}</title>"))
    };
    let mut board = board();
    let shop = board.resources.values_mut().find(|view| view.id.name.as_str() == "shop").expect("it is there");
    let mut live = shop.live.as_deref().expect("it lives").clone();
    let (gone, stays) = (live.instances.remove(0), live.instances[0].clone());
    while !plotted(gone.id.as_str()).await {
        assert!(tokio::time::Instant::now() < deadline, "no points came");
    }
    Arc::make_mut(shop).live = Some(Arc::new(live));
    served.publisher.publish(board);
    assert!(!plotted(gone.id.as_str()).await && plotted(stays.id.as_str()).await);
}

#[tokio::test]
async fn stats_grow_and_are_as_documented() {
    let limits = Limits { sample: Duration::from_millis(20), ..Limits::default() };
    let served = Served::start(board(), PageConfig { limits, ..PageConfig::default() }).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let stats = loop {
        let stats = json(&served, "/api/v1/resources/app/shop/stats").await;
        if stats["instances"][1]["points"].as_array().is_some_and(|points| points.len() > 2) {
            break stats;
        }
        assert!(tokio::time::Instant::now() < deadline, "no points came: {stats}");
    };
    let document = schema::openapi();
    let wrong = schema::mistakes(&document, &document["components"]["schemas"]["Stats"], &stats, "stats");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(stats["instances"][1]["points"][0]["restarts"], 1);
}

#[test]
fn the_check_of_answers_finds_what_is_wrong() {
    let document = schema::openapi();
    let right = serde_json::json!({"type": "about:blank", "title": "x", "status": 1, "detail": "x"});
    let wrong = |change: fn(&mut Value)| {
        let mut value = right.clone();
        change(&mut value);
        schema::mistakes(&document, &document["components"]["schemas"]["Problem"], &value, "").len()
    };
    assert_eq!(wrong(|_| ()), 0);
    assert_eq!(wrong(|value| value["status"] = "1".into()), 1);
    assert_eq!(wrong(|value| value["more"] = 1.into()), 1);
    assert_eq!(wrong(|value| drop(value.as_object_mut().unwrap().remove("title"))), 1);
}

#[tokio::test]
async fn garbage_and_crowds_do_not_stop_the_page() {
    let limits = Limits { connections: 8, ..Limits::default() };
    let served = Served::start(board(), PageConfig { limits, ..PageConfig::default() }).await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(200_000));
    let heads = "X: y\r\n".repeat(5_000);
    let heads = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{heads}\r\n");
    let body = "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    for request in [
        long.as_str(),
        &heads,
        body,
        "\0\0\0\0\r\n\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ] {
        let mut stream = tokio::net::TcpStream::connect(served.address).await.unwrap();
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    let mut crowd = Vec::new();
    for _ in 0..8 {
        crowd.push(tokio::net::TcpStream::connect(served.address).await.unwrap());
    }
    // Nobody of the idle crowd keeps a reader out: the oldest of them goes.
    let answer = client().get(served.url("/healthz")).send().await.expect("one more is let in");
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(matches!(crowd[0].read(&mut [0; 1]).await, Ok(0) | Err(_)), "the one that was idle longest is let go");
    drop(crowd);
}

#[tokio::test]
async fn every_page_has_a_json_twin_at_its_own_path() {
    let served = Served::rich().await;
    let twins = [
        ("/apps/shop", "/api/v1/resources/app/shop"),
        ("/events", "/api/v1/events"),
        ("/revisions", "/api/v1/revisions"),
        ("/revisions/3f2a9c1", "/api/v1/revisions/3f2a9c1"),
        ("/holds", "/api/v1/holds"),
        ("/alerts?state=firing", "/api/v1/alerts?state=firing"),
        ("/runs", "/api/v1/runs"),
        ("/runs/r2", "/api/v1/runs/r2"),
    ];
    for (page, twin) in twins {
        let answer = client().get(served.url(page)).header(ACCEPT, "application/json").send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap(), json(&served, twin).await, "{page}");
    }
    let status = client().get(served.url("/")).header(ACCEPT, "application/json").send().await.unwrap();
    let status: Value = status.json().await.unwrap();
    assert_eq!(
        status["headline"],
        "1 degraded, 1 held, 1 unknown, 1 in progress of 20; 3 alerts fire, 1 of them kept quiet"
    );
}

#[tokio::test]
async fn texts_from_outside_never_become_markup() {
    let served = Served::rich().await;
    for path in [
        "/",
        "/apps/shop",
        "/apps/pricing",
        "/revisions",
        "/revisions/2f2a9c1",
        "/events",
        "/holds",
        "/alerts",
        "/runs",
        "/runs/r2",
        "/runs/r5",
    ] {
        let answer = get(&served, path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains("<script>document"), "{path}");
        assert!(!text.contains("<img"), "{path}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{path}");
    }
    let page = get(&served, "/events?resource=%22%3E%3Cscript%3E").await;
    assert_eq!(page.status(), StatusCode::BAD_REQUEST);
    let lines = get(&served, "/api/v1/resources/app/shop/logs?tail=1").await.text().await.unwrap();
    assert!(lines.contains("\u{241b}[2J") && !lines.contains('\u{1b}'), "{lines}");
    assert!(EVIL.contains('\u{1b}'));
}

#[tokio::test]
async fn only_reading_is_possible_and_only_under_a_known_name() {
    let served = Served::rich().await;
    let posted = client().post(served.url("/api/v1/resources")).send().await.unwrap();
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(posted.headers()["allow"], "GET, HEAD");
    for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""] {
        let answer = client().get(served.url("/")).header(HOST, host).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    for host in ["localhost", "localhost:9", "127.0.0.1", "[::1]:80"] {
        let answer = client().get(served.url("/healthz")).header(HOST, host).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{host}");
    }
    let answer = get(&served, "/").await;
    let headers = answer.headers();
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    let head = client().head(served.url("/")).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_page_that_does_not_exist_says_so_in_the_readers_form() {
    let served = Served::rich().await;
    let page = client().get(served.url("/apps/nobody")).header(ACCEPT, "text/html").send().await.unwrap();
    assert_eq!(page.status(), StatusCode::NOT_FOUND);
    assert!(page.text().await.unwrap().contains("app/nobody is neither declared nor alive"));
    assert_eq!(json(&served, "/api/v1/nothing").await["status"], 404);
}

#[tokio::test]
async fn with_a_token_only_its_bearer_looks() {
    let config = PageConfig { token: Some(Secret::new("open sesame".to_owned())), ..PageConfig::default() };
    let served = Served::start(board(), config).await;
    for path in ["/", "/metrics", "/api/v1/resources", "/api/v1/stream", "/?token=wrong"] {
        let answer = get(&served, path).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(!answer.text().await.unwrap().contains("shop"), "{path}");
    }
    assert_eq!(get(&served, "/healthz").await.status(), StatusCode::OK);
    let bearer = client().get(served.url("/metrics")).header(AUTHORIZATION, "Bearer open sesame").send().await.unwrap();
    assert_eq!(bearer.status(), StatusCode::OK);

    // A cookie goes to every port of its host, and on loopback others listen: the page has a name of its own there.
    let moved = get(&served, "//apps/shop?token=open%20sesame").await;
    assert_eq!((moved.status(), moved.headers().get(SET_COOKIE)), (StatusCode::SEE_OTHER, None));
    let there = moved.headers()[LOCATION].to_str().unwrap().to_owned();
    let (authority, path) = there.strip_prefix("//").unwrap().split_once('/').unwrap();
    let host = authority.strip_suffix(&format!(":{}", served.address.port())).unwrap();
    assert!(host.starts_with("codeops-") && host.ends_with(".localhost") && !there.contains("sesame"), "{there}");
    let at = async |host: &str, path: &str, cookie: &str| {
        client().get(served.url(path)).header(HOST, host).header(COOKIE, cookie).send().await.unwrap()
    };
    let welcome = at(authority, &format!("/{path}"), "").await;
    assert_eq!(
        (welcome.status(), &welcome.headers()[LOCATION]),
        (StatusCode::SEE_OTHER, &"/apps/shop".parse().unwrap())
    );
    let cookie = welcome.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("sesame"), "{cookie}");
    assert!(cookie.contains("Max-Age=43200") && !cookie.contains("Domain"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(at(authority, "/apps/shop", pair).await.status(), StatusCode::OK);
    // The way there is no cookie, a name that anybody could guess is none of the page's, and elsewhere the way leads nowhere.
    let ticket = path.split_once("ticket=").unwrap().1;
    assert_eq!(at(authority, "/", &format!("codeops={ticket}")).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(at("codeops.localhost", "/healthz", "").await.status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(at("localhost", &format!("/{path}"), "").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_name_of_the_settings_is_the_pages_own() {
    let token = Some(Secret::new("open sesame".to_owned()));
    let config = PageConfig { token, hosts: vec!["ops.acme.example".to_owned()], ..PageConfig::default() };
    let served = Served::start(board(), config).await;
    let asked = client().get(served.url("/?token=open%20sesame")).header(HOST, "ops.acme.example");
    let welcome = asked.send().await.unwrap();
    assert_eq!(welcome.headers()[LOCATION], "/");
    assert!(welcome.headers().contains_key(SET_COOKIE));
}

#[tokio::test]
async fn a_browser_that_has_shown_the_token_tells_other_ports_nothing() {
    let Some(browser) = Browser::start().await else { return };
    let config = PageConfig { token: Some(Secret::new("open sesame".to_owned())), ..PageConfig::default() };
    let served = Served::start(board(), config).await;
    browser.open(&served.url("/?token=open%20sesame")).await;
    browser.until("return document.getElementById('live').textContent === 'Live.'").await;
    assert_eq!(browser.run("return location.search").await, "");
    // What listens beside it on this machine.
    let (told, mut heads) = tokio::sync::mpsc::unbounded_channel();
    let seen = move |headers: axum::http::HeaderMap| {
        let told = told.clone();
        async move { drop(told.send(headers)) }
    };
    let app = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = app.local_addr().unwrap().port();
    let mut apps = tokio::task::JoinSet::new();
    apps.spawn(async move { axum::serve(app, axum::Router::new().fallback(seen)).await });
    for host in ["127.0.0.1", "localhost", "codeops.localhost"] {
        browser.open(&format!("http://{host}:{port}/")).await;
        let headers = heads.recv().await.unwrap();
        assert!(headers[HOST].to_str().unwrap().ends_with(&format!(":{port}")) && !headers.contains_key(COOKIE));
    }
}

#[tokio::test]
async fn beyond_loopback_a_token_is_needed() {
    let served = Served::start(board(), PageConfig::default()).await;
    let (_, watcher) = codeops::port::Publisher::new();
    let page = Page {
        watcher,
        journal: codeops::journal::Reader::new(Arc::clone(&served.log) as Arc<dyn Log>),
        observers: Default::default(),
        redact: Arc::new(|_, text| text.to_owned()),
        receivers: Default::default(),
        clock: Arc::new(SystemClock),
        vitals: codeops::port::Vitals::default(),
        counters: Default::default(),
        settings: Default::default(),
        config: PageConfig::default(),
    };
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = serve(listener, page, CancellationToken::new()).await;
    assert!(matches!(refused, Err(WebError::TokenNeeded(_))), "{refused:?}");
}

#[tokio::test]
async fn lists_are_read_in_pages_without_gap_or_repetition() {
    let served = Served::rich().await;
    for path in ["/api/v1/events", "/api/v1/revisions", "/api/v1/alerts", "/api/v1/runs", "/api/v1/pages"] {
        let whole: Vec<Value> = json(&served, path).await["items"].as_array().unwrap().clone();
        let (mut pieces, mut after) = (Vec::new(), String::new());
        loop {
            let page = json(&served, &format!("{path}?limit=2{after}")).await;
            pieces.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(pieces, whole, "{path}");
    }
    let drift = json(&served, "/api/v1/events?category=drift&resource=app/cart").await;
    assert_eq!(drift["items"].as_array().unwrap().len(), 1);
    for bad in ["limit=1001", "limit=x", "after=x", "category=x", "resource=x", "limt=3"] {
        let answer = get(&served, &format!("/api/v1/events?{bad}")).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{bad}");
        let told = answer.text().await.unwrap();
        assert!(bad != "limt=3" || told.contains("`limt`") && told.contains("`limit`"), "{told}");
    }
}

#[tokio::test]
async fn a_revision_tells_what_it_changed() {
    let served = Served::rich().await;
    let revisions = json(&served, "/api/v1/revisions").await;
    let states: Vec<&str> =
        revisions["items"].as_array().unwrap().iter().map(|item| item["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["applying", "applied", "partial"]);
    let one = json(&served, &format!("/api/v1/revisions/{}", revision('2'))).await;
    let ids: Vec<&str> =
        one["changes"].as_array().unwrap().iter().map(|change| change["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["app/shop", "app/pricing"]);
    assert_eq!(one["changes"][0]["steps"][0]["outcome"], "done: listening on 127.0.0.1:8080");
}

#[tokio::test]
async fn a_revision_that_has_not_come_to_a_step_is_not_said_to_need_none() {
    let served = Served::start(board(), PageConfig::default()).await;
    let accepted = Record::RevisionAccepted {
        revision: revision('4'),
        owner: "acme-ops/prod".parse().unwrap(),
        commits: Vec::new(),
        blast_percent: 25,
        files: [].into(),
        by_file: [].into(),
        gone: [].into(),
        claims: [].into(),
        changed: [].into(),
        asked: [].into(),
    };
    served.log.add(ago(10), accepted);
    let of = async |path: &str| get(&served, path).await.text().await.unwrap();
    let one = format!("/revisions/{}", revision('4'));
    let (list, alone) = (of("/revisions").await, of(&one).await);
    assert!(list.contains("nothing changed yet") && !list.contains("changed nothing"), "{list}");
    assert!(alone.contains("No step has been taken yet.") && !alone.contains("No step was needed"), "{alone}");
    let state = RevisionState::Applied;
    served.log.add(ago(5), Record::RevisionState { revision: revision('4'), state, why: None });
    assert!(of("/revisions").await.contains("changed nothing"));
    assert!(of(&one).await.contains("No step was needed."));
}

#[tokio::test]
async fn what_monitoring_was_asked_is_told_with_whom_and_its_answer() {
    let served = Served::start(board(), PageConfig::default()).await;
    let labels = [("alertname".to_owned(), "AppDown".to_owned())].into();
    let alert = AlertId { source: "main".parse().unwrap(), fingerprint: Fingerprint::of(&labels), starts_at: ago(60) };
    for state in [AlertState::Resolved, AlertState::Unknown] {
        let event = RunEvent::Asked { alert: alert.clone(), state };
        served.log.add(ago(10), Record::Run { run: RunId(1), resource: None, event });
    }
    let told = json(&served, "/api/v1/events").await.to_string();
    let asked = format!("asked main, which told of alert {}, whether it still fires: ", alert.fingerprint);
    for answer in ["it does not: it is over, or not among those that fire", "there was no answer"] {
        assert!(told.contains(&format!("{asked}{answer}")), "{told}");
    }
}

#[tokio::test]
async fn ready_only_after_a_first_pass_and_while_nothing_is_broken() {
    let served = Served::start(Board::default(), PageConfig::default()).await;
    assert_eq!(get(&served, "/healthz").await.status(), StatusCode::OK);
    assert_eq!(get(&served, "/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    served.publisher.publish(board());
    assert_eq!(get(&served, "/readyz").await.status(), StatusCode::OK);
    served.publisher.publish(Board { broken: Some("the disk is full".to_owned()), ..board() });
    let answer = get(&served, "/readyz").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json::<Value>().await.unwrap()["detail"], "the disk is full");
}

#[tokio::test]
async fn a_worker_that_stands_still_is_named_and_later_only_a_restart_helps() {
    let served = Served::start(board(), PageConfig::default()).await;
    let mut dog = codeops::port::Watchdog::new(served.vitals.clone());
    served.vitals.respond.works();
    let statuses = async || (get(&served, "/readyz").await.status(), get(&served, "/healthz").await.status());
    let mut looks = |times: u32| (0..times).filter_map(|_| dog.look()).last();
    assert!(looks(13).is_some());
    assert_eq!(statuses().await, (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK));
    let detail = json(&served, "/readyz").await["detail"].to_string();
    assert!(detail.contains("respond has made no progress for 60 s"), "{detail}");
    let metrics = get(&served, "/metrics").await.text().await.unwrap();
    assert!(metrics.contains("codeops_worker_stuck{worker=\"respond\"} 1"), "{metrics}");
    assert!(metrics.contains("codeops_ready 0"), "{metrics}");
    assert!(looks(12).is_some());
    assert_eq!(statuses().await, (StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE));
    served.vitals.respond.rests();
    assert_eq!(looks(1), None);
    assert_eq!(statuses().await, (StatusCode::OK, StatusCode::OK));
}

#[tokio::test]
async fn logs_before_the_first_start_say_that_nothing_has_started() {
    let mut young = board();
    let shop = Arc::make_mut(young.resources.get_mut(&app("shop")).unwrap());
    (shop.live, shop.health) = (None, Health::Missing);
    let served = Served::start(young, PageConfig::default()).await;
    let answer = get(&served, "/api/v1/resources/app/shop/logs").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["detail"], "no instance of app/shop has started yet, so it has no log");
    let page = get(&served, "/apps/shop").await.text().await.unwrap();
    assert!(page.contains("no instance of app/shop has started yet"), "the page says so too");
}

#[tokio::test]
async fn an_event_says_what_was_done_and_how_it_ended() {
    let served = Served::rich().await;
    let events = json(&served, "/api/v1/events").await;
    let texts: Vec<&str> = events["items"].as_array().unwrap().iter().filter_map(|it| it["text"].as_str()).collect();
    assert!(texts.contains(&"start 9f86d081-1: done: listening on 127.0.0.1:8080"), "{texts:#?}");
    assert!(!texts.iter().any(|text| text.starts_with("step ")), "{texts:#?}");
    for named in ["run r5 step look done", "run r2 otherwise step call begun"] {
        assert!(texts.contains(&named), "{named} is not in {texts:#?}");
    }
}

#[tokio::test]
async fn what_is_not_known_is_not_said_to_run_nowhere() {
    let mut board = board();
    Arc::make_mut(board.resources.get_mut(&app("mail")).expect("it is there")).live = None;
    let served = Served::start(board, PageConfig::default()).await;
    let page = get(&served, "/apps/mail").await.text().await.expect("text");
    assert!(page.contains("It is not known whether any runs.") && !page.contains("None runs."), "{page}");
}

#[tokio::test]
async fn a_trial_and_a_pinned_check_are_called_so() {
    let served = Served::start(board(), PageConfig::default()).await;
    let mut board = board();
    let shop = Arc::make_mut(board.resources.get_mut(&app("shop")).expect("it is there"));
    let mut live = shop.live.as_deref().expect("it lives").clone();
    (live.instances[0].health, live.instances[0].on_trial) = (InstanceHealth::Starting, true);
    shop.live = Some(Arc::new(live));
    let (template, pin) = shop.pins.first_key_value().expect("it is pinned");
    let (template, pin) = (template.clone(), Pin { check_only: true, ..pin.clone() });
    shop.pins.insert(template.clone(), pin.clone());
    served.log.add(ago(5), Record::Pinned { resource: app("shop"), template, pin });
    served.publisher.publish(board);

    let shop = json(&served, "/api/v1/resources/app/shop").await;
    assert_eq!((&shop["instances"][0]["on_trial"], &shop["instances"][1]["on_trial"]), (&true.into(), &false.into()));
    assert_eq!(shop["pins"][0]["what"], "check");
    let page = get(&served, "/apps/shop").await.text().await.expect("a page");
    assert!(page.contains("running, starting, on trial") && page.contains("which is good, is pinned"), "{page}");
    let events = json(&served, "/api/v1/events?resource=app/shop&limit=1").await;
    let told = events["items"][0]["text"].as_str().expect("a text");
    assert!(told.starts_with("check pinned: ") && told.ends_with(" is good and stays"), "{told}");
    let server = served.url("");
    let got = tokio::task::spawn_blocking(move || codeops().args(["get", "app/shop", "--server", &server]).output());
    let got = String::from_utf8(got.await.expect("it ends").expect("it runs").stdout).expect("text");
    assert!(got.contains("starting, on trial"), "{got}");
}

#[tokio::test]
async fn settings_that_cannot_be_used_and_a_tip_that_is_not_followed_are_told() {
    let mut held = board();
    held.source.held = Some("it is not signed".to_owned());
    let served = Served::start(held, PageConfig::default()).await;
    let metrics = async || get(&served, "/metrics").await.text().await.unwrap();
    let before = metrics().await;
    assert!(before.contains("codeops_source_held 1") && before.contains("last_reload_successful 1"), "{before}");
    let status = json(&served, "/api/v1/status").await;
    assert!(status["headline"].as_str().unwrap().contains("new commits are not followed"), "{status}");
    assert_eq!(status["settings_error"], Value::Null);

    served.settings.refused(format!("line 3: unknown field, near {SECRET}"));
    assert!(metrics().await.contains("codeops_settings_last_reload_successful 0"));
    let told = json(&served, "/api/v1/status").await;
    assert_eq!(told["settings_error"], "line 3: unknown field, near ***");
    let page = client().get(served.url("/")).header(ACCEPT, "text/html").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("cannot be used; the settings in force stay"), "{page}");
    served.settings.taken();
    assert!(metrics().await.contains("codeops_settings_last_reload_successful 1"));
}

#[tokio::test]
async fn metrics_tell_how_things_stand_and_no_more() {
    let served = Served::rich().await;
    let plain = get(&served, "/metrics").await;
    assert_eq!(plain.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    let plain = plain.text().await.unwrap();
    for line in plain.lines().filter(|line| !line.starts_with('#')) {
        let sample = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.strip_suffix(end)).unwrap_or(sample);
        for word in ["HELP", "TYPE"] {
            assert!(plain.contains(&format!("# {word} {family} ")), "{sample} has no {word} in\n{plain}");
        }
    }
    assert!(!plain.contains("# EOF"));
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3";
    let answer = client().get(served.url("/metrics")).header(ACCEPT, accept).send().await.unwrap();
    assert!(answer.headers()[CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = answer.text().await.unwrap();
    let shop = "codeops_resource_info{id=\"app/shop\",team=\"storefront\",provider=\"local\",sync=\"OutOfSync\",health=\"Progressing\"} 1";
    for part in [
        shop,
        "codeops_holds 1",
        "codeops_provider_up{provider=\"edge\",kind=\"process\"} 0",
        "codeops_restarts_total",
        "codeops_reconcile_duration_seconds_bucket",
        "process_resident_memory_bytes",
        "# EOF\n",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("GREETING") && !text.contains("sesame"));
}

/// The samples of all counters.
async fn counts(served: &Served) -> BTreeMap<String, f64> {
    let text = get(served, "/metrics").await.text().await.expect("a body");
    let is_count = |name: &str| name.contains("_total") || name.contains("_count") || name.contains("_bucket");
    let sample =
        |line: &str| line.rsplit_once(' ').map(|(name, value)| (name.to_owned(), value.parse().expect("a number")));
    let all = text.lines().filter(|line| !line.starts_with('#')).filter_map(sample);
    all.filter(|(name, _)| is_count(name) && name.starts_with("codeops_")).collect()
}

#[tokio::test]
async fn no_counter_goes_back_when_settings_are_taken_over() {
    let served = Served::start(board(), PageConfig::default()).await;
    let withdraw = |log: &fixture::MemoryLog, page: u64| {
        let event = PageEvent::Withdrawn { why: "over".to_owned() };
        log.add(ago(0), Record::Page { page: PageId(page), event })
    };
    let (withdrawn, restarts) =
        ("codeops_pages_total{outcome=\"withdrawn\"}", "codeops_restarts_total{id=\"app/shop\"}");
    let (deadline, mut page) = (tokio::time::Instant::now() + Duration::from_secs(20), 900);
    let before = loop {
        withdraw(&served.log, page);
        page += 1;
        let now = counts(&served).await;
        if now[withdrawn] > 0.0 && now.get(restarts).is_some_and(|count| *count > 0.0) {
            break now;
        }
        assert!(tokio::time::Instant::now() < deadline, "{now:?}");
    };
    let (log, counters) = (Arc::clone(&served.log), served.counters.clone());
    served.end().await;
    // What is written between two lives counts as well.
    withdraw(&log, page);
    let served = Served::on(Board::default(), PageConfig::default(), log, counters).await;
    let all = async |what: &str, least: f64| loop {
        let now = counts(&served).await;
        let back: Vec<_> = before.iter().filter(|(name, count)| now.get(*name).is_none_or(|now| now < count)).collect();
        assert!(back.is_empty(), "{back:?} went back: {now:?}");
        if now[what] >= least {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{now:?}");
    };
    all(withdrawn, before[withdrawn] + 1.0).await;
    served.publisher.publish(board());
    tokio::time::sleep(Duration::from_millis(100)).await;
    all(restarts, before[restarts]).await;
    assert_eq!(counts(&served).await[restarts], before[restarts], "no restart is counted twice");
}

/// Whether a stream is let in; the answer is kept open by the caller.
async fn stream(served: &Served) -> Response {
    client().get(served.url("/api/v1/stream")).timeout(Duration::from_secs(60)).send().await.expect("the page answers")
}

#[tokio::test]
async fn a_stream_tells_of_boards_and_events() {
    let served = Served::rich().await;
    let mut body = stream(&served).await.bytes_stream();
    let mut seen = String::new();
    for (part, then) in [("1 degraded", 0), ("20 of 20 in sync and healthy", 1), ("hello there", 2)] {
        match then {
            1 => served.publisher.publish(calm()),
            2 => drop(served.log.add(ago(0), Record::Note { resource: None, text: "hello there".to_owned() })),
            _ => {}
        }
        while !seen.contains(part) {
            seen.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
        }
    }
    let document = schema::openapi();
    for message in seen.split("\n\n").filter(|message| message.contains("data:")) {
        let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let schema = &document["components"]["schemas"][if field("event:") == "board" { "Glance" } else { "Event" }];
        let Ok(data) = serde_json::from_str(field("data:")) else { continue };
        let wrong = schema::mistakes(&document, schema, &data, "data");
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    served.end().await;
    while body.next().await.is_some_and(|piece| piece.is_ok()) {}
}

#[tokio::test]
async fn streams_are_limited_and_a_slow_reader_loses_its_own() {
    let limits = Limits { stall: Duration::from_millis(200), streams_of_one_peer: 64, ..Limits::default() };
    let served = Served::start(board(), PageConfig { limits, ..PageConfig::default() }).await;
    let mut open = Vec::new();
    for _ in 0..63 {
        open.push(stream(&served).await);
    }
    // The 64th never reads what it asked for.
    let mut slow = tokio::net::TcpStream::connect(served.address).await.unwrap();
    slow.write_all(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let streams = async || get(&served, "/metrics").await.text().await.unwrap();
    while !streams().await.contains("codeops_streams 64\n") {
        tokio::task::yield_now().await;
    }
    assert_eq!(stream(&served).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(open.split_off(1));
    // Events flow until the slow reader's buffers are full; one that reads keeps its stream.
    let mut reading = open.pop().unwrap().bytes_stream();
    let (deadline, text) = (tokio::time::Instant::now() + Duration::from_secs(60), "x".repeat(60_000));
    while !streams().await.contains("codeops_streams 1\n") {
        assert!(tokio::time::Instant::now() < deadline, "the slow reader was never dropped");
        for _ in 0..8 {
            served.log.add(ago(0), Record::Note { resource: None, text: text.clone() });
            tokio::time::timeout(Duration::from_secs(5), reading.next()).await.unwrap().unwrap().unwrap();
        }
    }
    drop(slow);
}

#[tokio::test]
async fn answers_that_are_not_read_hold_so_much_memory_and_no_more() {
    let limits = Limits { unread: 3 << 19, unread_of_one_peer: 3 << 19, ..Limits::default() };
    let limits = Limits { stall: Duration::from_secs(2), ..limits };
    let served = Served::start(board(), PageConfig { limits, ..PageConfig::default() }).await;
    for _ in 0..20 {
        served.log.add(ago(0), Record::Note { resource: None, text: "x".repeat(50_000) });
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = socket.connect(served.address).await.unwrap();
    slow.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(slow.read(&mut [0; 16]).await.unwrap(), 16, "it is under way");
    let refused = get(&served, "/api/v1/events").await;
    assert_eq!(
        (refused.status(), &refused.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"10".parse().unwrap())
    );
    let text = refused.text().await.unwrap();
    assert!(text.contains("too many answers are not read yet"), "{text}");
    let page = client().get(served.url("/events")).header(ACCEPT, "text/html").send().await.unwrap();
    assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE);
    for small in ["/healthz", "/api/v1/events?limit=0", "/api/v1/holds"] {
        assert_ne!(get(&served, small).await.status(), StatusCode::SERVICE_UNAVAILABLE, "{small}");
    }
    // The slow reader is cut, and what it held is free.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while get(&served, "/api/v1/events").await.status() != StatusCode::OK {
        assert!(tokio::time::Instant::now() < deadline, "there is room again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(slow);
}

#[tokio::test]
async fn kept_log_lines_are_read_by_so_many_at_a_time_and_for_so_long() {
    let logs = async |limits: Limits| {
        let served = Served::start(board(), PageConfig { limits, ..PageConfig::default() }).await;
        let answer = client().get(served.url("/api/v1/resources/app/shop/logs")).send().await.ok()?;
        let (status, wait) = (answer.status(), answer.headers().get("retry-after").is_some());
        answer.text().await.ok().map(|_| (status, wait))
    };
    assert_eq!(logs(Limits::default()).await, Some((StatusCode::OK, false)));
    let full = Limits { reads: 0, ..Limits::default() };
    assert_eq!(logs(full).await, Some((StatusCode::SERVICE_UNAVAILABLE, true)));
    let full = Limits { reads_of_one_peer: 0, ..Limits::default() };
    assert_eq!(logs(full).await, Some((StatusCode::SERVICE_UNAVAILABLE, true)));
    // Too late: it breaks off, so that nobody takes it for the whole.
    let late = Limits { read: Duration::ZERO, ..Limits::default() };
    assert_eq!(logs(late).await, None);
}

#[tokio::test]
async fn one_address_does_not_take_the_streams_of_all() {
    let served = Served::rich().await;
    let from = |last: u8| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = IpAddr::from([127, 0, 0, last]);
        let client = Client::builder().no_proxy().local_address(address).timeout(Duration::from_secs(60));
        let asked = client.build().expect("a client").get(served.url("/api/v1/stream"));
        async move { asked.send().await.expect("the page answers") }
    };
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(from(1).await);
    }
    assert!(
        open.iter().all(|answer| answer.status() == StatusCode::OK),
        "a page in several tabs, and who follows logs"
    );
    let refused = from(1).await;
    assert_eq!(
        (refused.status(), &refused.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"10".parse().unwrap())
    );
    let text = refused.text().await.unwrap();
    assert!(text.contains("16 streams of your address are open already"), "{text}");
    let log = client().get(served.url("/api/v1/resources/app/shop/logs?follow=true")).send().await.unwrap();
    assert_eq!(log.status(), StatusCode::SERVICE_UNAVAILABLE, "followed logs count, too");
    assert_eq!(from(2).await.status(), StatusCode::OK, "another has its own");
    open.pop();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while from(1).await.status() != StatusCode::OK {
        assert!(tokio::time::Instant::now() < deadline, "there is room again");
    }
}

#[tokio::test]
async fn logs_come_as_text_lines_or_events_and_follow() {
    let served = Served::rich().await;
    let logs = |accept: &'static str, query: &str| {
        client().get(served.url(&format!("/api/v1/resources/app/shop/logs{query}"))).header(ACCEPT, accept).send()
    };
    let text = logs("text/plain", "?tail=3").await.unwrap().text().await.unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    let lines = logs("application/x-ndjson", "?tail=2").await.unwrap().text().await.unwrap();
    let document = schema::openapi();
    for line in lines.lines() {
        let schema = &document["components"]["schemas"]["LogLine"];
        let wrong = schema::mistakes(&document, schema, &serde_json::from_str(line).unwrap(), "line");
        assert!(wrong.is_empty(), "{wrong:?}");
    }
    let mut following = logs("text/event-stream", "?tail=1&follow=true").await.unwrap().bytes_stream();
    let mut seen = String::new();
    while !seen.contains("a new line") {
        let _ = served.reading.lines.send(line("a new line"));
        seen.push_str(std::str::from_utf8(&following.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(seen.contains("event: line"), "{seen}");
    for follow in [false, true] {
        let url = format!("/api/v1/resources/app/shop/logs?instance=0000beef-7&follow={follow}");
        let answer = get(&served, &url).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let text = answer.text().await.unwrap();
        assert!(text.contains("app/shop has no instance 0000beef-7, and keeps no line of one"), "{text}");
    }
    let unreachable = get(&served, "/api/v1/resources/app/mail/logs").await;
    assert_eq!(unreachable.status(), StatusCode::BAD_GATEWAY);
    let bad = get(&served, "/api/v1/resources/app/shop/logs?tail=many").await;
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_secret_leaves_in_no_answer_whoever_wrote_it() {
    let mut shown = board();
    let shop = Arc::make_mut(shown.resources.get_mut(&app("shop")).expect("it is there"));
    shop.why = Some(format!("its log ends with `key {SECRET}`"));
    shop.differences.push(Difference {
        field: "env.KEY".to_owned(),
        from: Some(Value::from(SECRET)),
        to: Some(Value::from(vec![SECRET, "b"])),
    });
    let served = Served::start(shown, PageConfig::default()).await;
    let what = format!("ended with {SECRET}");
    let instance = line("").instance;
    served.log.add(ago(1), Record::Instance { resource: app("shop"), instance, what });
    for path in ["/", "/apps/shop", "/events", "/api/v1/events", "/api/v1/resources", "/api/v1/resources/app/shop"] {
        let answer = get(&served, path).await;
        let json = answer.headers()[CONTENT_TYPE].to_str().expect("text").contains("json");
        let text = answer.text().await.expect("whole");
        assert!(!text.contains(SECRET), "{path}: {text}");
        assert!(!json || serde_json::from_str::<Value>(&text).is_ok(), "{path}: {text}");
        assert!(text.contains("***") || path == "/", "{path}: {text}");
    }
    for accept in ["text/plain", "application/x-ndjson", "text/event-stream"] {
        let url = served.url("/api/v1/resources/app/shop/logs?tail=1&follow=true");
        let mut following = client().get(url).header(ACCEPT, accept).send().await.expect("answered").bytes_stream();
        let mut seen = String::new();
        while !seen.contains("the key is") {
            let _ = served.reading.lines.send(line(&format!("the key is {SECRET}.")));
            seen.push_str(std::str::from_utf8(&following.next().await.expect("more").expect("a line")).expect("text"));
        }
        assert!(seen.contains("the key is ***.") && !seen.contains(SECRET), "{accept}: {seen}");
    }
}

#[tokio::test]
async fn what_is_latched_and_what_reached_nobody_is_said_wherever_one_looks() {
    let served = Served::start(board(), PageConfig::default()).await;
    let before = json(&served, "/api/v1/status").await;
    assert_eq!((&before["alerts_unheard"], &before["latched"]), (&Value::from(0), &serde_json::json!([])));
    answers::latched_and_unheard(&served.log);
    let status = json(&served, "/api/v1/status").await;
    assert_eq!(status["alerts_unheard"], 1, "{status}");
    assert_eq!(
        (&status["unheard"][0]["name"], &status["latched"][0]["target"]),
        (&Value::from("DiskFull"), &Value::from("app/shop"))
    );
    let headline = status["headline"].as_str().expect("text");
    assert!(headline.contains("1 alert reached nobody") && headline.contains("1 latched"), "{headline}");
    let shop = json(&served, "/api/v1/resources/app/shop").await;
    assert!(shop["latch"]["since"].is_string() && shop["latch"]["until"].is_null(), "it fires: {}", shop["latch"]);
    let alerts = json(&served, "/api/v1/alerts?target=app/shop").await;
    assert_eq!(alerts["items"][0]["latch"]["target"], "app/shop", "{alerts}");
    for path in ["/apps/shop", "/alerts"] {
        let page = get(&served, path).await.text().await.expect("whole");
        assert!(page.to_lowercase().contains("latched since"), "{path}: {page}");
    }
    let events = get(&served, "/events").await.text().await.expect("whole");
    assert!(events.contains("is latched"), "{events}");
}

#[tokio::test]
async fn no_step_of_a_run_that_is_over_is_still_on() {
    let served = Served::start(board(), PageConfig::default()).await;
    answers::cut_off(&served.log);
    let run = json(&served, "/api/v1/runs/r7").await;
    let step = &run["steps"][0];
    assert_eq!((&run["state"], &step["state"]), (&Value::from("cancelled"), &Value::from("skipped")), "{run}");
    assert_eq!((&step["ended_at"], &step["deadline"]), (&run["ended_at"], &Value::Null), "{run}");
    assert_eq!(step["error"], "the run ended cancelled while it was on");
}

#[tokio::test]
async fn a_receiver_that_is_silent_or_full_is_said_wherever_one_looks() {
    let served = Served::start(board(), PageConfig::default()).await;
    assert_eq!(json(&served, "/api/v1/status").await["receivers"], serde_json::json!([]));
    answers::silent(&served.log);
    let kept = Kept { alerts: Kept::MOST_ALERTS, bytes: 0 };
    let flooded = "flooded".parse().expect("a name");
    Log::memory(&*served.log).write().expect("no panic").response.kept.insert(flooded, kept);
    let status = json(&served, "/api/v1/status").await;
    let named = |nth: usize| (status["receivers"][nth]["receiver"].as_str(), status["receivers"][nth]["what"].as_str());
    assert_eq!((named(0), named(1)), ((Some("am"), Some("silent")), (Some("flooded"), Some("full"))), "{status}");
    let headline = status["headline"].as_str().expect("text");
    assert!(headline.contains("1 receiver silent; 1 receiver full"), "{headline}");
    let metrics = get(&served, "/metrics").await.text().await.expect("whole");
    for line in ["codeops_receiver_silent{receiver=\"am\"} 1", "codeops_receiver_full{receiver=\"flooded\"} 1"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    // So is one of which as much was written down as may be.
    let spent = codeops_core::model::Spent { bytes: codeops_core::model::Spent::MOST, at: jiff::Timestamp::MAX };
    let flapping = "flapping".parse().expect("a name");
    Log::memory(&*served.log).write().expect("no panic").response.spent.insert(flapping, spent);
    let status = json(&served, "/api/v1/status").await;
    let why = status["receivers"][1]["why"].as_str().expect("text");
    assert!(status["receivers"][1]["receiver"] == "flapping" && why.contains("256 MiB of the journal"), "{status}");
    let metrics = get(&served, "/metrics").await.text().await.expect("whole");
    assert!(metrics.contains("codeops_receiver_full{receiver=\"flapping\"} 1"), "{metrics}");
}

#[tokio::test]
async fn no_answer_tells_a_team_what_is_another_teams_secret() {
    let mut shown = board();
    let shop = Arc::make_mut(shown.resources.get_mut(&app("shop")).expect("it is there"));
    shop.why = Some(format!("its log ends with `{GUESSED}`"));
    let labels = serde_json::json!({"team": "storefront", "note": GUESSED});
    shop.differences.push(Difference {
        field: "env.KEY".to_owned(),
        from: Some(labels),
        to: Some(Value::from(GUESSED)),
    });
    let served = Served::start(shown, PageConfig::default()).await;
    for path in ["/apps/shop", "/api/v1/resources", "/api/v1/resources/app/shop"] {
        let text = get(&served, path).await.text().await.expect("whole");
        assert!(text.contains(GUESSED) && !text.contains("***"), "{path}: {text}");
    }
    for accept in ["text/plain", "application/x-ndjson", "text/event-stream"] {
        let url = served.url("/api/v1/resources/app/shop/logs?tail=1&follow=true");
        let mut following = client().get(url).header(ACCEPT, accept).send().await.expect("answered").bytes_stream();
        let mut seen = String::new();
        while !seen.contains("is it") {
            let _ = served.reading.lines.send(line(&format!("is it {GUESSED}?")));
            seen.push_str(std::str::from_utf8(&following.next().await.expect("more").expect("a line")).expect("text"));
        }
        assert!(seen.contains(&format!("is it {GUESSED}?")), "{accept}: {seen}");
    }
}

/// What is said wherever an item names itself by `word`: each time up to its end.
fn said<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let found: Vec<_> = text.match_indices(word).filter_map(|(from, _)| text[from..].split(":end").next()).collect();
    assert!(!found.is_empty(), "{word} is not in {text}");
    found
}

#[tokio::test]
async fn of_many_mistakes_the_page_shows_the_first_and_how_many_more_there_are() {
    let mut shown = board();
    let mistake = shown.diagnostics.remove(0);
    shown
        .diagnostics
        .extend((0..130).map(|n| Diagnostic { message: format!("mistake number {n}."), ..mistake.clone() }));
    let served = Served::start(shown, PageConfig::default()).await;
    let page = get(&served, "/").await.text().await.expect("whole");
    assert!(page.contains("mistake number 99.") && !page.contains("mistake number 100."), "{page}");
    assert!(page.contains("and 30 more"), "{page}");
}

#[tokio::test]
async fn in_a_list_each_item_is_masked_as_its_teams() {
    let mut shown = board();
    let cart = Arc::make_mut(shown.resources.get_mut(&app("cart")).expect("it is there"));
    (cart.health, cart.why) = (Health::Degraded, Some(format!("standing {GUESSED} {SECRET}:end")));
    let text = |what: &str| format!("{what} \u{3}\u{1}storefront\u{2}{GUESSED} {SECRET}:end");
    let holds = [("hold-of-team", vec!["cart"]), ("hold-of-all", vec!["cart", "mail"])];
    let held = holds.map(|(what, ids)| {
        let changes = ids.into_iter().map(|id| (Verb::Delete, app(id))).collect();
        let id = HoldId::of(&changes);
        Hold { trailer: format!("Codeops-Allow: {id}"), id, changes, why: text(what), removals: BTreeSet::new() }
    });
    shown.holds = held.to_vec();
    let mistakes = [("mistake-of-team", Some("storefront")), ("mistake-of-all", None)];
    let mistake = shown.diagnostics.remove(0);
    shown.diagnostics.extend(mistakes.map(|(what, team)| Diagnostic {
        team: team.map(name),
        message: text(what),
        line: text(&format!("{what}-line")),
        ..mistake.clone()
    }));
    let served = Served::start(shown, PageConfig::default()).await;
    let url = served.url("/api/v1/stream");
    let mut stream = client().get(url).send().await.expect("answered").bytes_stream();
    let mut seen = String::new();
    while !seen.contains("headline") {
        seen.push_str(std::str::from_utf8(&stream.next().await.expect("more").expect("an event")).expect("text"));
    }
    // The sender of an alert chooses its labels, and whoever writes a text may try to end an item or to begin one.
    let forged = "\u{3}\u{1}storefront\u{2}";
    answers::guesses(&served.log, &format!("{GUESSED} {SECRET}:end"), forged);
    while !seen.contains("event-of-all") {
        seen.push_str(std::str::from_utf8(&stream.next().await.expect("more").expect("an event")).expect("text"));
    }
    let mut answers =
        vec![("the stream".to_owned(), seen, vec!["event-of-team", "call-of-team", "event-of-all"], vec![])];
    let of_newest = format!("/revisions/{}", revision('3'));
    for (path, own, of_all) in [
        (
            "/",
            vec![
                "standing",
                "event-of-team",
                "run-of-team",
                "call-of-team",
                "alert-of-team",
                "hold-of-team",
                "mistake-of-team",
                "mistake-of-team-line",
                "event-of-all",
                "call-of-all",
                "hold-of-all",
                "mistake-of-all",
                "mistake-of-all-line",
            ],
            vec!["alert-of-all"],
        ),
        (
            "/api/v1/status",
            vec!["mistake-of-team", "mistake-of-team-line", "mistake-of-all", "mistake-of-all-line"],
            vec![],
        ),
        ("/events", vec!["event-of-team", "call-of-team", "event-of-all", "call-of-all"], vec![]),
        ("/api/v1/events", vec!["event-of-team", "call-of-team", "event-of-all", "call-of-all"], vec![]),
        ("/holds", vec!["hold-of-team", "hold-of-all"], vec![]),
        ("/api/v1/holds", vec!["hold-of-team", "hold-of-all"], vec![]),
        ("/api/v1/revisions", vec!["step-of-team"], vec![]),
        (&*of_newest, vec!["step-of-team"], vec![]),
        (&*format!("/api/v1{of_newest}"), vec!["step-of-team"], vec![]),
        ("/runs", vec!["run-of-team"], vec![]),
        ("/api/v1/runs", vec!["run-of-team", "seen-of-team"], vec!["seen-of-all"]),
        ("/runs/r10", vec!["seen-of-team"], vec![]),
        ("/runs/r11", vec![], vec!["seen-of-all"]),
        ("/api/v1/runs/r11", vec![], vec!["seen-of-all"]),
        ("/alerts", vec!["alert-of-team"], vec!["alert-of-all"]),
        ("/api/v1/alerts", vec!["alert-of-team"], vec!["alert-of-all"]),
        ("/api/v1/pages", vec!["call-of-team", "call-of-all"], vec![]),
    ] {
        let text = get(&served, path).await.text().await.expect("whole");
        answers.push((path.to_owned(), text, own, of_all));
    }
    for (path, text, own, of_all) in answers {
        assert!(!text.contains(SECRET), "{path}: its own secret stays one: {text}");
        assert!(!text.contains(|c: char| c.is_control() && !c.is_whitespace()), "{path}: {text}");
        for word in own {
            for said in said(&text, word) {
                assert!(said.contains(GUESSED) && said.contains("***"), "{path} {word}: {said}");
            }
        }
        for word in of_all {
            for said in said(&text, word) {
                assert!(said.contains("***") && !said.contains(GUESSED), "{path} {word}: {said}");
            }
        }
    }
}

/// Where the pictures are left, for those who want to look.
fn pictures() -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).expect("a folder for pictures");
    folder
}

/// The smallest contrast between the colours that text has and the grounds it stands on (WCAG 2: 4.5 for AA).
const CONTRAST: &str = r#"
    const style = getComputedStyle(document.documentElement), probe = document.createElement("i");
    document.body.append(probe);
    const light = (name) => {
        probe.style.color = style.getPropertyValue("--" + name);
        const parts = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map((v) => v / 255);
        const [r, g, b] = parts.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    let worst = 21;
    for (const text of ["ink", "quiet", "accent", "fine", "progressing", "held", "degraded", "unknown"])
        for (const ground of ["ground", "raised", "sunk"]) {
            const [a, b] = [light(text), light(ground)].sort((a, b) => b - a);
            worst = Math.min(worst, (a + 0.05) / (b + 0.05));
        }
    return worst;
"#;

const PAGES: [(&str, &str); 11] = [
    ("overview", "/"),
    ("resource", "/apps/shop"),
    ("revisions", "/revisions"),
    ("revision", "/revisions/3f2a9c1"),
    ("holds", "/holds"),
    ("events", "/events"),
    ("alerts", "/alerts"),
    ("runs", "/runs"),
    ("run", "/runs/r2"),
    ("run-on", "/runs/r5"),
    ("missing", "/apps/nobody"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_shows_every_page_light_dark_and_narrow() {
    let Some(browser) = Browser::start().await else { return };
    let limits = Limits { sample: Duration::from_millis(50), ..Limits::default() };
    let served = Served::start(board(), PageConfig { limits, ..PageConfig::default() }).await;
    fixture::history(&served.log);
    let mut grounds = Vec::new();
    for (look, width, scheme) in
        [("light", 1280, "light"), ("dark", 1280, "dark"), ("narrow", 360, "light"), ("wall", 2560, "dark")]
    {
        browser.look(width, scheme).await;
        for (name, path) in PAGES {
            browser.open(&served.url(path)).await;
            let wide = browser.run("return document.documentElement.scrollWidth").await;
            assert!(wide.as_u64().unwrap() <= u64::from(width), "{path} is {wide} wide at {width}");
            // What is wider than the page scrolls in its own box.
            let boxes = "return [...document.querySelectorAll('.scroll')].every(box => \
                         box.getBoundingClientRect().right <= window.innerWidth && getComputedStyle(box).overflowX === 'auto')";
            assert_eq!(browser.run(boxes).await, true, "{path}: a box leaves the page at {width}");
            let timeline = "const line = document.querySelector('.timeline'); if (!line) return true; \
                            const seen = [...line.querySelectorAll('text, use')].map(it => it.getBoundingClientRect()); \
                            const letters = [...line.querySelectorAll('text')].map(it => it.getBoundingClientRect().height); \
                            return seen.every(box => box.left >= 0 && box.right <= window.innerWidth) && Math.min(...letters) >= 11";
            assert_eq!(browser.run(timeline).await, true, "{path}: not all of the timeline is seen at {width}");
            let visible = browser.run("return window.innerWidth").await;
            assert_eq!(visible.as_u64(), Some(u64::from(width)), "{path} makes the window wider than the screen");
            assert_eq!(
                browser.run("return document.title.includes('owned') || document.images.length > 0").await,
                false,
                "{path}"
            );
            browser.picture(&pictures().join(format!("{name}-{look}.png")), true).await;
        }
        let worst = browser.run(CONTRAST).await.as_f64().unwrap();
        assert!(worst >= 4.5, "the contrast is only {worst} in {look}");
        grounds.push(browser.run("return getComputedStyle(document.body).backgroundColor").await);
    }
    assert_ne!(grounds[0], grounds[1], "light and dark look alike");
    served.publisher.publish(fixture::showcase());
    for scheme in ["light", "dark"] {
        browser.look(1280, scheme).await;
        browser.open(&served.url("/")).await;
        browser.picture(&pictures().join(format!("showcase-{scheme}.png")), false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_shows_all_of_it_without_javascript() {
    let Some(browser) = Browser::start().await else { return };
    let served = Served::rich().await;
    browser.devtools("Emulation.setScriptExecutionDisabled", serde_json::json!({"value": true})).await;
    browser.open(&served.url("/apps/shop")).await;
    let root = browser.devtools("DOM.getDocument", serde_json::json!({})).await;
    let outer = browser.devtools("DOM.getOuterHTML", serde_json::json!({"nodeId": root["root"]["nodeId"]})).await;
    let html = outer["outerHTML"].as_str().unwrap();
    for part in [
        "1 of 2 instances runs the new template",
        "not isolated",
        "GET /cart 200",
        "class=\"graph\"",
        "Last good",
        "replicas",
        "class=\"event\"",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(html.contains("id=\"follow\" hidden"), "a button that does nothing is not shown");
    browser.open(&served.url("/runs/r2")).await;
    let shown = browser.devtools("DOM.getDocument", serde_json::json!({"depth": 0})).await;
    let outer = browser.devtools("DOM.getOuterHTML", serde_json::json!({"nodeId": shown["root"]["nodeId"]})).await;
    let html = outer["outerHTML"].as_str().unwrap();
    for part in [
        "<details",
        "cannot read the disk",
        "class=\"span ",
        "Otherwise: step look failed",
        "accepted by receiver/chat",
    ] {
        assert!(html.contains(part), "{part} is not in\n{html}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_follows_the_board_and_the_log_without_a_reload() {
    let Some(browser) = Browser::start().await else { return };
    let served = Served::start(board(), PageConfig::default()).await;
    browser.open(&served.url("/")).await;
    browser.run("window.kept = true").await;
    browser.until("return document.getElementById('live').textContent === 'Live.'").await;
    served.publisher.publish(calm());
    browser.until("return document.querySelector('h1').textContent.includes('20 of 20 in sync and healthy')").await;
    browser.until("return document.title.startsWith('20 of 20')").await;
    browser.until("return document.getElementById('icon').href.endsWith('fine.svg') && window.kept").await;

    let mut broken = calm();
    let cart = broken.resources.get_mut(&app("cart")).unwrap();
    let cart = Arc::make_mut(cart);
    (cart.sync, cart.health, cart.why) = (Sync::Synced, Health::Degraded, Some("it ended with code 3".to_owned()));
    served.publisher.publish(broken);
    browser.until("return document.getElementById('exceptions').textContent.includes('it ended with code 3')").await;

    answers::answers(&served.log);
    browser.open(&served.url("/runs/r5")).await;
    browser.run("window.kept = true; document.querySelector('[data-key=output-steps-look]').open = true").await;
    browser.until("return document.getElementById('live').textContent === 'Live.'").await;
    answers::proven(&served.log);
    browser.until("return document.getElementById('answer').textContent.includes('it stayed away')").await;
    let kept = "return window.kept && document.querySelector('[data-key=output-steps-look]').open";
    assert_eq!(browser.run(kept).await, true, "what was unfolded stays so");

    browser.open(&served.url("/apps/shop")).await;
    browser.run("document.getElementById('follow').click()").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while browser.run("return document.getElementById('log').textContent.includes('a followed line')").await != true {
        assert!(tokio::time::Instant::now() < deadline, "the log did not follow");
        let _ = served.reading.lines.send(line("a followed line"));
    }
    browser.run("document.getElementById('follow').click()").await;
    assert_eq!(browser.run("return document.getElementById('follow').textContent").await, "Follow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_asks_now_and_then_where_it_is_given_no_stream() {
    let Some(browser) = Browser::start().await else { return };
    let limits = Limits { streams: 0, ..Limits::default() };
    let served = Served::start(board(), PageConfig { limits, ..PageConfig::default() }).await;
    browser.open(&served.url("/apps/shop")).await;
    browser.until("return document.getElementById('live').textContent.startsWith('Not live: ')").await;
    assert_eq!(browser.run("return stream === null").await, true, "as it is in the background");
    browser.run("document.getElementById('follow').click()").await;
    browser.until("return document.getElementById('follow').textContent === 'Follow'").await;
}

#[tokio::test]
async fn a_run_tells_each_step_with_its_output_and_evidence() {
    let served = Served::rich().await;
    let run = json(&served, "/api/v1/runs/r2").await;
    assert_eq!((&run["state"], &run["target"]), (&"paged".into(), &"app/pricing".into()));
    assert_eq!(run["alert"]["labels"]["alertname"], "AppDown");
    let steps: Vec<(&str, &str, &str)> = run["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| ["part", "name", "state"].map(|key| step[key].as_str().unwrap()).into())
        .collect();
    assert_eq!(
        steps,
        [
            ("steps", "look", "failed"),
            ("otherwise", "replace", "unknown"),
            ("otherwise", "proof", "skipped"),
            ("otherwise", "call", "done")
        ]
    );
    assert_eq!(run["steps"][0]["evidence"], "cannot read the disk\n");
    let on = json(&served, "/api/v1/runs?state=waiting").await;
    let on = &on["items"][0];
    assert_eq!((&on["id"], &on["steps"][0]["output"]["free"]), (&"r5".into(), &12.into()));
    assert_eq!(on["steps"][2]["state"], "waiting");
    let called = json(&served, "/api/v1/runs/r4").await;
    assert_eq!(called["called_by"]["run"], "r3");
    let shop = json(&served, "/api/v1/resources/app/shop").await;
    assert_eq!((&shop["runs"][0]["id"], &shop["alerts"][0]["run"]), (&"r5".into(), &"r5".into()));
    let quiet = json(&served, "/api/v1/alerts?name=DiskSlow").await;
    assert_eq!(quiet["items"][0]["why"], "muted by the mute time nights");
    assert_eq!(json(&served, "/api/v1/pages?run=r2").await["items"][0]["tries"][0]["failures"], 1);
}

#[tokio::test]
async fn long_texts_are_cut_in_lists_without_letting_half_a_secret_out() {
    let served = Served::start(board(), PageConfig::default()).await;
    let down = answers::alert("AppDown", "cart", 30);
    let mut story = answers::Story::answer(&served.log, 1, &down, "cart", 30);
    story.begin(codeops_core::model::Part::Steps, 0, 1);
    let evidence = format!("{}{SECRET}{}", "x".repeat(1_020), "y".repeat(9_000));
    story.end(codeops_core::model::Part::Steps, 0, 1, answers::done(Value::from(evidence.clone())), &evidence);
    let listed = json(&served, "/api/v1/runs").await;
    let step = &listed["items"][0]["steps"][0];
    assert_eq!(step["cut"], true);
    for key in ["output", "evidence"] {
        let text = step[key].as_str().unwrap();
        assert!(text.len() < 1_100 && !text.contains("hunt"), "{text}");
    }
    let one = json(&served, "/api/v1/runs/r1").await;
    assert_eq!(one["steps"][0]["evidence"], evidence.replace(SECRET, "***"));
    assert_eq!(one["steps"][0]["cut"], false);
}

#[tokio::test]
async fn the_overview_says_what_fires_what_is_done_and_how_the_week_went() {
    let served = Served::rich().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let text = loop {
        let text = get(&served, "/").await.text().await.unwrap();
        if text.contains("<dd>1 of 2</dd>") {
            break text;
        }
        assert!(tokio::time::Instant::now() < deadline, "the week was never counted in\n{text}");
    };
    for part in [
        "href=\"/runs/r5\"",
        "app-down on shop",
        "proof: wait resolved",
        "r2, which is over",
        "1 of them kept quiet",
        "<a href=\"/runs?playbook=app-down\">app-down</a>",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let shop = get(&served, "/apps/shop").await.text().await.unwrap();
    assert!(shop.contains("href=\"/runs/r5\"") && shop.contains("Its alerts and runs"), "{shop}");
    let run = get(&served, "/runs/r3").await.text().await.unwrap();
    assert!(run.contains("<a href=\"/runs/r4\">r4</a>"), "the run that it called");
    let run = get(&served, "/runs/r4").await.text().await.unwrap();
    assert!(run.contains("<a href=\"/runs/r3\">r3</a>"), "the run that called it");
    let events = get(&served, "/events?run=r2").await.text().await.unwrap();
    assert!(events.contains("goes on with otherwise") && !events.contains("run r5"), "{events}");
}

#[tokio::test]
async fn what_is_kept_quiet_or_skipped_does_not_look_like_a_failure() {
    let served = Served::rich().await;
    let alerts = get(&served, "/alerts").await.text().await.unwrap();
    let quiet = alerts.split("<li class=\"card revision alert\">").find(|it| it.contains("DiskSlow")).expect("listed");
    assert!(quiet.contains("firing, kept quiet") && quiet.contains("#m-suspended"), "{quiet}");
    assert!(!quiet.contains("#m-degraded"), "{quiet}");
    let events = get(&served, "/events?category=alert").await.text().await.unwrap();
    let came = events.split("<li").find(|it| it.contains("DiskSlow fires")).expect("told");
    assert!(came.contains("#m-suspended"), "{came}");
    let run = get(&served, "/runs/r2").await.text().await.unwrap();
    assert!(run.contains("<p class=\"quiet\">its condition does not hold</p>"), "{run}");
}

#[tokio::test]
async fn metrics_count_alerts_runs_and_pages_without_what_alerts_say() {
    let served = Served::start(board(), PageConfig::default()).await;
    let scrape = async || {
        let accept = "application/openmetrics-text";
        let answer = client().get(served.url("/metrics")).header(ACCEPT, accept).send().await.unwrap();
        answer.text().await.unwrap()
    };
    // Counting begins with the page; what happens before that is of the past.
    assert!(scrape().await.contains("codeops_runs_active 0"));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let mut run = 0;
    while !scrape().await.contains("codeops_runs_total{playbook=\"app-down\",state=\"resolved\"} 1") {
        assert!(tokio::time::Instant::now() < deadline, "no run was counted");
        run += 1;
        let down = answers::alert(&format!("AppDown{run}"), "cart", 1);
        let mut story = answers::Story::answer(&served.log, run, &down, "cart", 1);
        story.begin(codeops_core::model::Part::Steps, 0, 1);
        story.over(codeops_core::model::RunState::Resolved, "done");
    }
    fixture::history(&served.log);
    let text = loop {
        let text = scrape().await;
        if text.contains("codeops_pages_total{outcome=\"accepted\"} 1") {
            break text;
        }
        assert!(tokio::time::Instant::now() < deadline, "the page was not counted in\n{text}");
    };
    for part in [
        "codeops_alerts{state=\"firing\"}",
        "codeops_alerts_received_total{receiver=\"alertmanager\"}",
        "codeops_runs_active ",
        "codeops_run_first_step_seconds_bucket{le=\"0.005\",playbook=\"app-down\"}",
        "codeops_run_resolution_seconds_count{playbook=\"app-down\"}",
        "codeops_pages_total{outcome=\"withdrawn\"} 0",
        "codeops_pages_open 0",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("AppDown") && !text.contains("critical") && !text.contains("<script"), "{text}");
}
