//! Secrets that the settings grant.

use std::collections::{BTreeMap, BTreeSet};

use codeops_core::desired::SecretFacts;
use codeops_core::model::{Secret, SecretName, TeamName};

use super::Secrets;

/// Holds the values of secrets; everything else sees names and tags.
pub trait Vault: Send + Sync {
    /// Who may use each secret, and a keyed tag of its present value. Reads the sources again.
    fn facts(&self) -> BTreeMap<SecretName, SecretFacts>;

    /// The values of these secrets.
    ///
    /// # Errors
    /// One sentence naming the first secret that cannot be read, where it was looked for, and what to do.
    fn values(&self, names: &BTreeSet<SecretName>) -> Result<Secrets, String>;

    /// The values of `secrets`, by variable, where `team` may still have them and each is what its keyed tag says: what was
    /// given once may be given again, and nothing else. `tags` go by variable too.
    ///
    /// # Errors
    /// One sentence naming the first secret that is another by now, or cannot be had.
    fn given_before(
        &self,
        team: &TeamName,
        secrets: &BTreeMap<String, SecretName>,
        tags: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Secret<String>>, String>;

    /// `text` with every known secret value replaced by `***`.
    fn redact(&self, text: &str) -> String;

    /// The same for what a team's programs and manifests wrote, and its people read: only values that the team is granted
    /// are replaced. A team that could have others' values replaced would find them by guessing.
    fn redact_of(&self, team: &TeamName, text: &str) -> String;

    /// `text` without those values of this team, or of all, that stand in `read` as well. Whoever wrote it has read them there, and
    /// learns nothing by guessing.
    fn redact_read(&self, team: Option<&TeamName>, read: &str, text: &str) -> String;
}

/// Takes out of one team's texts what that team knows and others must not see.
#[derive(Clone, Copy)]
pub struct Veil<'a> {
    vault: &'a dyn Vault,
    team: &'a TeamName,
}

impl<'a> Veil<'a> {
    /// For what `team` wrote.
    pub fn of(vault: &'a dyn Vault, team: &'a TeamName) -> Self {
        Self { vault, team }
    }

    /// `text` without what the team is granted.
    pub fn redact(&self, text: &str) -> String {
        self.vault.redact_of(self.team, text)
    }
}
