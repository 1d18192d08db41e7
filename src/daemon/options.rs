//! What a command has made of flags, variables and the settings file: one value, the same for `run`, `plan` and `apply`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use codeops_core::config::Settings;

use crate::{secret, source};

/// Everything the daemon is told from outside.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The settings, with flags and variables already laid over the file.
    pub settings: Settings,
    /// The process's environment: `{env: NAME}` secrets are looked up here and nowhere else.
    pub variables: BTreeMap<String, String>,
    /// The state folder.
    pub state: PathBuf,
    /// The path of this very binary: keepers are started from it.
    pub binary: PathBuf,
    /// How the settings are read again while the daemon runs; `None` where there is no file.
    pub reload: Option<Reload>,
    /// Values of secrets that were read under these options or earlier ones of this process.
    pub known: secret::Known,
}

/// Reads the settings file again, with the same flags over it.
#[derive(Clone)]
pub struct Reload {
    /// The file that is watched.
    pub file: PathBuf,
    /// Reads it: all or nothing.
    pub read: Arc<dyn Fn() -> anyhow::Result<Settings> + Send + Sync>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Options {
    /// These options with the branch that a local folder has checked out, where none was named: on a laptop the branch one
    /// works on is the one that is meant. While the folder is away it is the branch followed last.
    pub(super) fn with_own_branch(mut self) -> Self {
        let repository = &mut self.settings.repository;
        let url = repository.url.as_deref().filter(|_| repository.branch.is_none());
        let own = url.and_then(|url| source::head_branch(url).or_else(|| source::branch_of_absent(url, &self.state)));
        if let Some(branch) = own.filter(|branch| *branch != repository.branch()) {
            tracing::info!(branch, "no branch is named: following the one that the folder has checked out");
            repository.branch = Some(branch);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_followed_where_it_works_unless_a_branch_is_written_out_even_the_usual_one() {
        let folder = tempfile::tempdir().expect("a folder");
        git2::Repository::init(folder.path()).and_then(|it| it.set_head("refs/heads/work")).expect("a repository");
        let followed = |branch: Option<&str>| {
            let mut settings = Settings::default();
            settings.repository.url = Some(folder.path().display().to_string());
            settings.repository.branch = branch.map(str::to_owned);
            let options = Options {
                settings,
                variables: BTreeMap::new(),
                state: folder.path().join("state"),
                binary: PathBuf::from("codeops"),
                reload: None,
                known: secret::Known::default(),
            };
            options.with_own_branch().settings.repository.branch().to_owned()
        };
        assert_eq!(followed(None), "work");
        assert_eq!(followed(Some("main")), "main");
    }
}
