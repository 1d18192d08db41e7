//! A resource as one revision declares it: its spec, its owner's words about it, and the digests that are stamped.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AppSpec, Digest, ResourceId, TeamName};

/// Where in the config repository something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The path inside the config repository, with `/`.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One resource of one revision, fully resolved and lowered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Its id.
    pub id: ResourceId,
    /// The one team that owns it.
    pub team: TeamName,
    /// What it should be.
    pub spec: AppSpec,
    /// Digest of all that is declared: a difference is drift or a change.
    pub spec_digest: Digest,
    /// Digest of what makes a new instance: a difference replaces instances.
    pub template_digest: Digest,
    /// Keyed tags of the secrets' values, by environment variable; part of both digests, telling nothing of the value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_tags: BTreeMap<String, String>,
    /// Ids it had before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub was: Vec<ResourceId>,
    /// Whether an object that is not ours may be taken over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopt: bool,
    /// Where its manifest stands.
    pub place: Place,
}
