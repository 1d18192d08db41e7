//! One look at one resource as a pass makes it: at which provider it is to be dealt with now, and what follows there. The
//! daemon and the simulator of tests share it. It decides nothing about whether a step may go.

use std::sync::Arc;

use jiff::Timestamp;

use super::{LEAVES, Next, Situation, has_arrived, next};
use crate::model::{
    Cause, Health, Memory, Observed, Op, Owner, ProviderName, Resource, ResourceId, ResourceMemory, Snapshot, Verb, Why,
};
use crate::plan::{Change, effective, health_as_applied};

/// What every look of one pass rests on.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// Who declares.
    pub owner: &'a Owner,
    /// What was observed.
    pub snapshot: &'a Snapshot,
    /// What is remembered.
    pub memory: &'a Memory,
    /// Why a step is taken where the plan gives no other cause: the revision.
    pub cause: &'a Cause,
    /// Now.
    pub now: Timestamp,
}

/// What the plan says of one resource.
#[derive(Debug, Clone, Copy, Default)]
pub struct Planned<'a> {
    /// Its change, if it has one.
    pub change: Option<&'a Change>,
    /// Why it cannot be told where it lives, if it cannot: then nothing follows, whatever one provider says of it.
    pub unknown: Option<&'a Why>,
}

/// What one look says.
#[derive(Debug, Clone)]
pub struct Look {
    /// Where it is dealt with now.
    pub provider: ProviderName,
    /// What follows there.
    pub next: Next,
}

impl Sight<'_> {
    /// What follows for one resource, at the provider where it is to be dealt with now; `None` for one that is neither
    /// declared nor on its way out.
    pub fn look(&self, id: &ResourceId, declared: Option<&Arc<Resource>>, planned: Planned<'_>) -> Option<Look> {
        let change = planned.change;
        let Some(desired) = declared else {
            return change.map(|change| self.at(id, &change.provider, None, planned));
        };
        let memory = self.memory.resources.get(id);
        let here = self.at(id, &effective(desired, memory).resource().spec.provider, Some(desired), planned);
        let nothing = ResourceMemory::default();
        match change.and_then(|change| change.from_provider.as_ref().filter(|_| change.verb == Verb::Move)) {
            // The old place is emptied only once the new one has proven itself.
            Some(old) if has_arrived(desired, memory.unwrap_or(&nothing), &here.next) => {
                Some(self.left(id, old, &here.provider, planned))
            }
            _ => Some(Look { next: self.where_it_lives(desired, change, here.next), ..here }),
        }
    }

    /// What follows where it no longer is, now that it has proven itself at `there`.
    fn left(&self, id: &ResourceId, old: &ProviderName, there: &ProviderName, planned: Planned<'_>) -> Look {
        let mut look = self.at(id, old, None, planned);
        for step in &mut look.next.steps {
            if let Op::Delete { moved_to, .. } = &mut step.op {
                *moved_to = Some(there.clone());
            }
        }
        if look.next.why.as_deref() == Some(LEAVES) {
            look.next.why = Some(format!("it has moved to {there}, and is being removed from {old}"));
        }
        look
    }

    fn at(
        &self,
        id: &ResourceId,
        provider: &ProviderName,
        desired: Option<&Arc<Resource>>,
        planned: Planned<'_>,
    ) -> Look {
        let nothing = ResourceMemory::default();
        let observed = match planned.unknown {
            Some(why) => Observed::Unknown(why.clone()),
            None => self.snapshot.observed(provider, id),
        };
        let former = planned.change.and_then(|change| change.from_id.as_ref());
        let former = former.and_then(|from| Some((from, self.snapshot.live(provider, from)?)));
        let next = next(&Situation {
            id,
            owner: self.owner,
            provider,
            desired,
            observed: &observed,
            former,
            memory: self.memory.resources.get(id).unwrap_or(&nothing),
            cause: planned.change.map_or(self.cause, |change| &change.cause),
            now: self.now,
        });
        Look { provider: provider.clone(), next }
    }

    /// What moves or is renamed is not missing while its old place still has it, whether it goes on or is held, and not ill
    /// while only the old place keeps from the new one what clients know it by.
    fn where_it_lives(&self, desired: &Resource, change: Option<&Change>, mut next: Next) -> Next {
        let moves = |change: &&Change| matches!(change.verb, Verb::Move | Verb::Rename);
        let Some(change) = change.filter(moves) else { return next };
        let ids = || [&desired.id].into_iter().chain(&desired.was);
        let places = self.snapshot.providers.keys().flat_map(|provider| ids().map(move |id| (provider, id)));
        let other = places.filter(|place| *place != (&change.provider, &desired.id));
        let mut lives = other.filter_map(|(provider, id)| self.snapshot.live(provider, id));
        let Some(live) = lives.find(|live| live.ours(self.owner).is_some()) else { return next };
        if next.health == Health::Missing {
            next.health = health_as_applied(live);
        } else if next.works && next.health == Health::Degraded {
            next.health = Health::Healthy;
        }
        next
    }
}
