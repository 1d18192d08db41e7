//! Who refers by its name to something of how alerts are answered. It decides nothing about what comes of that.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::TeamSpec;
use crate::model::{Name, Route, TeamName};

use super::calls;
use super::in_force::{Candidate, InForce};
use super::telling::tells;
use crate::desired::Context;
use crate::desired::files::file::Body;
use crate::desired::files::groups::{Bases, Key};
use crate::desired::kinds::header::ManifestKind;
use crate::desired::kinds::response::{Declares, Refers};
use crate::desired::teams::rights::whose;

/// Who does: teams, and with `None` whoever writes for nobody in particular, as the settings. Of one name at most two are
/// kept, which is enough to tell whether anybody else than one does.
#[derive(Debug, Default)]
pub(crate) struct Referred(BTreeMap<(ManifestKind, Name), Vec<Option<TeamName>>>);

impl Referred {
    /// By what is declared, before it is known what of it counts, and what was in force.
    pub(crate) fn by_all(bases: &Bases<'_>, in_force: &InForce, context: &Context) -> Self {
        let mut referred = Self::of_force(in_force, context);
        for (_, found) in &bases.0 {
            let document = found.document();
            match &document.body {
                Body::Response(manifest) => {
                    let team = manifest.team.as_ref().map(|team| &team.value);
                    let team = team.or_else(|| whose(&found.file.source.path, context));
                    manifest.names.iter().filter_map(|at| named(&at.value)).for_each(|key| referred.note(key, team));
                }
                Body::Team(team, _) => {
                    let policy = team.escalation.iter().map(|name| (ManifestKind::EscalationPolicy, name));
                    policy.for_each(|key| referred.note(key, Some(&document.header.name.value)));
                }
                _ => {}
            }
        }
        referred
    }

    /// By what is in force, and what may come into force.
    pub(crate) fn by_what_counts(
        candidates: &[Candidate],
        teams: &BTreeMap<TeamName, Arc<TeamSpec>>,
        in_force: &InForce,
        context: &Context,
    ) -> Self {
        let mut referred = Self::of_force(in_force, context);
        for (name, team) in teams {
            let policy = team.escalation.iter().map(|policy| (ManifestKind::EscalationPolicy, policy));
            policy.for_each(|key| referred.note(key, Some(name)));
        }
        for manifest in candidates.iter().map(|candidate| &candidate.manifest) {
            let team = manifest.team.as_ref().map(|team| &team.value);
            manifest.names.iter().filter_map(|at| named(&at.value)).for_each(|key| referred.note(key, team));
        }
        referred
    }

    fn of_force(in_force: &InForce, context: &Context) -> Self {
        let mut referred = Self::default();
        let fallback = context.fallback.iter().map(|name| (ManifestKind::EscalationPolicy, name));
        fallback.for_each(|key| referred.note(key, None));
        for (declares, _) in in_force.values() {
            let team = Some(declares.team());
            tells(declares).iter().for_each(|(kind, name)| referred.note((*kind, name), team));
            each(declares, &mut |key| referred.note(key, team));
        }
        referred
    }

    fn note(&mut self, (kind, name): Key<'_>, by: Option<&TeamName>) {
        let all = self.0.entry((kind, name.clone())).or_default();
        if all.len() < 2 && !all.iter().any(|known| known.as_ref() == by) {
            all.push(by.cloned());
        }
    }

    /// Whether anybody but this team does.
    pub(crate) fn by_others(&self, (kind, name): Key<'_>, team: &TeamName) -> bool {
        self.0.get(&(kind, name.clone())).is_some_and(|all| all.iter().any(|by| by.as_ref() != Some(team)))
    }

    /// All that somebody refers to.
    pub(crate) fn names(&self) -> impl Iterator<Item = &(ManifestKind, Name)> {
        self.0.keys()
    }
}

/// What a manifest names, where that is a manifest as well.
fn named(refers: &Refers) -> Option<Key<'_>> {
    match refers {
        Refers::Policy(name) => Some((ManifestKind::EscalationPolicy, name)),
        Refers::Receiver(name) => Some((ManifestKind::Receiver, name)),
        Refers::OnCall(name) => Some((ManifestKind::OnCall, name)),
        Refers::Playbook(name) => Some((ManifestKind::Playbook, name)),
        _ => None,
    }
}

/// What something in force names, but for whom it [`tells`].
fn each<'d>(declares: &'d Declares, note: &mut impl FnMut(Key<'d>)) {
    match declares {
        Declares::Playbook(playbook) => {
            calls::paged(playbook).for_each(|name| note((ManifestKind::EscalationPolicy, name)));
            calls::called(playbook).for_each(|name| note((ManifestKind::Playbook, name)));
        }
        Declares::Route(route) => in_tree(&route.spec.route, note),
        Declares::Team(_, team) => {
            team.escalation.iter().for_each(|name| note((ManifestKind::EscalationPolicy, name)));
        }
        _ => {}
    }
}

fn in_tree<'d>(route: &'d Route, note: &mut impl FnMut(Key<'d>)) {
    route.policy.iter().for_each(|name| note((ManifestKind::EscalationPolicy, name)));
    route.playbook.iter().for_each(|name| note((ManifestKind::Playbook, name)));
    route.routes.iter().for_each(|child| in_tree(child, note));
}
