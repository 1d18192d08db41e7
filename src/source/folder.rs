//! A plain folder read as manifests and scripts, for `validate`: no Git, no links followed, and else as a revision is read: the same
//! limits, and the same files left out.

use std::ffi::OsString;
use std::fs::{self, FileType};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use codeops_core::desired::{File, Files};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::census::{Census, Teams};
use super::tree::{LINK, instead, is_hidden, is_wanted, kept, legible, size_kept, too_deep};
use super::{Limits, SourceError};

/// Reads the manifests and scripts below `folder`; `teams` are what the settings grant. Content ids are SHA-256; symbolic links and
/// what is hidden are left out.
///
/// # Errors
/// A folder or file cannot be read; names it.
pub fn read_dir(folder: &Path, teams: &Teams) -> Result<Files, SourceError> {
    read_within(folder, teams, Limits::default())
        .map_err(|SourceError(why)| SourceError(format!("`{}`: {why}", folder.display())))
}

fn read_within(folder: &Path, teams: &Teams, limits: Limits) -> Result<Files, SourceError> {
    let mut walk = Walk { limits, census: Census::new(limits, teams) };
    walk.folder(folder, "", 0)?;
    let (each, mut files) = walk.census.level();
    for (found, beyond) in each {
        let path = found.path;
        let file = match (beyond, found.at) {
            (Some(why), _) => File::left_out(why),
            (None, At::TooDeep) => File::new("too deep", too_deep()),
            (None, At::Elsewhere) => File::elsewhere(LINK),
            (None, At::Path(at)) => file(&at, &path, limits).map_err(|error| unreadable(&path, &error))?,
        };
        files.insert(path.into(), file);
    }
    Ok(files)
}

struct Walk<'t> {
    limits: Limits,
    census: Census<'t, At>,
}

/// What a file is read by.
enum At {
    Path(PathBuf),
    /// It is a folder that is too deep.
    TooDeep,
    /// It is a link.
    Elsewhere,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), SourceError> {
        if self.limits.is_too_deep(depth) {
            self.census.wants(prefix.to_owned(), 0, At::TooDeep);
            return Ok(());
        }
        let entries = fs::read_dir(folder).and_then(|entries| entries.map(|entry| named(&entry?, prefix)).collect());
        let mut entries: Vec<(String, FileType, OsString)> = entries.map_err(|error| unreadable(prefix, &error))?;
        entries.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        for (path, kind, name) in entries {
            if !self.census.entry(&path) {
                continue;
            }
            let at = folder.join(&name);
            if kind.is_dir() && !is_hidden(name.as_bytes()) {
                self.folder(&at, &path, depth + 1)?;
            } else if kind.is_file() && is_wanted(&path, name.as_bytes()) {
                let metadata = fs::symlink_metadata(&at).map_err(|error| unreadable(&path, &error))?;
                let size = size_kept(&path, metadata.len(), self.limits);
                self.census.wants(path, size, At::Path(at));
            } else if kind.is_symlink() && !is_hidden(name.as_bytes()) && name.to_str().is_some() {
                self.census.wants(path, 0, At::Elsewhere);
            }
        }
        Ok(())
    }
}

/// An entry with its path, that of a folder with its `/`: such is the order of Git.
fn named(entry: &fs::DirEntry, prefix: &str) -> io::Result<(String, FileType, OsString)> {
    let (name, kind) = (entry.file_name(), entry.file_type()?);
    let end = if kind.is_dir() { "/" } else { "" };
    Ok((format!("{prefix}{}{end}", legible(name.as_bytes())), kind, name))
}

/// A link put in the file's place meanwhile is not followed.
fn file(at: &Path, path: &str, limits: Limits) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(at)?;
    let most = limits.file_bytes;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let bytes = instead(path);
        return Ok(File::new(hex::encode(Sha256::digest(&bytes)), bytes));
    }
    Ok(File::new(hex::encode(Sha256::digest(&bytes)), kept(path, &bytes)))
}

fn unreadable(path: &str, error: &io::Error) -> SourceError {
    let what = if path.is_empty() { "it".to_owned() } else { format!("`{}`", super::text::clean(path, 200)) };
    SourceError(format!("{what} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use codeops_core::config::TeamSettings;

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
        let files = read_dir(folder.path(), &Teams::new()).expect("readable");
        assert_eq!(files.keys().map(|path| &**path).collect::<Vec<_>>(), ["apps/a.yaml", "linked", "passwd.yaml"]);
        for link in ["linked", "passwd.yaml"] {
            assert_eq!((&*files[link].bytes, files[link].elsewhere), (&b""[..], Some("a symbolic link")));
            fs::remove_file(at(link)).expect("removed");
        }
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
        let files = read_dir(folder.path(), &Teams::new()).expect("readable");
        let names =
            ["apps/a.yaml", "big.yml", "b\u{fffd}ff.yaml", "playbooks/scripts/long.sh", "playbooks/scripts/look.sh"];
        assert_eq!(files.keys().map(|path| &**path).collect::<Vec<_>>(), names);
        assert_eq!(&*files["playbooks/scripts/long.sh"].bytes, b"");
        assert!(files["playbooks/scripts/look.sh"].bytes.starts_with(b"#!/bin/sh"));
        assert!(files["playbooks/scripts/look.sh"].bytes.len() < 1000);
        assert_eq!(files["big.yml"].bytes, instead("big.yml"));
        fs::create_dir_all(at(&"d/".repeat(40))).expect("made");
        let files = read_dir(folder.path(), &Teams::new()).expect("readable");
        assert!(files.contains_key("d/".repeat(33).as_str()) && files.len() == names.len() + 1);
        assert!(read_dir(&at("gone"), &Teams::new()).expect_err("it is not there").0.contains("cannot be read"));
    }
    #[test]
    fn a_folder_with_too_much_of_one_team_is_read_but_for_that() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let team = |name: &str| {
            let own = TeamSettings { paths: vec![format!("{name}/**")], ..TeamSettings::default() };
            (name.parse().expect("a name"), own)
        };
        fs::create_dir_all(at("a")).expect("made");
        fs::create_dir_all(at("b/b")).expect("made");
        fs::write(at("codeops.yaml"), "x").expect("written");
        fs::write(at("a/z.yaml"), "x".repeat(40)).expect("written");
        for number in 0..10 {
            fs::write(at(&format!("b/b/{number}.yaml")), "x".repeat(10)).expect("written");
        }
        for limits in [
            Limits { files: 7, ..Limits::default() },
            Limits { total_bytes: 91, ..Limits::default() },
            Limits { entries: 7, ..Limits::default() },
        ] {
            let files = read_within(folder.path(), &Teams::from([team("a"), team("b")]), limits).expect("readable");
            let read: Vec<&str> =
                files.iter().filter(|(_, file)| file.left_out.is_none()).map(|(path, _)| &**path).collect();
            let wanted =
                ["a/z.yaml", "b/b/0.yaml", "b/b/1.yaml", "b/b/2.yaml", "b/b/3.yaml", "b/b/4.yaml", "codeops.yaml"];
            assert_eq!(read, wanted, "{limits:?}");
            assert!(files["b/b/5.yaml"].left_out.as_ref().is_some_and(|why| why.contains("`b`")), "{limits:?}");
        }
    }
}
