//! Manifests of all files to one of each id: duplicates found, overlays merged, what cannot be read held.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{RepositorySpec, TeamSpec};
use crate::model::{Environment, Name, ResourceId, Response, TeamName};

use super::answering::in_force::{Asked, Candidate, InForce};
use super::apps::former::Said;
use super::apps::references::NEAR;
use super::apps::unit::Unit;
use super::apps::wanted::{Came, Wanted};
use super::bounds::portion::Shares;
use super::files::file::{Body, Class, ParsedFile};
use super::files::groups::{Bases, Found, In, Key, Overlays, Own};
use super::files::merging::{Merged, Merging};
use super::kinds::header::ManifestKind;
use super::missing::undeletable::Undeletable;
use super::teams::rights;
use super::text::diagnostic::{Diagnostic, Severity};
use super::text::mistakes::Mistakes;
use super::text::read::near;
use super::text::tree::Span;
use super::{Context, Declared};

/// What the files say, taken together.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// The Repository's name, once it is known which it is.
    pub owner: Option<Name>,
    /// The Repository's spec, as far as it could be read.
    pub repository: Arc<RepositorySpec>,
    /// Why what resolves through the Repository is held.
    pub repository_broken: Option<String>,
    /// Why the Repository, or a team that is named, may stand where nothing can be read: what follows from that is no mistake.
    pub unread: Option<String>,
    pub teams: BTreeMap<TeamName, Arc<TeamSpec>>,
    /// Teams whose manifest is wrong, with why.
    pub teams_broken: BTreeMap<TeamName, String>,
    pub units: BTreeMap<ResourceId, Unit>,
    /// Ids whose manifest cannot be read, with why.
    pub held: BTreeMap<ResourceId, String>,
    /// Manifests of how alerts are answered, in the order of their keys.
    pub candidates: Vec<Candidate>,
    /// The escalation policies that teams name, and where.
    pub escalations: Vec<(Name, Arc<ParsedFile>, Span)>,
    /// How alerts are answered, once it is settled.
    pub response: Response,
    /// Why everything is held: what an overlay of this environment changes is not known.
    pub all_held: Option<String>,
    pub undeletable: Undeletable,
    pub came: Came,
    pub wanted: Wanted,
    /// Former names in manifests that have no effect.
    pub were: Vec<Said>,
    pub declared: Declared,
    /// Of manifests of how alerts are answered that several teams have, or that are gone and still named, whose they are.
    pub holders: BTreeMap<String, TeamName>,
    /// The teams that ask for some of these in vain.
    pub asked: Asked,
    pub found: Mistakes,
}

/// Takes all files together. `in_force` is what was last, of the kinds that declare no resource; `asked` for what in vain, as
/// far as that is known; `shares` are what may still be taken; `came` are the files that others were before.
pub(super) fn resolve(
    files: &[Arc<ParsedFile>],
    context: &Context,
    merged: &mut Merged,
    in_force: &InForce,
    asked: Option<&Asked>,
    shares: Shares<'_>,
    came: Came,
) -> Resolved {
    let resolved = Resolved { came, ..Resolved::default() };
    let mut resolver = Resolver { context, in_force, asked, resolved, merging: Merging::new(merged, shares) };
    let (mut bases, mut overlays) = (Vec::with_capacity(files.len()), Vec::new());
    for file in files {
        resolver.file(file);
        for (index, document) in file.documents.iter().enumerate() {
            let key = (document.header.kind, &document.header.name.value);
            let found = Found { file, index };
            if let Some((message, help)) = rights::misplaced(key.0, key.1, &file.source.path, context) {
                let concerns = resolver.concerns(&file.class);
                resolver.found([found.error(message, Some(help))].into_iter(), concerns);
                continue;
            }
            match &file.class {
                Class::Overlay(environment) => overlays.push(((environment.as_ref(), key), found)),
                _ => bases.push((key, found)),
            }
        }
    }
    resolver.resolved.declared =
        files.iter().map(|file| (Arc::clone(&file.source.path), Arc::clone(&file.ids))).collect();
    let bases = resolver.in_force(Bases::of(bases));
    let overlays = resolver.permitted(Overlays::of(overlays), &bases);
    let own = resolver.overlays(&overlays, &bases);
    let mut units = Vec::with_capacity(bases.0.len());
    for (key, group) in bases.iter() {
        units.extend(resolver.manifest(*key, group, own.get(key).copied()));
    }
    resolver.resolved.units = units.into_iter().map(|unit| (unit.id.clone(), unit)).collect();
    resolver.repositories(&bases);
    resolver.lost(files);
    resolver.merging.end();
    resolver.resolved
}

pub(super) struct Resolver<'r> {
    pub(super) context: &'r Context,
    pub(super) in_force: &'r InForce,
    pub(super) asked: Option<&'r Asked>,
    pub(super) resolved: Resolved,
    merging: Merging<'r>,
}

impl Resolver<'_> {
    /// Whether a mistake in this file concerns the environment selected.
    pub(super) fn concerns(&self, class: &Class) -> bool {
        match class {
            Class::Overlay(environment) => *environment == self.context.environment || environment.is_none(),
            _ => true,
        }
    }

    /// Takes in a file's own mistakes.
    fn file(&mut self, file: &Arc<ParsedFile>) {
        let concerns = self.concerns(&file.class);
        self.found(file.found.iter().cloned(), concerns);
        if file.class == Class::Overlay(None) && !file.documents.is_empty() {
            let help = Some("move it to environments/NAME/".to_owned());
            let message = "this overlay stands in no environment's folder".to_owned();
            self.resolved.found.push(Diagnostic::error(&file.source, Span::START, message, help));
        }
    }

    /// Notes mistakes; those that concern only other environments are warnings while one is selected.
    pub(super) fn found(&mut self, found: impl Iterator<Item = Diagnostic>, concerns: bool) {
        let warn = !concerns && self.context.environment.is_some();
        self.resolved.found.extend(found.map(|mut diagnostic| {
            if warn {
                diagnostic.severity = Severity::Warning;
            }
            diagnostic
        }));
    }

    /// Checks all overlays; gives those of the environment selected. Those of others are merged only to find mistakes.
    fn overlays<'g, 'f>(&mut self, overlays: &'g Overlays<'f>, bases: &Bases<'f>) -> Own<'g, 'f> {
        let selected = self.context.environment.as_ref();
        let is_own = |environment: &Option<&Environment>| environment.is_some() && *environment == selected;
        let pairs = overlays.iter().filter_map(|((environment, key), group)| {
            let (base, patch) = (bases.get(key).first()?.1, group[0].1);
            is_mergeable(&base, &patch).then(|| (base, patch, is_own(environment)))
        });
        self.merging.all(pairs.collect());
        let mut own = Own::new();
        for ((environment, key), group) in overlays.iter() {
            let concerns = is_own(environment);
            for (_, patch) in group {
                self.found(patch.document().found.iter().cloned(), concerns);
            }
            let patch = &group[0].1;
            if let [(_, first), (_, second), ..] = group {
                let message = format!("a second overlay for {} `{}`", key.0.word(), key.1);
                let found = second.error(message, Some(format!("the first is at {}; make them one", first.place())));
                self.found([found].into_iter(), concerns);
            }
            let Some((_, base)) = bases.get(key).first() else {
                let names = bases.iter().filter(|((kind, _), _)| *kind == key.0).map(|((_, name), _)| name.as_str());
                let near = if self.resolved.found.len() < NEAR { near(key.1.as_str(), names) } else { None };
                let help = near.map(|near| format!("did you mean `{near}`?"));
                let message = format!("there is no {} `{}` for this overlay to change", key.0.word(), key.1);
                self.found([patch.error(message, help)].into_iter(), concerns);
                continue;
            };
            if concerns {
                own.insert(*key, group);
            } else {
                let found = self.merging.of(base, patch).map(|(_, found)| found.to_vec());
                self.found(found.into_iter().flatten(), false);
            }
        }
        own
    }

    /// One id: its one manifest and its overlay; a unit, if it declares a resource.
    fn manifest<'f>(
        &mut self,
        key: Key<'f>,
        group: &[(Key<'f>, Found<'f>)],
        patches: Option<&[(In<'f>, Found<'f>)]>,
    ) -> Option<Unit> {
        let base = &group[0].1;
        let mut why = self.duplicates(key, group);
        why = why.or_else(|| base.document().broken.clone());
        let (body, found, patch) = match patches {
            None => (base.document().body.clone(), base.document().found.clone(), None),
            Some(patches) => {
                let patch = &patches[0].1;
                why = why.or_else(|| patch.document().broken.clone());
                why = why.or_else(|| patch.document().found.first().map(Diagnostic::why));
                if let Some((_, second)) = patches.get(1) {
                    why.get_or_insert(format!("{}: a second overlay for the same manifest", second.place()));
                }
                let merged = self.merging.of(base, patch).map(|(body, found)| (body.cloned(), found.to_vec()));
                // Of two of which one is broken nothing was merged.
                let (body, found) = merged.unwrap_or_else(|| (None, base.document().found.clone()));
                (body.unwrap_or_else(|| base.document().body.clone()), found, Some(patch))
            }
        };
        let whole = base.document().broken.is_none();
        why = why.or_else(|| found.first().map(Diagnostic::why));
        if whole {
            self.resolved.found.extend(found);
        }
        match body {
            Body::App(app) => return Some(unit(key.1, base, patch, app, why)),
            Body::Team(team, escalation) => {
                if let (Some(policy), Some(span)) = (&team.escalation, escalation) {
                    let file = if span.layer == 1 { patch.map_or(base.file, |patch| patch.file) } else { base.file };
                    self.resolved.escalations.push((policy.clone(), Arc::clone(file), span));
                }
                if let Some(why) = why {
                    self.resolved.teams_broken.insert(key.1.clone(), why);
                }
                self.resolved.teams.insert(key.1.clone(), team);
            }
            Body::Repository(spec) => {
                self.resolved.owner = Some(key.1.clone());
                self.resolved.repository = spec;
                self.resolved.repository_broken = why;
            }
            Body::Response(manifest) => self.resolved.candidates.push(Candidate {
                key: (key.0, key.1.clone()),
                name: base.document().header.name.span,
                manifest,
                base: Arc::clone(base.file),
                overlay: patch.map(|patch| Arc::clone(patch.file)),
                broken: why,
            }),
            Body::Overlay => {}
        }
        None
    }

    /// Reports an id given twice, at every place but the first.
    fn duplicates(&mut self, key: Key<'_>, group: &[(Key<'_>, Found<'_>)]) -> Option<String> {
        let [(_, first), rest @ ..] = group else { return None };
        for (_, second) in rest {
            let message = format!("{} `{}` is declared twice", key.0.word(), key.1);
            let help = format!("the first is at {}; rename or remove one of the two", first.place());
            let mistake = second.error(message, Some(help));
            self.resolved.were.extend(Said::of(second, &mistake.why(), &self.resolved.came));
            self.resolved.found.push(mistake);
            // Its own mistakes are none of the first's, but mistakes all the same.
            self.resolved.found.extend(second.document().found.iter().cloned());
        }
        let (_, second) = rest.first()?;
        Some(format!("{} `{}` is declared at {} and at {}", key.0.word(), key.1, first.place(), second.place()))
    }

    /// There must be exactly one Repository; only those in `codeops.yaml` have come so far.
    fn repositories(&mut self, bases: &Bases<'_>) {
        let of_kind = bases.iter().filter(|((kind, _), _)| *kind == ManifestKind::Repository);
        let all: Vec<&Found<'_>> = of_kind.map(|(_, group)| &group[0].1).collect();
        let [first, rest @ ..] = &all[..] else { return };
        for second in rest {
            let message = format!("a second Repository, `{}`", second.document().header.name.value);
            let help = format!("the first is at {}; one config repository has one name", first.place());
            self.resolved.found.push(second.error(message, Some(help)));
        }
        if let [second, ..] = rest {
            // Which of them owns what is live cannot be known.
            let freeze = all.iter().find_map(|found| match &found.document().body {
                Body::Repository(spec) => spec.freeze.clone(),
                _ => None,
            });
            self.resolved.owner = None;
            self.resolved.repository = Arc::new(RepositorySpec { freeze, ..RepositorySpec::default() });
            self.resolved.repository_broken =
                Some(format!("there are two Repository manifests, at {} and at {}", first.place(), second.place()));
        }
    }
}

/// Whether a manifest and its overlay can both be used.
fn is_mergeable(base: &Found<'_>, patch: &Found<'_>) -> bool {
    base.document().broken.is_none() && patch.document().broken.is_none()
}

/// One app as its documents say.
pub(super) fn unit(
    name: &Name,
    base: &Found<'_>,
    patch: Option<&Found<'_>>,
    app: Arc<super::kinds::app::AppManifest>,
    held: Option<String>,
) -> Unit {
    let document = base.document();
    let id = ResourceId::app(name.clone());
    let overlay = patch.map(|patch| Arc::clone(patch.file));
    let (header, begin, base) = (document.header.clone(), document.begin, Arc::clone(base.file));
    Unit { id, header, begin, app, base, overlay, held }
}
