//! What an app has that no other may have.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{AppSpec, ProviderName, Resource, ResourceId, TeamName};

/// A stable port: on which provider, which address and number.
pub type StablePort = (ProviderName, IpAddr, u16);

impl AppSpec {
    /// The port that clients reach it at, if it has one.
    pub fn stable_port(&self) -> Option<StablePort> {
        self.port.as_ref().map(|port| (self.provider.clone(), self.bind, port.number))
    }
}

/// What an app has that no other may have: the holder keeps it when another asks for it too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// Its stable port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<StablePort>,
    /// The names it had before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub was: Vec<ResourceId>,
    /// Names that it had and does not say any more, and those that what it was had: they are nobody's, but what comes by one of
    /// them as this goes was meant to be this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<ResourceId>,
    /// Its name: whose it is, where teams are kept apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<TeamName>,
    /// Since when others ask for its name, where they do while it is not declared, or not without a mistake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// The ports beside that one on which it may live still. They are remembered beside these and not written down here.
    #[serde(skip)]
    pub live: BTreeSet<StablePort>,
}

/// Since when other teams' manifests ask for a name that one team has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Asked {
    /// Since before a revision took it away: they asked in vain.
    Before,
    /// This team's came to do so in the revision that took it away, or later.
    By(TeamName),
}

impl Claims {
    /// What a resource as it is declared has; `apart` says whether teams are kept apart.
    pub fn of(resource: &Resource, apart: bool) -> Self {
        let (port, team) = (resource.spec.stable_port(), apart.then(|| resource.team.clone()));
        Self { port, was: resource.was.clone(), team, ..Self::default() }
    }

    /// The same without former names of what never was: such a name is nobody's.
    #[must_use]
    pub fn of_what_was(mut self, was: impl Fn(&ResourceId) -> bool) -> Self {
        self.was.retain(was);
        self
    }

    /// Whether it has nothing of the kind.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
