//! Secrets where the settings name none, for push hooks and for alerts: made once, kept in the state folder, private.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use codeops_core::model::Secret;

use crate::base;

/// A secret shorter than this in the file was not made here.
const SHORTEST: usize = 16;

/// The secret kept at `STATE/hooks/git-secret`, made if it is not there, and its path, so that people can be told.
///
/// # Errors
/// The file cannot be read or written, is too short, or the system gives no random bytes.
pub fn kept_secret(state: &Path) -> io::Result<(Secret<String>, PathBuf)> {
    kept(state, "git-secret")
}

/// The same for the token of the receiver `alerts`, at `STATE/hooks/alerts-token`.
///
/// # Errors
/// As [`kept_secret`].
pub fn kept_token(state: &Path) -> io::Result<(Secret<String>, PathBuf)> {
    kept(state, "alerts-token")
}

fn kept(state: &Path, name: &str) -> io::Result<(Secret<String>, PathBuf)> {
    let folder = state.join("hooks");
    let path = folder.join(name);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    if !path.exists() {
        base::write_private(&path, format!("{}\n", hex::encode(base::random::<32>()?)).as_bytes())?;
    }
    let text = fs::read_to_string(&path)?.trim().to_owned();
    if text.len() < SHORTEST {
        let why =
            format!("`{}` is shorter than {SHORTEST} characters: remove it and a new one is made", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok((Secret::new(text), path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_and_private() {
        let state = tempfile::tempdir().expect("a folder");
        let (first, path) = kept_secret(state.path()).expect("made");
        let (second, _) = kept_secret(state.path()).expect("read");
        assert_eq!((first.reveal(), first.reveal().len()), (second.reveal(), 64));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short\n").expect("written");
        assert!(kept_secret(state.path()).is_err());
    }
}
