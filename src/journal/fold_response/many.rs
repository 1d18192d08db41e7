//! Deliveries as large as a sender can make them, all of one fingerprint. What one of them costs grows with it, and not with its
//! square: these sizes took minutes of the writer each.

use std::sync::Arc;

use codeops_core::model::{
    Alert, AlertId, AlertState, Disposition, Fingerprint, Labels, Memory, Name, PageEvent, PageId, ResponseMemory,
    Signal,
};
use jiff::Timestamp;

use crate::journal::{Entry, Record, Seq, fold};

const MANY: i64 = 60_000;

fn name(of: &str) -> Name {
    Name::new(of).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_163_400 + second).unwrap()
}

fn id(began: i64) -> AlertId {
    AlertId { source: name("main"), fingerprint: Fingerprint::of(&Labels::new()), starts_at: at(began) }
}

fn firing(began: i64) -> Signal {
    let (receiver, labels, annotations) = (name("alertmanager"), Labels::new(), Labels::new());
    Signal::Firing(Arc::new(Alert { id: id(began), receiver, labels, annotations, url: None, expires_at: None }))
}

fn resolved(ended: i64) -> Signal {
    let AlertId { source, fingerprint, .. } = id(0);
    Signal::Resolved { source, fingerprint, starts_at: None, ended_at: at(ended), name: None }
}

fn silenced() -> Signal {
    let AlertId { source, fingerprint, .. } = id(0);
    Signal::Silenced { source, fingerprint, name: None }
}

/// A memory told of all this at once.
fn told(memory: &mut Memory, record: Record) {
    fold(memory, &Entry { seq: Seq(1), at: at(MANY), record });
}

fn deliver(memory: &mut Memory, signals: Vec<Signal>) {
    told(memory, Record::Alerts { receiver: name("alertmanager"), delivery: Vec::new(), signals, spoiled: 0 });
}

fn in_state(memory: &ResponseMemory, state: AlertState) -> i64 {
    memory.alerts.values().filter(|it| it.state == state).map(|_| 1).sum()
}

#[test]
fn what_is_over_one_by_one_is_found_without_looking_at_all_of_its_labels_each_time() {
    let mut memory = Memory::default();
    deliver(&mut memory, (0..MANY).map(firing).collect());
    deliver(&mut memory, (0..MANY / 2).map(resolved).collect());
    assert_eq!(in_state(&memory.response, AlertState::Resolved), MANY / 2, "as many as had begun by then");
    deliver(&mut memory, (0..MANY / 2).map(resolved).collect());
    deliver(&mut memory, (0..MANY).map(|_| silenced()).collect());
    assert_eq!(in_state(&memory.response, AlertState::Silenced), MANY / 2);
    deliver(&mut memory, (0..MANY).flat_map(|began| [firing(began), silenced(), resolved(began)]).collect());
    assert_eq!(in_state(&memory.response, AlertState::Resolved), MANY, "what fires again is over again");
}

#[test]
fn what_joins_a_page_is_not_compared_with_all_that_it_tells_of() {
    let mut memory = Memory::default();
    deliver(&mut memory, (0..2 * MANY).map(firing).collect());
    let opened = serde_json::json!({"event": "opened", "run": null, "policy": null, "title": "many", "body": ""});
    let event: PageEvent = serde_json::from_value(opened).unwrap();
    told(&mut memory, Record::Page { page: PageId(1), event });
    for half in [0..MANY, MANY..2 * MANY] {
        let alerts: Vec<AlertId> = half.map(id).collect();
        let disposition = Disposition::Left { why: "a page tells of it".to_owned() };
        told(&mut memory, Record::Disposed { alerts: alerts.clone(), disposition });
        told(&mut memory, Record::Page { page: PageId(1), event: PageEvent::Joined { alerts } });
    }
    let tells_of = |memory: &Memory| memory.response.pages[&PageId(1)].alerts.len();
    assert_eq!(tells_of(&memory), usize::try_from(2 * MANY).unwrap(), "all of them fire");
    deliver(&mut memory, vec![resolved(2 * MANY)]);
    let alerts = vec![id(2 * MANY)];
    told(&mut memory, Record::Page { page: PageId(1), event: PageEvent::Joined { alerts } });
    assert_eq!(tells_of(&memory), 1, "earlier times that are over are told of by the one that joins");
}
