//! What was a manifest of this environment and comes up where it is not read as one: as a symbolic link or a submodule, under a
//! misspelt ending, or in the folder of another environment. What it declared is held, as if it could not be read.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::model::{ResourceId, TeamName};

use super::undeletable::GONE;
use crate::desired::apps::former::Said;
use crate::desired::files::file::{Class, Document, OVERLAYS, ParsedFile, is_manifest};
use crate::desired::files::groups::Found;
use crate::desired::kinds::header::ManifestKind;
use crate::desired::resolve::Resolved;
use crate::desired::teams::rights;
use crate::desired::text::diagnostic::{Diagnostic, Severity};
use crate::desired::text::tree::{Node, Span, Value};
use crate::desired::{Context, Declared};

/// So many files of one team that come and are not read may be anything that was declared; of more only by their places.
const MOST: usize = 100;
/// The endings of manifests.
const ENDINGS: [&str; 2] = ["yaml", "yml"];

/// Whether a file's ending is that of a manifest, misspelt.
pub(crate) fn is_misspelt(path: &str) -> bool {
    let ending = path.rsplit_once('.').map(|(_, ending)| ending).filter(|ending| ending.len() < 8);
    ending.is_some_and(|ending| {
        let lower = ending.to_lowercase();
        let near = lower.starts_with('y') && strsim::damerau_levenshtein(&lower, "yaml") == 1;
        !ENDINGS.contains(&ending) && (near || ENDINGS.contains(&&*lower) || matches!(&*lower, "ylm" | "myl"))
    })
}

/// Takes in what says by where it stands that others are not gone; gives those, each with the file that they stand for now.
pub(crate) fn say(
    resolved: &mut Resolved,
    files: &[Arc<ParsedFile>],
    context: &Context,
) -> Vec<(Arc<str>, ResourceId)> {
    let good = resolved.units.values().filter(|unit| unit.held.is_none());
    let renamed: BTreeSet<ResourceId> =
        good.flat_map(|unit| unit.app.was.iter().map(|was| ResourceId::app(was.value.clone()))).collect();
    let mut stand = Vec::new();
    let strays = || files.iter().filter(|file| file.class == Class::Stray);
    let all = || context.declared.values().flat_map(|ids| ids.iter());
    let missing = |id: &&ResourceId| !resolved.units.contains_key(*id) && !renamed.contains(*id);
    // Only a few are looked for what may be any: each costs as much as is missing.
    let mut gone: Vec<&ResourceId> = Vec::new();
    if strays().any(|file| resolved.came.has(&file.source.path)) {
        gone = all().filter(missing).collect();
    }
    let mut looked: BTreeMap<Option<&TeamName>, usize> = BTreeMap::new();
    for file in strays() {
        let count = looked.entry(rights::whose(&file.source.path, context)).or_default();
        *count += usize::from(resolved.came.has(&file.source.path));
        let gone = if *count <= MOST { &gone[..] } else { &[] };
        let missing = |id: &&ResourceId| !resolved.units.contains_key(*id) && !renamed.contains(*id);
        let olds: BTreeSet<&ResourceId> = stood(file, gone, resolved, context).into_iter().filter(missing).collect();
        let olds = olds.into_iter().cloned().collect();
        stray(file, olds, &mut stand, resolved, context);
    }
    let overlays = || context.declared.iter().filter(|(path, _)| path.starts_with(OVERLAYS));
    let overlaid: LazyCell<BTreeSet<&ResourceId>, _> =
        LazyCell::new(|| overlays().flat_map(|(_, ids)| ids.iter()).collect());
    for file in files {
        for (index, document) in file.documents.iter().enumerate() {
            let Some(olds) = moved(document, file, |id| overlaid.contains(id), resolved, context) else { continue };
            let found = Found { file, index };
            let way_out = "put it back, or take it away as well to remove what it declared";
            let why = format!("{GONE}: {}: this is not read here: {way_out}", found.place());
            let begun = resolved.came.has(&file.source.path);
            let olds = olds.into_iter().filter(|old| !renamed.contains(old)).collect();
            let named = document.patch.as_ref().and_then(|tree| tree.get("metadata")?.get("team")?.text());
            let team = named.and_then(|team| team.parse().ok());
            resolved.were.push(Said::astray(olds, team, (&file.source.path, found.place()), (why, begun)));
        }
    }
    stand
}

/// Remembers what is held by a file that stands for it under that file, so that it is so as long as that file is there.
pub(crate) fn remember(stand: Vec<(Arc<str>, ResourceId)>, resolved: &mut Resolved) {
    for (path, id) in stand.into_iter().filter(|(_, id)| resolved.held.contains_key(id)) {
        Arc::make_mut(resolved.declared.entry(path).or_default()).insert(id);
    }
}

/// What a file that is not read stands for: what is remembered as its own, and where it comes with this revision, what was declared
/// by the file whose place it takes; one that is called as manifests are may be any that was, of whoever may write there.
fn stood<'c>(
    file: &ParsedFile,
    gone: &[&'c ResourceId],
    resolved: &Resolved,
    context: &'c Context,
) -> Vec<&'c ResourceId> {
    let (path, declared) = (&*file.source.path, &context.declared);
    let mut ids: Vec<&ResourceId> = declared.get(path).into_iter().flat_map(|ids| ids.iter()).collect();
    if !resolved.came.has(path) {
        return ids;
    }
    if is_manifest(path) || is_misspelt(path) {
        let hands = rights::hands(path, context);
        let may_be_its = |id: &&ResourceId| {
            let theirs = rights::holder(id, context).filter(|_| !hands.is_empty());
            theirs.is_none_or(|theirs| hands.iter().any(|team| rights::may_act_for(team, theirs, context)))
        };
        ids.extend(gone.iter().copied().filter(may_be_its));
    }
    let stem = match path.rsplit_once('.') {
        Some((stem, _)) if file.elsewhere.is_none() => stem,
        _ => path,
    };
    let places = ENDINGS.map(|ending| format!("{stem}.{ending}"));
    ids.extend(places.iter().filter_map(|path| declared.get(&**path)).flat_map(|ids| ids.iter()));
    if file.elsewhere.is_some() {
        ids.extend(below(&format!("{path}/"), declared));
    }
    ids
}

fn below<'c>(folder: &str, declared: &'c Declared) -> impl Iterator<Item = &'c ResourceId> {
    let from = declared.range::<str, _>((Bound::Included(folder), Bound::Unbounded));
    from.take_while(move |(path, _)| path.starts_with(folder)).flat_map(|(_, ids)| ids.iter())
}

/// Tells of a file that is not read, and what it holds.
fn stray(
    file: &ParsedFile,
    olds: Vec<ResourceId>,
    stand: &mut Vec<(Arc<str>, ResourceId)>,
    resolved: &mut Resolved,
    context: &Context,
) {
    let path = &file.source.path;
    let meant = || {
        let stem = path.rsplit_once('.').map_or(&**path, |(stem, _)| stem);
        format!("did you mean `{}.yaml`?", stem.rsplit_once('/').map_or(stem, |(_, name)| name))
    };
    let (message, help) = match file.elsewhere {
        Some(what) => (format!("this is {what}, which is not read"), "put the manifest itself there".to_owned()),
        None => ("this is not read: by its ending it is no manifest".to_owned(), meant()),
    };
    let begun = resolved.came.has(path);
    let told = Diagnostic::error(&file.source, Span::START, message, None);
    let mut holds = false;
    for old in olds {
        // Where nobody may write it is everybody's.
        let team = rights::holder(&old, context).cloned();
        let why = format!("{GONE}: {}", told.why());
        let said = Said::astray(vec![old.clone()], team, (path, told.place.to_string()), (why, begun));
        if said.is_its(&old, context) {
            holds = true;
            stand.push((Arc::clone(path), old));
        }
        resolved.were.push(said);
    }
    if holds {
        let help = Some(format!("{help}; or take it away as well, to remove what stood there"));
        let message = format!("{}: what stood there stays as it was", told.message);
        resolved.found.push(Diagnostic { message, help, ..told });
    } else if file.elsewhere.is_none() {
        resolved.found.push(Diagnostic { severity: Severity::Warning, help: Some(help), ..told });
    }
}

/// Of what a document in an environment's folder says that it is there, where no manifest is for it to change: its name, and those
/// that it had before. Of another environment's only one that is whole counts, for an overlay may be left behind there.
fn moved(
    document: &Document,
    file: &ParsedFile,
    overlaid: impl Fn(&ResourceId) -> bool,
    resolved: &mut Resolved,
    context: &Context,
) -> Option<Vec<ResourceId>> {
    let Class::Overlay(environment) = &file.class else { return None };
    let (tree, id) = (document.patch.as_ref()?, document.header.kind.resource(&document.header.name.value)?);
    if resolved.units.contains_key(&id) {
        return None;
    }
    let is_anothers = context.environment.is_some() && *environment != context.environment && environment.is_some();
    let is_whole = || tree.get("spec").is_some_and(|spec| spec.get("run").is_some());
    let counts = document.renames || if is_anothers { is_whole() } else { !overlaid(&id) };
    if !counts || document.header.kind != ManifestKind::App {
        return None;
    }
    // What it may be is not remembered as its overlay.
    if let Some(ids) = resolved.declared.get_mut(&file.source.path) {
        Arc::make_mut(ids).remove(&id);
    }
    Some(std::iter::once(id).chain(were(tree)).collect())
}

fn were(tree: &Node) -> Vec<ResourceId> {
    let was = tree.get("metadata").and_then(|metadata| metadata.get("was"));
    let Some(Value::List(names)) = was.map(|was| &was.value) else { return Vec::new() };
    names.iter().filter_map(|name| Some(ResourceId::app(name.text()?.parse().ok()?))).collect()
}
