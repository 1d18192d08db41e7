//! The `spec` of the kinds `Repository` and `Team`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Name, Period, ProviderName};

/// What holds for the whole repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RepositorySpec {
    /// What manifests may leave out.
    pub defaults: RepositoryDefaults,
    /// How late a resolved signal may come; 6m when left out, 1d at most.
    pub resolve_delay: Option<Period>,
    /// How much one revision may remove.
    pub blast_radius: BlastRadius,
    /// A bad night: nothing starts until it ends.
    pub freeze: Option<Freeze>,
}

impl RepositorySpec {
    /// How late a resolved signal may come when the repository does not say: Alertmanager's `group_interval` and a minute.
    const RESOLVE_DELAY: Period = Period::from_secs(6 * 60);

    /// How late a resolved signal may come.
    pub fn resolve_delay(&self) -> Period {
        self.resolve_delay.unwrap_or(Self::RESOLVE_DELAY)
    }
}

/// What manifests may leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RepositoryDefaults {
    /// The provider of manifests that name none.
    pub provider: Option<ProviderName>,
}

/// How much of a kind may be removed over a rolling hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlastRadius {
    /// 0 to 100; two are always allowed.
    #[schemars(range(min = 0, max = 100))]
    pub percent: u8,
}

impl Default for BlastRadius {
    fn default() -> Self {
        Self { percent: 25 }
    }
}

/// A time in which nothing starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Freeze {
    /// What is frozen.
    pub what: FreezeWhat,
    /// Shown wherever something waits for it.
    pub reason: String,
    /// When it ends by itself; without it, only a commit ends it.
    #[serde(default)]
    #[schemars(with = "Option<String>", regex(pattern = "^[-+]?[0-9]{4}"))]
    pub until: Option<Timestamp>,
}

impl Freeze {
    /// Of all that are declared, the one in force: the one that stops the most, and of equals the first.
    pub fn in_force<'a>(all: impl IntoIterator<Item = &'a Self>, now: Timestamp) -> Option<&'a Self> {
        let lasts = |freeze: &&Self| freeze.until.is_none_or(|until| until > now);
        all.into_iter().filter(lasts).min_by_key(|freeze| freeze.what)
    }
}

/// In one sentence: what is frozen, until when, and why.
impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.what {
            FreezeWhat::All => "frozen until ",
            FreezeWhat::Playbooks => "playbooks are frozen until ",
        })?;
        match self.until {
            Some(until) => write!(f, "{until}: {}", self.reason),
            None => write!(f, "lifted: {}", self.reason),
        }
    }
}

/// What a freeze stops, the most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FreezeWhat {
    /// Everything but intake and paging.
    All,
    /// Playbooks only.
    Playbooks,
}

/// Who is in it, and who is paged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TeamSpec {
    /// Addresses of the people in it.
    pub members: Vec<String>,
    /// The escalation policy that is paged for what it owns.
    pub escalation: Option<Name>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_freeze_in_force_is_the_one_that_stops_the_most() {
        let now: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-11-20T11:00:00Z".parse().unwrap();
        let freeze = |what, reason: &str, until| Freeze { what, reason: reason.to_owned(), until };
        let over = freeze(FreezeWhat::All, "over", Some(now));
        let some = freeze(FreezeWhat::Playbooks, "some", None);
        let all = freeze(FreezeWhat::All, "all", Some(later));
        let other = freeze(FreezeWhat::All, "other", None);
        let said = |freezes: &[&Freeze]| Freeze::in_force(freezes.iter().copied(), now).map(ToString::to_string);
        assert_eq!(said(&[&over]), None);
        assert_eq!(said(&[&over, &some]).as_deref(), Some("playbooks are frozen until lifted: some"));
        assert_eq!(said(&[&some, &all, &other]).as_deref(), Some("frozen until 2026-11-20T11:00:00Z: all"));
        assert_eq!(said(&[&other, &all]).as_deref(), Some("frozen until lifted: other"));
    }
}
