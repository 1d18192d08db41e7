//! A plain folder read as manifests, for `validate`: no Git, no links followed, the limits of a repository.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use codeops_core::desired::{File, Files, is_manifest, is_wanted};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::OpenOptionsExt as _;

use super::tree::{Budget, Unread, beginning};
use super::{Limits, SourceError};

/// Reads the manifests below `folder`. Content ids are SHA-256; `.git` and symbolic links are left out.
///
/// # Errors
/// A folder or file cannot be read, or a limit is passed; names it.
pub fn read_dir(folder: &Path) -> Result<Files, SourceError> {
    let mut files = Files::new();
    let mut budget = Budget::new(Limits::default());
    walk(folder, "", 0, &mut budget, &mut files).map_err(|unread| match unread {
        Unread::Refused(SourceError(why)) => SourceError(format!("`{}`: {why}", folder.display())),
        Unread::Damaged(error) => SourceError(error.to_string()),
    })?;
    Ok(files)
}

fn walk(folder: &Path, prefix: &str, depth: usize, budget: &mut Budget, files: &mut Files) -> Result<(), Unread> {
    budget.depth(prefix, depth)?;
    for entry in fs::read_dir(folder).map_err(|error| unreadable(prefix, &error))? {
        let entry = entry.map_err(|error| unreadable(prefix, &error))?;
        budget.entry()?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().map_err(|error| unreadable(&path, &error))?;
        if kind.is_dir() && name != ".git" {
            walk(&entry.path(), &format!("{path}/"), depth + 1, budget, files)?;
        } else if kind.is_file() && is_wanted(&path) {
            let most = Limits::default().file_bytes;
            let mut bytes = read_file(&entry.path(), most).map_err(|error| unreadable(&path, &error))?;
            let content = hex::encode(Sha256::digest(&bytes)).into();
            if !is_manifest(&path) {
                // Too long a one counts as empty, which no playbook may run.
                bytes = if bytes.len() as u64 <= most { beginning(&bytes).to_vec() } else { Vec::new() };
            }
            budget.file(&path, bytes.len() as u64)?;
            files.insert(path.into(), File { content, bytes: bytes.into() });
        }
    }
    Ok(())
}

/// The file's bytes, at most one more than `most`. A link put in its place meanwhile is not followed.
fn read_file(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &str, error: &std::io::Error) -> Unread {
    Unread::Refused(SourceError(format!("`{}` cannot be read: {error}", super::text::clean(path, 200))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_read_and_links_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("apps/.git")).expect("made");
        fs::write(at("apps/a.yaml"), "a").expect("written");
        fs::write(at("apps/.git/b.yaml"), "b").expect("written");
        fs::write(at("readme.md"), "c").expect("written");
        std::os::unix::fs::symlink(at("apps"), at("linked")).expect("linked");
        std::os::unix::fs::symlink("/etc/passwd", at("passwd.yaml")).expect("linked");
        let files = read_dir(folder.path()).expect("readable");
        assert_eq!(files.keys().map(|path| &**path).collect::<Vec<_>>(), ["apps/a.yaml"]);
        fs::write(at("big.yml"), vec![b'x'; (1 << 20) + 1]).expect("written");
        assert!(read_dir(folder.path()).expect_err("too big").0.contains("big.yml"));
    }
}
