//! One commit of the config repository, as far as people, policy and the journal look at it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ResourceId, Revision, TeamName};

/// One commit, as far as people and policy look at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its id.
    pub revision: Revision,
    /// `Name <address>`, control characters removed.
    pub author: String,
    /// When it was committed.
    pub at: Timestamp,
    /// The first line of the message.
    pub subject: String,
    /// The `Codeops-…` trailers of the message, as (key, value); as it is written down, with those of the commits that it brings.
    pub trailers: Vec<(String, String)>,
    /// Who signed it, when signers are set and the signature verified.
    pub signer: Option<String>,
    /// The files below the folder that is followed that it makes another way than every parent of it has them: they show whose words
    /// it holds. A merge that only merges changes none.
    #[serde(skip)]
    pub changed: BTreeSet<String>,
    /// Those of them that are another way in the revision that is taken than in the one followed before: what was changed and
    /// changed back is nobody's doing.
    #[serde(skip)]
    pub stands: BTreeSet<String>,
    /// Those that stand of what comes with it, be it by a merge: what its first parent has another way.
    #[serde(skip)]
    pub brings: BTreeSet<String>,
    /// What it changes and was not looked at, as it is too much: files, and folders, which end with `/`; an empty one is all that
    /// there is. It shows nothing of whose words it holds, and hides what else it changes.
    #[serde(skip)]
    pub beyond: BTreeSet<String>,
    /// The commits with trailers that it brings beside its first parent, oldest first: each speaks for what it changes itself.
    #[serde(skip)]
    pub brought: Vec<Commit>,
    /// What came after it, where it says `Codeops-Allow`.
    #[serde(skip)]
    pub later: Later,
    /// The teams whose files it changes, where the settings keep teams apart: its words are theirs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub teams: BTreeSet<TeamName>,
}

/// What the commits between one that says something and the revision that is taken did: of what they declared, or no longer did,
/// it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Later {
    /// What stood in the files that they changed, as they were before each.
    pub declared: BTreeSet<ResourceId>,
    /// Files and folders of which that is not known; an empty one is all that there is.
    pub unread: BTreeSet<String>,
    /// Nobody knows what came after it, nor whether it was read before: it is not on a line that was followed.
    pub unknown: bool,
}
