//! The whole way of one revision: parse what changed, resolve all, lower what is touched; remembers what stays the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Owner, Place, Resource, ResourceId};

use super::amend::{Changes, Good};
use super::answering::in_force::{self, InForce};
use super::apps::unit::Unit;
use super::apps::wanted::Came;
use super::apps::{lower, references};
use super::bounds::portion::Shares;
use super::bounds::space;
use super::files::file::{Class, ParsedFile, class, parse};
use super::files::merging::Merged;
use super::files::{environment, freeze};
use super::kinds::app::AppManifest;
use super::missing::hidden;
use super::missing::lost::not_whole;
use super::resolve::{Resolved, resolve};
use super::teams::{grants, rights};
use super::text::diagnostic::{Diagnostic, Severity};
use super::{Compiled, Context, Desired, File, Files};

/// From so many changed files on, parsing is shared by two threads.
const MANY: usize = 256;

/// Compiles revisions, parsing again only files whose content changed and lowering again only what they touch; where that
/// touches nothing else, nothing else is resolved again either.
#[derive(Debug, Default)]
pub struct Compiler {
    /// In the order of the paths.
    parsed: Vec<Arc<ParsedFile>>,
    merged: Merged,
    /// In the order of the ids, so that one walk beside the next revision's finds all that stayed.
    lowered: Vec<Lowered>,
    pub(super) in_force: InForce,
    /// What of it is deleted, and stays until the revision's removals are let go.
    pub(super) waits: BTreeSet<in_force::Key>,
    /// Who asked for it in vain; `None` until a revision has told.
    asked: Option<in_force::Asked>,
    good: Option<Good>,
}

/// What one manifest was lowered to.
#[derive(Debug)]
pub(super) struct Lowered {
    app: Arc<AppManifest>,
    resource: Arc<Resource>,
}

impl Compiler {
    /// Compiles one revision. Never panics, whatever the bytes are.
    pub fn compile(&mut self, files: &Files, context: &Context) -> Compiled {
        self.compile_amending(files, context).0
    }

    /// As [`Compiler::compile`]; and whether the last revision was only amended.
    pub(super) fn compile_amending(&mut self, files: &Files, context: &Context) -> (Compiled, bool) {
        let (changes, shares) = self.parse(files, context);
        let mut good = self.good.take();
        let amended = good.as_mut().and_then(|good| good.amend(&changes, &self.parsed, context));
        if let Some(compiled) = amended.cloned() {
            self.good = good;
            return (compiled, true);
        }
        let came = Came::new(changes.now.iter().map(|file| Arc::clone(&file.source.path)));
        let compiled = self.whole(context, shares, came);
        self.good = Good::of(&compiled, context);
        (compiled, false)
    }

    /// How many bodies of merged manifests are kept.
    #[cfg(test)]
    pub(super) fn merged_bodies(&self) -> usize {
        self.merged.values().filter(|merge| merge.is_kept()).count()
    }

    /// What all files take of what is kept, and of what overlays may make.
    #[cfg(test)]
    pub(super) fn space(&self) -> [u64; 2] {
        [
            self.parsed.iter().map(|file| file.space.used()).sum(),
            self.merged.values().map(super::files::merging::Merge::used).sum(),
        ]
    }

    /// Resolves and lowers everything; `shares` are what may still be taken, `came` the files that others were before.
    fn whole(&mut self, context: &Context, shares: Shares<'_>, came: Came) -> Compiled {
        let asked = self.asked.as_ref();
        let mut resolved = resolve(&self.parsed, context, &mut self.merged, &self.in_force, asked, shares, came);
        freeze::rescue(&self.parsed, &mut resolved);
        missing_repository(&self.parsed, &mut resolved);
        environment::check(&self.parsed, context, &mut resolved);
        grants::check(&mut resolved, context);
        // Whoever is held by it keeps the port that it has.
        hold_through_repository(&mut resolved);
        references::check(&mut resolved, context);
        hidden::check(&mut resolved, &self.parsed, context);
        // Who asked long ago says nothing of who asks now.
        if context.looks_back.is_none() {
            self.asked = Some(std::mem::take(&mut resolved.asked));
        }
        (resolved.response, self.waits) = in_force::settle(&mut resolved, &self.parsed, context, &mut self.in_force);
        let mut compiled = self.lower(resolved, context);
        compiled.files = in_force::files(&self.in_force, &compiled.next_holders());
        compiled
    }

    /// Brings `parsed` to these files: what is gone goes, what changed is parsed. And what may still be taken.
    fn parse<'c>(&mut self, files: &Files, context: &'c Context) -> (Changes, Shares<'c>) {
        let mut changes = Changes::default();
        // In the order of the paths, with a gap for each that is still to be parsed.
        let mut parsed = Vec::with_capacity(files.len());
        let mut changed: Vec<(&Arc<str>, &File)> = Vec::new();
        let mut before = std::mem::take(&mut self.parsed).into_iter().peekable();
        for (path, file) in files {
            if before.peek().is_some_and(|old| old.source.path != *path) {
                changes.before.extend(std::iter::from_fn(|| before.next_if(|old| old.source.path < *path)));
            }
            match before.next_if(|old| old.source.path == *path) {
                Some(old) if old.content == file.content => {
                    parsed.push(Some(old));
                    continue;
                }
                Some(old) => changes.before.push(old),
                None if file.elsewhere.is_none() && class(path) == Class::Ignored => continue,
                None => {}
            }
            parsed.push(None);
            changed.push((path, file));
        }
        changes.before.extend(before);
        changes.now = parse_all(&changed, context);
        let mut now = changes.now.iter();
        self.parsed = parsed.into_iter().filter_map(|known| known.or_else(|| now.next().cloned())).collect();
        let shares = self.settle(&mut changes, context);
        (changes, shares)
    }

    /// Parses again the files that may take more or less now than they did; gives what is left.
    fn settle<'c>(&mut self, changes: &mut Changes, context: &'c Context) -> Shares<'c> {
        let (mut shares, mut others) = (Shares::new(context), Vec::new());
        // Mostly all files together are not as many as some may be: whose they are is then not asked.
        let used = |of_people| -> u64 {
            self.parsed.iter().filter(|file| file.of_people == of_people).map(|file| file.space.used()).sum()
        };
        let too_many = used(false) > space::MOST || used(true) > space::MOST_OF_PEOPLE;
        let crowded = too_many || self.parsed.iter().any(|file| file.space.is_spent());
        for file in self.parsed.iter_mut().filter(|file| crowded || !file.allowance.is_untouched()) {
            let left = shares.left(&file.source.path);
            if !file.allowance.stands(left.expressions) || !file.space.stands(left.room(file.of_people).offered()) {
                let (content, bytes) = (Arc::clone(&file.content), Arc::clone(&file.source.bytes));
                let (left_out, elsewhere) = (file.left_out.clone(), file.elsewhere);
                let same = File { content, bytes, left_out, elsewhere };
                let again = Arc::new(parse(&file.source.path, &same, *left));
                match changes.now.binary_search_by(|now| now.source.path.cmp(&file.source.path)) {
                    Ok(at) => changes.now[at] = Arc::clone(&again),
                    Err(_) => others.push((Arc::clone(file), Arc::clone(&again))),
                }
                *file = again;
            }
            left.expressions -= file.allowance.used();
            left.room(file.of_people).take(&file.space);
        }
        if !others.is_empty() {
            for (before, now) in others {
                changes.before.push(before);
                changes.now.push(now);
            }
            for files in [&mut changes.before, &mut changes.now] {
                files.sort_by(|a, b| a.source.path.cmp(&b.source.path));
            }
        }
        shares
    }

    fn lower(&mut self, resolved: Resolved, context: &Context) -> Compiled {
        let default = resolved.repository.defaults.provider.clone();
        let (mut held, mut held_teams) = (resolved.held, BTreeMap::new());
        let mut lowered = Vec::with_capacity(resolved.units.len());
        let mut before = std::mem::take(&mut self.lowered).into_iter().peekable();
        for (id, unit) in resolved.units {
            while before.next_if(|old| old.resource.id < id).is_some() {}
            let old = before.next_if(|old| old.resource.id == id);
            if let Some(why) = unit.held {
                held_teams.extend(unit.app.team.as_ref().map(|team| (id.clone(), team.value.clone())));
                held.insert(id, why);
                continue;
            }
            match lower_unit(&unit, default.as_ref(), context, old) {
                Some(resource) => lowered.push(Lowered { app: unit.app, resource }),
                None => drop(held.insert(id, "its manifest is not complete".to_owned())),
            }
        }
        let each = lowered.iter().map(|lowered| (lowered.resource.id.clone(), Arc::clone(&lowered.resource)));
        let resources: BTreeMap<_, _> = each.collect();
        self.lowered = lowered;
        let mut diagnostics = resolved.found.ordered();
        for mistake in &mut diagnostics {
            mistake.team = rights::whose(&mistake.place.file, context).cloned();
        }
        let mut wanted = resolved.wanted;
        wanted.forget(&resources);
        let environment = context.environment.clone();
        let desired = Desired {
            owner: resolved.owner.map(|repository| Owner { repository, environment }),
            keeps_limit: resolved.repository_broken.is_some(),
            repository: Arc::unwrap_or_clone(resolved.repository),
            teams: resolved.teams.into_iter().map(|(name, team)| (name, Arc::unwrap_or_clone(team))).collect(),
            resources,
            held,
            held_teams,
            reach: context
                .teams
                .iter()
                .map(|(name, own)| (name.clone(), own.allow.iter().cloned().collect()))
                .collect(),
            everybodys: rights::granted(rights::TOP, context).into_iter().cloned().collect(),
            response: resolved.response,
            undeletable: resolved.undeletable,
            wanted,
        };
        let (declared, holders) = (Arc::new(resolved.declared), resolved.holders);
        Compiled { desired, diagnostics, declared, holders, files: BTreeMap::new() }
    }
}

/// Parses these files, on two threads where there are many.
fn parse_all(files: &[(&Arc<str>, &File)], context: &Context) -> Vec<Arc<ParsedFile>> {
    // As if these were all there are, so that neither thread waits for what the other leaves.
    let one = |part: &[(&Arc<str>, &File)]| -> Vec<Arc<ParsedFile>> {
        let mut shares = Shares::new(context);
        let each = part.iter().map(|(path, file)| {
            let left = shares.left(path);
            let parsed = Arc::new(parse(path, file, *left));
            left.expressions -= parsed.allowance.used();
            left.room(parsed.of_people).take(&parsed.space);
            parsed
        });
        each.collect()
    };
    if files.len() < MANY {
        return one(files);
    }
    let (left, right) = files.split_at(files.len() / 2);
    std::thread::scope(|scope| {
        let right = scope.spawn(|| one(right));
        let mut done = one(left);
        done.extend(right.join().unwrap_or_default());
        done
    })
}

/// Lowers one app, or takes what it was lowered to before when nothing that goes in has changed.
pub(super) fn lower_unit(
    unit: &Unit,
    default: Option<&crate::model::ProviderName>,
    context: &Context,
    old: Option<Lowered>,
) -> Option<Arc<Resource>> {
    let app = &unit.app;
    let provider = app.provider.as_ref().map(|at| &at.value).or(default)?;
    let team = &app.team.as_ref()?.value;
    let tags: BTreeMap<String, String> = app
        .secrets
        .iter()
        .filter_map(|(variable, name)| {
            let tag = context.secrets.as_ref()?.get(&name.value)?.tag.as_ref().ok()?;
            Some((variable.clone(), tag.clone()))
        })
        .collect();
    let same = |old: &Lowered| {
        (Arc::ptr_eq(&old.app, app) || old.app == *app)
            && old.resource.spec.provider == *provider
            && old.resource.secret_tags == tags
            && unit.stands_at(unit.begin, &old.resource.place)
    };
    if let Some(old) = old.filter(same) {
        return Some(old.resource);
    }
    let spec = lower::spec(app, provider.clone(), app.run.as_ref()?.value.clone());
    Some(Arc::new(Resource {
        id: unit.id.clone(),
        team: team.clone(),
        spec_digest: lower::spec_digest(&spec, &tags),
        template_digest: lower::template_digest(&spec, &tags),
        spec,
        secret_tags: tags,
        was: app.was.iter().map(|at| ResourceId::app(at.value.clone())).collect(),
        adopt: app.adopt,
        place: unit.place(unit.begin),
    }))
}

/// Says how to begin when there is no Repository at all.
fn missing_repository(files: &[Arc<ParsedFile>], resolved: &mut Resolved) {
    if resolved.owner.is_some() || resolved.repository_broken.is_some() {
        return;
    }
    if let Some(why) = files.iter().find(|file| *file.source.path == *rights::TOP).and_then(|file| not_whole(file)) {
        resolved.repository_broken = Some(why.clone());
        return;
    }
    let why = "there is no manifest of kind Repository";
    resolved.repository_broken = Some(why.to_owned());
    resolved.found.push(Diagnostic {
        severity: Severity::Error,
        place: Place { file: "codeops.yaml".into(), line: 1, column: 1 },
        team: None,
        message: why.to_owned(),
        help: Some(
            "codeops.yaml holds it:\napiVersion: codeops/v1\nkind: Repository\nmetadata: {name: my-ops}\nspec: {defaults: {provider: local}}"
                .to_owned(),
        ),
        line: String::new(),
        line_start: 1,
        width: 1,
    });
}

/// Holds what resolves through a Repository that cannot be resolved itself: everything while its name is not known, else
/// those that take its default provider.
fn hold_through_repository(resolved: &mut Resolved) {
    for unit in resolved.units.values_mut() {
        if let Some(why) = &resolved.all_held {
            unit.hold(why.clone());
        }
        let through = resolved.owner.is_none() || unit.app.provider.is_none();
        if let Some(why) = resolved.repository_broken.as_ref().filter(|_| through) {
            unit.hold(format!("the Repository manifest cannot be resolved: {why}"));
        }
    }
}
