//! When nothing more is tried, and who is called then.

use std::sync::Arc;

use super::super::latch::quiet_since;
use super::super::{Opening, latched_words};
use super::open::{asks, declared, ended, opened, paged, shop, told};
use super::{at, firing, name};
use crate::model::{AlertId, AlertState, Playbook, ResponseMemory, Run, RunId, RunState, Rung, Subject};

fn latch(memory: &mut ResponseMemory) {
    memory.ledger.entry(Subject::Resource(shop())).or_default().latched_at = Some(at(0));
}

/// The alert of this app as it comes an hour later.
fn back(app: &str) -> AlertId {
    firing(app, at(3_000)).alert.id.clone()
}

#[test]
fn what_a_page_tells_of_joins_it_while_it_is_latched_and_all_else_calls_a_person() {
    let p = declared("");
    let comes = |app: &str, memory: &ResponseMemory| asks(&p, &back(app), "", false, memory, at(3_000));
    for accepted in [true, false] {
        let mut memory = paged(&p, &[("a", "", AlertState::Resolved)], accepted);
        latch(&mut memory);
        assert_eq!(comes("a", &memory), told(), "however long ago it was, accepted: {accepted}");
        // Another source's alert, or another name: what latched it has told nobody of this.
        assert_eq!(opened(comes("b", &memory)), (Rung::Page, None));
        memory.pages.clear();
        memory.calls.clear();
        assert_eq!(opened(comes("a", &memory)), (Rung::Page, None), "no page is left that tells of it");
    }
}

#[test]
fn a_page_of_other_people_and_one_that_does_not_say_latched_keep_nobody_from_being_called() {
    let p = declared("");
    let comes = |memory: &ResponseMemory| asks(&p, &back("a"), "", false, memory, at(3_000));
    for accepted in [true, false] {
        let mut memory = paged(&p, &[("a", "", AlertState::Resolved)], accepted);
        latch(&mut memory);
        let mut moved = memory.clone();
        for group in moved.calls.values_mut().filter_map(|call| call.group.as_mut()) {
            group.policy = Some(name("others"));
        }
        for group in moved.pages.values_mut().filter_map(|page| Arc::make_mut(page).group.as_mut()) {
            group.policy = Some(name("others"));
        }
        assert_eq!(opened(comes(&moved)), (Rung::Page, None), "its route has moved, accepted: {accepted}");
        memory.ledger.entry(Subject::Resource(shop())).or_default().latched_at = Some(at(1));
        assert_eq!(opened(comes(&memory)), (Rung::Page, None), "it was out before, accepted: {accepted}");
    }
}

#[test]
fn where_only_a_call_is_left_nothing_latches() {
    let ends = [(20, RunState::Paged, Rung::Page), (10, RunState::Paged, Rung::Page)];
    let calls = "  otherwise: [{name: call, page: {}}]\n";
    let acts = declared(calls);
    let mut only = Playbook::clone(&acts);
    only.steps.clear();
    let of = |p: &Arc<Playbook>, only_pages: bool, latched: bool| {
        let mut memory = ended(p, &ends, at(3_000));
        if latched {
            latch(&mut memory);
        }
        opened(asks(p, &back("a"), "", only_pages, &memory, at(3_000)))
    };
    let latches = Some(Subject::Resource(shop()));
    assert_eq!(of(&acts, false, false), (Rung::Page, latches));
    assert_eq!(of(&acts, true, false), (Rung::Page, None), "a freeze, say: only a call is left");
    for latched in [false, true] {
        assert_eq!(of(&Arc::new(only.clone()), false, latched), (Rung::Page, None), "no step acts");
    }
}

#[test]
fn it_is_quiet_since_the_last_of_its_alerts_was_over() {
    let p = declared("");
    let subject = Subject::Resource(shop());
    let mut memory = paged(&p, &[("a", "", AlertState::Resolved), ("b", "", AlertState::Firing)], true);
    assert_eq!(quiet_since(&subject, &memory), None);
    let b = memory.alerts.get_mut(&firing("b", at(0)).alert.id).expect("b");
    let b = Arc::make_mut(b);
    (b.state, b.since) = (AlertState::Resolved, at(500));
    assert_eq!(quiet_since(&subject, &memory), Some(at(500)));
    let other = Subject::Playbook(p.name.clone());
    assert_eq!(quiet_since(&other, &memory), Some(jiff::Timestamp::MIN), "nothing is known of it");
}

#[test]
fn the_page_says_until_when_nothing_is_tried() {
    let p = declared("");
    let Opening::Open { event, .. } = asks(&p, &back("a"), "", false, &ResponseMemory::default(), at(0)) else {
        panic!("no run")
    };
    let run = Run::open(RunId(1), at(0), &event).expect("a run");
    let ends = [(60, RunState::Resolved, Rung::Steps), (30, RunState::Replaced, Rung::Otherwise)];
    let mut ledger = ended(&p, &ends, at(0)).ledger.remove(&Subject::Resource(shop())).expect("its ledger");
    ledger.latched_at = Some(at(0));
    let run = Run { id: RunId(3), ..run };
    let said = latched_words(&run, &ledger).expect("it is latched");
    let told =
        ["app/shop came back", "run r1 of playbook", "ended resolved by its steps", "run r2", "by its `otherwise`"];
    assert!(told.iter().all(|part| said.contains(part)), "{said}");
    assert!(
        said.contains("on it until it has been healthy and nothing of it has fired for an hour, or a commit"),
        "{said}"
    );
    assert!(said.contains("Codeops-Retry: app/shop") && said.contains("anything else does"), "{said}");
    let said = latched_words(&Run { target: None, ..run }, &ledger).expect("it is latched");
    assert!(said.contains("on it until nothing of it has fired for an hour. This page"), "{said}");
}
