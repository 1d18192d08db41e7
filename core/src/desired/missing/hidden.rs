//! What a mistake may hide: that what seems to be gone was to become something else. Until it is mended, nothing of whoever may
//! have made it is taken for gone. Every mistake of an app's document counts, whoever finds it, but one in the `spec` of an app
//! that was there before: that hides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Place, ResourceId};

use super::astray;
use super::undeletable::GONE;
use crate::desired::Context;
use crate::desired::apps::former;
use crate::desired::files::file::{Class, Document, OVERLAYS, ParsedFile};
use crate::desired::kinds::header::ManifestKind;
use crate::desired::resolve::Resolved;
use crate::desired::teams::rights;
use crate::desired::text::diagnostic::{Diagnostic, Severity};
use crate::desired::text::tree::{Node, Span};

/// Where a document says what its app is, and nothing of what it was: its `spec`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpecPart {
    from: (u32, u32),
    to: (u32, u32),
}

impl SpecPart {
    /// None in a document that two may have `run_together` into; nor where former names came to stand in it.
    pub(crate) fn of(tree: &Node, run_together: bool) -> Option<Self> {
        let entries = tree.entries().filter(|_| !run_together)?;
        let spec = entries.iter().find(|entry| &*entry.key == "spec")?;
        let at = |span: Span| (span.line, span.column);
        let from = at(spec.key_span);
        let next = entries.iter().map(|entry| at(entry.key_span)).filter(|other| *other > from).min();
        spec.value.get("was").is_none().then(|| Self { from, to: next.unwrap_or((u32::MAX, u32::MAX)) })
    }

    fn holds(&self, place: &Place) -> bool {
        (self.from..self.to).contains(&(place.line, place.column))
    }
}

/// Holds what is missing and may be what a mistake hides; `files` are in the order of their paths.
pub(crate) fn check(resolved: &mut Resolved, files: &[Arc<ParsedFile>], context: &Context) {
    let stand = astray::say(resolved, files, context);
    former::keep(resolved, context);
    astray::remember(stand, resolved);
    let before = Before::new(context);
    // By file: why what it last declared is held, and why what its owners have is.
    let (mut own, mut all): (BTreeMap<&Arc<str>, String>, BTreeMap<&str, String>) = Default::default();
    for file in files.iter().filter(|file| file.class == Class::Manifest) {
        let path = &file.source.path;
        if let Some(why) = &file.unbuilt {
            own.insert(path, why.clone());
            all.insert(path, why.clone());
        }
        if let Some(document) = file.documents.iter().find(|document| document.renames && !is_app(document)) {
            let of_kind = || format!("{path}: a {} has no former names", document.header.kind.word());
            all.entry(path).or_insert_with(|| document.found.first().map_or_else(of_kind, Diagnostic::why));
        }
    }
    let mut astray: Vec<(Arc<str>, ResourceId)> = Vec::new();
    let errors = resolved.found.iter().filter(|mistake| mistake.severity == Severity::Error);
    for mistake in errors {
        let Ok(at) = files.binary_search_by(|file| (*file.source.path).cmp(&mistake.place.file)) else {
            continue;
        };
        let (file, path) = (&files[at], &files[at].source.path);
        let Some(document) = document_at(file, &mistake.place).filter(|it| !before.hides_nothing(it, file, mistake))
        else {
            continue;
        };
        if let Some(id) = alone(document, file, resolved) {
            // An overlay of what is gone was left behind; another may be the manifest itself, put where overlays are.
            if before.overlaid.contains(&id) && !document.renames {
                continue;
            }
            astray.push((Arc::clone(path), id));
        }
        if file.class == Class::Manifest {
            own.entry(path).or_insert_with(|| mistake.why());
        }
        if is_app(document) {
            all.entry(path).or_insert_with(|| mistake.why());
        }
    }
    // What it may be is not remembered as its overlay.
    for (path, id) in astray {
        if let Some(ids) = resolved.declared.get_mut(&path) {
            Arc::make_mut(ids).remove(&id);
        }
    }
    for path in resolved.found.cut_off() {
        all.entry(path).or_insert_with(|| format!("{path} has more mistakes than are told"));
    }
    for (path, why) in all {
        resolved.undeletable.add(path, &why, context);
    }
    hold(resolved, &own, context);
}

fn is_app(document: &Document) -> bool {
    document.header.kind == ManifestKind::App
}

/// What an overlay without a manifest would change.
fn alone(document: &Document, file: &ParsedFile, resolved: &Resolved) -> Option<ResourceId> {
    let id = document.header.kind.resource(&document.header.name.value)?;
    (matches!(file.class, Class::Overlay(_)) && !resolved.units.contains_key(&id)).then_some(id)
}

/// The document that a place stands in.
fn document_at<'f>(file: &'f ParsedFile, place: &Place) -> Option<&'f Document> {
    let begins = |document: &&Document| (document.begin.line, document.begin.column) <= (place.line, place.column);
    file.documents.iter().rfind(begins)
}

/// The apps that were there without a mistake before, and in which files.
struct Before<'c> {
    context: &'c Context,
    /// Those of which an overlay is remembered as their file.
    overlaid: BTreeSet<&'c ResourceId>,
}

impl<'c> Before<'c> {
    fn new(context: &'c Context) -> Self {
        let overlays = context.declared.iter().filter(|(path, _)| path.starts_with(OVERLAYS));
        Self { context, overlaid: overlays.flat_map(|(_, ids)| ids.iter()).collect() }
    }

    /// Whether a mistake of a document says nothing of what became of others: it stands in the `spec` of what was there before,
    /// or in that of what could be read whole, and so is only that it asks for what it may not have.
    fn hides_nothing(&self, document: &Document, file: &ParsedFile, mistake: &Diagnostic) -> bool {
        let in_spec = document.spec.is_some_and(|spec| spec.holds(&mistake.place));
        let is_whole = || file.class == Class::Manifest && document.broken.is_none() && document.found.is_empty();
        in_spec && is_app(document) && (is_whole() || self.had(document, file))
    }

    /// Whether a document is of an app that was there, and in this file. An overlay changes what is there and names it by no
    /// other name.
    fn had(&self, document: &Document, file: &ParsedFile) -> bool {
        let id = ResourceId::app(document.header.name.value.clone());
        let is_here = || self.context.declared.get(&file.source.path).is_some_and(|ids| ids.contains(&id));
        let was_here = matches!(file.class, Class::Overlay(_)) || self.overlaid.contains(&id) || is_here();
        was_here && self.context.claims.contains_key(&id)
    }
}

/// Why something stays that its team has not removed: the settings gave the file that it stood in to others, who may not.
fn handed_over(id: &ResourceId, path: &str, context: &Context) -> Option<String> {
    let theirs = rights::holder(id, context).filter(|_| !path.starts_with(OVERLAYS))?;
    let owners = rights::of(path, context);
    let may = owners.is_empty() || owners.iter().any(|team| rights::reaches(team, theirs, context));
    (!may).then(|| {
        format!(
            "no longer declared, and not deleted: it is the team `{theirs}`'s, whose `{path}` was until the settings changed: \
             declare it in a file that this team may claim, there it can be removed"
        )
    })
}

/// Holds what was declared and is missing: that a file with such a mistake declared, and that may be deleted no more than
/// [`super::undeletable`] says. What another, good manifest was before is not missing.
fn hold(resolved: &mut Resolved, own: &BTreeMap<&Arc<str>, String>, context: &Context) {
    if own.is_empty() && resolved.undeletable.is_empty() && context.teams.is_empty() {
        return;
    }
    let good = resolved.units.values().filter(|unit| unit.held.is_none());
    let renamed: BTreeSet<ResourceId> =
        good.flat_map(|unit| unit.app.was.iter().map(|was| ResourceId::app(was.value.clone()))).collect();
    for (path, ids) in &context.declared {
        let missing = |id: &&ResourceId| {
            !resolved.units.contains_key(*id) && !resolved.held.contains_key(*id) && !renamed.contains(*id)
        };
        let missing: Vec<ResourceId> = ids.iter().filter(missing).cloned().collect();
        for id in missing {
            let team = context.claims.get(&id).and_then(|claims| claims.team.as_ref());
            let why = own.get(path).map(String::as_str).or_else(|| resolved.undeletable.why_of(team));
            let why = why.map(|why| format!("{GONE}: {why}"));
            let handed = handed_over(&id, path, context);
            let Some(why) = why.or_else(|| handed.clone()) else { continue };
            if own.contains_key(path) || handed.is_some() {
                let here = resolved.declared.entry(Arc::clone(path)).or_default();
                Arc::make_mut(here).insert(id.clone());
            }
            resolved.held.insert(id, why);
        }
    }
}
