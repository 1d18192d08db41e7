//! From a tip to a revision in force: fetch, read, compile, accept, and obey the trailers of its commits.

use std::sync::{Arc, PoisonError};

use codeops_core::desired::{Compiled, Compiler, Context};
use codeops_core::model::{Owner, Revision, RevisionState};

use super::before::{Before, Holders, Kept, as_before, kept, written};
use super::events::{Event, Load};
use super::flaps::Flaps;
use super::world::Current;
use super::{Flow, Rules, Tools, acceptance, trailers};
use crate::journal::{LogError, Record};
use crate::port::{Commit, SourceError, Tip};

impl Flow {
    /// Asks the repository for its tip; at most one question at a time, at most one more waiting.
    pub(super) fn fetch(&mut self) {
        if self.world.fetching {
            self.world.fetch_again = true;
            return;
        }
        self.world.fetching = true;
        let (source, sender, current) = (Arc::clone(&self.tools.source), self.sender.clone(), self.accepted());
        self.tasks.spawn(async move {
            let result = source.fetch(current.as_ref()).await;
            let _ = sender.send(Event::Fetched(result)).await;
        });
    }

    pub(super) async fn fetched(&mut self, result: Result<Tip, SourceError>) -> Result<(), LogError> {
        self.world.fetching = false;
        self.world.fetched_once = true;
        match result {
            Ok(tip) => {
                self.world.source.fetched_at = Some(self.tools.clock.now());
                self.world.first_tip.get_or_insert_with(|| tip.revision.clone());
                let unread = self.world.unread.as_ref().filter(|(revision, _)| *revision == tip.revision);
                let error = unread.map(|(_, why)| why.clone());
                self.note_source(error, tip.held).await?;
                if self.world.current.as_ref().is_none_or(|current| current.revision != tip.revision) {
                    self.load(tip.revision);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the repository cannot be fetched; the last revision stays in force");
                let held = self.world.source.held.clone();
                self.note_source(Some(error.0), held).await?;
            }
        }
        if std::mem::take(&mut self.world.fetch_again) {
            self.fetch();
        }
        self.world.dirty = true;
        Ok(())
    }

    /// Keeps what the repository last said, and writes down when that changes.
    async fn note_source(&mut self, error: Option<String>, held: Option<String>) -> Result<(), LogError> {
        let view = &mut self.world.source;
        if (&view.error, &view.held) == (&error, &held) {
            return Ok(());
        }
        view.error.clone_from(&error);
        view.held.clone_from(&held);
        self.tools.journal.record(vec![Record::Source { error, held }]).await.map(|_| ())
    }

    /// After a restart: the revision in force is read from the mirror, whether the repository answers or not.
    pub(super) fn resume(&mut self) {
        if let Some(revision) = self.accepted() {
            self.load(revision);
        }
    }

    /// Compiles the revision in force again: a secret's value or grant may have changed. Not while one loads: that one
    /// is newer and reads the secrets anyway.
    pub(super) fn reload(&mut self) {
        if let Some(current) = self.world.current.as_ref().filter(|_| self.world.compiler.is_some()) {
            let revision = current.revision.clone();
            self.load(revision);
        }
    }

    /// Reads and compiles a revision beside the flow. While one loads, a newer tip waits for the next fetch.
    fn load(&mut self, revision: Revision) {
        let Some(compiler) = self.world.compiler.take() else {
            self.world.load_next = Some(revision);
            return;
        };
        let since = self.accepted();
        let is_known = since.as_ref() == Some(&revision);
        let context = context(&self.tools, &self.rules);
        let (source, vault, sender) =
            (Arc::clone(&self.tools.source), Arc::clone(&self.tools.vault), self.sender.clone());
        // The first one of this daemon: its compiler has seen nothing.
        let journal = self.world.current.is_none().then(|| (self.tools.journal.clone(), self.kept()));
        self.tasks.spawn(async move {
            let read = async {
                let files = source.files(&revision).await?;
                let since = since.filter(|since| *since != revision);
                let commits = source.commits(since.as_ref(), &revision).await?;
                Ok((files, trailers::with_teams(commits, &context.teams)))
            };
            let mut found = Kept::new();
            let (compiler, result) = match read.await {
                Err(error) => (compiler, Err(error)),
                Ok((files, commits)) => {
                    let context = Context { secrets: Some(vault.facts()), ..context };
                    let same = context.clone();
                    let compile = move || {
                        let mut compiler = compiler;
                        let compiled = compiler.compile(&files, &same);
                        (compiler, compiled)
                    };
                    match tokio::task::spawn_blocking(compile).await {
                        Ok((compiler, compiled)) => {
                            let broken = !compiled.desired.response.broken.is_empty();
                            let broken = broken || (is_known && !compiled.holders.is_empty());
                            let journal = journal.filter(|(_, kept)| broken || !kept.is_empty());
                            let before = match journal {
                                Some((journal, kept)) => {
                                    as_before(&source, &journal, &context, &revision, &compiled, &kept, is_known).await
                                }
                                None => Before::default(),
                            };
                            found = before.found;
                            let (compiler, compiled) = before.compiled.unwrap_or((compiler, compiled));
                            (compiler, Ok((compiled, commits)))
                        }
                        Err(error) => {
                            let error = SourceError(format!("revision {revision} could not be compiled: {error}"));
                            (Compiler::default(), Err(error))
                        }
                    }
                }
            };
            let _ = sender.send(Event::Loaded(Box::new(Load { revision, compiler, result, found }))).await;
        });
    }

    pub(super) async fn loaded(&mut self, load: Load) -> Result<(), LogError> {
        self.world.compiler = Some(load.compiler);
        match load.result {
            Ok((compiled, commits)) => {
                self.read_again().await?;
                self.accept(load.revision, compiled, commits, &load.found).await?;
            }
            Err(error) => {
                tracing::warn!(revision = %load.revision, %error, "a revision cannot be read");
                let held = self.world.source.held.clone();
                self.world.unread = Some((load.revision, error.0.clone()));
                self.note_source(Some(error.0), held).await?;
            }
        }
        self.world.dirty = true;
        if let Some(next) = self.world.load_next.take() {
            self.load(next);
        }
        Ok(())
    }

    /// A revision can be read: that another could not, such as one that a rewritten history left behind, is over.
    async fn read_again(&mut self) -> Result<(), LogError> {
        let unread = self.world.unread.take().map(|(_, why)| why);
        if unread.is_some() && self.world.source.error == unread {
            let held = self.world.source.held.clone();
            self.note_source(None, held).await?;
        }
        Ok(())
    }

    async fn accept(
        &mut self,
        revision: Revision,
        mut compiled: Compiled,
        commits: Vec<Commit>,
        found: &Kept,
    ) -> Result<(), LogError> {
        let known = self.accepted().as_ref() == Some(&revision);
        let (accepted, remembered, stays) = {
            let memory = self.tools.journal.memory();
            let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
            let current = self.world.current.as_ref();
            (
                acceptance::accepted(&revision, &compiled, &commits, &memory),
                acceptance::remembered(&memory),
                acceptance::stays(&compiled.desired, &memory, |id| current?.declares(id)),
            )
        };
        // Trailers are anybody's words: nobody who writes waits for their reading.
        let read = || trailers::released(&commits, &compiled.desired, &self.rules.teams, &remembered);
        let released = accepted.as_ref().map(|_| read()).unwrap_or_default();
        self.tools.journal.record(accepted.into_iter().chain(released).chain(stays).collect()).await?;
        self.tools.source.taken(&revision).await;
        if !known {
            tracing::info!(revision = revision.short(), resources = compiled.desired.resources.len(), "accepted");
            self.end_observe_only(&revision).await?;
        }
        self.let_go_of_answers(&revision, &mut compiled);
        let until_now = self.world.current.as_ref().map(|current| (&current.revision, &*current.desired));
        let remembered = self.kept();
        let manifests = kept(&compiled, &remembered, found, until_now);
        let holders = Holders { teams: compiled.next_holders(), files: compiled.next_files() };
        if let Some(record) = written((&remembered, &self.holders()), (&manifests, &holders)) {
            self.tools.journal.record(vec![record]).await?;
        }
        let memory = self.tools.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        let (desired, kept) = acceptance::keep_as_declared(compiled.desired, &memory);
        let newest = commits.last();
        let previous = self.world.current.take().filter(|current| current.revision == revision);
        let applied = memory.revision.applied.as_ref() == Some(&revision);
        let now = self.tools.clock.now();
        let state = match &previous {
            Some(current) => current.state,
            None if applied => RevisionState::Applied,
            None => RevisionState::Applying,
        };
        self.world.current = Some(Current {
            revision,
            desired: Arc::new(desired),
            kept,
            diagnostics: compiled.diagnostics,
            subject: newest.map(|commit| commit.subject.clone()).unwrap_or_default(),
            author: newest.map(|commit| commit.author.clone()).unwrap_or_default(),
            teams: newest.map(|commit| commit.teams.clone()).unwrap_or_default(),
            accepted_at: memory.revision.accepted_at.unwrap_or(now),
            state,
            flaps: previous.map_or_else(|| Flaps::new(state, now), |current| current.flaps),
        });
        Ok(())
    }

    /// Where what is broken in the revision in force was good last.
    fn kept(&self) -> Kept {
        let memory = self.tools.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        memory.revision.kept.clone()
    }

    /// Whose is what several teams have in it, or still name, and where it stands.
    fn holders(&self) -> Holders {
        let memory = self.tools.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        Holders { teams: memory.revision.holders.clone(), files: memory.revision.files.clone() }
    }

    /// The revision in force, as remembered.
    pub(super) fn accepted(&self) -> Option<Revision> {
        let memory = self.tools.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        memory.revision.accepted.clone()
    }

    /// Who declares: the revision's own word, else the remembered one.
    pub(super) fn owner(&self) -> Option<Owner> {
        let memory = self.tools.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        acceptance::owner(self.world.current.as_ref().map(|current| &*current.desired), &memory)
    }
}

fn context(tools: &Tools, rules: &Rules) -> Context {
    let memory = tools.journal.memory();
    let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
    Context {
        environment: rules.environment.clone(),
        providers: Some(acceptance::provider_facts(&tools.observers)),
        secrets: None,
        teams: rules.teams.clone(),
        reserved: rules.reserved.clone(),
        unset: None,
        fallback: rules.fallback.clone(),
        fallback_team: rules.fallback_team.clone(),
        declared: acceptance::declared(&memory),
        claims: acceptance::claims(&memory),
        holders: memory.revision.holders.clone(),
        files: memory.revision.files.clone(),
        looks_back: None,
        deletions_wait: true,
    }
}
