//! What `Codeops-Allow` released: which set a release covers, and when it is over. It covers one set, once: it is spent when
//! the whole set is seen to be gone, and it lapses when for a day nothing went under it. It decides nothing about budgets.

use jiff::{SignedDuration, Timestamp};

use super::Facts;
use super::blast::{Removals, team_of};
use crate::desired::{Desired, may_release};
use crate::model::{HoldId, Observed, ProviderName, ResourceId};

/// How long a release waits for its first or next removal: long enough for a provider to come back, short enough that it
/// lets through no equal set that somebody makes by mistake weeks later.
const LASTS: SignedDuration = SignedDuration::from_hours(24);

/// Holds whose release has not lapsed.
pub(super) fn in_force<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a HoldId> {
    let facts = *facts;
    facts.memory.allowed.iter().filter(move |(id, since)| !has_lapsed(id, **since, &facts)).map(|(id, _)| id)
}

/// The released hold that covers exactly this set, together with what has gone through under it already, if its commit had
/// a say in all of it, and the last word.
pub(super) fn covering(held: &Removals, desired: &Desired, facts: &Facts<'_>) -> Option<HoldId> {
    named(held, facts).filter(|id| objection(id, held, desired, facts).is_none())
}

/// Why the release of exactly this set does not count, if there is one that does not.
pub(super) fn discounted(held: &Removals, desired: &Desired, facts: &Facts<'_>) -> Option<String> {
    objection(&named(held, facts)?, held, desired, facts)
}

fn objection(id: &HoldId, held: &Removals, desired: &Desired, facts: &Facts<'_>) -> Option<String> {
    let overtaken = facts.memory.overtaken.get(id);
    if let Some((_, id)) = held.iter().find(|(_, id)| overtaken.is_some_and(|overtaken| overtaken.contains(id))) {
        return Some(format!(
            "a commit that says so came before another that changed how `{id}` is declared, and does not count for this: say so \
             again in a new commit"
        ));
    }
    let by = facts.memory.allowed_by.get(id)?;
    if held.iter().all(|(_, id)| team_of(id, desired, facts).is_some_and(|team| may_release(by, team, desired))) {
        return None;
    }
    let names = by.iter().map(|team| format!("`{team}`")).collect::<Vec<_>>().join(", ");
    let what = if by.is_empty() { "no file".to_owned() } else { format!("only files of {names}") };
    Some(format!(
        "the commit that says so changes {what}, and does not count for this: it must change a file of that team's"
    ))
}

/// The release that names exactly this set.
fn named(held: &Removals, facts: &Facts<'_>) -> Option<HoldId> {
    let covers = |id: &&HoldId| {
        let mut whole = gone_under(id, facts);
        whole.extend(held.iter().cloned());
        HoldId::of(&whole) == **id
    };
    in_force(facts).find(covers).cloned()
}

/// Releases that are over: the whole set has gone, which is so once none of it is `planned` any more or may live unseen, or nothing
/// went for a day.
pub(super) fn spent<'a>(planned: &Removals, facts: &Facts<'a>) -> impl Iterator<Item = &'a HoldId> {
    let facts = *facts;
    let is_over = move |(id, since): &(&'a HoldId, &'a Timestamp)| {
        let gone = gone_under(id, &facts);
        let is_whole = !gone.is_empty() && gone.is_disjoint(planned) && HoldId::of(&gone) == **id;
        let is_seen = || !gone.iter().any(|(_, resource)| is_unseen(resource, &facts));
        is_whole && is_seen() || has_lapsed(id, **since, &facts)
    };
    facts.memory.allowed.iter().filter(is_over).map(|(id, _)| id)
}

/// Whether a place where it lived does not tell of it, as when the daemon has just begun: what was let through may have been cut off.
/// Where it lived nobody remembers it is asked for everywhere; what is forgotten was seen to be gone.
fn is_unseen(id: &ResourceId, facts: &Facts<'_>) -> bool {
    let Some(remembered) = facts.memory.resources.get(id) else { return false };
    let unknown = |provider: &ProviderName| matches!(facts.snapshot.observed(provider, id), Observed::Unknown(_));
    let mut places = remembered.lived_on().peekable();
    match places.peek() {
        Some(_) => places.any(unknown),
        None => facts.snapshot.providers.keys().any(unknown),
    }
}

fn has_lapsed(hold: &HoldId, since: Timestamp, facts: &Facts<'_>) -> bool {
    let used = facts.memory.removals.iter().filter(|removal| removal.hold.as_ref() == Some(hold));
    let last = used.map(|removal| removal.at).fold(since, Timestamp::max);
    facts.now.duration_since(last) >= LASTS
}

fn gone_under(hold: &HoldId, facts: &Facts<'_>) -> Removals {
    let under = facts.memory.removals.iter().filter(|removal| removal.hold.as_ref() == Some(hold));
    under.map(|removal| (removal.verb, removal.id.clone())).collect()
}
