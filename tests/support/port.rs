//! Ports for servers that are told theirs, as most real programs must be.

use std::fs::{self, File};
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// Below the ports that the kernel hands out: no connection and no server that asked for any port gets one of these.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The ports of this process, kept from every other test of this machine by a lock for as long as it lives.
static OURS: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A loopback port that nobody listens on, and that no other test is given before this one has ended. A port that was only
/// found free can be somebody else's by the time that a server starts on it.
pub(crate) fn free_port() -> u16 {
    let locks = std::env::temp_dir().join(format!("codeops-test-ports-{}", rustix::process::geteuid().as_raw()));
    fs::create_dir_all(&locks).expect("a folder for the locks of ports");
    // Tests that run side by side begin to look at different places.
    let count = usize::from(PORTS.end - PORTS.start);
    let first = std::process::id() as usize * 31 % count;
    let free = PORTS.cycle().skip(first).take(count).find_map(|port| {
        let lock = File::create(locks.join(port.to_string())).expect("a lock of a port");
        lock.try_lock().ok()?;
        TcpListener::bind(("127.0.0.1", port)).ok()?;
        Some((port, lock))
    });
    let (port, lock) = free.expect("one of twelve thousand ports is free");
    OURS.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
    port
}
