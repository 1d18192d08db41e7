//! The `http` step against a server on loopback.

use std::collections::BTreeMap;

use codeops::port::{Effect, HttpRequest};
use serde_json::json;

use super::{Setting, Stage, TOKEN, failed, name, payments, unknown};
use crate::support::port::free_port;
use crate::support::sink::{HttpSink, Reply};

fn request(method: &str, url: String) -> HttpRequest {
    HttpRequest {
        team: payments(),
        method: method.to_owned(),
        url,
        headers: BTreeMap::new(),
        secret_headers: BTreeMap::new(),
        body: None,
        expect: Vec::new(),
        timeout_ms: 5_000,
    }
}

#[tokio::test]
async fn a_request_carries_its_key_and_secrets_and_its_answer_is_read() {
    let sink = HttpSink::serve(|taken| {
        let said = taken.header("authorization").unwrap_or("nothing").to_owned();
        Reply::status(201, &json!({"you": said, "n": 7}).to_string())
    })
    .await;
    let stage = Stage::new();
    let mut order = request("POST", sink.url("/jobs?token=abc"));
    order.secret_headers.insert("Authorization".to_owned(), name("token"));
    order.headers.insert("X-Why".to_owned(), "alert".to_owned());
    order.body = Some(r#"{"a": 1}"#.to_owned());
    let done = stage.perform(Effect::Http(order)).await.expect("done");
    assert_eq!(done.output, json!({"status": 201, "body": {"you": "***", "n": 7}}));
    assert!(done.evidence.contains("POST http://127.0.0.1") && !done.evidence.contains("abc"), "{}", done.evidence);
    let taken = sink.taken().remove(0);
    assert_eq!(taken.header("authorization"), Some(TOKEN));
    assert_eq!(taken.header("idempotency-key"), Some("memory:p1"));
    assert_eq!(taken.header("x-why"), Some("alert"));
    assert_eq!(taken.header("content-type"), Some("application/json"));
    assert_eq!((taken.path(), taken.body.as_str()), ("/jobs?token=abc", r#"{"a": 1}"#));
}

#[tokio::test]
async fn what_counts_as_done_is_what_the_step_expects() {
    let sink = HttpSink::serve(|taken| match taken.path() {
        "/gone" => Reply::status(404, "no such thing, says hunter2-is-secret"),
        "/moved" => Reply::redirect(302, "/gone"),
        _ => Reply::status(200, &"x".repeat(300_000)),
    })
    .await;
    let stage = Stage::new();
    let error = failed(stage.perform(Effect::Http(request("GET", sink.url("/gone")))).await);
    assert!(error.contains("answered 404; expected 200 to 299"), "{error}");
    let mut order = request("DELETE", sink.url("/gone"));
    order.expect = vec![204, 404];
    assert_eq!(stage.perform(Effect::Http(order)).await.expect("expected").output["status"], 404);
    let mut order = request("GET", sink.url("/moved"));
    order.expect = vec![302];
    assert_eq!(stage.perform(Effect::Http(order)).await.expect("expected").output["status"], 302);
    let done = stage.perform(Effect::Http(request("GET", sink.url("/large")))).await.expect("done");
    assert!(done.output.to_string().len() <= 64 << 10 && done.evidence.len() <= 16 << 10);
    assert!(done.evidence.contains("300000 bytes"), "{}", &done.evidence[..200]);
}

#[tokio::test]
async fn what_may_have_arrived_is_not_called_failed() {
    let sink = HttpSink::serve(|taken| if taken.path() == "/cut" { Reply::Cut } else { Reply::Silence }).await;
    let stage = Stage::new();
    for path in ["/cut", "/silent"] {
        let order = |method| HttpRequest { timeout_ms: 700, ..request(method, sink.url(path)) };
        let error = unknown(stage.perform(Effect::Http(order("POST"))).await);
        assert!(error.contains("may have been done"), "{error}");
        let _ = failed(stage.perform(Effect::Http(order("GET"))).await);
    }
    let nobody = free_port();
    let _ = failed(stage.perform(Effect::Http(request("POST", format!("http://127.0.0.1:{nobody}/")))).await);
    let _ = failed(stage.perform(Effect::Http(request("POST", "http://no-such-host.invalid/".to_owned()))).await);
}

#[tokio::test]
async fn inner_addresses_are_reached_only_where_the_team_names_them() {
    let sink = HttpSink::serve(|taken| match taken.path() {
        "/metadata" => Reply::redirect(302, "http://169.254.169.254/latest/meta-data/"),
        "/loop" => Reply::redirect(302, "/loop"),
        "/ftp" => Reply::redirect(302, "ftp://127.0.0.1/x"),
        "/moved" => Reply::redirect(303, "/here"),
        path if path.starts_with("/to/") => Reply::redirect(307, &format!("http://localhost:{}/here", &path[4..])),
        _ => Reply::status(200, "{}"),
    })
    .await;
    let closed = Setting { egress: &[], ..Setting::default() }.stage();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let url = format!("http://{host}:{}/here", sink.port);
        let error = failed(closed.perform(Effect::Http(request("POST", url))).await);
        assert!(error.contains("egress"), "{host}: {error}");
    }
    assert!(sink.taken().is_empty());
    let stage = Stage::new();
    for (path, says) in [("/metadata", "egress"), ("/loop", "redirects"), ("/ftp", "scheme")] {
        let error = failed(stage.perform(Effect::Http(request("GET", sink.url(path)))).await);
        assert!(error.contains(says), "{path}: {error}");
    }
    let mut order = request("POST", sink.url("/moved"));
    order.body = Some("x".to_owned());
    stage.perform(Effect::Http(order)).await.expect("followed");
    let last = sink.taken().pop().expect("a request");
    assert!(last.head.starts_with("GET /here ") && last.body.is_empty(), "{last:?}");
}

#[tokio::test]
async fn what_a_redirect_has_answered_was_sent() {
    let nobody = free_port();
    let sink = HttpSink::serve(move |taken| match taken.path() {
        "/away" => Reply::redirect(303, &format!("http://127.0.0.1:{nobody}/")),
        "/barred" => Reply::redirect(303, "http://169.254.169.254/latest/meta-data/"),
        "/loop" => Reply::redirect(302, "/loop"),
        "/ftp" => Reply::redirect(301, "ftp://127.0.0.1/x"),
        "/again" => Reply::redirect(307, "/away"),
        "/cut" => Reply::Cut,
        _ => Reply::redirect(303, "/cut"),
    })
    .await;
    let stage = Stage::new();
    for (path, status, says) in [
        ("/away", 303, "refused"),
        ("/barred", 303, "egress"),
        ("/loop", 302, "redirects"),
        ("/ftp", 301, "scheme"),
        ("/again", 303, "refused"),
        ("/cuts", 303, "closed"),
    ] {
        let error = unknown(stage.perform(Effect::Http(request("POST", sink.url(path)))).await);
        assert!(error.contains(&format!("was answered {status}")), "{path}: {error}");
        assert!(error.contains(says) && error.ends_with("; it may have been done"), "{path}: {error}");
        assert!(!error.contains("not sent"), "{path}: {error}");
        let error = failed(stage.perform(Effect::Http(request("GET", sink.url(path)))).await);
        assert!(error.contains(&format!("was answered {status}")) && !error.contains("not sent"), "{path}: {error}");
    }
}

#[tokio::test]
async fn another_host_gets_no_secret_by_a_redirect() {
    let sink = HttpSink::serve(|taken| match taken.path() {
        "/here" => Reply::status(200, "{}"),
        path => Reply::redirect(307, &format!("http://localhost:{}/here", &path[1..])),
    })
    .await;
    let stage = Stage::new();
    let order = |method| {
        let mut order = request(method, sink.url(&format!("/{}", sink.port)));
        order.secret_headers.insert("X-Api-Key".to_owned(), name("token"));
        order
    };
    stage.perform(Effect::Http(order("GET"))).await.expect("followed");
    let last = sink.taken().pop().expect("a request");
    assert_eq!((last.path(), last.header("x-api-key")), ("/here", None));
    let error = failed(stage.perform(Effect::Http(HttpRequest { body: Some("x".to_owned()), ..order("POST") })).await);
    assert!(error.contains("was answered 307") && error.contains("another host"), "{error}");
}

#[tokio::test]
async fn a_team_uses_only_secrets_it_was_granted() {
    let sink = HttpSink::serve(|_| Reply::status(200, "{}")).await;
    let stage = Stage::new();
    let mut order = request("GET", sink.url("/"));
    order.secret_headers.insert("Authorization".to_owned(), name("token"));
    order.team = name("other");
    let error = failed(stage.perform(Effect::Http(order)).await);
    assert!(error.contains("not granted"), "{error}");
    let mut order = request("GET", sink.url("/"));
    order.headers.insert("Host".to_owned(), "evil".to_owned());
    assert!(failed(stage.perform(Effect::Http(order)).await).contains("`Host`"));
    assert!(sink.taken().is_empty());
}
