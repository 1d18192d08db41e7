//! Messages to people: each channel's own yes, and nothing else, counts.

use base64::Engine as _;
use codeops::port::{Effect, Send, ToldAlert};
use codeops_core::model::{Address, Channel, PageId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use super::{Setting, Stage, TOKEN, failed, name, payments, unknown};
use crate::support::port::free_port;
use crate::support::sink::{HttpSink, MailSink, Reply};

fn message(channel: Channel) -> Effect {
    Effect::Send(Send {
        team: payments(),
        channel,
        title: "app/shop is down\r\nBcc: evil@example.com".to_owned(),
        body: format!("it said {TOKEN} & <left>"),
        page: Some(PageId(1)),
        over: false,
        late: false,
        test: false,
        path: Some("/runs/r42".to_owned()),
        alert: Some(ToldAlert {
            starts_at: "2026-11-21T08:00:00Z".parse().expect("a time"),
            source: name("main"),
            receiver: name("am"),
            url: Some("https://prometheus.example/graph?g0=up".to_owned()),
            severity: "warning",
        }),
    })
}

fn pagerduty(sink: &HttpSink) -> Effect {
    message(Channel::PagerDuty { routing_key: name("token"), url: Some(sink.url("/v2/enqueue")) })
}

#[tokio::test]
async fn a_pagerduty_event_is_as_the_contract_says() {
    let sink = HttpSink::serve(|_| Reply::status(202, r#"{"status":"success","dedup_key":"x"}"#)).await;
    let stage = Stage::new();
    let done = stage.perform(pagerduty(&sink)).await.expect("accepted");
    assert_eq!(done.output, json!({"accepted": true, "channel": "pagerduty"}));
    let event = sink.taken().remove(0).json();
    // What the Events API's own description requires of an event and of its payload.
    assert!(["routing_key", "event_action"].iter().all(|field| event[field].is_string()), "{event}");
    assert!(["summary", "source", "severity"].iter().all(|field| event["payload"][field].is_string()), "{event}");
    assert_eq!(event["routing_key"], TOKEN);
    assert_eq!((&event["event_action"], &event["dedup_key"]), (&json!("trigger"), &json!("memory:p1")));
    assert_eq!(event["payload"]["severity"], "warning", "as its alerts say");
    assert_eq!(event["client_url"], "http://codeops.example/runs/r42");
    let alert = json!({"href": "https://prometheus.example/graph?g0=up", "text": "The alert"});
    assert_eq!(event["links"], json!([{"href": "http://codeops.example/runs/r42", "text": "The run"}, alert]));
    let details = &event["payload"]["custom_details"];
    assert_eq!((&details["began"], &details["source"]), (&json!("2026-11-21T08:00:00Z"), &json!("main")));
    assert_eq!(details["receiver"], "am");
    assert!(event["payload"].to_string().contains("it said ***"), "{event}");
}

#[tokio::test]
async fn the_end_of_a_page_resolves_what_its_beginning_opened() {
    let sink = HttpSink::serve(|_| Reply::status(202, "{}")).await;
    let stage = Stage::new();
    let webhook = message(Channel::Webhook { url: Address::Plain(sink.url("/hook")), secret: None });
    for effect in [pagerduty(&sink), webhook] {
        let Effect::Send(begins) = effect else { unreachable!("a message") };
        let ends = Send { over: true, ..begins.clone() };
        stage.perform(Effect::Send(begins)).await.expect("accepted");
        stage.perform(Effect::Send(ends)).await.expect("accepted");
    }
    let taken = sink.taken();
    let (opens, closes) = (taken[0].json(), taken[1].json());
    assert_eq!((&opens["event_action"], &closes["event_action"]), (&json!("trigger"), &json!("resolve")));
    assert_eq!(opens["dedup_key"], closes["dedup_key"]);
    assert_eq!((&taken[2].json()["status"], &taken[3].json()["status"]), (&json!("firing"), &json!("resolved")));
    let key = |at: usize| taken[at].header("idempotency-key").expect("a key").to_owned();
    assert_ne!(key(2), key(3), "the second is no repetition of the first");
}

#[tokio::test]
async fn nothing_but_the_channels_own_yes_is_acceptance() {
    let sink = HttpSink::serve(|taken| match taken.path() {
        "/v2/enqueue" => Reply::status(200, "hello, I am a proxy"),
        "/slack" => Reply::status(200, r#"{"ok":false,"error":"channel_is_archived"}"#),
        "/silent" => Reply::Cut,
        "/301" => Reply::redirect(301, "/login"),
        "/302" => Reply::redirect(302, "/login"),
        "/303" => Reply::redirect(303, "/login"),
        "/307" => Reply::redirect(307, "/moved"),
        "/308" => Reply::redirect(308, "/moved"),
        "/login" | "/moved" => Reply::status(200, "ok"),
        _ => Reply::status(500, "hunter2-is-secret is wrong"),
    })
    .await;
    let stage = Stage::new();
    assert!(failed(stage.perform(pagerduty(&sink)).await).contains("expected 202"));
    let plain = |path: &str| Address::Plain(sink.url(path));
    for url in [plain("/slack"), plain("/down")] {
        assert!(failed(stage.perform(message(Channel::Slack { url })).await).contains("did not accept"));
    }
    let hook = |path| message(Channel::Webhook { url: plain(path), secret: None });
    assert!(failed(stage.perform(hook("/down")).await).contains("500"));
    let _ = unknown(stage.perform(hook("/silent")).await);
    for path in ["/301", "/302", "/303", "/307", "/308"] {
        assert!(failed(stage.perform(hook(path)).await).contains(&path[1..]), "a login page took no message");
        let slack = Channel::Slack { url: plain(path) };
        assert!(failed(stage.perform(message(slack)).await).contains(&path[1..]));
    }
    assert!(!sink.taken().iter().any(|taken| ["/login", "/moved"].contains(&taken.path())));
}

#[tokio::test]
async fn slack_is_told_without_markup_and_a_secret_address_is_not_shown() {
    let sink = HttpSink::serve(|taken| {
        if taken.path() == "/services/T0/hunter2" { Reply::status(200, "ok") } else { Reply::status(404, "no_team") }
    })
    .await;
    let secrets = vec![("hook", sink.url("/services/T0/hunter2")), ("wrong", sink.url("/services/T1/hunter2?a=b"))];
    let stage = Setting { secrets, ..Setting::default() }.stage();
    let to = |secret| message(Channel::Slack { url: Address::Secret(name(secret)) });
    stage.perform(to("hook")).await.expect("accepted");
    let text = sink.taken().remove(0).json()["text"].as_str().expect("a text").to_owned();
    assert!(text.contains("&amp; &lt;left&gt;") && text.contains("<http://codeops.example/runs/r42|more>"), "{text}");
    let error = format!("{:?}", stage.perform(to("wrong")).await);
    assert!(error.contains("404") && !error.contains("services"), "{error}");
}

#[tokio::test]
async fn a_webhook_can_prove_who_sent_it() {
    let sink = HttpSink::serve(|_| Reply::status(204, "")).await;
    let stage = Stage::new();
    let channel = Channel::Webhook { url: Address::Plain(sink.url("/hook")), secret: Some(name("token")) };
    stage.perform(message(channel)).await.expect("accepted");
    let taken = sink.taken().remove(0);
    let at = taken.header("x-codeops-timestamp").expect("a time");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(TOKEN.as_bytes()).expect("a key");
    mac.update(format!("{at}.{}", taken.body).as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    assert_eq!(taken.header("x-codeops-signature"), Some(signature.as_str()));
    let body: Value = taken.json();
    assert_eq!((&body["page"], &body["run"]), (&json!("p1"), &json!("r42")));
    assert_eq!(body["url"], "http://codeops.example/runs/r42");
    let url = "https://prometheus.example/graph?g0=up";
    let alert = json!({"startsAt": "2026-11-21T08:00:00Z", "source": "main", "receiver": "am", "url": url});
    assert_eq!(body["alert"], alert);
    assert!(body["at"].is_string() && body["body"].as_str().is_some_and(|body| body.contains("***")), "{body}");
}

fn mail(port: u16, to: &[&str], login: bool) -> Effect {
    message(Channel::Email {
        to: to.iter().map(|to| (*to).to_owned()).collect(),
        from: "Codeops <codeops@acme.example>".to_owned(),
        server: format!("smtp://127.0.0.1:{port}"),
        login: login.then(|| ("codeops".to_owned(), name("token"))),
    })
}

#[tokio::test]
async fn mail_is_accepted_when_the_server_takes_it() {
    let sink = MailSink::serve("nobody@", true).await;
    let stage = Stage::new();
    let done = stage.perform(mail(sink.port, &["ada@acme.example", "bob@acme.example"], true)).await.expect("accepted");
    assert!(done.evidence.contains("taken as 42"), "{}", done.evidence);
    let taken = sink.taken();
    let recipients = |said: &String| ["ada", "bob"].map(|to| said.contains(&format!("RCPT TO:<{to}@acme.example>")));
    assert_eq!(taken.iter().map(recipients).collect::<Vec<_>>(), [[true, false], [false, true]], "each by itself");
    let said = taken.first().expect("a message");
    assert!(said.contains(&format!(
        "AUTH PLAIN {}",
        base64::engine::general_purpose::STANDARD.encode(format!("\0codeops\0{TOKEN}"))
    )));
    assert!(said.contains("Subject: app/shop is down") && !said.contains("\nBcc:"), "{said}");
    let error = failed(stage.perform(mail(sink.port, &["nobody@acme.example"], false)).await);
    assert!(error.contains("no such user"), "{error}");
}

#[tokio::test]
async fn who_is_refused_by_the_server_keeps_mail_from_nobody_else() {
    let sink = MailSink::serve("nobody@", false).await;
    let stage = Stage::new();
    for to in [["nobody@acme.example", "ada@acme.example"], ["ada@acme.example", "nobody@acme.example"]] {
        let done = stage.perform(mail(sink.port, &to, false)).await.expect("somebody has it");
        let told = done.evidence.contains("not for nobody@acme.example") && done.evidence.contains("no such user");
        assert!(told && done.evidence.contains("taken as 42"), "{}", done.evidence);
    }
    let error = failed(stage.perform(mail(sink.port, &["nobody@acme.example", "nobody@b.example"], false)).await);
    assert!(error.contains("no such user"), "{error}");
}

#[tokio::test]
async fn mail_that_cannot_be_handed_over_is_not_accepted() {
    let stage = Stage::new();
    let port = free_port();
    let _ = failed(stage.perform(mail(port, &["ada@acme.example"], false)).await);
    let closed = Setting { egress: &[], ..Setting::default() }.stage();
    assert!(failed(closed.perform(mail(port, &["ada@acme.example"], false)).await).contains("egress"));
    assert!(failed(stage.perform(mail(port, &["no address"], false)).await).contains("`no address`"));
}
