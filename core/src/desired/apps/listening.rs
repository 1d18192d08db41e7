//! Where an app may listen: never where the daemon itself does, and, where the settings name teams, on a privileged port or
//! beside loopback only with a grant.

use std::net::{IpAddr, Ipv4Addr};

use crate::model::TeamName;

use super::unit::Unit;
use crate::desired::Context;
use crate::desired::teams::grants::Note;
use crate::desired::text::tree::At;

/// Ports below need a privilege that the daemon may have and an app would borrow.
const PRIVILEGED: u16 = 1024;

/// Checks the stable port of one app.
pub(crate) fn check(unit: &Unit, team: &At<TeamName>, context: &Context, notes: &mut Vec<Note>) {
    let Some(port) = &unit.app.port else { return };
    let number = port.value.number;
    let bind = unit.app.bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_canonical();
    let apart = !context.teams.is_empty();
    if let Some((what, address)) = context.reserved.iter().find(|(_, address)| meets(address, bind, number, apart)) {
        let help = Some("choose another port".to_owned());
        notes.push((port.span, format!("port {number} on {bind} is the daemon's own: {what} on {address}"), help));
    }
    if !apart {
        return;
    }
    let own = context.teams.get(&team.value);
    let team = &team.value;
    if number < PRIVILEGED && !own.is_some_and(|own| own.ports.contains(&number)) {
        let help =
            format!("add it to `teams.{team}.ports` in the daemon's settings, or choose one from {PRIVILEGED} on");
        notes.push((port.span, format!("the team `{team}` may not have the privileged port {number}"), Some(help)));
    }
    if !bind.is_loopback() && !own.is_some_and(|own| own.bind.iter().any(|granted| granted.to_canonical() == bind)) {
        let help = format!("add it to `teams.{team}.bind` in the daemon's settings, or leave `bind` out");
        notes.push((port.span, format!("the team `{team}` may not listen on {bind}"), Some(help)));
    }
}

/// Whether a listener on `bind` and `number` would take what `address`, `host:port`, listens on. A host that is a name could
/// be any address; where teams are kept apart all of loopback is one, for a client of the daemon's may look for it by a name.
fn meets(address: &str, bind: IpAddr, number: u16, apart: bool) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|ip| ip.to_canonical());
    let near = |ip: IpAddr| apart && ip.is_loopback() && bind.is_loopback();
    port.parse() == Ok(number)
        && host.map_or(true, |ip| ip == bind || ip.is_unspecified() || bind.is_unspecified() || near(ip))
}
