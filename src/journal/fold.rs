//! The pure fold of records into what is remembered; live appends and recovery share it, so they cannot disagree.
//!
//! It looks at nothing but the memory and the entry: no clock, so the same entries give the same memory for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeops_core::model::{LastGood, Memory, Removal, ResourceId, ResourceMemory};
use jiff::{SignedDuration, Timestamp};

use super::log::{Entry, Seq};
use super::record::{Outcome, Record};
use super::writer::InDoubt;

/// How long a removal counts.
const REMOVAL_COUNTS: SignedDuration = SignedDuration::from_hours(1);

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
}

/// Folds one entry into the memory and says which parts changed. A resource of which nothing is remembered has no place
/// in the memory.
pub fn fold(memory: &mut Memory, entry: &Entry) -> Vec<Change> {
    match &entry.record {
        Record::RevisionAccepted { revision, owner, blast_percent, files, .. } => {
            memory.revision.accepted = Some(revision.clone());
            memory.revision.owner = Some(owner.clone());
            memory.revision.blast_percent = Some(*blast_percent);
            let mut changes = declare(memory, files);
            changes.push(Change::Revision);
            changes
        }
        Record::RevisionState { revision, state, .. } if state == "applied" => {
            memory.revision.applied = Some(revision.clone());
            vec![Change::Revision]
        }
        Record::Result { resource, outcome, .. } => resource_of(memory, resource, |it| settle(it, entry.at, outcome)),
        Record::Baked { resource, good } => resource_of(memory, resource, |it| it.last_good = Some(good.clone())),
        Record::Released { resource, template } => {
            resource_of(memory, resource, |it| it.released = Some(template.clone()))
        }
        Record::Pinned { resource, template, pin } => resource_of(memory, resource, |it| {
            it.pins.insert(template.clone(), pin.clone());
        }),
        Record::Unpinned { resource, .. } => resource_of(memory, resource, |it| {
            it.pins.clear();
            try_now(it);
        }),
        Record::Removal { verb, resource, .. } => {
            let counts_from = entry.at.saturating_sub(REMOVAL_COUNTS).unwrap_or(Timestamp::MIN);
            memory.removals.retain(|removal| removal.at >= counts_from);
            memory.removals.push(Removal { at: entry.at, verb: *verb, id: resource.clone() });
            vec![Change::Removals]
        }
        Record::Allowed { hold, .. } => changed(memory.allowed.insert(hold.clone()), Change::Allowed),
        Record::HoldSpent { hold } => changed(memory.allowed.remove(hold), Change::Allowed),
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
        // What people read, and intents, which `fold_doubts` keeps.
        Record::DaemonStarted { .. }
        | Record::RevisionState { .. }
        | Record::Source { .. }
        | Record::Intent { .. }
        | Record::Status { .. }
        | Record::Instance { .. }
        | Record::Drift { .. }
        | Record::Held { .. }
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

fn changed(is: bool, change: Change) -> Vec<Change> {
    if is { vec![change] } else { Vec::new() }
}

/// Changes what is remembered of one resource.
fn resource_of(memory: &mut Memory, id: &ResourceId, change: impl FnOnce(&mut ResourceMemory)) -> Vec<Change> {
    let before = memory.resources.remove(id).unwrap_or_default();
    let mut after = before.clone();
    change(&mut after);
    let is = before != after;
    if after != ResourceMemory::default() {
        memory.resources.insert(id.clone(), after);
    }
    changed(is, Change::Resource(id.clone()))
}

/// The map is whole: what it does not name is declared by no file any more.
fn declare(memory: &mut Memory, files: &BTreeMap<ResourceId, String>) -> Vec<Change> {
    let gone: Vec<ResourceId> = memory.resources.keys().filter(|id| !files.contains_key(*id)).cloned().collect();
    let mut changes: Vec<Change> = gone.iter().flat_map(|id| resource_of(memory, id, |it| it.file = None)).collect();
    changes.extend(files.iter().flat_map(|(id, file)| resource_of(memory, id, |it| it.file = Some(file.clone()))));
    changes
}

fn settle(resource: &mut ResourceMemory, at: Timestamp, outcome: &Outcome) {
    match outcome {
        Outcome::Done { .. } => try_now(resource),
        Outcome::Retry { error, backoff_ms } => {
            let backoff = SignedDuration::from_millis(i64::try_from(*backoff_ms).unwrap_or(i64::MAX));
            resource.failures = resource.failures.saturating_add(1);
            resource.retry_at = Some(at.saturating_add(backoff).unwrap_or(Timestamp::MAX));
            resource.error = Some(error.clone());
        }
        Outcome::Rejected { error } => {
            resource.failures = resource.failures.saturating_add(1);
            resource.retry_at = None;
            resource.error = Some(error.clone());
        }
        // Nothing is known to have failed; the intent itself stays in doubt, or is replaced.
        Outcome::Unknown { .. } | Outcome::Superseded => {}
    }
}

fn try_now(resource: &mut ResourceMemory) {
    resource.failures = 0;
    resource.retry_at = None;
    resource.error = None;
}

/// The new id takes over all that was remembered of the old one, but keeps the file that already declares it.
fn rename(memory: &mut Memory, from: &ResourceId, to: &ResourceId) -> Vec<Change> {
    let Some(mut moved) = (from != to).then(|| memory.resources.remove(from)).flatten() else {
        return Vec::new();
    };
    if let Some(LastGood { resource, .. }) = &mut moved.last_good {
        Arc::make_mut(resource).id = to.clone();
    }
    let declared = memory.resources.remove(to).and_then(|there| there.file);
    moved.file = declared.or(moved.file);
    memory.resources.insert(to.clone(), moved);
    vec![Change::Resource(from.clone()), Change::Resource(to.clone())]
}
