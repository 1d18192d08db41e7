//! Whom policies and those on call in turn tell, whom routes and the steps of playbooks page, and what playbooks call. What stays
//! in force as it was, for a mistake or until something is let go, names others by names alone: it tells and calls nobody who has
//! come to be called so and is not to be.

use std::sync::Arc;

use crate::model::{Does, Name, Notified, Route, TeamName};

use super::calls;
use super::in_force::{InForce, Key};
use crate::desired::Context;
use crate::desired::kinds::header::ManifestKind;
use crate::desired::kinds::response::Declares;
use crate::desired::teams::rights;

fn key(notified: &Notified) -> Key {
    match notified {
        Notified::Receiver(name) => receiver(name),
        Notified::OnCall(name) => (ManifestKind::OnCall, name.clone()),
    }
}

fn receiver(name: &Name) -> Key {
    (ManifestKind::Receiver, name.clone())
}

/// Whom a policy names, or who is on call in turn.
pub(crate) fn tells(declares: &Declares) -> Vec<Key> {
    match declares {
        Declares::Policy(policy) => policy.spec.levels.iter().flat_map(|level| level.notify.iter().map(key)).collect(),
        Declares::OnCall(on_call) => {
            let taken_over = on_call.spec.overrides.iter().map(|it| &it.member);
            on_call.spec.members.iter().chain(taken_over).map(receiver).collect()
        }
        _ => Vec::new(),
    }
}

/// A playbook that this one calls, and whose it is, where that team may not act for this one's.
pub(crate) fn mistrusted<'n>(
    declares: &'n Declares,
    now: &'n InForce,
    context: &Context,
) -> Option<(&'n Name, &'n TeamName)> {
    let Declares::Playbook(playbook) = declares else { return None };
    calls::called(playbook).find_map(|name| {
        let (called, _) = now.get(&(ManifestKind::Playbook, name.clone()))?;
        (!rights::may_act_for(called.team(), &playbook.team, context)).then(|| (name, called.team()))
    })
}

/// What is in force `now`, without those whom it may not tell.
pub(crate) fn within_reach(declares: &Declares, now: &InForce, context: &Context) -> Declares {
    let own = declares.team();
    let is_reached = |key: &Key| {
        let theirs = now.get(key).map(|(there, _)| there.team());
        theirs.is_none_or(|theirs: &TeamName| {
            rights::reaches(own, theirs, context)
                || (key.0 == ManifestKind::EscalationPolicy && rights::may_claim(theirs, rights::TOP, context))
        })
    };
    let may_page = |name: &Name| is_reached(&(ManifestKind::EscalationPolicy, name.clone()));
    let mut declares = declares.clone();
    let reaches_all = match &declares {
        Declares::Route(_) => false,
        Declares::Playbook(playbook) => calls::paged(playbook).all(may_page),
        _ => tells(&declares).iter().all(is_reached),
    };
    if reaches_all {
        return declares;
    }
    match &mut declares {
        Declares::Policy(policy) => {
            let levels = &mut Arc::make_mut(policy).spec.levels;
            levels.iter_mut().for_each(|level| level.notify.retain(|notified| is_reached(&key(notified))));
        }
        Declares::OnCall(on_call) => {
            let spec = &mut Arc::make_mut(on_call).spec;
            spec.overrides.retain(|it| is_reached(&receiver(&it.member)));
            spec.members.retain(|member| is_reached(&receiver(member)));
        }
        Declares::Route(route) if !rights::may_claim(&route.team, rights::TOP, context) => {
            clear(&mut Arc::make_mut(route).spec.route, &may_page);
        }
        // What pages nobody in particular pages whom the alert's route names, or its team.
        Declares::Playbook(playbook) => {
            let playbook = Arc::make_mut(playbook);
            for step in playbook.steps.iter_mut().chain(playbook.otherwise.iter_mut().flatten()) {
                if let Does::Page { policy } = &mut step.does {
                    *policy = policy.take().filter(may_page);
                }
            }
        }
        _ => {}
    }
    declares
}

/// Leaves out the policies of a tree that are out of reach: what a node leaves out it takes from its parent.
fn clear(route: &mut Route, is_reached: &impl Fn(&Name) -> bool) {
    route.policy = route.policy.take().filter(|name| is_reached(name));
    route.routes.iter_mut().for_each(|child| clear(child, is_reached));
}
