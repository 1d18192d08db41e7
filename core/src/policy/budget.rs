//! How much of a kind, or of what one team has of it, may be taken away within an hour, and in words what is.

use std::collections::{BTreeMap, BTreeSet};

use super::Facts;
use super::blast::{Removals, asked_since, recent};
use crate::desired::Desired;
use crate::model::{Kind, Removal, ResourceId, Stamp, TeamName, Verb};

const ALWAYS_ALLOWED: usize = 2;

/// What may be taken away of one kind, or of what one team has of it, now.
pub(super) struct Budget {
    /// What it is of, in words.
    pub(super) what: String,
    /// How many of the kind live that were declared before what is asked for, or did within the hour.
    pub(super) base: usize,
    /// What was taken away within the hour, and how.
    taken: BTreeMap<ResourceId, Verb>,
    /// What stays: it lives and was not scaled away within the hour, or is declared anew.
    standing: BTreeSet<ResourceId>,
    percent: u8,
}

impl Budget {
    /// Of what there was when `asked` was asked for.
    pub(super) fn of(
        kind: Kind,
        team: Option<&TeamName>,
        asked: &Removals,
        desired: &Desired,
        facts: &Facts<'_>,
    ) -> Self {
        let is_its = |other: &TeamName| team.is_none_or(|team| team == other);
        let owner = facts.memory.revision.owner.as_ref().or(desired.owner.as_ref());
        let ours = facts.snapshot.objects().filter(|(_, id, live)| {
            let ours = |stamp: &Stamp| owner.is_none_or(|owner| stamp.owner == *owner) && is_its(&stamp.team);
            id.kind == kind && live.stamp.as_ref().is_some_and(ours)
        });
        let live: BTreeMap<&ResourceId, bool> = ours.map(|(_, id, live)| (id, !live.instances.is_empty())).collect();
        // What is not known to be another team's counts against each.
        let is_its_removal = |removal: &&Removal| removal.team.as_ref().is_none_or(is_its);
        let of_kind = || recent(facts).filter(|removal| removal.id.kind == kind).filter(is_its_removal);
        let mut taken: BTreeMap<ResourceId, Verb> = BTreeMap::new();
        for removal in of_kind() {
            let known = taken.entry(removal.id.clone()).or_insert(removal.verb);
            // What a playbook renewed and a commit removed is removed.
            *known = if removal.verb.is_removal() { removal.verb } else { *known };
        }
        let scaled_away = |id: &ResourceId| of_kind().any(|r| r.id == *id && r.verb == Verb::ScaleToZero);
        let lives = live.iter().filter(|(id, runs)| **runs || !scaled_away(id)).map(|(id, _)| *id);
        let declared = desired.resources.iter().filter(|(id, resource)| id.kind == kind && is_its(&resource.team));
        let anew = declared.map(|(id, _)| id).filter(|id| !live.contains_key(id));
        let standing = lives.chain(anew).cloned().collect();
        let since = asked_since(asked, facts);
        let was_there = |id: &ResourceId| {
            let declared = facts.memory.resources.get(id).and_then(|memory| memory.declared_at);
            since.zip(declared).is_none_or(|(since, declared)| declared < since)
        };
        let declared = desired.repository.blast_radius.percent;
        let kinds = kind.plural();
        Self {
            what: team.map_or_else(|| kinds.to_owned(), |team| format!("{kinds} of the team `{team}`")),
            base: live.keys().copied().filter(|id| was_there(id)).chain(taken.keys()).collect::<BTreeSet<_>>().len(),
            taken,
            standing,
            percent: facts.memory.revision.blast_percent.map_or(declared, |before| before.min(declared)),
        }
    }

    /// How many may go within an hour.
    pub(super) fn allowed(&self) -> usize {
        ALWAYS_ALLOWED.max(self.base * usize::from(self.percent) / 100)
    }

    /// Why these new removals, together with what was taken away within the hour, exceed it, if they do.
    pub(super) fn exceeded_by(&self, new: &Removals) -> Option<String> {
        self.too_many(new).or_else(|| self.leaves_none(new))
    }

    pub(super) fn too_many(&self, new: &Removals) -> Option<String> {
        let these: BTreeSet<&ResourceId> = new.iter().map(|(_, id)| id).collect();
        let before = || self.taken.iter().filter(|(id, _)| !these.contains(id)).map(|(_, verb)| *verb);
        let (what, allowed, (does, away)) = (&self.what, self.allowed(), words(new));
        (these.len() + before().count() > allowed).then(|| {
            format!(
                "{does} {} of {} {what}{away}{}; at most {allowed} may go within an hour ({} %, and always {ALWAYS_ALLOWED})",
                these.len(),
                self.base,
                earlier(before()),
                self.percent
            )
        })
    }

    pub(super) fn leaves_none(&self, new: &Removals) -> Option<String> {
        let leaves = |id: &ResourceId| new.iter().any(|(verb, gone)| gone == id && *verb != Verb::Move);
        let none_left = !self.standing.iter().any(|id| !leaves(id)) && new.iter().any(|(verb, _)| *verb != Verb::Move);
        let (does, away) = words(new);
        (self.base >= 2 && none_left).then(|| format!("{does} the last of {} {}{away}", self.base, self.what))
    }
}

/// What they do, before and after what they do it to. What an action takes away comes back by itself.
pub(super) fn words(new: &Removals) -> (String, &'static str) {
    let any = |verb| new.iter().any(|(it, _)| *it == verb);
    if new.iter().all(|(verb, _)| *verb == Verb::Replace) {
        return ("takes".to_owned(), " out of service for a while");
    }
    let all = [(Verb::Delete, "removes"), (Verb::Move, "moves"), (Verb::ScaleToZero, "scales to zero")];
    let does: Vec<&str> = all.into_iter().filter(|(verb, _)| any(*verb)).map(|(_, does)| does).collect();
    (does.join(" or "), "")
}

/// What was taken away before within the hour, each called what it was.
fn earlier(before: impl Iterator<Item = Verb>) -> String {
    let (mut removed, mut moved, mut zero, mut renewed) = (0, 0, 0, 0);
    for verb in before {
        match verb {
            Verb::Move => moved += 1,
            Verb::ScaleToZero => zero += 1,
            Verb::Replace => renewed += 1,
            _ => removed += 1,
        }
    }
    let renewed = (renewed, "taken out of service by playbooks");
    let all = [(removed, "removed"), (moved, "moved"), (zero, "scaled to zero"), renewed];
    let told = all.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    match told.collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        [one] => format!(", after {one} within the hour"),
        [first @ .., last] => format!(", after {} and {last} within the hour", first.join(", ")),
    }
}
