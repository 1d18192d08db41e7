//! On which ports a resource may live beside the one that it has by right: they stay its own until it has arrived at that.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Next, Sight, has_arrived};
use crate::model::{Claims, Resource, ResourceId, StablePort, Sync};

impl Sight<'_> {
    /// Those ports, where they are other than remembered. It has arrived once all is as declared and has baked; until then it may
    /// come back to where it was, and what keeps it from moving may be over at any time.
    pub fn ports(
        &self,
        id: &ResourceId,
        declared: Option<&Arc<Resource>>,
        next: Option<&Next>,
    ) -> Option<BTreeSet<StablePort>> {
        let known = self.memory.resources.get(id)?;
        let own = known.claims.port.as_ref();
        let is_there = |declared, next: &Next| next.sync == Sync::Synced && has_arrived(declared, known, next);
        let arrived = declared.zip(next).is_some_and(|(declared, next)| {
            is_there(declared, next) && Claims::of(declared, false).port.as_ref() == own
        });
        let seen = self.snapshot.providers.keys().filter_map(|provider| {
            let live = self.snapshot.live(provider, id)?;
            let is_ours = live.stamp.as_ref().is_some_and(|stamp| stamp.owner == *self.owner);
            let (_, address, number) = live.spec.as_ref().filter(|_| is_ours)?.stable_port()?;
            Some((provider.clone(), address, number))
        });
        let kept = known.ports.iter().filter(|_| !arrived).cloned();
        let ports: BTreeSet<_> = kept.chain(seen).filter(|port| Some(port) != own).collect();
        (ports != known.ports).then_some(ports)
    }
}
