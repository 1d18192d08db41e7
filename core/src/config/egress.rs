//! Which addresses a request made for a team may reach: public ones, and what the team's `egress` names.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::TeamSettings;
use crate::model::TeamName;

/// Where requests made for one team may go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Egress {
    /// Anywhere: no `teams:` in the settings, as on a laptop.
    Open,
    /// To public addresses and to these: host names, `*.` and a domain, addresses, or networks such as `10.1.0.0/16`; and
    /// to files below folders, which begin with `/`.
    Guarded(Vec<String>),
}

impl Egress {
    /// What the settings say of one team.
    pub fn of(team: &TeamName, teams: &BTreeMap<TeamName, TeamSettings>) -> Self {
        if teams.is_empty() {
            return Egress::Open;
        }
        Egress::Guarded(teams.get(team).map(|team| team.egress.clone()).unwrap_or_default())
    }

    /// Whether requests to the host called `name` may go to `address`, which it resolved to.
    pub fn allows(&self, name: &str, address: IpAddr) -> bool {
        let Egress::Guarded(entries) = self else { return true };
        let address = canonical(address);
        is_public(address) || entries.iter().any(|entry| names(entry, name) || holds(entry, address))
    }

    /// Whether what a URL names is refused whatever it resolves to: an address written out, or this machine by name.
    pub fn bars(&self, url: &str) -> bool {
        let host = host(url);
        let local = host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost");
        let known = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) if local => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Err(_) => Vec::new(),
        };
        !known.is_empty() && known.iter().all(|address| !self.allows(host, *address))
    }

    /// For refusals: what to do.
    pub fn refusal(name: &str, address: Option<IpAddr>) -> String {
        let at = address.map(|a| format!(" ({a})")).unwrap_or_default();
        format!("{name}{at} is not a public address and the team's `egress` does not name it: add it in the settings")
    }
}

/// The host of a URL, an address without its brackets.
pub fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        // The colons of an address in brackets are its own.
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    };
    host.trim_matches(['[', ']'])
}

fn names(entry: &str, host: &str) -> bool {
    let host = host.trim_end_matches('.');
    match entry.strip_prefix("*.") {
        Some(domain) => {
            host.len() > domain.len() + 1
                && host.is_char_boundary(host.len() - domain.len())
                && host[host.len() - domain.len()..].eq_ignore_ascii_case(domain)
                && host.as_bytes()[host.len() - domain.len() - 1] == b'.'
        }
        None => entry.eq_ignore_ascii_case(host),
    }
}

fn holds(entry: &str, address: IpAddr) -> bool {
    let (network, bits) = match entry.split_once('/') {
        Some((network, bits)) => (network, bits.parse::<u32>().ok()),
        None => (entry, None),
    };
    if entry.contains('/') && bits.is_none() {
        return false;
    }
    match (network.parse::<IpAddr>().map(canonical), address) {
        (Ok(IpAddr::V4(network)), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits.unwrap_or(32))).unwrap_or(0);
            bits.unwrap_or(32) <= 32 && network.to_bits() & mask == address.to_bits() & mask
        }
        (Ok(IpAddr::V6(network)), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits.unwrap_or(128))).unwrap_or(0);
            bits.unwrap_or(128) <= 128 && network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

/// IPv4 hidden in IPv6 counts as what it is.
fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let s = v6.segments();
    let low = Ipv4Addr::from_bits((u32::from(s[6]) << 16) | u32::from(s[7]));
    match s {
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => IpAddr::V4(low),
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => IpAddr::V4(low),
        [0x2002, high, low, ..] => IpAddr::V4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low))),
        _ => address,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => public_v4(v4),
        IpAddr::V6(v6) => public_v6(v6),
    }
}

fn public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special = v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19))
        // Metadata of a cloud that uses a public-looking address.
        || v4.octets() == [168, 63, 129, 16];
    !special
}

/// Global unicast is 2000::/3; of it, Teredo and documentation are left out.
fn public_v6(v6: Ipv6Addr) -> bool {
    let s = v6.segments();
    s[0] & 0xe000 == 0x2000 && !(s[0] == 0x2001 && (s[1] == 0 || s[1] == 0xdb8)) && !(s[0] == 0x3fff && s[1] < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(entries: &[&str]) -> Egress {
        Egress::Guarded(entries.iter().map(|&e| e.to_owned()).collect())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn special_addresses_are_refused_in_every_disguise() {
        let team = guarded(&[]);
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.3.4",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "::127.0.0.1",
            "fec0::1",
        ] {
            assert!(!team.allows("evil.example", ip(address)), "{address}");
        }
        for address in ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"] {
            assert!(team.allows("example.com", ip(address)), "{address}");
        }
    }

    #[test]
    fn egress_opens_what_it_names_and_no_more() {
        let team = guarded(&["builds.corp", "*.apps.corp", "10.1.0.0/16", "192.168.7.7", "fd00::/8", "10.9.0.0/x"]);
        assert!(team.allows("BUILDS.corp", ip("10.5.5.5")));
        assert!(team.allows("a.apps.corp.", ip("127.0.0.1")));
        assert!(!team.allows("apps.corp", ip("127.0.0.1")));
        assert!(!team.allows("evilapps.corp", ip("127.0.0.1")));
        assert!(team.allows("x", ip("10.1.255.1")) && !team.allows("x", ip("10.2.0.1")));
        assert!(team.allows("x", ip("192.168.7.7")) && !team.allows("x", ip("192.168.7.8")));
        assert!(team.allows("x", ip("fd12::1")) && !team.allows("x", ip("10.9.0.1")));
        assert!(Egress::Open.allows("x", ip("127.0.0.1")));
    }

    #[test]
    fn what_a_url_names_is_told_without_looking_it_up() {
        let team = guarded(&["hooks.localhost", "10.0.0.0/8"]);
        for barred in [
            "http://127.0.0.1:9/x",
            "smtp://localhost:25",
            "https://[::1]/",
            "http://a.localhost?q",
            "http://192.168.1.1",
        ] {
            assert!(team.bars(barred) && !Egress::Open.bars(barred), "{barred}");
        }
        for may in
            ["https://hooks.example/a:b", "http://hooks.localhost:80/", "http://10.1.2.3#f", "https://93.184.216.34/"]
        {
            assert!(!team.bars(may), "{may}");
        }
    }
}
