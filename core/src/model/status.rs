//! The words that status pages, plans and holds share.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{InvalidName, ProviderName, ResourceId, SystemId};

/// Whether live state is what the revision says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sync {
    /// It is.
    Synced,
    /// It is not, and is being made so.
    OutOfSync,
    /// It is not, and only a commit releases the next step.
    Held,
    /// Nothing is done, as the manifest says.
    Suspended,
    /// It cannot be told.
    Unknown,
}

impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Sync::Synced => "Synced",
            Sync::OutOfSync => "OutOfSync",
            Sync::Held => "Held",
            Sync::Suspended => "Suspended",
            Sync::Unknown => "Unknown",
        })
    }
}

/// How far a revision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevisionState {
    /// Something is under way, or comes by itself.
    Applying,
    /// All is as it says, and healthy.
    Applied,
    /// Some is, and the rest needs a commit.
    Partial,
    /// Nothing is, and it needs a commit.
    Failed,
}

/// What a revision has come to where nothing moves any more, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Resources that it declares, keeps, or is still to remove.
    pub resources: usize,
    /// Those of them that are not as it says, or do not work.
    pub off: usize,
    /// Resources that it has removed.
    pub removed: usize,
    /// Mistakes in its manifests.
    pub mistakes: usize,
}

impl RevisionState {
    /// How far a revision is that nothing moves any more.
    pub fn settled(tally: Tally) -> Self {
        match tally {
            Tally { off: 0, mistakes: 0, .. } => RevisionState::Applied,
            Tally { resources, off, removed: 0, .. } if off >= resources => RevisionState::Failed,
            _ => RevisionState::Partial,
        }
    }

    /// Its word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            RevisionState::Applying => "applying",
            RevisionState::Applied => "applied",
            RevisionState::Partial => "partial",
            RevisionState::Failed => "failed",
        }
    }
}

impl fmt::Display for RevisionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Whether it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Health {
    /// As many instances as declared pass their check.
    Healthy,
    /// On its way, within its time.
    Progressing,
    /// Fewer work than declared, and time is up.
    Degraded,
    /// It does not exist.
    Missing,
    /// It cannot be told.
    Unknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Health::Healthy => "Healthy",
            Health::Progressing => "Progressing",
            Health::Degraded => "Degraded",
            Health::Missing => "Missing",
            Health::Unknown => "Unknown",
        })
    }
}

/// What a plan does to one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Make it.
    Create,
    /// Take over an object that is not ours.
    Adopt,
    /// Take over what was ours under another id.
    Rename,
    /// Change it in place.
    Update,
    /// Replace its instances: the template changed.
    Replace,
    /// Bring back what went missing, with nothing declared anew.
    Repair,
    /// Take all instances away, keeping the port.
    ScaleToZero,
    /// Take it from one provider to another: made and healthy there before it is removed here.
    Move,
    /// Remove it.
    Delete,
}

impl Verb {
    /// The word that holds are computed over and that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Adopt => "adopt",
            Verb::Rename => "rename",
            Verb::Update => "update",
            Verb::Replace => "replace",
            Verb::Repair => "repair",
            Verb::ScaleToZero => "scale-to-zero",
            Verb::Move => "move",
            Verb::Delete => "delete",
        }
    }

    /// Whether it takes something away that a person may miss: what the blast radius counts.
    pub fn is_removal(self) -> bool {
        matches!(self, Verb::ScaleToZero | Verb::Move | Verb::Delete)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A hold's id: the first 12 hex of SHA-256 over its sorted `verb id` lines. `Codeops-Allow: ID` releases exactly that set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HoldId(String);

impl HoldId {
    /// The id of this set of held changes.
    pub fn of(changes: &BTreeSet<(Verb, ResourceId)>) -> Self {
        let mut lines: Vec<String> = changes.iter().map(|(verb, id)| format!("{verb} {id}\n")).collect();
        lines.sort();
        Self(hex::encode(Sha256::digest(lines.concat())).chars().take(12).collect())
    }

    /// The id of a provider's change from one system to another, whatever is to be changed on it meanwhile.
    pub fn of_system(provider: &ProviderName, before: &SystemId, now: &SystemId) -> Self {
        let text = format!("{provider}\n{before}\n{now}\n");
        Self(hex::encode(Sha256::digest(text)).chars().take(12).collect())
    }

    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HoldId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName { text: text.chars().take(80).collect(), what: "hold id", expected: "12 hex digits" })
        }
    }
}

impl TryFrom<String> for HoldId {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<HoldId> for String {
    fn from(id: HoldId) -> Self {
        id.0
    }
}

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
