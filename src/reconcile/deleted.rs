//! What a revision deletes of how alerts are answered goes when nothing that it removes of the same team is held: who would be
//! called about a removal that is held is not taken away by the same commit. What is held of one team, or is not known of it,
//! keeps nothing that is another's; only where everything goes at once, or teams are not kept apart, it keeps all.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use codeops_core::desired::{Compiled, Desired};
use codeops_core::model::{Memory, Observed, ResourceId, ResourceMemory, Revision, TeamName, Verb};
use codeops_core::plan;
use codeops_core::policy::{self, Facts, Hold};

use super::{Flow, acceptance};

/// Of whom that stays which a revision deletes.
enum Stays {
    Everybodys,
    Of(BTreeSet<TeamName>),
}

impl Stays {
    fn covers(&self, team: &TeamName) -> bool {
        match self {
            Stays::Everybodys => true,
            Stays::Of(teams) => teams.contains(team),
        }
    }
}

impl Flow {
    /// Lets what a revision that was just accepted deletes of them go, unless removals of its team are held, or that is not known
    /// yet.
    pub(super) fn let_go_of_answers(&mut self, revision: &Revision, compiled: &mut Compiled) {
        let keeps = |it: &codeops_core::desired::Compiler| it.keeps_deleted_of().next().is_some();
        if !self.world.compiler.as_ref().is_some_and(keeps) {
            return;
        }
        let stays = self.would_stay(revision, &compiled.desired);
        let compiler = self.world.compiler.as_mut();
        compiler.into_iter().for_each(|compiler| compiler.let_go(compiled, |_, team| !stays.covers(team)));
    }

    /// Judges the revision in force again once what it removes of a team is not held any more.
    pub(super) fn notice_what_may_go(&mut self) {
        let Some((compiler, current)) = self.world.compiler.as_ref().zip(self.world.current.as_ref()) else { return };
        if compiler.keeps_deleted_of().next().is_none() {
            return;
        }
        let memory = self.tools.journal.memory();
        let stays = {
            let memory: &Memory = &memory.read().unwrap_or_else(PoisonError::into_inner);
            self.stays(&self.world.holds, &current.desired, memory)
        };
        if compiler.keeps_deleted_of().any(|team| !stays.covers(team)) {
            self.reload();
        }
    }

    fn would_stay(&self, revision: &Revision, desired: &Desired) -> Stays {
        let memory = self.tools.journal.memory();
        let memory: &Memory = &memory.read().unwrap_or_else(PoisonError::into_inner);
        let (desired, _) = acceptance::keep_as_declared(desired.clone(), memory);
        let Some(owner) = acceptance::owner(Some(&desired), memory) else { return Stays::Everybodys };
        let snapshot = &self.world.snapshot;
        let plan = plan::plan(&desired, revision, &owner, snapshot, memory);
        let freeze = self.freeze_from_outside(memory);
        let facts = Facts { now: self.tools.clock.now(), memory, snapshot, revision, freeze: freeze.as_ref() };
        self.stays(&policy::judge(&plan, &desired, &facts).holds, &desired, memory)
    }

    /// Of what is removed by these holds, or may be by what is not known.
    fn stays(&self, holds: &[Hold], desired: &Desired, memory: &Memory) -> Stays {
        let deletes = || holds.iter().flat_map(|hold| &hold.changes).filter(|(verb, _)| *verb == Verb::Delete);
        let declares_nothing = desired.resources.is_empty() && desired.held.is_empty();
        if !desired.keeps_teams_apart() || declares_nothing {
            let everybodys = deletes().next().is_some() || !self.all_is_known();
            return if everybodys { Stays::Everybodys } else { Stays::Of(BTreeSet::new()) };
        }
        let held = deletes().filter_map(|(_, id)| self.stamped_team(id));
        let dropped = memory.resources.iter().filter(|(id, remembered)| {
            let declared = desired.resources.contains_key(*id) || desired.held.contains_key(*id);
            !declared && self.may_live_unseen(id, remembered)
        });
        let unknown = dropped.filter_map(|(id, remembered)| {
            let good = remembered.last_good.as_ref().map(|good| &good.resource);
            let until_now = || self.world.current.as_ref()?.desired.resources.get(id);
            good.or_else(until_now).map(|resource| resource.team.clone())
        });
        Stays::Of(held.chain(unknown).collect())
    }

    fn stamped_team(&self, id: &ResourceId) -> Option<TeamName> {
        let mut lives = self.world.snapshot.objects().filter(|(_, there, _)| *there == id);
        lives.find_map(|(_, _, live)| Some(live.stamp.as_ref()?.team.clone()))
    }

    /// Whether a silent provider may have it: nobody knows then that it is to be removed.
    fn may_live_unseen(&self, id: &ResourceId, remembered: &ResourceMemory) -> bool {
        let snapshot = &self.world.snapshot;
        let mut places = remembered.lived_on().filter(|place| snapshot.providers.contains_key(*place));
        places.any(|place| matches!(snapshot.observed(place, id), Observed::Unknown(_)))
    }

    /// Whether every provider tells what it has: of what lives on a silent one nobody knows that it is to be removed.
    fn all_is_known(&self) -> bool {
        self.world.all_answered() && self.world.snapshot.providers.values().all(Result::is_ok)
    }
}
