//! Which sockets listen on a port of this machine's loopback: asked of the kernel by port, which takes microseconds, or
//! where it does not answer that, read from the list of all sockets, which takes milliseconds. Whose they are is not its
//! affair.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

/// The state of a listening socket, as a number and in `/proc/net/tcp`.
const LISTENING: u32 = 10;
const LISTENING_HEX: &str = "0A";
/// `TCP` in a question.
const TCP: u8 = 6;
/// `SOCK_DIAG_BY_FAMILY`, and the kinds of messages that end an answer: sock_diag(7), netlink(7).
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const ALL: u16 = 0x301;
/// A message's header, in bytes.
const HEAD: usize = 16;
/// A question, in bytes.
const QUESTION: usize = HEAD + 56;
/// The kernel answers in pieces no larger.
const PIECE: usize = 32 * 1024;

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    /// 0 is asked first for a connection to loopback.
    rank: u8,
    /// Who opened it.
    pub(super) user: u32,
    /// What descriptors name it by.
    pub(super) inode: u64,
}

/// The sockets that a connection to `port` on 127.0.0.1 is offered to: those of the most exact address.
///
/// # Errors
/// When the machine does not tell.
pub(super) fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    let all = asked(port).or_else(|_| listed(port))?;
    let first = all.iter().map(|listener| listener.rank).min();
    Ok(all.into_iter().filter(|listener| Some(listener.rank) == first).collect())
}

fn asked(port: u16) -> io::Result<Vec<Listener>> {
    let kernel = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    let mut found = Vec::new();
    let mut piece = vec![0; PIECE];
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        send(&kernel, &question(family, port), SendFlags::empty())?;
        loop {
            // What is asked is answered before the call is back; nobody waits here.
            let (length, _) = recv(&kernel, piece.as_mut_slice(), RecvFlags::DONTWAIT)?;
            if answered(piece.get(..length).unwrap_or_default(), port, &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

fn question(family: AddressFamily, port: u16) -> [u8; QUESTION] {
    let mut text = [0; QUESTION];
    let mut put = |at: usize, bytes: &[u8]| text[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &u32::try_from(QUESTION).unwrap_or_default().to_ne_bytes());
    put(4, &BY_FAMILY.to_ne_bytes());
    put(6, &ALL.to_ne_bytes());
    put(HEAD, &[u8::try_from(family.as_raw()).unwrap_or_default(), TCP]);
    put(HEAD + 4, &(1u32 << LISTENING).to_ne_bytes());
    put(HEAD + 8, &port.to_be_bytes());
    // Of no certain socket.
    put(HEAD + 48, &[0xff; 8]);
    text
}

/// Takes the listeners on `port` from one piece of an answer; `true` when it was the last.
fn answered(mut piece: &[u8], port: u16, found: &mut Vec<Listener>) -> io::Result<bool> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer about sockets is broken");
    while !piece.is_empty() {
        let length = number(piece, 0).and_then(|length| usize::try_from(length).ok()).ok_or_else(broken)?;
        let message = piece.get(HEAD..length).ok_or_else(broken)?;
        match piece.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes) {
            Some(DONE) => return Ok(true),
            Some(BY_FAMILY) => found.extend(answer(message, port)),
            Some(ERROR) => return Err(io::ErrorKind::Unsupported.into()),
            _ => return Err(broken()),
        }
        piece = piece.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// One `inet_diag_msg`, if it is about a socket that listens on `port` of an address that answers for 127.0.0.1.
fn answer(message: &[u8], port: u16) -> Option<Listener> {
    let family = AddressFamily::from_raw(u16::from(*message.first()?));
    let listens = u32::from(*message.get(1)?) == LISTENING && message.get(4..6)? == port.to_be_bytes();
    let address = match family {
        AddressFamily::INET => IpAddr::from(<[u8; 4]>::try_from(message.get(8..12)?).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(message.get(8..24)?).ok()?),
    };
    let (user, inode) = (number(message, 64)?, number(message, 68)?);
    listens.then_some(Listener { rank: rank(address)?, user, inode: inode.into() })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn listed(port: u16) -> io::Result<Vec<Listener>> {
    let mut text = fs::read_to_string("/proc/self/net/tcp")?;
    // Without version 6 there is no such file.
    text.push_str(&fs::read_to_string("/proc/self/net/tcp6").unwrap_or_default());
    Ok(text.lines().filter_map(|line| listener(line, port)).collect())
}

/// One line of `/proc/net/tcp` or `tcp6`, if it listens on `port` of an address that answers for 127.0.0.1.
fn listener(line: &str, port: u16) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, local) = fields.next()?.rsplit_once(':')?;
    if fields.nth(1)? != LISTENING_HEX || u16::from_str_radix(local, 16).ok()? != port {
        return None;
    }
    let rank = rank(written(address)?)?;
    let (user, inode) = (fields.nth(3)?.parse().ok()?, fields.nth(1)?.parse().ok()?);
    Some(Listener { rank, user, inode })
}

/// Addresses stand there as words in the machine's own order.
fn written(address: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match address.len() {
        8 => Some(word(0)?.into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(<[u8; 16]>::try_from(words).ok()?.into())
        }
        _ => None,
    }
}

/// How exactly an address is that of loopback, if it answers for it.
fn rank(address: IpAddr) -> Option<u8> {
    match address {
        _ if address.to_canonical() == Ipv4Addr::LOCALHOST => Some(0),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Some(1),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

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

    #[test]
    fn what_the_kernel_is_asked_it_also_lists() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::ffff:127.0.0.1]:0"] {
            let Ok(socket) = TcpListener::bind(address) else { continue };
            let port = socket.local_addr().expect("bound").port();
            let listed = listed(port).expect("it is listed");
            assert_eq!(listed.len(), 1, "{address}");
            // A machine may answer no questions.
            if let Ok(asked) = asked(port) {
                assert_eq!(asked, listed, "{address}");
            }
            assert_eq!(listeners(port).expect("told"), listed, "{address}");
            drop(socket);
            assert_eq!(listeners(port).expect("told"), [], "{address}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_broken_answer_is_an_error_or_nobody_on_another_port(
            piece in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
            kind in 0u16..24,
        ) {
            for whole in [false, true] {
                let mut piece = piece.clone();
                if whole && piece.len() >= HEAD {
                    let length = u32::try_from(piece.len()).expect("it is short");
                    piece[..4].copy_from_slice(&length.to_ne_bytes());
                    piece[4..6].copy_from_slice(&kind.to_ne_bytes());
                }
                let mut found = Vec::new();
                let _ = answered(&piece, 8080, &mut found);
                assert!(found.len() <= piece.len() / HEAD);
            }
        }
    }
}
