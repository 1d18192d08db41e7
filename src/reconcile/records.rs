//! What a pass writes down beside its decisions, so that "why did this change?" has an answer: holds, waves, systems,
//! changes of status, exits, drift, and how far the revision is.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use codeops_core::desired::Severity;
use codeops_core::model::{
    Cause, Does, Health, HoldId, Listing, Memory, ResourceId, RevisionState, Run, StepRecord, Sync, Tally,
};
use codeops_core::plan::{self, Plan, UnderWay};
use codeops_core::policy::{Decision, Judged};
use jiff::Timestamp;

use super::Flow;
use super::flaps::{Flaps, Told};
use super::trailers::TOLD;
use super::world::{Current, Status};
use crate::journal::{Category, LogError, Query, Record};

impl Flow {
    /// New holds, removals that were held and are taken back, and providers seen for the first time.
    pub(super) fn seen(&self, judged: &Judged, memory: &Memory) -> Vec<Record> {
        let mut records = Vec::new();
        for hold in &judged.holds {
            if !self.world.holds.iter().any(|known| known.id == hold.id) {
                tracing::warn!(hold = %hold.id, why = hold.why, trailer = hold.trailer, "held");
                let changes = hold.changes.iter().cloned().collect();
                let (why, removals) = (hold.why.clone(), hold.removals.clone());
                records.push(Record::Held { hold: hold.id.clone(), changes, why, removals });
            }
        }
        records.extend(judged.taken_back.iter().map(|id| Record::TakenBack { resource: id.clone() }));
        for (provider, listing) in &self.world.snapshot.providers {
            if let Ok(listing) = listing
                && !memory.systems.contains_key(provider)
            {
                records.push(Record::System { provider: provider.clone(), system: listing.system.clone() });
            }
        }
        records
    }

    /// Releases that are over, changes of systems that a commit accepted, waves that began or ended.
    pub(super) fn guards(&self, judged: &Judged, memory: &Memory) -> Vec<Record> {
        let unused: Vec<HoldId> = self.unused(judged, memory).collect();
        let mut records = not_open(&unused, judged);
        let spent = judged.spent.iter().cloned().chain(unused);
        records.extend(spent.map(|hold| Record::HoldSpent { hold }));
        let accepted = judged.accepted.iter();
        records.extend(
            accepted.map(|(provider, system)| Record::System { provider: provider.clone(), system: system.clone() }),
        );
        if judged.waves != memory.waves {
            records.push(Record::Waves { waves: judged.waves.clone() });
        }
        records
    }

    /// Releases of holds that are not there: neither before their commit, nor arisen from it, nor on their way. They must not
    /// wait for a deed that nobody has seen yet. While anything is unknown it cannot be told.
    fn unused(&self, judged: &Judged, memory: &Memory) -> impl Iterator<Item = HoldId> {
        let snapshot = &self.world.snapshot;
        let in_force = self.world.current.as_ref().map(|current| &current.revision);
        let seen_whole = snapshot.providers.len() == self.world.providers.len()
            && snapshot.providers.values().all(|listing| listing.as_ref().is_ok_and(Listing::is_whole));
        let can_tell = seen_whole && in_force == memory.revision.accepted.as_ref();
        let used = |hold: &HoldId| {
            judged.spent.contains(hold)
                || judged.released.values().any(|released| released == hold)
                // One that does not count for what is held tells so as long as that is held.
                || judged.holds.iter().any(|held| held.id == *hold)
                || memory.removals.iter().any(|removal| removal.hold.as_ref() == Some(hold))
        };
        memory.allowed.keys().filter(move |hold| can_tell && !used(hold)).cloned()
    }

    /// What is gone, and so is remembered no longer.
    pub(super) fn forgotten(&self, current: &Current, memory: &Memory, under_way: &UnderWay) -> Vec<Record> {
        let gone = plan::gone(&current.desired, &self.world.snapshot, memory, under_way).into_iter();
        let still = gone.filter(|id| !self.world.busy.contains_key(*id));
        still.map(|id| Record::Forgotten { resource: id.clone() }).collect()
    }

    /// Exits of instances and drift that were not there at the last pass.
    pub(super) fn happenings(&self, plan: &Plan, memory: &Memory) -> Vec<Record> {
        let mut records = Vec::new();
        for (_, id, live) in self.world.snapshot.objects() {
            for instance in &live.instances {
                let known = self.world.restarts.get(&(id.clone(), instance.id.clone()));
                if known.is_some_and(|known| *known < instance.starts_again()) {
                    let what = instance.why.clone().unwrap_or_else(|| "its process ended".to_owned());
                    let times = match instance.starts_again() {
                        1 => "once".to_owned(),
                        times => format!("{times} times"),
                    };
                    let what = format!("{what}; restarted {times} so far");
                    records.push(Record::Instance { resource: id.clone(), instance: instance.id.clone(), what });
                }
            }
        }
        for change in &plan.changes {
            if let Cause::Drift { what } = &change.cause
                && !self.world.drifting.contains(&change.id)
                && !self.is_acted_on(&change.id, memory)
            {
                records.push(Record::Drift { resource: change.id.clone(), what: what.clone() });
            }
        }
        records
    }

    /// Whether a run acts on it or its instances make way for one: what is missing meanwhile is no drift.
    fn is_acted_on(&self, id: &ResourceId, memory: &Memory) -> bool {
        let Some(renewal) = memory.resources.get(id).and_then(|it| it.renewal.as_ref()) else { return false };
        let run = memory.response.runs.get(&renewal.run);
        let acts = |run: &Run, record: &StepRecord| {
            record.on.is_some() && run.step(record.step).is_some_and(|step| matches!(step.does, Does::Action { .. }))
        };
        let lives = self.world.snapshot.objects().filter(|(_, of, _)| *of == id);
        let mut instances = lives.flat_map(|(_, _, live)| &live.instances);
        run.is_some_and(|run| run.steps.iter().any(|record| acts(run, record)))
            || instances.any(|instance| renewal.concerns(instance))
    }

    /// Finds how resources stood when the daemon before ended, so that a restart does not look like a change.
    pub(super) async fn recall_standing(&mut self) -> Result<(), LogError> {
        let query = Query { categories: vec![Category::Health], limit: 1_000, ..Query::default() };
        for entry in self.tools.journal.read(query).await?.items {
            if let Record::Status { resource, sync, health, .. } = entry.record {
                // Newest first: the first that is met is how it stood.
                self.world.stood.entry(resource).or_insert((sync, health, entry.at));
            }
        }
        Ok(())
    }

    /// Since when a resource stands as it now does.
    pub(super) fn since(&self, id: &ResourceId, (sync, health): (Sync, Health), now: Timestamp) -> Timestamp {
        let known = self.world.status.get(id).filter(|old| old.sync == sync && old.health == health);
        let stood =
            self.world.stood.get(id).filter(|stood| !self.world.passed_once && (stood.0, stood.1) == (sync, health));
        known.map(|old| old.since).or_else(|| stood.map(|stood| stood.2)).unwrap_or(now)
    }

    /// Changes of sync or health, and whether there are any. Until everything has been looked at once, what a daemon finds is
    /// not news. What changes again and again is told in sums.
    pub(super) fn status_records(
        &mut self,
        status: &BTreeMap<ResourceId, Status>,
        now: Timestamp,
    ) -> (Vec<Record>, bool) {
        if !self.world.passed_once {
            return (Vec::new(), false);
        }
        let (mut records, mut any) = (Vec::new(), false);
        for (id, current) in status {
            let before = self.world.status.get(id).map_or((Sync::Synced, Health::Healthy, false), Status::standing);
            let standing = current.standing();
            any |= before != standing;
            if before == standing && !self.world.flaps.contains_key(id) {
                continue;
            }
            let flaps = self.world.flaps.entry(id.clone()).or_insert_with(|| Flaps::new(before, now));
            let told = flaps.look(before, standing, now);
            if let Told::Summary { changes, .. } = told {
                let text = format!(
                    "how it stands changed {changes} more times within a minute than the events say; it is {} and {} now",
                    current.sync, current.health
                );
                records.push(Record::Note { resource: Some(id.clone()), text });
            }
            if matches!(told, Told::Change | Told::Summary { differs: true, .. }) {
                records.push(Record::Status {
                    resource: id.clone(),
                    sync: current.sync,
                    health: current.health,
                    why: current.why.clone(),
                });
            }
        }
        self.world.flaps.retain(|id, flaps| status.contains_key(id) && !flaps.is_over(now));
        if let Some(due) = self.world.flaps.values().filter_map(Flaps::due).min() {
            self.world.wake_at(due);
        }
        (records, any)
    }

    /// Keeps what [`Flow::happenings`] compares with next time.
    pub(super) fn remember_happenings(&mut self, plan: &Plan) {
        let memory = self.tools.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        self.world.restarts = (self.world.snapshot.objects())
            .flat_map(|(_, id, live)| {
                live.instances.iter().map(move |i| ((id.clone(), i.id.clone()), i.starts_again()))
            })
            .collect();
        let drifts = plan.changes.iter().filter(|change| matches!(change.cause, Cause::Drift { .. }));
        let drifts = drifts.filter(|change| !self.is_acted_on(&change.id, &memory));
        let drifting = drifts.map(|change| change.id.clone()).collect();
        self.world.drifting = drifting;
    }

    /// How far the revision is; a record when that changed.
    pub(super) fn revision_state(
        &mut self,
        decisions: &BTreeMap<ResourceId, Decision>,
        working: bool,
        now: Timestamp,
    ) -> Option<Record> {
        if !self.world.all_answered() {
            return None;
        }
        // What is stuck is tried again and again, and no try makes the revision another.
        let busy = working || self.world.busy.keys().any(|id| !self.world.stuck.contains(id));
        let removed = {
            let (memory, status) = (self.tools.journal.memory(), &self.world.status);
            let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
            memory.revision.removes.iter().filter(|id| !status.contains_key(*id)).count()
        };
        let moving = self.world.observe_only.is_none()
            && match self.rules.until_settled {
                true => self.world.moves_soon(decisions, now),
                false => self.world.moves(decisions),
            };
        let status = &self.world.status;
        let current = self.world.current.as_ref()?;
        let errors = current.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        let bad = status.values().filter(|s| !matches!(s.sync, Sync::Synced | Sync::Suspended)).count();
        let sick = status.values().filter(|s| s.sync == Sync::Synced && s.health == Health::Degraded).count();
        let tally = Tally { resources: status.len(), off: bad + sick, removed, mistakes: errors };
        let state = if busy || moving { RevisionState::Applying } else { RevisionState::settled(tally) };
        let unwell = status.values().filter(|s| matches!(s.health, Health::Degraded | Health::Missing)).count();
        let mistakes = if errors == 1 { "mistake" } else { "mistakes" };
        let short_of = format!("{errors} {mistakes} in manifests, {bad} not in sync, {unwell} not healthy");
        self.came_to(state, short_of, now)
    }

    /// The revision in force is so far: what the page and the history say of it is this one word. A record when it changed, few
    /// enough where it changes again and again.
    pub(super) fn came_to(&mut self, state: RevisionState, short_of: String, now: Timestamp) -> Option<Record> {
        let current = self.world.current.as_mut()?;
        let before = std::mem::replace(&mut current.state, state);
        let told = current.flaps.look(before, state, now);
        let (due, revision) = (current.flaps.due(), current.revision.clone());
        if let Some(due) = due {
            self.world.wake_at(due);
        }
        if !matches!(told, Told::Change | Told::Summary { differs: true, .. }) {
            return None;
        }
        let why = matches!(state, RevisionState::Partial | RevisionState::Failed).then_some(short_of);
        tracing::info!(revision = revision.short(), %state, "revision");
        Some(Record::RevisionState { revision, state, why })
    }
}

/// What a person reads whose trailer was mistyped, or came too late; of many, how many there are.
fn not_open(holds: &[HoldId], judged: &Judged) -> Vec<Record> {
    let open: Vec<&str> = judged.holds.iter().map(|hold| hold.trailer.as_str()).collect();
    let open = if open.is_empty() { "no hold is open".to_owned() } else { format!("open: {}", open.join(", ")) };
    let (told, rest) = holds.split_at(holds.len().min(TOLD));
    let each =
        told.iter().map(|hold| format!("`Codeops-Allow: {hold}` names no open hold and releases nothing; {open}"));
    let others = (!rest.is_empty())
        .then(|| format!("{} more `Codeops-Allow` trailers name no open hold and release nothing", rest.len()));
    let note = |text: String| {
        tracing::warn!(text);
        Record::Note { resource: None, text }
    };
    each.chain(others).map(note).collect()
}
