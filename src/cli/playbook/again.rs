//! One alert decided again by a working tree, and set against what was decided then.

use std::collections::BTreeSet;
use std::sync::Arc;

use codeops_core::alert::{Quiet, Routed, Router, is_by_rule, is_freeze, quiet};
use codeops_core::model::{
    Alert, Does, Given, GivenAlert, Labels, Name, Part, Playbook, PlaybookStep, ResourceId, Run, RunCause, RunState,
    Rung, StepOutcome, StepRecord, StepRef, Trigger,
};
use codeops_core::playbook::{Answer, OVER, SUSPENDED, Scene, Simulated, is_built_in, pin, seen, simulate};
use jiff::Timestamp;
use serde::Serialize;

use super::Tree;
use super::past::{Moment, Was};

/// How an alert is decided again.
pub(super) enum Again {
    Same,
    Differs(Box<(Decision, Decision)>),
    /// It would take the same way, but which steps cannot be known offline: they rest on how the target was, and that is
    /// assumed.
    Assumed,
    /// It was not decided by a tree, but by this.
    NotCompared(String),
}

/// What was, or would be, decided.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Decision {
    /// Muted, in maintenance or inhibited: nothing is done. Older journals have it of a suspended target, too.
    pub(super) quiet: bool,
    /// The playbook; none when a person is called at once.
    pub(super) playbook: Option<Name>,
    pub(super) target: Option<String>,
    pub(super) policy: Option<Name>,
    /// The steps that are begun; none where the alert had no run of its own then, for nobody knows how they would have ended.
    pub(super) steps: Option<Vec<Name>>,
    /// What each of them does: the action with its arguments, whom it pages.
    pub(super) does: Option<Vec<String>>,
}

/// A step that is begun, and what it does.
type Step = (Name, String);

impl Decision {
    const QUIET: Self = Self { quiet: true, playbook: None, target: None, policy: None, steps: None, does: None };
}

/// Who answers by the tree.
struct Answered {
    playbook: Arc<Playbook>,
    target: Option<ResourceId>,
    policy: Option<Name>,
    /// A person, at once.
    pages: bool,
    /// Because its target is suspended.
    held: bool,
}

impl Answered {
    fn decision(&self, steps: Option<Vec<Step>>) -> Decision {
        decision(&self.playbook.name, self.target.as_ref(), self.policy.as_ref(), steps)
    }
}

fn decision(playbook: &Name, target: Option<&ResourceId>, policy: Option<&Name>, steps: Option<Vec<Step>>) -> Decision {
    let (steps, does) = steps.map(|steps| steps.into_iter().unzip()).unzip();
    Decision {
        quiet: false,
        playbook: (!is_built_in(playbook)).then(|| playbook.clone()),
        target: target.map(ToString::to_string),
        policy: policy.cloned(),
        steps,
        does,
    }
}

/// Decides one alert again, with what fired at its moment.
pub(super) fn again(tree: &Tree, router: &Router, moment: &Moment, firing: &Quiet<'_>) -> Again {
    let alert = &moment.alert;
    let routed = router.route(&alert.labels);
    let answered = || answered(tree, alert, &routed, firing, moment.at);
    let differs = |was, now| Again::Differs(Box::new((was, now)));
    match &moment.was {
        Was::Neither(why) => Again::NotCompared(why.clone()),
        Was::Quiet(why) => match answered() {
            None => Again::Same,
            Some(now) if is_by_rule(why) || why.ends_with(SUSPENDED) => differs(Decision::QUIET, now.decision(None)),
            // Nothing that a tree says.
            Some(_) => Again::NotCompared("another run was on, or no revision in force".to_owned()),
        },
        Was::Run(run) => match answered() {
            None => differs(was(run, Some(begun(run))), Decision::QUIET),
            Some(now) if !is_own(run, alert) => match joins(run, &now, &routed, &alert.labels) {
                true => Again::Same,
                false => differs(was(run, None), now.decision(None)),
            },
            Some(now) => by_its_run(tree, alert, run, &now),
        },
    }
}

/// An alert that opened a run. The same program has the same way: only another one is thought through.
fn by_its_run(tree: &Tree, alert: &Alert, run: &Run, now: &Answered) -> Again {
    let begun = begun(run);
    let was = was(run, Some(begun.clone()));
    let same_way = now.decision(Some(begun.clone())) == was;
    let world = tree.world();
    let program = pin(&now.playbook, &run.cause, now.target.as_ref(), world.resolve_delay);
    let held = was_held(run);
    if same_way && program == run.playbook && held == now.held {
        return Again::Same;
    }
    let given = as_it_was(alert, run);
    let steps_of = |playbook: &Playbook, policy: Option<&Name>, rung: Rung| {
        // It answers the alert, whether by its own `on` or by a route.
        let playbook = Arc::new(Playbook { on: Trigger::Called, ..playbook.clone() });
        let scene = Scene { world: &world, playbook: &playbook, policy, given: &given, now: run.opened_at, rung };
        let mut steps = simulated(&simulate(&scene), policy);
        if run.ended.as_ref().is_none_or(|(state, _, _)| matches!(state, RunState::Cancelled | RunState::Skipped)) {
            // It never came to its end: what it had begun is all there is to compare.
            steps.truncate(begun.len());
        }
        steps
    };
    let rung = match now.pages {
        true => Rung::Page,
        // What only a suspension kept from its steps begins at them.
        false if held => Rung::Steps,
        false => run.rung,
    };
    let is = now.decision(Some(steps_of(&now.playbook, now.policy.as_ref(), rung)));
    if was == is {
        return Again::Same;
    }
    // Where thinking its own program through does not give what it did, the target was not as it is taken to have been: then the
    // steps that it did are looked at as they would be now.
    if !same_way || held != now.held || steps_of(&run.playbook, run.policy.as_ref(), run.rung) == begun {
        return Again::Differs(Box::new((was, is)));
    }
    let other = |(at, (name, before)): (StepRef, Step)| {
        let named = listed(&program, at.part).iter().find(|step| step.name == name);
        let does = named.map_or(before, |step| does(step, now.policy.as_ref()));
        (name, does)
    };
    let now = now.decision(Some(begun_at(run).into_iter().map(other).collect()));
    if was == now { Again::Assumed } else { Again::Differs(Box::new((was, now))) }
}

/// Whether a run only called a person since its target was suspended when it was opened.
fn was_held(run: &Run) -> bool {
    let why = run.alert.pointer("/annotations/codeops").and_then(serde_json::Value::as_str);
    run.target.is_some() && run.rung == Rung::Page && why.is_some_and(|why| why.ends_with(SUSPENDED))
}

fn was(run: &Run, steps: Option<Vec<Step>>) -> Decision {
    decision(&run.playbook.name, run.target.as_ref(), run.policy.as_ref(), steps)
}

fn is_own(run: &Run, alert: &Alert) -> bool {
    matches!(&run.cause, RunCause::Alert { alert: first } if *first == alert.id)
}

/// Whether an alert that joined a run would join it still: it calls the same people, and is about the same target, or, without one,
/// of the same playbook and group.
fn joins(run: &Run, now: &Answered, routed: &Routed, labels: &Labels) -> bool {
    let first = run.alert.get("labels").and_then(|labels| serde_json::from_value::<Labels>(labels.clone()).ok());
    let agrees = || first.is_some_and(|first| routed.group(&first) == routed.group(labels));
    let same = run.target == now.target && run.policy == now.policy;
    same && (run.target.is_some() || (run.playbook.name == now.playbook.name && agrees()))
}

/// The steps that a run has begun, in order.
fn begun(run: &Run) -> Vec<Step> {
    begun_at(run).into_iter().map(|(_, step)| step).collect()
}

fn begun_at(run: &Run) -> Vec<(StepRef, Step)> {
    let begun = run.steps.iter().filter(|record| record.attempts > 0);
    let step = |record: &StepRecord| {
        let step = run.step(record.step)?;
        Some((record.step, (step.name.clone(), does(step, run.policy.as_ref()))))
    };
    begun.filter_map(step).collect()
}

/// The same of one that was thought through, further attempts left out.
fn simulated(simulated: &Simulated, policy: Option<&Name>) -> Vec<Step> {
    let Some(run) = &simulated.run else { return Vec::new() };
    let mut before = BTreeSet::new();
    let first = simulated.begun.iter().filter(|begun| before.insert(begun.step));
    first.filter_map(|begun| Some((begun.name.clone(), does(run.step(begun.step)?, policy)))).collect()
}

fn listed(program: &Playbook, part: Part) -> &[PlaybookStep] {
    match part {
        Part::Steps => &program.steps,
        Part::Otherwise => program.otherwise.as_deref().unwrap_or_default(),
    }
}

/// What a step does, as it is written; `own` is whom a page without a policy calls.
fn does(step: &PlaybookStep, own: Option<&Name>) -> String {
    match &step.does {
        Does::Action { action, target, with } => {
            let on = target.as_ref().map(|target| format!(" on {target}")).unwrap_or_default();
            let with: String = with.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("{action}{on}{with}")
        }
        Does::Page { policy } => format!("page {}", policy.as_ref().or(own).map_or("nobody", Name::as_str)),
        Does::Script { file } => format!("script {file}"),
        Does::Http(call) => format!("http {} {}", call.method, call.url),
        Does::Notify { channel, .. } => format!("notify {}", channel.word()),
        Does::Playbook(name) => format!("playbook {name}"),
        Does::Git(change) => format!("git {}", serde_json::to_string(change).unwrap_or_default()),
        Does::Wait { .. } => step.does.word().to_owned(),
    }
}

/// Who answers an alert at a moment; nobody where it is kept quiet.
fn answered(tree: &Tree, alert: &Alert, routed: &Routed, firing: &Quiet<'_>, at: Timestamp) -> Option<Answered> {
    if quiet(alert, routed, firing, at).is_some() || is_freeze(alert, &tree.may_freeze) {
        return None;
    }
    let world = tree.world();
    match world.answer(routed, &seen(alert), tree.receivers.limited.get(&alert.receiver)) {
        Answer::Runs { playbook, target, policy } => {
            Some(Answered { playbook, target, policy, pages: false, held: false })
        }
        Answer::Pages { playbook, policy, .. } => {
            Some(Answered { playbook, target: None, policy, pages: true, held: false })
        }
        Answer::Held { playbook, target, policy, .. } => {
            Some(Answered { playbook, target: Some(target), policy, pages: true, held: true })
        }
    }
}

/// The results of a run's steps, by name; its alert is over after the last one that was done where it ended proven.
fn as_it_was(alert: &Alert, run: &Run) -> Given {
    let done = |record: &&StepRecord| matches!(record.outcome, Some(StepOutcome::Done { .. }));
    let named = |record: &StepRecord| Some(run.step(record.step)?.name.clone());
    let proven =
        run.ended.as_ref().is_some_and(|(state, _, _)| matches!(state, RunState::Resolved | RunState::Replaced));
    let twice: BTreeSet<Name> = {
        let mut seen = BTreeSet::new();
        begun(run).into_iter().map(|(name, _)| name).filter(|name| !seen.insert(name.clone())).collect()
    };
    // What was passed over since the alert was over by then would be so again.
    let passed_over = |record: &StepRecord| record.skipped.as_deref().is_some_and(|why| why.starts_with(OVER));
    let over_at = run.steps.iter().position(passed_over);
    let before = over_at.map(|at| run.steps.iter().take(at).rfind(|record| record.attempts > 0).and_then(named));
    let resolved_after = match &before {
        Some(before) => before.clone(),
        None => proven.then(|| run.steps.iter().rfind(|record| done(record)).and_then(named)).flatten(),
    };
    let outcomes = run.steps.iter().filter_map(|record| Some((named(record)?, record.outcome.clone()?)));
    Given {
        alert: Some(GivenAlert { labels: alert.labels.clone(), annotations: alert.annotations.clone() }),
        // A name that both lists have, such as `proof`, ended in two ways: there the clock decides.
        steps: outcomes.filter(|(name, _)| !twice.contains(name)).collect(),
        is_over: before.is_some() && resolved_after.is_none(),
        resolved_after,
        ..Given::default()
    }
}
