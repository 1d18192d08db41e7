//! Runs, pages and alerts folded as the journal gives them.

use std::sync::Arc;

use codeops_core::model::{
    AlertId, AlertMemory, AlertState, Disposition, Does, Memory, PlaybookStep, ResourceId, RunId, RunState, Rung,
    Subject, Taken,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::journal::{Change, Entry, Folded, Over, Record, Seq, fold};

/// A memory that is told things at minutes since the time of the golden files.
#[derive(Default)]
struct Told {
    memory: Memory,
    seq: u64,
}

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_second(1_795_163_400 + minute * 60).unwrap()
}

fn golden(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/records").join(name);
    serde_json::from_str(&std::fs::read_to_string(path.with_extension("json")).unwrap()).unwrap()
}

impl Told {
    fn at(&mut self, at: i64, record: Value) -> Folded {
        self.seq += 1;
        let record: Record = serde_json::from_value(record).unwrap();
        fold(&mut self.memory, &Entry { seq: Seq(self.seq), at: minute(at), record })
    }

    fn signal(&mut self, at: i64, signal: &Value) -> Folded {
        let mut folded = self.at(at, json!({"type": "alerts", "receiver": "alertmanager", "signals": [signal]}));
        folded.changes.retain(|change| *change != Change::Spent); // That it was written down is counted of each.
        folded
    }

    fn alert(&self, id: &str) -> Option<&AlertMemory> {
        self.memory.response.alerts.get(&id.parse::<AlertId>().unwrap()).map(Arc::as_ref)
    }

    fn state(&self, id: &str) -> Option<AlertState> {
        self.alert(id).map(|alert| alert.state)
    }

    /// Opens a run with the golden program, and what happens in it.
    fn run(&mut self, at: i64, run: u64, events: &[Value]) {
        let mut opened = golden("run-opened");
        opened["run"] = json!(RunId(run));
        if !self.memory.response.runs.contains_key(&RunId(run)) {
            self.at(at, opened);
        }
        for event in events {
            self.at(at, json!({"type": "run", "run": RunId(run), "event": event}));
        }
    }

    fn ledger(&self) -> Vec<(u64, RunState, Rung)> {
        let subject = Subject::Resource("app/shop".parse::<ResourceId>().unwrap());
        let ledger = self.memory.response.ledger.get(&subject);
        ledger.map_or(Vec::new(), |it| it.ends.iter().map(|end| (end.run.0, end.state, end.rung)).collect())
    }
}

/// An alert of one fingerprint that began so many minutes in.
fn id(began: i64) -> String {
    format!("main/9f86d081884c7d65/{}", minute(began).as_millisecond())
}

fn firing(began: i64, more: &Value) -> Value {
    let mut alert = json!({"id": id(began), "receiver": "alertmanager", "labels": {"alertname": "AppDown"}});
    for (key, value) in more.as_object().into_iter().flatten() {
        alert[key] = value.clone();
    }
    json!({"firing": alert})
}

fn resolved(ended: i64, starts_at: Option<i64>) -> Value {
    json!({"resolved": {"source": "main", "fingerprint": "9f86d081884c7d65", "startsAt": starts_at.map(minute),
        "endedAt": minute(ended)}})
}

fn ended(state: &str) -> Value {
    json!({"event": "ended", "state": state, "why": "so it was"})
}

#[test]
fn a_resolved_signal_closes_what_began_before_it_and_an_exact_one_only_that() {
    let mut told = Told::default();
    for began in [0, 1, 5] {
        told.signal(5, &firing(began, &json!({})));
    }
    told.signal(6, &resolved(6, Some(1)));
    assert_eq!([0, 1, 5].map(|began| told.state(&id(began)).unwrap().word()), ["firing", "resolved", "firing"]);
    told.signal(7, &resolved(3, None));
    assert_eq!([0, 1, 5].map(|began| told.state(&id(began)).unwrap().word()), ["resolved", "resolved", "firing"]);
    assert_eq!(told.alert(&id(1)).unwrap().since, minute(6), "it stays as it is since then");
    let other = json!({"resolved": {"source": "other", "fingerprint": "9f86d081884c7d65", "startsAt": null,
        "endedAt": minute(9)}});
    assert_eq!(told.signal(9, &other).changes, [], "another source closes nothing");
}

#[test]
fn resolved_expired_silenced_and_unknown_are_different_things() {
    let mut told = Told::default();
    told.signal(0, &firing(0, &json!({})));
    let silenced = json!({"silenced": {"source": "main", "fingerprint": "9f86d081884c7d65"}});
    assert_eq!(told.signal(1, &silenced).changes, [Change::Alert(id(0).parse().unwrap())]);
    assert_eq!(told.state(&id(0)), Some(AlertState::Silenced));
    for state in ["unknown", "expired"] {
        told.at(2, json!({"type": "alertState", "alerts": [id(0), id(9)], "state": state, "why": "asked"}));
        assert_eq!(told.state(&id(0)).unwrap().word(), state);
        assert_eq!(told.signal(3, &silenced).changes, [], "only what fires can be silenced");
    }
    told.signal(4, &resolved(4, None));
    assert_eq!(told.state(&id(0)), Some(AlertState::Resolved), "what had expired is proven over");
    assert_eq!(told.state(&id(9)), None, "and of what is not known nothing is made up");
}

#[test]
fn what_had_expired_and_is_told_of_again_goes_on_with_the_page_that_tells_of_it() {
    for (closed, accepted) in [(false, false), (false, true), (true, true)] {
        let mut told = Told::default();
        told.signal(0, &firing(0, &json!({})));
        let page = |event: Value| json!({"type": "page", "page": "p1", "event": event});
        let opened =
            json!({"event": "opened", "run": "r1", "policy": null, "title": "t", "body": "b", "alerts": [id(0)]});
        told.at(0, page(opened));
        told.at(0, json!({"type": "disposed", "alerts": [id(0)], "disposition": {"run": {"run": "r1"}}}));
        if accepted {
            told.at(1, page(json!({"event": "accepted", "notified": {"receiver": "sink"}})));
        }
        told.at(9, json!({"type": "alertState", "alerts": [id(0)], "state": "expired", "why": "not told of"}));
        if closed {
            told.at(9, page(json!({"event": "closed", "why": "it is"})));
        }
        told.signal(10, &firing(0, &json!({})));
        let alert = told.alert(&id(0)).unwrap();
        assert_eq!(alert.state, AlertState::Firing);
        let anew = alert.disposition == Disposition::Received;
        assert_eq!(anew, closed, "{:?}", told.memory.response);
    }
}

#[test]
fn a_page_knows_that_an_alert_of_it_was_let_go_of_which_nobody_said_to_be_over() {
    for (state, lost) in [("expired", true), ("resolved", false)] {
        let mut told = Told::default();
        told.signal(0, &firing(0, &json!({})));
        let opened =
            json!({"event": "opened", "run": "r1", "policy": null, "title": "t", "body": "b", "alerts": [id(0)]});
        told.at(0, json!({"type": "page", "page": "p1", "event": opened}));
        told.at(1, json!({"type": "alertState", "alerts": [id(0)], "state": state, "why": "so it is"}));
        told.at(90, json!({"type": "alerts", "receiver": "alertmanager", "signals": []}));
        assert_eq!(told.alert(&id(0)), None);
        let pages: Vec<bool> = told.memory.response.pages.values().map(|page| page.lost).collect();
        assert_eq!(pages, [lost], "{state}");
    }
}

#[test]
fn an_alert_that_comes_back_within_the_hour_is_received_anew() {
    let mut told = Told::default();
    told.signal(0, &firing(0, &json!({})));
    told.run(0, 1, &[]);
    let disposed = json!({"type": "disposed", "alerts": [id(0)], "disposition": {"run": {"run": "r1"}}});
    told.at(0, disposed);
    told.signal(10, &resolved(10, None));
    told.signal(60, &firing(0, &json!({})));
    let alert = told.alert(&id(0)).unwrap();
    assert_eq!((alert.state, &alert.disposition), (AlertState::Firing, &Disposition::Received));
    assert_eq!((alert.since, alert.received_at), (minute(60), minute(0)));
}

#[test]
fn one_that_was_only_out_of_sight_goes_on_with_its_run() {
    let mut told = Told::default();
    told.signal(0, &firing(0, &json!({})));
    told.run(0, 1, &[]);
    told.at(0, json!({"type": "disposed", "alerts": [id(0)], "disposition": {"run": {"run": "r1"}}}));
    let unknown = json!({"type": "alertState", "alerts": [id(0)], "state": "unknown", "why": "asked"});
    told.at(1, unknown.clone());
    told.signal(2, &firing(0, &json!({})));
    assert_eq!(told.alert(&id(0)).unwrap().disposition, Disposition::Run { run: RunId(1) });
    told.at(3, unknown);
    told.run(3, 1, &[ended("failed")]);
    told.signal(4, &firing(0, &json!({})));
    assert_eq!(told.alert(&id(0)).unwrap().disposition, Disposition::Received, "nobody answers it any more");
}

/// Whoever was called knows that it was over: its run's page tells them nothing of its coming back.
#[test]
fn what_its_source_has_again_when_asked_is_received_anew_where_its_run_has_called() {
    for calls in [false, true] {
        let mut told = Told::default();
        told.signal(0, &firing(0, &json!({})));
        told.run(0, 1, &[]);
        told.at(0, json!({"type": "disposed", "alerts": [id(0)], "disposition": {"run": {"run": "r1"}}}));
        if calls {
            let run = &told.memory.response.runs[&RunId(1)];
            let is_page = |step: &PlaybookStep| matches!(step.does, Does::Page { .. });
            let page = run.playbook.otherwise.iter().flatten().position(is_page).unwrap();
            let begun = json!({"event": "stepBegun", "step": {"part": "otherwise", "index": page}, "attempt": 1,
                "key": "k", "deadline": minute(9)});
            told.run(1, 1, &[begun]);
        }
        for state in ["resolved", "firing"] {
            told.at(2, json!({"type": "alertState", "alerts": [id(0)], "state": state, "why": "asked"}));
        }
        let answered = Disposition::Run { run: RunId(1) };
        let expected = if calls { Disposition::Received } else { answered };
        assert_eq!(told.alert(&id(0)).unwrap().disposition, expected, "{calls}");
    }
}

#[test]
fn what_is_told_again_shows_the_newest_and_keeps_by_whom_it_came() {
    let mut told = Told::default();
    told.signal(0, &firing(0, &json!({"expires_at": minute(5)})));
    let again = told.signal(1, &firing(0, &json!({"receiver": "webhook", "annotations": {"summary": "worse"}})));
    assert_eq!(again.changes.len(), 1);
    let alert = told.alert(&id(0)).unwrap();
    assert_eq!(alert.alert.receiver.as_str(), "alertmanager");
    assert_eq!(alert.alert.annotations["summary"], "worse");
    assert_eq!(alert.alert.expires_at, Some(minute(5)), "who says nothing of the end takes nothing back");
    assert_eq!((alert.since, alert.received_at), (minute(0), minute(0)));
    told.signal(2, &firing(0, &json!({"expires_at": minute(7)})));
    assert_eq!(told.alert(&id(0)).unwrap().alert.expires_at, Some(minute(7)));
}

#[test]
fn an_hour_after_its_end_an_alert_is_let_go_of_unless_a_run_still_answers_it() {
    let mut told = Told::default();
    for began in 0..40 {
        told.signal(40, &firing(began, &json!({})));
    }
    told.run(40, 1, &[]);
    told.at(40, json!({"type": "disposed", "alerts": [id(7)], "disposition": {"run": {"run": "r1"}}}));
    told.signal(41, &resolved(38, None));
    assert_eq!(told.memory.response.alerts.len(), 40);
    let mut gone = 0;
    for at in 102..112 {
        let folded = told.at(at, json!({"type": "watchdog", "receiver": "alertmanager"}));
        let over =
            folded.over.iter().filter(|over| matches!(over, Over::Alert(it) if it.state == AlertState::Resolved));
        assert!(over.clone().count() <= super::SWEPT, "a bounded look");
        gone += over.count();
    }
    let left: Vec<i64> = (0..40).filter(|began| told.state(&id(*began)).is_some()).collect();
    assert_eq!((gone, left), (38, vec![7, 39]), "one is answered, one still fires");
    told.run(112, 1, &[ended("resolved")]);
    assert_eq!(told.state(&id(7)), None);
    assert_eq!(told.memory.response.swept, None, "few are looked at in one go");
    let kept = told.memory.response.kept_of(&"alertmanager".parse().unwrap());
    assert_eq!((kept.alerts, kept.bytes), (1, "alertnameAppDown".len()));
}

#[test]
fn an_entry_that_says_that_nothing_came_makes_room_at_once() {
    let mut told = Told::default();
    for began in 0..40 {
        told.signal(40, &firing(began, &json!({})));
    }
    told.signal(41, &resolved(38, None));
    let nothing = json!({"type": "alerts", "receiver": "alertmanager", "signals": [], "spoiled": 0});
    assert_eq!(told.at(100, nothing.clone()).over, [], "it may come back");
    assert_eq!(told.at(102, nothing).over.len(), 39);
    let kept = told.memory.response.kept_of(&"alertmanager".parse().unwrap());
    assert_eq!((kept.alerts, told.memory.response.alerts.len()), (1, 1));
}

#[test]
fn what_its_source_holds_back_is_remembered_and_judged_anew_when_it_fires() {
    let mut told = Told::default();
    told.signal(0, &firing(0, &json!({"expires_at": minute(4)})));
    told.run(0, 1, &[]);
    told.at(0, json!({"type": "disposed", "alerts": [id(0)], "disposition": {"run": {"run": "r1"}}}));
    let is = |state: &str| json!({"type": "alertState", "alerts": [id(0)], "state": state, "why": "asked"});
    told.at(1, is("silenced"));
    told.run(1, 1, &[ended("cancelled")]);
    let nothing = json!({"type": "alerts", "receiver": "alertmanager", "signals": [], "spoiled": 0});
    told.at(300, nothing.clone());
    told.at(300, is("firing"));
    let alert = told.alert(&id(0)).unwrap();
    assert_eq!((alert.state, &alert.disposition), (AlertState::Firing, &Disposition::Received));
    assert_eq!(alert.alert.expires_at, Some(minute(305)), "its source has just said that it fires");
    // What is left for good goes as what is over does.
    told.at(301, is("silenced"));
    told.at(301, json!({"type": "disposed", "alerts": [id(0)], "disposition": {"left": {"why": "silenced"}}}));
    told.at(400, nothing);
    assert!(told.memory.response.alerts.is_empty());
}

#[test]
fn what_a_receiver_has_brought_is_counted_for_as_long_as_it_is_remembered() {
    let mut told = Told::default();
    let kept = |told: &Told| {
        let kept = told.memory.response.kept_of(&"alertmanager".parse().unwrap());
        (kept.alerts, kept.bytes)
    };
    let bytes = "alertnameAppDown".len();
    told.signal(0, &firing(0, &json!({})));
    told.signal(0, &firing(1, &json!({"annotations": {"a": "12345678"}})));
    assert_eq!(kept(&told), (2, 2 * bytes + 9));
    told.signal(1, &firing(0, &json!({"receiver": "webhook", "annotations": {"a": "123"}})));
    told.signal(1, &firing(1, &json!({})));
    assert_eq!(kept(&told), (2, 2 * bytes + 4), "whoever told of it first, as it is now");
    told.signal(2, &resolved(2, None));
    assert_eq!(kept(&told), (2, 2 * bytes + 4));
    (90..100).for_each(|at| drop(told.at(at, json!({"type": "watchdog", "receiver": "alertmanager"}))));
    assert_eq!((kept(&told), told.memory.response.kept.len()), ((0, 0), 0));
}

#[test]
fn a_run_is_remembered_until_it_is_over_and_then_counts_for_an_hour() {
    let mut told = Told::default();
    told.run(0, 3, &[]);
    let response = &told.memory.response;
    assert_eq!((response.runs.len(), response.counted.runs), (1, 3));
    let over = told.at(5, json!({"type": "run", "run": "r3", "event": ended("resolved")}));
    assert!(matches!(&over.over[..], [Over::Run(run)] if run.id == RunId(3) && run.state() == RunState::Resolved));
    assert!(told.memory.response.runs.is_empty());
    assert_eq!(told.ledger(), [(3, RunState::Resolved, Rung::Steps)]);
    told.at(6, json!({"type": "run", "run": "r3", "event": {"event": "turned", "why": "late"}}));
    assert!(told.memory.response.runs.is_empty(), "nothing more happens in it");

    let turned = json!({"event": "turned", "why": "it still fires"});
    told.run(10, 4, &[turned.clone(), ended("replaced")]);
    told.run(20, 5, &[turned.clone(), ended("paged")]);
    let paging = json!({"event": "stepBegun", "step": {"part": "otherwise", "index": 2}, "attempt": 1, "key": "k",
        "deadline": minute(30)});
    told.run(30, 6, &[turned, paging, ended("failed")]);
    told.run(31, 7, &[ended("skipped")]);
    let (replaced, paged) = ((4, RunState::Replaced, Rung::Otherwise), (5, RunState::Paged, Rung::Page));
    let failed = (6, RunState::Failed, Rung::Page);
    assert_eq!(told.ledger(), [(3, RunState::Resolved, Rung::Steps), replaced, paged, failed], "one never began");
    told.run(71, 8, &[ended("cancelled")]);
    assert_eq!(told.ledger(), [paged, failed, (8, RunState::Cancelled, Rung::Steps)]);
    assert_eq!(told.memory.response.counted.runs, 8);
}

#[test]
fn what_flaps_adds_nothing_to_the_page_that_tells_of_it_whether_it_is_accepted_or_not() {
    for accepted in [true, false] {
        let mut told = Told::default();
        told.signal(0, &firing(0, &json!({})));
        let mut opened = golden("page-opened-storm");
        opened["event"]["alerts"] = json!([id(0)]);
        told.at(0, opened);
        if accepted {
            told.at(0, golden("page-accepted"));
        }
        for at in 1..30 {
            told.signal(at, &resolved(at, None));
            told.signal(at, &firing(at, &json!({})));
            told.at(at, json!({"type": "page", "page": "p1", "event": {"event": "joined", "alerts": [id(at)]}}));
        }
        let response = &told.memory.response;
        let pages = response.pages.values().map(|page| &page.alerts);
        let alerts: Vec<_> = pages.chain(response.calls.values().map(|call| &call.alerts)).flatten().collect();
        assert_eq!((alerts, response.calls.len()), (vec![&id(29).parse::<AlertId>().unwrap()], usize::from(accepted)));
    }
}

#[test]
fn a_ledger_keeps_the_newest_ends_and_goes_when_none_counts() {
    let mut told = Told::default();
    for run in 1..=36 {
        told.run(0, run, &[ended("failed")]);
    }
    let runs: Vec<u64> = told.ledger().iter().map(|(run, _, _)| *run).collect();
    assert_eq!(runs, (5..=36).collect::<Vec<_>>());
    let mut other = golden("run-opened-scheduled");
    other["run"] = json!("r37");
    told.at(90, other);
    let folded = told.at(90, json!({"type": "run", "run": "r37", "event": ended("resolved")}));
    let (shop, nightly) =
        (Subject::Resource("app/shop".parse().unwrap()), Subject::Playbook("nightly".parse().unwrap()));
    assert!(folded.changes.contains(&Change::Ledger(shop)) && folded.changes.contains(&Change::Ledger(nightly)));
    assert_eq!((told.ledger(), told.memory.response.ledger.len()), (vec![], 1));
}

#[test]
fn a_latch_holds_until_it_is_lifted_and_follows_a_rename() {
    let mut told = Told::default();
    told.run(0, 1, &[ended("failed")]);
    let latched = json!({"type": "latched", "subject": "app/shop"});
    assert_eq!(told.at(1, latched.clone()).changes.len(), 1);
    assert_eq!(told.at(2, latched).changes, [], "it is latched since the first time");
    told.at(3, json!({"type": "renamed", "from": "app/shop", "resource": "app/store"}));
    let store = Subject::Resource("app/store".parse().unwrap());
    let ledger = &told.memory.response.ledger;
    assert_eq!((ledger.len(), ledger[&store].latched_at, ledger[&store].ends.len()), (1, Some(minute(1)), 1));
    told.run(90, 2, &[ended("failed")]);
    assert_eq!(told.memory.response.ledger[&store].latched_at, Some(minute(1)));
    told.at(91, json!({"type": "unlatched", "subject": "app/store", "why": "healthy for an hour"}));
    assert!(!told.memory.response.ledger.contains_key(&store));
    told.at(92, json!({"type": "forgotten", "resource": "app/shop"}));
    assert!(told.memory.response.ledger.is_empty());
    // A commit that says `Codeops-Retry`.
    told.at(93, json!({"type": "latched", "subject": "app/shop"}));
    told.at(94, json!({"type": "unpinned", "resource": "app/shop", "revision": "a".repeat(40)}));
    assert!(told.memory.response.ledger.is_empty());
}

#[test]
fn a_page_is_remembered_until_somebody_accepted_it_or_it_needs_nobody() {
    let mut told = Told::default();
    for last in ["page-accepted", "page-withdrawn"] {
        for name in ["page-opened", "page-begun", "page-failed"] {
            assert_eq!(told.at(0, golden(name)).over, []);
        }
        let page = told.memory.response.pages.values().next().unwrap();
        assert_eq!((page.tries.len(), page.is_over()), (2, false));
        let text = serde_json::to_string(&**page).unwrap();
        assert_eq!(serde_json::from_str::<codeops_core::model::Page>(&text).unwrap(), **page);
        assert!(matches!(&told.at(1, golden(last)).over[..], [Over::Page(page)] if page.is_over()));
        assert!(told.memory.response.pages.is_empty());
        assert_eq!(told.memory.response.counted.pages, 1);
    }
}

#[test]
fn schedules_and_watchdogs_are_the_last_told() {
    let mut told = Told::default();
    told.at(0, golden("scheduled-left"));
    told.at(1, golden("scheduled"));
    let due = golden("scheduled-left")["due"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let taken = |told: &Told| told.memory.response.schedules.values().cloned().collect::<Vec<_>>();
    assert_eq!(taken(&told), [Taken::new(due, None)]);
    let other = golden("scheduled-of");
    let (of, due) = (other["of"].as_str().unwrap().to_owned(), other["due"].as_str().unwrap().parse().unwrap());
    let mut before = other.clone();
    (before["of"], before["due"]) = (json!("0 4 * * * UTC"), json!("2026-12-01T04:00:00Z"));
    told.at(1, before);
    assert_eq!(taken(&told)[0].of.as_deref(), Some("0 4 * * * UTC"));
    told.at(1, other);
    let known = Taken::new(due, Some(of));
    assert_eq!(taken(&told).first(), Some(&known), "another schedule counts anew");
    // As an older store has it.
    let text = serde_json::to_string(&due).unwrap();
    assert_eq!(serde_json::from_str::<Taken>(&text).unwrap(), Taken::new(due, None));
    assert_eq!(serde_json::from_str::<Taken>(&serde_json::to_string(&known).unwrap()).unwrap(), known);
    told.at(2, golden("watchdog"));
    told.at(3, golden("watchdog"));
    assert_eq!(told.memory.response.watchdogs.values().copied().collect::<Vec<_>>(), [minute(3)]);
}

#[test]
fn a_silence_that_somebody_was_called_for_lasts_until_it_is_heard_again() {
    let mut told = Told::default();
    told.at(0, golden("watchdog"));
    told.at(9, golden("page-opened-silent"));
    let silent = |told: &Told| told.memory.response.silent().into_keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(silent(&told), ["alertmanager"]);
    told.at(9, golden("page-accepted"));
    assert_eq!((silent(&told), told.memory.response.calls.len()), (vec!["alertmanager".to_owned()], 1));
    told.at(12, golden("watchdog"));
    assert_eq!((silent(&told), told.memory.response.calls.len()), (vec![], 1), "its end is to be told");
    told.at(13, golden("page-closed"));
    assert!(told.memory.response.calls.is_empty());
}
