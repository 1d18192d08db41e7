//! Takes what one instance writes from its two FIFOs. They are opened for reading and writing on both sides, so that a
//! keeper that dies breaks no instance's pipe, and what was written meanwhile is there for the next keeper.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::InstanceId;
use rustix::fs::{CWD, Mode};
use tokio::net::unix::pipe::{OpenOptions as PipeOptions, Receiver};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::veil::{Needles, Veil};
use super::{LINE, LastLines, LogFiles};

const STREAMS: [&str; 2] = ["stdout", "stderr"];
/// Enough for a burst while no keeper reads.
const PIPE_BYTES: usize = 1 << 20;
/// Taken at a time, in bytes.
const CHUNK: usize = 16 * 1024;
/// Between two chunks of what is dropped: 16 MiB a second.
const PAUSE: Duration = Duration::from_millis(1);
/// The longest that is waited for what a process wrote before its end.
const EMPTIED: Duration = Duration::from_millis(200);
/// With nothing new for so long, what was dropped is told.
const QUIET: Duration = Duration::from_secs(1);

/// The FIFOs of one instance.
#[derive(Debug, Clone)]
pub(in crate::keeper) struct Capture {
    paths: [PathBuf; 2],
}

impl Capture {
    /// Makes the FIFOs of `instance` in `folder`, or takes those that are there. They belong to `user`, so that a program
    /// may open `/dev/stdout` by name.
    pub(in crate::keeper) fn new(folder: &Path, instance: &InstanceId, user: Option<u32>) -> io::Result<Self> {
        let paths = STREAMS.map(|stream| folder.join(format!("{instance}.{stream}")));
        for path in &paths {
            match rustix::fs::mkfifoat(CWD, path, Mode::from_raw_mode(0o600)) {
                Err(rustix::io::Errno::EXIST) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
            if user.is_some() {
                std::os::unix::fs::chown(path, user, None)?;
            }
        }
        Ok(Self { paths })
    }

    /// The ends for the instance, as its standard output and error.
    pub(in crate::keeper) fn ends(&self) -> io::Result<[File; 2]> {
        let open = |path: &Path| {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            // A bigger pipe is a comfort that the machine may refuse.
            let _ = rustix::pipe::fcntl_setpipe_size(&file, PIPE_BYTES);
            io::Result::Ok(file)
        };
        Ok([open(&self.paths[0])?, open(&self.paths[1])?])
    }

    /// The ends for [`capture`].
    pub(in crate::keeper) fn receivers(&self) -> io::Result<[Receiver; 2]> {
        let open = |path: &Path| PipeOptions::new().read_write(true).open_receiver(path);
        Ok([open(&self.paths[0])?, open(&self.paths[1])?])
    }

    /// Removes the FIFOs.
    pub(in crate::keeper) fn remove(&self) {
        for path in &self.paths {
            drop(fs::remove_file(path));
        }
    }
}

/// Says to [`capture`] that a process has ended: what it wrote last is a line, also without a newline.
#[derive(Debug)]
pub(in crate::keeper) struct Ends([mpsc::Sender<oneshot::Sender<()>>; 2]);

/// Where [`capture`] is told so.
pub(in crate::keeper) type Ended = [mpsc::Receiver<oneshot::Sender<()>>; 2];

impl Ends {
    pub(in crate::keeper) fn new() -> (Self, Ended) {
        let [(out, out_ended), (err, err_ended)] = STREAMS.map(|_| mpsc::channel(1));
        (Self([out, err]), [out_ended, err_ended])
    }

    /// Waits, not for long, until all that the process wrote has been taken.
    pub(in crate::keeper) async fn told(&self) {
        let one = async |stream: &mpsc::Sender<_>| {
            let (taken, all) = oneshot::channel();
            if stream.send(taken).await.is_ok() {
                let _ = all.await;
            }
        };
        // What writes on and on, or waits for its secrets to be known, is not waited for.
        let _ = timeout(EMPTIED, async { tokio::join!(one(&self.0[0]), one(&self.0[1])) }).await;
    }
}

/// Writes all that comes into the files until `done` is cancelled, then what is still in the pipes; `last` keeps the end.
pub(in crate::keeper) async fn capture(
    receivers: [Receiver; 2],
    instance: InstanceId,
    veil: Veil,
    files: Arc<LogFiles>,
    last: LastLines,
    ended: Ended,
    done: CancellationToken,
) {
    let taker = |stream| {
        let (lines, veil) = (Lines::default(), veil.clone());
        Taker { instance: &instance, stream, files: &files, last: &last, veil, lines, dropped: 0 }
    };
    let ([out, err], [out_ended, err_ended]) = (receivers, ended);
    tokio::join!(taker(STREAMS[0]).run(out, out_ended, &done), taker(STREAMS[1]).run(err, err_ended, &done));
}

/// Takes one stream. Traffic and requests run on the same thread, so it does little at a time.
struct Taker<'a> {
    instance: &'a InstanceId,
    stream: &'static str,
    files: &'a LogFiles,
    last: &'a LastLines,
    veil: Veil,
    lines: Lines,
    /// Lines since the last one that was written.
    dropped: u64,
}

impl Taker<'_> {
    async fn run(
        mut self,
        mut pipe: Receiver,
        mut ended: mpsc::Receiver<oneshot::Sender<()>>,
        done: &CancellationToken,
    ) {
        tokio::select! {
            () = self.veil.ready() => {}
            () = done.cancelled() => {}
        }
        loop {
            tokio::select! {
                ready = pipe.readable() => if ready.is_err() { break },
                () = done.cancelled() => break,
                Some(taken) = ended.recv() => {
                    self.rest(&mut pipe, false).await;
                    let _ = taken.send(());
                    continue;
                }
                () = sleep(QUIET), if self.dropped > 0 => {
                    self.tell_dropped();
                    continue;
                }
            }
            let admitted = self.files.admits();
            self.take(&mut pipe, admitted);
            match admitted {
                true => tokio::task::yield_now().await,
                // What floods is read slowly too: its own pipe is what it fills.
                false => sleep(PAUSE).await,
            }
        }
        self.rest(&mut pipe, true).await;
    }

    /// Its last words, but not those of what writes on and on; `all`: also when it writes more than is kept.
    async fn rest(&mut self, pipe: &mut Receiver, all: bool) {
        for _ in 0..2 * PIPE_BYTES / CHUNK {
            let admitted = all || self.files.admits();
            if !self.take(pipe, admitted) {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut last = Vec::new();
        std::mem::take(&mut self.lines).finish(|line| last.push(line.to_owned()));
        self.write(&last);
    }

    /// Whether there was something.
    fn take(&mut self, pipe: &mut Receiver, admitted: bool) -> bool {
        // Only there while something comes: an idle instance costs no buffer.
        let mut buffer = [0; CHUNK];
        let bytes = match pipe.try_read(&mut buffer) {
            Ok(read) if read > 0 => &buffer[..read],
            _ => return false,
        };
        if !admitted {
            self.dropped += self.lines.skip(bytes);
            return true;
        }
        self.tell_dropped();
        let mut batch = Vec::new();
        self.lines.needles = self.veil.needles();
        self.lines.push(bytes, &mut |line: &str| batch.push(line.to_owned()));
        self.write(&batch);
        true
    }

    fn write(&self, lines: &[String]) {
        self.last.take(lines);
        self.files.append(self.instance.as_str(), self.stream, lines.iter().map(String::as_str));
    }

    fn tell_dropped(&mut self) {
        if self.dropped > 0 {
            let dropped = std::mem::take(&mut self.dropped);
            self.write(&[format!("codeops: dropped {dropped} lines: the app writes more than is kept a second")]);
        }
    }
}

/// Cuts bytes into lines of at most [`LINE`] bytes, without what is taken out of them.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    /// Taken out of every line.
    pub(super) needles: Needles,
    /// What comes up to the next newline belongs to a line that was left out.
    skipping: bool,
}

impl Lines {
    pub(super) fn push(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&str)) {
        if self.skipping {
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
            bytes = &bytes[end + 1..];
            self.skipping = false;
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut part = part;
            while self.begun.len() + part.strip_suffix(b"\n").unwrap_or(part).len() > LINE {
                let (head, rest) = part.split_at(LINE.saturating_sub(self.begun.len()).min(part.len()));
                self.begun.extend_from_slice(head);
                self.emit_all_but(self.needles.begun_at_end(&self.begun), each);
                part = rest;
            }
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.emit(each);
            }
        }
        if self.begun.is_empty() {
            self.begun = Vec::new();
        }
    }

    /// Leaves out the line that is begun and all that begin in `bytes`; says how many they are.
    fn skip(&mut self, bytes: &[u8]) -> u64 {
        let ended = bytes.iter().filter(|byte| **byte == b'\n').count();
        let is_open = bytes.last().is_some_and(|byte| *byte != b'\n');
        // One that was left out before has been counted.
        let count = ended + usize::from(is_open) - usize::from(self.skipping && !bytes.is_empty());
        self.begun = Vec::new();
        self.skipping = is_open || (self.skipping && bytes.is_empty());
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    fn emit(&mut self, each: &mut impl FnMut(&str)) {
        let line = self.begun.strip_suffix(b"\n").unwrap_or(&self.begun);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        each(&self.needles.without(String::from_utf8_lossy(line)));
        self.begun.clear();
    }

    /// Emits what has begun of a line that is too long, and keeps its last bytes for the next piece.
    fn emit_all_but(&mut self, kept: usize, each: &mut impl FnMut(&str)) {
        // One that is as long as a piece is not waited for.
        let kept = if kept < LINE / 2 { kept } else { 0 };
        let rest = self.begun.split_off(self.begun.len() - kept);
        self.emit(each);
        self.begun = rest;
    }

    pub(super) fn finish(mut self, mut each: impl FnMut(&str)) {
        if !self.begun.is_empty() {
            self.emit(&mut each);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_newlines_and_at_the_limit_and_none_is_lost() {
        let mut lines = Lines::default();
        let mut seen: Vec<String> = Vec::new();
        let long = "x".repeat(LINE * 2 + 5);
        for chunk in format!("a\r\nb\n{long}\ntail").as_bytes().chunks(1000) {
            lines.push(chunk, &mut |line: &str| seen.push(line.to_owned()));
        }
        lines.finish(|line| seen.push(line.to_owned()));
        assert_eq!((seen[0].as_str(), seen[1].as_str(), seen.last().map(String::as_str)), ("a", "b", Some("tail")));
        assert_eq!(seen[2..seen.len() - 1].concat(), long);
        assert!(seen.iter().all(|line| line.len() <= LINE));
    }

    #[test]
    fn lines_that_are_left_out_are_counted_once_and_leave_no_half() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        lines.push(b"one\ntw", &mut |line: &str| seen.push(line.to_owned()));
        let counts: Vec<u64> = ["o\nthree\nfo", "", "u", "r\nfi", "ve"].map(|text| lines.skip(text.as_bytes())).into();
        assert_eq!(counts, [3, 0, 0, 1, 0]);
        lines.push(b"ve and more\nsix\n", &mut |line: &str| seen.push(line.to_owned()));
        assert_eq!(seen, ["one", "six"]);
    }
}
