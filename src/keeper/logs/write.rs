//! The writing end of an app's log files: appends lines and rotates by size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{CURRENT, format};
use crate::port::{Clock as _, SystemClock};

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(in crate::keeper) struct LogLimits {
    /// Bytes after which a file is rotated.
    pub(in crate::keeper) bytes: u64,
    /// Files, the current one among them.
    pub(in crate::keeper) files: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { bytes: 8 << 20, files: 4 }
    }
}

/// The log files of one app.
#[derive(Debug)]
pub(in crate::keeper) struct LogFiles {
    folder: PathBuf,
    limits: LogLimits,
    open: Mutex<Option<(File, u64)>>,
}

impl LogFiles {
    /// The files in `folder`, which exists.
    pub(in crate::keeper) fn new(folder: &Path, limits: LogLimits) -> Self {
        Self { folder: folder.to_owned(), limits, open: Mutex::new(None) }
    }

    /// Appends lines that one instance wrote to one stream. A full disk loses lines and stops nothing.
    pub(in crate::keeper) fn append<'a>(&self, instance: &str, stream: &str, lines: impl Iterator<Item = &'a str>) {
        let at = SystemClock.now();
        let text: String = lines.map(|line| format(at, instance, stream, line)).collect();
        if !text.is_empty() {
            drop(self.write(text.as_bytes()));
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if open.as_ref().is_some_and(|(_, size)| *size >= self.limits.bytes) {
            *open = None;
            self.rotate();
        }
        if open.is_none() {
            let path = self.folder.join(CURRENT);
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
            let size = file.metadata()?.len();
            *open = Some((file, size));
        }
        if let Some((file, size)) = open.as_mut() {
            file.write_all(bytes)?;
            *size += bytes.len() as u64;
        }
        Ok(())
    }

    fn rotate(&self) {
        let name = |n: u32| match n {
            0 => self.folder.join(CURRENT),
            n => self.folder.join(format!("{CURRENT}.{n}")),
        };
        // The oldest is written over. A gap, or a file that cannot be moved, costs old lines only.
        for n in (0..self.limits.files.saturating_sub(1)).rev() {
            drop(fs::rename(name(n), name(n + 1)));
        }
    }
}
