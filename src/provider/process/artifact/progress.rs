//! How far a fetch is, for others to read while it goes on, and whether anybody still wants it. Fetches nothing.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by the fetch and those who ask how far it is.
#[derive(Debug, Default)]
pub struct Progress {
    begun: AtomicBool,
    done: AtomicU64,
    /// Zero while it is not known.
    whole: AtomicU64,
    unpacked: AtomicU64,
    given_up: AtomicBool,
}

impl Progress {
    /// Its turn has come.
    pub fn begins(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Nobody wants it any more: what goes on without waiting, such as unpacking, ends at its next look.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(super) fn expects(&self, bytes: u64) {
        self.whole.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn came(&self, bytes: u64) {
        self.done.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn unpacks(&self, bytes: u64) {
        self.unpacked.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.begun.load(Ordering::Relaxed) {
            return out.write_str("waits until others of its team are fetched");
        }
        let unpacked = self.unpacked.load(Ordering::Relaxed);
        if unpacked > 0 {
            return write!(out, "fetched, {} MiB unpacked so far", unpacked >> 20);
        }
        let done = self.done.load(Ordering::Relaxed);
        match done.saturating_mul(100).checked_div(self.whole.load(Ordering::Relaxed)) {
            Some(percent) => write!(out, "{} %", percent.min(100)),
            None => write!(out, "{} MiB so far", done >> 20),
        }
    }
}
