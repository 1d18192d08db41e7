//! Where and as whom an instance runs, made from what is declared. Pure but for the folders it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use codeops_core::model::{AppSpec, RunSpec, Secret, SystemId};

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

/// The control group of the app in `folder`. An app may have the name of a file that every group has, such as `tasks`; no
/// such file's begins like this.
pub(super) fn cgroup(system: &SystemId, folder: &str) -> String {
    let system: String = system.0.trim_start_matches("process:").chars().take(8).collect();
    format!("codeops/{system}/app-{folder}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_app_has_the_name_of_a_file_that_its_system_keeps_in_every_group() {
        let system = SystemId("process:0123456789abcdef".to_owned());
        for name in ["tasks", "cgroup.procs", "memory.max", "notify_on_release"] {
            let group = cgroup(&system, name);
            assert_eq!(group, format!("codeops/01234567/app-{name}"));
        }
    }
}
