//! Git as a user types it: a handful of commands on one work tree.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::process::Command;

/// One work tree.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    folder: PathBuf,
    hermetic: bool,
}

impl Git {
    /// The user's own Git, with the user's own settings.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), hermetic: false }
    }

    /// Git that knows nothing of this machine's settings.
    pub(super) fn hermetic(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), hermetic: true }
    }

    /// Runs one command and gives what it prints.
    pub(crate) async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.folder).args(args).env("GIT_TERMINAL_PROMPT", "0");
        if self.hermetic {
            command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        }
        let shown = format!("git {}", args.first().unwrap_or(&""));
        let done = command.output().await.with_context(|| format!("{shown} cannot be started"))?;
        if !done.status.success() {
            anyhow::bail!("{shown} in {}: {}", self.folder.display(), String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    /// The revision of the newest commit.
    pub(super) async fn head(&self) -> anyhow::Result<String> {
        self.run(&["rev-parse", "HEAD"]).await
    }

    /// Commits all there is and gives the new revision.
    pub(crate) async fn commit(&self, message: &str) -> anyhow::Result<String> {
        self.run(&["add", "--all"]).await?;
        let known = !self.hermetic && self.run(&["config", "user.email"]).await.is_ok();
        let mut args = Vec::new();
        if !known {
            args.extend([
                "-c",
                "user.name=codeops",
                "-c",
                "user.email=codeops@localhost",
                "-c",
                "commit.gpgSign=false",
            ]);
        }
        args.extend(["commit", "--quiet", "--allow-empty", "-m", message]);
        self.run(&args).await?;
        self.run(&["rev-parse", "HEAD"]).await
    }
}
