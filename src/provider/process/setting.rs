//! Where and as whom an instance runs, made from what is declared. Pure but for the folders it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use codeops_core::model::{AppSpec, RunSpec, Secret};

use crate::keeper::wire::{Confidential, Setting, User};
use crate::port::{ApplyError, Secrets};

/// Where programs are looked for when a manifest declares no `PATH`.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The setting of an instance: the declared variables, `PATH` unless declared, and `STATE_DIRECTORY`, the folder it may
/// write. The keeper adds `PORT`, `HOST`, `INSTANCE`, `APP` and the secrets.
pub(super) fn setting(spec: &AppSpec, dir: PathBuf, data: &Path, user: Option<User>, cgroup: String) -> Setting {
    let mut env = spec.env.clone();
    env.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
    env.entry("STATE_DIRECTORY".to_owned()).or_insert_with(|| data.display().to_string().replace('$', "$$"));
    Setting { dir, env, user, cgroup: Some(cgroup), files: None }
}

/// The values of the secrets that `spec` names, by variable.
pub(super) fn confidential(spec: &AppSpec, secrets: &Secrets) -> Result<Confidential, ApplyError> {
    let mut values: BTreeMap<String, Secret<String>> = BTreeMap::new();
    for (variable, name) in &spec.secrets {
        let value = secrets.get(name).ok_or_else(|| {
            ApplyError::Retry(format!(
                "the value of secret {name} for {variable} is not at hand: check the settings' `secrets`"
            ))
        })?;
        values.insert(variable.clone(), value.clone());
    }
    Ok(Confidential(values))
}

/// The artifact of a command; images are not for this provider.
pub(super) fn artifact(spec: &AppSpec) -> Result<Option<&codeops_core::model::Artifact>, ApplyError> {
    match &spec.run {
        RunSpec::Command { artifact, .. } => Ok(artifact.as_ref()),
        RunSpec::Image(image) => Err(ApplyError::Reject(format!(
            "a process provider runs no images such as {image}: give `run.command`, or another provider"
        ))),
    }
}
