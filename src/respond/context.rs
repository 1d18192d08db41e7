//! What a decision rests on beside the journal: targets as the board shows them, holds, and who may act.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use codeops_core::action;
use codeops_core::alert;
use codeops_core::config::{Freeze, FreezeWhat, RepositorySpec};
use codeops_core::model::{
    Action, AlertId, AlertMemory, Does, Health, InstanceHealth, Live, Memory, Name, OnFailure, Period, Progress,
    Resource, ResourceId, ResourceMemory, ResponseMemory, Run, RunCause, RunState, StepRef, TeamName,
};
use codeops_core::plan::{Effective, effective, is_good, is_proven, is_tried, pin_of};
use codeops_core::playbook::{Facts, Hold, PageFacts, TargetFacts, World, is_built_in, target_of};
use jiff::{SignedDuration, Timestamp};

use super::Flow;
use crate::gate::Picture;

/// Why nothing is done where the settings say so.
const OBSERVES: &str = "only observing, as the settings say";
/// A rollback this shortly before a run was opened is the run's own answer.
const SAME_CAUSE: SignedDuration = SignedDuration::from_mins(2);

impl Flow {
    /// The gate's picture of this moment; `None` before the first revision.
    pub(super) fn picture(&self) -> Option<Arc<Picture>> {
        let desired = Arc::clone(self.board.desired.as_ref()?);
        let revision = self.board.revision.as_ref()?.id.clone();
        let freeze = self.remembered(|response| self.freeze(response));
        Some(Arc::new(Picture { desired, snapshot: Arc::clone(&self.board.snapshot), revision, freeze }))
    }

    /// The freeze from outside the repository.
    fn freeze(&self, response: &ResponseMemory) -> Option<Freeze> {
        let rules = &self.tools.rules;
        alert::freeze(&response.alerts, &rules.may_freeze, rules.freeze.as_ref())
    }

    /// Why no playbook acts at all now, if so.
    pub(super) fn frozen(&self, response: &ResponseMemory, now: Timestamp) -> Option<String> {
        self.in_force(response, now).as_ref().map(ToString::to_string)
    }

    /// The freeze in force.
    fn in_force(&self, response: &ResponseMemory, now: Timestamp) -> Option<Freeze> {
        let declared = self.board.desired.as_ref().and_then(|desired| desired.repository.freeze.as_ref());
        let outside = self.freeze(response);
        Freeze::in_force(outside.iter().chain(declared), now).cloned()
    }

    /// Why what is left of an action that is on is not done now: in a freeze one that has begun comes to its end, but what goes
    /// back to another version does not.
    fn stopped(&self, action: Action, response: &ResponseMemory, now: Timestamp) -> Option<String> {
        if self.tools.rules.observe {
            return Some(OBSERVES.to_owned());
        }
        let freeze = self.in_force(response, now).filter(|freeze| freeze.what == FreezeWhat::All)?;
        (action == Action::AppRollback).then(|| freeze.to_string())
    }

    /// What is declared of a resource.
    pub(super) fn declared(&self, id: &ResourceId) -> Option<&Arc<Resource>> {
        self.board.desired.as_ref()?.resources.get(id)
    }

    /// What lives of it, where it should.
    pub(super) fn live(&self, declared: &Arc<Resource>, memory: Option<&ResourceMemory>) -> Option<&Live> {
        self.board.snapshot.live(&effective(declared, memory).resource().spec.provider, &declared.id)
    }

    /// What the revision in force declares, as far as answers rest on it; `None` before the first.
    pub(super) fn world(&self) -> Option<World<'_>> {
        let desired = self.board.desired.as_ref()?;
        Some(World {
            response: self.router.response(),
            resources: &desired.resources,
            reach: &desired.reach,
            teams: &desired.teams,
            fallback: self.tools.rules.fallback.as_ref(),
            resolve_delay: desired.repository.resolve_delay(),
        })
    }

    /// Whether a team may act on a resource.
    pub(super) fn may_act(&self, team: &TeamName, id: &ResourceId) -> bool {
        self.world().is_some_and(|world| world.may_act(team, id))
    }

    /// Whether a playbook that acts for `team` may page by this policy: its name may be another's since the run began.
    pub(super) fn may_page(&self, team: &TeamName, policy: &Name) -> bool {
        let Some(desired) = self.board.desired.as_ref().filter(|desired| desired.keeps_teams_apart()) else {
            return true;
        };
        let theirs = desired.response.policies.get(policy).map(|policy| &policy.team);
        let allowed = |theirs: &TeamName| desired.reach.get(theirs).is_some_and(|allowed| allowed.contains(team));
        theirs.is_none_or(|theirs| theirs == team || desired.everybodys.contains(theirs) || allowed(theirs))
    }

    /// Who is paged for what a team owns.
    pub(super) fn escalation(&self, team: &TeamName) -> Option<Name> {
        self.world().and_then(|world| world.escalation(team))
    }

    /// How late a resolved signal may come.
    pub(super) fn resolve_delay(&self) -> Period {
        self.world().map_or_else(|| RepositorySpec::default().resolve_delay(), |world| world.resolve_delay)
    }

    /// A target at this moment.
    pub(super) fn target(&self, id: &ResourceId, memory: &Memory, since: Option<Timestamp>) -> Option<TargetFacts> {
        let declared = self.declared(id)?;
        let view = self.board.resources.get(id)?;
        let nothing = ResourceMemory::default();
        let remembered = memory.resources.get(id).unwrap_or(&nothing);
        let live = self.live(declared, Some(remembered));
        let healthy = live.map_or(0, |live| {
            live.instances.iter().filter(|instance| instance.health == InstanceHealth::Healthy).count()
        });
        let works = |id: &ResourceId| self.board.resources.get(id).is_none_or(|view| view.health == Health::Healthy);
        let good = remembered.last_good.as_ref().filter(|good| pin_of(&good.resource, remembered).is_none());
        let rolled_back = match effective(declared, Some(remembered)) {
            Effective::RolledBack { pin, .. } => Some(pin.at),
            _ => None,
        };
        let goes_back = declared.spec.rollout.on_failure == OnFailure::Rollback;
        let own = since.and_then(|since| since.checked_sub(SAME_CAUSE).ok());
        let proven = is_proven(declared, remembered);
        // What waits its turn was not tried: what fires is of what is live, and there is nothing to go back from.
        let tried = live.is_some_and(|live| is_tried(declared, live, remembered));
        // Where only its check goes back, its instances stay as they are: that mends no outage.
        let returns = rolled_back.filter(|_| !is_good(declared, remembered));
        Some(TargetFacts {
            id: id.clone(),
            health: view.health,
            sync: view.sync,
            since: view.since,
            replicas: declared.spec.replicas,
            healthy: u32::try_from(healthy).unwrap_or(u32::MAX),
            dependencies_healthy: declared.spec.after.iter().all(works),
            can_roll_back: good.is_some() && tried && !proven && rolled_back.is_none() && goes_back,
            unproven: tried && !proven && rolled_back.is_none(),
            rolling_back: returns.is_some_and(|at| own.is_some_and(|own| at >= own)),
        })
    }

    /// Since when there are instances of this version, if there are any; where only its check is new, since when one was judged
    /// by that.
    pub(super) fn came_at(&self, declared: &Arc<Resource>, memory: &Memory) -> Option<Timestamp> {
        let remembered = memory.resources.get(&declared.id);
        let live = self.live(declared, remembered)?;
        let check_only = remembered.is_some_and(|remembered| is_good(declared, remembered));
        let own = live.instances.iter().filter(|instance| instance.template == declared.template_digest);
        own.map(|instance| if check_only { instance.health_since } else { instance.created_at }).min()
    }

    /// Everything the next step of a run rests on; `alerts` are its own. The memory is not held while an expression is
    /// evaluated: what comes in meanwhile is written down without waiting for it.
    pub(super) fn facts<'a>(
        &self,
        run: &Run,
        alerts: &'a BTreeMap<AlertId, Arc<AlertMemory>>,
        now: Timestamp,
    ) -> Facts<'a> {
        let on = run.steps.iter().find(|record| record.on.is_some()).map(|record| record.step);
        let page = self.page_of(run, now);
        let mut facts = self.with_memory(|memory| Facts {
            now,
            alerts,
            hold: self.hold(run, memory, now),
            cancelled: self.cancelled(run, memory),
            in_hand: on.is_some_and(|step| self.afoot.in_hand.contains_key(&(run.id, step))),
            looks_since: self.looks_since,
            progress: None,
            called: on.and_then(|step| Self::called(run, step, memory)),
            page,
            revision: self.board.revision.as_ref().map(|revision| (revision.id.clone(), revision.accepted_at)),
            asks: run.alerts.iter().any(|id| self.tools.rules.askable.contains(&id.source)),
            target: run.target.as_ref().and_then(|id| self.target(id, memory, Some(run.opened_at))),
        });
        facts.progress = on.and_then(|step| self.progress(run, step, &facts));
        facts
    }

    /// Why the run must not act now.
    fn hold(&self, run: &Run, memory: &Memory, now: Timestamp) -> Option<Hold> {
        if self.tools.rules.observe {
            return Some(Hold::Frozen(OBSERVES.to_owned()));
        }
        let frozen = self.frozen(&memory.response, now).map(Hold::Frozen);
        let kept = frozen.or_else(|| self.kept_still(run, &memory.response, now));
        let held = Hold::first_of(run, kept, self.waits_for_turn(run, memory, now));
        held.or_else(|| self.changing(run, memory, now).map(Hold::Turn))
    }

    /// Why the run must end: what it stands on is gone, or what one stands on that waits for it.
    fn cancelled(&self, run: &Run, memory: &Memory) -> Option<String> {
        if let Some(why) = without_it(run, &memory.response) {
            return Some(why);
        }
        let mut waits = run;
        loop {
            if let Some(why) = self.groundless(waits) {
                let of_caller = || format!("run {}, which waits for it, must end: {why}", waits.id);
                return Some(if waits.id == run.id { why.clone() } else { of_caller() });
            }
            let RunCause::Call { run: caller, .. } = &waits.cause else { return None };
            waits = memory.response.runs.get(caller)?;
        }
    }

    /// What a run itself stands on that is gone.
    fn groundless(&self, run: &Run) -> Option<String> {
        let desired = self.board.desired.as_ref()?;
        let name = &run.playbook.name;
        if self.declares(name) && !desired.response.playbooks.contains_key(name) {
            let broken = desired.response.broken.contains_key(&format!("Playbook/{name}"));
            if !broken {
                return Some(format!("playbook {name} is not in the repository any more"));
            }
        }
        let target = run.target.as_ref()?;
        if !desired.resources.contains_key(target) {
            return (!desired.held.contains_key(target)).then(|| format!("{target} is not declared any more"));
        }
        (!self.may_act(&run.authority, target)).then(|| format!("team {} may not act on {target}", run.authority))
    }

    /// Whether a playbook comes from the repository: our own, which only pages, does not.
    fn declares(&self, name: &Name) -> bool {
        !is_built_in(name)
    }

    /// How the action that is on is getting on; nothing for a step that is none, or a commit.
    fn progress(&self, run: &Run, at: StepRef, facts: &Facts<'_>) -> Option<Progress> {
        let Does::Action { action, .. } = &run.step(at)?.does else { return None };
        if action.is_commit() {
            return None;
        }
        let target = match target_of(run, at, facts) {
            Ok(target) => target,
            Err(error) => return Some(Progress::Failed(error)),
        };
        let Some(declared) = self.declared(&target) else {
            return Some(Progress::Failed(format!("{target} is not declared any more")));
        };
        self.with_memory(|memory| {
            let nothing = ResourceMemory::default();
            let remembered = memory.resources.get(&target).unwrap_or(&nothing);
            let (live, playbook, now) = (self.live(declared, Some(remembered)), &run.playbook.name, facts.now);
            let situation = action::Situation { declared, live, memory: remembered, run: run.id, playbook, now };
            Some(match action::progress(*action, &situation) {
                Progress::Going(left) => match self.stopped(*action, &memory.response, now) {
                    Some(why) => Progress::Failed(format!("{why}: {left}")),
                    None => Progress::Going(left),
                },
                progress => progress,
            })
        })
    }

    /// How the run that a step called is, while it is not over: its end ends the step in the same transaction.
    fn called(run: &Run, at: StepRef, memory: &Memory) -> Option<RunState> {
        let is_child =
            |cause: &RunCause| matches!(cause, RunCause::Call { run: id, step } if *id == run.id && *step == at);
        memory.response.runs.values().find(|child| is_child(&child.cause)).map(|child| child.state())
    }

    /// How a run's page is, while it is not over: its acceptance ends the step in the same transaction.
    fn page_of(&self, run: &Run, now: Timestamp) -> Option<PageFacts> {
        let of_run =
            |response: &ResponseMemory| response.pages.values().rfind(|page| page.run == Some(run.id)).cloned();
        let page = &self.remembered(of_run)?;
        Some(PageFacts { page: page.id, accepted: page.accepted.is_some(), nobody: self.nobody(page, now) })
    }

    /// What is remembered, whole. Never held across an await.
    pub(super) fn with_memory<T>(&self, read: impl FnOnce(&Memory) -> T) -> T {
        let memory = self.tools.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        read(&memory)
    }
}

/// Why nobody waits for a run that another called: whoever did, or called that one, has ended or gone on. What is over is not
/// remembered.
fn without_it(run: &Run, response: &ResponseMemory) -> Option<String> {
    let mut called = run;
    while let RunCause::Call { run: caller, step } = &called.cause {
        let Some(known) = response.runs.get(caller) else {
            return Some(format!("run {caller}, which called {}, has ended", said(run, called)));
        };
        if !known.steps.iter().any(|record| record.step == *step && record.on.is_some()) {
            return Some(format!("run {caller}, which called {}, goes on without it", said(run, called)));
        }
        called = known;
    }
    None
}

/// A run, as its own end names it.
fn said(run: &Run, other: &Run) -> String {
    if run.id == other.id { "it".to_owned() } else { format!("run {}", other.id) }
}
