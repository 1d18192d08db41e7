//! One commit of the config repository, as far as people, policy and the journal look at it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Revision, TeamName};

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
    /// The `Codeops-…` trailers of the message, as (key, value).
    pub trailers: Vec<(String, String)>,
    /// Who signed it, when signers are set and the signature verified.
    pub signer: Option<String>,
    /// The files that it changes below the folder that is followed: they show whose words it holds.
    #[serde(skip)]
    pub changed: BTreeSet<String>,
    /// Those of them that are another way in the revision that is taken than in the one followed before: what was changed and
    /// changed back is nobody's doing.
    #[serde(skip)]
    pub stands: BTreeSet<String>,
    /// The teams whose files it changes, where the settings keep teams apart: its words are theirs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub teams: BTreeSet<TeamName>,
}
