//! What a command wrote whose output is nobody's log: read beside it, and forgotten but for its end.

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use super::{LastLines, Veil};
use crate::keeper::wire::Confidential;

/// As much of its end is kept, in bytes.
const KEPT: usize = 4 << 10;
/// Taken at a time, in bytes.
const CHUNK: usize = 4 << 10;
/// Chunks that are taken after its end: as many as a pipe holds.
const LEFT: usize = 16;

/// The end of what a command writes.
#[derive(Debug)]
pub(in crate::keeper) struct Said {
    from: Receiver,
    kept: Vec<u8>,
    /// Whether it wrote more than is kept.
    is_cut: bool,
}

impl Said {
    /// With what the command is to write to. It belongs to `user`, so that the command may open `/dev/stdout` by name.
    ///
    /// # Errors
    /// When no pipe can be had.
    pub(in crate::keeper) fn new(user: Option<u32>) -> io::Result<(Self, OwnedFd)> {
        let (from, to) = pipe_with(PipeFlags::CLOEXEC)?;
        if user.is_some() {
            std::os::unix::fs::fchown(&to, user, None)?;
        }
        Ok((Self { from: Receiver::from_owned_fd(from)?, kept: Vec::new(), is_cut: false }, to))
    }

    /// Waits until the command has `ended`, and takes meanwhile what it writes: a full pipe would hold it up.
    pub(in crate::keeper) async fn beside<T>(&mut self, ended: impl Future<Output = T>) -> T {
        let mut ended = pin!(ended);
        let mut chunk = [0; CHUNK];
        loop {
            let read = tokio::select! {
                biased;
                end = &mut ended => {
                    self.take_left(&mut chunk);
                    return end;
                }
                read = self.from.read(&mut chunk) => read,
            };
            match read {
                Ok(length) if length > 0 => self.keep(chunk.get(..length).unwrap_or_default()),
                // It has closed its output.
                _ => return ended.await,
            }
        }
    }

    /// What it left in the pipe; what it started may hold that open for ever, so nothing is waited for.
    fn take_left(&mut self, chunk: &mut [u8]) {
        for _ in 0..LEFT {
            match self.from.try_read(chunk) {
                Ok(length) if length > 0 => self.keep(chunk.get(..length).unwrap_or_default()),
                _ => return,
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        let beyond = self.kept.len().saturating_sub(KEPT);
        self.is_cut |= beyond > 0;
        self.kept.drain(..beyond);
    }

    /// Its last lines, few and short, without these secrets.
    pub(in crate::keeper) fn last(&self, secrets: &Confidential) -> LastLines {
        let text = String::from_utf8_lossy(&self.kept);
        // The line that is cut may begin within a secret.
        let whole = if self.is_cut { text.split_once('\n').map_or("", |(_, whole)| whole) } else { &*text };
        let needles = Veil::of(secrets).needles();
        let clean: Vec<String> = whole.lines().map(|line| needles.without(Cow::Borrowed(line)).into_owned()).collect();
        let last = LastLines::default();
        last.take(&clean);
        last
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use codeops_core::model::Secret;

    use super::*;

    #[tokio::test]
    async fn the_end_is_kept_without_secrets_however_much_is_written() {
        let (mut said, to) = Said::new(None).unwrap();
        let write = tokio::task::spawn_blocking(move || {
            let mut to = std::fs::File::from(to);
            to.write_all("noise\n".repeat(100_000).as_bytes()).unwrap();
            to.write_all(b"cannot log in with hunter22\nno database\n").unwrap();
        });
        said.beside(write).await.unwrap();
        assert!(said.kept.len() <= KEPT);
        let secrets = Confidential([("KEY".to_owned(), Secret::new("hunter22".to_owned()))].into());
        let told = said.last(&secrets).told("exited with code 1".to_owned());
        assert!(told.ends_with("noise / cannot log in with *** / no database"), "{told}");
    }

    #[test]
    fn a_secret_that_is_cut_in_two_is_not_told_in_part() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let (mut said, _to) = Said::new(None).unwrap();
        said.keep(&[b'x'; 100]);
        said.keep(b"hunter22 and more\n");
        said.keep(&[b'y'; KEPT - 13]);
        let secrets = Confidential([("KEY".to_owned(), Secret::new("hunter22".to_owned()))].into());
        let told = said.last(&secrets).told("exited".to_owned());
        assert!(!told.contains("er22"), "{told}");
    }
}
