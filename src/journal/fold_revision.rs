//! The fold of a revision that is accepted: what it declares and no longer does, and the limit that the next one inherits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::model::{
    AsDeclared, Asked, HoldId, Memory, Name, ResourceId, ResourceMemory, Revision, RevisionMemory,
};
use jiff::Timestamp;

use super::fold::{Change, resource_of};
use super::log::Entry;
use super::record::{AsBefore, Record};

/// A revision is accepted: from now on it is what should be.
pub(super) fn accept(memory: &mut Memory, entry: &Entry) -> Vec<Change> {
    let Record::RevisionAccepted {
        revision, owner, blast_percent, files, by_file, gone, claims, changed, asked, ..
    } = &entry.record
    else {
        return Vec::new();
    };
    inherit_limit(&mut memory.revision, *blast_percent);
    memory.revision.accepted = Some(revision.clone());
    memory.revision.accepted_at = Some(entry.at);
    memory.revision.owner = Some(owner.clone());
    let anew = declared_anew(memory, by_file);
    let mut changes = declare(memory, files, by_file, gone, entry.at);
    // What is not gone yet goes under this revision.
    memory.revision.removes.retain(|id| memory.resources.contains_key(id));
    let claimed = claims.iter().flat_map(|(id, has)| resource_of(memory, id, |it| it.claim(has.clone())));
    changes.extend(claimed.collect::<Vec<_>>());
    changes.extend(ask(memory, asked));
    let by = changed.iter().flat_map(|(id, by)| resource_of(memory, id, |it| it.changed_by = Some(*by)));
    changes.extend(by.collect::<Vec<_>>());
    changes.push(Change::Revision);
    if !anew.is_empty() && !memory.allowed.is_empty() {
        for hold in memory.allowed.keys() {
            memory.overtaken.entry(hold.clone()).or_default().extend(anew.iter().cloned());
        }
        changes.push(Change::Allowed);
    }
    changes
}

/// What was not declared until now: a word that was given before is not about it.
fn declared_anew(memory: &Memory, by_file: &BTreeMap<Arc<str>, BTreeSet<ResourceId>>) -> BTreeSet<ResourceId> {
    let is_new = |id: &&ResourceId| memory.resources.get(*id).is_none_or(|it| it.file.is_none());
    by_file.values().flatten().filter(is_new).cloned().collect()
}

/// What a release that is given does not count for. One that was given before and did not count for all is replaced by it.
pub(super) fn overtake(memory: &mut Memory, hold: &HoldId, overtaken: &BTreeSet<ResourceId>) -> bool {
    let before = memory.overtaken.remove(hold);
    if before.is_some() {
        memory.allowed.remove(hold);
        memory.allowed_by.remove(hold);
    }
    if !overtaken.is_empty() {
        memory.overtaken.insert(hold.clone(), overtaken.clone());
    }
    before.is_some() || !overtaken.is_empty()
}

/// Only what moved is said, so that a commit costs what it changes and not what there is. All that one file declares shares its
/// path.
fn declare(
    memory: &mut Memory,
    files: &BTreeMap<ResourceId, String>,
    by_file: &BTreeMap<Arc<str>, BTreeSet<ResourceId>>,
    gone: &BTreeSet<ResourceId>,
    at: Timestamp,
) -> Vec<Change> {
    let drop_it = |id| resource_of(memory, id, |it| it.drop_declaration(at));
    let mut changes: Vec<Change> = gone.iter().flat_map(drop_it).collect();
    let mut paths: BTreeMap<&str, Arc<str>> = BTreeMap::new();
    for (id, file) in files {
        let file = paths.entry(file).or_insert_with(|| Arc::from(file.as_str()));
        changes.extend(resource_of(memory, id, |it| it.declare(file, at)));
    }
    for (file, ids) in by_file {
        changes.extend(ids.iter().flat_map(|id| resource_of(memory, id, |it| it.declare(file, at))));
    }
    changes
}

/// Since when others ask for what is one team's; what is not remembered by now is nobody's any more.
fn ask(memory: &mut Memory, asked: &BTreeMap<ResourceId, Asked>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (id, since) in asked {
        if memory.resources.contains_key(id) {
            changes.extend(resource_of(memory, id, |it| it.claims.asked = Some(since.clone())));
        }
    }
    changes
}

/// What a resource stays as, be it written down here or before; or that it is described again.
pub(super) fn stay(it: &mut ResourceMemory, declared: Option<&AsDeclared>, before: Option<&AsBefore>) {
    match (declared, before) {
        (Some(declared), _) => (it.stays, it.stayed) = (Some(declared.clone()), None),
        (None, Some(AsBefore { revision, good })) => {
            let good = it.last_good.as_ref().filter(|_| *good).map(|good| Arc::clone(&good.resource));
            let resource = good.or_else(|| it.stayed.take().map(|stayed| stayed.resource));
            it.stays = resource.map(|resource| AsDeclared { resource, revision: revision.clone() });
        }
        (None, None) => it.stays_no_more(),
    }
}

/// What is broken, and whose what several have is: all there is, or what is otherwise than before.
pub(super) fn keep(
    revision: &mut RevisionMemory,
    manifests: &BTreeMap<String, Option<Revision>>,
    (holders, files): (&BTreeMap<String, Name>, &BTreeMap<String, Arc<str>>),
    (others, gone): (bool, &BTreeSet<String>),
) {
    if !others {
        revision.kept.clear();
        revision.holders.clear();
        revision.files.clear();
    }
    for id in gone {
        revision.kept.remove(id);
        revision.holders.remove(id);
    }
    // What is said of one is all of it: where no file is said it is in force no more.
    for id in gone.iter().chain(holders.keys()) {
        revision.files.remove(id);
    }
    revision.kept.extend(manifests.iter().map(|(id, good)| (id.clone(), good.clone())));
    revision.holders.extend(holders.iter().map(|(id, team)| (id.clone(), team.clone())));
    revision.files.extend(files.iter().map(|(id, file)| (id.clone(), Arc::clone(file))));
}

/// The limit by which the next revision is judged beside its own, for as long as it is in force: its predecessor's, and
/// while that one was not wholly applied also the one that it was judged by itself.
fn inherit_limit(revision: &mut RevisionMemory, declared: u8) {
    let is_applied = revision.accepted == revision.applied && !revision.has_held;
    let before = revision.blast_declared.replace(declared);
    revision.blast_percent = match (revision.blast_percent, before) {
        (Some(inherited), Some(before)) if !is_applied => Some(inherited.min(before)),
        (_, before) => before,
    };
    revision.has_held = false;
}
