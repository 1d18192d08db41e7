//! Alerts over real connections: as monitoring systems send them, and as attackers would.

mod bodies;
mod edge;
mod formats;

use std::time::Duration;

use codeops::hooks::AlertLimits;
use codeops::journal::LogError;
use codeops_core::model::{Alert, AlertState, Signal};

use bodies::{fixture, receivers, sent, sign};
use edge::{Edge, TOKEN};

#[tokio::test]
async fn every_format_is_taken_durably_and_once() {
    let edge = Edge::start().await;
    for sent in sent(edge.now()) {
        let before = edge.records();
        let (status, answer) = edge.post(&sent.path, &sent.headers(), &sent.body).await;
        assert_eq!(status, 200, "{}: {answer}", sent.path);
        assert!(edge.records() > before, "{}: nothing is in the journal", sent.path);
        // Those of one source are the same alerts, whichever receiver they first came in by.
        let of = |alert: &Alert| alert.receiver.as_str() == sent.receiver || sent.receiver == "prometheus";
        let fires: Vec<_> = edge.firing().into_iter().filter(|alert| of(alert)).collect();
        assert!(fires.iter().any(|alert| alert.name() == sent.alertname), "{}: {fires:?}", sent.path);
        let (before, (status, answer)) = (edge.records(), edge.post(&sent.path, &sent.headers(), &sent.body).await);
        assert_eq!((status, edge.records()), (200, before), "{}, sent again: {answer}", sent.path);
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_forged_delivery_is_refused_before_it_is_parsed() {
    let edge = Edge::start().await;
    for sent in sent(edge.now()) {
        for (name, value) in &sent.headers {
            if !sent.proofs.contains(&name.as_str()) {
                continue;
            }
            let last = if value.ends_with('0') { "1" } else { "0" };
            for forged in
                ["", "x", "Bearer ", "Basic Og==", "v1=", "sha256=", &format!("{}{last}", &value[..value.len() - 1])]
            {
                let headers = sent.with(name, forged);
                let (status, answer) = edge.post(&sent.path, &headers, b"{not json").await;
                assert_eq!(status, 401, "{} with `{name}: {forged}`: {answer}", sent.path);
                let (status, answer) = edge.post(&sent.path, &headers, &sent.body).await;
                assert_eq!(status, 401, "{} with `{name}: {forged}`: {answer}", sent.path);
            }
            let twice: Vec<_> =
                sent.headers().into_iter().flat_map(|h| if h.0 == name { vec![h, h] } else { vec![h] }).collect();
            assert_eq!(edge.post(&sent.path, &twice, &sent.body).await.0, 401, "{} with two proofs", sent.path);
        }
        if sent.signed {
            let (status, answer) = edge.post(&sent.path, &sent.headers(), &[&sent.body[..], b" "].concat()).await;
            assert_eq!(status, 401, "{} with another body: {answer}", sent.path);
        }
        let bare: Vec<_> = sent.headers().into_iter().filter(|(name, _)| !sent.proofs.contains(name)).collect();
        assert_eq!(edge.post(&sent.path, &bare, &sent.body).await.0, 401, "{} without a proof", sent.path);
    }
    assert_eq!(edge.records(), 0);
    edge.stop().await;
}

#[tokio::test]
async fn one_receivers_proof_opens_no_other_and_unknown_ones_answer_alike() {
    let edge = Edge::start().await;
    let all = sent(edge.now());
    let mut answers = Vec::new();
    for sent in &all {
        for other in &all {
            if sent.path != other.path && !sent.same_secret(other) {
                assert_eq!(
                    edge.post(&other.path, &sent.headers(), &sent.body).await.0,
                    401,
                    "{} at {}",
                    sent.path,
                    other.path
                );
            }
        }
        answers.push(edge.post("/hooks/alerts/nobody", &sent.headers(), &sent.body).await);
        answers.push(edge.post(&sent.path, &[("Authorization", "Bearer wrong")], &sent.body).await);
    }
    let same = |answer: &str| answer.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n");
    assert!(
        answers.iter().all(|(status, answer)| *status == 401 && same(answer) == same(&answers[0].1)),
        "{answers:?}"
    );
    for odd in ["/hooks/alerts/A%00b", "/hooks/alerts/..%2f", &format!("/hooks/alerts/{}", "x".repeat(300))] {
        assert_eq!(edge.post(odd, &[("Authorization", &format!("Bearer {TOKEN}"))], b"{}").await.0, 401, "{odd}");
    }
    assert_eq!(edge.records(), 0);
    edge.stop().await;
}

#[tokio::test]
async fn a_replay_is_too_old_or_a_duplicate() {
    let edge = Edge::start().await;
    let old = sent(edge.now() - jiff::SignedDuration::from_secs(301));
    for sent in old.iter().filter(|sent| sent.proofs.iter().any(|proof| proof.contains("Timestamp"))) {
        assert_eq!(edge.post(&sent.path, &sent.headers(), &sent.body).await.0, 401, "{}: five minutes old", sent.path);
    }
    let old = sent(edge.now());
    edge.advance(24 * 3_600);
    for sent in old.iter().filter(|sent| sent.receiver == "pd") {
        let (status, answer) = edge.post(&sent.path, &sent.headers(), &sent.body).await;
        assert_eq!((status, edge.records()), (400, 0), "deliveries are known for a day: {answer}");
    }
    edge.stop().await;
    let edge = Edge::start().await;
    // Ids in headers are not signed: another one makes no new delivery.
    for sent in sent(edge.now()).iter().filter(|sent| sent.signed) {
        assert_eq!(edge.post(&sent.path, &sent.headers(), &sent.body).await.0, 200);
        let (mut replayed, before) = (sent.headers(), edge.records());
        replayed.extend([("X-Webhook-Id", "another"), ("X-Codeops-Delivery", "another")]);
        replayed.retain(|(name, value)| *name != "X-Webhook-Id" || *value == "another");
        let (status, answer) = edge.post(&sent.path, &replayed, &sent.body).await;
        assert!(status == 200 && answer.contains("duplicate") && edge.records() == before, "{}: {answer}", sent.path);
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_bad_element_spoils_only_itself() {
    let edge = Edge::start().await;
    for (receiver, name) in
        [("am2", "alertmanager.json"), ("prometheus", "prometheus.json"), ("graf-basic", "grafana.json")]
    {
        let mut body: serde_json::Value = serde_json::from_slice(&fixture(name)).unwrap();
        let list = if body.is_array() { &mut body } else { &mut body["alerts"] };
        let good = list[0].clone();
        let spoilt = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut one = good.clone();
            change(&mut one);
            one
        };
        *list = serde_json::json!([
            "no object",
            spoilt(&|one| one["labels"] = serde_json::json!({})),
            spoilt(&|one| one["labels"]["n"] = serde_json::json!(1)),
            spoilt(&|one| one["labels"]["long"] = "x".repeat(5_000).into()),
            spoilt(&|one| one["startsAt"] = "yesterday".into()),
            spoilt(&|one| one["labels"]["alertname"] = "Good".into()),
        ]);
        let path =
            if receiver == "prometheus" { "/api/v2/alerts".to_owned() } else { format!("/hooks/alerts/{receiver}") };
        let (status, answer) = edge.post(&path, &[edge::bearer(receiver)], body.to_string().as_bytes()).await;
        // The Alertmanager API says so, with what was good taken; a webhook's sender would only send all of it again.
        assert_eq!(status, if receiver == "prometheus" { 400 } else { 200 }, "{answer}");
        let good = edge.firing().into_iter().filter(|alert| alert.receiver.as_str() == receiver).collect::<Vec<_>>();
        assert_eq!(good.iter().map(|alert| alert.name()).collect::<Vec<_>>(), ["Good"], "{receiver}");
        assert_eq!(edge.spoiled(receiver), 5, "{receiver}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_is_truncated_malformed_or_too_big_is_refused_and_nothing_is_kept() {
    let edge = Edge::start().await;
    for receiver in ["am", "prometheus", "graf-basic", "pd-bearer", "events", "datadog", "alerts", "mapped"] {
        let path =
            if receiver == "prometheus" { "/api/v2/alerts".to_owned() } else { format!("/hooks/alerts/{receiver}") };
        let proof = edge::bearer(receiver);
        let content = ("Content-Type", "application/cloudevents+json");
        for body in
            [&b""[..], b"{", b"[1,", b"nonsense", b"\xff\xfe", b"\"text\"", b"17", b"{}", b"[[]]", &[b'['; 9_000]]
        {
            let (status, answer) = edge.post(&path, &[proof, content], body).await;
            assert_eq!(status, 400, "{receiver}: {:?}: {answer}", String::from_utf8_lossy(&body[..body.len().min(20)]));
            assert!(answer.contains("application/problem+json"), "{answer}");
        }
        let most = if ["am", "prometheus"].contains(&receiver) { 16 << 20 } else { 1 << 20 };
        let (status, answer) = edge.post(&path, &[proof], &vec![b' '; most + 1]).await;
        assert_eq!(status, 413, "{receiver}: {answer}");
    }
    for sent in sent(edge.now()) {
        let cut = &sent.body[..sent.body.len() / 2];
        let headers = if sent.signed { sent.signed_anew(cut, edge.now()) } else { sent.headers.clone() };
        let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let (status, answer) = edge.post(&sent.path, &headers, cut).await;
        let whole_in_headers = sent.path.ends_with("binary");
        assert!(status == 400 || whole_in_headers, "{} cut short: {answer}", sent.path);
    }
    assert!(edge.firing().iter().all(|alert| alert.receiver.as_str() == "binary"));
    edge.stop().await;
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let limits = AlertLimits { body_time: Duration::from_millis(200), ..AlertLimits::default() };
    let edge = Edge::with(limits, receivers()).await;
    let (name, value) = edge::bearer("am");
    let head =
        format!("POST /hooks/alerts/am HTTP/1.1\r\nHost: x\r\n{name}: {value}\r\nContent-Length: 100\r\n\r\nshort");
    let (status, answer) = edge.slow(head.as_bytes()).await;
    assert_eq!(status, 503, "Alertmanager does not come again after a 408: {answer}");
    let (status, _) = edge.raw(head.as_bytes()).await;
    assert!([0, 400].contains(&status), "{status}: the connection ended early");
    assert_eq!(edge.records(), 0);
    edge.stop().await;
}

/// Half of a body of 1 MiB each, more than there is room for: who signs finds room, with a small body and with a big one.
#[tokio::test]
async fn big_bodies_of_strangers_keep_no_signed_delivery_out() {
    let limits = AlertLimits { body_time: Duration::from_secs(60), ..AlertLimits::default() };
    let edge = Edge::with(limits, receivers()).await;
    let head = "POST /hooks/alerts/grafana HTTP/1.1\r\nHost: x\r\nX-Grafana-Alerting-Signature: 00\r\nContent-Length: 1048576\r\n\r\n";
    let half = [head.as_bytes(), &[b'x'; 700 << 10]].concat();
    let delivery = fixture("grafana.json");
    let mut strangers = Vec::new();
    for number in 0..30 {
        strangers.push(edge.half(&half).await);
        // Spaces at the end make it another delivery, or a big one.
        let spaces = if number == 29 { 700 << 10 } else { number };
        let body = [delivery.as_slice(), &vec![b' '; spaces]].concat();
        let proof = bodies::proof("grafana", &body, edge.now());
        let headers: Vec<(&str, &str)> = proof.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (status, answer) = edge.post("/hooks/alerts/grafana", &headers, &body).await;
        assert_eq!(status, 200, "beside {} strangers: {answer}", strangers.len());
    }
    edge.stop().await;
}

#[tokio::test]
async fn overload_is_503_and_a_poisoned_journal_too_never_429() {
    let edge = Edge::with(AlertLimits { burst: 2, per_second: 1, ..AlertLimits::default() }, receivers()).await;
    let body = fixture("alertmanager.json");
    let post =
        async |receiver: &str| edge.post(&format!("/hooks/alerts/{receiver}"), &[edge::bearer(receiver)], &body).await;
    let answers = [post("am").await, post("am").await, post("am").await];
    assert_eq!(answers.each_ref().map(|(status, _)| *status), [200, 200, 503], "{answers:?}");
    assert!(answers[2].1.to_ascii_lowercase().contains("retry-after: 1"), "{answers:?}");
    // The others have a rate of their own; strangers use up nobody's.
    for _ in 0..4 {
        assert_eq!(edge.post("/hooks/alerts/am2", &[("Authorization", "Bearer no")], &body).await.0, 401);
    }
    assert_eq!(post("am2").await.0, 200);
    edge.stop().await;

    let edge = Edge::start().await;
    let post = async |body: &[u8]| edge.post("/hooks/alerts/am", &[edge::bearer("am")], body).await;
    for error in [LogError::Overloaded, LogError::Poisoned("no space left".to_owned()), LogError::Closed] {
        edge.fail(Some(error));
        let (status, answer) = post(&body).await;
        assert!(status == 503 && answer.to_ascii_lowercase().contains("retry-after:"), "{answer}");
        assert!(!answer.contains("no space left"), "{answer}");
    }
    edge.fail(None);
    assert_eq!((edge.records(), post(&body).await.0), (0, 200), "it was not called a duplicate when it was not taken");
    assert_eq!(edge.firing().len(), 1);
    edge.stop().await;
}

/// Nothing comes back of the rates here, so each turn that a stranger could take would be missed.
#[tokio::test]
async fn a_flood_of_forgeries_uses_up_no_receivers_rate() {
    let edge =
        Edge::with(AlertLimits { burst: 1, per_second: 0, concurrency: 1, ..AlertLimits::default() }, receivers())
            .await;
    let mut receivers = Vec::new();
    for sent in sent(edge.now()) {
        // One delivery of each receiver: that is all its rate lets through.
        if receivers.contains(&sent.receiver) {
            continue;
        }
        receivers.push(sent.receiver);
        for _ in 0..10 {
            for name in &sent.proofs {
                let (status, answer) = edge.post(&sent.path, &sent.with(name, "sha256=00"), &sent.body).await;
                assert_eq!(status, 401, "{}: {answer}", sent.path);
            }
        }
        let (status, answer) = edge.post(&sent.path, &sent.headers(), &sent.body).await;
        assert_eq!(status, 200, "{}: {answer}", sent.path);
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_signed_delivery_that_was_not_taken_is_taken_when_it_comes_again() {
    let edge = Edge::start().await;
    for sent in sent(edge.now()).iter().filter(|sent| sent.signed) {
        edge.fail(Some(LogError::Overloaded));
        assert_eq!(edge.post(&sent.path, &sent.headers(), &sent.body).await.0, 503);
        edge.fail(None);
        let (status, answer) = edge.post(&sent.path, &sent.headers(), &sent.body).await;
        assert!(status == 200 && answer.contains("taken"), "{}: {answer}", sent.path);
    }
    edge.stop().await;
}

#[tokio::test]
async fn receivers_of_one_system_share_a_source_and_resolved_closes_what_it_opened() {
    let edge = Edge::start().await;
    let at = |seconds: i64| (edge.now() + jiff::SignedDuration::from_secs(seconds)).to_string();
    let labels = serde_json::json!({"alertname": "AppDown", "app": "shop"});
    let firing = serde_json::json!([{"labels": labels, "startsAt": at(-60)}]).to_string();
    let post = async |path: &str, receiver: &str, body: &str| {
        edge.post(path, &[edge::bearer(receiver)], body.as_bytes()).await
    };
    assert_eq!(post("/api/v2/alerts", "prometheus", &firing).await.0, 200);
    let expires = edge.firing()[0].expires_at.expect("the API's alerts expire");
    assert!(expires > edge.now() && expires <= edge.now() + jiff::SignedDuration::from_mins(5));
    let webhook = |status: &str, starts: i64, ends: &str| {
        let alert = serde_json::json!({"status": status, "labels": labels, "startsAt": at(starts), "endsAt": ends});
        serde_json::json!({"version": "4", "status": status, "alerts": [alert]}).to_string()
    };
    // The same alert, by another way.
    assert_eq!(post("/hooks/alerts/am", "am", &webhook("firing", -60, "0001-01-01T00:00:00Z")).await.0, 200);
    assert_eq!(edge.firing().len(), 1);
    // Another source knows nothing of it; nor does an end that lies before its beginning.
    assert_eq!(post("/hooks/alerts/am2", "am2", &webhook("resolved", -60, &at(-1))).await.0, 200);
    assert_eq!(post("/hooks/alerts/am", "am", &webhook("resolved", -600, &at(-120))).await.0, 200);
    assert_eq!(edge.firing().len(), 1);
    assert_eq!(post("/hooks/alerts/am", "am", &webhook("resolved", -61, &at(-1))).await.0, 200);
    assert!(edge.firing().is_empty());
    assert_eq!(edge.states(), [AlertState::Resolved]);
    edge.stop().await;
}

#[tokio::test]
async fn an_end_that_overtakes_its_beginning_leaves_nothing_open() {
    let edge = Edge::start().await;
    let at = |seconds: i64| (edge.now() + jiff::SignedDuration::from_secs(seconds)).to_string();
    let post = async |event: &str, occurred: i64| {
        let incident = serde_json::json!({"id": "PGR0VU2", "title": "Disk is full", "created_at": at(-60)});
        let event = serde_json::json!({
            "id": format!("{event}{occurred}"), "event_type": format!("incident.{event}"), "occurred_at": at(occurred), "data": incident,
        });
        let body = serde_json::json!({ "event": event }).to_string();
        let (status, answer) =
            edge.post("/hooks/alerts/pd-bearer", &[edge::bearer("pd-bearer")], body.as_bytes()).await;
        assert_eq!(status, 200, "{answer}");
    };
    post("resolved", -20).await;
    post("triggered", -60).await;
    assert!(edge.firing().is_empty(), "nothing would ever close it");
    post("reopened", -10).await;
    assert_eq!(edge.firing().len(), 1, "this came later than that end");
    post("resolved", -5).await;
    post("reopened", -10).await;
    assert!(edge.firing().is_empty());
    edge.stop().await;
}

#[tokio::test]
async fn an_alert_without_a_time_is_one_alert_however_often_it_is_told_of() {
    let edge = Edge::start().await;
    for (status, fires) in [("firing", 1), ("firing", 1), ("resolved", 0), ("firing", 1)] {
        let body = serde_json::json!({"labels": {"alertname": "Late"}, "status": status}).to_string();
        assert_eq!(edge.post("/hooks/alerts/alerts", &[edge::bearer("alerts")], body.as_bytes()).await.0, 200);
        assert_eq!(edge.firing().len(), fires, "{status}");
        edge.advance(7);
    }
    assert_eq!(edge.states(), [AlertState::Resolved, AlertState::Firing], "the second is another");
    edge.stop().await;
}

#[tokio::test]
async fn a_watchdog_is_heard_and_no_alert() {
    let edge = Edge::start().await;
    let body = r#"{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"Watchdog"},"startsAt":"2026-11-20T00:00:00Z"}]}"#;
    let post = async || edge.post("/hooks/alerts/am", &[edge::bearer("am")], body.as_bytes()).await.0;
    assert_eq!((post().await, post().await), (200, 200));
    assert_eq!((edge.heard(), edge.firing().len()), (1, 0), "written down at most ten times in its time");
    edge.advance(31);
    assert_eq!((post().await, edge.heard()), (200, 2));
    // What could not be written down is told again, and has not been heard before.
    edge.advance(31);
    edge.fail_to_hear(Some(LogError::Overloaded));
    assert_eq!((post().await, edge.heard()), (503, 2));
    edge.fail_to_hear(None);
    assert_eq!((post().await, edge.heard()), (200, 3));
    // What it stands beside has no room: that the sender lives is known all the same.
    edge.advance(31);
    edge.fill("am", true);
    let other = r#"},{"status":"firing","labels":{"alertname":"Other"},"startsAt":"2026-11-20T00:00:00Z"}]}"#;
    let both = body.replace("}]}", other);
    let refused = edge.post("/hooks/alerts/am", &[edge::bearer("am")], both.as_bytes()).await.0;
    assert_eq!((refused, edge.heard()), (503, 4));
    edge.fill("am", false);
    // A Prometheus that posts past its Alertmanager has the same one: as little an alert, and no sign that the Alertmanager lives.
    edge.advance(31);
    let bare = br#"[{"labels":{"alertname":"Watchdog"},"startsAt":"2026-11-20T00:00:00Z"}]"#;
    assert_eq!(edge.post("/api/v2/alerts", &[edge::bearer("prometheus")], bare).await.0, 200);
    assert_eq!((edge.heard(), edge.firing().len()), (4, 0));
    // A receiver without one, of a source without one, takes it as any alert.
    assert_eq!(edge.post("/hooks/alerts/am2", &[edge::bearer("am2")], body.as_bytes()).await.0, 200);
    assert_eq!(edge.firing().len(), 1);
    edge.stop().await;
}

/// The fixture, and its sender says that it left some out.
fn cut_short() -> Vec<u8> {
    let body = String::from_utf8(fixture("alertmanager.json")).expect("text");
    body.replace("\"truncatedAlerts\":0", "\"truncatedAlerts\":1").into_bytes()
}

#[tokio::test]
async fn the_rest_of_a_delivery_that_was_cut_short_is_durable_before_it_is_acknowledged() {
    let edge = Edge::start().await;
    let post = async |body: &[u8]| edge.post("/hooks/alerts/am", &[edge::bearer("am")], body).await;
    let names = || edge.firing().iter().map(|alert| alert.name().to_owned()).collect::<Vec<_>>();
    edge.listing_fails(true);
    let (status, answer) = post(&cut_short()).await;
    assert_eq!((status, edge.firing().len()), (503, 1), "what came is kept, and comes again: {answer}");
    edge.listing_fails(false);
    let (status, answer) = post(&cut_short()).await;
    assert_eq!(status, 200, "{answer}");
    assert!(names().contains(&"LeftOut".to_owned()), "{:?}", names());
    assert!(!names().iter().any(|name| name == "Quiet" || name == "Theirs"), "silenced, and not for us: {:?}", names());
    let group: serde_json::Value = serde_json::from_slice(&fixture("alertmanager.json")).expect("JSON");
    let asked = edge.asked();
    assert_eq!((asked.len(), asked[1].0.as_str()), (2, "am"));
    assert_eq!(serde_json::json!(asked[1].1), group["groupLabels"], "its group is asked for, and no other");
    edge.stop().await;
}

/// The fixture with so many alerts, each another one.
fn many(count: usize) -> Vec<u8> {
    let mut body: serde_json::Value = serde_json::from_slice(&fixture("alertmanager.json")).expect("JSON");
    let one = body["alerts"][0].clone();
    let alerts = (0..count).map(|at| {
        let mut alert = one.clone();
        alert["labels"]["instance"] = format!("n{at}").into();
        alert["annotations"] = serde_json::json!({});
        alert
    });
    body["alerts"] = alerts.collect();
    body.to_string().into_bytes()
}

#[tokio::test]
async fn of_a_delivery_with_too_many_alerts_the_first_are_taken_and_its_sender_is_told() {
    let edge = Edge::start().await;
    let body = many(10_001);
    for _ in 0..2 {
        let (status, answer) = edge.post("/hooks/alerts/am2", &[edge::bearer("am2")], &body).await;
        assert_eq!((status, edge.firing().len()), (413, 10_000), "{answer}");
        assert!(answer.contains("more than 10,000 alerts"), "{answer}");
    }
    // Where its source can be asked, that is asked as for what it left out.
    let (status, answer) = edge.post("/hooks/alerts/am", &[edge::bearer("am")], &body).await;
    assert_eq!((status, edge.asked().len()), (200, 1), "{answer}");
    assert!(edge.firing().iter().any(|alert| alert.name() == "LeftOut"));
    edge.stop().await;
}

#[tokio::test]
async fn a_receiver_whose_source_does_not_answer_keeps_no_other_out() {
    let edge = Edge::with(AlertLimits { concurrency: 2, ..AlertLimits::default() }, receivers()).await;
    edge.listing_hangs();
    let body = cut_short();
    let waits = async || edge.post("/hooks/alerts/am", &[edge::bearer("am")], &body).await.0;
    let other = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        edge.post("/hooks/alerts/am2", &[edge::bearer("am2")], &fixture("alertmanager.json")).await.0
    };
    let (one, two, three, other) = tokio::join!(waits(), waits(), waits(), other);
    assert_eq!(other, 200);
    assert!([one, two, three].iter().all(|status| *status == 503), "what cannot be had is not acknowledged");
    edge.stop().await;
}

#[tokio::test]
async fn what_a_delivery_left_out_may_be_that_an_alert_is_over() {
    let edge = Edge::start().await;
    let post = async |body: &[u8]| edge.post("/hooks/alerts/am", &[edge::bearer("am")], body).await.0;
    assert_eq!(post(&fixture("alertmanager.json")).await, 200);
    let mut other: serde_json::Value = serde_json::from_slice(&cut_short()).expect("JSON");
    let known = other["alerts"][0]["labels"].clone();
    other["alerts"] = serde_json::json!([]);
    // A group of which the one that is open here is no member says nothing of it.
    other["groupLabels"] = serde_json::json!({"alertname": "Another"});
    assert_eq!(post(other.to_string().as_bytes()).await, 200);
    let open = || edge.firing().iter().any(|alert| serde_json::json!(alert.labels) == known);
    assert!(open());
    other["groupLabels"] = serde_json::json!({"alertname": known["alertname"]});
    edge.listing_is_up_since(edge.now());
    assert_eq!(post(other.to_string().as_bytes()).await, 503, "an Alertmanager that was just started cannot say");
    assert!(open());
    let ago = |minutes| edge.now() - jiff::SignedDuration::from_mins(minutes);
    edge.listing_is_up_since(ago(3));
    assert_eq!(post(other.to_string().as_bytes()).await, 200);
    assert!(open(), "it began before that Alertmanager, which forgot it");
    edge.listing_is_up_since(ago(61));
    assert_eq!(post(other.to_string().as_bytes()).await, 200);
    assert!(!open(), "it is not on the whole list of its group");
    edge.stop().await;
}

#[tokio::test]
async fn routes_that_there_are_and_that_there_are_not() {
    let edge = Edge::start().await;
    let origin = "OPTIONS /hooks/alerts/events HTTP/1.1\r\nHost: x\r\nWebHook-Request-Origin: eventemitter.example.com\r\nWebHook-Request-Rate: 120\r\n\r\n";
    let (status, answer) = edge.raw(origin.as_bytes()).await;
    let lower = answer.to_ascii_lowercase();
    assert!(status == 200 && lower.contains("webhook-allowed-origin: eventemitter.example.com"), "{answer}");
    assert!(lower.contains("webhook-allowed-rate: ") && lower.contains("allow: post"), "{answer}");
    let unknown = edge.raw(origin.replace("/events", "/nobody").as_bytes()).await.1.to_ascii_lowercase();
    let same = |answer: &str| answer.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n");
    assert_eq!(same(&unknown), same(&lower));
    for (request, status) in [
        ("GET /hooks/alerts/am", 405),
        ("PUT /hooks/alerts/am", 405),
        ("GET /api/v2/alerts", 405),
        ("POST /hooks/alerts/", 404),
        ("POST /hooks/alerts/a/b", 404),
    ] {
        assert_eq!(edge.raw(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.0, status, "{request}");
    }
    edge.stop().await;
    let mut without = receivers();
    without.remove("prometheus");
    let edge = Edge::with(AlertLimits::default(), without).await;
    assert_eq!(
        edge.post("/api/v2/alerts", &[edge::bearer("prometheus")], b"[]").await.0,
        404,
        "off until it is declared"
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_generic_body_is_read_as_its_mapping_says() {
    let edge = Edge::start().await;
    let body = serde_json::json!({"delivery": 17, "site": "eu", "checks": [
        {"name": "disk", "host": "a", "ok": false, "since": 1_795_204_800, "text": "97 %"},
        {"name": "disk", "host": ["a"], "ok": false, "since": 1_795_204_800},
        {"name": "load", "host": "b", "ok": true, "since": "2026-11-20T20:00:00Z"},
    ]});
    let post = async || edge.post("/hooks/alerts/mapped", &[edge::bearer("mapped")], body.to_string().as_bytes()).await;
    let (status, answer) = post().await;
    assert!(status == 200 && answer.contains("\"spoiled\":1"), "{answer}");
    let fires = edge.firing();
    let labels: Vec<_> = fires[0].labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["alertname=disk", "host=a", "site=eu"]);
    assert_eq!((fires.len(), fires[0].annotations["text"].as_str()), (1, "97 %"));
    assert_eq!(fires[0].id.starts_at.as_second(), 1_795_204_800);
    assert!(post().await.1.contains("duplicate"), "its id is where the mapping says");
    let signal = edge.signals().into_iter().find(|signal| matches!(signal, Signal::Resolved { .. }));
    assert!(signal.is_some() || edge.firing().len() == 1);
    let sent = async |checks: serde_json::Value| {
        let body = serde_json::json!({"delivery": 18, "site": "eu", "checks": checks}).to_string();
        edge.post("/hooks/alerts/mapped", &[edge::bearer("mapped")], body.as_bytes()).await
    };
    assert_eq!(sent(serde_json::json!([{"name": ["disk"]}])).await.0, 400);
    let (status, answer) =
        sent(serde_json::json!([{"name": "late", "host": "c", "ok": false, "since": 1_795_204_800}])).await;
    assert!(status == 200 && answer.contains("\"new\":1"), "what was refused was no delivery: {answer}");
    edge.stop().await;
}

#[tokio::test]
async fn a_generic_alert_may_have_numbers_and_booleans_where_others_have_text() {
    let edge = Edge::start().await;
    let body = serde_json::json!({"alerts": [
        {"labels": {"alertname": "Slow", "code": 503, "load": 1.5, "canary": true}, "annotations": {"seen": 3}},
        {"labels": {"alertname": "Odd", "list": [1]}},
    ]});
    let headers = [edge::bearer("alerts")];
    let (status, answer) = edge.post("/hooks/alerts/alerts", &headers, body.to_string().as_bytes()).await;
    assert!(status == 200 && answer.contains("\"spoiled\":1"), "a list is no text: {answer}");
    let fires = edge.firing();
    let labels: Vec<_> = fires[0].labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["alertname=Slow", "canary=true", "code=503", "load=1.5"]);
    assert_eq!(fires[0].annotations["seen"], "3");
    edge.stop().await;
}

#[test]
fn the_signers_sign_as_documented() {
    // The published example of HMAC-SHA-256 over a body.
    assert_eq!(
        sign("It's a Secret to Everybody", &[b"Hello, World!"]),
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
}

#[tokio::test]
async fn a_receiver_that_has_brought_all_it_may_brings_ends_and_nothing_new_and_others_are_not_touched() {
    let edge = Edge::start().await;
    let one = |app: &str, status: &str| serde_json::json!({"labels": {"alertname": "AppDown", "app": app}, "status": status, "startsAt": "2026-11-20T08:00:00Z"});
    let post = async |receiver: &str, alerts: &[serde_json::Value]| {
        let body = serde_json::json!({"version": "4", "alerts": alerts}).to_string();
        edge.post(&format!("/hooks/alerts/{receiver}"), &[edge::bearer(receiver)], body.as_bytes()).await
    };
    assert_eq!(post("am", &[one("shop", "firing"), one("cart", "firing")]).await.0, 200);
    edge.fill("am", true);
    let (status, answer) = post("am", &[one("auth", "firing"), one("shop", "resolved")]).await;
    assert!(status == 503 && answer.to_ascii_lowercase().contains("retry-after:"), "{answer}");
    let fires = || edge.firing().iter().map(|alert| alert.labels["app"].clone()).collect::<Vec<_>>();
    assert_eq!(fires(), ["cart"], "what is over is over, also where nothing new is taken");
    assert_eq!(post("am", &[one("cart", "firing")]).await.0, 200, "it says nothing new");
    assert_eq!(post("am2", &[one("auth", "firing")]).await.0, 200, "another receiver");
    edge.fill("am", false);
    let (status, answer) = post("am", &[one("auth", "firing"), one("shop", "resolved")]).await;
    assert!(status == 200 && answer.contains("taken"), "it comes again and is no duplicate: {answer}");
    assert_eq!(fires().len(), 3);
    edge.stop().await;
}

#[tokio::test]
async fn a_prometheus_that_tells_on_of_what_its_alertmanager_silences_ends_no_silence() {
    let edge = Edge::start().await;
    let by_prometheus =
        async || edge.post("/api/v2/alerts", &[edge::bearer("prometheus")], &fixture("prometheus.json")).await.0;
    assert_eq!(by_prometheus().await, 200);
    let firing = edge.firing();
    edge.are(AlertState::Silenced).await;
    assert_eq!(by_prometheus().await, 200);
    assert!(edge.firing().is_empty(), "{:?}", edge.states());
    // What comes through Alertmanager is not silenced.
    let told = serde_json::json!({"version": "4", "status": "firing", "groupKey": "g", "receiver": "codeops",
        "truncatedAlerts": 0, "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "",
        "alerts": [{"status": "firing", "labels": firing[0].labels, "annotations": {},
            "startsAt": firing[0].id.starts_at, "endsAt": "0001-01-01T00:00:00Z"}]});
    assert_eq!(edge.post("/hooks/alerts/am", &[edge::bearer("am")], told.to_string().as_bytes()).await.0, 200);
    assert_eq!(edge.firing().iter().map(|alert| &alert.id).collect::<Vec<_>>(), [&firing[0].id]);
    edge.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_full_hears_its_watchdog() {
    let edge = Edge::start().await;
    edge.fill("am", true);
    let alert = |name: &str| serde_json::json!({"status": "firing", "labels": {"alertname": name}});
    let body = serde_json::json!({"version": "4", "alerts": [alert("Watchdog"), alert("AppDown")]}).to_string();
    let (status, answer) = edge.post("/hooks/alerts/am", &[edge::bearer("am")], body.as_bytes()).await;
    assert_eq!((status, edge.heard(), edge.firing().len()), (503, 1, 0), "{answer}");
    edge.stop().await;
}

#[tokio::test]
async fn alerts_of_a_receiver_that_says_no_end_expire_as_its_settings_say() {
    let mut settings = receivers();
    settings.get_mut("alerts").expect("a receiver").expire = Some(codeops_core::model::Period::from_secs(3_600));
    let edge = Edge::with(AlertLimits::default(), settings).await;
    let body = br#"{"labels":{"alertname":"AppDown"},"startsAt":"2026-11-20T20:00:00Z"}"#;
    let post = async |receiver: &str| {
        let path = format!("/hooks/alerts/{receiver}");
        assert_eq!(edge.post(&path, &[edge::bearer(receiver)], body).await.0, 200);
    };
    post("alerts").await;
    let hour = jiff::SignedDuration::from_hours(1);
    assert_eq!(edge.firing()[0].expires_at, edge.now().checked_add(hour).ok());
    edge.advance(1_900);
    post("alerts").await;
    assert_eq!(edge.firing()[0].expires_at, edge.now().checked_add(hour).ok(), "it is told of again");
    edge.stop().await;
}

/// Of a whole PagerDuty account everything comes back that codeops sends there.
#[tokio::test]
async fn a_page_that_comes_back_as_an_incident_is_no_alert() {
    let edge = Edge::start().await;
    let fixture = String::from_utf8(fixture("pagerduty.json")).expect("text");
    let own = fixture.replace("d3640fbd41094207a1c11e58e46b1662", &edge.page_key());
    assert_ne!(own, fixture);
    let post = async |body: &str, id: &'static str| {
        edge.post("/hooks/alerts/pd-bearer", &[edge::bearer("pd-bearer"), ("X-Webhook-Id", id)], body.as_bytes())
            .await
            .0
    };
    assert_eq!(post(&own, "one").await, 200);
    assert!(edge.firing().is_empty());
    let others = own.replace(&edge.page_key(), &edge.page_key().replace(":p12", ":p12x"));
    assert_eq!(post(&others, "two").await, 200);
    assert_eq!(edge.firing().len(), 1, "what somebody else opened is one");
    edge.stop().await;
}
