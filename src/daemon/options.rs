//! What a command has made of flags, variables and the settings file: one value, the same for `run`, `plan` and `apply`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use codeops_core::config::Settings;

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
    /// Whether the branch was named, rather than left at its default; a local folder's own branch is followed otherwise.
    pub branch_named: bool,
}
