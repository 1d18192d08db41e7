//! Secrets that the settings grant.

use std::collections::{BTreeMap, BTreeSet};

use codeops_core::desired::SecretFacts;
use codeops_core::model::{Name, Secret, SecretName, TeamName};

use super::Secrets;

/// Who wrote a text: values that they know already are taken out of it, and no others, since a team that could have others'
/// values taken out would find them by guessing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose<'a> {
    /// Anybody may have written it: only what no team is granted is taken out.
    Nobody,
    /// This team.
    Team(&'a TeamName),
    /// These teams together; nobody where there are none.
    Teams(&'a BTreeSet<TeamName>),
    /// Those who run all of it: every value is taken out.
    Everybody,
}

/// The receivers of the settings, and the teams whose resources alone their alerts may reach.
pub type Senders = BTreeMap<Name, Option<BTreeSet<TeamName>>>;

impl<'a> Whose<'a> {
    /// One team's, or anybody's.
    pub fn of(team: impl Into<Option<&'a TeamName>>) -> Self {
        team.into().map_or(Self::Nobody, Self::Team)
    }

    /// Of what a receiver of these brings; anybody's by one that the settings do not have any more.
    pub fn sent_by(receivers: &'a Senders, receiver: &Name) -> Self {
        receivers.get(receiver).map_or(Self::Nobody, |teams| Self::sent_to(teams.as_ref()))
    }

    /// Of what a receiver brings: whose resources it may reach, as the settings say, are its senders. What it is without such
    /// teams belongs to those who run all of it; several may each guess at the others'.
    pub fn sent_to(teams: Option<&'a BTreeSet<TeamName>>) -> Self {
        let Some(teams) = teams else { return Self::Everybody };
        Self::of(teams.first().filter(|_| teams.len() == 1))
    }
}

/// Holds the values of secrets; everything else sees names and tags.
pub trait Vault: Send + Sync {
    /// Who may use each secret, and a keyed tag of its present value. Reads the sources again.
    fn facts(&self) -> BTreeMap<SecretName, SecretFacts>;

    /// The values of these secrets, for `team`.
    ///
    /// # Errors
    /// One sentence naming the first secret that the settings do not grant to that team now, or that cannot be read, where it was
    /// looked for, and what to do.
    fn values(&self, team: &TeamName, names: &BTreeSet<SecretName>) -> Result<Secrets, String>;

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

    /// `text` with the secret values of those who wrote it replaced by `***`. Where the settings do not keep teams apart, it
    /// is every known one.
    fn redact(&self, whose: Whose<'_>, text: &str) -> String;

    /// The same for what a team's programs and manifests wrote, and its people read.
    fn redact_of(&self, team: &TeamName, text: &str) -> String {
        self.redact(Whose::Team(team), text)
    }

    /// `text` without those values of these that stand in `read` as well. Whoever wrote it has read them there, and learns nothing
    /// by guessing.
    fn redact_read(&self, whose: Whose<'_>, read: &str, text: &str) -> String;
}

/// Why a team is not given a secret, and what to do.
pub fn not_granted(name: &SecretName, team: &TeamName) -> String {
    format!(
        "the secret `{name}` is not granted to team {team}: name that in `secrets.{name}.teams` of the settings, or take the \
         secret out of the manifest"
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_brings_is_its_one_teams_and_of_several_nobodys() {
        let names = |all: &[&str]| -> BTreeSet<TeamName> {
            all.iter().map(|name| TeamName::new(name).expect("a name")).collect()
        };
        let (one, two) = (names(&["a"]), names(&["a", "b"]));
        let a = TeamName::new("a").expect("a name");
        assert_eq!(Whose::sent_to(None), Whose::Everybody);
        assert_eq!(Whose::sent_to(Some(&one)), Whose::Team(&a));
        assert_eq!(Whose::sent_to(Some(&two)), Whose::Nobody);
        assert_eq!(Whose::sent_to(Some(&BTreeSet::new())), Whose::Nobody);
    }
}
