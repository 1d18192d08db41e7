//! A connection that is cut when its reader stops reading, or reads next to nothing: a slow client costs a bounded buffer
//! for a bounded time.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes that a reader takes at least, while it is waited for, in the time that it has.
const LEAST: usize = 64 << 10;

/// When a connection last took something of an answer; at first, when it was opened.
#[derive(Clone)]
pub(super) struct Answered(Arc<Mutex<Instant>>);

impl Answered {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Fails a write that has made too little progress for a while.
pub(super) struct Impatient<S> {
    inner: S,
    patience: Duration,
    /// Until when it has to have taken [`LEAST`], or all there is.
    waiting: Option<Pin<Box<Sleep>>>,
    taken: usize,
    answered: Answered,
}

impl<S> Impatient<S> {
    pub(super) fn new(inner: S, patience: Duration, answered: Answered) -> Self {
        Self { inner, patience, waiting: None, taken: 0, answered }
    }

    fn wrote(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let Poll::Ready(Ok(bytes)) = outcome else { return self.judge(cx, outcome) };
        self.answered.now();
        self.taken += bytes;
        if self.taken >= LEAST {
            (self.waiting, self.taken) = (None, 0);
        }
        outcome
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            (self.waiting, self.taken) = (None, 0);
            return outcome;
        }
        let patience = self.patience;
        let sleep = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the reader does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.judge(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.judge(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinSet;

    use super::*;

    /// How writing much ends while a reader takes so many bytes a second.
    async fn read_at(bytes: usize) -> io::Result<()> {
        let (answer, mut reader) = tokio::io::duplex(4 << 10);
        let mut answer = Impatient::new(answer, Duration::from_secs(10), Answered::new());
        let mut readers = JoinSet::new();
        readers.spawn(async move {
            let mut taken = vec![0; bytes];
            while reader.read_exact(&mut taken).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let written = answer.write_all(&vec![0; 1 << 20]).await;
        readers.shutdown().await;
        written
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_next_to_nothing_is_cut() {
        assert_eq!(read_at(1).await.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert_eq!(read_at(4 << 10).await.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        read_at(16 << 10).await.expect("slow, and read to its end");
    }
}
