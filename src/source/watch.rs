//! Watches the refs of a repository in a local folder, so that a commit is followed at once. It only says "look now".

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::address::Address;
use super::text::clean;
use super::{Reason, SourceError, Trigger};

/// Watches until it is dropped.
pub struct Watch {
    _watcher: RecommendedWatcher,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    /// Watches the repository at `url` if that is a local folder; `None` for any other. Without a watch polling goes on.
    ///
    /// # Errors
    /// The folder is no repository, or the system gives no more watches.
    pub fn start(url: &str, trigger: Trigger) -> Result<Option<Self>, SourceError> {
        let Ok(Address::Folder(folder)) = Address::parse(url) else { return Ok(None) };
        let fail = |why: String| SourceError(format!("`{}` cannot be watched: {why}; it is polled", folder.display()));
        let places = Places::of(&folder).ok_or_else(|| fail("it is not a Git repository".to_owned()))?;
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error may stand for lost events: looking once too often costs nothing.
            if event.as_ref().map_or(true, is_telling) {
                trigger.fetch_now(Reason::Watch);
            }
        })
        .map_err(|error| fail(error.to_string()))?;
        for (path, mode) in places.watched() {
            watcher.watch(&path, mode).map_err(|error| fail(error.to_string()))?;
        }
        Ok(Some(Self { _watcher: watcher }))
    }
}

/// Whether refs may have moved: not a mere read, not a lock file that comes and goes.
fn is_telling(event: &Event) -> bool {
    let refs = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let inside = path.components().any(|part| matches!(part.as_os_str().to_str(), Some("refs" | "reftable")));
        !name.ends_with(".lock") && (inside || matches!(&*name, "HEAD" | "packed-refs"))
    };
    !matches!(event.kind, EventKind::Access(_)) && (event.need_rescan() || event.paths.iter().any(|path| refs(path)))
}

/// Where a repository keeps its HEAD and its refs; they differ in a linked work tree.
pub(super) struct Places {
    pub(super) own: PathBuf,
    pub(super) common: PathBuf,
}

impl Places {
    pub(super) fn of(folder: &Path) -> Option<Self> {
        let dot_git = folder.join(".git");
        let own = if dot_git.is_dir() {
            dot_git
        } else if let Ok(text) = fs::read_to_string(&dot_git) {
            folder.join(text.strip_prefix("gitdir:")?.trim())
        } else {
            folder.to_owned()
        };
        let common = match fs::read_to_string(own.join("commondir")) {
            Ok(text) => own.join(text.trim()),
            Err(_) => own.clone(),
        };
        (own.join("HEAD").exists() && common.join("refs").is_dir()).then_some(Self { own, common })
    }

    fn watched(&self) -> Vec<(PathBuf, RecursiveMode)> {
        let mut places = vec![(self.own.clone(), RecursiveMode::NonRecursive)];
        if self.common != self.own {
            places.push((self.common.clone(), RecursiveMode::NonRecursive));
        }
        for name in ["refs/heads", "reftable"] {
            let folder = self.common.join(name);
            if folder.is_dir() {
                places.push((folder, RecursiveMode::Recursive));
            }
        }
        places
    }
}

/// The branch a local folder has checked out: what `--repo DIR` follows when no branch is named. `None` for a URL, a
/// detached HEAD, or no repository.
pub fn head_branch(url: &str) -> Option<String> {
    let Ok(Address::Folder(folder)) = Address::parse(url) else { return None };
    let head = fs::read_to_string(Places::of(&folder)?.own.join("HEAD")).ok()?;
    let branch = head.trim().strip_prefix("ref: refs/heads/")?;
    // A reftable repository has a HEAD that means nothing.
    (branch != ".invalid").then(|| clean(branch, 250))
}
