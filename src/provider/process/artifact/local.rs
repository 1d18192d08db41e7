//! Files of this machine as artifacts: which of them may be read for whom. The daemon may read more than any team may see.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{ArtifactError, Egress};
use crate::base::{allows_file, file_refusal};

/// Opens the file at `path`, whatever links lead to it, if `egress` allows what they lead to.
///
/// # Errors
/// [`ArtifactError::Barred`], which says the same whether or not a file is there that the team may not see.
pub(super) fn open(path: &Path, egress: &Egress) -> Result<File, ArtifactError> {
    let refused = || ArtifactError::Barred(file_refusal(path));
    let disk = |error: &std::io::Error| ArtifactError::disk("read", path, error);
    let real = match fs::canonicalize(path) {
        Ok(real) if allows_file(egress, &real) => real,
        Ok(_) => return Err(refused()),
        Err(error) => {
            let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
            let told = folder.is_some_and(|folder| allows_file(egress, &folder));
            return Err(if told { disk(&error) } else { refused() });
        }
    };
    // Without waiting: a named pipe has no end.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(&real, flags, Mode::empty()).map_err(|error| disk(&error.into()))?;
    let file = File::from(file);
    // Compared as it was opened: a link that was put in the way since then leads nowhere.
    let opened = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|error| disk(&error))?;
    if opened != real {
        return Err(ArtifactError::Transient(format!("{} changed while it was opened", path.display())));
    }
    let metadata = file.metadata().map_err(|error| disk(&error))?;
    if !metadata.is_file() {
        return Err(ArtifactError::Refused(format!("{} is not a file", path.display())));
    }
    let private = metadata.permissions().mode() & 0o004 == 0;
    if private && *egress == Egress::Open && rustix::process::geteuid().is_root() {
        return Err(ArtifactError::Refused(format!(
            "{} is not readable by others, and a daemon under root gives no such file to apps: `chmod o+r` it, or name \
             its folder in a team's `egress` in the settings",
            path.display()
        )));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_team_reads_files_below_its_folders_only() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        for folder in ["builds", "builds-b", "secrets"] {
            fs::create_dir(at(folder)).unwrap();
        }
        for file in ["builds/tool", "builds-b/tool", "secrets/key"] {
            fs::write(at(file), "x").unwrap();
            chmod(&at(file), 0o600);
        }
        std::os::unix::fs::symlink(at("secrets/key"), at("builds/link")).unwrap();
        std::os::unix::fs::symlink(at("builds"), at("current")).unwrap();
        let team = |entry: &str| Egress::Guarded(vec!["builds.example".to_owned(), at(entry).display().to_string()]);
        let team = |path: &str, entry: &str| open(&at(path), &team(entry));
        assert!(team("builds/tool", "builds").is_ok());
        assert!(team("current/tool", "builds").is_ok() && team("builds/tool", "current").is_ok());
        // Also by links, by `..`, by a name that begins the same, and for nothing that is there or not.
        let ways = ["secrets/key", "builds/link", "builds/../secrets/key", "builds-b/tool", "secrets/none"];
        for path in ways {
            let error = team(path, "builds").unwrap_err();
            assert!(matches!(&error, ArtifactError::Barred(why) if why.contains("egress")), "{path}: {error}");
        }
        assert!(open(&at("builds/tool"), &Egress::Guarded(Vec::new())).is_err());
        let missing = team("builds/none", "builds").unwrap_err();
        assert!(matches!(missing, ArtifactError::Transient(_)), "{missing}");
        rustix::fs::mkfifoat(rustix::fs::CWD, at("builds/pipe"), Mode::from_raw_mode(0o644)).unwrap();
        assert!(team("builds/pipe", "builds").unwrap_err().to_string().contains("not a file"));
    }

    #[test]
    fn without_teams_root_gives_away_nothing_private() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("key");
        fs::write(&file, "x").unwrap();
        chmod(&file, 0o644);
        assert!(open(&file, &Egress::Open).is_ok());
        chmod(&file, 0o600);
        assert_eq!(open(&file, &Egress::Open).is_err(), rustix::process::geteuid().is_root());
    }
}
