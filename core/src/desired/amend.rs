//! The short way from a good revision to the next: apps that changed only in what nothing else refers to are checked and
//! lowered alone, and all else is taken over. Whatever is not certain is left to the whole way, which would say the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Resource, ResourceId};

use super::compiler::lower_unit;
use super::files::file::{Body, Class, Document, OVERLAYS, ParsedFile};
use super::files::groups::Found;
use super::kinds::app::AppManifest;
use super::resolve::{Resolved, unit};
use super::teams::grants;
use super::text::tree::At;
use super::{Compiled, Context, Declared};

/// The last revision, if nothing at all was wrong with it.
#[derive(Debug)]
pub(super) struct Good {
    /// What it was compiled with, but for what there was before: that matters only where something is wrong.
    context: Context,
    compiled: Compiled,
}

impl Good {
    pub(super) fn of(compiled: &Compiled, context: &Context) -> Option<Self> {
        let desired = &compiled.desired;
        let all_counts = desired.held.is_empty() && desired.response.broken.is_empty();
        let all_counts = all_counts && desired.response.deleted.is_empty();
        let whole = compiled.diagnostics.is_empty() && all_counts && desired.undeletable.is_empty();
        whole.then(|| Self {
            context: Context {
                environment: context.environment.clone(),
                providers: context.providers.clone(),
                unset: context.unset.clone(),
                secrets: context.secrets.clone(),
                teams: context.teams.clone(),
                reserved: context.reserved.clone(),
                fallback: context.fallback.clone(),
                fallback_team: context.fallback_team.clone(),
                declared: Declared::new(),
                claims: BTreeMap::new(),
                holders: BTreeMap::new(),
                files: BTreeMap::new(),
                looks_back: None,
                deletions_wait: false,
            },
            compiled: compiled.clone(),
        })
    }

    /// The next revision, whose files are `parsed`, if these changes, each from one version of a file to another, are such
    /// that it is good as well.
    pub(super) fn amend(
        &mut self,
        changes: &Changes,
        parsed: &[Arc<ParsedFile>],
        context: &Context,
    ) -> Option<&Compiled> {
        if !changes.are_inside() || !self.is_compiled_with(context) {
            return None;
        }
        let is_changed = |id: &ResourceId| changes.now.iter().any(|file| file.ids.contains(id));
        if overlays(parsed).any(|overlay| overlay.ids.iter().any(is_changed)) {
            return None;
        }
        for resource in self.lower(&changes.now, context)? {
            self.compiled.desired.resources.insert(resource.id.clone(), resource);
        }
        Some(&self.compiled)
    }

    fn is_compiled_with(&self, context: &Context) -> bool {
        let ours = &self.context;
        (&ours.environment, &ours.providers, &ours.unset, &ours.secrets)
            == (&context.environment, &context.providers, &context.unset, &context.secrets)
            && (&ours.teams, &ours.reserved) == (&context.teams, &context.reserved)
            && (&ours.fallback, &ours.fallback_team) == (&context.fallback, &context.fallback_team)
    }

    /// Checks these files' apps against the settings, and lowers them; `None` if anything is wrong with one.
    fn lower(&self, files: &[Arc<ParsedFile>], context: &Context) -> Option<Vec<Arc<Resource>>> {
        let desired = &self.compiled.desired;
        let default = desired.repository.defaults.provider.as_ref();
        let mut resolved = Resolved {
            repository: Arc::new(desired.repository.clone()),
            teams: desired.teams.iter().map(|(name, team)| (name.clone(), Arc::new(team.clone()))).collect(),
            ..Resolved::default()
        };
        for file in files {
            for (index, document) in file.documents.iter().enumerate() {
                let Body::App(app) = &document.body else { return None };
                let unit = unit(&document.header.name.value, &Found { file, index }, None, Arc::clone(app), None);
                resolved.units.insert(unit.id.clone(), unit);
            }
        }
        grants::check(&mut resolved, context);
        let good = resolved.found.is_empty() && resolved.units.values().all(|unit| unit.held.is_none());
        if !good {
            return None;
        }
        resolved.units.values().map(|unit| lower_unit(unit, default, context, None)).collect()
    }
}

/// Files that changed, before and now, each in the order of the paths.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// As they were; those that are gone as well.
    pub before: Vec<Arc<ParsedFile>>,
    /// As they are; new ones as well.
    pub now: Vec<Arc<ParsedFile>>,
}

impl Changes {
    /// Whether no file came or went, and each holds the same apps, without a mistake, that look the same to everyone else.
    fn are_inside(&self) -> bool {
        let same = |(before, now): (&Arc<ParsedFile>, &Arc<ParsedFile>)| {
            let documents = before.documents.iter().zip(&now.documents);
            before.source.path == now.source.path
                && now.class == Class::Manifest
                && now.found.is_empty()
                && now.lost.is_empty()
                && before.documents.len() == now.documents.len()
                && documents.into_iter().all(|(before, now)| looks_the_same(before, now))
        };
        self.before.len() == self.now.len() && self.before.iter().zip(&self.now).all(same)
    }
}

/// Whether two versions of a document are of one app and say the same of what other manifests are checked against.
fn looks_the_same(before: &Document, now: &Document) -> bool {
    let (Body::App(old), Body::App(new)) = (&before.body, &now.body) else { return false };
    let good = now.broken.is_none() && now.found.is_empty();
    good && before.header.name.value == now.header.name.value && shows_the_same(old, new)
}

/// Whether two apps agree in all that [`super::apps::references`], other apps' [`grants`] and the manifests that name them look at
/// ([`super::answering::named`] asks whose they are). What more comes to be looked at there belongs here too.
fn shows_the_same(a: &AppManifest, b: &AppManifest) -> bool {
    fn one<T>(at: Option<&At<T>>) -> Option<&T> {
        at.map(|at| &at.value)
    }
    fn all<T>(list: &[At<T>]) -> impl Iterator<Item = &T> {
        list.iter().map(|at| &at.value)
    }
    let number = |app: &AppManifest| app.port.as_ref().map(|port| port.value.number);
    (one(a.team.as_ref()), one(a.provider.as_ref())) == (one(b.team.as_ref()), one(b.provider.as_ref()))
        && (number(a), a.bind) == (number(b), b.bind)
        && all(&a.after).eq(all(&b.after))
        && all(&a.was).eq(all(&b.was))
}

/// The overlays among files in the order of their paths.
fn overlays(parsed: &[Arc<ParsedFile>]) -> impl Iterator<Item = &Arc<ParsedFile>> {
    let begin = parsed.partition_point(|file| &*file.source.path < OVERLAYS);
    parsed[begin..].iter().take_while(|file| file.source.path.starts_with(OVERLAYS))
}
