//! Whether the socket that listens on an instance's port is the instance's own: on loopback whoever comes first has a port
//! that is free for an instant, and who answers a health check proves nothing.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::family::Family;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Who may listen on an instance's port.
#[derive(Debug)]
pub(super) struct Holder {
    family: Family,
    /// The instance's user, when it has one that the keeper does not share.
    user: Option<u32>,
    port: u16,
    /// The descriptor its socket was last seen at: looking again there is cheap.
    seen: Mutex<Option<(PathBuf, u64)>>,
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

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    /// 0 is asked first for a connection to loopback.
    rank: u8,
    user: u32,
    inode: u64,
}

impl Holder {
    /// For the process of `family` that was told to listen on `port`, as `user`.
    pub(super) fn new(family: Family, user: Option<u32>, port: u16) -> Self {
        let own = rustix::process::geteuid().as_raw();
        Self { family, user: user.filter(|user| *user != own), port, seen: Mutex::default() }
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
        if own { Held::Own } else { Held::Other }
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

/// The sockets that a connection to `port` on 127.0.0.1 is offered to: those of the most exact address.
fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    let mut text = fs::read_to_string("/proc/self/net/tcp")?;
    // Without version 6 there is no such file.
    text.push_str(&fs::read_to_string("/proc/self/net/tcp6").unwrap_or_default());
    let all: Vec<Listener> = text.lines().filter_map(|line| listener(line, port)).collect();
    let first = all.iter().map(|listener| listener.rank).min();
    Ok(all.into_iter().filter(|listener| Some(listener.rank) == first).collect())
}

/// One line of `/proc/net/tcp` or `tcp6`, if it listens on `port` of an address that answers for 127.0.0.1.
fn listener(line: &str, port: u16) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, local) = fields.next()?.rsplit_once(':')?;
    if fields.nth(1)? != LISTEN || u16::from_str_radix(local, 16).ok()? != port {
        return None;
    }
    let rank = rank(address)?;
    let (user, inode) = (fields.nth(3)?.parse().ok()?, fields.nth(1)?.parse().ok()?);
    Some(Listener { rank, user, inode })
}

/// Addresses stand there as words in the machine's own order.
fn rank(address: &str) -> Option<u8> {
    let loopback = format!("{:08X}", u32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets()));
    let mapped = format!("{:016X}{:08X}{loopback}", 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]));
    let is_any = address.bytes().all(|digit| digit == b'0');
    match address.len() {
        _ if address == loopback || address == mapped => Some(0),
        8 if is_any => Some(1),
        32 if is_any => Some(2),
        _ => None,
    }
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

    #[test]
    fn the_kernel_is_read_as_it_writes_and_junk_is_nobody() {
        if cfg!(target_endian = "big") {
            return;
        }
        let exact =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   501        0 4242 1 x";
        assert_eq!(listener(exact, 8080), Some(Listener { rank: 0, user: 501, inode: 4242 }));
        assert_eq!(listener(exact, 8081), None);
        assert_eq!(listener(&exact.replace(" 0A ", " 01 "), 8080), None, "a connection");
        assert_eq!(listener(&exact.replace("0100007F", "0200007F"), 8080), None, "another address");
        let mapped = exact.replace("0100007F", "0000000000000000FFFF00000100007F");
        assert_eq!(listener(&mapped, 8080).map(|listener| listener.rank), Some(0));
        for end in 0..exact.len() {
            assert!(listener(&exact[..end], 8080).is_none_or(|listener| listener.inode <= 4242));
        }
    }
}
