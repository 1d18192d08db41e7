//! A resource as one revision declares it: its spec, its owner's words about it, and the digests that are stamped.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AppSpec, Digest, ResourceId, TeamName};

/// Where in the config repository something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The path inside the config repository, with `/`; what stands in one file shares it.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

/// So many characters are shown of the beginning of a long path, and of its end.
const SHOWN: usize = 100;

/// As people read it: of a path that is longer than anybody reads, both ends. Texts about thousands of manifests name it each.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column } = self;
        let end = |of: usize| file.char_indices().rev().nth(of).map_or(0, |(at, _)| at);
        let begin = file.char_indices().nth(SHOWN).map_or(file.len(), |(at, _)| at);
        match end(2 * SHOWN) {
            0 => write!(f, "{file}:{line}:{column}"),
            _ => write!(f, "{}…{}:{line}:{column}", &file[..begin], &file[end(SHOWN - 1)..]),
        }
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

impl Resource {
    /// Whether the same is declared, wherever in the config repository it stands.
    pub fn same_as(&self, other: &Self) -> bool {
        let Self { id, team, spec, spec_digest, template_digest, secret_tags, was, adopt, place: _ } = self;
        (id, team, spec_digest, template_digest) == (&other.id, &other.team, &other.spec_digest, &other.template_digest)
            && (secret_tags, was, adopt, spec) == (&other.secret_tags, &other.was, &other.adopt, &other.spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_in_full_unless_nobody_would_read_it() {
        let place = |file: String| Place { file: file.into(), line: 7, column: 3 }.to_string();
        assert_eq!(place("apps/shop.yaml".to_owned()), "apps/shop.yaml:7:3");
        assert_eq!(place("é".repeat(200)), format!("{}:7:3", "é".repeat(200)));
        let long = place(format!("{}/{}/x.yaml", "a".repeat(120), "é/".repeat(2_000)));
        assert_eq!(long.chars().count(), 2 * SHOWN + ":7:3".len() + 1);
        assert!(long.starts_with("aaa") && long.contains("a…") && long.ends_with("é//x.yaml:7:3"), "{long}");
    }
}
