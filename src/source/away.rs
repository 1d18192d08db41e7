//! What is remembered of a local repository, so that a daemon starts on its last good revision while the folder is away:
//! a disk that is mounted late must not keep apps down. Only a folder that was never mirrored is refused.

use std::fs;
use std::path::{Path, PathBuf};

use git2::Repository;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::SourceError;
use super::address::Address;
use crate::base;

/// What `repository.url` led to when it was last there.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// The folder, without links.
    folder: PathBuf,
    /// The branch that was followed.
    branch: String,
}

/// So long is such a name.
pub(super) const NAME: usize = 24;

/// The name under which something that belongs to an address is kept.
pub(super) fn name_of(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..NAME / 2])
}

/// Remembers where `url` led, if that is a folder. Only what lets a later daemon start depends on it.
pub(super) fn remember(url: &str, address: &Address, branch: &str, root: &Path) {
    let Address::Folder(folder) = address else { return };
    let known = Known { folder: folder.clone(), branch: branch.to_owned() };
    if read(url, root).as_ref() == Some(&known) {
        return;
    }
    let written = serde_json::to_vec(&known).map_err(std::io::Error::from);
    if let Err(error) = written.and_then(|bytes| base::write_private(&note(url, root), &bytes)) {
        tracing::warn!(%error, "where the repository lies cannot be written down");
    }
}

/// The address of a folder that cannot be opened now and was mirrored before; else why it cannot be opened.
pub(super) fn address(url: &str, root: &Path, why: SourceError) -> Result<Address, SourceError> {
    let folder = folder_of(url).map(|folder| read(url, root).map_or(folder, |known| known.folder));
    match folder {
        Some(folder) if is_mirrored(&folder, root) => {
            let SourceError(why) = why;
            tracing::warn!(why, "the repository is away: the last revision stays in force until it is back");
            Ok(Address::Folder(folder))
        }
        _ => Err(why),
    }
}

/// The branch that was followed in a local folder that cannot be opened now.
pub fn branch_of_absent(url: &str, state: &Path) -> Option<String> {
    let folder = folder_of(url)?;
    if folder.is_dir() {
        return None;
    }
    read(url, &state.join("source")).map(|known| known.branch)
}

/// The folder that `url` means, unless it means something else.
fn folder_of(url: &str) -> Option<PathBuf> {
    let path = match url.strip_prefix("file://") {
        Some(path) => path,
        None if url.contains(':') || url.is_empty() => return None,
        None => url,
    };
    std::path::absolute(path).ok()
}

fn is_mirrored(folder: &Path, root: &Path) -> bool {
    let mirror = root.join(name_of(&folder.display().to_string()));
    let has_tip = |repository: Repository| {
        repository.references_glob("refs/codeops/*").is_ok_and(|mut references| references.next().is_some())
    };
    Repository::open_bare(mirror).is_ok_and(has_tip)
}

fn note(url: &str, root: &Path) -> PathBuf {
    root.join(name_of(url)).with_extension("folder")
}

fn read(url: &str, root: &Path) -> Option<Known> {
    serde_json::from_slice(&fs::read(note(url, root)).ok()?).ok()
}
