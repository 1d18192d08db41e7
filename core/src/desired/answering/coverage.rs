//! Whether every alert reaches somebody: one tree that takes all, somebody at its top, and more than one way to a person.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{EscalationPolicySpec, Place, Route, TeamName, Trigger};

use super::in_force::{Candidate, InForce};
use super::named::Named;
use super::route_limits;
use crate::desired::kinds::header::ManifestKind;
use crate::desired::kinds::response::Declares;
use crate::desired::resolve::Resolved;
use crate::desired::teams::rights::TOP;
use crate::desired::text::diagnostic::{Diagnostic, Severity};
use crate::desired::text::mistakes::Mistakes;
use crate::desired::{Context, Desired};

/// Who declares the tree that takes all alerts, where the settings name teams.
const FOR_ALL: &str =
    "the one for all alerts is of a team whose `paths` in the daemon's settings let it claim `codeops.yaml`";

/// Checks routes and policies.
pub(crate) fn check(candidates: &mut [Candidate], named: &Named<'_>, before: &InForce, found: &mut Mistakes) {
    roots(candidates, named, before, found);
    route_limits::check(candidates, found);
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
fn fallback(candidates: &[Candidate], named: &Named<'_>, found: &mut Mistakes) {
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

/// Exactly one tree takes what no other does; where the settings name teams, one of a team that writes for everybody. Beside it
/// each other team may have one for its own alerts.
fn roots(candidates: &mut [Candidate], named: &Named<'_>, before: &InForce, found: &mut Mistakes) {
    let is_root = |candidate: &Candidate| candidate.manifest.declares.as_ref().is_some_and(is_tree_of_all);
    let mut roots: BTreeMap<Option<TeamName>, Vec<usize>> = BTreeMap::new();
    for (at, one) in candidates.iter().enumerate().filter(|(_, one)| is_root(one)) {
        let only_for = one.manifest.team.as_ref().filter(|_| !named.writes_for_everybody(one));
        roots.entry(only_for.map(|team| team.value.clone())).or_default().push(at);
    }
    for (only_for, mut of_one) in roots.clone() {
        // Whose it was has it: another's manifest does not put it out of force.
        of_one.sort_by_key(|at| {
            let one = &candidates[*at];
            let was = before.get(&one.key).is_some_and(|(declares, _)| is_tree_of_all(declares));
            (!was, one.broken.is_some())
        });
        let Some((first, others)) = of_one.split_first() else { continue };
        let place = candidates[*first].base.source.place(candidates[*first].name).to_string();
        for at in others {
            let message = format!("a second AlertRoute without `match` at its top, `{}`", candidates[*at].key.1);
            let help = format!("the first is at {place}; give this one a `match`, or make them one");
            let span = candidates[*at].name;
            candidates[*at].error(found, (span, message, Some(help)));
        }
        let first = &candidates[*first];
        if let Some(team) = only_for.filter(|_| first.broken.is_none()) {
            let counts =
                format!("`{}` has no `match` at its top and counts only for alerts of the team `{team}`", first.key.1);
            let message = format!("{counts}, which may not claim `{TOP}`");
            let help = format!("give it a `match`, such as `alertname!=\"\"`, if that is meant; {FOR_ALL}");
            first.warning(found, (first.name, message, Some(help)));
        }
    }
    // One that is broken may be it.
    let routes = candidates.iter().any(|one| one.key.0 == ManifestKind::AlertRoute && one.broken.is_some());
    let on_alert = |one: &&Candidate| match &one.manifest.declares {
        Some(Declares::Playbook(playbook)) => matches!(playbook.on, Trigger::Alert(_)),
        _ => false,
    };
    let is_there = roots.contains_key(&None) || routes || named.is_uncertain();
    let is_route = |one: &&Candidate| one.key.0 == ManifestKind::AlertRoute && !named.has_fallback();
    let first = candidates.iter().find(on_alert).or_else(|| candidates.iter().find(is_route));
    if let Some(first) = first.filter(|_| !is_there) {
        let mut message = "no AlertRoute takes the alerts that no playbook is on".to_owned();
        let help = match named.keeps_teams_apart() {
            true if !named.has_fallback() && !named.lets_some_team_write_for_everybody() => {
                message += ": no team may claim `codeops.yaml`, and there is no `fallback`, so that they reach nobody";
                format!("grant a team `{TOP}` in its `paths`, or name a `fallback`, in the daemon's settings")
            }
            false => "declare one whose `route` has no `match`, with the policy to page".to_owned(),
            true => format!("declare one whose `route` has no `match`, with the policy to page: {FOR_ALL}"),
        };
        first.warning(found, (first.name, message, Some(help)));
    }
}

/// Says so where no alert would reach a person: nothing takes them all, and the settings have no `fallback`. Where a playbook or
/// a route is there, [`check`] has said it beside that.
pub fn reaches_nobody(desired: &Desired, context: &Context) -> Option<Diagnostic> {
    let response = &desired.response;
    let answered = response.playbooks.values().any(|playbook| matches!(playbook.on, Trigger::Alert(_)));
    let nothing = response.routes.is_empty() && response.broken.is_empty() && !answered;
    (desired.owner.is_some() && nothing && context.fallback.is_none()).then(|| Diagnostic {
        severity: Severity::Warning,
        place: Place { file: TOP.into(), line: 1, column: 1 },
        team: None,
        message: "no alert reaches a person: there is no AlertRoute, and no `fallback` in the daemon's settings".to_owned(),
        help: Some(
            "declare a Receiver, an EscalationPolicy, and an AlertRoute whose `route` has that `policy` and no `match`; settings \
             that name a `fallback` are given with --settings"
                .to_owned(),
        ),
        line: String::new(),
        line_start: 1,
        width: 1,
    })
}

/// How many ways there are to tell somebody; whoever is on call is one at a time.
fn channels(policy: &EscalationPolicySpec) -> usize {
    policy.levels.iter().flat_map(|level| &level.notify).collect::<BTreeSet<_>>().len()
}

/// Teams whose escalation policy is not there.
pub(crate) fn teams(resolved: &Resolved, named: &Named<'_>, found: &mut Mistakes) {
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
