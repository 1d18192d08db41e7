//! The blast radius: how much of a kind may be taken away over a rolling hour before a commit has to say so again.
//!
//! A removal that was let through counts for an hour against its kind, and what it removed still counts as having lived, so
//! that a removal in progress does not shrink its own allowance.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{Decision, Facts, Hold, Judged, is_suspended, released};
use crate::desired::Desired;
use crate::model::{HoldId, Kind, ResourceId, Verb};
use crate::plan::{Change, Plan};

/// What a set of removals is called and counted by.
pub(super) type Removals = BTreeSet<(Verb, ResourceId)>;

const ROLLING: SignedDuration = SignedDuration::from_hours(1);
const ALWAYS_ALLOWED: usize = 2;

/// Decides on all removals of a plan that exceed what may go; those that may are not mentioned.
pub(super) fn guard(
    plan: &Plan,
    desired: &Desired,
    facts: &Facts<'_>,
    judged: &mut Judged,
) -> BTreeMap<ResourceId, Decision> {
    let mut decisions = BTreeMap::new();
    let pending: Removals =
        plan.changes.iter().filter(|c| counts(c, desired)).map(|c| (c.verb, c.id.clone())).collect();
    for (held, why) in exceeding(&pending, desired, facts) {
        if let Some(id) = released::covering(&held, facts) {
            judged.released.extend(held.into_iter().map(|(_, resource)| (resource, id.clone())));
            continue;
        }
        let hold = Hold::new(held, why);
        let these = match hold.changes.len() {
            1 => "this one".to_owned(),
            many => format!("these {many}"),
        };
        let release = format!("a commit with `{}` releases exactly {these}", hold.trailer);
        for (_, id) in &hold.changes {
            let (why, release, hold) = (hold.why.clone(), release.clone(), Some(hold.id.clone()));
            decisions.insert(id.clone(), Decision::Held { why, release, hold });
        }
        judged.holds.push(hold);
    }
    // What fits the budget by now still belongs to the set that was released, and spends its release.
    for kind in Kind::ALL {
        let rest: Removals = pending.iter().filter(|(_, id)| id.kind == *kind).cloned().collect();
        if let Some(id) = released::covering(&rest, facts).filter(|_| !rest.is_empty()) {
            judged.released.extend(rest.into_iter().map(|(_, resource)| (resource, id.clone())));
        }
    }
    let all: Removals = plan.changes.iter().map(|c| (c.verb, c.id.clone())).collect();
    judged.spent.extend(released::spent(&all, facts).cloned());
    decisions
}

fn counts(change: &Change, desired: &Desired) -> bool {
    change.verb.is_removal() && change.held.is_none() && !is_suspended(&change.id, desired)
}

/// The sets that exceed, each with why: one for all when the path is empty, else one a kind.
fn exceeding(pending: &Removals, desired: &Desired, facts: &Facts<'_>) -> Vec<(Removals, String)> {
    let under_way = let_through(facts);
    let new: Removals = pending.iter().filter(|removal| !under_way.contains(*removal)).cloned().collect();
    if new.is_empty() {
        return Vec::new();
    }
    if desired.resources.is_empty() && desired.held.is_empty() {
        let why = "this revision declares nothing at all, and things are live".to_owned();
        return vec![(new, why)];
    }
    let of_kind = |kind: Kind| {
        let new: Removals = new.iter().filter(|(_, id)| id.kind == kind).cloned().collect();
        (!new.is_empty()).then(|| Budget::of(kind, desired, facts).exceeded_by(&new).map(|why| (new, why))).flatten()
    };
    Kind::ALL.iter().copied().filter_map(of_kind).collect()
}

/// Removals within their hour that were let through without a hold, or under one whose release is not spent: they go on.
fn let_through(facts: &Facts<'_>) -> Removals {
    let goes_on = |hold: &Option<HoldId>| {
        hold.as_ref().is_none_or(|hold| released::in_force(facts).any(|released| released == hold))
    };
    recent(facts).filter(|removal| goes_on(&removal.hold)).map(|r| (r.verb, r.id.clone())).collect()
}

fn recent<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a crate::model::Removal> {
    let since = facts.now.checked_sub(ROLLING).unwrap_or(Timestamp::MIN);
    facts.memory.removals.iter().filter(move |removal| removal.at > since)
}

/// What may be taken away of one kind, now.
pub(super) struct Budget {
    kind: Kind,
    /// How many of the kind live, or did within the hour.
    base: usize,
    /// What was taken away within the hour.
    taken: BTreeSet<ResourceId>,
    /// What stays: it lives and was not scaled away within the hour, or is declared anew.
    standing: BTreeSet<ResourceId>,
    percent: u8,
}

impl Budget {
    pub(super) fn of(kind: Kind, desired: &Desired, facts: &Facts<'_>) -> Self {
        let owner = facts.memory.revision.owner.as_ref().or(desired.owner.as_ref());
        let ours = facts.snapshot.objects().filter(|(_, id, live)| {
            id.kind == kind && live.stamp.as_ref().is_some_and(|stamp| owner.is_none_or(|owner| stamp.owner == *owner))
        });
        let live: BTreeMap<&ResourceId, bool> = ours.map(|(_, id, live)| (id, !live.instances.is_empty())).collect();
        let of_kind = || recent(facts).filter(|removal| removal.id.kind == kind);
        let taken: BTreeSet<ResourceId> = of_kind().map(|removal| removal.id.clone()).collect();
        let scaled_away = |id: &ResourceId| of_kind().any(|r| r.id == *id && r.verb == Verb::ScaleToZero);
        let lives = live.iter().filter(|(id, runs)| **runs || !scaled_away(id)).map(|(id, _)| *id);
        let anew = desired.resources.keys().filter(|id| id.kind == kind && !live.contains_key(id));
        let standing = lives.chain(anew).cloned().collect();
        let declared = desired.repository.blast_radius.percent;
        Self {
            kind,
            base: live.len() + taken.iter().filter(|id| !live.contains_key(id)).count(),
            taken,
            standing,
            percent: facts.memory.revision.blast_percent.map_or(declared, |before| before.min(declared)),
        }
    }

    /// Why these new removals, together with what was taken away within the hour, are too many, if they are.
    pub(super) fn exceeded_by(&self, new: &Removals) -> Option<String> {
        let total = self.taken.iter().chain(new.iter().map(|(_, id)| id)).collect::<BTreeSet<_>>().len();
        let allowed = ALWAYS_ALLOWED.max(self.base * usize::from(self.percent) / 100);
        let kinds = self.kind.plural();
        if total > allowed {
            let earlier = total - new.iter().map(|(_, id)| id).collect::<BTreeSet<_>>().len();
            let earlier =
                if earlier > 0 { format!(", {earlier} of them earlier within the hour") } else { String::new() };
            return Some(format!(
                "removes {total} of {} {kinds}{earlier}; at most {allowed} may go within an hour ({} %, and always {ALWAYS_ALLOWED})",
                self.base, self.percent
            ));
        }
        let leaves = |id: &ResourceId| new.iter().any(|(verb, gone)| gone == id && *verb != Verb::Move);
        let none_left = !self.standing.iter().any(|id| !leaves(id)) && new.iter().any(|(verb, _)| *verb != Verb::Move);
        (self.base >= 2 && none_left).then(|| format!("removes the last of {} {kinds}", self.base))
    }
}
