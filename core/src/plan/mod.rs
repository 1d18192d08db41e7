//! Desired against observed: what would change, field by field. Pure; decides nothing about whether it may.

mod beside;
mod compare;
mod difference;
mod effective;
mod gone;
mod locate;
mod order;
#[cfg(test)]
pub(crate) mod sim;
mod standing;
mod takeover;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::desired::{Desired, GONE};
use crate::model::{
    Cause, Live, Memory, Owner, Place, ProviderName, Resource, ResourceId, Revision, Snapshot, TeamName, Verb, Why,
};

use beside::{Beside, Known, Seen};

pub use compare::{apart, may_adopt};
pub use effective::{Effective, effective, pin_of};
pub use gone::{UnderWay, gone};
pub use locate::doubt;
pub use standing::{
    Standing, has_moved, health_as_applied, health_of, is_failing, is_good, is_healthy, is_proven, is_serving,
    is_tried, serving,
};

/// What would change.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Plan {
    /// Changes in the order they go: dependencies first, deletes last and in reverse.
    pub changes: Vec<Change>,
    /// Resources that are what they should be.
    pub unchanged: Vec<ResourceId>,
    /// Resources of which nothing is known, and why; nothing is done to them.
    pub unknown: Vec<(ResourceId, Why)>,
    /// Resources that do not get what is declared until a commit, each with why and the way out: a template that failed, a
    /// manifest that cannot be resolved, a delete that this revision must not make. One of them may stand in `changes`
    /// too, on its way back to its last good template, or in `unchanged`.
    pub kept: BTreeMap<ResourceId, String>,
}

/// One resource's change.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// The resource.
    pub id: ResourceId,
    /// Who owns it.
    pub team: Option<TeamName>,
    /// Where it happens.
    pub provider: ProviderName,
    /// For [`Verb::Move`]: the provider that holds it now. For [`Verb::Rename`]: none.
    pub from_provider: Option<ProviderName>,
    /// For [`Verb::Rename`]: the id it had.
    pub from_id: Option<ResourceId>,
    /// What is done.
    pub verb: Verb,
    /// Field by field.
    pub differences: Vec<Difference>,
    /// Why.
    pub cause: Cause,
    /// What is declared; `None` for a delete. What runs instead while its template is pinned, [`effective`] says.
    pub desired: Option<Arc<Resource>>,
    /// Resources that must be healthy first; for a delete, those that must be gone first.
    pub after: Vec<ResourceId>,
    /// Where its manifest stands.
    pub place: Option<Place>,
    /// Why it cannot go without a commit, found while planning: not ours, owner unknown, manifest broken.
    pub held: Option<String>,
    /// Whether it is under way: what is stamped is what it should be, and only instances are still to follow.
    pub begun: bool,
}

/// One field's difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Dotted path, such as `run.command[2]`.
    pub field: String,
    /// What is there; `None` when nothing is.
    pub from: Option<Value>,
    /// What should be; `None` when nothing should.
    pub to: Option<Value>,
}

/// Compares one revision with what was observed.
pub fn plan(desired: &Desired, revision: &Revision, owner: &Owner, snapshot: &Snapshot, memory: &Memory) -> Plan {
    let look = Look { desired, revision, owner, snapshot, memory };
    let mut plan = Plan { kept: desired.held.clone(), ..Plan::default() };
    let (mut beside, mut known) = (Beside::new(snapshot, memory), Known::default());
    for (id, declared) in &desired.resources {
        beside.at(id, &mut known);
        if !desired.held.contains_key(id) {
            look.at(declared, &known, &mut plan);
        }
    }
    look.deletes(beside.rest(), &mut plan);
    plan.changes = order::order(plan.changes);
    plan
}

/// Everything a plan is made from.
struct Look<'a> {
    desired: &'a Desired,
    revision: &'a Revision,
    owner: &'a Owner,
    snapshot: &'a Snapshot,
    memory: &'a Memory,
}

impl Look<'_> {
    /// Ours, declared by nobody and covered by nothing else: deleted.
    fn deletes(&self, undeclared: Vec<(&ResourceId, Seen<'_>)>, plan: &mut Plan) {
        if undeclared.is_empty() {
            return;
        }
        let renamed = self.desired.renamed();
        // Whoever may not have what lives says nothing of it by having been called so.
        let heirs = |id: &ResourceId, live: &Live| {
            let theirs = self.owning_team(live).cloned();
            let may = move |to: &&&Arc<Resource>| {
                theirs.as_ref().is_none_or(|theirs| self.desired.may_take(&to.team, theirs))
            };
            renamed.get(id).into_iter().flatten().filter(may).map(|to| &to.id)
        };
        // What is to have another name is kept for that, unless something bears it already.
        let is_kept = |id, live| heirs(id, live).any(|to| !self.lives(to));
        let mut doomed = BTreeMap::new();
        for (id, seen) in undeclared {
            if self.is_ours(seen.1) && !self.desired.held.contains_key(id) && !is_kept(id, seen.1) {
                doomed.entry(id).or_insert(seen);
            }
        }
        let mut users: BTreeMap<&ResourceId, Vec<ResourceId>> = BTreeMap::new();
        for (user, (_, live)) in &doomed {
            for id in live.spec.iter().flat_map(|spec| &spec.after) {
                users.entry(id).or_default().push((*user).clone());
            }
        }
        for (id, (provider, live)) in &doomed {
            let team = live.stamp.as_ref().map(|stamp| &stamp.team);
            if let Some(why) = team.and_then(|team| self.desired.undeletable.why(team)) {
                plan.kept.insert((*id).clone(), format!("{GONE}: {why}"));
                continue;
            }
            plan.changes.push(Change {
                id: (*id).clone(),
                team: live.stamp.as_ref().map(|stamp| stamp.team.clone()),
                provider: (*provider).clone(),
                from_provider: None,
                from_id: None,
                verb: Verb::Delete,
                differences: Vec::new(),
                cause: Cause::Revision { revision: self.revision.clone() },
                desired: None,
                after: users.get(id).cloned().unwrap_or_default(),
                place: None,
                // Which of the two has what is to be kept, only a person can tell.
                held: heirs(id, live).next().map(|to| {
                    format!("{to} was to be what {id} is, and both live: take {id} out of its `was` to have it removed")
                }),
                begun: false,
            });
        }
    }
}
