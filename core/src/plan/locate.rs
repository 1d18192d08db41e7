//! Where one declared resource lives now, over all providers, with the benefit of every doubt: what may live out of reach
//! is `Unknown`, never made a second time.

use super::{Known, Look, Seen};
use crate::model::{Live, Memory, Observed, Owner, ProviderName, Resource, ResourceId, ResourceMemory, Snapshot, Why};

/// Where a resource lives.
pub(super) enum Located<'a> {
    /// On the provider it should be on; and, when it is being moved, on another one still.
    Here { live: &'a Live, also: Option<&'a ProviderName> },
    /// Ours, on another provider.
    Elsewhere { provider: &'a ProviderName, live: &'a Live },
    /// Ours, under an id it had before, on the provider it should be on.
    Formerly { id: &'a ResourceId, live: &'a Live },
    /// Ours, under an id it had before, on another provider.
    FormerlyElsewhere { id: &'a ResourceId, provider: &'a ProviderName },
    /// Certainly nowhere.
    Nowhere,
    /// It cannot be told.
    Unknown(Why),
}

impl Look<'_> {
    pub(super) fn locate<'a>(&'a self, target: &'a Resource, known: &Known<'a>) -> Located<'a> {
        let (id, provider) = (&target.id, &target.spec.provider);
        let elsewhere = self.ours_elsewhere(&known.seen, provider);
        if let Some((_, live)) = known.seen.iter().find(|(name, _)| *name == provider) {
            return Located::Here { live, also: elsewhere.map(|(provider, _)| provider) };
        }
        if let Observed::Unknown(why) = self.snapshot.observed(provider, id) {
            return Located::Unknown(why);
        }
        if let Some((provider, live)) = elsewhere {
            return Located::Elsewhere { provider, live };
        }
        for was in &target.was {
            if let Some(live) = self.snapshot.live(provider, was).filter(|live| self.is_ours(live)) {
                return Located::Formerly { id: was, live };
            }
            let seen: Vec<Seen<'_>> = self.everywhere(was).collect();
            if let Some((provider, _)) = self.ours_elsewhere(&seen, provider) {
                return Located::FormerlyElsewhere { id: was, provider };
            }
            if let Observed::Unknown(why) = self.snapshot.observed(provider, was) {
                return Located::Unknown(Why(format!("it may still live as {was}: {why}")));
            }
        }
        doubt(target, self.owner, self.snapshot, self.memory).map_or(Located::Nowhere, Located::Unknown)
    }

    pub(super) fn is_ours(&self, live: &Live) -> bool {
        live.stamp.as_ref().is_some_and(|stamp| stamp.owner == *self.owner)
    }

    /// Whether something of ours is seen to live under this id, wherever, and is to stay.
    pub(super) fn lives(&self, id: &ResourceId) -> bool {
        self.everywhere(id).any(|(_, live)| self.is_ours(live) && !live.leaves)
    }

    fn ours_elsewhere<'a>(&self, seen: &[Seen<'a>], provider: &ProviderName) -> Option<Seen<'a>> {
        seen.iter().find(|(name, live)| *name != provider && self.is_ours(live)).copied()
    }

    fn everywhere(&self, id: &ResourceId) -> impl Iterator<Item = Seen<'_>> {
        let providers = self.snapshot.providers.keys();
        providers.filter_map(move |name| self.snapshot.live(name, id).map(|live| (name, live)))
    }
}

/// Why what is to be made may live already where nobody can look now, under its id or one it had, if it may. What is seen
/// to live elsewhere is moved from there, and is in no doubt.
pub fn doubt(target: &Resource, owner: &Owner, snapshot: &Snapshot, memory: &Memory) -> Option<Why> {
    let (id, provider) = (&target.id, &target.spec.provider);
    if let Observed::Unknown(why) = snapshot.observed(provider, id) {
        return Some(why);
    }
    let ours = |live: &Live| live.stamp.as_ref().is_some_and(|stamp| stamp.owner == *owner);
    if snapshot.providers.keys().any(|name| snapshot.live(name, id).is_some_and(ours)) {
        return None;
    }
    let former = target.was.iter().find_map(|was| match snapshot.observed(provider, was) {
        Observed::Unknown(why) => Some(Why(format!("it may still live as {was}: {why}"))),
        Observed::Present(_) | Observed::Absent(_) => None,
    });
    former.or_else(|| [id].into_iter().chain(&target.was).find_map(|id| out_of_reach(id, provider, snapshot, memory)))
}

/// Why `id` may live on a provider that does not answer, other than `provider`, if it may.
fn out_of_reach(id: &ResourceId, provider: &ProviderName, snapshot: &Snapshot, memory: &Memory) -> Option<Why> {
    let memory = memory.resources.get(id)?;
    let silent = |name: &ProviderName| match snapshot.observed(name, id) {
        _ if name == provider => None,
        Observed::Unknown(why) => Some(Why(format!("it may still live on provider {name}: {why}"))),
        Observed::Present(_) | Observed::Absent(_) => None,
    };
    let mut known = memory.lived_on().peekable();
    if known.peek().is_some() {
        return known.find_map(silent);
    }
    has_lived(memory).then(|| snapshot.providers.keys().find_map(silent)).flatten()
}

/// Whether a resource of which no place is remembered has been started somewhere, by a daemon that remembered none.
fn has_lived(memory: &ResourceMemory) -> bool {
    memory.released.is_some() || !memory.pins.is_empty()
}
