//! Whether every alert reaches somebody: one tree that takes all, somebody at its top, and more than one way to a person.

use std::collections::BTreeSet;

use crate::model::{EscalationPolicySpec, Route, Trigger};

use super::diagnostic::{Diagnostic, Severity};
use super::header::ManifestKind;
use super::in_force::{Candidate, InForce};
use super::named::Named;
use super::resolve::Resolved;
use super::response::Declares;

/// Checks routes and policies.
pub(super) fn check(candidates: &mut [Candidate], named: &Named<'_>, before: &InForce, found: &mut Vec<Diagnostic>) {
    roots(candidates, named, before, found);
    fallback(candidates, named, found);
    for candidate in &*candidates {
        let name = &candidate.key.1;
        let (message, help) = match &candidate.manifest.declares {
            Some(Declares::Policy(policy)) if channels(&policy.spec) == 1 => (
                format!("the escalation policy `{name}` has one channel: where it fails, nobody is told"),
                "add another receiver, best by another company",
            ),
            Some(Declares::Route(route)) if is_nobodys(&route.spec.route) && !named.has_fallback() => (
                format!("an alert that comes to the top of `{name}` reaches nobody unless a playbook is on it"),
                "give its `route` a `policy`, or the daemon's settings a `fallback`",
            ),
            _ => continue,
        };
        candidate.warning(found, (candidate.name, message, Some(help.to_owned())));
    }
}

fn is_tree_of_all(declares: &Declares) -> bool {
    matches!(declares, Declares::Route(route) if route.spec.route.matchers.is_empty())
}

fn is_nobodys(route: &Route) -> bool {
    route.policy.is_none() && route.playbook.is_none()
}

/// The policy of the settings' `fallback` is there.
fn fallback(candidates: &[Candidate], named: &Named<'_>, found: &mut Vec<Diagnostic>) {
    let kind = ManifestKind::EscalationPolicy;
    let Some(name) = named.fallback().filter(|name| !named.has(kind, name) && !named.is_uncertain()) else { return };
    let routes = candidates.iter().find(|one| one.key.0 == ManifestKind::AlertRoute);
    if let Some(first) = routes.or(candidates.first()) {
        let help = match named.near(kind, name) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "declare it with a manifest of kind EscalationPolicy".to_owned(),
        };
        let message = format!("there is no EscalationPolicy `{name}`, the `fallback` of the daemon's settings");
        first.warning(found, (first.name, message, Some(help)));
    }
}

/// Exactly one tree takes what no other does.
fn roots(candidates: &mut [Candidate], named: &Named<'_>, before: &InForce, found: &mut Vec<Diagnostic>) {
    let is_root = |candidate: &Candidate| candidate.manifest.declares.as_ref().is_some_and(is_tree_of_all);
    let mut roots: Vec<usize> = (0..candidates.len()).filter(|at| is_root(&candidates[*at])).collect();
    // Who writes for everybody has it, then whose it was: another's manifest does not put it out of force.
    roots.sort_by_key(|at| {
        let one = &candidates[*at];
        let was = before.get(&one.key).is_some_and(|(declares, _)| is_tree_of_all(declares));
        (!named.writes_for_everybody(one), !was, one.broken.is_some())
    });
    if let [first, others @ ..] = &roots[..] {
        let place = candidates[*first].base.source.place(candidates[*first].name).to_string();
        for at in others {
            let message = format!("a second AlertRoute without `match` at its top, `{}`", candidates[*at].key.1);
            let help = format!("the first is at {place}; give this one a `match`, or make them one");
            let span = candidates[*at].name;
            candidates[*at].error(found, (span, message, Some(help)));
        }
        return;
    }
    // One that is broken may be it.
    let routes = candidates.iter().any(|one| one.key.0 == ManifestKind::AlertRoute && one.broken.is_some());
    let on_alert = |one: &&Candidate| match &one.manifest.declares {
        Some(Declares::Playbook(playbook)) => matches!(playbook.on, Trigger::Alert(_)),
        _ => false,
    };
    if let Some(first) = candidates.iter().find(on_alert).filter(|_| !routes && !named.is_uncertain()) {
        let message = "no AlertRoute takes the alerts that no playbook is on".to_owned();
        let help = "declare one whose `route` has no `match`, with the policy to page".to_owned();
        first.warning(found, (first.name, message, Some(help)));
    }
}

/// How many ways there are to tell somebody; whoever is on call is one at a time.
fn channels(policy: &EscalationPolicySpec) -> usize {
    policy.levels.iter().flat_map(|level| &level.notify).collect::<BTreeSet<_>>().len()
}

/// Teams whose escalation policy is not there.
pub(super) fn teams(resolved: &Resolved, named: &Named<'_>, found: &mut Vec<Diagnostic>) {
    for (name, source, span) in &resolved.escalations {
        let kind = ManifestKind::EscalationPolicy;
        if named.has(kind, name) || named.is_uncertain() {
            continue;
        }
        let help = match named.near(kind, name) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "declare it with a manifest of kind EscalationPolicy".to_owned(),
        };
        let message = format!("there is no EscalationPolicy `{name}`");
        let diagnostic = Diagnostic::error(&source.source, *span, message, Some(help));
        found.push(Diagnostic { severity: Severity::Warning, ..diagnostic });
    }
}
