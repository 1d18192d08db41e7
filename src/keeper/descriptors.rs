//! How many descriptors this keeper may hold: as many as it can get, while programs start with what it found. What they are
//! spent on is decided elsewhere.

use std::io;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Clients at once, however many descriptors there are.
const MOST_CLIENTS: u64 = 10_000;
/// Kept for all but traffic: health checks, instances, pipes, logs, the daemon; a quarter where there are few.
const RESERVE: u64 = 512;

/// The limits as they were found.
static FOUND: OnceLock<Rlimit> = OnceLock::new();

/// Takes all that the hard limit allows.
pub(super) fn raise() {
    let found = *FOUND.get_or_init(|| getrlimit(Resource::Nofile));
    // Without it the limit is lower, and so is what depends on it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: found.maximum, maximum: found.maximum });
}

/// Goes back to what was found, for whoever this process becomes.
pub(super) fn give_back() {
    if let Some(found) = FOUND.get() {
        let _ = setrlimit(Resource::Nofile, *found);
    }
}

/// The soft limit that was found: what a program expects, as `select` can take no more.
pub(super) fn found() -> Option<u64> {
    FOUND.get().and_then(|found| found.current)
}

/// How many clients may be connected. Each may need a second connection, to an instance.
pub(super) fn clients() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = (limit - RESERVE.min(limit / 4)) / 2;
    usize::try_from(most.min(MOST_CLIENTS)).unwrap_or(usize::MAX).max(1)
}

/// Whether it is this machine, or this process, that has run out of something: it says nothing of whoever was asked.
pub(super) fn is_want(error: &io::Error) -> bool {
    const WANTS: [Errno; 6] =
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::AGAIN, Errno::ADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| WANTS.iter().any(|want| want.raw_os_error() == code))
}
