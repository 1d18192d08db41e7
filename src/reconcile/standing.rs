//! What stands: all that the revision in force declares, as it was before what of that waits its turn or is held, and as it was
//! declared what is on its way out and not let go. Whoever answers alerts goes by that, and what it comes to is carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeops_core::desired::Desired;
use codeops_core::model::{Claims, Owner, Resource, ResourceId};
use codeops_core::plan::{self, Change, Plan};
use codeops_core::policy::{self, Decision, Facts, Judged};

use super::world::World;

/// See the module.
#[derive(Clone)]
pub(super) struct Standing {
    /// What the revision declares.
    base: Arc<Desired>,
    leaving: BTreeMap<ResourceId, Arc<Resource>>,
    /// What waits, as it was before.
    before: BTreeMap<ResourceId, Arc<Resource>>,
    /// With both.
    pub(super) desired: Arc<Desired>,
}

/// What is to be done about what does not stand as it is declared.
pub(super) struct Upkeep {
    pub(super) standing: Standing,
    plan: Plan,
    judged: Judged,
}

/// One of those, with what is to be done about it.
pub(super) struct Kept<'a> {
    pub(super) declared: &'a Arc<Resource>,
    pub(super) change: Option<&'a Change>,
    pub(super) decision: Option<&'a Decision>,
}

impl World {
    /// What stands by this plan, if that is more than what is declared.
    pub(super) fn upkeep(
        &self,
        base: &Arc<Desired>,
        owner: &Owner,
        plan: &Plan,
        judged: &Judged,
        facts: &Facts<'_>,
    ) -> Option<Upkeep> {
        let leaving = policy::leaving(plan, judged, base, facts);
        let before = policy::as_before(plan, judged, base, facts);
        if leaving.is_empty() && before.is_empty() {
            return None;
        }
        let same = |known: &&Standing| {
            Arc::ptr_eq(&known.base, base) && (&known.leaving, &known.before) == (&leaving, &before)
        };
        let standing = self.standing.as_ref().filter(same).cloned().unwrap_or_else(|| {
            let mut desired = Desired::clone(base);
            let others = leaving.iter().chain(&before);
            desired.resources.extend(others.map(|(id, resource)| (id.clone(), Arc::clone(resource))));
            Standing { base: Arc::clone(base), leaving, before, desired: Arc::new(desired) }
        });
        let plan = plan::plan(&standing.desired, facts.revision, owner, facts.snapshot, facts.memory);
        let judged = policy::judge(&plan, &standing.desired, facts);
        Some(Upkeep { standing, plan, judged })
    }

    /// What is declared, with what stands otherwise.
    pub(super) fn stands(&self) -> Option<&Arc<Desired>> {
        let declared = &self.current.as_ref()?.desired;
        let standing = self.standing.as_ref().filter(|standing| Arc::ptr_eq(&standing.base, declared));
        Some(standing.map_or(declared, |standing| &standing.desired))
    }
}

impl Upkeep {
    pub(super) fn of<'a>(&'a self, id: &ResourceId) -> Option<Kept<'a>> {
        let standing = &self.standing;
        let declared = standing.leaving.get(id).or_else(|| standing.before.get(id))?;
        let change = self.plan.changes.iter().find(|change| change.id == *id);
        Some(Kept { declared, change, decision: self.judged.decisions.get(id) })
    }

    /// Why a declared one does not get its port, where one that is on its way out has it; with what to do.
    pub(super) fn port_is_taken(&self, wants: &Resource, judged: &Judged) -> Option<String> {
        let port = Claims::of(wants, false).port?;
        let has = |(_, it): &(&ResourceId, &Arc<Resource>)| Claims::of(it, false).port.as_ref() == Some(&port);
        let (id, _) = self.standing.leaving.iter().find(has).filter(|(id, _)| **id != wants.id)?;
        let release = match judged.decisions.get(id)? {
            Decision::Held { hold: Some(hold), .. } => format!("let it go with `Codeops-Allow: {hold}`"),
            _ => "let it go".to_owned(),
        };
        let name = &id.name;
        Some(format!(
            "port {} is still that of {id}, whose removal is held: {release}, or, if this is what {id} was, say `was: [{name}]`",
            port.2
        ))
    }
}
