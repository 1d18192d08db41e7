//! Which documents count at all: a file that its writer's team may not claim has no say in what is everybody's or another's.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::TeamSettings;
use crate::model::{Name, ResourceId, TeamName};

use super::glob;
use super::grants::Note;
use crate::desired::files::file::{Body, Document};
use crate::desired::kinds::header::ManifestKind;
use crate::desired::text::tree::Span;
use crate::desired::{Context, Desired};

/// The one file of a Repository.
pub const TOP: &str = "codeops.yaml";

/// Why a document has no effect where it stands, with what to do, if so. `path` is the file's, an overlay's as well.
pub(crate) fn misplaced(kind: ManifestKind, name: &Name, path: &str, context: &Context) -> Option<(String, String)> {
    let overlay = path.strip_prefix("environments/").and_then(|rest| rest.split_once('/'));
    let inner = overlay.map_or(path, |(_, inner)| inner);
    let guarded = !context.teams.is_empty();
    match kind {
        ManifestKind::Repository if inner != TOP && (guarded || overlay.is_none()) => {
            let place = overlay.map_or_else(|| TOP.to_owned(), |(name, _)| format!("environments/{name}/{TOP}"));
            let message = format!("a Repository has no effect here: it counts only in {place}");
            Some((message, format!("move it there or remove it; {path} freezes and changes nothing")))
        }
        ManifestKind::Team if guarded && !is_own_place(name, path, inner, context) => {
            let help = format!(
                "move it to teams/{name}.yaml, or add this path to `teams.{name}.paths` in the daemon's settings"
            );
            Some((format!("the Team `{name}` has no effect here"), help))
        }
        _ => None,
    }
}

/// Whether a Team may be declared here: in a path that is granted to it, or in `teams/` and at the top where that is granted
/// to no team. Whoever is granted the top file writes for everybody anyway, and does not count.
fn is_own_place(name: &Name, path: &str, inner: &str, context: &Context) -> bool {
    let others = || context.teams.values().any(|other| claims(other, path) && !claims(other, TOP));
    let usual = inner == TOP || inner.starts_with("teams/");
    may_claim(name, path, context) || (usual && !others())
}

/// Whose a path is, by what these settings grant: of whoever is granted it, but that who is granted the top file writes for
/// everybody and has only what is no other team's.
pub fn owners<'t>(path: &str, teams: &'t BTreeMap<TeamName, TeamSettings>) -> impl Iterator<Item = &'t TeamName> {
    teams.iter().filter(move |(_, own)| is_of(own, path, teams)).map(|(name, _)| name)
}

fn is_of(own: &TeamSettings, path: &str, teams: &BTreeMap<TeamName, TeamSettings>) -> bool {
    let others = || teams.values().any(|other| claims(other, path) && !claims(other, TOP));
    claims(own, path) && (path == TOP || !claims(own, TOP) || !others())
}

/// [`owners`] of a path, by the settings of this context.
pub(crate) fn of<'c>(path: &str, context: &'c Context) -> Vec<&'c TeamName> {
    owners(path, &context.teams).collect()
}

/// The teams whose settings grant them a path: those that write there, whosever it is.
pub(crate) fn granted<'c>(path: &str, context: &'c Context) -> Vec<&'c TeamName> {
    context.teams.iter().filter(|(_, own)| claims(own, path)).map(|(name, _)| name).collect()
}

/// Whose a file is, the first of its [`owners`]; what no team is granted is of who writes for everybody.
pub(crate) fn whose<'c>(path: &str, context: &'c Context) -> Option<&'c TeamName> {
    let is_everybodys = |(_, team): &(&TeamName, &TeamSettings)| claims(team, TOP);
    let everybodys = || context.teams.iter().find(is_everybodys).map(|(name, _)| name);
    owners(path, &context.teams).next().or_else(everybodys)
}

/// Of whom what stands in a file may be: its [`owners`], or who writes for everybody.
pub(crate) fn hands<'c>(path: &str, context: &'c Context) -> Vec<&'c TeamName> {
    let own = of(path, context);
    if own.is_empty() { granted(TOP, context) } else { own }
}

/// Whether `team` may reach what is `theirs`.
pub(crate) fn reaches(team: &TeamName, theirs: &TeamName, context: &Context) -> bool {
    let allowed = || context.teams.get(theirs).is_some_and(|settings| settings.allow.contains(team));
    context.teams.is_empty() || team == theirs || allowed()
}

/// Whether what `writer` writes may act with the authority of `team`: it may reach what is that team's, or writes for everybody.
pub(crate) fn may_act_for(writer: &TeamName, team: &TeamName, context: &Context) -> bool {
    reaches(writer, team, context) || may_claim(writer, TOP, context)
}

/// The team that had a resource at the last accepted revision, where it is remembered and the settings still name it.
pub(crate) fn holder<'c>(id: &ResourceId, context: &'c Context) -> Option<&'c TeamName> {
    context.claims.get(id)?.team.as_ref().filter(|team| context.teams.contains_key(*team))
}

/// Whether what stands in a file may be `team`'s: whether that is one of its [`owners`].
pub(crate) fn may_claim(team: &TeamName, path: &str, context: &Context) -> bool {
    let teams = &context.teams;
    teams.is_empty() || teams.get(team).is_some_and(|own| is_of(own, path, teams))
}

/// Why what stands in a file may not be `team`'s, if it may not.
pub(crate) fn unclaimed(team: &TeamName, path: &str, span: Span, context: &Context) -> Option<Note> {
    (!may_claim(team, path, context)).then(|| {
        let granted = context.teams.get(team).is_some_and(|own| claims(own, path));
        let help = match owners(path, &context.teams).next() {
            Some(theirs) if granted => format!(
                "it is the team `{theirs}`'s: who may claim `{TOP}` has only what is no other team's; put it into another file"
            ),
            _ => format!("add it to `teams.{team}.paths` in the daemon's settings"),
        };
        (span, format!("the team `{team}` may not claim `{path}`"), Some(help))
    })
}

/// Whether who speaks for these teams may release what is one team's: its own people, and whom its settings allow.
pub fn may_release(by: &BTreeSet<TeamName>, theirs: &TeamName, desired: &Desired) -> bool {
    by.contains(theirs) || desired.reach.get(theirs).is_some_and(|allowed| !allowed.is_disjoint(by))
}

/// Whether a team's settings grant it a path, so that it may write there; whose that is say [`owners`]; of a folder, which ends with `/`, whether they grant it any that may be in it.
pub fn claims(team: &TeamSettings, path: &str) -> bool {
    team.paths
        .iter()
        .any(|glob| if path.ends_with('/') { glob::reaches(glob, path) } else { glob::matches(glob, path) })
}

/// The team that a manifest says it is of, for the kinds that are some team's.
pub(crate) fn team_of(document: &Document) -> Option<&TeamName> {
    let team = match &document.body {
        Body::App(app) => &app.team,
        Body::Response(manifest) => &manifest.team,
        _ => return None,
    };
    Some(&team.as_ref()?.value)
}

/// The team whose manifest this is, where the settings let it write in this file. One whose team cannot be read is of whom the
/// file is.
pub(crate) fn speaks<'d>(document: &'d Document, path: &str, context: &'d Context) -> Option<&'d TeamName> {
    match team_of(document) {
        Some(team) => may_claim(team, path, context).then_some(team),
        None => whose(path, context),
    }
}
