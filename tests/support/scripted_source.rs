//! A config repository in memory: commits with parents, files and trailers; a tip that moves, vanishes and is rewritten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use codeops::port::{Clock, Commit, Source, SourceError, Tip};
use codeops_core::desired::{File, Files};
use codeops_core::model::Revision;

/// See the module.
pub(crate) struct ScriptedSource {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    commits: BTreeMap<Revision, Committed>,
    tip: Option<Revision>,
    unreachable: Option<String>,
    late: Duration,
    /// The revisions whose files were read, in turn.
    read: Vec<Revision>,
}

struct Committed {
    parent: Option<Revision>,
    files: Arc<Files>,
    commit: Commit,
}

impl ScriptedSource {
    /// One without commits.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits on top of the tip; an empty text removes a file.
    pub(crate) fn commit(&self, changes: &[(&str, &str)], trailers: &[(&str, &str)]) -> Revision {
        let parent = self.state().tip.clone();
        self.commit_on(parent.as_ref(), changes, trailers)
    }

    /// Commits on top of `parent` and makes that the tip, whatever it was.
    pub(crate) fn commit_on(
        &self,
        parent: Option<&Revision>,
        changes: &[(&str, &str)],
        trailers: &[(&str, &str)],
    ) -> Revision {
        let mut state = self.state();
        let mut files = parent.map(|parent| Files::clone(&state.commits[parent].files)).unwrap_or_default();
        for (path, text) in changes {
            if text.is_empty() {
                files.remove(*path);
            } else {
                let file = File::new(*text, text.as_bytes());
                files.insert(Arc::from(*path), file);
            }
        }
        let number = state.commits.len() + 1;
        let revision: Revision = format!("{number:040x}").parse().expect("a commit id");
        let commit = Commit {
            revision: revision.clone(),
            author: "Ada <ada@acme.example>".to_owned(),
            at: self.clock.now(),
            subject: format!("Commit {number}"),
            trailers: trailers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            signer: None,
            changed: changes.iter().map(|(path, _)| (*path).to_owned()).collect(),
            stands: changes.iter().map(|(path, _)| (*path).to_owned()).collect(),
            brings: changes.iter().map(|(path, _)| (*path).to_owned()).collect(),
            beyond: Default::default(),
            brought: Vec::new(),
            later: Default::default(),
            teams: Default::default(),
        };
        let committed = Committed { parent: parent.cloned(), files: Arc::new(files), commit };
        state.commits.insert(revision.clone(), committed);
        state.tip = Some(revision.clone());
        revision
    }

    /// From now on it does not answer, or, with `None`, answers again.
    pub(crate) fn set_unreachable(&self, why: Option<&str>) {
        self.state().unreachable = why.map(str::to_owned);
    }

    /// The revisions whose files were read since this was last asked.
    pub(crate) fn take_read(&self) -> Vec<Revision> {
        std::mem::take(&mut self.state().read)
    }

    /// From now on it answers this late.
    pub(crate) fn set_late(&self, late: Duration) {
        self.state().late = late;
    }

    /// The files of a revision.
    pub(crate) fn tree(&self, revision: &Revision) -> Arc<Files> {
        Arc::clone(&self.state().commits[revision].files)
    }
}

impl State {
    /// The line from `until` back to the first commit.
    fn line(&self, until: &Revision) -> Vec<Revision> {
        let mut line = vec![until.clone()];
        while let Some(parent) = self.commits.get(&line[line.len() - 1]).and_then(|c| c.parent.clone()) {
            line.push(parent);
        }
        line
    }
}

#[async_trait]
impl Source for ScriptedSource {
    async fn fetch(&self, current: Option<&Revision>) -> Result<Tip, SourceError> {
        let late = self.state().late;
        tokio::time::sleep(late).await;
        let state = self.state();
        if let Some(why) = &state.unreachable {
            return Err(SourceError(why.clone()));
        }
        let tip = state.tip.clone().ok_or_else(|| SourceError("branch main has no commit".to_owned()))?;
        match current {
            Some(current) if !state.line(&tip).contains(current) => {
                let held = Some(format!("history was rewritten: {} does not descend from {}", tip, current));
                Ok(Tip { revision: current.clone(), held })
            }
            _ => Ok(Tip { revision: tip, held: None }),
        }
    }

    async fn files(&self, revision: &Revision) -> Result<Arc<Files>, SourceError> {
        let mut state = self.state();
        state.read.push(revision.clone());
        let commit = state.commits.get(revision);
        commit.map(|c| Arc::clone(&c.files)).ok_or_else(|| SourceError(format!("no commit {revision}")))
    }

    async fn commits(&self, since: Option<&Revision>, until: &Revision) -> Result<Vec<Commit>, SourceError> {
        let state = self.state();
        let line = state.line(until);
        let new = match since {
            None => 1,
            Some(since) => line
                .iter()
                .position(|revision| revision == since)
                .ok_or_else(|| SourceError(format!("{until} does not descend from {since}")))?,
        };
        Ok(line.iter().take(new).rev().map(|revision| state.commits[revision].commit.clone()).collect())
    }
}
