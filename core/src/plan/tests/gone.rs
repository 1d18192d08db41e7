//! What is remembered outlives a rename, in whatever order its steps and what is seen of them come.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_oneof, proptest};

use super::*;
use crate::model::{LastGood, Listing, Memory, ResourceId, ResourceMemory, Scope, Snapshot, SystemId};
use crate::plan::{UnderWay, gone};

/// What one provider has told, and what is true.
struct Rename {
    lives_as: ResourceId,
    begun: bool,
    snapshot: Snapshot,
    memory: Memory,
}

#[derive(Debug, Clone)]
enum Event {
    /// The rename goes on: its intent is durable, then it has its effect, then its result is durable.
    GoesOn,
    /// These names are looked at, or all.
    Seen(bool, bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![2 => Just(Event::GoesOn), 3 => (any::<bool>(), any::<bool>()).prop_map(|(a, b)| Event::Seen(a, b))]
}

impl Rename {
    fn new() -> Self {
        let listing = Listing {
            system: SystemId("local-1".to_owned()),
            at: jiff::Timestamp::UNIX_EPOCH,
            scope: Scope::All,
            epoch: 0,
            objects: BTreeMap::new(),
            unknown: BTreeMap::new(),
        };
        let good = LastGood { resource: plain("shop"), revision: None, at: jiff::Timestamp::UNIX_EPOCH };
        let remembered = ResourceMemory { last_good: Some(good), ..ResourceMemory::default() };
        let mut memory = Memory::default();
        memory.resources.insert(app("shop"), remembered);
        let snapshot = Snapshot { providers: [(name("local"), Ok(listing))].into() };
        let mut rename = Self { lives_as: app("shop"), begun: false, snapshot, memory };
        rename.see(Scope::All);
        rename
    }

    fn see(&mut self, scope: Scope) {
        let live = Some((self.lives_as.clone(), empty(None, plain("shop").spec.clone())));
        let objects = live.into_iter().filter(|(id, _)| scope.covers(id)).collect();
        let known = self.snapshot.providers.remove(&name("local")).unwrap().unwrap();
        let newer = Listing { scope, objects, ..known.clone() };
        self.snapshot.providers.insert(name("local"), Ok(known.merged(newer)));
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Seen(old, new) => {
                let ids = [(old, app("shop")), (new, app("store"))].into_iter().filter(|(is, _)| **is);
                let ids: std::collections::BTreeSet<_> = ids.map(|(_, id)| id).collect();
                self.see(if ids.is_empty() { Scope::All } else { Scope::Ids(ids) });
            }
            Event::GoesOn if !self.begun => self.begun = true,
            Event::GoesOn if self.lives_as == app("shop") => self.lives_as = app("store"),
            Event::GoesOn => {
                if let Some(moved) = self.memory.resources.remove(&app("shop")) {
                    self.memory.resources.insert(app("store"), moved);
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        !self.memory.resources.contains_key(&app("shop"))
    }

    fn forget(&mut self, desired: &Desired) -> Vec<ResourceId> {
        let under_way = (self.begun && !self.is_done()).then(|| (app("shop"), app("store")));
        let gone = gone(desired, &self.snapshot, &self.memory, &UnderWay::new(under_way));
        gone.into_iter().cloned().collect()
    }
}

/// `id` as the new name of `was`.
fn renamed(id: &str, was: &[&str]) -> Desired {
    let mut renamed = Resource::clone(&plain(id));
    renamed.was = was.iter().map(|was| app(was)).collect();
    desired([digested(renamed)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_forgotten_that_a_rename_may_still_hand_on(
        events in prop::collection::vec(event(), 1..16),
        overtaken in 0..16_usize,
        by in 0..3_usize,
    ) {
        let newer = [renamed("third", &["store"]), renamed("shop", &[]), desired([])];
        let mut rename = Rename::new();
        for (n, event) in events.iter().enumerate() {
            rename.happen(event);
            let is_done = rename.is_done();
            // A newer commit may say otherwise while the step is under way.
            let is_overtaken = n >= overtaken && rename.begun;
            let says = if is_overtaken { &newer[by] } else { &renamed("store", &["shop"]) };
            let forgotten = rename.forget(says);
            prop_assert!(is_done || forgotten.is_empty(), "{forgotten:?} after {:?}", &events[..=n]);
            prop_assert!(is_overtaken || forgotten.is_empty(), "{forgotten:?} after {:?}", &events[..=n]);
        }
    }
}

#[test]
fn an_old_id_is_forgotten_once_the_new_one_lives_without_it() {
    let mut rename = Rename::new();
    rename.lives_as = app("other");
    rename.see(Scope::All);
    let says = renamed("store", &["shop"]);
    assert!(rename.forget(&says).is_empty(), "what is made anew may be its heir");
    rename.lives_as = app("store");
    rename.see(Scope::All);
    assert_eq!(rename.forget(&says), [app("shop")]);
    assert_eq!(rename.forget(&desired([])), [app("shop")], "and at once where nobody is to have its place");
}
