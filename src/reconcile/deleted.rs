//! What a revision deletes of how alerts are answered goes when nothing that it removes is held: who would be called about a
//! removal that is held is not taken away by the same commit.

use std::sync::PoisonError;

use codeops_core::desired::{Compiled, Desired};
use codeops_core::model::{Memory, Revision, Verb};
use codeops_core::plan;
use codeops_core::policy::{self, Facts, Hold};

use super::{Flow, acceptance};

impl Flow {
    /// Lets what a revision that was just accepted deletes of them go, unless removals of it are held, or that is not known yet.
    pub(super) fn let_go_of_answers(&mut self, revision: &Revision, compiled: &mut Compiled) {
        let keeps = self.world.compiler.as_ref().is_some_and(|compiler| compiler.keeps_deleted());
        if keeps && !self.removals_would_be_held(revision, &compiled.desired) {
            self.world.compiler.as_mut().into_iter().for_each(|compiler| compiler.let_go(compiled));
        }
    }

    /// Judges the revision in force again once what it removes is not held any more.
    pub(super) fn notice_what_may_go(&mut self) {
        let keeps = self.world.compiler.as_ref().is_some_and(|compiler| compiler.keeps_deleted());
        if keeps && self.all_is_known() && !removes(&self.world.holds) {
            self.reload();
        }
    }

    /// Whether every provider tells what it has: of what lives on a silent one nobody knows that it is to be removed.
    fn all_is_known(&self) -> bool {
        self.world.all_answered() && self.world.snapshot.providers.values().all(Result::is_ok)
    }

    fn removals_would_be_held(&self, revision: &Revision, desired: &Desired) -> bool {
        if !self.all_is_known() {
            return true;
        }
        let memory = self.tools.journal.memory();
        let memory: &Memory = &memory.read().unwrap_or_else(PoisonError::into_inner);
        let (desired, _) = acceptance::keep_as_declared(desired.clone(), memory);
        let Some(owner) = acceptance::owner(Some(&desired), memory) else { return true };
        let snapshot = &self.world.snapshot;
        let plan = plan::plan(&desired, revision, &owner, snapshot, memory);
        let freeze = self.freeze_from_outside(memory);
        let facts = Facts { now: self.tools.clock.now(), memory, snapshot, revision, freeze: freeze.as_ref() };
        removes(&policy::judge(&plan, &desired, &facts).holds)
    }
}

fn removes(holds: &[Hold]) -> bool {
    holds.iter().flat_map(|hold| &hold.changes).any(|(verb, _)| *verb == Verb::Delete)
}
