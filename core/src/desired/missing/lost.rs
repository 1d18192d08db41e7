//! What cannot be read of a revision, and what may stand there: it is held, or the revision deletes nothing that may be there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{ResourceId, TeamName};

use super::undeletable::writers;
use crate::desired::Context;
use crate::desired::answering::in_force::Candidate;
use crate::desired::apps::unit::Unit;
use crate::desired::files::file::{Class, ParsedFile};
use crate::desired::resolve::Resolver;
use crate::desired::teams::rights;

/// The teams whose resources a file may declare; `None`: anybody's.
type Of = Option<BTreeSet<TeamName>>;

impl Resolver<'_> {
    /// Documents of which not even kind and name are known hold what their file last declared and now does not; where that
    /// tells not of all, the revision deletes nothing that may be in them. A document that cannot be read to its end may hide others behind it,
    /// for a file may have been cut off in it: what its file last declared and nobody does now is held too.
    pub(crate) fn lost(&mut self, files: &[Arc<ParsedFile>]) {
        let concerning: Vec<&Arc<ParsedFile>> = files.iter().filter(|file| self.concerns(&file.class)).collect();
        let of_people = concerning.iter().filter(|file| file.of_people && file.class == Class::Manifest);
        self.resolved.unread = of_people.into_iter().find_map(|file| not_whole(file)).cloned();
        let mut cut_off_of: BTreeMap<Of, String> = BTreeMap::new();
        for file in &concerning {
            let Some(why) = file.lost.first().or_else(|| cut_off(file)).cloned() else { continue };
            let everywhere = &self.resolved.units;
            let last = self.context.declared.get(&file.source.path).cloned().unwrap_or_default();
            let here = self.resolved.declared.entry(Arc::clone(&file.source.path)).or_default();
            // What an overlay's writers may not reach it never changed. What stood in another file did, whoever has that now.
            let is_overlay = matches!(file.class, Class::Overlay(_));
            let owners = rights::of(&file.source.path, self.context);
            let may_be_its = |id: &&ResourceId| !is_overlay || may_change(&owners, id, self.context);
            let missing = last.iter().filter(|id| !here.contains(*id)).filter(may_be_its);
            let missing: Vec<ResourceId> = missing.cloned().collect();
            if !missing.is_empty() {
                Arc::make_mut(here).extend(missing.iter().cloned());
            }
            let nowhere = missing.iter().filter(|id| !everywhere.contains_key(id)).count();
            let tells_all =
                file.lost.is_empty() || (file.lost.len() <= nowhere && begun(file) <= file.documents.len() + nowhere);
            if !tells_all && !is_overlay {
                self.resolved.undeletable.add(&file.source.path, &why, self.context);
            }
            if is_overlay {
                if !file.lost.is_empty() || !missing.is_empty() {
                    self.lost_overlay(&file.source.path, &missing, why);
                }
            } else if tells_all || nowhere > 0 {
                let missing = missing.into_iter().filter(|id| !everywhere.contains_key(id));
                self.resolved.held.extend(missing.map(|id| (id, why.clone())));
                cut_off_of.entry(writers(&file.source.path, self.context)).or_insert(why);
            }
        }
        self.changed_by_overlays(&concerning, &cut_off_of);
    }

    /// What an overlay still changes was declared somewhere, and remembered as the overlay's: it is held where files of the same
    /// writers are cut off. Looked through once for all files of the same writers.
    fn changed_by_overlays(&mut self, concerning: &[&Arc<ParsedFile>], cut_off_of: &BTreeMap<Of, String>) {
        let overlays =
            concerning.iter().filter(|file| matches!(file.class, Class::Overlay(_)) && !cut_off_of.is_empty());
        let mut changed: BTreeMap<Of, BTreeSet<&ResourceId>> = BTreeMap::new();
        for file in overlays {
            let owners = rights::of(&file.source.path, self.context);
            let reached = file.ids.iter().filter(|id| may_change(&owners, id, self.context));
            changed.entry(writers(&file.source.path, self.context)).or_default().extend(reached);
        }
        for (here, why) in cut_off_of {
            for (there, ids) in &changed {
                if here.as_ref().zip(there.as_ref()).is_some_and(|(here, there)| here.is_disjoint(there)) {
                    continue;
                }
                let missing = ids.iter().filter(|id| !self.resolved.units.contains_key(**id));
                let missing: Vec<ResourceId> = missing.map(|id| (*id).clone()).collect();
                self.resolved.held.extend(missing.into_iter().map(|id| (id, why.clone())));
            }
        }
    }

    /// Holds what an overlay that cannot be read may change: what it last did, else all that its writers may reach.
    fn lost_overlay(&mut self, path: &str, missing: &[ResourceId], why: String) {
        let writers = rights::of(path, self.context);
        if missing.is_empty() && writers.is_empty() {
            self.resolved.all_held.get_or_insert(why);
            return;
        }
        let reaches = |theirs: &TeamName| writers.iter().any(|writer| rights::reaches(writer, theirs, self.context));
        let within = |unit: &Unit| unit.app.team.as_ref().is_none_or(|theirs| reaches(&theirs.value));
        for id in missing {
            match self.resolved.units.get_mut(id) {
                Some(unit) if writers.is_empty() || within(unit) => unit.hold(why.clone()),
                Some(_) => {}
                None => drop(self.resolved.held.insert(id.clone(), why.clone())),
            }
        }
        if missing.is_empty() {
            for unit in self.resolved.units.values_mut().filter(|unit| within(unit)) {
                unit.hold(why.clone());
            }
            let within = |one: &Candidate| one.manifest.team.as_ref().is_none_or(|theirs| reaches(&theirs.value));
            for candidate in self.resolved.candidates.iter_mut().filter(|candidate| within(candidate)) {
                candidate.broken.get_or_insert_with(|| why.clone());
            }
        }
    }
}

/// Whether an overlay of these owners may change this.
fn may_change(owners: &[&TeamName], id: &ResourceId, context: &Context) -> bool {
    let theirs = rights::holder(id, context).filter(|_| !owners.is_empty());
    theirs.is_none_or(|theirs| owners.iter().any(|team| rights::reaches(team, theirs, context)))
}

/// Why more may have stood in a file than can be read: a document that is no whole one, or a mistake in the last, where a
/// file that was cut off ends.
pub(crate) fn cut_off(file: &ParsedFile) -> Option<&String> {
    broken(file).or(file.last_mistake.as_ref())
}

/// How many manifests begin in a file, as far as that can be seen of one that cannot be read.
fn begun(file: &ParsedFile) -> usize {
    String::from_utf8_lossy(&file.source.bytes).matches("apiVersion").count()
}

fn broken(file: &ParsedFile) -> Option<&String> {
    file.documents.iter().find_map(|document| document.broken.as_ref())
}

/// Why not all of a file can be read.
pub(crate) fn not_whole(file: &ParsedFile) -> Option<&String> {
    file.lost.first().or_else(|| broken(file))
}
