//! The ports that instances are told to listen on: which one is next, and that no keeper of this machine gives one twice.
//!
//! Between the choice and the instance that listens lies its whole start, and a port that was only found free is anybody's by
//! then. So they are taken from where the kernel gives none to connections and to servers that ask for any, and each is kept
//! for as long as the instance lives: by the lock of a file where no app may write, and by a name in the kernel, which is how
//! earlier versions kept it, and which daemons of other users see too. Such a name anybody may take, so it counts only while
//! there is a port without one. Nobody's death leaves either behind.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use super::lock::LOCK;
use crate::base::random;

/// The first port that is given where the kernel gives none itself: seldom declared, and out of its range as it comes.
const FIRST: u16 = 61_000;
/// With fewer than these beyond the kernel's range, its range it is.
const ENOUGH: u16 = 1_000;
/// How often the kernel is asked for one that no other keeper has.
const TRIES: usize = 64;
/// Where keepers keep ports.
const PORTS: &str = "ports";
/// Where root's keepers of a machine agree: folders that none but root reaches into.
const OF_MACHINE: &str = "/run/codeops";
/// Where those of one provider do that have no such folder, seen from their own.
const OF_PROVIDER: &str = "../..";

/// A port that no other keeper of this machine gives away while this lives.
#[derive(Debug)]
pub(super) struct Reserved {
    /// Its number.
    pub(super) port: u16,
    _lock: Option<File>,
    name: Option<UnixDatagram>,
}

impl Reserved {
    /// A free port, and never the one of `before`: whoever waits for an instance's end to take its port knows that one.
    ///
    /// # Errors
    /// When the machine has none left.
    pub(super) fn new(before: Option<u16>) -> io::Result<Self> {
        let kernel = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        Self::among(folder(PORTS).as_deref(), &kernel, before)
    }

    fn among(folder: Option<&Path>, kernel: &str, before: Option<u16>) -> io::Result<Self> {
        let from = u16::from_ne_bytes(random()?);
        let own = || beyond(kernel).into_iter().flat_map(|ports| turned(ports, from));
        // Where strangers have all the names there still is a port.
        for named in [true, false] {
            let reserve = |port: u16| {
                let name = name(port).ok().filter(|_| Some(port) != before);
                let fits = Some(port) != before && name.is_some() == named && is_free(port, false);
                fits.then(|| Self::locked(folder, port, name)).flatten()
            };
            if let Some(reserved) = own().find_map(reserve) {
                return Ok(reserved);
            }
        }
        // What the kernel gives is held until another one is found, so that it gives another one each time.
        let (mut given, mut unnamed) = (Vec::new(), None);
        for _ in 0..TRIES {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            given.push(listener);
            if Some(port) != before {
                match Self::locked(folder, port, name(port).ok()) {
                    Some(reserved) if reserved.name.is_some() => return Ok(reserved),
                    other => unnamed = other.or(unnamed),
                }
            }
        }
        unnamed.ok_or_else(|| io::ErrorKind::AddrInUse.into())
    }

    /// Keeps the port of an instance that lives already, if nobody else does.
    pub(super) fn of(port: u16) -> Self {
        let lock = lock(folder(PORTS).as_deref(), port).unwrap_or_default();
        Self { port, _lock: lock, name: name(port).ok() }
    }

    /// `None` when another keeper has it.
    fn locked(folder: Option<&Path>, port: u16, name: Option<UnixDatagram>) -> Option<Self> {
        Some(Self { port, _lock: lock(folder, port)?, name })
    }
}

/// Where this keeper and the others agree on something; `None` where no such folder can be: then whoever listens first has a
/// port, and the other instance is started again with another.
pub(super) fn folder(of: &str) -> Option<PathBuf> {
    let made = |folder: &Path| DirBuilder::new().recursive(true).mode(0o700).create(folder).is_ok();
    let machines = rustix::process::geteuid().is_root().then(|| Path::new(OF_MACHINE).join(of));
    // Only a keeper has its lock in the folder that it works in.
    let providers = || Path::new(LOCK).exists().then(|| Path::new(OF_PROVIDER).join(of));
    machines.filter(|folder| made(folder)).or_else(|| providers().filter(|folder| made(folder)))
}

/// The lock of a port; `None` when another keeper has it, and no file where none can be made.
fn lock(folder: Option<&Path>, port: u16) -> Option<Option<File>> {
    let Some(folder) = folder else { return Some(None) };
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(folder.join(port.to_string()));
    let Ok(file) = file else { return Some(None) };
    match file.try_lock() {
        Ok(()) => Some(Some(file)),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(_)) => Some(None),
    }
}

/// Whether a process could listen on the port. One that comes `after` its own kind minds nothing that is left of that.
pub(super) fn is_free(port: u16, after: bool) -> bool {
    let bound = || -> io::Result<()> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, after)?;
        Ok(bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?)
    };
    bound().is_ok()
}

fn name(port: u16) -> io::Result<UnixDatagram> {
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!("codeops-port-{port}"))?)
}

/// The ports above those that the kernel gives, by what it says of those, if there are enough.
fn beyond(kernel: &str) -> Option<RangeInclusive<u16>> {
    let last: u16 = kernel.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let first = last.checked_add(1)?.max(FIRST);
    (u16::MAX - first >= ENOUGH).then_some(first..=u16::MAX)
}

/// All of them, beginning somewhere.
fn turned(ports: RangeInclusive<u16>, from: u16) -> impl Iterator<Item = u16> {
    let count = ports.len();
    ports.cycle().skip(usize::from(from) % count).take(count)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice_nor_one_that_is_known_or_taken() {
        let all: Vec<Reserved> = (0..200).map(|_| Reserved::new(None).expect("one is free")).collect();
        let ports: BTreeSet<u16> = all.iter().map(|reserved| reserved.port).collect();
        assert_eq!(ports.len(), all.len());
        let known = all.into_iter().next().expect("one").port;
        for _ in 0..20 {
            assert_ne!(Reserved::new(Some(known)).expect("one is free").port, known);
        }
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("one is free");
        let port = taken.local_addr().expect("bound").port();
        assert!(!is_free(port, false) && !is_free(port, true));
        drop(taken);
        assert!(is_free(port, true));
    }

    #[test]
    fn names_that_strangers_hold_keep_no_port_from_being_given_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let all = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, all).expect("as many files as may be");
        let names: Vec<UnixDatagram> = (64_500..=u16::MAX).filter_map(|port| name(port).ok()).collect();
        assert!(names.len() > 900, "{}", names.len());
        let give = |before| Reserved::among(Some(folder.path()), "1024\t64499\n", before);
        let all: Vec<Reserved> = (0..100).map(|_| give(None).expect("one is free")).collect();
        let ports: BTreeSet<u16> = all.iter().map(|reserved| reserved.port).collect();
        assert!(ports.len() == all.len() && ports.iter().all(|port| *port >= 64_500), "{ports:?}");
        let one = all.into_iter().next().expect("one").port;
        assert!(lock(Some(folder.path()), one).is_some_and(|lock| lock.is_some()), "given back with the instance");
        drop(names);
        assert!(give(Some(one)).expect("one is free").name.is_some(), "names count again");
    }

    #[test]
    fn ports_lie_beyond_those_that_the_kernel_gives_or_among_them() {
        assert_eq!(beyond("32768\t60999\n"), Some(61_000..=65_535));
        assert_eq!(beyond("1024\t40000\n"), Some(61_000..=65_535));
        assert_eq!(beyond("1024\t62000\n"), Some(62_001..=65_535));
        for kernel in ["1024\t65535\n", "1024\t65000\n", "", "junk"] {
            assert_eq!(beyond(kernel), None, "{kernel}");
        }
        assert_eq!(turned(61_000..=61_002, 4).collect::<Vec<_>>(), [61_001, 61_002, 61_000]);
    }
}
