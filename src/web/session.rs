//! How a browser that has shown the token stays let in: by a cookie that is good for half a day, on a host name of the page's own.
//!
//! Browsers send a cookie to every port of its host. On loopback apps listen, too, so there the page moves to a name below
//! `localhost`, which browsers resolve by themselves. The token makes that name, so that no app can lead a browser to the same
//! name at its own port.

use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How long a cookie is good.
pub(super) const LASTS: SignedDuration = SignedDuration::from_hours(12);
/// How long a browser has to follow to the page's own name.
const MOVES: SignedDuration = SignedDuration::from_mins(1);
/// Hexadecimal digits of the page's own name.
const DIGITS: usize = 20;

/// What a signed time is for.
#[derive(Clone, Copy)]
pub(super) enum Pass {
    /// In a cookie.
    Cookie,
    /// In the address, from a name that apps share to the page's own.
    Ticket,
}

impl Pass {
    fn word(self) -> &'static str {
        match self {
            Self::Cookie => "codeops page cookie v2",
            Self::Ticket => "codeops page ticket v1",
        }
    }

    /// One that begins now. It proves that its bearer knew the token, without being the token.
    pub(super) fn beginning(self, token: &str, now: Timestamp) -> String {
        let lasts = match self {
            Self::Cookie => LASTS,
            Self::Ticket => MOVES,
        };
        let until = now.as_second().saturating_add(lasts.as_secs());
        format!("{until}.{}", self.signature(token, until))
    }

    /// Whether this is one that is still good.
    pub(super) fn admits(self, shown: &str, token: &str, now: Timestamp) -> bool {
        let Some((until, signature)) = shown.split_once('.') else { return false };
        let Ok(until) = until.parse::<i64>() else { return false };
        until > now.as_second() && same(signature, &self.signature(token, until))
    }

    fn signature(self, token: &str, until: i64) -> String {
        signed(token, &format!("{}\n{until}", self.word()))
    }
}

/// The page's own name below `localhost`.
pub(super) fn own_host(token: &str) -> String {
    let name = signed(token, "codeops page name v1");
    format!("codeops-{}.localhost", name.get(..DIGITS).unwrap_or_default())
}

/// Whether apps on this machine are reached at this host, too.
pub(super) fn is_shared(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn signed(token: &str, what: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(token.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(what.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// Compares digests, so that neither content nor length shows in the time taken.
pub(super) fn same(shown: &str, expected: &str) -> bool {
    use sha2::Digest as _;
    Sha256::digest(shown).ct_eq(&Sha256::digest(expected)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_good_for_its_time_and_its_purpose_alone() {
        let now = Timestamp::from_second(1_800_000_000).expect("in range");
        let at = |secs: i64| now + SignedDuration::from_secs(secs);
        let cookie = Pass::Cookie.beginning("sesame", now);
        assert!(
            Pass::Cookie.admits(&cookie, "sesame", at(43_199)) && !Pass::Cookie.admits(&cookie, "sesame", at(43_200))
        );
        assert!(!Pass::Cookie.admits(&cookie, "simsim", now) && !Pass::Ticket.admits(&cookie, "sesame", now));
        let ticket = Pass::Ticket.beginning("sesame", now);
        assert!(Pass::Ticket.admits(&ticket, "sesame", at(59)) && !Pass::Ticket.admits(&ticket, "sesame", at(60)));
        assert!(!Pass::Cookie.admits(&ticket, "sesame", now));
        let later = cookie.replacen("1800", "1900", 1);
        assert!(!Pass::Cookie.admits(&later, "sesame", now), "the time is signed");
        for odd in ["", ".", "1.", "x.y", "99999999999999999999.x"] {
            assert!(!Pass::Cookie.admits(odd, "sesame", now), "{odd}");
        }
    }

    #[test]
    fn the_own_name_is_the_tokens_and_below_localhost() {
        let name = own_host("sesame");
        assert!(name.starts_with("codeops-") && name.ends_with(".localhost") && name.len() == 38, "{name}");
        assert_ne!(name, own_host("simsim"));
        for shared in ["localhost", "LocalHost.", "127.0.0.1", "127.1.2.3", "::1", "codeops.localhost", name.as_str()] {
            assert!(is_shared(shared), "{shared}");
        }
        assert!(!is_shared("ops.acme.example") && !is_shared("192.0.2.1") && !is_shared("localhost.example"));
    }
}
