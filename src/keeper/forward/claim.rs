//! Ports that change hands between keepers: one that waits for a port says so, and one that holds a port which its app is to
//! have no longer gives it up to whoever waits, also before it has its own new one. So two apps, or any ring of them, exchange
//! their ports. What an app is to have is never given up.
//!
//! It is said by a socket in a folder where no app may write, and by a name in the kernel, as earlier versions did, and as
//! daemons of other users see it. Such a name anybody may take: it counts only besides.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;

use super::super::ports::folder;

/// Where it is said which ports are waited for.
const WANTS: &str = "wants";

fn name(port: u16) -> String {
    format!("codeops-wants-{port}")
}

/// That a port is waited for.
#[derive(Debug)]
pub(super) struct Claim {
    /// Which.
    pub(super) port: u16,
    place: Option<(PathBuf, UnixListener)>,
    name: Option<UnixListener>,
}

impl Claim {
    /// Says it to all keepers of this machine's network.
    ///
    /// # Errors
    /// When another one says so already.
    pub(super) fn new(port: u16) -> io::Result<Self> {
        Self::within(folder(WANTS).as_deref(), port)
    }

    fn within(folder: Option<&Path>, port: u16) -> io::Result<Self> {
        let place = folder.map(|folder| folder.join(port.to_string()));
        let place = place.map(|path| Ok::<_, io::Error>((listen(&path).and_then(ready)?, path))).transpose()?;
        let name = SocketAddr::from_abstract_name(name(port)).and_then(|name| StdListener::bind_addr(&name));
        let name = match (name.and_then(ready), &place) {
            (Err(error), None) => return Err(error),
            (name, _) => name.ok(),
        };
        Ok(Self { port, place: place.map(|(listener, path)| (path, listener)), name })
    }

    /// Waits until somebody has let go of the port.
    pub(super) async fn given(&self) {
        tokio::select! {
            () = given_by(self.place.as_ref().map(|(_, listener)| listener)) => {}
            () = given_by(self.name.as_ref()) => {}
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.place {
            let _ = fs::remove_file(path);
        }
    }
}

/// Listens there, also where one is left behind by a keeper that died.
fn listen(path: &Path) -> io::Result<StdListener> {
    match StdListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && UnixStream::connect(path).is_err() => {
            fs::remove_file(path)?;
            StdListener::bind(path)
        }
        other => other,
    }
}

fn ready(listener: StdListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

async fn given_by(listener: Option<&UnixListener>) {
    match listener {
        Some(listener) => match listener.accept().await {
            // It is let go of before the other end hangs up.
            Ok((mut giver, _)) => drop(giver.read(&mut [0]).await),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Who waits for a port that this process holds; told that it is free by being dropped.
#[derive(Debug)]
pub(super) struct Waiting(#[expect(dead_code, reason = "its end is what it tells")] OwnedFd);

/// Whether another keeper under this user, or root's, waits for the port.
pub(super) fn waiting(port: u16) -> Option<Waiting> {
    waiting_within(folder(WANTS).as_deref(), port)
}

fn waiting_within(folder: Option<&Path>, port: u16) -> Option<Waiting> {
    let place = folder.and_then(|folder| SocketAddrUnix::new(folder.join(port.to_string())).ok());
    let name = SocketAddrUnix::new_abstract_name(name(port).as_bytes()).ok();
    place.into_iter().chain(name).find_map(|address| met(&address))
}

fn met(address: &SocketAddrUnix) -> Option<Waiting> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    connect(&socket, address).ok()?;
    // Anybody may use a name.
    let peer = sockopt::socket_peercred(&socket).ok()?.uid;
    (peer == rustix::process::geteuid() || peer.is_root()).then_some(Waiting(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_found_and_told() {
        // No port at all: no keeper waits for it.
        let port = 0;
        assert!(waiting(port).is_none());
        let claim = Claim::new(port).expect("nobody else waits");
        assert!(Claim::new(port).is_err());
        drop(waiting(port).expect("it waits"));
        claim.given().await;
        drop(claim);
        assert!(waiting(port).is_none());
        let name = Claim::within(None, port).expect("where there is no folder");
        assert!(Claim::within(None, port).is_err());
        drop(waiting(port).expect("it waits, as one of an earlier version does"));
        name.given().await;
    }

    #[tokio::test]
    async fn a_name_that_a_stranger_has_keeps_nobody_from_waiting() {
        let folder = tempfile::tempdir().expect("a folder");
        let (within, port) = (Some(folder.path()), 1);
        let address = SocketAddr::from_abstract_name(name(port)).expect("a name");
        let _stranger = StdListener::bind_addr(&address).expect("nobody has it");
        // One that died has left its own behind.
        drop(StdListener::bind(folder.path().join("1")).expect("bound"));
        let claim = Claim::within(within, port).expect("it waits all the same");
        assert!(Claim::within(within, port).is_err(), "another one does");
        drop(waiting_within(within, port).expect("it is found"));
        tokio::time::timeout(std::time::Duration::from_secs(5), claim.given()).await.expect("and told");
        drop(claim);
        assert!(!folder.path().join("1").exists());
    }
}
