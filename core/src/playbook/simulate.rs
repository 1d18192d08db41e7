//! A run that is only thought through: the very [`next`] that live runs take, over facts and results that are given. Time
//! jumps to the next moment at which anything can change.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::order::order;
use super::{Answer, Asked, Facts, Next, Opening, Order, TargetFacts, World, next, open, seen, target_for};
use crate::expression;
use crate::model::{
    Alert, AlertId, AlertMemory, AlertState, Disposition, Does, Fingerprint, Given, GivenTarget, Health, Key, Labels,
    Name, Part, Playbook, PlaybookStep, ResourceId, ResponseMemory, Revision, Run, RunCause, RunEvent, RunId, RunState,
    Rung, StepOutcome, StepRef, Sync, Trigger, WaitFor,
};

/// So many looks end any run: the longest playbook needs far fewer.
const MOST_LOOKS: usize = 20_000;
/// How long anything takes that is given no time of its own.
const TAKES: SignedDuration = SignedDuration::from_secs(1);

/// What is thought through.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// What is declared around it.
    pub world: &'a World<'a>,
    /// The playbook.
    pub playbook: &'a Arc<Playbook>,
    /// Who is paged, from the alert's route.
    pub policy: Option<&'a Name>,
    /// What is so, and how steps end.
    pub given: &'a Given,
    /// When it begins.
    pub now: Timestamp,
    /// Where it begins.
    pub rung: Rung,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulated {
    /// Attempts in the order they were begun.
    pub begun: Vec<Begun>,
    /// Steps that were passed over, and why.
    pub skipped: Vec<(Name, String)>,
    /// How it ended; [`RunState::Waiting`] when it never would.
    pub state: RunState,
    /// In one sentence.
    pub why: String,
    /// How long it took, by its own clock.
    pub took: SignedDuration,
    /// The run as its log left it; none when no run was opened.
    pub run: Option<Run>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Begun {
    /// The step's name.
    pub name: Name,
    /// The step.
    pub step: StepRef,
    /// From 1.
    pub attempt: u32,
    /// What it does, filled in; none for one that could not be.
    pub order: Option<Order>,
}

impl Simulated {
    /// The names of the steps that were begun, further attempts left out.
    pub fn steps(&self) -> Vec<Name> {
        let mut before = std::collections::BTreeSet::new();
        self.begun.iter().filter(|begun| before.insert(begun.step)).map(|begun| begun.name.clone()).collect()
    }

    fn nothing(why: String) -> Self {
        let (state, took) = (RunState::Skipped, SignedDuration::ZERO);
        Self { begun: Vec::new(), skipped: Vec::new(), state, why, took, run: None }
    }
}

/// Thinks one run through, from the alert or the due time to its end.
pub fn simulate(scene: &Scene<'_>) -> Simulated {
    let alert = scene.given.alert.as_ref().map(|_| given_alert(scene));
    if let (Some(alert), Trigger::Alert(matchers)) = (&alert, &scene.playbook.on)
        && let Some(matcher) = matchers.iter().find(|matcher| !matcher.holds(&alert.labels))
    {
        return Simulated::nothing(format!("its `on` asks for {matcher}, which does not hold for the alert"));
    }
    let run = match opened(scene, alert.as_deref()) {
        Ok(run) => run,
        Err(why) => return Simulated::nothing(why),
    };
    let mut simulation = Simulation {
        given: scene.given,
        alerts: alert.into_iter().map(|alert| (alert.id.clone(), remembered(alert, scene.now))).collect(),
        target: facts_of(run.target.as_ref(), &scene.given.target, &run, scene.now),
        now: scene.now,
        begun: Vec::new(),
        skipped: Vec::new(),
        run,
    };
    if scene.given.is_over {
        simulation.resolve();
    }
    simulation.play()
}

/// What one step of a run that is about to be opened would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// The step.
    pub step: StepRef,
    /// Whether its `if` holds, as far as that is known before anything was done; none without one.
    pub when: Option<Result<bool, String>>,
    /// What it does, filled in, or why that is not known yet.
    pub order: Result<Order, String>,
}

/// The run that a scene opens, and what each of its steps would do as far as that is known before the first.
///
/// # Errors
/// In one sentence, why no run is opened.
pub fn preview(scene: &Scene<'_>) -> Result<(Run, Vec<Preview>), String> {
    let alert = scene.given.alert.as_ref().map(|_| given_alert(scene));
    let run = opened(scene, alert.as_deref())?;
    let alerts = alert.into_iter().map(|alert| (alert.id.clone(), remembered(alert, scene.now))).collect();
    let facts = facts_at(scene.now, &alerts, None);
    let known = super::facts(&run, &facts);
    let parts = [(Part::Steps, Some(&run.playbook.steps)), (Part::Otherwise, run.playbook.otherwise.as_ref())];
    let steps = parts.into_iter().flat_map(|(part, steps)| {
        let numbered = steps.into_iter().flatten().zip(0_u32..);
        numbered.map(move |(step, index)| (StepRef { part, index }, step))
    });
    let preview = |(at, step): (StepRef, &PlaybookStep)| Preview {
        step: at,
        when: step.when.as_ref().map(|when| expression::holds(when, &known)),
        order: order(&run, step, &facts),
    };
    let steps = steps.map(preview).collect();
    Ok((run, steps))
}

/// The run that is opened.
fn opened(scene: &Scene<'_>, alert: Option<&Alert>) -> Result<Run, String> {
    let seen = alert.map_or(Value::Null, seen);
    let (playbook, target, policy, only_pages) = match answer(scene, &seen) {
        Answer::Runs { playbook, target, policy } => (playbook, target, policy, false),
        Answer::Held { playbook, target, policy, .. } if alert.is_some() => (playbook, Some(target), policy, true),
        Answer::Held { why, .. } => return Err(why),
        Answer::Pages { playbook, policy, .. } if alert.is_some() => (playbook, None, policy, true),
        Answer::Pages { why, .. } => return Err(why),
    };
    let cause = match (alert, &scene.playbook.on) {
        (Some(alert), _) => RunCause::Alert { alert: alert.id.clone() },
        (None, Trigger::Schedule(_)) => RunCause::Schedule { due: scene.now },
        (None, Trigger::Alert(_) | Trigger::Called) => {
            RunCause::Call { run: RunId(0), step: StepRef { part: Part::Steps, index: 0 } }
        }
    };
    let revision: Revision = "0".repeat(40).parse().expect("forty zeros");
    let asked = Asked {
        playbook: &playbook,
        authority: &playbook.team,
        cause,
        target,
        policy,
        alert: seen,
        revision: &revision,
        resolve_delay: scene.world.resolve_delay,
        group: Labels::new(),
        owner: None,
        only_pages,
    };
    match open(&asked, &ResponseMemory::default(), scene.now, &|_| false) {
        Opening::Open { mut event, .. } => {
            if let RunEvent::Opened { rung, .. } = &mut *event {
                *rung = scene.rung.max(*rung);
            }
            Run::open(RunId(1), scene.now, &event).ok_or_else(|| "it opens no run".to_owned())
        }
        Opening::Join(_) => Err("it joins another run".to_owned()),
        Opening::Told { page, .. } => Err(format!("page {page} tells of it")),
        Opening::Left(why) | Opening::Later(why) => Err(why),
    }
}

/// As the world answers; but a target that is not declared is as given, so that a playbook can be tested apart from what it
/// will act on.
fn answer(scene: &Scene<'_>, seen: &Value) -> Answer {
    let target = scene.playbook.target.as_ref().and_then(|template| target_for(template, seen).ok());
    match target.filter(|target| !scene.world.resources.contains_key(target)) {
        Some(target) => {
            let policy = scene.policy.cloned().or_else(|| scene.world.escalation(&scene.playbook.team));
            Answer::Runs { playbook: Arc::clone(scene.playbook), target: Some(target), policy }
        }
        None => scene.world.answered_by(scene.playbook, None, scene.policy, seen),
    }
}

fn given_alert(scene: &Scene<'_>) -> Arc<Alert> {
    let given = scene.given.alert.clone().unwrap_or_default();
    let source = Name::new("given").expect("a literal name");
    let id = AlertId { source: source.clone(), fingerprint: Fingerprint::of(&given.labels), starts_at: scene.now };
    let (labels, annotations) = (given.labels, given.annotations);
    Arc::new(Alert { id, receiver: source, labels, annotations, url: None, expires_at: None })
}

fn remembered(alert: Arc<Alert>, now: Timestamp) -> Arc<AlertMemory> {
    let (state, disposition) = (AlertState::Firing, Disposition::Received);
    Arc::new(AlertMemory { alert, state, since: now, received_at: now, disposition, asked: false })
}

fn facts_of(target: Option<&ResourceId>, given: &GivenTarget, run: &Run, now: Timestamp) -> Option<TargetFacts> {
    Some(TargetFacts {
        id: target?.clone(),
        health: given.health,
        sync: Sync::Synced,
        since: now,
        replicas: given.replicas,
        healthy: given.healthy,
        dependencies_healthy: given.dependencies_healthy,
        can_roll_back: given.can_roll_back,
        unproven: given.unproven,
        // An alert inside a bake rolls back before the run begins; where a check alone goes back, the instances stay.
        rolling_back: given.unproven
            && given.can_roll_back
            && !given.check_only
            && matches!(run.cause, RunCause::Alert { .. }),
    })
}

/// Nothing from outside holds the run, and effects are in hand until they end.
fn facts_at(now: Timestamp, alerts: &BTreeMap<AlertId, Arc<AlertMemory>>, target: Option<TargetFacts>) -> Facts<'_> {
    Facts {
        now,
        alerts,
        target,
        hold: None,
        cancelled: None,
        in_hand: true,
        looks_since: Timestamp::MIN,
        progress: None,
        called: None,
        page: None,
        asks: true,
        revision: None,
    }
}

struct Simulation<'a> {
    given: &'a Given,
    alerts: BTreeMap<AlertId, Arc<AlertMemory>>,
    target: Option<TargetFacts>,
    now: Timestamp,
    begun: Vec<Begun>,
    skipped: Vec<(Name, String)>,
    run: Run,
}

impl Simulation<'_> {
    fn play(mut self) -> Simulated {
        let began = self.now;
        let mut stands = format!("it did not end within {MOST_LOOKS} looks");
        for _ in 0..MOST_LOOKS {
            match next(&self.run, &self.facts()) {
                Next::Record(events) => events.iter().for_each(|event| self.take(event)),
                Next::Begin { step, attempt, deadline, order } => {
                    self.note(step, attempt, Some(*order));
                    let key = Key(format!("{step:?}:{attempt}"));
                    self.run.take(self.now, &RunEvent::StepBegun { step, attempt, key, deadline });
                    self.end(step, attempt);
                }
                Next::Ask(alerts) => {
                    for alert in alerts {
                        self.run.take(self.now, &RunEvent::Asked { alert, state: AlertState::Firing });
                    }
                }
                Next::Wait { until: Some(until), .. } if until < Timestamp::MAX => self.now = self.now.max(until),
                Next::Wait { why, .. } => {
                    stands = format!("it would wait for ever: {why}");
                    break;
                }
                Next::Over => break,
            }
        }
        let (state, why) = match &self.run.ended {
            Some((state, why, _)) => (*state, why.clone()),
            None => (RunState::Waiting, stands),
        };
        let took = self.now.duration_since(began);
        Simulated { begun: self.begun, skipped: self.skipped, state, why, took, run: Some(self.run) }
    }

    fn facts(&self) -> Facts<'_> {
        facts_at(self.now, &self.alerts, self.target.clone())
    }

    /// Ends what was begun as it is given; waits that are given nothing go on by the clock.
    fn end(&mut self, step: StepRef, attempt: u32) {
        let Some(written) = self.run.step(step) else { return };
        let given = self.given.steps.get(&written.name);
        let by_clock = matches!(&written.does, Does::Wait { what: WaitFor::Resolved | WaitFor::For(_), .. });
        if given.is_none() && by_clock {
            return;
        }
        let outcome = given.cloned().unwrap_or(StepOutcome::Done { output: Value::Null });
        self.now = self.now.checked_add(TAKES).unwrap_or(self.now);
        self.take(&RunEvent::StepEnded { step, attempt, outcome, evidence: String::new() });
    }

    fn take(&mut self, event: &RunEvent) {
        let name = |step: StepRef| self.run.step(step).map(|step| step.name.clone());
        let over = match event {
            RunEvent::StepBegun { step, attempt, .. } => {
                self.note(*step, *attempt, None);
                None
            }
            RunEvent::StepSkipped { step, why } => {
                let name = name(*step);
                self.skipped.extend(name.clone().map(|name| (name, why.clone())));
                name
            }
            RunEvent::StepEnded { step, .. } => name(*step),
            _ => None,
        };
        self.run.take(self.now, event);
        if over.is_some() && over == self.given.resolved_after {
            self.resolve();
        }
    }

    fn note(&mut self, step: StepRef, attempt: u32, order: Option<Order>) {
        let Some(name) = self.run.step(step).map(|step| step.name.clone()) else { return };
        self.begun.push(Begun { name, step, attempt, order });
    }

    /// The source says that it is over, and the target works.
    fn resolve(&mut self) {
        for memory in self.alerts.values_mut() {
            let memory = Arc::make_mut(memory);
            memory.state = AlertState::Resolved;
            memory.since = self.now;
        }
        if let Some(target) = &mut self.target {
            (target.health, target.healthy, target.since) = (Health::Healthy, target.replicas, self.now);
            target.dependencies_healthy = true;
        }
    }
}
