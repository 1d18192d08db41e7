//! The blast radius: how much of a kind may be taken away over a rolling hour before a commit has to say so again.
//!
//! Where teams are kept apart each has its own, so that what one removes is not put in another's hold, and that of the whole
//! kind is the outer limit, which they share: past it wait those that remove most, until those that remove less fit beside them.
//!
//! A removal that was let through counts for an hour against its kind, and what it removed still counts as having lived, so
//! that a removal in progress does not shrink its own allowance. What was declared since a removal was asked for counts for
//! nothing: no commit makes room for what it removes by what it adds. And what was held once is held until a commit releases it
//! or declares it again, however much there is by then and however long that takes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::budget::{Budget, words};
use super::{Decision, Facts, Hold, Judged, disputed, is_suspended, released};
use crate::desired::Desired;
use crate::model::{HoldId, Kind, Removal, ResourceId, Step, TeamName, Verb, share};
use crate::plan::{Change, Plan};

/// What a set of removals is called and counted by.
pub(super) type Removals = BTreeSet<(Verb, ResourceId)>;

const ROLLING: SignedDuration = SignedDuration::from_hours(1);
/// How many manifests that stay with what is held are named.
const NAMED: usize = 8;

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
    let exceeding = exceeding(&pending, desired, facts);
    let free = pending.iter().filter(|removal| !exceeding.iter().any(|(removals, _)| removals.contains(*removal)));
    let disputed = disputed::waiting(free, desired, facts);
    for (held, why) in exceeding.into_iter().chain(disputed) {
        if let Some(id) = released::covering(&held, desired, facts) {
            judged.released.extend(held.into_iter().map(|(_, resource)| (resource, id.clone())));
            continue;
        }
        let discounted = released::discounted(&held, desired, facts);
        let alone = held.first().filter(|_| held.len() == 1);
        let why = alone.and_then(|removal| disputed::why(removal, desired, facts)).unwrap_or(why);
        let why = with_answers(why, &held, desired, facts);
        let mut hold = Hold::new(held, why);
        hold.removals = hold.changes.iter().map(|(_, id)| id.clone()).collect();
        let these = match hold.changes.len() {
            1 => "this one".to_owned(),
            many => format!("these {many}"),
        };
        let mut release = format!("a commit with `{}` releases exactly {these}", hold.trailer);
        let why = hold.why.clone();
        if let Some(discounted) = discounted {
            release = format!("{release}; {discounted}");
            hold.why = format!("{why}; {discounted}");
        }
        for (_, id) in &hold.changes {
            let (why, release, hold) = (why.clone(), release.clone(), Some(hold.id.clone()));
            decisions.insert(id.clone(), Decision::Held { why, release, hold });
        }
        judged.holds.push(hold);
    }
    // What fits the budget by now still belongs to the set that was released, and spends its release.
    for kind in Kind::ALL {
        let whole: Removals = pending.iter().filter(|(_, id)| id.kind == *kind).cloned().collect();
        let parts = if desired.keeps_teams_apart() { by_team(&whole, desired, facts) } else { BTreeMap::new() };
        for rest in parts.into_values().chain([whole]) {
            if let Some(id) = released::covering(&rest, desired, facts).filter(|_| !rest.is_empty()) {
                judged.released.extend(rest.into_iter().map(|(_, resource)| (resource, id.clone())));
            }
        }
    }
    let all: Removals = plan.changes.iter().map(|c| (c.verb, c.id.clone())).collect();
    judged.spent.extend(released::spent(&all, facts).cloned());
    decisions
}

/// Why it is held, and what else of its teams stays until it is not.
fn with_answers(why: String, held: &Removals, desired: &Desired, facts: &Facts<'_>) -> String {
    let whose = by_team(held, desired, facts);
    let is_its = |id: &&String| {
        let team = desired.response.team_of(id).filter(|_| desired.keeps_teams_apart() && !declares_nothing(desired));
        team.is_none_or(|team| whose.contains_key(&Some(team)))
    };
    let deleted: Vec<&str> = desired.response.deleted.keys().filter(is_its).map(String::as_str).collect();
    if deleted.is_empty() {
        return why;
    }
    let names = &deleted[..deleted.len().min(NAMED)];
    let more = match deleted.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{why}; what it deletes of how alerts are answered stays until then: {}{more}", names.join(", "))
}

/// Whether a revision is empty: then everything is held together.
fn declares_nothing(desired: &Desired) -> bool {
    desired.resources.is_empty() && desired.held.is_empty()
}

fn counts(change: &Change, desired: &Desired) -> bool {
    change.verb.is_removal() && change.held.is_none() && !is_suspended(&change.id, desired)
}

/// Whose a resource is: as it lives, else as it is declared.
pub(super) fn team_of<'a>(id: &ResourceId, desired: &'a Desired, facts: &Facts<'a>) -> Option<&'a TeamName> {
    let listings = facts.snapshot.providers.values().flatten();
    let stamped =
        listings.filter_map(|listing| listing.objects.get(id)?.stamp.as_ref()).map(|stamp| &stamp.team).next();
    stamped.or_else(|| desired.resources.get(id).map(|resource| &resource.team))
}

fn by_team<'a>(
    removals: &Removals,
    desired: &'a Desired,
    facts: &Facts<'a>,
) -> BTreeMap<Option<&'a TeamName>, Removals> {
    let mut parts: BTreeMap<Option<&TeamName>, Removals> = BTreeMap::new();
    for removal in removals {
        parts.entry(team_of(&removal.1, desired, facts)).or_default().insert(removal.clone());
    }
    parts
}

/// What was held to be removed, and is declared again so that nothing of it is to go.
pub(super) fn taken_back(plan: &Plan, desired: &Desired, facts: &Facts<'_>) -> BTreeSet<ResourceId> {
    let asked: BTreeSet<&ResourceId> =
        plan.changes.iter().filter(|change| change.verb.is_removal()).map(|change| &change.id).collect();
    // Whoever may not have it has not declared it again.
    let asked: BTreeSet<&ResourceId> =
        plan.changes.iter().filter(|change| change.held.is_some()).map(|change| &change.id).chain(asked).collect();
    let unknown: BTreeSet<&ResourceId> = plan.unknown.iter().map(|(id, _)| id).collect();
    let held = facts.memory.resources.iter().filter(|(_, memory)| memory.removal_held).map(|(id, _)| id);
    let back = held.filter(|id| desired.resources.contains_key(*id) && !asked.contains(id) && !unknown.contains(id));
    back.cloned().collect()
}

/// Whether its removal was held, and nobody has taken that back.
pub(super) fn was_held(id: &ResourceId, facts: &Facts<'_>) -> bool {
    facts.memory.resources.get(id).is_some_and(|memory| memory.removal_held)
}

/// Those that were held before, and those that were not.
fn by_past(removals: &Removals, facts: &Facts<'_>) -> (Removals, Removals) {
    removals.iter().cloned().partition(|(_, id)| was_held(id, facts))
}

/// Since when the first of these is asked for, where that is written down.
pub(super) fn asked_since(removals: &Removals, facts: &Facts<'_>) -> Option<Timestamp> {
    removals.iter().filter_map(|(_, id)| facts.memory.resources.get(id)?.dropped_at).min()
}

/// Why a set stays held that was before: as it exceeds, or did when it was asked for.
fn still(
    kind: Kind,
    team: Option<&TeamName>,
    before: Removals,
    desired: &Desired,
    facts: &Facts<'_>,
) -> (Removals, String) {
    let own = Budget::of(kind, team, &before, desired, facts);
    let all = || Budget::of(kind, None, &before, desired, facts).exceeded_by(&before).map(|why| together(&why));
    let why = own.exceeded_by(&before).or_else(|| all().filter(|_| team.is_some())).unwrap_or_else(|| {
        let ((does, away), count) = (words(&before), before.len());
        format!("{does} {count} {}{away}, and was held when that was asked for", own.what)
    });
    (before, why)
}

fn together(why: &str) -> String {
    format!("together with what other teams remove this {why}")
}

/// The sets that exceed, each with why: one for all when the path is empty, else one a kind, or one a kind and team. What was
/// held before is in one of them; what is asked for since goes beside it where both together may.
fn exceeding(pending: &Removals, desired: &Desired, facts: &Facts<'_>) -> Vec<(Removals, String)> {
    let under_way = let_through(facts);
    let new: Removals = pending.iter().filter(|removal| !under_way.contains(*removal)).cloned().collect();
    if new.is_empty() {
        return Vec::new();
    }
    if declares_nothing(desired) {
        let why = "this revision declares nothing at all, and things are live".to_owned();
        return vec![(new, why)];
    }
    let of_kind = |kind: Kind| {
        let new: Removals = new.iter().filter(|(_, id)| id.kind == kind).cloned().collect();
        if new.is_empty() {
            Vec::new()
        } else if desired.keeps_teams_apart() {
            of_teams(kind, &new, desired, facts)
        } else {
            let (before, since) = by_past(&new, facts);
            let own = Budget::of(kind, None, if since.is_empty() { &before } else { &since }, desired, facts);
            let held = match own.exceeded_by(&new) {
                Some(why) => Some((new, why)),
                None if before.is_empty() => None,
                None => Some(still(kind, None, before, desired, facts)),
            };
            held.into_iter().collect()
        }
    };
    Kind::ALL.iter().copied().flat_map(of_kind).collect()
}

/// What each team asks for.
type Asks<'a> = BTreeMap<Option<&'a TeamName>, Removals>;

/// The teams whose removals exceed what is theirs; and of the others those that remove most, while what all ask for exceeds.
fn of_teams(kind: Kind, new: &Removals, desired: &Desired, facts: &Facts<'_>) -> Vec<(Removals, String)> {
    let (mut held, mut asks, mut stay) = (Vec::new(), Asks::new(), Asks::new());
    for (team, removals) in by_team(new, desired, facts) {
        let (before, since) = by_past(&removals, facts);
        let asked = if since.is_empty() { &before } else { &since };
        let own = team.and_then(|team| Budget::of(kind, Some(team), asked, desired, facts).exceeded_by(&removals));
        if let Some(why) = own {
            held.push((removals, why));
            continue;
        }
        for (asks, these) in [(&mut stay, before), (&mut asks, since)] {
            if !these.is_empty() {
                asks.insert(team, these);
            }
        }
    }
    while let Some((most, why)) = beyond_share(kind, &asks, desired, facts) {
        let mut these = asks.remove(&most).unwrap_or_default();
        these.extend(stay.remove(&most).unwrap_or_default());
        held.push((these, together(&why)));
    }
    held.extend(stay.into_iter().map(|(team, before)| still(kind, team, before, desired, facts)));
    held
}

/// The team that removes most, with what it removed within the hour, if what all ask for is too much of a kind and that team asks
/// for more than its share; and why.
fn beyond_share<'a>(
    kind: Kind,
    asks: &Asks<'a>,
    desired: &Desired,
    facts: &Facts<'_>,
) -> Option<(Option<&'a TeamName>, String)> {
    let together: Removals = asks.values().flatten().cloned().collect();
    let all = Budget::of(kind, None, &together, desired, facts);
    let mut totals: BTreeMap<Option<&TeamName>, BTreeSet<&ResourceId>> = BTreeMap::new();
    for removal in recent(facts).filter(|removal| removal.id.kind == kind) {
        totals.entry(removal.team.as_ref()).or_default().insert(&removal.id);
    }
    for (team, removals) in asks {
        totals.entry(*team).or_default().extend(removals.iter().map(|(_, id)| id));
    }
    let total = |team: &Option<&TeamName>| totals.get(team).map_or(0, BTreeSet::len);
    let most = asks.keys().max_by_key(|team| total(team)).copied()?;
    let others = totals.iter().filter(|(team, _)| **team != most).map(|(_, ids)| ids.len());
    let too_many = all.too_many(&together).filter(|_| !share::fits(total(&most), others, all.allowed()));
    // What others removed earlier makes nobody's only one the last of several.
    let had = |team: &Option<&TeamName>| {
        team.map_or(all.base, |team| Budget::of(kind, Some(team), &together, desired, facts).base)
    };
    let last = || all.leaves_none(&together).filter(|_| asks.keys().map(had).sum::<usize>() >= 2);
    Some((most, too_many.or_else(last)?))
}

/// Why this one removal is too many by itself, if it is.
pub(super) fn alone_exceeds(verb: Verb, id: &ResourceId, desired: &Desired, facts: &Facts<'_>) -> Option<String> {
    let alone = Removals::from([(verb, id.clone())]);
    if !desired.keeps_teams_apart() {
        return Budget::of(id.kind, None, &alone, desired, facts).exceeded_by(&alone);
    }
    let team = team_of(id, desired, facts);
    let own = team.and_then(|team| Budget::of(id.kind, Some(team), &alone, desired, facts).exceeded_by(&alone));
    own.or_else(|| Some(beyond_share(id.kind, &Asks::from([(team, alone)]), desired, facts)?.1))
}

/// Removals within their hour that were let through without a hold, or under one whose release is not spent: they go on, but
/// where what was removed has come back. To remove that is another removal.
pub(super) fn let_through(facts: &Facts<'_>) -> Removals {
    let goes_on = |hold: &Option<HoldId>| {
        hold.as_ref().is_none_or(|hold| released::in_force(facts).any(|released| released == hold))
    };
    let goes_on = |removal: &&Removal| goes_on(&removal.hold) && !came_back(removal, facts);
    recent(facts).filter(goes_on).map(|r| (r.verb, r.id.clone())).collect()
}

/// Whether it was started, or found good, after it was removed.
fn came_back(removal: &Removal, facts: &Facts<'_>) -> bool {
    let good = facts.memory.resources.get(&removal.id).and_then(|it| it.last_good.as_ref());
    let lives = facts.snapshot.objects().filter(|(_, id, _)| **id == removal.id);
    let mut started = lives.flat_map(|(_, _, live)| &live.instances).map(|instance| instance.created_at);
    good.is_some_and(|good| good.at > removal.at) || started.any(|at| at > removal.at)
}

/// Whether this removal was counted within the hour and goes on: the step was begun, and has not taken effect.
pub fn is_counted(verb: Verb, step: &Step, hold: Option<&HoldId>, facts: &Facts<'_>) -> bool {
    let remembered = facts.memory.resources.get(&step.resource);
    let goes_on = remembered.and_then(|it| it.places.get(&step.provider)).is_some_and(Option::is_some);
    let same = |it: &Removal| (it.verb, &it.id, it.hold.as_ref()) == (verb, &step.resource, hold);
    goes_on && recent(facts).any(same)
}

pub(super) fn recent<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a Removal> {
    let since = facts.now.checked_sub(ROLLING).unwrap_or(Timestamp::MIN);
    facts.memory.removals.iter().filter(move |removal| removal.at > since)
}
