//! What a revision deletes of how alerts are answered, and what of it stays all the same: whoever the settings' `fallback` tells,
//! always; and the rest until it is known that nothing else the revision removes of the same team is held. A commit that empties
//! the repository takes nobody away who could be called about it, nor the Team that says who that is, and what is held of one team
//! keeps nothing of another's.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Place, TeamName};

use super::in_force::{InForce, Key, id};
use super::telling::tells;
use crate::desired::kinds::header::ManifestKind;
use crate::desired::kinds::response::Declares;
use crate::desired::teams::rights::{TOP, may_claim};
use crate::desired::text::diagnostic::{Diagnostic, Severity};
use crate::desired::text::mistakes::Mistakes;
use crate::desired::{Compiled, Compiler, Context, Desired};

const OF_FALLBACK: &str = "the `fallback` of the daemon's settings needs it";
const OF_HELD: &str = "removals of its team are held, or not judged yet";

/// What stays though it is deleted.
#[derive(Debug, Default)]
pub(crate) struct Stays {
    /// Each as `Kind/name`, with why.
    pub why: BTreeMap<String, String>,
    /// Those that only wait for what is held.
    pub wait: BTreeSet<Key>,
}

/// Puts back into what is in force `now` what stays of what is `gone`.
pub(crate) fn keep(now: &mut InForce, mut gone: InForce, context: &Context, found: &mut Mistakes) -> Stays {
    let mut stays = Stays::default();
    let fallback = context.fallback.iter().map(|name| (ManifestKind::EscalationPolicy, name.clone()));
    let mut needed: Vec<Key> = fallback.collect();
    while let Some(key) = needed.pop() {
        if let Some(kept) = gone.remove(&key) {
            let help = "declare it again, or name another `fallback` that is there in the daemon's settings";
            let message = format!("{} `{}` is deleted and stays as it was: {OF_FALLBACK}", key.0.word(), key.1);
            found.push(told(&kept.0, &kept.1, message, help.to_owned()));
            stays.why.insert(id(&key), OF_FALLBACK.to_owned());
            now.insert(key.clone(), kept);
        }
        needed.extend(now.get(&key).into_iter().flat_map(|(declares, _)| tells(declares)));
    }
    if !context.deletions_wait {
        return stays;
    }
    let trees: BTreeSet<Option<TeamName>> = now.values().filter_map(|(it, _)| tree_of_all(it, context)).collect();
    for (key, kept) in gone {
        // Another took its place: of two that take every alert only one counts.
        let replaced = tree_of_all(&kept.0, context).is_some_and(|of| trees.contains(&of));
        // A Team that calls nobody answers nothing.
        let is_mute = matches!(&kept.0, Declares::Team(_, team) if team.escalation.is_none());
        if matches!(kept.0, Declares::Test(_)) || is_mute || replaced {
            continue;
        }
        stays.why.insert(id(&key), OF_HELD.to_owned());
        stays.wait.insert(key.clone());
        now.insert(key, kept);
    }
    stays
}

/// For whose alerts an AlertRoute takes all that no other does, if it does; `None` within: everybody's.
fn tree_of_all(declares: &Declares, context: &Context) -> Option<Option<TeamName>> {
    let Declares::Route(route) = declares else { return None };
    let only_for = Some(&route.team).filter(|team| !may_claim(team, TOP, context));
    route.spec.route.matchers.is_empty().then(|| only_for.cloned())
}

/// Says something of what is not written any more, where it stood.
pub(crate) fn told(declares: &Declares, path: &str, message: String, help: String) -> Diagnostic {
    let at_top = || Place { file: path.into(), line: 1, column: 1 };
    let place = match declares {
        Declares::Policy(it) => it.place.clone(),
        Declares::Receiver(it) => it.place.clone(),
        Declares::OnCall(it) => it.place.clone(),
        Declares::Route(it) => it.place.clone(),
        _ => at_top(),
    };
    Diagnostic {
        severity: Severity::Warning,
        line_start: place.line,
        place,
        team: None,
        message,
        help: Some(help),
        line: String::new(),
        width: 1,
    }
}

impl Compiler {
    /// The teams of whose manifests that the last revision deletes some stay only until what it removes of theirs is let go.
    pub fn keeps_deleted_of(&self) -> impl Iterator<Item = &TeamName> {
        self.waits.iter().filter_map(|key| Some(self.in_force.get(key)?.0.team()))
    }

    /// Lets those go of which `goes` says so, by `Kind/name` and team, in what is compiled next as in `compiled`, the last revision:
    /// nothing that it removes of theirs is held.
    pub fn let_go(&mut self, compiled: &mut Compiled, goes: impl Fn(&str, &TeamName) -> bool) {
        let Desired { response, teams, .. } = &mut compiled.desired;
        let in_force = &self.in_force;
        let (stay, go): (BTreeSet<Key>, BTreeSet<Key>) = std::mem::take(&mut self.waits)
            .into_iter()
            .partition(|key| in_force.get(key).is_some_and(|(declares, _)| !goes(&id(key), declares.team())));
        self.waits = stay;
        for key in go {
            self.in_force.remove(&key);
            response.deleted.remove(&id(&key));
            let (kind, name) = &key;
            match kind {
                ManifestKind::Playbook => drop(response.playbooks.remove(name)),
                ManifestKind::AlertRoute => drop(response.routes.remove(name)),
                ManifestKind::Receiver => drop(response.receivers.remove(name)),
                ManifestKind::EscalationPolicy => drop(response.policies.remove(name)),
                ManifestKind::OnCall => drop(response.on_calls.remove(name)),
                ManifestKind::Team => drop(teams.remove(name)),
                ManifestKind::PlaybookTest | ManifestKind::Repository | ManifestKind::App => {}
            }
        }
    }
}
