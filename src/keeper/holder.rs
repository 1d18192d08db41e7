//! Whether the socket that listens on an instance's port is the instance's own: on loopback whoever comes first has a port
//! that is free for an instant, and who answers a health check proves nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::family::Family;
use super::listeners::listeners;

/// Who may listen on an instance's port.
#[derive(Debug)]
pub(super) struct Holder {
    family: Family,
    /// The instance's user, when it has one that the keeper does not share.
    user: Option<u32>,
    port: u16,
    /// The descriptor its socket was last seen at: looking again there is cheap.
    seen: Mutex<Option<(PathBuf, u64)>>,
    /// Whether it was ever its own.
    listened: AtomicBool,
}

/// Whose a port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// The instance's own.
    Own,
    /// That of another process.
    Other,
    /// Nobody listens.
    Nobody,
}

impl Holder {
    /// For the process of `family` that was told to listen on `port`, as `user`.
    pub(super) fn new(family: Family, user: Option<u32>, port: u16) -> Self {
        let own = rustix::process::geteuid().as_raw();
        Self {
            family,
            user: user.filter(|user| *user != own),
            port,
            seen: Mutex::default(),
            listened: AtomicBool::new(false),
        }
    }

    /// Whose the port is now. A connection that was made before this says `Own` was made to the instance.
    pub(super) fn held(&self) -> Held {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref().is_some_and(|(path, inode)| socket_at(path) == Some(*inode)) {
            return Held::Own;
        }
        *seen = None;
        // Where the machine does not tell, nothing can be held against anybody.
        let Ok(listeners) = listeners(self.port) else { return Held::Own };
        if listeners.is_empty() {
            return Held::Nobody;
        }
        let own = listeners.iter().all(|listener| {
            let found = self.family.members().find_map(|pid| descriptor(pid, listener.inode));
            let is_own = found.is_some() || self.user == Some(listener.user) || self.is_hidden(listener.user);
            *seen = found.map(|path| (path, listener.inode));
            is_own
        });
        self.listened.fetch_or(own, Ordering::Relaxed);
        if own { Held::Own } else { Held::Other }
    }

    /// Whether it was ever found to be its own.
    pub(super) fn has_listened(&self) -> bool {
        self.listened.load(Ordering::Relaxed)
    }

    /// Whether one of its processes lets nobody see its descriptors: then its user, here the keeper's own, has to do.
    fn is_hidden(&self, user: u32) -> bool {
        let is_denied = |pid: u32| {
            let entries = fs::read_dir(format!("/proc/{pid}/fd"));
            entries.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        user == rustix::process::geteuid().as_raw() && self.family.members().any(is_denied)
    }
}

/// The inode of the socket that an entry below `/proc/PID/fd` leads to.
fn socket_at(descriptor: &Path) -> Option<u64> {
    let target = fs::read_link(descriptor).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Where a process holds a socket.
fn descriptor(pid: u32, inode: u64) -> Option<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    entries.map(|entry| entry.path()).find(|path| socket_at(path) == Some(inode))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use codeops_core::model::{Digest, InstanceId};

    use super::*;
    use crate::launch::cgroup::Group;

    fn holder(first: u32, user: Option<u32>, port: u16) -> Holder {
        let id = InstanceId::new(&Digest::of(&serde_json::json!(1)), 1).expect("valid");
        Holder::new(Family { first, id, group: Group::default() }, user, port)
    }

    #[test]
    fn a_port_is_its_own_when_a_descriptor_of_its_processes_is_the_socket() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().expect("bound").port();
            let own = holder(std::process::id(), None, port);
            assert_eq!((own.held(), own.held()), (Held::Own, Held::Own), "{address}");
            #[expect(clippy::disallowed_methods, reason = "a process that does not hold the port")]
            let mut other = std::process::Command::new("sleep").arg("300").spawn().expect("it starts");
            let held = holder(other.id(), None, port).held();
            other.kill().and_then(|()| other.wait()).expect("it ends");
            assert_eq!(held, Held::Other, "{address}");
            drop(listener);
            assert_eq!(own.held(), Held::Nobody, "{address}");
        }
    }
}
