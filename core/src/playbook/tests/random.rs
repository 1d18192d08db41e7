//! For any program, any outcomes and any cuts: every run ends, its state is the fold of its log, and nothing that may not
//! be done twice is begun twice.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::super::{Hold, Next, Order, PageFacts};
use super::{Live, ON};
use crate::model::{AlertState, Key, PageId, Progress, Run, RunEvent, RunId, RunState, Rung, StepOutcome, StepRef};

/// So many looks end any run of a few steps, whatever happens.
const ENDS_WITHIN: usize = 2_000;

fn step(index: usize, kind: u8, retry: u8, go_on: bool, idempotent: bool) -> String {
    let does = match kind {
        0 | 1 => "script: scripts/look.sh",
        2 => "action: app.restart",
        3 => "wait: resolved, timeout: 2m",
        4 => "wait: {for: 5s}",
        5 => "http: {method: GET, url: \"http://127.0.0.1:1/\"}",
        6 => "playbook: sub",
        7 => "script: scripts/look.sh, if: target.healthy < target.replicas",
        _ => "page: {}",
    };
    let retried = retry > 0 && !matches!(kind, 3 | 4 | 6 | 8..);
    let retry = if retried { format!(", retry: {{attempts: {retry}, backoff: 1s}}") } else { String::new() };
    let more = if idempotent { ", idempotent: true" } else { "" };
    let on_error = if go_on { ", onError: continue" } else { "" };
    format!("    - {{name: s{index}, {does}{retry}{more}{on_error}}}\n")
}

fn program() -> impl Strategy<Value = String> {
    let steps = || prop::collection::vec((0..9_u8, 0..4_u8, any::<bool>(), any::<bool>()), 1..5);
    (steps(), prop::option::of(steps())).prop_map(|(steps, otherwise)| {
        let list = |steps: Vec<(u8, u8, bool, bool)>| -> String {
            steps.into_iter().enumerate().map(|(at, (kind, retry, on, same))| step(at, kind, retry, on, same)).collect()
        };
        let otherwise = otherwise.map(|steps| format!("  otherwise:\n{}", list(steps))).unwrap_or_default();
        format!("{ON}  limits: {{timeout: 1h}}\n  steps:\n{}{otherwise}", list(steps))
    })
}

/// Plays a run with these dice; gives how often each attempt was begun.
fn play(live: &mut Live, dice: &[u8]) -> BTreeMap<(StepRef, u32), usize> {
    let mut begun = BTreeMap::new();
    // Nothing outside stays the same for ever: somebody accepts a page in the end, and a hold is lifted.
    let mut dice = dice.iter().copied().cycle().zip(0_u8..=255).map(|(die, turn)| die.wrapping_add(turn / 3));
    let mut rolled = 0_u8;
    let mut roll = move || {
        rolled = rolled.wrapping_add(7);
        dice.next().unwrap_or(rolled)
    };
    for _ in 0..ENDS_WITHIN {
        match live.next() {
            Next::Record(events) => {
                for event in events {
                    if matches!(event, RunEvent::StepEnded { .. }) {
                        (live.progress, live.called) = (None, None);
                    }
                    live.take(event);
                }
            }
            Next::Begin { step, attempt, deadline, order } => {
                *begun.entry((step, attempt)).or_insert(0) += 1;
                live.take(RunEvent::StepBegun { step, attempt, key: Key(format!("{step:?}{attempt}")), deadline });
                live.in_hand = true;
                match *order {
                    Order::Wait => {}
                    Order::Act { .. } => live.progress = Some(Progress::Going("on its way".to_owned())),
                    // A third of them are cut off before they left a trace.
                    Order::Page { .. } if roll() % 3 > 0 => {
                        live.page = Some(PageFacts { page: PageId(1), accepted: false, nobody: false });
                    }
                    Order::Call { .. } if roll() % 3 > 0 => live.called = Some(RunState::Waiting),
                    Order::Page { .. } | Order::Call { .. } => {}
                    _ => effect(live, roll()),
                }
            }
            Next::Ask(alerts) => {
                let states = [AlertState::Firing, AlertState::Resolved, AlertState::Unknown, AlertState::Silenced];
                for alert in alerts {
                    live.take(RunEvent::Asked { alert, state: states[usize::from(roll()) % states.len()] });
                }
            }
            Next::Wait { until, .. } => {
                happens(live, roll());
                match until {
                    Some(until) => live.now = live.now.max(until.min(super::at(1_000_000))),
                    None => live.pass(1),
                }
            }
            Next::Over => return begun,
        }
        // A daemon that starts anew has the log and nothing else.
        let folded = fold(live);
        assert_eq!(folded, live.run, "the fold of the log is not the live run");
        live.run = folded;
    }
    panic!("it does not end: {:#?}", live.run)
}

/// An effect ends, or the daemon does.
fn effect(live: &mut Live, dice: u8) {
    match dice % 5 {
        0 | 1 => live.ends(StepOutcome::Done { output: Value::Null }),
        2 => live.ends(StepOutcome::Failed { error: "no".to_owned() }),
        3 => live.ends(StepOutcome::Unknown { error: "who knows".to_owned() }),
        _ => live.in_hand = false,
    }
}

/// Something outside of the run.
fn happens(live: &mut Live, dice: u8) {
    match dice % 9 {
        0 => live.alert(AlertState::Resolved),
        1 => live.alert(AlertState::Firing),
        2 => live.alert(AlertState::Expired),
        3 => {
            live.hold = Some([Hold::Frozen, Hold::Suspended, Hold::Still, Hold::Turn][usize::from(dice / 9) % 4](
                "held".to_owned(),
            ));
        }
        4 => live.in_hand = false,
        _ => live.hold = None,
    }
    if let Some(page) = &mut live.page {
        page.accepted = dice.is_multiple_of(2);
    }
    if live.progress.is_some() {
        live.progress = match dice % 4 {
            0 => Some(Progress::Done(Value::Null)),
            1 => Some(Progress::Failed("no".to_owned())),
            _ => live.progress.take(),
        };
    }
    if live.called.is_some() {
        live.called = Some([RunState::Waiting, RunState::Resolved, RunState::Failed][usize::from(dice) % 3]);
    }
}

fn fold(live: &Live) -> Run {
    let mut run = Run::open(RunId(1), super::at(0), &live.first).expect("a run");
    live.log.iter().for_each(|(at, event)| run.take(*at, event));
    run
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn every_run_ends_is_the_fold_of_its_log_and_repeats_nothing(
        spec in program(),
        dice in prop::collection::vec(any::<u8>(), 1..80),
        rung in prop::sample::select(vec![Rung::Steps, Rung::Otherwise, Rung::Page]),
        asks in any::<bool>(),
    ) {
        let mut live = Live::answering(&spec, rung);
        live.asks = asks;
        let begun = play(&mut live, &dice);
        for ((at, attempt), times) in begun {
            let step = live.run.step(at).expect("a step");
            let traced = matches!(step.does.word(), "page" | "playbook") || super::super::may::commits(&step.does);
            prop_assert!(times == 1 || traced, "`{}` attempt {attempt} was begun {times} times", step.name);
        }
        // After an outcome that is not known, no further attempt of what may not be done again.
        for at in live.run.steps.iter().map(|record| record.step) {
            let step = live.run.step(at).expect("a step");
            let of_it = |event: &RunEvent| matches!(event, RunEvent::StepBegun { step, .. } | RunEvent::StepEnded { step, .. } if *step == at);
            let events: Vec<&RunEvent> = live.log.iter().map(|(_, event)| event).filter(|event| of_it(event)).collect();
            let unknown = events.iter().position(|event| matches!(event, RunEvent::StepEnded { outcome: StepOutcome::Unknown { .. }, .. }));
            if let Some(unknown) = unknown.filter(|_| !step.idempotent) {
                prop_assert_eq!(unknown, events.len() - 1, "`{}` was begun again", step.name);
            }
        }
        let (state, _, _) = live.run.ended.clone().expect("it is over");
        prop_assert!(state.is_over());
    }
}
