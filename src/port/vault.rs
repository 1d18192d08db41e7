//! Secrets that the settings grant.

use std::collections::{BTreeMap, BTreeSet};

use codeops_core::desired::SecretFacts;
use codeops_core::model::SecretName;

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

    /// `text` with every known secret value replaced by `***`.
    fn redact(&self, text: &str) -> String;
}
