//! Ports that change hands between keepers: one that waits for a port says so under a name in the kernel, and one that holds
//! a port which its app is to have no longer gives it up to whoever waits, also before it has its own new one. So two
//! apps, or any ring of them, exchange their ports. What an app is to have is never given up.

use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;

fn name(port: u16) -> String {
    format!("codeops-wants-{port}")
}

/// That a port is waited for. Nobody's death leaves it behind.
#[derive(Debug)]
pub(super) struct Claim {
    /// Which.
    pub(super) port: u16,
    name: UnixListener,
}

impl Claim {
    /// Says it to all keepers of this machine's network.
    ///
    /// # Errors
    /// When another one says so already.
    pub(super) fn new(port: u16) -> io::Result<Self> {
        let name = StdListener::bind_addr(&SocketAddr::from_abstract_name(name(port))?)?;
        name.set_nonblocking(true)?;
        Ok(Self { port, name: UnixListener::from_std(name)? })
    }

    /// Waits until somebody has let go of the port.
    pub(super) async fn given(&self) {
        match self.name.accept().await {
            // It is let go of before the other end hangs up.
            Ok((mut giver, _)) => drop(giver.read(&mut [0]).await),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Who waits for a port that this process holds; told that it is free by being dropped.
#[derive(Debug)]
pub(super) struct Waiting(#[expect(dead_code, reason = "its end is what it tells")] OwnedFd);

/// Whether another keeper under this user, or root's, waits for the port: anybody may use the name.
pub(super) fn waiting(port: u16) -> Option<Waiting> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    connect(&socket, &SocketAddrUnix::new_abstract_name(name(port).as_bytes()).ok()?).ok()?;
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
    }
}
