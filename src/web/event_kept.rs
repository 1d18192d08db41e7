//! What an event says of what somebody keeps: what is broken, or several teams have, of how alerts are answered; and ports.

use std::collections::{BTreeMap, BTreeSet};

use codeops_core::model::{Revision, StablePort, TeamName};

/// Which manifests are broken or deleted, and which version of each stays in force; and whose is what several teams
/// have, or is gone and still named.
pub(super) fn sentence(
    manifests: &BTreeMap<String, Option<Revision>>,
    holders: &BTreeMap<String, TeamName>,
    gone: &BTreeSet<String>,
) -> String {
    // What is only still somebody's by its name is told of by that.
    let broken = manifests.iter().filter(|(id, good)| good.is_some() || !holders.contains_key(*id));
    let one = |(id, good): (&String, &Option<Revision>)| match good {
        Some(revision) => {
            format!("{id} stays as in revision {}: it is broken, or it is deleted and cannot go yet", revision.short())
        }
        None => format!("{id} is broken and never was good"),
    };
    let stays = |id: &String| manifests.get(id).is_some_and(Option::is_some);
    let several = |(id, team): (&String, &TeamName)| {
        format!("{id} is {team}'s: other teams have it as well, or it stays as it was, or is gone and still named")
    };
    let is_named = |id: &String| manifests.contains_key(id) || holders.contains_key(id);
    let over = gone.iter().filter(|id| !is_named(id)).map(|id| format!("{id} counts as it stands"));
    let all: Vec<String> =
        broken.map(one).chain(holders.iter().filter(|(id, _)| !stays(id)).map(several)).chain(over).collect();
    match all.is_empty() {
        true => {
            "every manifest of how alerts are answered counts as it stands: what was broken is mended, or it is deleted"
                .to_owned()
        }
        false => all.join("; "),
    }
}

/// On which ports an app may live beside the one that it is declared with.
pub(super) fn ports(ports: &BTreeSet<StablePort>) -> String {
    let one = |(provider, address, number): &StablePort| format!("port {number} on {address} ({provider})");
    match ports.is_empty() {
        true => "it has arrived at what is declared, and keeps no port that it had before".to_owned(),
        false => {
            let all: Vec<String> = ports.iter().map(one).collect();
            format!("it may live on {} still, beside what it is declared with", all.join(" and "))
        }
    }
}
