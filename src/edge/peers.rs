//! How many connections one peer may have: so that nobody alone takes all places.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Connections by peer.
#[derive(Debug)]
pub(super) struct Peers {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's share; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Peers {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// A share, unless the peer has all of its own already.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let peer = whose(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(peer).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share { peers: Arc::clone(self), peer })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.peers.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

/// Whom an address stands for: of IPv6, whoever has the network of 64 bits has all addresses in it.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_share_and_no_more() {
        let peers = Peers::new(2);
        let ip = |text: &str| text.parse().expect("an address");
        let first = peers.admit(ip("192.0.2.1")).expect("the first");
        let _second = peers.admit(ip("::ffff:192.0.2.1")).expect("the second");
        assert!(peers.admit(ip("192.0.2.1")).is_none());
        assert!(peers.admit(ip("192.0.2.2")).is_some(), "others are not concerned");
        drop(first);
        assert!(peers.admit(ip("192.0.2.1")).is_some());
        let _six = [peers.admit(ip("2001:db8::1")), peers.admit(ip("2001:db8::2"))];
        assert!(peers.admit(ip("2001:db8::3")).is_none());
        drop(_six);
        assert_eq!(peers.open.lock().expect("not poisoned").len(), 1);
    }
}
