//! `playbook`: what playbooks would do, thought through over a working tree. Runs no program and opens no connection, so
//! that it is safe on a stranger's branch.

mod again;
mod cases;
mod explain;
mod past;
mod replay;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use codeops_core::config::{Settings, TeamSettings};
use codeops_core::desired::{Compiled, Compiler, Desired, Files, Severity};
use codeops_core::model::{Environment, Name, Response, TeamName};
use codeops_core::playbook::World;

use super::args::{PlaybookArgs, PlaybookCommand};
use super::environment::Variables;
use super::exit::Exit;
use super::output::Output;
use super::receivers::Receivers;
use super::{compile, options, validate};

/// Tests, explains or replays.
pub(crate) fn playbook(args: &PlaybookArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        PlaybookCommand::Test { dir, tree } => {
            let tree = Tree::read(dir, tree.environment.clone(), tree.settings.as_deref())?;
            cases::test(&tree, output)
        }
        PlaybookCommand::Explain { what, receiver, tree } => {
            let (labels, dir) = explain::split(what)?;
            let tree = Tree::read(&dir, tree.environment.clone(), tree.settings.as_deref())?;
            explain::explain(&tree, labels, receiver.as_ref(), output)
        }
        PlaybookCommand::Replay { dir, since, state, detailed_exitcode, tree } => {
            let settings = tree.settings.as_deref();
            let read = Tree::read(dir, tree.environment.clone(), settings)?;
            let flag = state.as_ref().map(|folder| folder.to_string_lossy().into_owned());
            let configured = match flag {
                Some(folder) => Some(folder),
                None => options::read_settings(settings)?.state,
            };
            let state = options::state_folder(configured.as_deref(), variables)?;
            replay::replay(&read, &state, *since, *detailed_exitcode, output)
        }
    }
}

/// A working tree, compiled as `validate` does.
struct Tree {
    files: Files,
    desired: Desired,
    response: Arc<Response>,
    fallback: Option<Name>,
    /// The receivers whose alerts may freeze everything.
    may_freeze: BTreeSet<Name>,
    /// What the settings grant each team.
    teams: BTreeMap<TeamName, TeamSettings>,
    /// Which of them are for some teams' things only.
    receivers: Receivers,
}

impl Tree {
    /// # Errors
    /// The folder or the settings cannot be read, or a manifest holds a mistake: all of them, rendered.
    fn read(dir: &Path, environment: Option<Environment>, settings: Option<&Path>) -> anyhow::Result<Self> {
        let settings: Option<Settings> = settings.map(|file| options::read_settings(Some(file))).transpose()?;
        let files = validate::read(dir, settings.as_ref())?;
        let context = compile::context(environment, settings.as_ref());
        let Compiled { desired, diagnostics, .. } = Compiler::default().compile(&files, &context);
        let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        let rendered: Vec<String> = errors.map(|diagnostic| diagnostic.render(false)).collect();
        anyhow::ensure!(
            rendered.is_empty(),
            "the manifests in {} hold mistakes; nothing was thought through\n{}",
            dir.display(),
            rendered.join("\n\n")
        );
        let receivers = || settings.iter().flat_map(|settings| &settings.receivers);
        Ok(Self {
            response: Arc::new(desired.response.clone()),
            may_freeze: receivers().filter(|(_, it)| it.may_freeze).map(|(name, _)| name.clone()).collect(),
            receivers: Receivers::of(settings.as_ref()),
            teams: context.teams,
            fallback: settings.as_ref().and_then(|settings| settings.fallback.clone()),
            files,
            desired,
        })
    }

    fn world(&self) -> World<'_> {
        World {
            response: &self.response,
            resources: &self.desired.resources,
            reach: &self.desired.reach,
            teams: &self.desired.teams,
            fallback: self.fallback.as_ref(),
            resolve_delay: self.desired.repository.resolve_delay(),
        }
    }
}
