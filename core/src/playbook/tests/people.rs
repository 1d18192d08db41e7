//! Times of schedules, turns of people on call, and what pages say.

use jiff::{SignedDuration, Timestamp};

use super::super::{
    Next, PageNext, Told, World, about, due, evidence, first_that_leads, next_send, next_time, told, told_in_turn,
};
use super::{Live, ON, at, compiled, done, name, playbook};
use crate::alert::Routed;
use crate::model::{
    AlertState, CatchUp, Name, Notified, Page, PageEvent, PageId, PageOpened, RunEvent, Rung, Schedule, StepOutcome,
    StepRef,
};

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn schedule(cron: &str, catch_up: CatchUp) -> Schedule {
    Schedule { cron: cron.to_owned(), timezone: Some("Europe/Berlin".to_owned()), catch_up }
}

fn times(cron: &str, from: &str, count: usize) -> Vec<String> {
    let schedule = schedule(cron, CatchUp::Last);
    let mut at = time(from);
    (0..count)
        .map(|_| {
            at = next_time(&schedule, at).expect("a schedule").expect("a time");
            at.to_string()
        })
        .collect()
}

#[test]
fn a_time_that_a_clock_change_skips_is_due_right_after_and_one_that_comes_twice_once() {
    // 29 March 2026: 02:00 becomes 03:00, so that 02:30 does not exist.
    let over_the_gap = times("30 2 * * *", "2026-03-28T00:00:00Z", 3);
    assert_eq!(over_the_gap, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    // 25 October 2026: 03:00 becomes 02:00, so that 02:30 comes twice.
    let over_the_fold = times("30 2 * * *", "2026-10-24T00:00:00Z", 3);
    assert_eq!(over_the_fold, ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
}

#[test]
fn the_last_missed_time_is_due_or_none_is() {
    let minute = SignedDuration::from_secs(60);
    let (taken, now) = (time("2026-05-01T00:00:00Z"), time("2026-05-04T12:00:00Z"));
    let of = |catch_up, now| due(&schedule("0 3 * * *", catch_up), taken, now, minute).expect("a schedule");
    assert_eq!(of(CatchUp::Last, now), Some(time("2026-05-04T01:00:00Z")), "three were missed, one is made up for");
    assert_eq!(of(CatchUp::None, now), None);
    assert_eq!(of(CatchUp::None, time("2026-05-04T01:00:30Z")), Some(time("2026-05-04T01:00:00Z")));
    assert_eq!(of(CatchUp::Last, time("2026-05-01T00:59:59Z")), None);
    // Years of minutes are not walked through.
    let long = due(&schedule("* * * * *", CatchUp::Last), time("2020-01-01T00:00:00Z"), now, minute);
    assert_eq!(long.expect("a schedule"), Some(now));
}

const PEOPLE: &str = "\
apiVersion: codeops/v1
kind: Receiver
metadata: {name: ada, team: shop}
spec: {webhook: \"https://ada.example/\"}
---
apiVersion: codeops/v1
kind: Receiver
metadata: {name: ben, team: shop}
spec: {webhook: \"https://ben.example/\"}
---
apiVersion: codeops/v1
kind: OnCall
metadata: {name: shop, team: shop}
spec:
  members: [ada, ben]
  start: 2026-03-23T08:00:00Z
  every: 7d
  timezone: Europe/Berlin
  overrides: [{member: ben, from: 2026-03-24T00:00:00Z, until: 2026-03-25T00:00:00Z}]
---
apiVersion: codeops/v1
kind: EscalationPolicy
metadata: {name: shop, team: shop}
spec:
  levels:
    - {notify: [oncall/shop]}
    - {notify: [receiver/ben], after: 60s}
---
";

fn on_duty(now: &str) -> String {
    let response = compiled(PEOPLE).response;
    let told = told(&name("shop"), &response, time(now));
    told[0].receiver.to_string()
}

#[test]
fn turns_change_at_the_same_local_time_all_year() {
    // Ada's week began at 9 in Berlin; the clock change of 29 March lies in it.
    assert_eq!(on_duty("2026-03-23T08:00:00Z"), "ada");
    assert_eq!(on_duty("2026-03-30T06:59:59Z"), "ada");
    assert_eq!(on_duty("2026-03-30T07:00:00Z"), "ben", "9 in Berlin is an hour earlier now");
    assert_eq!(on_duty("2026-04-06T07:00:00Z"), "ada");
    assert_eq!(on_duty("2026-03-22T08:00:00Z"), "ben", "also before the start");
    assert_eq!(on_duty("2026-03-24T12:00:00Z"), "ben", "taken over");
}

#[test]
fn a_page_is_sent_again_until_somebody_accepts_it() {
    let response = compiled(PEOPLE).response;
    let opened = time("2026-03-26T00:00:00Z");
    let told = told(&name("shop"), &response, opened);
    let event = PageEvent::Opened(PageOpened { policy: Some(name("shop")), ..PageOpened::default() });
    let mut page = Page::open(PageId(1), opened, &event).expect("a page");
    let at = |seconds| opened.checked_add(SignedDuration::from_secs(seconds)).expect("a time");
    let never = |_: &Told| Timestamp::MIN;
    let to = |next: PageNext| match next {
        PageNext::Send(told) => told.iter().map(|it| it.receiver.to_string()).collect(),
        other => vec![format!("{other:?}")],
    };
    assert_eq!(to(next_send(&page, &told, never, at(0))), ["ada"]);
    let ada = Notified::OnCall(name("shop"));
    page.take(at(0), &PageEvent::Begun { notified: ada.clone(), receiver: None, over: false });
    page.take(at(1), &PageEvent::Failed { notified: ada.clone(), error: "refused".to_owned(), refused: None });
    assert_eq!(next_send(&page, &told, never, at(1)), PageNext::Wait(at(3)));
    assert_eq!(to(next_send(&page, &told, never, at(3))), ["ada"], "for ever");
    assert_eq!(to(next_send(&page, &told, never, at(60))), ["ada", "ben"], "the second channel after 60 s");
    assert_eq!(next_send(&page, &[], never, at(60)), PageNext::Nobody);
    let mended = |_: &Told| at(2);
    assert_eq!(to(next_send(&page, &told, mended, at(2))), ["ada"], "at once, by a way that was changed");
    page.take(at(61), &PageEvent::Accepted { notified: ada });
    assert_eq!(next_send(&page, &told, never, at(62)), PageNext::Over);
}

#[test]
fn who_comes_on_call_waits_out_nobody_elses_tries() {
    let response = compiled(PEOPLE).response;
    let opened = time("2026-03-23T21:00:00Z");
    let event = PageEvent::Opened(PageOpened { policy: Some(name("shop")), ..PageOpened::default() });
    let mut page = Page::open(PageId(1), opened, &event).expect("a page");
    let shop = Notified::OnCall(name("shop"));
    let never = |_: &Told| Timestamp::MIN;
    let to =
        |page: &Page, now: &str| match next_send(page, &told(&name("shop"), &response, time(now)), never, time(now)) {
            PageNext::Send(told) => {
                told.iter().filter(|it| it.notified == shop).map(|it| it.receiver.to_string()).collect()
            }
            _ => Vec::new(),
        };
    for _ in 0..12 {
        page.take(
            time("2026-03-23T23:59:00Z"),
            &PageEvent::Begun { notified: shop.clone(), receiver: Some(name("ada")), over: false },
        );
        let error = "refused".to_owned();
        let failed = PageEvent::Failed { notified: shop.clone(), error, refused: Some(name("ada")) };
        page.take(time("2026-03-23T23:59:00Z"), &failed);
    }
    assert_eq!(to(&page, "2026-03-23T23:59:59Z"), Vec::<String>::new());
    assert_eq!(to(&page, "2026-03-24T00:00:01Z"), ["ben"], "it is his turn");
    page.take(
        time("2026-03-24T00:00:01Z"),
        &PageEvent::Begun { notified: shop.clone(), receiver: Some(name("ben")), over: false },
    );
    assert_eq!(to(&page, "2026-03-24T00:00:02Z"), Vec::<String>::new());
}

#[test]
fn a_clock_that_was_set_back_keeps_no_page_from_being_sent() {
    let response = compiled(PEOPLE).response;
    let opened = time("2026-03-26T02:00:00Z");
    let told = told(&name("shop"), &response, opened);
    let event = PageEvent::Opened(PageOpened { policy: Some(name("shop")), ..PageOpened::default() });
    let mut page = Page::open(PageId(1), opened, &event).expect("a page");
    let began = |_: &Told| opened;
    let before = |seconds: i64| opened.checked_add(SignedDuration::from_secs(seconds - 7_200)).expect("a time");
    assert!(matches!(next_send(&page, &told, began, before(0)), PageNext::Send(_)), "it was opened two hours from now");
    for notified in told.iter().map(|told| &told.notified) {
        page.take(opened, &PageEvent::Begun { notified: notified.clone(), receiver: None, over: false });
        page.take(
            opened,
            &PageEvent::Failed { notified: notified.clone(), error: "refused".to_owned(), refused: None },
        );
    }
    assert!(matches!(next_send(&page, &told, began, before(0)), PageNext::Send(_)), "and tried two hours from now");
    for notified in told.iter().map(|told| &told.notified) {
        page.take(before(0), &PageEvent::Begun { notified: notified.clone(), receiver: None, over: false });
        page.take(
            before(0),
            &PageEvent::Failed { notified: notified.clone(), error: "refused".to_owned(), refused: None },
        );
    }
    assert_eq!(next_send(&page, &told, began, before(1)), PageNext::Wait(before(4)), "from then on as ever");
}

#[test]
fn who_may_have_a_page_is_told_of_its_end_whatever_came_of_later_tries() {
    let (ada, ben) = (name("ada"), name("ben"));
    let event = PageEvent::Opened(PageOpened { silent: Some(name("main")), ..PageOpened::default() });
    let mut page = Page::open(PageId(1), at(0), &event).expect("a page");
    let tried = |page: &mut Page, who: &Name, said_no: bool| {
        let (notified, receiver) = (Notified::Receiver(who.clone()), Some(who.clone()));
        page.take(at(1), &PageEvent::Begun { notified: notified.clone(), receiver: receiver.clone(), over: false });
        let refused = receiver.filter(|_| said_no);
        page.take(at(2), &PageEvent::Failed { notified, error: "no answer".to_owned(), refused });
    };
    tried(&mut page, &ada, false);
    tried(&mut page, &ada, true);
    tried(&mut page, &ben, true);
    tried(&mut page, &ben, true);
    page.take(at(3), &PageEvent::Accepted { notified: Notified::Receiver(name("cleo")) });
    let mut call = page.call(|_| false).expect("a call");
    assert_eq!(call.receivers, [ada.clone()].into(), "ben said no each time");
    call.refused_by(&ada);
    assert_eq!(call.receivers, [ada].into());
}

#[test]
fn a_page_that_nobody_accepts_goes_to_the_fallback_too() {
    let more = "apiVersion: codeops/v1\nkind: EscalationPolicy\nmetadata: {name: all, team: shop}\nspec: {levels: [{notify: [receiver/ben, receiver/ada]}]}\n---\n";
    let response = compiled(&format!("{PEOPLE}{more}")).response;
    let now = time("2026-03-26T00:00:00Z");
    let (shop, all, gone) = (name("shop"), name("all"), name("gone"));
    let of = |policy: &Name| {
        let told = told_in_turn(Some(policy), Some(&all), &response, now);
        told.iter().map(|it| (it.notified.to_string(), it.after.as_secs())).collect::<Vec<_>>()
    };
    let said = |pairs: &[(&str, i64)]| pairs.iter().map(|(who, at)| ((*who).to_owned(), *at)).collect::<Vec<_>>();
    assert_eq!(of(&shop), said(&[("oncall/shop", 0), ("receiver/ben", 60), ("receiver/ada", 300)]));
    assert_eq!(of(&gone), said(&[("receiver/ben", 0), ("receiver/ada", 0)]), "at once where there is nobody else");
}

#[test]
fn a_page_whose_policy_is_gone_goes_to_whoever_answers_now() {
    let mut desired =
        compiled(&format!("{PEOPLE}{}", playbook("p", &format!("{ON}  steps: [{{name: call, page: {{}}}}]"))));
    let shop = name("shop");
    desired.teams.entry(shop.clone()).or_default().escalation = Some(name("team"));
    let (reach, fallback) = (std::collections::BTreeMap::new(), name("last"));
    let world = |fallback| World {
        response: &desired.response,
        resources: &desired.resources,
        reach: &reach,
        teams: &desired.teams,
        fallback,
        resolve_delay: crate::model::Period::from_secs(60),
    };
    let routed = |by_fallback| {
        let mut routed = Routed::default();
        (routed.policy, routed.by_fallback) = (Some(name("route")), by_fallback);
        routed
    };
    let of = |playbook: &str, team: Option<&Name>, by_fallback: bool| {
        let found = world(Some(&fallback)).answers_now(Some(&name(playbook)), team, Some(&routed(by_fallback)));
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of("p", None, false), "route team last");
    assert_eq!(of("gone", Some(&shop), false), "route team last");
    assert_eq!(of("p", None, true), "team last", "that of the route is only the fallback of then");
    assert_eq!(of("codeops-barred", None, false), "last", "its receiver may reach no other");
    assert!(world(None).answers_now(Some(&name("codeops-page")), None, None).is_empty());
    // The first that leads to somebody.
    let now = time("2026-03-26T00:00:00Z");
    let (gone, known) = (name("gone"), name("shop"));
    assert_eq!(first_that_leads([&gone, &known], &desired.response, now), Some(&known));
    assert_eq!(first_that_leads([&gone], &desired.response, now), None);
}

#[test]
fn a_page_about_what_is_lost_is_not_about_what_is_over() {
    let memory = super::open::paged(&super::open::declared(""), &[("a", "", AlertState::Resolved)], false);
    let mut page = Page::clone(memory.pages.first_key_value().expect("a page").1);
    assert!(page.is_about_what_is_over(&memory.alerts));
    let none = std::collections::BTreeMap::new();
    assert!(page.is_about_what_is_over(&none), "what is over is remembered for an hour");
    page.lost = true;
    assert!(!page.is_about_what_is_over(&none) && !page.is_about_what_is_over(&memory.alerts));
    page.lost = false;
    let fires = super::open::paged(&super::open::declared(""), &[("a", "", AlertState::Expired)], false);
    assert!(!page.is_about_what_is_over(&fires.alerts));
}

#[test]
fn a_page_carries_the_evidence_within_its_bounds() {
    let spec =
        format!("{ON}  steps: [{{name: look, script: scripts/look.sh}}, {{name: more, script: scripts/look.sh}}]");
    let mut live = Live::answering(&spec, Rung::Steps);
    live.begins();
    let (step, attempt) = live.on().expect("on");
    let evidence_of_it = "ä".repeat(9_000);
    live.take(RunEvent::StepEnded { step, attempt, outcome: done(), evidence: evidence_of_it });
    live.does("more", StepOutcome::Failed { error: "no space left".to_owned() });
    let labels = live.run.alert["labels"].as_object_mut().expect("labels");
    for n in 0..60 {
        labels.insert(format!("label_{n}"), "ü".repeat(2_000).into());
    }
    labels.insert("alertname".to_owned(), "X".repeat(4_000).into());
    let (title, body) = evidence(&live.run, None, "", &[], &"ö".repeat(9_000));
    assert!(title.chars().count() <= 200 && body.len() <= 32 << 10, "{} {}", title.len(), body.len());
    assert!(body.ends_with("ö…"), "its other alerts have their place");
    let mut small = Live::answering(&spec, Rung::Steps);
    small.run.alert["url"] = "https://prometheus.example/graph".into();
    small.does("look", failed_with("no space left"));
    let (title, body) = evidence(&small.run, None, "It failed.\n", &["shop: 1.4 since yesterday".to_owned()], "others");
    assert_eq!(title, "AppDown on app/shop: not resolved by code");
    assert!(body.starts_with("It failed.\nRun r1 ") && body.ends_with("others"), "{body}");
    let told = "The alert began at 2026-01-05 04:00:00 UTC; main told of it, by receiver main.";
    for part in ["look (script): failed: no space left", "shop: 1.4 since yesterday", "revision aaaaaaa", told] {
        assert!(body.contains(part), "{part} is not in\n{body}");
    }
    assert!(body.contains("At its source: https://prometheus.example/graph\n"), "{body}");
}

/// The step that is about to begin.
fn begins(live: &mut Live) -> Option<StepRef> {
    let Next::Begin { step, .. } = live.settle() else { panic!("nothing begins") };
    Some(step)
}

#[test]
fn a_page_says_what_was_tried_why_not_more_and_what_follows() {
    let of = |live: &Live, at| evidence(&live.run, at, "", &[], "");
    // Nothing was tried: why not.
    let mut called = Live::answering(&format!("{ON}  steps: [{{name: look, script: scripts/look.sh}}]"), Rung::Steps);
    called.take(RunEvent::Raised { rung: Rung::Page, because: Some("run r34 called a person 15s before".to_owned()) });
    let at = begins(&mut called);
    let (title, body) = of(&called, at);
    assert_eq!(title, "AppDown on app/shop: not resolved by code");
    assert!(body.contains("\nNothing was done: run r34 called a person 15s before\n"), "{body}");
    assert!(!body.contains("did not end it") && !body.contains("skipped"), "{body}");
    // Its steps call somebody, and go on.
    let steps = "  steps: [{name: tell, page: {}}, {name: look, script: scripts/look.sh}]";
    let mut early = Live::answering(&format!("{ON}{steps}"), Rung::Steps);
    let at = begins(&mut early);
    let (title, body) = of(&early, at);
    assert_eq!(title, "AppDown on app/shop: a person is called, and code goes on");
    assert!(body.contains("\nWhat follows, whoever answers:\n- look (script)\n- proof (wait)\n"), "{body}");
    // What a page is about does not change with how it ends.
    assert_eq!(
        [&title, "X on app/a: not resolved by code", "X"].map(about),
        ["AppDown on app/shop", "X on app/a", "X"]
    );
    // Its steps were tried.
    let mut tried = Live::answering(&format!("{ON}  steps: [{{name: look, script: scripts/look.sh}}]"), Rung::Steps);
    tried.does("look", failed_with("no space left"));
    tried.settle();
    let (_, body) = of(&tried, None);
    assert!(body.contains("Its steps did not end it: `look`: no space left"), "{body}");
    let mut otherwise =
        Live::answering(&format!("{ON}  steps: [{{name: look, script: scripts/look.sh}}]"), Rung::Otherwise);
    otherwise.does("replace", done());
    let (_, body) = of(&otherwise, None);
    assert!(
        body.contains("Its steps were left out: what an earlier run") && !body.contains("did not end it"),
        "{body}"
    );
}

fn failed_with(error: &str) -> StepOutcome {
    StepOutcome::Failed { error: error.to_owned() }
}
