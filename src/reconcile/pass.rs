//! One pass: facts in, decisions out, written down, sent off. Short whatever the number of resources; waits for nothing but
//! the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use codeops_core::alert;
use codeops_core::config::Freeze;
use codeops_core::desired::Desired;
use codeops_core::model::{
    Cause, Health, Memory, Observed, Owner, Pin, ProviderName, ResourceId, ResourceMemory, Revision, RevisionState,
    Scope, Step, Sync, Verb, Why, is_ahead,
};
use codeops_core::plan::{self, Change, Plan, UnderWay};
use codeops_core::policy::{self, Decision, Facts, Judged};
use codeops_core::rollout::{Finding, Look, Planned, Sight};
use jiff::{SignedDuration, Timestamp};

use super::Flow;
use super::doubt::Pending;
use super::standing::Standing;
use super::told;
use super::world::{Busy, Current, Status};
use crate::gate::{Picture, Removing};
use crate::journal::{LogError, Record};

/// How long the first steps wait for the repository to answer.
const FIRST_ANSWER: SignedDuration = SignedDuration::from_secs(5);

/// What a pass has decided and the journal must know before anything is done.
#[derive(Default)]
pub(super) struct Decided {
    pub(super) records: Vec<Record>,
    /// Findings make another pass worth while at once.
    pub(super) findings: bool,
    /// What must be seen anew before it can be judged.
    pub(super) look_again: Vec<(ProviderName, ResourceId)>,
    pub(super) work: Vec<Work>,
    pub(super) pending: Pending,
    pub(super) status: BTreeMap<ResourceId, Status>,
    pub(super) plan: Plan,
    pub(super) judged: Judged,
    pub(super) standing: Option<Standing>,
}

/// One resource's next steps.
pub(super) struct Work {
    pub(super) id: ResourceId,
    pub(super) steps: Vec<Step>,
    pub(super) removing: Option<Removing>,
    /// Whether it stands otherwise than it is declared: as it was, until it is let go or has its turn.
    pub(super) stands: bool,
}

impl Flow {
    pub(super) async fn pass(&mut self) -> Result<(), LogError> {
        self.world.dirty = false;
        self.world.wake = None;
        let began = self.tools.clock.now();
        self.begin_to_act(began);
        if let Some(owner) = self.owner()
            && self.world.current.is_some()
        {
            self.notice_older_store(&owner).await?;
            self.settle_renames().await?;
            let mut decided = self.decide(&owner, began);
            let pending = std::mem::take(&mut decided.pending);
            // What a commit took away is waited for by nobody.
            self.world.under_way.retain(|id, _| pending.iter().any(|(wanted, ..)| wanted == id));
            self.carry_out(decided, began).await?;
            if self.world.all_answered() {
                self.settle_doubts(&pending).await?;
                self.world.passed_once = true;
            }
        } else if self.world.current.is_some() {
            // Nobody is known to declare anything: the manifests say why, and that is all there is to do.
            let state = self.came_to(RevisionState::Failed, "nobody is known to declare it".to_owned(), began);
            self.tools.journal.record(state.into_iter().collect()).await?;
            self.world.passed_once = true;
        }
        let took = self.tools.clock.now().duration_since(began);
        self.world.pass_micros = u64::try_from(took.as_micros()).unwrap_or_default();
        self.publish();
        Ok(())
    }

    /// The first steps wait for the repository's first answer, for the revision in force may be overtaken, or a freeze
    /// declared; but not for long, for it may not answer.
    fn begin_to_act(&mut self, now: Timestamp) {
        if self.world.looked_at.replace(now).is_some_and(|at| is_ahead(at, now)) {
            // Nothing waits until a clock that was set back has caught up.
            self.world.cooling.clear();
            self.world.act_at = None;
        }
        let act_at = *self.world.act_at.get_or_insert_with(|| now.checked_add(FIRST_ANSWER).unwrap_or(now));
        let answered = self.world.fetched_once && self.world.compiler.is_some();
        self.world.acts |= answered || (now >= act_at && !self.rules.until_settled);
        if !self.world.acts && now < act_at {
            self.world.wake_at(act_at);
        }
    }

    /// Pure but for what it reads of the world: everything one pass decides.
    fn decide(&self, owner: &Owner, now: Timestamp) -> Decided {
        let Some(current) = &self.world.current else { return Decided::default() };
        let under_way = self.under_way();
        let memory = self.tools.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        let plan = plan::plan(&current.desired, &current.revision, owner, &self.world.snapshot, &memory);
        let freeze = self.freeze_from_outside(&memory);
        let facts = Facts {
            now,
            memory: &memory,
            snapshot: &self.world.snapshot,
            revision: &current.revision,
            freeze: freeze.as_ref(),
        };
        let judged = policy::judge(&plan, &current.desired, &facts);
        let upkeep = self.world.upkeep(&current.desired, owner, &plan, &judged, &facts);
        let mut decided = Decided { plan, judged, ..Decided::default() };
        let changes: BTreeMap<&ResourceId, &Change> = decided.plan.changes.iter().map(|c| (&c.id, c)).collect();
        let unknown: BTreeMap<&ResourceId, &Why> = decided.plan.unknown.iter().map(|(id, why)| (id, why)).collect();
        let cause = Cause::Revision { revision: current.revision.clone() };
        let sight = Sight { owner, snapshot: &self.world.snapshot, memory: &memory, cause: &cause, now };
        let mut work = Vec::new();
        for id in self.everyone(current, &decided.plan, &changes) {
            if let Some(status) = self.being_renamed(id, &under_way, now) {
                decided.status.insert(id.clone(), status);
                continue;
            }
            let upheld = upkeep.as_ref().and_then(|upkeep| upkeep.of(id));
            let removal = changes.get(id).copied();
            let change = upheld.as_ref().map_or(removal, |upheld| upheld.change);
            let planned = Planned { change, unknown: unknown.get(id).copied() };
            let declared = upheld.as_ref().map(|upheld| upheld.declared).or_else(|| current.desired.resources.get(id));
            let look = sight.look(id, declared, planned);
            // What a step is about to change, or has changed unseen, says nothing of where it lives.
            if !self.world.busy.contains_key(id) {
                let ports = sight.ports(id, declared, look.as_ref().map(|look| &look.next));
                decided.records.extend(ports.map(|ports| Record::Ports { resource: id.clone(), ports }));
            }
            let decision = decided.judged.decisions.get(id);
            let kept = decided.plan.kept.get(id).filter(|_| !current.desired.resources.contains_key(id));
            let mut status = self.status(current, id, decision, (look.as_ref(), kept), now);
            let taken = declared.zip(upkeep.as_ref());
            if let Some(taken) = taken.and_then(|(it, upkeep)| upkeep.port_is_taken(it, &decided.judged)) {
                status.blame(taken);
            }
            decided.status.insert(id.clone(), status);
            let decision = upheld.as_ref().map_or(decision, |upheld| upheld.decision);
            let Some(look) = look else { continue };
            if let Some(finding) = look.next.finding.clone() {
                // A version becomes the last good one by a look after its bake, never by an old one.
                let watched = self.world.providers.get(&look.provider);
                if matches!(finding, Finding::Baked(_)) && !watched.is_some_and(|it| it.has_just_seen(id, now)) {
                    decided.look_again.push((look.provider, id.clone()));
                    continue;
                }
                if self.world.observe_only.is_none() {
                    let remembered = memory.resources.get(id);
                    let stays = remembered.and_then(|known| known.stays.as_ref());
                    let revision = stays.map_or(&current.revision, |stays| &stays.revision);
                    decided.records.push(remember(id, finding, revision, remembered, now));
                    decided.findings = true;
                }
                continue;
            }
            let steps = look.next.steps.iter();
            decided.pending.extend(steps.map(|s| (id.clone(), s.op.word().to_owned(), s.op.subject())));
            if may_step(decision) && self.is_free(id, now) && !look.next.steps.is_empty() {
                let removing = change.and_then(|change| removing(change, &decided.judged, &look.provider));
                work.push(Work { id: id.clone(), steps: look.next.steps, removing, stands: upheld.is_some() });
            }
        }
        decided.records.extend(self.seen(&decided.judged, &memory));
        decided.records.extend(self.happenings(&decided.plan, &memory));
        // Who only observes decides nothing, and so writes down no decision.
        if self.world.observe_only.is_none() {
            decided.records.extend(self.guards(&decided.judged, &memory));
            decided.records.extend(self.forgotten(current, &memory, &under_way));
        }
        decided.work = work;
        decided.standing = upkeep.map(|upkeep| upkeep.standing);
        decided
    }

    /// Every resource that is declared, kept, or about to change.
    fn everyone<'a>(
        &'a self,
        current: &'a Current,
        plan: &'a Plan,
        changes: &BTreeMap<&'a ResourceId, &'a Change>,
    ) -> BTreeSet<&'a ResourceId> {
        let declared = current.desired.resources.keys();
        let kept = current.desired.held.keys().chain(plan.kept.keys());
        declared.chain(kept).chain(changes.keys().copied()).collect()
    }

    fn is_free(&self, id: &ResourceId, now: Timestamp) -> bool {
        self.world.acts
            && self.world.observe_only.is_none()
            && !self.world.busy.contains_key(id)
            && self.world.cooling.get(id).is_none_or(|until| *until <= now)
    }

    /// How what is being renamed stands: as it did, until it is known how that ended. What is seen in between is of neither id.
    fn being_renamed(&self, id: &ResourceId, under_way: &UnderWay, now: Timestamp) -> Option<Status> {
        let from = under_way.former(id).filter(|_| self.world.busy.contains_key(id))?;
        let stood = self.world.status.get(id).cloned();
        Some(stood.unwrap_or_else(|| {
            let (sync, health) = (Sync::OutOfSync, Health::Unknown);
            let why = Some(format!("{from} is being renamed"));
            Status { sync, health, why, since: now, next_at: None, none_serves: false }
        }))
    }

    fn status(
        &self,
        current: &Current,
        id: &ResourceId,
        decision: Option<&Decision>,
        (look, kept): (Option<&Look>, Option<&String>),
        now: Timestamp,
    ) -> Status {
        let (mut sync, mut health, mut why, mut next_at) = match look {
            Some(look) => (look.next.sync, look.next.health, look.next.why.clone(), look.next.wake),
            None => (Sync::Held, self.health_of_undescribed(id), kept.cloned(), None),
        };
        match decision {
            Some(Decision::Held { why: held, release, .. }) => {
                sync = Sync::Held;
                why = Some(format!("{held}; {release}"));
            }
            Some(Decision::Waiting { why: waiting, until }) => {
                why = Some(waiting.clone());
                next_at = *until;
                // As it was before it may be all well.
                sync = if sync == Sync::Synced { Sync::OutOfSync } else { sync };
            }
            Some(Decision::Suspended) => sync = Sync::Suspended,
            Some(Decision::Go) | None => {
                if let Some(under_way) = self.world.under_way.get(id) {
                    why = Some(under_way.how.clone());
                    health = if health == Health::Missing { Health::Progressing } else { health };
                }
            }
        }
        if let (Some(reason), Some(look), Some(Decision::Go) | None) = (&self.world.observe_only, look, decision)
            && !look.next.steps.is_empty()
        {
            why = Some(format!("a change is pending, and nothing is done: {reason}"));
        }
        if let Some(gone) = self.missing_provider(current, id) {
            sync = Sync::Unknown;
            why = Some(format!(
                "provider {gone} is not in the settings: it is left alone until `providers.{gone}` is there again, or a \
                 commit names another"
            ));
        } else if let Some(kept) = current.kept.get(id) {
            sync = Sync::Held;
            why = Some(format!("{kept}; it stays as it is until that is mended"));
        }
        let since = self.since(id, (sync, health), now);
        let mut status = Status { sync, health, why, since, next_at, none_serves: false };
        if let Some(look) = look
            && let Some(live) = self.world.snapshot.live(&look.provider, id)
        {
            status.tell_how_many(live);
        }
        status
    }

    /// The provider of what was declared or last good, if the settings do not have it any more.
    fn missing_provider<'c>(&self, current: &'c Current, id: &ResourceId) -> Option<&'c ProviderName> {
        let provider = &current.desired.resources.get(id)?.spec.provider;
        (!self.world.providers.contains_key(provider)).then_some(provider)
    }

    /// The health of a resource that this revision cannot describe and that never was good.
    fn health_of_undescribed(&self, id: &ResourceId) -> Health {
        let mut objects = self.world.snapshot.objects();
        let silent = |provider| matches!(self.world.snapshot.observed(provider, id), Observed::Unknown(_));
        match objects.find(|(_, there, _)| *there == id) {
            Some((_, _, live)) => plan::health_as_applied(live),
            None if self.world.providers.keys().any(silent) => Health::Unknown,
            None => Health::Missing,
        }
    }

    async fn carry_out(&mut self, decided: Decided, now: Timestamp) -> Result<(), LogError> {
        let Decided { mut records, findings, look_again, work, status, plan, judged, standing, pending: _ } = decided;
        let (changed, any) = self.status_records(&status, now);
        if findings || any {
            self.world.moved_at = now;
        }
        records.extend(changed);
        for entry in status.values().filter_map(|status| status.next_at) {
            if entry > now {
                self.world.wake_at(entry);
            }
        }
        self.world.cooling.retain(|_, until| *until > now);
        if let Some(soonest) = self.world.cooling.values().min().copied() {
            self.world.wake_at(soonest);
        }
        self.world.status = status;
        self.world.standing = standing;
        self.world.holds = judged.holds;
        self.world.stuck = judged.stuck;
        self.notice_what_may_go();
        let working = findings || !look_again.is_empty() || work.iter().any(|it| !self.world.stuck.contains(&it.id));
        let state = self.revision_state(&judged.decisions, working, now);
        records.extend(state);
        told::tell(&records);
        self.tools.journal.record(records).await?;
        if findings {
            self.world.wake_at(now);
        }
        for (provider, id) in look_again {
            self.observe(&provider, Scope::Ids(BTreeSet::from([id])));
        }
        self.remember_happenings(&plan);
        self.world.differences = plan.changes.into_iter().map(|change| (change.id, change.differences)).collect();
        self.send_off(work);
        Ok(())
    }

    /// The freeze from outside the repository, if there is one.
    pub(super) fn freeze_from_outside(&self, memory: &Memory) -> Option<Freeze> {
        alert::freeze(&memory.response.alerts, &self.rules.may_freeze, self.rules.freeze.as_ref())
    }

    fn send_off(&mut self, work: Vec<Work>) {
        let Some(current) = &self.world.current else { return };
        if work.is_empty() {
            return;
        }
        let memory = self.tools.journal.memory();
        let freeze = self.freeze_from_outside(&memory.read().unwrap_or_else(PoisonError::into_inner));
        let of = |desired: &Arc<Desired>| {
            let (snapshot, revision) = (Arc::clone(&self.world.snapshot), current.revision.clone());
            Arc::new(Picture { desired: Arc::clone(desired), snapshot, revision, freeze: freeze.clone() })
        };
        let (declared, standing) = (of(&current.desired), self.world.stands().map(of));
        for work in work {
            let picture = standing.as_ref().filter(|_| work.stands).unwrap_or(&declared);
            let touched = work.steps.iter().flat_map(|step| step.op.former()).chain([&work.id]);
            self.world.busy.extend(touched.map(|id| (id.clone(), Busy::Stepping)));
            let picture = Arc::clone(picture);
            self.step(work, picture);
        }
    }
}

fn may_step(decision: Option<&Decision>) -> bool {
    match decision {
        Some(Decision::Go) | None => true,
        Some(Decision::Held { .. } | Decision::Waiting { .. } | Decision::Suspended) => false,
    }
}

/// The removal that this change's steps carry out at `provider`, if one.
fn removing(change: &Change, judged: &Judged, provider: &ProviderName) -> Option<Removing> {
    let leaves = match change.verb {
        Verb::Delete | Verb::ScaleToZero => true,
        Verb::Move => change.from_provider.as_ref() == Some(provider),
        _ => false,
    };
    let hold = judged.released.get(&change.id).cloned();
    leaves.then_some(Removing { verb: change.verb, hold })
}

/// `declared` by this revision: the one in force, or where that has a mistake in it, the last without one.
fn remember(
    id: &ResourceId,
    finding: Finding,
    declared: &Revision,
    remembered: Option<&ResourceMemory>,
    now: Timestamp,
) -> Record {
    let revision = Some(declared.clone());
    match finding {
        Finding::Baked(resource) => {
            let again = remembered.is_some_and(|memory| plan::is_proven(&resource, memory));
            let good = codeops_core::model::LastGood { resource, revision, at: now };
            Record::Baked { resource: id.clone(), good, again }
        }
        Finding::Failed { template, tried, why, check_only } => {
            let pin = Pin { at: now, revision, why, tried: Some(tried), check_only };
            Record::Pinned { resource: id.clone(), template, pin }
        }
    }
}
