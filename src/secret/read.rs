//! Reads one secret from where the settings say. Errors name the place and never the value.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use codeops_core::config::SecretSource;
use codeops_core::model::Secret;
use rustix::fs::OFlags;

/// More is not a secret.
const BYTES: u64 = 64 << 10;

/// The value of one secret. `environment` is the daemon's. Of a file, one trailing newline is dropped.
///
/// # Errors
/// One sentence: where it was looked for, what was wrong, what to do.
pub fn read(source: &SecretSource, environment: &BTreeMap<String, String>) -> Result<Secret<String>, String> {
    let value = match source {
        SecretSource::File(path) => read_file(path)?,
        SecretSource::Env(name) => environment
            .get(name)
            .cloned()
            .ok_or_else(|| format!("the variable `{name}` is not set in the daemon's environment"))?,
    };
    let place = || match source {
        SecretSource::File(path) => format!("the file `{path}`"),
        SecretSource::Env(name) => format!("the variable `{name}`"),
    };
    if value.is_empty() {
        return Err(format!("{} is empty: put the value there", place()));
    }
    if value.contains('\0') {
        return Err(format!("{} holds a NUL character, which no variable can carry", place()));
    }
    Ok(Secret::new(value))
}

fn read_file(path: &str) -> Result<String, String> {
    if !Path::new(path).is_absolute() {
        return Err(format!("`{path}` is not an absolute path: give the whole path"));
    }
    let mut bytes = Vec::new();
    open(path)
        .and_then(|file| file.take(BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("the file `{path}`: {error}; the daemon's user must be able to read it"))?;
    if bytes.len() as u64 > BYTES {
        return Err(format!("the file `{path}` is bigger than 64 KiB"));
    }
    // The error would hold the bytes: it is left out.
    let mut value = String::from_utf8(bytes).map_err(|_| format!("the file `{path}` is not UTF-8 text"))?;
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    Ok(value)
}

/// A pipe would be waited for until somebody writes into it, and with it everything else.
fn open(path: &str) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file, such as a pipe, a device or a folder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_never_answer_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).expect("made");
        for path in [&pipe, folder.path(), Path::new("/dev/zero")] {
            let source = SecretSource::File(path.display().to_string());
            let error = read(&source, &BTreeMap::new()).expect_err("no file");
            assert!(error.contains("no regular file") && error.contains(&path.display().to_string()), "{error}");
        }
    }

    #[test]
    fn one_newline_is_dropped_and_junk_is_refused_without_being_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let source = SecretSource::File(path.display().to_string());
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            read(&source, &BTreeMap::new())
        };
        assert_eq!(read(b"value\n\n").expect("good").reveal(), "value\n");
        for bad in [&b"hunter2\xff"[..], b"", b"\n", b"hunter2\0x", &vec![b'x'; (64 << 10) + 1]] {
            let error = read(bad).expect_err("bad");
            assert!(!error.contains("hunter2") && error.contains(&path.display().to_string()), "{error}");
        }
        assert!(super::read(&SecretSource::File("rel".to_owned()), &BTreeMap::new()).is_err());
        assert!(
            super::read(&SecretSource::Env("NOPE".to_owned()), &BTreeMap::new()).expect_err("unset").contains("NOPE")
        );
    }
}
