//! The process's environment, read once. Everything else is handed this map.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The variables of the environment that are text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Reads the environment of this process.
    pub(crate) fn read() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// The value of one variable, if it is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All of them.
    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The file that the shell would start for `program`.
    pub(crate) fn which(&self, program: &str) -> Option<PathBuf> {
        std::env::split_paths(self.get("PATH")?).map(|folder| folder.join(program)).find(|file| is_program(file))
    }

    /// Where state lies when nothing says otherwise.
    pub(crate) fn state_folder(&self) -> anyhow::Result<PathBuf> {
        if rustix::process::geteuid().is_root() {
            return Ok(PathBuf::from("/var/lib/codeops"));
        }
        let absolute = |path: &str| Path::new(path).is_absolute();
        if let Some(folder) = self.get("XDG_STATE_HOME").filter(|path| absolute(path)) {
            return Ok(Path::new(folder).join("codeops"));
        }
        let home = self.get("HOME").filter(|path| absolute(path)).ok_or_else(|| {
            anyhow::anyhow!("neither XDG_STATE_HOME nor HOME is set: say where state lies with --state DIR")
        })?;
        Ok(Path::new(home).join(".local/state/codeops"))
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

fn is_program(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}
