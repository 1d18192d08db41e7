//! A plain folder read as manifests and scripts, for `validate`: no Git, no links followed, and else as a revision is read: the same
//! limits, and the same files left out.

use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use codeops_core::desired::{File, Files};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::tree::{Budget, Unread, instead, is_hidden, is_wanted, kept, legible, too_deep};
use super::{Limits, SourceError};

/// Reads the manifests and scripts below `folder`. Content ids are SHA-256; symbolic links and what is hidden are left out.
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
    if budget.is_too_deep(depth) {
        budget.file(0)?;
        files.insert(prefix.into(), File { content: "too deep".into(), bytes: too_deep() });
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(|error| unreadable(prefix, &error))? {
        let entry = entry.map_err(|error| unreadable(prefix, &error))?;
        budget.entry()?;
        let name = entry.file_name();
        let name = name.as_bytes();
        let path = format!("{prefix}{}", legible(name));
        let kind = entry.file_type().map_err(|error| unreadable(&path, &error))?;
        if kind.is_dir() && !is_hidden(name) {
            walk(&entry.path(), &format!("{path}/"), depth + 1, budget, files)?;
        } else if kind.is_file() && is_wanted(&path, name) {
            let file = file(&entry.path(), &path).map_err(|error| unreadable(&path, &error))?;
            budget.file(file.bytes.len() as u64)?;
            files.insert(path.into(), file);
        }
    }
    Ok(())
}

/// A link put in the file's place meanwhile is not followed.
fn file(at: &Path, path: &str) -> std::io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(at)?;
    let most = Limits::default().file_bytes;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let bytes = instead(path);
        return Ok(File { content: hex::encode(Sha256::digest(&bytes)).into(), bytes });
    }
    Ok(File { content: hex::encode(Sha256::digest(&bytes)).into(), bytes: kept(path, &bytes).into() })
}

fn unreadable(path: &str, error: &std::io::Error) -> Unread {
    let what = if path.is_empty() { "it".to_owned() } else { format!("`{}`", super::text::clean(path, 200)) };
    Unread::Refused(SourceError(format!("{what} cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

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
        fs::create_dir_all(at("playbooks/scripts")).expect("made");
        fs::write(at("playbooks/scripts/look.sh"), format!("#!/bin/sh\n{}", "x".repeat(1000))).expect("written");
        fs::write(at("playbooks/scripts/long.sh"), vec![b'x'; (1 << 20) + 1]).expect("written");
        fs::write(at("playbooks/other.sh"), "#!/bin/sh\n").expect("written");
        fs::write(at("playbooks/scripts").join(OsStr::from_bytes(b"b\xff.sh")), "#!/bin/sh\n").expect("written");
        fs::create_dir_all(at(".github")).expect("made");
        fs::write(at(".github/c.yaml"), "c").expect("written");
        fs::write(at(".hidden.yaml"), "d").expect("written");
        fs::write(folder.path().join(OsStr::from_bytes(b"b\xff.yaml")), "e").expect("written");
        let files = read_dir(folder.path()).expect("readable");
        let names =
            ["apps/a.yaml", "big.yml", "b\u{fffd}ff.yaml", "playbooks/scripts/long.sh", "playbooks/scripts/look.sh"];
        assert_eq!(files.keys().map(|path| &**path).collect::<Vec<_>>(), names);
        assert_eq!(&*files["playbooks/scripts/long.sh"].bytes, b"");
        assert!(files["playbooks/scripts/look.sh"].bytes.starts_with(b"#!/bin/sh"));
        assert!(files["playbooks/scripts/look.sh"].bytes.len() < 1000);
        assert_eq!(files["big.yml"].bytes, instead("big.yml"));
        fs::create_dir_all(at(&"d/".repeat(40))).expect("made");
        let files = read_dir(folder.path()).expect("readable");
        assert!(files.contains_key("d/".repeat(33).as_str()) && files.len() == names.len() + 1);
        assert!(read_dir(&at("gone")).expect_err("it is not there").0.contains("cannot be read"));
    }
}
