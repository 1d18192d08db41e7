//! Questions to monitoring systems, asked for real.

use codeops::effect::MonitoringApis;
use codeops::port::{AlertSources as _, Clock};
use codeops_core::config::{AuthSettings, ReceiverSettings};
use codeops_core::model::{Alert, AlertId, AlertState, Fingerprint, Labels};
use jiff::Timestamp;

use super::*;
use crate::support::sink::{HttpSink, Reply};

fn alert(receiver: &str, label: &str) -> Arc<Alert> {
    let labels: Labels = [("alertname".to_owned(), label.to_owned())].into();
    let (source, starts_at) = (name(receiver), Timestamp::from_second(1_700_000_000).expect("a time"));
    let id = AlertId { source, fingerprint: Fingerprint::of(&labels), starts_at };
    let receiver = name(receiver);
    Arc::new(Alert { id, receiver, labels, annotations: Labels::new(), url: None, expires_at: None })
}

/// One Alertmanager for two teams, of which each sees its own alerts.
async fn of_two_teams() -> HttpSink {
    HttpSink::serve(|taken| {
        let listed = r#"[{"labels": {"alertname": "ASlow"}, "startsAt": "2023-11-14T23:00:00.000Z",
            "annotations": {"summary": "again"}, "status": {"state": "active"}}]"#;
        let own = taken.header("authorization") == Some("Bearer of-a");
        match taken.path().starts_with("/api/v2/status") {
            true => Reply::status(200, r#"{"uptime": "2020-01-01T00:00:00Z"}"#),
            false => Reply::status(200, if own { listed } else { "[]" }),
        }
    })
    .await
}

fn apis(sink: &HttpSink) -> MonitoringApis {
    let receiver = |team: &str| {
        let token = AuthSettings::Bearer(SecretSource::Env(team.to_owned()));
        let json =
            serde_json::json!({"format": "alertmanager", "auth": {"bearer": {"env": "IN"}}, "api": sink.url("")});
        let settings: ReceiverSettings = serde_json::from_value(json).expect("settings of a receiver");
        (name(team), ReceiverSettings { api_auth: Some(token), ..settings })
    };
    // Another one of the same Alertmanager, which has no API.
    let json = serde_json::json!({"format": "alertmanager", "auth": {"bearer": {"env": "IN"}}, "source": "b"});
    let other = (name("b2"), serde_json::from_value(json).expect("settings of a receiver"));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let read = |source: &SecretSource| match source {
        SecretSource::Env(team) => Ok(codeops_core::model::Secret::new(format!("of-{team}"))),
        SecretSource::File(_) => Err("no file".to_owned()),
    };
    MonitoringApis::new(&[receiver("a"), receiver("b"), other].into(), clock, read).expect("APIs")
}

#[tokio::test]
async fn who_asks_one_system_as_two_teams_takes_no_answer_for_the_others() {
    let sink = of_two_teams().await;
    let apis = apis(&sink);
    let (a, b) = (alert("a", "ASlow"), alert("b", "BSlow"));
    let (by_a, by_b) = (apis.asked_by(&a).expect("a receiver"), apis.asked_by(&b).expect("a receiver"));
    assert_ne!(by_a, by_b, "asked in one question, with the credentials of one");
    let (of_a, of_b) = (apis.ask_all(&by_a, &[Arc::clone(&a)]).await, apis.ask_all(&by_b, &[b]).await);
    assert_eq!((of_a[0].state, of_b[0].state), (AlertState::Firing, AlertState::Resolved));
    let anew = of_a[0].anew.as_ref().expect("it began later than what was asked about");
    assert!(anew.id.starts_at > a.id.starts_at && anew.id.fingerprint == a.id.fingerprint);
    assert_eq!(anew.annotations.get("summary").map(String::as_str), Some("again"));
}

#[tokio::test]
async fn what_came_past_the_one_that_is_asked_is_not_over_because_that_one_does_not_know_it() {
    let sink = of_two_teams().await;
    let apis = apis(&sink);
    let own = alert("b", "BSlow");
    let past = Arc::new(Alert { receiver: name("prometheus"), ..Alert::clone(&own) });
    assert_eq!((apis.ask(&own).await, apis.ask(&past).await), (AlertState::Resolved, AlertState::Unknown));
    let by = apis.asked_by(&past).expect("a receiver of its source");
    let both = apis.ask_all(&by, &[Arc::clone(&own), past]).await;
    let states: Vec<_> = both.iter().map(|answer| answer.state).collect();
    assert_eq!(states, [AlertState::Resolved, AlertState::Unknown]);
    let beside = Arc::new(Alert { receiver: name("b2"), ..Alert::clone(&own) });
    assert_eq!(apis.ask(&beside).await, AlertState::Resolved, "that Alertmanager sent it, to another receiver of ours");
}

/// An Alertmanager gives what is posted without a beginning the time of its end for one.
#[tokio::test]
async fn an_alert_that_is_to_begin_later_is_none_that_began_anew() {
    let sink = HttpSink::serve(|taken| match taken.path().starts_with("/api/v2/status") {
        true => Reply::status(200, r#"{"uptime": "2020-01-01T00:00:00Z"}"#),
        false => Reply::status(
            200,
            r#"[{"labels": {"alertname": "BSlow"}, "startsAt": "2999-01-01T00:00:00Z", "status": {"state": "active"}}]"#,
        ),
    })
    .await;
    let (apis, asked) = (apis(&sink), alert("b", "BSlow"));
    let by = apis.asked_by(&asked).expect("a receiver");
    let answers = apis.ask_all(&by, &[asked]).await;
    assert!(answers[0].state == AlertState::Firing && answers[0].anew.is_none(), "{:?}", answers[0].anew);
}

/// It forgets its alerts when it ends, and rules with a long `for` that began anew with it take their time.
#[tokio::test]
async fn an_alertmanager_that_was_restarted_since_an_alert_began_does_not_say_soon_that_it_is_over() {
    for (hours, state) in [(0, AlertState::Unknown), (2, AlertState::Resolved)] {
        let up = SystemClock.now() - jiff::SignedDuration::from_mins(10 + 60 * hours);
        let sink = HttpSink::serve(move |taken| match taken.path().starts_with("/api/v2/status") {
            true => Reply::status(200, &format!("{{\"uptime\": \"{up}\"}}")),
            false => Reply::status(200, "[]"),
        })
        .await;
        let began_before = alert("b", "BSlow");
        let mut began_since = Alert::clone(&began_before);
        began_since.id.starts_at = up + jiff::SignedDuration::from_mins(1);
        let apis = apis(&sink);
        assert_eq!(apis.ask(&began_before).await, state, "{hours}");
        assert_eq!(apis.ask(&began_since).await, AlertState::Resolved, "{hours}");
    }
}
