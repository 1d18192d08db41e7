//! The environment that the settings select, where the repository has no folder of that name.
//!
//! One that is all but named as one with a folder is a slip: everything live would seem somebody else's. It holds whoever has
//! overlays in that folder, for theirs are what is missing; where the settings name no teams, everybody. One that is named
//! otherwise may well be what all manifests say without overlays, which is said where others have some.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Environment, Place, TeamName};

use super::file::{Class, ParsedFile, class};
use crate::desired::resolve::Resolved;
use crate::desired::teams::rights;
use crate::desired::text::diagnostic::{Diagnostic, Severity};
use crate::desired::text::read::near;
use crate::desired::{Context, Files};

/// Holds what a misspelt environment leaves out, and says where its folder is.
pub(crate) fn check(files: &[Arc<ParsedFile>], context: &Context, resolved: &mut Resolved) {
    let Some(selected) = &context.environment else { return };
    let folder = |file: &Arc<ParsedFile>| match &file.class {
        Class::Overlay(environment) => environment.clone(),
        _ => None,
    };
    let folders: BTreeSet<_> = files.iter().filter_map(folder).collect();
    if folders.is_empty() || folders.contains(selected) {
        return;
    }
    let names = || folders.iter().map(|name| name.as_str());
    let there = || format!("there is {}; {}", names().collect::<Vec<_>>().join(", "), says_so(selected));
    let Some(near) = near(selected.as_str(), names()) else {
        return resolved.found.push(no_folder(selected, Severity::Warning, there()));
    };
    let help = format!("did you mean `{near}`? {}", says_so(selected));
    let mut slips = files.iter().filter(|file| folder(file).is_some_and(|it| it.as_str() == near));
    if context.teams.is_empty() {
        let Some(path) = slips.next().map(|file| &file.source.path) else { return };
        resolved.all_held.get_or_insert_with(|| why(selected, near, path));
        return resolved.found.push(slip(selected, path, help));
    }
    let mut theirs: BTreeMap<&TeamName, &Arc<str>> = BTreeMap::new();
    for path in slips.map(|file| &file.source.path) {
        if let Some(team) = rights::whose(path, context) {
            theirs.entry(team).or_insert(path);
        }
    }
    for unit in resolved.units.values_mut() {
        let path = unit.app.team.as_ref().and_then(|team| theirs.get(&team.value));
        if let Some(path) = path {
            unit.hold(why(selected, near, path));
        }
    }
    for candidate in &mut resolved.candidates {
        let path = candidate.manifest.team.as_ref().and_then(|team| theirs.get(&team.value));
        if let Some(path) = path {
            candidate.broken.get_or_insert_with(|| why(selected, near, path));
        }
    }
    for path in theirs.values() {
        resolved.found.push(slip(selected, path, help.clone()));
    }
    if theirs.len() < context.teams.len() {
        resolved.found.push(no_folder(selected, Severity::Warning, there()));
    }
}

/// Says so where an environment is selected and there is a folder of none.
pub fn without_overlays(files: &Files, context: &Context) -> Option<Diagnostic> {
    let selected = context.environment.as_ref()?;
    let any = files.keys().any(|path| matches!(class(path), Class::Overlay(Some(_))));
    (!any).then(|| no_folder(selected, Severity::Warning, says_so(selected)))
}

fn says_so(selected: &Environment) -> String {
    format!("where it has no overlays, a file of a comment alone, environments/{selected}/none.yaml, says so")
}

/// Why what is of a slip's team is held.
fn why(selected: &Environment, near: &str, path: &str) -> String {
    format!("{}, and there is {path}: did you mean `{near}`?", is_missing(selected))
}

fn is_missing(selected: &Environment) -> String {
    format!("there is no folder environments/{selected} for the environment selected")
}

/// At a file of the folder that was probably meant.
fn slip(selected: &Environment, path: &str, help: String) -> Diagnostic {
    let place = Place { file: path.into(), line: 1, column: 1 };
    Diagnostic { place, ..no_folder(selected, Severity::Error, help) }
}

fn no_folder(selected: &Environment, severity: Severity, help: String) -> Diagnostic {
    Diagnostic {
        severity,
        place: Place { file: format!("environments/{selected}").into(), line: 1, column: 1 },
        team: None,
        message: is_missing(selected),
        help: Some(help),
        line: String::new(),
        line_start: 1,
        width: 1,
    }
}
