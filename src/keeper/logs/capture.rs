//! Takes what one instance writes from its two FIFOs. They are opened for reading and writing on both sides, so that a
//! keeper that dies breaks no instance's pipe, and what was written meanwhile is there for the next keeper.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codeops_core::model::InstanceId;
use rustix::fs::{CWD, Mode};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{OpenOptions as PipeOptions, Receiver};
use tokio_util::sync::CancellationToken;

use super::{LINE, LogFiles};

const STREAMS: [&str; 2] = ["stdout", "stderr"];
/// Enough for a burst while no keeper reads.
const PIPE_BYTES: usize = 1 << 20;

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

/// Writes all that comes into the files until `done` is cancelled, then what is still in the pipes.
pub(in crate::keeper) async fn capture(
    receivers: [Receiver; 2],
    instance: InstanceId,
    files: Arc<LogFiles>,
    done: CancellationToken,
) {
    let [out, err] = receivers;
    tokio::join!(stream(out, &instance, STREAMS[0], &files, &done), stream(err, &instance, STREAMS[1], &files, &done));
}

async fn stream(mut pipe: Receiver, instance: &InstanceId, name: &str, files: &LogFiles, done: &CancellationToken) {
    let mut lines = Lines::default();
    // Read into a buffer that is only there while something comes: an idle instance costs none.
    loop {
        tokio::select! {
            ready = pipe.readable() => if ready.is_err() { break },
            () = done.cancelled() => break,
        }
        if !take(&mut pipe, &mut lines, |line| files.append(instance.as_str(), name, std::iter::once(line))) {
            tokio::task::yield_now().await;
        }
    }
    while let Ok(true) =
        drain(&mut pipe, &mut lines, |line| files.append(instance.as_str(), name, std::iter::once(line))).await
    {}
    lines.finish(|line| files.append(instance.as_str(), name, std::iter::once(line)));
}

fn take(pipe: &mut Receiver, lines: &mut Lines, mut each: impl FnMut(&str)) -> bool {
    let mut buffer = [0; 8192];
    match pipe.try_read(&mut buffer) {
        Ok(read) if read > 0 => {
            lines.push(&buffer[..read], &mut each);
            true
        }
        _ => false,
    }
}

/// Whether more may be there; never waits for more.
async fn drain(pipe: &mut Receiver, lines: &mut Lines, mut each: impl FnMut(&str)) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    tokio::select! {
        biased;
        read = pipe.read(&mut buffer) => {
            let read = read?;
            lines.push(&buffer[..read], &mut each);
            Ok(read > 0)
        }
        () = std::future::ready(()) => Ok(false),
    }
}

/// Cuts bytes into lines of at most [`LINE`] bytes.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(&str)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut part = part;
            while self.0.len() + part.len() > LINE + 1 {
                let (head, rest) = part.split_at(LINE.saturating_sub(self.0.len()).min(part.len()));
                self.0.extend_from_slice(head);
                self.emit(each);
                part = rest;
            }
            self.0.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.emit(each);
            }
        }
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }

    fn emit(&mut self, each: &mut impl FnMut(&str)) {
        let line = self.0.strip_suffix(b"\n").unwrap_or(&self.0);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        each(&String::from_utf8_lossy(line));
        self.0.clear();
    }

    fn finish(mut self, mut each: impl FnMut(&str)) {
        if !self.0.is_empty() {
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
}
