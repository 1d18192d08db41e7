//! Desired, live and remembered read side by side in the order of their ids: each is found by going on from the one before,
//! without looking anything up. It decides nothing.

use std::collections::btree_map::Iter;
use std::iter::Peekable;

use crate::model::{Live, Memory, ProviderName, ResourceId, ResourceMemory, Snapshot};

/// An object and the provider it lives on.
pub(super) type Seen<'a> = (&'a ProviderName, &'a Live);

/// What is known of one id.
#[derive(Default)]
pub(super) struct Known<'a> {
    pub memory: Option<&'a ResourceMemory>,
    /// The objects of this id, in the order of the providers.
    pub seen: Vec<Seen<'a>>,
}

/// All that lives and is remembered, from some id on.
pub(super) struct Beside<'a> {
    memories: Peekable<Iter<'a, ResourceId, ResourceMemory>>,
    lives: Vec<(&'a ProviderName, Peekable<Iter<'a, ResourceId, Live>>)>,
    /// What lives under ids that nobody asked for.
    passed: Vec<(&'a ResourceId, Seen<'a>)>,
}

impl<'a> Beside<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, memory: &'a Memory) -> Self {
        let listings = snapshot.providers.iter().filter_map(|(name, listing)| Some((name, listing.as_ref().ok()?)));
        Self {
            memories: memory.resources.iter().peekable(),
            lives: listings.map(|(name, listing)| (name, listing.objects.iter().peekable())).collect(),
            passed: Vec::new(),
        }
    }

    /// Brings `known` to what is known of `id`, which must come after all that were asked for.
    pub(super) fn at(&mut self, id: &ResourceId, known: &mut Known<'a>) {
        while self.memories.next_if(|(other, _)| *other < id).is_some() {}
        known.memory = self.memories.next_if(|(other, _)| *other == id).map(|(_, memory)| memory);
        known.seen.clear();
        for (provider, lives) in &mut self.lives {
            while let Some((other, live)) = lives.next_if(|(other, _)| *other < id) {
                self.passed.push((other, (provider, live)));
            }
            known.seen.extend(lives.next_if(|(other, _)| *other == id).map(|(_, live)| (*provider, live)));
        }
    }

    /// What lives under ids that were not asked for; of one id in the order of the providers.
    pub(super) fn rest(mut self) -> Vec<(&'a ResourceId, Seen<'a>)> {
        for (provider, lives) in self.lives {
            self.passed.extend(lives.map(|(id, live)| (id, (provider, live))));
        }
        self.passed
    }
}
