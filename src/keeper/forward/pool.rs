//! Idle HTTP connections to one instance, used again last in, first out.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::upload::Upload;

/// More idle connections than this are not worth their memory.
const IDLE: usize = 64;
/// Shorter than any server's own patience with an idle connection: a request must not meet a close on its way.
const FRESH: Duration = Duration::from_millis(1500);

/// The idle connections, each with the time it became so.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<(SendRequest<Upload>, Instant)>>);

impl Pool {
    /// One that can take a request now.
    pub(super) fn take(&self) -> Option<SendRequest<Upload>> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.is_empty() {
            return None;
        }
        let now = Instant::now();
        idle.retain(|(sender, since)| !sender.is_closed() && now.duration_since(*since) < FRESH);
        let ready = idle.iter().rposition(|(sender, _)| sender.is_ready())?;
        Some(idle.swap_remove(ready).0)
    }

    /// Keeps one for the next request.
    pub(super) fn put(&self, sender: SendRequest<Upload>) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE && !sender.is_closed() {
            idle.push((sender, Instant::now()));
        }
    }

    /// Drops all.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
