//! Values of secrets that the settings grant: read from files and the daemon's environment, tagged, and taken out of texts.
//!
//! Values leave only through [`Vault::values`]. Nothing here prints, logs or stores one, and no error holds one.

mod read;
mod redact;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use codeops_core::config::SecretSettings;
use codeops_core::desired::SecretFacts;
use codeops_core::model::{Secret, SecretName, TeamName};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use self::redact::{Needles, Redactor, SHORTEST};
use crate::port::{Secrets, Vault, Whose, not_granted};

pub use self::read::read;

/// The secrets of `daemon.yaml`.
pub struct SettingsVault {
    settings: BTreeMap<SecretName, SecretSettings>,
    environment: BTreeMap<String, String>,
    tag_key: [u8; 32],
    seen: Mutex<Seen>,
    known: Known,
    /// Whether teams are kept apart.
    apart: bool,
}

/// What was read so far.
#[derive(Default)]
struct Seen {
    /// The last tag of each. It stands while a source cannot be read: a missing file must not look like a new value.
    tags: BTreeMap<SecretName, String>,
}

/// The values that were read, to be taken out of texts: of each secret the newest. The vaults of one process share it: a value stays known when the
/// settings change, for texts about it may come late.
#[derive(Clone, Default)]
pub struct Known(Arc<Mutex<Values>>);

#[derive(Default)]
struct Values {
    all: Arc<Needles>,
    /// What each team was granted.
    granted: BTreeMap<TeamName, Arc<Needles>>,
    /// What no team was.
    nobodys: Arc<Needles>,
}

impl Known {
    fn learn(&self, secret: &SecretName, value: &str, teams: &[TeamName]) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut values.all).learn(secret, value);
        for team in teams {
            Arc::make_mut(values.granted.entry(team.clone()).or_default()).learn(secret, value);
        }
        let granted = values.granted.values().any(|granted| granted.knows(value));
        let nobodys = Arc::make_mut(&mut values.nobodys);
        if granted {
            nobodys.forget(value);
        } else {
            nobodys.learn(secret, value);
        }
    }

    /// What takes out what these were granted. Long texts are looked through without keeping others from their values.
    fn of(&self, whose: Whose<'_>) -> Redactor {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match whose {
            Whose::Everybody => Redactor::of([Arc::clone(&values.all)]),
            Whose::Team(team) => Redactor::of(values.granted.get(team).cloned()),
            Whose::Teams(teams) if !teams.is_empty() => {
                Redactor::of(teams.iter().filter_map(|team| values.granted.get(team).cloned()))
            }
            Whose::Nobody | Whose::Teams(_) => Redactor::of([Arc::clone(&values.nobodys)]),
        }
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

impl SettingsVault {
    /// A vault over the settings' secrets. `tag_key` is the store's; `environment` is the daemon's.
    pub fn new(
        settings: BTreeMap<SecretName, SecretSettings>,
        tag_key: [u8; 32],
        environment: BTreeMap<String, String>,
    ) -> Self {
        Self { settings, environment, tag_key, seen: Mutex::default(), known: Known::default(), apart: false }
    }

    /// The same; `apart` says whether the settings keep teams from each other. Where they do not, every team may claim what
    /// is another's, and everything is taken out of every text.
    #[must_use]
    pub fn with_teams_apart(self, apart: bool) -> Self {
        Self { apart, ..self }
    }

    /// The same, which also takes out of texts what other vaults of this process have read.
    #[must_use]
    pub fn with_known(self, known: Known) -> Self {
        Self { known, ..self }
    }

    fn value(&self, name: &SecretName, settings: &SecretSettings) -> Result<Secret<String>, String> {
        let value = read(&settings.source, &self.environment)
            .map_err(|why| format!("the secret `{name}` cannot be read: {why}"))?;
        let tag = tag(&self.tag_key, name, value.reveal());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.tags.get(name) != Some(&tag) {
            self.known.learn(name, value.reveal(), &settings.teams);
            if value.reveal().chars().count() < SHORTEST {
                let what = "a secret is short enough to be guessed, and is masked only in what the app that has it writes: \
                            give it a longer value";
                tracing::warn!(secret = %name, shorter_than = SHORTEST, "{what}");
            }
            seen.tags.insert(name.clone(), tag);
        }
        Ok(value)
    }

    /// The one place that decides who gets a value.
    fn granted(&self, team: &TeamName, name: &SecretName) -> Result<Secret<String>, String> {
        let settings = self
            .settings
            .get(name)
            .ok_or_else(|| format!("the secret `{name}` is not in the settings: add it under `secrets:`"))?;
        if !settings.teams.contains(team) {
            return Err(not_granted(name, team));
        }
        self.value(name, settings)
    }

    fn known_to(&self, whose: Whose<'_>) -> Redactor {
        self.known.of(if self.apart { whose } else { Whose::Everybody })
    }

    fn last_tag(&self, name: &SecretName) -> Option<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).tags.get(name).cloned()
    }
}

/// A keyed tag of a value: equal values of two names have different tags, and no tag tells a value.
fn tag(key: &[u8; 32], name: &SecretName, value: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(name.as_str().as_bytes());
    mac.update(&[0]);
    mac.update(value.as_bytes());
    hex::encode(&mac.finalize().into_bytes()[..16])
}

impl Vault for SettingsVault {
    fn facts(&self) -> BTreeMap<SecretName, SecretFacts> {
        let fact = |(name, settings): (&SecretName, &SecretSettings)| {
            let tag = match (self.value(name, settings), self.last_tag(name)) {
                (Ok(_), Some(tag)) => Ok(tag),
                (Ok(_), None) => Err(format!("the secret `{name}` has no tag")),
                (Err(why), Some(tag)) => {
                    tracing::warn!(%why, "a secret keeps the tag it had");
                    Ok(tag)
                }
                (Err(why), None) => {
                    tracing::warn!(%why, "what uses this secret stays as it is");
                    Err(why)
                }
            };
            (name.clone(), SecretFacts { teams: settings.teams.iter().cloned().collect(), tag })
        };
        self.settings.iter().map(fact).collect()
    }

    fn values(&self, team: &TeamName, names: &BTreeSet<SecretName>) -> Result<Secrets, String> {
        names.iter().map(|name| Ok((name.clone(), self.granted(team, name)?))).collect()
    }

    fn given_before(
        &self,
        team: &TeamName,
        secrets: &BTreeMap<String, SecretName>,
        tags: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Secret<String>>, String> {
        let value = |(variable, name): (&String, &SecretName)| {
            let value = self.granted(team, name)?;
            if tags.get(variable) != Some(&tag(&self.tag_key, name, value.reveal())) {
                return Err(format!("the secret `{name}` has another value by now: the next rollout brings it"));
            }
            Ok((variable.clone(), value))
        };
        secrets.iter().map(value).collect()
    }

    fn redact(&self, whose: Whose<'_>, text: &str) -> String {
        self.known_to(whose).redact(text)
    }

    fn redact_read(&self, whose: Whose<'_>, read: &str, text: &str) -> String {
        self.known_to(whose).found_in(read).redact(text)
    }
}

impl fmt::Debug for SettingsVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsVault").field("names", &self.settings.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use codeops_core::config::SecretSource;

    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).expect("a name")
    }

    fn vault(sources: &[(&str, SecretSource)], environment: &[(&str, &str)]) -> SettingsVault {
        let settings = sources
            .iter()
            .map(|(text, source)| {
                (name(text), SecretSettings { source: source.clone(), teams: vec![name("payments")] })
            })
            .collect();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        SettingsVault::new(settings, [7; 32], environment)
    }

    #[test]
    fn a_changed_value_changes_the_tag_and_a_lost_one_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "first-value\n").expect("written");
        let vault = vault(&[("key", SecretSource::File(path.display().to_string()))], &[]);
        let tag = || vault.facts()[&name("key")].tag.clone().expect("readable, or seen before");
        let first = tag();
        assert_eq!((first.len(), &first), (32, &tag()));
        std::fs::write(&path, "second-value\n").expect("written");
        let second = tag();
        assert_ne!(first, second);
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(second, tag());
        let error = vault.values(&name("payments"), &[name("key")].into()).expect_err("gone");
        assert!(error.contains("`key`") && error.contains(&path.display().to_string()), "{error}");
        assert_eq!(
            vault.redact(Whose::Everybody, "a first-value, a second-value"),
            "a ***, a ***",
            "old values stay secret"
        );
        let next = SettingsVault::new(BTreeMap::new(), [7; 32], BTreeMap::new()).with_known(vault.known.clone());
        assert_eq!(
            next.redact(Whose::Everybody, "a first-value"),
            "a ***",
            "also when the settings do not name them any more"
        );
    }

    #[test]
    fn a_team_does_not_learn_by_guessing_what_another_was_granted() {
        let sources = [("ours", "OURS", "payments"), ("theirs", "THEIRS", "search"), ("both", "BOTH", "search")];
        let settings = sources.map(|(secret, variable, team)| {
            let source = SecretSource::Env(variable.to_owned());
            let mut teams = vec![name(team)];
            teams.extend((secret == "both").then(|| name("payments")));
            (name(secret), SecretSettings { source, teams })
        });
        let environment = [("OURS", "open-sesame"), ("THEIRS", "hunter2-hunter2"), ("BOTH", "shared-by-two")];
        let environment = environment.map(|(k, v)| (k.to_owned(), v.to_owned()));
        let vault = SettingsVault::new(settings.into(), [7; 32], environment.into());
        drop(vault.facts());
        let guesses = "open-sesame hunter2-hunter2 shared-by-two";
        let payments = TeamName::new("payments").expect("a name");
        assert_eq!(vault.redact_of(&payments, guesses), "*** *** ***", "on a laptop nobody is kept apart");
        let vault = vault.with_teams_apart(true);
        assert_eq!(vault.redact_of(&payments, guesses), "*** hunter2-hunter2 ***");
        assert_eq!(vault.redact_of(&TeamName::new("other").expect("a name"), guesses), guesses);
        assert_eq!(vault.redact(Whose::Everybody, guesses), "*** *** ***");
        let both = [payments.clone(), TeamName::new("search").expect("a name")].into();
        assert_eq!(vault.redact(Whose::Teams(&both), guesses), "*** *** ***");
        assert_eq!(vault.redact(Whose::Nobody, guesses), guesses, "anybody may have guessed");
        // What stands in what it has read is no guess.
        let read = |whose| vault.redact_read(whose, "with aHVudGVyMi1odW50ZXIy or hunter2-hunter2", guesses);
        assert_eq!(read(Whose::Everybody), "open-sesame *** shared-by-two");
        assert_eq!(read(Whose::Team(&payments)), guesses, "not its own, and it may have guessed");
    }

    #[test]
    fn what_anybody_may_have_written_tells_of_no_value_that_a_team_has() {
        let settings = |teams: &[&str]| {
            let of = |secret: &str, variable: &str, teams: &[&str]| {
                let source = SecretSource::Env(variable.to_owned());
                (name(secret), SecretSettings { source, teams: teams.iter().map(|team| name(team)).collect() })
            };
            [of("free", "FREE", teams), of("theirs", "THEIRS", &["search"])].into()
        };
        let environment: BTreeMap<String, String> =
            [("FREE", "nobody-has-it"), ("THEIRS", "hunter2-hunter2")].map(|(k, v)| (k.into(), v.into())).into();
        let before = SettingsVault::new(settings(&[]), [7; 32], environment.clone()).with_teams_apart(true);
        drop(before.facts());
        let guesses = "nobody-has-it hunter2-hunter2";
        assert_eq!(before.redact(Whose::Nobody, guesses), "*** hunter2-hunter2");
        assert_eq!(before.redact(Whose::Teams(&BTreeSet::new()), guesses), "*** hunter2-hunter2");
        // It is granted to a team by now.
        let after = SettingsVault::new(settings(&["payments"]), [7; 32], environment).with_teams_apart(true);
        let after = after.with_known(before.known.clone());
        drop(after.facts());
        assert_eq!(after.redact(Whose::Nobody, guesses), guesses);
    }

    #[test]
    fn a_value_that_was_never_read_has_no_tag_that_could_look_like_a_new_value() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let vault = vault(&[("key", SecretSource::File(path.display().to_string()))], &[]);
        let why = vault.facts()[&name("key")].tag.clone().expect_err("no such file");
        assert!(why.contains("`key` cannot be read") && why.contains(&path.display().to_string()), "{why}");
        std::fs::write(&path, "a-value").expect("written");
        assert!(vault.facts()[&name("key")].tag.is_ok());
    }

    #[test]
    fn only_what_was_given_before_is_given_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "first-value").expect("written");
        let vault = vault(&[("key", SecretSource::File(path.display().to_string()))], &[]);
        let tags = BTreeMap::from([("KEY".to_owned(), vault.facts()[&name("key")].tag.clone().expect("readable"))]);
        let secrets = BTreeMap::from([("KEY".to_owned(), name("key"))]);
        let given = |team: &str| vault.given_before(&TeamName::new(team).expect("a name"), &secrets, &tags);
        assert_eq!(given("payments").expect("as before")["KEY"].reveal(), "first-value");
        let fresh = vault.values(&name("platform"), &[name("key")].into()).expect_err("another team");
        assert!(fresh.contains("not granted to team platform"), "a step gets no more: {fresh}");
        assert!(given("platform").expect_err("another team").contains("not granted to team platform"));
        std::fs::write(&path, "second-value").expect("written");
        assert!(given("payments").expect_err("another value").contains("another value by now"));
    }

    #[test]
    fn values_are_given_by_name_and_tags_tell_names_apart() {
        let sources = [("one", SecretSource::Env("A".to_owned())), ("two", SecretSource::Env("A".to_owned()))];
        let vault = vault(&sources, &[("A", "same-value")]);
        assert_eq!(
            vault.values(&name("payments"), &[name("one")].into()).expect("there")[&name("one")].reveal(),
            "same-value"
        );
        let facts = vault.facts();
        assert_ne!(facts[&name("one")].tag, facts[&name("two")].tag);
        assert!(vault.values(&name("payments"), &[name("three")].into()).expect_err("unknown").contains("`three`"));
        assert!(!format!("{vault:?}").contains("same-value"));
    }
}
