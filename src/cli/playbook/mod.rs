//! `playbook`: what playbooks would do, thought through over a working tree. Runs no program and opens no connection, so
//! that it is safe on a stranger's branch.

mod cases;
mod explain;
mod text;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use codeops_core::config::Settings;
use codeops_core::desired::{Compiled, Compiler, Desired, Severity};
use codeops_core::model::{Environment, Name, Period, Response, TeamName};
use codeops_core::playbook::World;

use super::args::{PlaybookArgs, PlaybookCommand};
use super::exit::Exit;
use super::output::Output;
use super::{compile, options, validate};

/// How late a resolved signal may come when the repository does not say.
const RESOLVE_DELAY: Period = Period::from_secs(360);

/// Tests, explains or replays.
pub(crate) fn playbook(args: &PlaybookArgs, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        PlaybookCommand::Test { dir, tree } => {
            let tree = Tree::read(dir, tree.environment.clone(), tree.settings.as_deref())?;
            cases::test(&tree, output)
        }
        PlaybookCommand::Explain { what, tree } => {
            let (labels, dir) = explain::split(what)?;
            let tree = Tree::read(&dir, tree.environment.clone(), tree.settings.as_deref())?;
            explain::explain(&tree, labels, output)
        }
    }
}

/// A working tree, compiled as `validate` does.
struct Tree {
    desired: Desired,
    response: Arc<Response>,
    escalations: BTreeMap<TeamName, Name>,
    fallback: Option<Name>,
}

impl Tree {
    /// # Errors
    /// The folder or the settings cannot be read, or a manifest holds a mistake: all of them, rendered.
    fn read(dir: &Path, environment: Option<Environment>, settings: Option<&Path>) -> anyhow::Result<Self> {
        let settings: Option<Settings> = settings.map(|file| options::read_settings(Some(file))).transpose()?;
        let files = validate::read(dir)?;
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
        let own = |(name, team): (&TeamName, &codeops_core::config::TeamSpec)| {
            team.escalation.clone().map(|policy| (name.clone(), policy))
        };
        Ok(Self {
            response: Arc::new(desired.response.clone()),
            escalations: desired.teams.iter().filter_map(own).collect(),
            fallback: settings.and_then(|settings| settings.fallback),
            desired,
        })
    }

    fn world(&self) -> World<'_> {
        World {
            response: &self.response,
            resources: &self.desired.resources,
            reach: &self.desired.reach,
            escalations: &self.escalations,
            fallback: self.fallback.as_ref(),
            resolve_delay: self.desired.repository.resolve_delay.unwrap_or(RESOLVE_DELAY),
        }
    }
}
