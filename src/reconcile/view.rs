//! The board: what the last pass knows, as readers want it. Views that did not change are shared with the board before.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use codeops_core::config::Freeze;
use codeops_core::model::{Live, Memory, ProviderName, Resource, ResourceId, Sync};
use codeops_core::plan::{Difference, apart};

use super::Flow;
use super::world::{Current, Status};
use crate::port::{Board, ResourceView, RevisionView};

impl Flow {
    /// Publishes the board as of now.
    pub(super) fn publish(&mut self) {
        self.world.views = self.views();
        let world = &self.world;
        let current = world.current.as_ref();
        let providers = world.providers.iter().map(|(name, watched)| (name.clone(), watched.view.clone()));
        self.publisher.publish(Board {
            owner: self.owner().map(|owner| owner.to_string()),
            ready: world.passed_once,
            broken: world.broken.clone().or_else(|| self.tools.journal.poisoned()),
            observe_only: world.observe_only.clone(),
            source: world.source.clone(),
            revision: current.map(Current::view),
            // All of it is as old as the provider that has not answered for longest.
            fresh_at: world.providers.values().map(|watched| watched.view.answered_at).min().flatten(),
            pass_micros: world.pass_micros,
            providers: providers.collect(),
            resources: world.views.clone(),
            holds: world.holds.clone(),
            diagnostics: current.map(|current| current.diagnostics.clone()).unwrap_or_default(),
            freeze: self.freeze(),
            desired: world.stands().map(Arc::clone),
            snapshot: Arc::clone(&world.snapshot),
        });
    }

    /// The freeze in force, in one sentence.
    fn freeze(&self) -> Option<String> {
        let declared = self.world.current.as_ref().and_then(|current| current.desired.repository.freeze.as_ref());
        let memory = self.tools.journal.memory();
        let outside = self.freeze_from_outside(&memory.read().unwrap_or_else(PoisonError::into_inner));
        Freeze::in_force(outside.iter().chain(declared), self.tools.clock.now()).map(ToString::to_string)
    }

    fn views(&self) -> BTreeMap<ResourceId, Arc<ResourceView>> {
        let Some(current) = &self.world.current else { return BTreeMap::new() };
        let memory = self.tools.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        let used_by = used_by(current);
        let view = |(id, status): (&ResourceId, &Status)| {
            let view = self.view(current, &memory, &used_by, id, status)?;
            let before = self.world.views.get(id).filter(|before| ***before == view);
            Some((id.clone(), before.map_or_else(|| Arc::new(view), Arc::clone)))
        };
        self.world.status.iter().filter_map(view).collect()
    }

    fn view(
        &self,
        current: &Current,
        memory: &Memory,
        used_by: &BTreeMap<&ResourceId, Vec<ResourceId>>,
        id: &ResourceId,
        status: &Status,
    ) -> Option<ResourceView> {
        let desired = current.desired.resources.get(id);
        let remembered = memory.resources.get(id);
        let provider = desired.map(|desired| desired.spec.provider.clone()).or_else(|| self.place_of(id))?;
        // What has not come to its new place is still where it was.
        let live = self.world.snapshot.live(&provider, id).or_else(|| {
            let elsewhere = self.world.snapshot.objects().find(|(_, of, live)| *of == id && live.stamp.is_some());
            elsewhere.map(|(_, _, live)| live).filter(|_| desired.is_some())
        });
        let owner = memory.revision.owner.as_ref();
        let stamped =
            live.and_then(|live| live.stamp.as_ref()).filter(|stamp| owner.is_none_or(|it| stamp.owner == *it));
        let before = self.world.views.get(id).and_then(|view| view.live.as_ref());
        // An unchanged live object is shared with the view before: most are, on most passes.
        let live_shared = live.map(|live| match before {
            Some(before) if **before == *live => Arc::clone(before),
            _ => Arc::new(live.clone()),
        });
        Some(ResourceView {
            id: id.clone(),
            // What lives is whose it was made for until another has taken it over: what it says may hold that team's secrets.
            team: stamped
                .map(|stamp| stamp.team.clone())
                .or_else(|| desired.map(|desired| desired.team.clone()))
                .or_else(|| current.desired.held_teams.get(id).cloned()),
            provider,
            sync: status.sync,
            health: status.health,
            why: status.why.clone(),
            since: status.since,
            revision: Some(current.revision.clone()),
            digest: desired.map(|desired| desired.spec_digest.clone()),
            desired: desired.cloned(),
            live: live_shared,
            differences: self.differences(id, status.sync, desired.zip(live)),
            depends_on: desired.map(|desired| depends_on(desired)).unwrap_or_default(),
            used_by: used_by.get(id).cloned().unwrap_or_default(),
            last_good: remembered.and_then(|remembered| remembered.last_good.clone()),
            pins: remembered.map(|remembered| remembered.pins.clone()).unwrap_or_default(),
            next_at: status.next_at,
            stuck: status.sync != Sync::Synced && self.world.stuck.contains(id),
        })
    }

    /// What is to be changed; of what is kept from it also how far it is from what is declared.
    fn differences(&self, id: &ResourceId, sync: Sync, both: Option<(&Arc<Resource>, &Live)>) -> Vec<Difference> {
        let planned = self.world.differences.get(id).cloned().unwrap_or_default();
        match both.filter(|_| planned.is_empty() && sync == Sync::Held) {
            Some((desired, live)) => apart(desired, live),
            None => planned,
        }
    }

    /// The provider on which an undeclared resource lives.
    fn place_of(&self, id: &ResourceId) -> Option<ProviderName> {
        let holds = |provider: &&ProviderName| self.world.snapshot.live(provider, id).is_some();
        self.world.providers.keys().find(holds).or_else(|| self.world.providers.keys().next()).cloned()
    }
}

impl Current {
    fn view(&self) -> RevisionView {
        RevisionView {
            id: self.revision.clone(),
            subject: self.subject.clone(),
            author: self.author.clone(),
            teams: self.teams.clone(),
            state: self.state,
            accepted_at: self.accepted_at,
        }
    }
}

fn depends_on(resource: &Resource) -> Vec<ResourceId> {
    resource.spec.after.clone()
}

fn used_by(current: &Current) -> BTreeMap<&ResourceId, Vec<ResourceId>> {
    let mut users: BTreeMap<&ResourceId, Vec<ResourceId>> = BTreeMap::new();
    for (id, resource) in &current.desired.resources {
        for target in &resource.spec.after {
            users.entry(target).or_default().push(id.clone());
        }
    }
    users
}
