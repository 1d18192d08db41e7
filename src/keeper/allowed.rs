//! What the settings let be started now. A keeper starts what it was told once, again and again and with nobody to ask; so a daemon
//! writes what holds now into one file for all keepers of a provider, and each looks there before every process.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use codeops_core::model::{AppSpec, SecretName, TeamName};
use serde::{Deserialize, Serialize};

use super::wire::User;
use crate::base::write_private;
use crate::port::not_granted;

/// The file in the provider's folder.
const FILE: &str = "allowed.json";
/// The provider's folder, from an app's.
const PROVIDER: &str = "../..";

/// What may be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allowed {
    /// The epoch of the daemon that says so. One that was told of a newer daemon, of a version that says nothing, asks nobody.
    pub epoch: u64,
    /// The first and the last uid that an instance may have; `None`: the keeper's own.
    pub users: Option<(u32, u32)>,
    /// The teams that each secret is granted to.
    pub secrets: BTreeMap<SecretName, BTreeSet<TeamName>>,
}

impl Allowed {
    /// Says it to all keepers below the provider's folder.
    ///
    /// # Errors
    /// The disk's; what was said before stands then.
    pub fn tell(&self, provider: &Path) -> io::Result<()> {
        write_private(&provider.join(FILE), &serde_json::to_vec(self)?)
    }

    /// What counts for a keeper in its own folder that was told of this epoch; `None` where nobody says anything.
    pub(super) fn now(epoch: u64) -> Option<Self> {
        let text = std::fs::read(Path::new(PROVIDER).join(FILE)).ok()?;
        serde_json::from_slice::<Self>(&text).ok().filter(|allowed| allowed.epoch >= epoch)
    }

    /// Why an instance of `team`'s is not started as this user with these secrets, if it is not.
    pub(super) fn forbids(&self, team: &TeamName, user: Option<&User>, spec: &AppSpec) -> Option<String> {
        let own = rustix::process::geteuid().as_raw();
        let (first, last) = self.users.unwrap_or((own, own));
        let uid = user.map_or(own, |user| user.uid);
        if !(first..=last).contains(&uid) {
            return Some(format!(
                "it is not started as uid {uid} again, for the settings say `runAs` otherwise by now: an instance under the \
                 right user replaces it"
            ));
        }
        let granted = |name: &&SecretName| self.secrets.get(*name).is_some_and(|teams| teams.contains(team));
        spec.secrets.values().find(|name| !granted(name)).map(|name| not_granted(name, team))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_starts_as_the_settings_say_now_and_with_what_they_grant_now() {
        let spec = serde_json::json!({"provider": "local", "run": {"command": {"command": ["shop"]}}, "secrets": {"KEY": "key"}});
        let spec: AppSpec = serde_json::from_value(spec).expect("a spec");
        let name = |text: &str| text.parse::<TeamName>().expect("a name");
        let user = |uid| User { uid, gid: uid, groups: Vec::new() };
        let secrets = BTreeMap::from([(name("key"), BTreeSet::from([name("shop")]))]);
        let allowed = Allowed { epoch: 2, users: Some((64_000, 65_000)), secrets };
        let forbids = |team: &str, uid| allowed.forbids(&name(team), Some(&user(uid)), &spec);
        assert_eq!(forbids("shop", 64_001), None);
        assert!(forbids("shop", 0).is_some_and(|why| why.contains("uid 0")));
        assert!(forbids("other", 64_001).is_some_and(|why| why.contains("secrets.key.teams")));
        let nobodys = Allowed { secrets: BTreeMap::new(), ..allowed.clone() };
        assert!(nobodys.forbids(&name("shop"), Some(&user(64_001)), &spec).is_some());
        let own = Allowed { users: None, ..allowed };
        assert_eq!(own.forbids(&name("shop"), None, &spec), None);
    }
}
