//! `validate`: every mistake in a folder's manifests. It runs no program and opens no connection.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use codeops_core::config::Settings;
use codeops_core::desired::{
    Compiled, Compiler, Context, Diagnostic, Files, Severity, TOP, reaches_nobody, without_overlays,
};
use codeops_core::model::Environment;
use serde::Serialize;

use super::args::ValidateArgs;
use super::exit::{Coded, Exit};
use super::output::{Output, Style};
use super::{compile, options};
use crate::source;

/// The only provider there is without settings.
pub(super) const LOCAL: &str = "local";

/// The answer as JSON and YAML.
#[derive(Serialize)]
struct Report {
    valid: bool,
    manifests: usize,
    resources: usize,
    environments: Vec<Environment>,
    diagnostics: Vec<Diagnostic>,
}

/// Checks a folder; ends with 1 where a manifest has an error, with 2 where the folder cannot be read.
pub(crate) fn validate(args: &ValidateArgs, output: &Output) -> anyhow::Result<Exit> {
    let settings = match &args.settings {
        Some(file) => Some(options::read_settings(Some(file))?),
        None => None,
    };
    let files = read(&args.dir, settings.as_ref())?;
    let mut compiler = Compiler::default();
    let chosen = args.environment.clone().or_else(|| settings.as_ref().and_then(|s| s.environment.clone()));
    let environments: Vec<Environment> = match &chosen {
        Some(environment) => vec![environment.clone()],
        None => overlays(&files),
    };
    // The plain repository first: overlays are read on top of it, and only what is new with them is told again.
    let mut passes: Vec<Option<Environment>> = environments.iter().cloned().map(Some).collect();
    if chosen.is_none() {
        passes.insert(0, None);
    }
    let unset = settings.is_none().then(|| LOCAL.parse().ok()).flatten();
    let mut found = BTreeMap::new();
    let mut resources = BTreeSet::new();
    for environment in passes {
        let context = Context { unset: unset.clone(), ..compile::context(environment, settings.as_ref()) };
        let Compiled { desired, diagnostics, .. } = compiler.compile(&files, &context);
        let diagnostics = diagnostics.into_iter().chain(reaches_nobody(&desired, &context));
        let diagnostics = diagnostics.chain(without_overlays(&files, &context));
        resources.extend(desired.resources.into_keys());
        for diagnostic in diagnostics {
            found.entry((diagnostic.place.clone(), diagnostic.message.clone())).or_insert(diagnostic);
        }
    }
    let diagnostics: Vec<Diagnostic> = found.into_values().collect();
    let valid = diagnostics.iter().all(|d| d.severity != Severity::Error);
    let report = Report { valid, manifests: files.len(), resources: resources.len(), environments, diagnostics };
    if let Some(top) = repository_above(&args.dir).filter(|_| !files.contains_key(TOP)) {
        output.note(format!(
            "{} is a part of the config repository {}, whose other files it refers to: validate that folder instead",
            args.dir.display(),
            top.display()
        ));
    }
    if let Some(why) = settings.as_ref().and_then(Settings::one_user) {
        output.note(format!("warning: {why}"));
    }
    output.value(&report, || text(&report, output))?;
    Ok(if valid { Exit::Fine } else { Exit::Failed })
}

/// The folder around this one, within the same checkout, that holds the Repository's file.
fn repository_above(folder: &Path) -> Option<PathBuf> {
    // Without `..`, whose parent is none of what is around it.
    let folder = folder.canonicalize().ok()?;
    let mut around = folder.ancestors().take_while(|inner| !inner.join(".git").exists()).filter_map(Path::parent);
    around.find(|outer| outer.join(TOP).is_file()).map(Path::to_owned)
}

/// The files of a folder, as the daemon would read those of a revision.
pub(super) fn read(folder: &Path, settings: Option<&Settings>) -> anyhow::Result<Files> {
    if folder.exists() && !folder.is_dir() {
        let folder = folder.display();
        return Err(Coded::usage(format!("{folder} is not a folder: name the one that holds codeops.yaml")));
    }
    let teams = settings.map(|settings| settings.teams.clone()).unwrap_or_default();
    source::read_dir(folder, &teams).map_err(|error| Coded::usage(error.0))
}

/// The folders below `environments/` that hold manifests and have a name that can be selected.
fn overlays(files: &Files) -> Vec<Environment> {
    let names: BTreeSet<&str> = files
        .keys()
        .filter_map(|path| path.strip_prefix("environments/")?.split_once('/').map(|(name, _)| name))
        .collect();
    names.into_iter().filter_map(|name| name.parse().ok()).collect()
}

fn text(report: &Report, output: &Output) -> String {
    let mut text = String::new();
    for diagnostic in &report.diagnostics {
        text += &diagnostic.render(output.colour());
        text += "\n\n";
    }
    let files =
        format!("{}, {}", compile::number(report.manifests, "file"), compile::number(report.resources, "resource"));
    let verdict = match report.diagnostics.is_empty() {
        true => output.paint(Style::Good, "valid"),
        false if report.valid => output.paint(Style::Busy, format!("valid, {}", compile::count(&report.diagnostics))),
        false => output.paint(Style::Bad, compile::count(&report.diagnostics)),
    };
    text + &format!("{verdict}: {files}\n")
}
