//! Manifests in, resources out: parse → resolve → lower, like a compiler.
//!
//! Pure: bytes and facts come in, a [`Desired`] and every mistake found come out. It opens nothing and runs nothing.
//!
//! [`Compiler::compile`] is the way through the rooms, in this order:
//!
//! 1. `text`: bytes become trees with places; mistakes are collected and shown. `bounds` says how much is read at all.
//! 2. `files`: each file becomes documents, read by `kinds`; overlays are merged in. Only files that changed go this way.
//! 3. `resolve`: one manifest of each id. `teams` says whose word counts where several have one.
//! 4. `apps`: what manifests of apps say about each other, then defaults and digests.
//! 5. `missing`: of what is not there any more, what may be taken for gone.
//! 6. `answering`: which manifests of how alerts are answered are in force.
//!
//! `amend` is the short cut from a good revision to the next one. `settings` and `schema` stand beside the way: the daemon's
//! settings, and the same fields for editors. `spoiled` asks it about a change that a bot is about to push.

mod amend;
mod answering;
mod apps;
mod bounds;
mod compiler;
mod files;
mod kinds;
mod missing;
mod resolve;
mod schema;
mod settings;
mod spoiled;
mod teams;
mod text;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{RepositorySpec, TeamSettings, TeamSpec};
use crate::model::{
    Claims, Environment, Name, Owner, ProviderName, Resource, ResourceId, Response, SecretName, TeamName, Whose,
};

pub use answering::coverage::reaches_nobody;
pub use apps::order::order;
pub use apps::wanted::{Asks, Wanted};
pub use bounds::levelling::{Levelled, Much, Writers};
pub use compiler::Compiler;
pub use files::declared::declared_in;
pub use files::environment::without_overlays;
pub use files::file::{is_manifest, is_wanted};
pub use missing::undeletable::{GONE, Undeletable};
pub use schema::{overlay_schema, schema, schema_kinds};
pub use settings::parse_settings;
pub use spoiled::spoils;
pub use teams::rights::{TOP, claims, may_release, owners};
pub use text::condition::condition_at;
pub use text::diagnostic::{Diagnostic, Severity};
pub use text::edit::edit;
pub use text::read::near;

/// One file of the config repository.
#[derive(Debug, Clone)]
pub struct File {
    /// Content id (the Git blob's, or any hash): equal ids mean equal bytes.
    pub content: Arc<str>,
    /// The bytes as they are.
    pub bytes: Arc<[u8]>,
    /// Why none of them were read, where they were not.
    pub left_out: Option<Arc<str>>,
    /// What it is, where it is no file: what it stands for is elsewhere, and not followed.
    pub elsewhere: Option<&'static str>,
}

impl File {
    /// A file with these bytes.
    pub fn new(content: impl Into<Arc<str>>, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { content: content.into(), bytes: bytes.into(), left_out: None, elsewhere: None }
    }

    /// A file that is not read, and why: what it declared stays as it is.
    pub fn left_out(why: Arc<str>) -> Self {
        // The reason is all there is of it.
        Self { content: Arc::clone(&why), bytes: Arc::default(), left_out: Some(why), elsewhere: None }
    }

    /// What is no file but, in words, `a symbolic link` or `a submodule`: what was declared in its place stays as it is.
    pub fn elsewhere(what: &'static str) -> Self {
        Self { content: what.into(), bytes: Arc::default(), left_out: None, elsewhere: Some(what) }
    }
}

/// The files of one revision below the configured path, keyed by their path with `/`.
pub type Files = BTreeMap<Arc<str>, File>;

/// The ids each file declares or, for overlays, changes.
pub type Declared = BTreeMap<Arc<str>, Arc<BTreeSet<ResourceId>>>;

/// What the settings and the past say; all optional, so that `validate` works on a stranger's branch.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The environment whose overlays apply.
    pub environment: Option<Environment>,
    /// Providers in the settings and what they can do; `None`: not checked.
    pub providers: Option<BTreeMap<ProviderName, ProviderFacts>>,
    /// The one provider there is without settings: where none are given, any other is told to be unchecked.
    pub unset: Option<ProviderName>,
    /// Secrets in the settings; `None`: grants are not checked and tags are left empty.
    pub secrets: Option<BTreeMap<SecretName, SecretFacts>>,
    /// What each team may claim; empty: everything.
    pub teams: BTreeMap<TeamName, TeamSettings>,
    /// Where the daemon itself listens: what, and `host:port`.
    pub reserved: Vec<(&'static str, String)>,
    /// Who is paged where no route says.
    pub fallback: Option<Name>,
    /// Whose policy that is; `None`: of whoever may claim the Repository's file.
    pub fallback_team: Option<TeamName>,
    /// The ids each file last declared, so that a file that became unreadable holds them.
    pub declared: Declared,
    /// The apps that were there, and the port and the former names that each had by right at the last accepted revision: who
    /// had one keeps it when another asks for it too.
    pub claims: BTreeMap<ResourceId, Claims>,
    /// Of manifests of how alerts are answered that other teams have as well, that stay for a mistake or though they are deleted, or
    /// that are gone and still named, as `Kind/name`: whose they were at the last accepted revision.
    pub holders: BTreeMap<String, TeamName>,
    /// Of those that are in force, the file that each stood in when it last was good, as far as that is remembered.
    pub files: BTreeMap<String, Arc<str>>,
    /// Where the files are of a revision that is looked back at: of these manifests, as `Kind/name`, it is known that they were
    /// good in it, whatever paths their teams may claim by now.
    pub looks_back: Option<BTreeSet<String>>,
    /// Whether what is deleted of how alerts are answered stays: removals of this revision may be held, which
    /// [`Compiler::let_go`] says they are not.
    pub deletions_wait: bool,
}

/// What a provider can do, as far as manifests are checked against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderFacts {
    /// The kind of provider, for messages: `process`.
    pub word: &'static str,
    /// Whether it runs commands.
    pub commands: bool,
    /// Whether it runs container images.
    pub images: bool,
    /// Whether its apps' ports are those of the daemon's machine: all such providers have them together.
    pub host_ports: bool,
}

/// One secret as the settings grant it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFacts {
    /// The teams it is granted to.
    pub teams: BTreeSet<TeamName>,
    /// A keyed tag of its present value; changes when the value does. Or why there is none to be had: what uses the secret
    /// then stays as it is, for an unknown value must not look like a new one.
    pub tag: Result<String, String>,
}

/// What one revision wants.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// Who declares it; `None` while the `Repository` manifest cannot be read.
    pub owner: Option<Owner>,
    /// The `Repository` manifest's spec.
    pub repository: RepositorySpec,
    /// Whether that has a mistake, so that the limit on removals is the one of the revision before.
    pub keeps_limit: bool,
    /// Teams by name.
    pub teams: BTreeMap<TeamName, TeamSpec>,
    /// All resources that could be lowered. No dependency cycle: those in one are in `held` instead.
    pub resources: BTreeMap<ResourceId, Arc<Resource>>,
    /// Resources that keep what they have, each with why: their manifest, team or provider cannot be resolved.
    pub held: BTreeMap<ResourceId, String>,
    /// The teams that the manifests of those held name, where they do.
    pub held_teams: BTreeMap<ResourceId, TeamName>,
    /// Which teams each team of the settings lets take over what is its own. Empty: the settings name no teams, and nothing
    /// is asked.
    pub reach: BTreeMap<TeamName, BTreeSet<TeamName>>,
    /// The teams of the settings that may claim the Repository's file: what they write is for everybody.
    pub everybodys: BTreeSet<TeamName>,
    /// How alerts are answered.
    pub response: Response,
    /// What this revision must not delete: a mistake may hide what became of it.
    pub undeletable: Undeletable,
    /// Of what is not declared, what is one team's and others' manifests ask for, which have no effect.
    pub wanted: Wanted,
}

impl Desired {
    /// Whether the settings name teams, and so keep them from each other.
    pub fn keeps_teams_apart(&self) -> bool {
        !self.reach.is_empty()
    }

    /// Whether `team` may have what is `theirs`. Where the settings name no teams, as on a laptop, whoever writes the repository
    /// may do all.
    pub fn may_take(&self, team: &TeamName, theirs: &TeamName) -> bool {
        team == theirs || self.reach.is_empty() || self.reach.get(theirs).is_some_and(|allowed| allowed.contains(team))
    }

    /// What says that it had another name, by those names; who may take over what bears one is another question.
    pub fn renamed(&self) -> BTreeMap<&ResourceId, Vec<&Arc<Resource>>> {
        let mut renamed: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (was, to) in self.resources.values().flat_map(|to| to.was.iter().map(move |was| (was, to))) {
            renamed.entry(was).or_default().push(to);
        }
        renamed
    }

    /// Whose alerts are by this revision.
    pub fn whose(&self) -> Whose {
        let declared = self.resources.iter().map(|(id, resource)| (id.clone(), resource.team.clone()));
        let held = self.held_teams.iter().map(|(id, team)| (id.clone(), team.clone()));
        Whose::new(declared.chain(held), self.teams.keys().cloned(), &self.reach, &self.everybodys)
    }
}

/// The result of [`Compiler::compile`].
#[derive(Debug, Clone, Default)]
pub struct Compiled {
    /// What could be understood.
    pub desired: Desired,
    /// Every mistake found, ordered by place.
    pub diagnostics: Vec<Diagnostic>,
    /// The ids each readable file declares: the next [`Context::declared`].
    pub declared: Arc<Declared>,
    /// Of manifests of how alerts are answered that several teams have, or that are gone and still named, as `Kind/name`, whose
    /// they are.
    pub holders: BTreeMap<String, TeamName>,
    /// Of what is in [`Compiled::next_holders`] and in force, the file that it stands in, or stood in when it last was good.
    files: BTreeMap<String, Arc<str>>,
}

impl Compiled {
    /// The next [`Context::holders`]: with whose that is which stays in force for a mistake, or though it is deleted. Where it was
    /// good others may have had it as well.
    pub fn next_holders(&self) -> BTreeMap<String, TeamName> {
        let response = &self.desired.response;
        // A test answers nothing, and is looked back at by nobody.
        let stays = |id: &&String| self.desired.keeps_teams_apart() && !id.starts_with("PlaybookTest/");
        let stay = response.broken.keys().chain(response.deleted.keys()).filter(stays);
        let stay = stay.filter_map(|id| Some((id.clone(), response.team_of(id)?.clone())));
        stay.chain(self.holders.clone()).collect()
    }

    /// The next [`Context::files`].
    pub fn next_files(&self) -> BTreeMap<String, Arc<str>> {
        let holders = self.next_holders();
        let files = self.files.iter().filter(|(id, _)| holders.contains_key(*id));
        files.map(|(id, file)| (id.clone(), Arc::clone(file))).collect()
    }

    /// Whether any diagnostic is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }
}
