//! The `spec` of the kinds `Repository` and `Team`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Name, Period, ProviderName};

/// `spec` of `kind: Repository`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RepositorySpec {
    /// What manifests may leave out.
    pub defaults: RepositoryDefaults,
    /// How late a resolved signal may come; 6m when left out.
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
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
}

/// What a freeze stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FreezeWhat {
    /// Everything but intake and paging.
    All,
    /// Playbooks only.
    Playbooks,
}

/// `spec` of `kind: Team`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TeamSpec {
    /// Addresses of the people in it.
    pub members: Vec<String>,
    /// The escalation policy that is paged for what it owns.
    pub escalation: Option<Name>,
}
