//! The writing end of an app's log files: appends lines and rotates by size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tokio::time::Instant;

use super::{CURRENT, format};
use crate::port::{Clock as _, SystemClock};

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(in crate::keeper) struct LogLimits {
    /// Bytes after which a file is rotated.
    pub(in crate::keeper) bytes: u64,
    /// Files, the current one among them.
    pub(in crate::keeper) files: u32,
    /// Bytes a second, sustained, and at once after a quiet time.
    pub(in crate::keeper) rate: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { bytes: 8 << 20, files: 4, rate: 4 << 20 }
    }
}

/// The log files of one app.
#[derive(Debug)]
pub(in crate::keeper) struct LogFiles {
    folder: PathBuf,
    limits: LogLimits,
    open: Mutex<Option<(File, u64)>>,
    meter: Mutex<Meter>,
}

/// What may be written: filled evenly up to one second's worth. Once it is empty, nothing is until it is full again, so
/// that what is kept of a flood is in few pieces.
#[derive(Debug)]
struct Meter {
    left: f64,
    at: Instant,
    is_open: bool,
}

impl Meter {
    fn admits(&mut self, rate: u32, now: Instant) -> bool {
        let rate = f64::from(rate);
        self.left = (self.left + rate * now.duration_since(self.at).as_secs_f64()).min(rate);
        self.at = now;
        self.is_open = self.left >= if self.is_open { 0.0 } else { rate };
        self.is_open
    }
}

impl LogFiles {
    /// The files in `folder`, which exists.
    pub(in crate::keeper) fn new(folder: &Path, limits: LogLimits) -> Self {
        let meter = Meter { left: f64::from(limits.rate), at: Instant::now(), is_open: true };
        Self { folder: folder.to_owned(), limits, open: Mutex::new(None), meter: Mutex::new(meter) }
    }

    /// Whether what comes now is kept, or too much has come.
    pub(super) fn admits(&self) -> bool {
        let mut meter = self.meter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        meter.admits(self.limits.rate, Instant::now())
    }

    /// Appends lines that one instance wrote to one stream. A full disk loses lines and stops nothing.
    pub(in crate::keeper) fn append<'a>(&self, instance: &str, stream: &str, lines: impl Iterator<Item = &'a str>) {
        let at = SystemClock.now();
        let text: String = lines.map(|line| format(at, instance, stream, line)).collect();
        if !text.is_empty() {
            let mut meter = self.meter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            meter.left -= f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
            drop(meter);
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

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;
    use crate::keeper::logs::{FOLDER, read};
    use crate::port::LogQuery;

    fn files(dir: &Path) -> LogFiles {
        let folder = dir.join(FOLDER);
        fs::create_dir_all(&folder).expect("a folder");
        LogFiles::new(&folder, LogLimits { bytes: 2_000, files: 3, rate: 1 << 20 })
    }

    fn query(tail: usize, follow: bool) -> LogQuery {
        LogQuery { instance: None, tail, follow }
    }

    #[test]
    fn a_flood_is_kept_a_second_in_two_and_what_writes_less_whole() {
        let start = Instant::now();
        let mut meter = Meter { left: 100.0, at: start, is_open: true };
        let mut kept = Vec::new();
        for tenth in 0..40 {
            let admitted = meter.admits(100, start + std::time::Duration::from_millis(100 * tenth));
            meter.left -= if admitted { 60.0 } else { 0.0 };
            kept.push(admitted);
        }
        let pieces = kept.chunk_by(|a, b| a == b).count();
        assert!(kept[0] && pieces < 12 && kept.iter().filter(|kept| **kept).count() < 15, "{kept:?}");
        let mut meter = Meter { left: 100.0, at: start, is_open: true };
        for tenth in 1..40 {
            assert!(meter.admits(100, start + std::time::Duration::from_millis(100 * tenth)));
            meter.left -= 9.0;
        }
    }

    #[tokio::test]
    async fn files_are_rotated_by_size_and_the_newest_lines_are_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = files(dir.path());
        for n in 0..500 {
            files.append("9f86d081-1", "stdout", [format!("line {n}")].iter().map(String::as_str));
        }
        let kept: Vec<u64> = fs::read_dir(dir.path().join(FOLDER))
            .expect("it is there")
            .map(|entry| entry.expect("readable").metadata().expect("readable").len())
            .collect();
        assert!(kept.len() == 3 && kept.iter().all(|size| *size < 2_200), "{kept:?}");
        let lines: Vec<String> = read(dir.path(), query(60, false)).map(|line| line.line).collect().await;
        assert_eq!(lines, (440..500).map(|n| format!("line {n}")).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn following_goes_on_across_a_rotation_and_loses_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = files(dir.path());
        let write = |n: u32| files.append("9f86d081-1", "stderr", [format!("line {n}")].iter().map(String::as_str));
        write(0);
        let mut lines = read(dir.path(), query(10, true));
        for n in 0..120 {
            if n > 0 {
                write(n);
            }
            let next = tokio::time::timeout(std::time::Duration::from_secs(10), lines.next()).await;
            assert_eq!(next.expect("in time").map(|line| line.line), Some(format!("line {n}")));
        }
    }
}
