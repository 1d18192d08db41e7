//! What becomes of an alert or a due time.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::super::{Asked, Opening, STORM_ALL, STORM_RUNS, Still, ahead, in_storm, open};
use super::{ON, at, compiled, firing, name, playbook};
use crate::model::{
    AlertId, AlertMemory, AlertState, Disposition, Group, Labels, Ledger, Notified, Page, PageEvent, PageId,
    PageOpened, Period, Playbook, ResourceId, ResponseMemory, Revision, Run, RunCause, RunEnd, RunEvent, RunId,
    RunState, Rung, Subject, TeamName,
};

pub(super) fn declared(more: &str) -> Arc<Playbook> {
    let spec = format!("{ON}{more}  steps: [{{name: restart, action: app.restart}}]");
    Arc::clone(&compiled(&playbook("p", &spec)).response.playbooks[&name("p")])
}

pub(super) fn shop() -> ResourceId {
    "app/shop".parse().expect("an id")
}

pub(super) fn cause() -> RunCause {
    RunCause::Alert { alert: firing("shop", at(0)).alert.id.clone() }
}

/// What an alert of these labels asks of a playbook, without a target, a group or an owner.
pub(super) fn untargeted<'a>(playbook: &'a Arc<Playbook>, revision: &'a Revision, labels: &Value) -> Asked<'a> {
    Asked {
        playbook,
        authority: &playbook.team,
        cause: cause(),
        target: None,
        policy: None,
        alert: serde_json::json!({ "labels": labels }),
        revision,
        resolve_delay: Period::from_secs(60),
        group: Labels::new(),
        owner: None,
        only_pages: false,
    }
}

pub(super) fn opening(
    playbook: &Arc<Playbook>,
    cause: RunCause,
    only_pages: bool,
    memory: &ResponseMemory,
    now: Timestamp,
) -> Opening {
    opening_beside(playbook, cause, only_pages, memory, now, &|_| false)
}

/// As [`opening`], beside runs that people keep still.
pub(super) fn opening_beside(
    playbook: &Arc<Playbook>,
    cause: RunCause,
    only_pages: bool,
    memory: &ResponseMemory,
    now: Timestamp,
    still: Still<'_>,
) -> Opening {
    let asked = Asked {
        playbook,
        authority: &playbook.team,
        cause,
        target: Some(shop()),
        policy: None,
        alert: Value::Null,
        revision: &"a".repeat(40).parse().expect("a revision"),
        resolve_delay: Period::from_secs(60),
        group: Labels::new(),
        owner: None,
        only_pages,
    };
    open(&asked, memory, now, still)
}

pub(super) fn opened(opening: Opening) -> (Rung, Option<Subject>) {
    let Opening::Open { event, latches } = opening else { panic!("no run: {opening:?}") };
    let RunEvent::Opened { rung, .. } = *event else { panic!("another event") };
    (rung, latches)
}

/// A memory in which runs on app/shop ended these seconds ago, the last of the list the newest.
pub(super) fn ended(playbook: &Arc<Playbook>, ends: &[(i64, RunState, Rung)], now: Timestamp) -> ResponseMemory {
    let mut memory = ResponseMemory::default();
    let end = |(index, (ago, state, rung)): (usize, &(i64, RunState, Rung))| RunEnd {
        run: RunId(index as u64 + 1),
        playbook: playbook.name.clone(),
        state: *state,
        rung: *rung,
        opened_at: Some(now),
        source: None,
        owner: None,
        idle: false,
        at: now.checked_sub(jiff::SignedDuration::from_secs(*ago)).expect("a time"),
    };
    let ends = ends.iter().enumerate().map(end).collect();
    memory.ledger.insert(Subject::Resource(shop()), Ledger { ends, latched_at: None });
    memory
}

pub(super) fn going(playbook: &Arc<Playbook>, id: u64, now: Timestamp) -> Arc<Run> {
    let Opening::Open { event, .. } = opening(playbook, cause(), false, &ResponseMemory::default(), now) else {
        panic!("no run")
    };
    Arc::new(Run::open(RunId(id), now, &event).expect("a run"))
}

#[test]
fn a_refire_begins_a_rung_higher_and_the_third_in_an_hour_latches() {
    let p = declared("");
    let now = at(10_000);
    let of = |ends: &[(i64, RunState, Rung)]| opened(opening(&p, cause(), false, &ended(&p, ends, now), now));
    assert_eq!(of(&[]), (Rung::Steps, None));
    assert_eq!(of(&[(60, RunState::Resolved, Rung::Steps)]), (Rung::Otherwise, None));
    assert_eq!(of(&[(60, RunState::Replaced, Rung::Otherwise)]), (Rung::Page, None));
    assert_eq!(of(&[(31 * 60, RunState::Resolved, Rung::Steps)]), (Rung::Steps, None), "half an hour is over");
    let twice = [(50 * 60, RunState::Resolved, Rung::Steps), (60, RunState::Resolved, Rung::Otherwise)];
    assert_eq!(of(&twice), (Rung::Page, Some(Subject::Resource(shop()))));
    let long_ago = [(61 * 60, RunState::Resolved, Rung::Steps), (60, RunState::Resolved, Rung::Steps)];
    assert_eq!(of(&long_ago), (Rung::Otherwise, None));
    // Nor do runs that no alert opened count: a schedule, or a playbook that another called.
    let mut others = ended(&p, &[(60, RunState::Failed, Rung::Page), (50, RunState::Failed, Rung::Page)], now);
    let ledger = others.ledger.get_mut(&Subject::Resource(shop())).expect("a ledger");
    ledger.ends.iter_mut().for_each(|end| end.opened_at = None);
    assert_eq!(opened(opening(&p, cause(), false, &others, now)), (Rung::Steps, None));
    // What never began says nothing of whether a fix holds.
    assert_eq!(
        of(&[(60, RunState::Cancelled, Rung::Steps), (50, RunState::Skipped, Rung::Steps)]),
        (Rung::Steps, None)
    );
}

/// Each playbook's own remedies are tried: what another proved over did hold.
#[test]
fn what_another_playbook_proved_over_is_no_rung() {
    let (p, now) = (declared(""), at(10_000));
    let other = Arc::new(Playbook { name: name("other"), ..(*p).clone() });
    let of = |ends: &[(i64, RunState, Rung)]| opened(opening(&p, cause(), false, &ended(&other, ends, now), now));
    assert_eq!(of(&[(9, RunState::Replaced, Rung::Otherwise)]), (Rung::Steps, None));
    assert_eq!(of(&[(9, RunState::Resolved, Rung::Steps)]), (Rung::Steps, None));
    assert_eq!(of(&[(9, RunState::Paged, Rung::Otherwise)]), (Rung::Page, None), "what it tried did not help");
    let twice = [(50 * 60, RunState::Resolved, Rung::Steps), (60, RunState::Resolved, Rung::Steps)];
    assert_eq!(of(&twice), (Rung::Page, Some(Subject::Resource(shop()))), "the thing itself comes back and back");
}

#[test]
fn limits_and_what_nobody_answers_only_page() {
    let p = declared("  limits: {timeout: 10m, runs: 1 per 10m}\n");
    let now = at(10_000);
    let memory = ended(&p, &[(9 * 60, RunState::Failed, Rung::Steps)], now);
    assert_eq!(opened(opening(&p, cause(), false, &memory, now)).0, Rung::Page);
    let memory = ended(&p, &[(11 * 60, RunState::Failed, Rung::Steps)], now);
    assert_eq!(opened(opening(&p, cause(), false, &memory, now)).0, Rung::Otherwise);
    assert_eq!(opened(opening(&declared(""), cause(), true, &ResponseMemory::default(), now)).0, Rung::Page);
}

#[test]
fn what_was_over_before_anything_was_tried_is_no_rung() {
    let (p, now) = (declared(""), at(10_000));
    let mut memory = ended(&p, &[(60, RunState::Resolved, Rung::Steps)], now);
    assert_eq!(opened(opening(&p, cause(), false, &memory, now)).0, Rung::Otherwise);
    memory.ledger.values_mut().flat_map(|ledger| &mut ledger.ends).for_each(|end| end.idle = true);
    assert_eq!(opened(opening(&p, cause(), false, &memory, now)).0, Rung::Steps);
}

#[test]
fn what_is_busy_is_joined_queued_for_or_left() {
    let with = |when: &str| declared(&format!("  concurrency: {{per: target, whenBusy: {when}}}\n"));
    let p = declared("");
    let mut memory = ResponseMemory::default();
    memory.runs.insert(RunId(7), going(&p, 7, at(0)));
    let of = |when: &str, cause: RunCause| opening(&with(when), cause, false, &memory, at(1));
    assert_eq!(of("join", cause()), Opening::Join(RunId(7)));
    assert!(matches!(of("queue", cause()), Opening::Open { .. }));
    assert!(matches!(of("skip", cause()), Opening::Later(why) if why.contains("r7")));
    // A due time has no alert that could join.
    assert!(matches!(of("join", RunCause::Schedule { due: at(1) }), Opening::Left(_)));
    // A called run never waits for its caller.
    let step = crate::model::StepRef { part: crate::model::Part::Steps, index: 0 };
    assert!(matches!(of("skip", RunCause::Call { run: RunId(7), step }), Opening::Open { .. }));
}

#[test]
fn one_run_of_a_playbook_is_one_whatever_its_targets() {
    let once = declared("  concurrency: {per: playbook}\n");
    let at_auth = |id: u64| {
        let mut run = going(&once, id, at(0));
        Arc::make_mut(&mut run).target = Some("app/auth".parse().expect("an id"));
        run
    };
    let mut memory = ResponseMemory::default();
    memory.runs.insert(RunId(3), at_auth(3));
    // What helps another target does not help this one: it has its own run, which waits its turn.
    assert!(matches!(opening(&once, cause(), false, &memory, at(1)), Opening::Open { .. }));
    let mine = going(&once, 7, at(1));
    assert_eq!(ahead(&mine, &memory, &|_| false).map(|run| run.id), Some(RunId(3)));
    assert_eq!(
        ahead(&going(&declared(""), 7, at(1)), &memory, &|_| false),
        None,
        "another target is none of its business"
    );
    // But one that people keep still holds up what is about something else no longer than it is on.
    let auth: ResourceId = "app/auth".parse().expect("an id");
    let suspended = |run: &Run| run.target.as_ref() == Some(&auth);
    assert_eq!(ahead(&mine, &memory, &suspended), None);
    assert_eq!(ahead(&at_auth(5), &memory, &suspended).map(|run| run.id), Some(RunId(3)), "on its own target it is");
    let skips = declared("  concurrency: {per: playbook, whenBusy: skip}\n");
    let (id, revision) = (firing("shop", at(0)).alert.id.clone(), "a".repeat(40).parse().expect("a revision"));
    let mut asked = untargeted(&skips, &revision, &Value::Null);
    (asked.cause, asked.target) = (RunCause::Alert { alert: id }, Some(shop()));
    assert!(matches!(open(&asked, &memory, at(1), &suspended), Opening::Open { .. }));
    assert!(matches!(open(&asked, &memory, at(1), &|_| false), Opening::Later(_)));
    memory.runs.insert(RunId(7), mine);
    assert_eq!(opening(&once, cause(), false, &memory, at(1)), Opening::Join(RunId(7)));
    assert!(matches!(opening(&skips, cause(), false, &memory, at(1)), Opening::Later(_)));
    // Without a target, only what says `queue` waits.
    let without = |when: &str, id: u64| {
        let mut run = going(&declared(&format!("  concurrency: {{whenBusy: {when}}}\n")), id, at(0));
        Arc::make_mut(&mut run).target = None;
        run
    };
    for (when, waits) in [("queue", true), ("join", false)] {
        let mut memory = ResponseMemory::default();
        memory.runs.insert(RunId(1), without(when, 1));
        assert_eq!(ahead(&without(when, 2), &memory, &|_| false).is_some(), waits, "{when}");
    }
}

#[test]
fn many_runs_in_a_minute_are_a_storm() {
    let (p, main) = (declared(""), firing("shop", at(0)).alert.id.source.clone());
    let mut memory = ResponseMemory::default();
    for id in 0..STORM_RUNS as u64 {
        assert!(!in_storm(&memory, &main, None, at(30)));
        memory.runs.insert(RunId(id), going(&p, id, at(1)));
    }
    assert!(in_storm(&memory, &main, None, at(30)));
    assert!(!in_storm(&memory, &main, None, at(61)), "a minute later it is over");
}

#[test]
fn one_teams_storm_is_no_others() {
    let (p, main) = (declared(""), firing("shop", at(0)).alert.id.source.clone());
    let (evil, shop) = (name("evil"), name("shop"));
    let mut memory = ResponseMemory::default();
    let opens = |memory: &mut ResponseMemory, from: usize, count: usize, source: Option<&str>| {
        for id in (from..from + count).map(|id| RunId(id as u64)) {
            let mut run = going(&p, id.0, at(1));
            let it = Arc::make_mut(&mut run);
            it.owner = Some(evil.clone());
            if let (Some(source), RunCause::Alert { alert }) = (source, &mut it.cause) {
                alert.source = name(source);
            }
            memory.runs.insert(id, run);
        }
    };
    opens(&mut memory, 0, STORM_RUNS, None);
    let storms =
        |memory: &ResponseMemory| [Some(&evil), Some(&shop), None].map(|team| in_storm(memory, &main, team, at(30)));
    assert_eq!(storms(&memory), [true, false, false]);
    assert!(!in_storm(&memory, &name("other"), Some(&evil), at(30)));
    // Nor does it come near the bound of all for others, from however many sources it tells.
    opens(&mut memory, 100, STORM_ALL, Some("another"));
    assert_eq!(storms(&memory), [true, false, false]);
    assert!(in_storm(&memory, &name("other"), Some(&evil), at(30)));
}

#[test]
fn an_alert_joins_no_run_and_no_page_of_another_teams_alert() {
    let p = declared("  concurrency: {whenBusy: join}\n");
    let asked = |owner: Option<&TeamName>, target: Option<ResourceId>, memory: &ResponseMemory| {
        let revision = "a".repeat(40).parse().expect("a revision");
        let group = [("alertname".to_owned(), "DiskFull".to_owned())].into();
        let disk = serde_json::json!({"alertname": "DiskFull"});
        let asked = Asked { target, group, owner, ..untargeted(&p, &revision, &disk) };
        open(&asked, memory, at(1), &|_| false)
    };
    let evil = name("evil");
    for target in [None, Some(shop())] {
        let Opening::Open { event, .. } = asked(Some(&evil), target.clone(), &ResponseMemory::default()) else {
            panic!("no run")
        };
        let run = Run::open(RunId(7), at(0), &event).expect("a run");
        assert_eq!(run.group.as_ref().and_then(|group| group.get("team")).map(String::as_str), Some("evil"));
        let mut memory = ResponseMemory::default();
        memory.runs.insert(run.id, Arc::new(run));
        assert_eq!(asked(Some(&evil), target.clone(), &memory), Opening::Join(RunId(7)));
        for owner in [None, Some(&name("shop"))] {
            let opening = asked(owner, target.clone(), &memory);
            assert!(matches!(opening, Opening::Open { .. }), "{opening:?}");
        }
    }
}

#[test]
fn what_has_no_target_and_no_group_is_one_with_nothing_but_itself() {
    let p = declared("  concurrency: {whenBusy: join}\n");
    let asked = |labels: &Value, memory: &ResponseMemory| {
        open(&untargeted(&p, &"a".repeat(40).parse().expect("a revision"), labels), memory, at(1), &|_| false)
    };
    let down = serde_json::json!({"alertname": "AppDown", "app": "gone"});
    let Opening::Open { event, .. } = asked(&down, &ResponseMemory::default()) else { panic!("no run") };
    let mut memory = ResponseMemory::default();
    memory.runs.insert(RunId(7), Arc::new(Run::open(RunId(7), at(0), &event).expect("a run")));
    assert_eq!(asked(&down, &memory), Opening::Join(RunId(7)));
    let other = asked(&serde_json::json!({"alertname": "DiskFull", "host": "h7"}), &memory);
    assert!(matches!(other, Opening::Open { .. }), "{other:?}");
}

#[test]
fn what_does_not_wait_for_another_run_is_asked_again_after_it() {
    let skips = declared("  concurrency: {whenBusy: skip}\n");
    let (now, mut memory) = (at(0), ResponseMemory::default());
    let run = going(&skips, 1, now);
    memory.runs.insert(run.id, run);
    let later = opening(&skips, cause(), false, &memory, now);
    assert!(matches!(&later, Opening::Later(why) if why.contains("r1")), "{later:?}");
    memory.runs.clear();
    assert!(matches!(opening(&skips, cause(), false, &memory, now), Opening::Open { .. }));
}

/// What becomes of an alert of this name and severity, for a playbook whose route groups by nothing.
pub(super) fn asks(
    p: &Arc<Playbook>,
    id: &AlertId,
    severity: &str,
    only_pages: bool,
    memory: &ResponseMemory,
    now: Timestamp,
) -> Opening {
    let asked = Asked {
        playbook: p,
        authority: &p.team,
        cause: RunCause::Alert { alert: id.clone() },
        target: Some(shop()),
        policy: None,
        alert: serde_json::json!({ "labels": { "alertname": "AppDown", "severity": severity } }),
        revision: &"a".repeat(40).parse().expect("a revision"),
        resolve_delay: Period::from_secs(60),
        group: Labels::new(),
        owner: None,
        only_pages,
    };
    open(&asked, memory, now, &|_| false)
}

/// A memory in which page 1 of run 1 was opened at second 0 for these alerts, and accepted if so.
pub(super) fn paged(p: &Arc<Playbook>, alerts: &[(&str, &str, AlertState)], accepted: bool) -> ResponseMemory {
    let mut memory = ResponseMemory::default();
    for (app, severity, state) in alerts {
        let mut known = AlertMemory::clone(&firing(app, at(0)));
        Arc::make_mut(&mut known.alert).labels.insert("severity".to_owned(), (*severity).to_owned());
        (known.state, known.disposition) = (*state, Disposition::Run { run: RunId(1) });
        memory.alerts.insert(known.alert.id.clone(), Arc::new(known));
    }
    let event = PageEvent::Opened(PageOpened {
        run: Some(RunId(1)),
        alerts: memory.alerts.keys().cloned().collect(),
        ..PageOpened::default()
    });
    let mut page = Page::open(PageId(1), at(0), &event).expect("a page");
    let labels = [("alertname".to_owned(), "AppDown".to_owned())].into();
    page.group = Some(Group { playbook: p.name.clone(), target: Some(shop()), policy: None, labels });
    if accepted {
        page.accepted = Some((Notified::Receiver(name("sink")), at(1)));
        memory.calls.insert(page.id, page.call(|_| false).expect("a call"));
    } else {
        memory.pages.insert(page.id, Arc::new(page));
    }
    memory
}

pub(super) fn told() -> Opening {
    Opening::Told { page: PageId(1), run: RunId(1) }
}

#[test]
fn only_what_still_fires_beside_it_keeps_an_alert_on_a_page() {
    let p = declared("");
    let asker = |app: &str| firing(app, at(60)).alert.id.clone();
    for accepted in [true, false] {
        let of = |alerts: &[(&str, &str, AlertState)], app: &str, severity: &str| {
            asks(&p, &asker(app), severity, true, &paged(&p, alerts, accepted), at(60))
        };
        assert_eq!(of(&[("a", "", AlertState::Firing)], "b", ""), told());
        for state in [AlertState::Resolved, AlertState::Expired, AlertState::Silenced, AlertState::Unknown] {
            assert!(matches!(of(&[("a", "", state)], "b", ""), Opening::Open { .. }), "{state:?} {accepted}");
        }
        // Its own earlier time, whose end was missed.
        assert!(matches!(of(&[("a", "", AlertState::Firing)], "a", ""), Opening::Open { .. }), "{accepted}");
        let was_worse = [("a", "critical", AlertState::Resolved), ("c", "warning", AlertState::Firing)];
        assert!(matches!(of(&was_worse, "b", "critical"), Opening::Open { .. }), "{accepted}");
        assert_eq!(of(&was_worse, "b", "info"), told());
    }
}

#[test]
fn an_accepted_page_is_joined_for_five_minutes_and_an_open_one_as_long_as_it_is() {
    let (p, b) = (declared(""), firing("b", at(60)).alert.id.clone());
    let of = |accepted: bool, now: i64| {
        asks(&p, &b, "", true, &paged(&p, &[("a", "", AlertState::Firing)], accepted), at(now))
    };
    assert_eq!((of(true, 299), of(false, 3_000)), (told(), told()));
    assert!(matches!(of(true, 300), Opening::Open { .. }));
}

#[test]
fn nothing_is_tried_while_a_person_has_it_and_the_next_page_latches() {
    let (p, b) = (declared(""), firing("b", at(60)).alert.id.clone());
    let fires = [("a", "", AlertState::Firing)];
    assert_eq!(asks(&p, &b, "", false, &paged(&p, &fires, false), at(1_860)), told());
    let late = asks(&p, &b, "", false, &paged(&p, &fires, true), at(1_860));
    assert_eq!(opened(late), (Rung::Page, None));
    let over = paged(&p, &[("a", "", AlertState::Resolved)], true);
    assert_eq!(opened(asks(&p, &b, "", false, &over, at(1_860))), (Rung::Steps, None));
    // One time too many: that page is out and cannot say that it latches, so that the next one does.
    let mut often = paged(&p, &fires, true);
    let twice = [(20, RunState::Paged, Rung::Page), (10, RunState::Paged, Rung::Page)];
    often.ledger = ended(&p, &twice, at(60)).ledger;
    assert_eq!(asks(&p, &b, "", false, &often, at(60)), told());
    assert_eq!(opened(asks(&p, &b, "", false, &often, at(301))), (Rung::Page, Some(Subject::Resource(shop()))));
}

#[test]
fn who_is_paged_matters_only_to_what_joins() {
    for (when, policy_matters) in [("join", true), ("queue", false), ("skip", false)] {
        let p = declared(&format!("  concurrency: {{whenBusy: {when}}}\n"));
        let mut run = going(&p, 7, at(0));
        Arc::make_mut(&mut run).target = None;
        Arc::make_mut(&mut run).policy = Some(name("others"));
        let mut memory = ResponseMemory::default();
        memory.runs.insert(RunId(7), run);
        let revision = "a".repeat(40).parse().expect("a revision");
        let asked = untargeted(&p, &revision, &Value::Null);
        let opening = open(&asked, &memory, at(1), &|_| false);
        assert_eq!(matches!(opening, Opening::Open { .. }), policy_matters || when == "queue", "{opening:?}");
        assert_eq!(matches!(opening, Opening::Later(_)), when == "skip", "{opening:?}");
    }
}
