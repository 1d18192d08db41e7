//! The pure fold of records into what is remembered; live appends and recovery share it, so they cannot disagree.
//!
//! It looks at nothing but the memory and the entry: no clock, so the same entries give the same memory for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::model::{
    Aim, AlertId, AlertMemory, Does, HoldId, LastGood, Memory, Name, Page, PageId, PlaybookStep, ProviderName, Removal,
    ResourceId, ResourceMemory, RevisionMemory, RevisionState, Run, RunEvent, RunId, Subject, TeamName,
};
use jiff::{SignedDuration, Timestamp};

use super::fold_response::fold_response;
use super::fold_revision::{accept, keep, overtake, stay};
use super::log::{Entry, Seq};
use super::outcome::Outcome;
use super::record::Record;
use super::writer::InDoubt;

/// How long a removal counts.
const REMOVAL_COUNTS: SignedDuration = SignedDuration::from_hours(1);

/// How many failed templates are remembered of one resource: the newest. An older one that comes back is judged anew.
const PINS: usize = 16;

/// From so many milliseconds on a wait is that of what was refused, or has failed for minutes.
const LONG_WAIT_MS: u64 = 120_000;

/// A part of the memory that an entry changed, so that a store can write just that part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// `Memory::revision`.
    Revision,
    /// One of `Memory::resources`.
    Resource(ResourceId),
    /// `Memory::systems`.
    Systems,
    /// `Memory::removals`.
    Removals,
    /// `Memory::allowed`.
    Allowed,
    /// `Memory::waves`.
    Waves,
    /// One of `ResponseMemory::alerts`.
    Alert(AlertId),
    /// One of `ResponseMemory::runs`.
    Run(RunId),
    /// One of `ResponseMemory::pages`.
    Page(PageId),
    /// One of `ResponseMemory::ledger`.
    Ledger(Subject),
    /// An accepted page whose alerts are not over.
    Call(PageId),
    /// `ResponseMemory::stormed_at`.
    Stormed,
    /// One of `ResponseMemory::schedules`.
    Schedule(Name),
    /// One of `ResponseMemory::watchdogs`.
    Watchdog(Name),
    /// `ResponseMemory::counted`.
    Counted,
    /// `ResponseMemory::swept`.
    Swept,
    /// `ResponseMemory::spent`.
    Spent,
}

/// Something the memory has let go of, as it last was: from now on only the history has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Over {
    /// An alert that has not mattered for an hour.
    Alert(Arc<AlertMemory>),
    /// A run that ended.
    Run(Arc<Run>),
    /// A page that nothing more is sent of.
    Page(Arc<Page>),
}

/// What folding one entry did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Folded {
    /// The parts of the memory that changed.
    pub changes: Vec<Change>,
    /// What the memory let go of, in order.
    pub over: Vec<Over>,
}

impl From<Vec<Change>> for Folded {
    fn from(changes: Vec<Change>) -> Self {
        Self { changes, over: Vec::new() }
    }
}

impl Change {
    /// Brings this part of one memory into another, sharing what can be shared.
    pub fn carry(&self, from: &Memory, to: &mut Memory) {
        fn one<K: Ord + Clone, V: Clone>(key: &K, from: &BTreeMap<K, V>, to: &mut BTreeMap<K, V>) {
            match from.get(key) {
                Some(value) => drop(to.insert(key.clone(), value.clone())),
                None => drop(to.remove(key)),
            }
        }
        let (there, here) = (&from.response, &mut to.response);
        match self {
            Change::Revision => to.revision.clone_from(&from.revision),
            Change::Resource(id) => one(id, &from.resources, &mut to.resources),
            Change::Systems => to.systems.clone_from(&from.systems),
            Change::Removals => to.removals.clone_from(&from.removals),
            Change::Allowed => {
                to.allowed.clone_from(&from.allowed);
                to.allowed_by.clone_from(&from.allowed_by);
                to.overtaken.clone_from(&from.overtaken);
            }
            Change::Waves => to.waves.clone_from(&from.waves),
            Change::Alert(id) => match there.alerts.get(id) {
                Some(alert) => here.put_alert(Arc::clone(alert)),
                None => drop(here.drop_alert(id)),
            },
            Change::Run(id) => one(id, &there.runs, &mut here.runs),
            Change::Page(id) => one(id, &there.pages, &mut here.pages),
            Change::Call(id) => one(id, &there.calls, &mut here.calls),
            Change::Ledger(subject) => one(subject, &there.ledger, &mut here.ledger),
            Change::Schedule(playbook) => one(playbook, &there.schedules, &mut here.schedules),
            Change::Watchdog(receiver) => one(receiver, &there.watchdogs, &mut here.watchdogs),
            Change::Counted => here.counted = there.counted,
            Change::Stormed => here.stormed_at = there.stormed_at,
            Change::Swept => here.swept.clone_from(&there.swept),
            Change::Spent => here.spent.clone_from(&there.spent),
        }
    }
}

/// Folds one entry into the memory and says which parts changed. A resource of which nothing is remembered has no place
/// in the memory.
pub fn fold(memory: &mut Memory, entry: &Entry) -> Folded {
    let mut folded = Folded::from(fold_resources(memory, entry));
    fold_response(&mut memory.response, entry, &mut folded);
    folded
}

fn fold_resources(memory: &mut Memory, entry: &Entry) -> Vec<Change> {
    match &entry.record {
        Record::RevisionAccepted { .. } => accept(memory, entry),
        Record::RevisionState { revision, state: RevisionState::Applied, .. } => {
            memory.revision.applied = Some(revision.clone());
            memory.revision.has_held = false;
            vec![Change::Revision]
        }
        Record::Kept { manifests, holders, files, others, gone } => {
            let of = |it: &RevisionMemory| (it.kept.clone(), it.holders.clone(), it.files.clone());
            let before = of(&memory.revision);
            keep(&mut memory.revision, manifests, (holders, files), (*others, gone));
            changed(before != of(&memory.revision), Change::Revision)
        }
        Record::Stays { resource, declared, before } => {
            resource_of(memory, resource, |it| stay(it, declared.as_ref(), before.as_ref()))
        }
        Record::Intent { resource, provider, word, .. } => {
            let leaves = (word == "delete").then_some(entry.seq.0);
            let begins = leaves.is_some() && memory.revision.removes.insert(resource.clone());
            let mut changes = resource_of(memory, resource, |it| place(it, provider, leaves));
            changes.extend(begins.then_some(Change::Revision));
            changes
        }
        Record::Result { intent, resource, outcome, aim, .. } => resource_of(memory, resource, |it| {
            settle(it, entry.at, outcome, aim.as_ref());
            if matches!(outcome, Outcome::Done { .. }) {
                it.places.retain(|_, leaves| *leaves != Some(intent.0));
            }
        }),
        Record::Baked { resource, good, .. } => resource_of(memory, resource, |it| {
            it.last_good = Some(good.clone());
            it.changed_by = None;
        }),
        Record::Released { resource, template } => {
            resource_of(memory, resource, |it| it.released = Some(template.clone()))
        }
        Record::Renewed { resource, renewal } => resource_of(memory, resource, |it| it.renewal = Some(renewal.clone())),
        Record::Pinned { resource, template, pin } => resource_of(memory, resource, |it| {
            it.pins.insert(template.clone(), pin.clone());
            while it.pins.len() > PINS {
                let oldest = it.pins.iter().filter(|(known, _)| *known != template).min_by_key(|(_, pin)| pin.at);
                let Some(oldest) = oldest.map(|(known, _)| known.clone()) else { break };
                it.pins.remove(&oldest);
            }
        }),
        Record::Unpinned { resource, .. } => resource_of(memory, resource, |it| {
            it.pins.clear();
            it.retried_at = Some(entry.at);
            try_now(it);
        }),
        Record::Removal { verb, resource, hold, team } => {
            let counts_from = entry.at.saturating_sub(REMOVAL_COUNTS).unwrap_or(Timestamp::MIN);
            // What went under a release still says how much of its set is left, however long that takes.
            let (removals, allowed) = (&mut memory.removals, &memory.allowed);
            removals.retain(|it| it.at >= counts_from || it.hold.as_ref().is_some_and(|h| allowed.contains_key(h)));
            let (id, hold, team) = (resource.clone(), hold.clone(), team.clone());
            memory.removals.push(Removal { at: entry.at, verb: *verb, id, hold, team });
            vec![Change::Removals]
        }
        Record::Allowed { hold, teams, overtaken, .. } => {
            let was = overtake(memory, hold, overtaken);
            changed(allow(memory, hold, teams.as_ref(), entry.at) || was, Change::Allowed)
        }
        Record::Held { removals, .. } => {
            let mut changes = changed(!std::mem::replace(&mut memory.revision.has_held, true), Change::Revision);
            changes.extend(removals.iter().flat_map(|id| resource_of(memory, id, |it| it.removal_held = true)));
            changes
        }
        Record::Ports { resource, ports } => resource_of(memory, resource, |it| it.ports.clone_from(ports)),
        Record::TakenBack { resource } => resource_of(memory, resource, |it| it.removal_held = false),
        Record::HoldSpent { hold } => {
            let limited = memory.allowed_by.remove(hold).is_some() | memory.overtaken.remove(hold).is_some();
            changed(memory.allowed.remove(hold).is_some() || limited, Change::Allowed)
        }
        Record::Forgotten { resource } => {
            changed(memory.resources.remove(resource).is_some(), Change::Resource(resource.clone()))
        }
        Record::Renamed { from, resource } => rename(memory, from, resource),
        Record::System { provider, system } => {
            let before = memory.systems.insert(provider.clone(), system.clone());
            changed(before.as_ref() != Some(system), Change::Systems)
        }
        Record::Waves { waves } => {
            let before = std::mem::replace(&mut memory.waves, waves.clone());
            changed(before != memory.waves, Change::Waves)
        }
        Record::Run { run, event: RunEvent::Ended { .. }, .. } => end_renewals(memory, *run),
        // What people read, and what `fold_response` takes.
        Record::DaemonStarted { .. }
        | Record::RevisionState { .. }
        | Record::Source { .. }
        | Record::Status { .. }
        | Record::Instance { .. }
        | Record::Drift { .. }
        | Record::Alerts { .. }
        | Record::AlertState { .. }
        | Record::Disposed { .. }
        | Record::Run { .. }
        | Record::Page { .. }
        | Record::Scheduled { .. }
        | Record::Watchdog { .. }
        | Record::Latched { .. }
        | Record::Unlatched { .. }
        | Record::Note { .. } => Vec::new(),
    }
}

/// Folds one entry into the intents that are in doubt, by number: an intent is until its result says how it ended, and
/// still is when that says `Unknown`. Answers the number that came or went.
pub fn fold_doubts(doubts: &mut BTreeMap<Seq, InDoubt>, entry: &Entry) -> Option<Seq> {
    match &entry.record {
        Record::Intent { key, resource, word, subject, .. } => {
            let (key, resource) = (key.clone(), resource.clone());
            let (word, subject) = (word.clone(), subject.clone());
            doubts.insert(entry.seq, InDoubt { seq: entry.seq, key, resource, word, subject });
            Some(entry.seq)
        }
        Record::Result { outcome: Outcome::Unknown { .. }, .. } => None,
        Record::Result { intent, .. } => doubts.remove(intent).map(|doubt| doubt.seq),
        _ => None,
    }
}

/// Folds one entry into the count of daemons on the store: a daemon that finds live objects of later ones, because the
/// store was restored from a backup, says with its start which number it takes, and the count never falls.
pub fn fold_epoch(epoch: u64, entry: &Entry) -> u64 {
    match entry.record {
        Record::DaemonStarted { epoch: said, .. } => epoch.max(said),
        _ => epoch,
    }
}

/// Remembers a release; whether that is new. One that counts for everybody's outlasts one that does not, and several add up.
fn allow(memory: &mut Memory, hold: &HoldId, teams: Option<&BTreeSet<TeamName>>, at: Timestamp) -> bool {
    let before = memory.allowed.insert(hold.clone(), at);
    match teams {
        None => memory.allowed_by.remove(hold).is_some() || before != Some(at),
        Some(_) if before.is_some() && !memory.allowed_by.contains_key(hold) => before != Some(at),
        Some(teams) => {
            let known = memory.allowed_by.entry(hold.clone()).or_default();
            let had = known.len();
            known.extend(teams.iter().cloned());
            before != Some(at) || known.len() != had
        }
    }
}

/// With its run a renewal is over: nothing is taken away for an alert that was resolved, nor for a run that called a person.
fn end_renewals(memory: &mut Memory, run: RunId) -> Vec<Change> {
    let is_action = |step: &PlaybookStep| matches!(step.does, Does::Action { .. });
    let acted = |run: &Arc<Run>| run.steps.iter().any(|it| run.step(it.step).is_some_and(is_action));
    if !memory.response.runs.get(&run).is_some_and(acted) {
        return Vec::new();
    }
    let is_of = |it: &ResourceMemory| it.renewal.as_ref().is_some_and(|renewal| renewal.run == run && !renewal.over);
    let renewed = memory.resources.iter().filter(|(_, it)| is_of(it)).map(|(id, _)| id.clone());
    let renewed: Vec<_> = renewed.collect();
    let over = |it: &mut ResourceMemory| it.renewal.iter_mut().for_each(|renewal| renewal.over = true);
    renewed.iter().flat_map(|id| resource_of(memory, id, over)).collect()
}

fn changed(is: bool, change: Change) -> Vec<Change> {
    if is { vec![change] } else { Vec::new() }
}

/// Changes what is remembered of one resource.
pub(super) fn resource_of(
    memory: &mut Memory,
    id: &ResourceId,
    change: impl FnOnce(&mut ResourceMemory),
) -> Vec<Change> {
    let before = memory.resources.remove(id).unwrap_or_default();
    let mut after = before.clone();
    change(&mut after);
    let is = before != after;
    if after != ResourceMemory::default() {
        memory.resources.insert(id.clone(), after);
    }
    changed(is, Change::Resource(id.clone()))
}

/// From the moment a step is meant to be done it may have been: whoever begins to make a resource somewhere may have left it
/// there. What is being removed is there until it is known to be gone.
fn place(resource: &mut ResourceMemory, provider: &ProviderName, leaves: Option<u64>) {
    match (leaves, resource.places.get_mut(provider)) {
        (_, Some(there)) => *there = leaves,
        (None, None) => {
            resource.places.insert(provider.clone(), None);
        }
        (Some(_), None) => {}
    }
}

fn settle(resource: &mut ResourceMemory, at: Timestamp, outcome: &Outcome, aim: Option<&Aim>) {
    match outcome {
        Outcome::Done { .. } => try_now(resource),
        Outcome::Retry { error, backoff_ms } => {
            let backoff = SignedDuration::from_millis(i64::try_from(*backoff_ms).unwrap_or(i64::MAX));
            let before = aim.map_or(resource.failures, |aim| resource.failures_of(aim));
            resource.failures = before.saturating_add(1);
            resource.failing_since = resource.failing_since.filter(|_| before > 0).or(Some(at));
            resource.failed_at = Some(at);
            resource.missed = aim.cloned();
            resource.waits_long = *backoff_ms >= LONG_WAIT_MS;
            resource.retry_at = Some(at.saturating_add(backoff).unwrap_or(Timestamp::MAX));
            resource.error = Some(error.clone());
        }
        Outcome::Rejected { error } => {
            resource.failures = resource.failures.saturating_add(1);
            (resource.retry_at, resource.missed, resource.waits_long) = (None, None, false);
            (resource.failing_since, resource.failed_at) = (None, None);
            resource.error = Some(error.clone());
        }
        // Nothing is known to have failed; the intent itself stays in doubt, or is replaced, or is made anew. What failed
        // before has not succeeded either.
        Outcome::Unknown { .. } | Outcome::UnderWay { .. } | Outcome::Superseded | Outcome::TakenUp => {}
    }
}

fn try_now(resource: &mut ResourceMemory) {
    resource.failures = 0;
    (resource.failing_since, resource.failed_at) = (None, None);
    (resource.retry_at, resource.missed, resource.waits_long) = (None, None, false);
    resource.error = None;
}

/// The new id takes over all that was remembered of the old one, but keeps the file that already declares it and what it
/// has there.
fn rename(memory: &mut Memory, from: &ResourceId, to: &ResourceId) -> Vec<Change> {
    let Some(mut moved) = (from != to).then(|| memory.resources.remove(from)).flatten() else {
        return Vec::new();
    };
    if let Some(LastGood { resource, .. }) = &mut moved.last_good {
        Arc::make_mut(resource).id = to.clone();
    }
    // By its new name it is declared.
    (moved.dropped_at, moved.removal_held) = (None, false);
    if let Some(there) = memory.resources.remove(to).filter(|there| there.file.is_some()) {
        (moved.file, moved.stays, moved.stayed) = (there.file, there.stays, there.stayed);
        moved.ports.extend(there.ports);
        moved.claim(there.claims);
    }
    memory.resources.insert(to.clone(), moved);
    vec![Change::Resource(from.clone()), Change::Resource(to.clone())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use codeops_core::model::{HoldId, Verb};
    use serde_json::{Value, json};

    const REVISION: &str = "9fceb02d0ae598e95dc970b74767f19372d61af8";

    fn digest() -> String {
        format!("v1:{}", "9f86d081884c7d65".repeat(4))
    }

    fn id(text: &str) -> ResourceId {
        text.parse().unwrap()
    }

    /// Folds one record that happens `minute` minutes after 1970 began.
    fn at(memory: &mut Memory, minute: i64, record: Value) -> Vec<Change> {
        let record: Record = serde_json::from_value(record).unwrap();
        fold(memory, &Entry { seq: Seq(1), at: Timestamp::from_second(minute * 60).unwrap(), record }).changes
    }

    fn now(memory: &mut Memory, record: Value) -> Vec<Change> {
        at(memory, 0, record)
    }

    fn accepted(files: &Value) -> Value {
        json!({"type": "revisionAccepted", "revision": REVISION, "owner": "acme-ops/prod", "commits": [],
               "blastPercent": 25, "files": files})
    }

    fn result(outcome: &Value) -> Value {
        json!({"type": "result", "intent": 1, "resource": "app/shop", "outcome": outcome})
    }

    fn pinned() -> Value {
        json!({"type": "pinned", "resource": "app/shop", "template": digest(),
               "pin": {"at": "2026-11-20T08:40:00Z", "revision": null, "why": "it failed"}})
    }

    fn baked() -> Value {
        let resource = json!({"id": "app/shop", "team": "payments", "specDigest": digest(), "templateDigest": digest(),
            "spec": {"provider": "local", "run": {"command": {"command": ["./shop"]}}},
            "place": {"file": "shop.yaml", "line": 1, "column": 1}});
        json!({"type": "baked", "resource": "app/shop",
               "good": {"resource": resource, "revision": REVISION, "at": "2026-11-20T08:40:00Z"}})
    }

    fn shop(memory: &Memory) -> ResourceMemory {
        memory.resources.get(&id("app/shop")).cloned().unwrap_or_default()
    }

    fn shop_changed() -> Vec<Change> {
        vec![Change::Resource(id("app/shop"))]
    }

    #[test]
    fn an_accepted_revision_says_which_files_moved_and_what_is_gone() {
        let memory = &mut Memory::default();
        let both = accepted(&json!({"app/shop": "a.yaml", "app/auth": "b.yaml"}));
        let changes = now(memory, both.clone());
        assert_eq!(
            changes,
            [id("app/auth"), id("app/shop")]
                .map(Change::Resource)
                .into_iter()
                .chain([Change::Revision])
                .collect::<Vec<_>>()
        );
        assert_eq!(memory.revision.accepted.as_ref().unwrap().as_str(), REVISION);
        assert_eq!(memory.revision.owner.as_ref().unwrap().to_string(), "acme-ops/prod");
        assert_eq!((memory.revision.blast_percent, memory.revision.applied.clone()), (None, None));
        assert_eq!(now(memory, both), [Change::Revision], "files that stayed are not written again");
        assert_eq!(memory.revision.blast_percent, Some(25), "the limit of the revision before");

        let mut next = accepted(&json!({"app/shop": "c.yaml"}));
        next["gone"] = json!(["app/auth"]);
        assert_eq!(now(memory, next).len(), 3);
        assert_eq!(shop(memory).file.as_deref(), Some("c.yaml"));
        assert!(!memory.resources.contains_key(&id("app/auth")), "nothing is remembered of it");
    }

    #[test]
    fn a_raised_limit_is_inherited_only_once_its_revision_is_wholly_applied() {
        let memory = &mut Memory::default();
        let revision = |n: u8| format!("{n:040x}");
        let accept = |memory: &mut Memory, n: u8, percent: u8| {
            let record = json!({"type": "revisionAccepted", "revision": revision(n), "owner": "acme-ops/prod",
                "commits": [], "blastPercent": percent, "files": {}});
            now(memory, record);
            memory.revision.blast_percent
        };
        let state =
            |n: u8, state: &str| json!({"type": "revisionState", "revision": revision(n), "state": state, "why": null});
        let held = || json!({"type": "held", "hold": "9f86d081884c", "changes": [], "why": "too many"});
        assert_eq!(accept(memory, 1, 25), None);
        now(memory, state(1, "applied"));
        assert_eq!(accept(memory, 2, 100), Some(25));
        assert_eq!(accept(memory, 3, 100), Some(25), "2 was not applied");
        now(memory, held());
        assert_eq!(accept(memory, 4, 100), Some(25), "nor was 3");
        now(memory, state(4, "applied"));
        now(memory, held());
        assert_eq!(accept(memory, 5, 100), Some(25), "4 has held something since");
        now(memory, held());
        now(memory, state(5, "partial"));
        now(memory, state(5, "applied"));
        assert_eq!(accept(memory, 6, 100), Some(100));
        assert_eq!(accept(memory, 7, 10), Some(100));
        assert_eq!(accept(memory, 8, 50), Some(10), "a lower one counts at once");
    }

    #[test]
    fn only_a_wholly_applied_revision_counts_as_applied() {
        let memory = &mut Memory::default();
        for state in ["applying", "partial", "failed"] {
            let record = json!({"type": "revisionState", "revision": REVISION, "state": state, "why": null});
            assert_eq!(now(memory, record), []);
        }
        let record = json!({"type": "revisionState", "revision": REVISION, "state": "applied", "why": null});
        assert_eq!(now(memory, record), [Change::Revision]);
        assert_eq!(memory.revision.applied.as_ref().unwrap().as_str(), REVISION);
    }

    #[test]
    fn failures_add_up_with_their_backoff_until_one_succeeds() {
        let memory = &mut Memory::default();
        let retry = result(&json!({"retry": {"error": "busy", "backoffMs": 60_000}}));
        assert_eq!(at(memory, 5, retry.clone()), shop_changed());
        at(memory, 7, retry);
        assert_eq!((shop(memory).failures, shop(memory).error.as_deref()), (2, Some("busy")));
        assert_eq!(shop(memory).retry_at, Some(Timestamp::from_second(8 * 60).unwrap()));
        let minute = |minute: i64| Some(Timestamp::from_second(minute * 60).unwrap());
        assert_eq!((shop(memory).failing_since, shop(memory).failed_at), (minute(5), minute(7)));
        assert_eq!(now(memory, result(&json!({"underWay": {"note": "57 %"}}))), [], "neither failed nor done");

        at(memory, 8, result(&json!({"rejected": {"error": "no such file"}})));
        assert_eq!(shop(memory).failing_since, None);
        let rejected = shop(memory);
        assert_eq!((rejected.failures, rejected.retry_at), (3, None));
        assert_eq!(rejected.error.as_deref(), Some("no such file"));

        assert_eq!(now(memory, result(&json!({"unknown": {"error": "gone"}}))), []);
        assert_eq!(now(memory, result(&json!("superseded"))), []);
        assert_eq!(now(memory, result(&json!({"done": {"note": null}}))), shop_changed());
        assert_eq!(shop(memory), ResourceMemory::default());
        assert_eq!(now(memory, result(&json!({"done": {"note": null}}))), [], "nothing changed");
    }

    #[test]
    fn where_it_may_live_is_known_from_the_first_intent_until_it_is_removed() {
        let memory = &mut Memory::default();
        let mut take = |seq, record: Value| {
            let record: Record = serde_json::from_value(record).unwrap();
            fold(memory, &Entry { seq: Seq(seq), at: Timestamp::UNIX_EPOCH, record });
            let places = &shop(memory).places;
            places.keys().map(|provider| provider.as_str().to_owned()).collect::<Vec<_>>()
        };
        let intent = |provider: &str, word: &str| {
            json!({"type": "intent", "key": "a:1:0", "resource": "app/shop", "team": "payments", "provider": provider,
                "word": word, "subject": "9f86d081-1", "cause": "drift"})
        };
        let ended = |intent: u64, outcome: Value| json!({"type": "result", "intent": intent, "resource": "app/shop", "outcome": outcome});
        let done = || json!({"done": {"note": null}});
        assert_eq!(take(1, intent("local", "create")), ["local"]);
        assert_eq!(take(2, ended(1, json!({"unknown": {"error": "gone"}}))), ["local"], "it may have been made");
        assert_eq!(take(3, intent("edge", "create")), ["edge", "local"]);
        take(4, ended(3, done()));
        assert_eq!(take(5, intent("local", "delete")), ["edge", "local"], "it is there until it is gone");
        assert_eq!(take(6, ended(5, json!({"retry": {"error": "busy", "backoffMs": 1}}))), ["edge", "local"]);
        take(7, intent("local", "delete"));
        assert_eq!(take(8, ended(7, done())), ["edge"]);
        take(9, intent("edge", "start"));
        assert_eq!(take(10, ended(9, done())), ["edge"]);
        assert_eq!(take(11, intent("far", "delete")), ["edge"], "nothing is made by a removal");
    }

    #[test]
    fn a_backoff_without_end_is_the_end_of_time() {
        let memory = &mut Memory::default();
        now(memory, result(&json!({"retry": {"error": "busy", "backoffMs": u64::MAX}})));
        assert_eq!(shop(memory).retry_at, Some(Timestamp::MAX));
    }

    #[test]
    fn pins_stay_until_a_commit_takes_all_of_a_resource_away() {
        let memory = &mut Memory::default();
        assert_eq!(now(memory, pinned()), shop_changed());
        now(memory, result(&json!({"rejected": {"error": "no"}})));
        assert_eq!(shop(memory).pins.len(), 1);
        let unpinned = json!({"type": "unpinned", "resource": "app/shop", "revision": REVISION});
        assert_eq!(now(memory, unpinned), shop_changed());
        let expected = ResourceMemory { retried_at: Some(Timestamp::UNIX_EPOCH), ..ResourceMemory::default() };
        assert_eq!(shop(memory), expected, "and it is tried at once");
    }

    #[test]
    fn the_newest_pins_are_kept_and_the_oldest_go() {
        let memory = &mut Memory::default();
        for minute in 0..20 {
            let at = Timestamp::from_second(minute * 60).unwrap();
            let template = format!("v1:{}", format!("{minute:02}").repeat(32));
            now(
                memory,
                json!({"type": "pinned", "resource": "app/shop", "template": template,
                "pin": {"at": at, "revision": null, "why": "it failed"}}),
            );
        }
        let pins = shop(memory).pins;
        assert_eq!(pins.len(), PINS);
        assert!(pins.values().all(|pin| pin.at >= Timestamp::from_second(4 * 60).unwrap()));
    }

    #[test]
    fn the_last_good_and_the_last_release_are_kept() {
        let memory = &mut Memory::default();
        assert_eq!(now(memory, baked()), shop_changed());
        let released = json!({"type": "released", "resource": "app/shop", "template": digest()});
        assert_eq!(now(memory, released), shop_changed());
        let kept = shop(memory);
        assert_eq!(kept.last_good.unwrap().revision.unwrap().as_str(), REVISION);
        assert_eq!(kept.released.unwrap().as_str(), digest());
    }

    #[test]
    fn removals_count_for_an_hour() {
        let memory = &mut Memory::default();
        let removal = |hold: Value| json!({"type": "removal", "verb": "delete", "resource": "app/shop", "hold": hold});
        for minute in [0, 30, 60, 61] {
            assert_eq!(at(memory, minute, removal(Value::Null)), [Change::Removals]);
        }
        let minutes: Vec<i64> = memory.removals.iter().map(|removal| removal.at.as_second() / 60).collect();
        assert_eq!(minutes, [30, 60, 61]);
        assert!(memory.removals.iter().all(|it| it.verb == Verb::Delete && it.id == id("app/shop")));
    }

    #[test]
    fn a_release_is_good_for_the_whole_set_and_then_spent() {
        let memory = &mut Memory::default();
        let hold: HoldId = "9f86d081884c".parse().unwrap();
        let allowed = json!({"type": "allowed", "hold": hold, "revision": REVISION});
        assert_eq!(now(memory, allowed.clone()), [Change::Allowed]);
        assert_eq!(now(memory, allowed), []);
        now(memory, json!({"type": "removal", "verb": "delete", "resource": "app/shop", "hold": hold}));
        assert_eq!(memory.removals.last().unwrap().hold.as_ref(), Some(&hold));
        assert!(memory.allowed.contains_key(&hold), "the others of the set may still go");
        // Hours later it is still known what has gone under it.
        at(memory, 300, json!({"type": "removal", "verb": "delete", "resource": "app/auth", "hold": null}));
        assert_eq!(memory.removals.len(), 2);
        let spent = json!({"type": "holdSpent", "hold": hold});
        let limited = |teams: &[&str]| json!({"type": "allowed", "hold": hold, "revision": REVISION, "teams": teams});
        now(memory, limited(&["a"]));
        assert!(memory.allowed_by.is_empty(), "it counts for everybody's already");
        assert_eq!(now(memory, spent.clone()), [Change::Allowed]);
        now(memory, limited(&["a"]));
        now(memory, limited(&["b"]));
        assert_eq!(memory.allowed_by[&hold].len(), 2);
        assert_eq!(now(memory, spent.clone()), [Change::Allowed]);
        assert!(memory.allowed_by.is_empty());
        assert_eq!(now(memory, spent), []);
        assert!(memory.allowed.is_empty());
        at(memory, 301, json!({"type": "removal", "verb": "delete", "resource": "app/web", "hold": null}));
        assert_eq!(memory.removals.len(), 2, "what went under a spent release counts for its hour only");
    }

    #[test]
    fn a_release_is_not_for_what_is_declared_again_after_it() {
        let memory = &mut Memory::default();
        let hold: HoldId = "9f86d081884c".parse().unwrap();
        let word =
            |overtaken: &[&str]| json!({"type": "allowed", "hold": hold, "revision": REVISION, "overtaken": overtaken});
        now(memory, accepted(&json!({"app/shop": "shop.yaml", "app/web": "web.yaml"})));
        now(memory, baked());
        let mut without = accepted(&json!({"app/web": "moved.yaml"}));
        without["gone"] = json!(["app/shop"]);
        now(memory, without.clone());
        now(memory, word(&[]));
        now(memory, accepted(&json!({"app/web": "again.yaml"})));
        assert!(memory.overtaken.is_empty(), "what was declared all the while is none of it");
        let mut back = accepted(&json!({}));
        back["byFile"] = json!({"shop.yaml": ["app/shop"]});
        assert!(now(memory, back).contains(&Change::Allowed));
        assert_eq!(memory.overtaken[&hold], [id("app/shop")].into());
        now(memory, without);
        assert_eq!(memory.overtaken[&hold], [id("app/shop")].into());
        assert_eq!(now(memory, word(&[])), [Change::Allowed]);
        assert!(memory.overtaken.is_empty() && memory.allowed.contains_key(&hold), "said again it counts");
        now(memory, word(&["app/shop"]));
        assert_eq!(memory.overtaken[&hold], [id("app/shop")].into());
        now(memory, json!({"type": "holdSpent", "hold": hold}));
        assert!(memory.overtaken.is_empty());
    }

    #[test]
    fn a_rename_takes_everything_along_and_forgetting_leaves_nothing() {
        let memory = &mut Memory::default();
        now(memory, accepted(&json!({"app/shop": "old.yaml"})));
        now(memory, baked());
        now(memory, pinned());
        let mut next = accepted(&json!({"app/store": "new.yaml"}));
        next["gone"] = json!(["app/shop"]);
        now(memory, next);
        let renamed = json!({"type": "renamed", "from": "app/shop", "resource": "app/store"});
        let changes = now(memory, renamed.clone());
        assert_eq!(changes, [id("app/shop"), id("app/store")].map(Change::Resource));
        assert_eq!(now(memory, renamed), []);
        assert!(!memory.resources.contains_key(&id("app/shop")));
        let store = &memory.resources[&id("app/store")];
        assert_eq!((store.file.as_deref(), store.pins.len()), (Some("new.yaml"), 1));
        assert_eq!(store.last_good.as_ref().unwrap().resource.id, id("app/store"), "it comes back under its new id");

        let forgotten = json!({"type": "forgotten", "resource": "app/store"});
        assert_eq!(now(memory, forgotten.clone()), [Change::Resource(id("app/store"))]);
        assert_eq!(now(memory, forgotten), []);
        assert!(memory.resources.is_empty());
    }

    #[test]
    fn systems_and_waves_are_the_last_said() {
        let memory = &mut Memory::default();
        let system = json!({"type": "system", "provider": "local", "system": "machine-1"});
        assert_eq!(now(memory, system.clone()), [Change::Systems]);
        assert_eq!(now(memory, system), []);
        let waves = json!({"type": "waves", "waves": {"revision": REVISION, "members": ["app/shop"]}});
        assert_eq!(now(memory, waves), [Change::Waves]);
        assert_eq!(memory.waves.as_ref().unwrap().members, [id("app/shop")]);
        assert_eq!(now(memory, json!({"type": "waves", "waves": null})), [Change::Waves]);
        assert_eq!(memory.waves, None);
    }

    #[test]
    fn an_intent_is_in_doubt_until_it_is_known_how_it_ended() {
        let mut doubts = BTreeMap::new();
        let intent = json!({"type": "intent", "key": "a:1:0", "resource": "app/shop", "team": "payments",
            "provider": "local", "word": "start", "subject": "9f86d081-1", "cause": "drift"});
        let mut take = |seq, record| {
            let record = serde_json::from_value(record).unwrap();
            let changed = fold_doubts(&mut doubts, &Entry { seq: Seq(seq), at: Timestamp::UNIX_EPOCH, record });
            (changed, doubts.keys().copied().collect::<Vec<_>>())
        };
        assert_eq!(take(1, intent), (Some(Seq(1)), vec![Seq(1)]));
        assert_eq!(take(2, result(&json!({"unknown": {"error": "gone"}}))), (None, vec![Seq(1)]));
        assert_eq!(take(3, result(&json!("superseded"))), (Some(Seq(1)), vec![]));
        assert_eq!(take(4, result(&json!({"done": {"note": null}}))), (None, vec![]));
    }
}
