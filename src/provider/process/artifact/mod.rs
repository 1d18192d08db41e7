//! Artifacts: from a URL and its SHA-256 to files on disk. Fetches, verifies and unpacks; never runs what it fetched.
//!
//! Every byte here comes from outside: the sender, the redirects and the archive are all treated as hostile.

mod bounded;
mod fetch;
mod local;
mod progress;
mod tar;
mod tree;
mod turn;
mod zip;

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::base::request::Forbidden;

use bounded::Bounded;
pub use fetch::fetch;
pub use progress::Progress;

pub use crate::base::Egress;
pub use crate::base::request::shown;
pub use tree::{Limits, Tree};

/// Why an artifact cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ArtifactError {
    /// Not now: the network, the server, the disk. Trying again may help.
    #[error("{0}")]
    Transient(String),
    /// Not yet: it is being fetched, and comes further. Says how far.
    #[error("{0}")]
    UnderWay(String),
    /// Not like this: wrong digest, unsafe archive. Only another declaration helps.
    #[error("{0}")]
    Refused(String),
    /// Not from there: the settings do not let the team reach it. Another declaration helps, and so do other settings.
    #[error("{0}")]
    Barred(String),
}

impl From<Forbidden> for ArtifactError {
    fn from(forbidden: Forbidden) -> Self {
        match forbidden {
            Forbidden::Never(why) => Self::Refused(why),
            Forbidden::Barred(why) => Self::Barred(why),
        }
    }
}

impl ArtifactError {
    /// The same with `what` in front.
    pub(super) fn of(self, what: &str) -> Self {
        match self {
            Self::Transient(why) => Self::Transient(format!("{what}: {why}")),
            Self::UnderWay(how) => Self::UnderWay(format!("{what}: {how}")),
            Self::Refused(why) => Self::Refused(format!("{what}: {why}")),
            Self::Barred(why) => Self::Barred(format!("{what}: {why}")),
        }
    }

    pub(super) fn disk(what: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::Transient(format!("cannot {what} {}: {error}", path.display()))
    }
}

/// What the fetched bytes turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One file, taken as it is.
    File,
    /// A tar under gzip.
    TarGz,
    /// A tar under Zstandard.
    TarZst,
    /// A zip.
    Zip,
}

/// Names whose bytes are a zip but which are run as one file.
const ZIPS_RUN_WHOLE: [&str; 5] = [".jar", ".war", ".ear", ".pyz", ".whl"];

impl Form {
    /// Tells the form by the first bytes; `name` only decides whether a zip is a program of its own, such as a `.jar`.
    pub fn of(head: &[u8], name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        if head.starts_with(&[0x1f, 0x8b]) {
            Form::TarGz
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Form::TarZst
        } else if (head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06"))
            && !ZIPS_RUN_WHOLE.iter().any(|end| name.ends_with(end))
        {
            Form::Zip
        } else {
            Form::File
        }
    }
}

/// The name of the one file that `url` gives: its last path segment when that is a plain file name, else `program`.
pub fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let path = path.split_once("://").map_or(path, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
    let last = path.rsplit('/').next().unwrap_or("");
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-@~".contains(c);
    let usable = !last.is_empty() && last.len() <= 128 && !last.starts_with('.') && last.chars().all(plain);
    if usable { last.to_owned() } else { "program".to_owned() }
}

/// Unpacks the fetched file at `from` into the empty folder `into`, files named `name` when it is one file. Everything
/// made is read-only, without setuid bits, inside `into`.
///
/// # Errors
/// [`ArtifactError::Refused`] names the entry that is not safe; `into` then holds a part that must be thrown away.
/// [`ArtifactError::Transient`] once `progress` says that nobody wants it any more.
pub fn unpack(
    from: &Path,
    name: &str,
    into: &Path,
    limits: &Limits,
    progress: &Progress,
) -> Result<Form, ArtifactError> {
    let mut file = File::open(from).map_err(|error| ArtifactError::disk("open", from, &error))?;
    let size = file.metadata().map_err(|error| ArtifactError::disk("read", from, &error))?.len();
    let mut head = [0_u8; 4];
    let mut seen = 0;
    while seen < head.len() {
        match file.read(&mut head[seen..]) {
            Ok(0) => break,
            Ok(count) => seen += count,
            Err(error) => return Err(ArtifactError::disk("read", from, &error)),
        }
    }
    file.seek(SeekFrom::Start(0)).map_err(|error| ArtifactError::disk("read", from, &error))?;
    let form = Form::of(&head[..seen], name);
    let mut tree = Tree::new(into, size, limits);
    let reader = BufReader::with_capacity(64 << 10, file);
    let most = limits.unpacked(size);
    match form {
        Form::File => tree.file(name.as_bytes(), true, &mut Bounded::new(reader, most, progress))?,
        Form::TarGz => {
            tar::unpack(Bounded::new(flate2::read::MultiGzDecoder::new(reader), most, progress), &mut tree)?;
        }
        Form::TarZst => {
            let _turn = turn::Turn::take(progress)?;
            tar::unpack(Bounded::new(tar::zstd(reader)?, most, progress), &mut tree)?;
        }
        Form::Zip => zip::unpack(reader, &mut tree, progress)?,
    }
    tree.seal()?;
    Ok(form)
}

#[cfg(test)]
mod tests;
