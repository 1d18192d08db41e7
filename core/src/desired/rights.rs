//! Which documents count at all: a file that its writer's team may not claim has no say in what is everybody's or another's.

use std::sync::Arc;

use crate::config::TeamSettings;
use crate::model::{Name, TeamName};

use super::Context;
use super::file::{Body, Document};
use super::glob::matches;
use super::header::ManifestKind;

/// The one file of a Repository.
pub(super) const TOP: &str = "codeops.yaml";

/// Why a document has no effect where it stands, with what to do, if so. `path` is the file's, an overlay's as well.
pub(super) fn misplaced(kind: ManifestKind, name: &Name, path: &str, context: &Context) -> Option<(String, String)> {
    let overlay = path.strip_prefix("environments/").and_then(|rest| rest.split_once('/'));
    let inner = overlay.map_or(path, |(_, inner)| inner);
    let guarded = !context.teams.is_empty();
    match kind {
        ManifestKind::Repository if inner != TOP && (guarded || overlay.is_none()) => {
            let place = overlay.map_or_else(|| TOP.to_owned(), |(name, _)| format!("environments/{name}/{TOP}"));
            let message = format!("a Repository has no effect here: it counts only in {place}");
            Some((message, format!("move it there or remove it; {path} freezes and changes nothing")))
        }
        ManifestKind::Team if guarded && inner != TOP && !inner.starts_with("teams/") => {
            let own = context.teams.get(name).is_some_and(|team| claims(team, path));
            let help = format!("move it to teams/, or add this path to `teams.{name}.paths` in the daemon's settings");
            (!own).then(|| (format!("the Team `{name}` has no effect here"), help))
        }
        _ => None,
    }
}

/// Whether a team's settings grant it a path.
pub fn claims(team: &TeamSettings, path: &str) -> bool {
    team.paths.iter().any(|glob| matches(glob, path))
}

/// The team whose manifest this is, where the settings let it write in this file.
pub(super) fn rightful<'d>(document: &'d Document, path: &Arc<str>, context: &Context) -> Option<&'d TeamName> {
    let team = match &document.body {
        Body::App(app) => &app.team,
        Body::Response(manifest) => &manifest.team,
        _ => return None,
    };
    let team = &team.as_ref()?.value;
    context.teams.get(team).is_some_and(|own| claims(own, path)).then_some(team)
}
