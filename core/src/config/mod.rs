//! Written configuration as types (floor F0): the manifests' shared parts and the daemon's settings. Plain serde types;
//! reading them strictly, with places and near names, is [`crate::desired`]'s work.

mod answers;
mod egress;
mod journal;
mod repository;
mod settings;

pub use answers::{
    AuthSettings, BotSettings, HeartbeatSettings, MappingSettings, ReceiverFormat, ReceiverSettings, ScriptsMode,
    WatchdogSettings,
};
pub use egress::{Egress, host};
pub use journal::JournalSettings;
pub use repository::{BlastRadius, Freeze, FreezeWhat, RepositoryDefaults, RepositorySpec, TeamSpec};
pub use settings::{
    HookSettings, HooksSettings, Mode, PAGE, PageSettings, ProcessSettings, ProviderSettings, RepositorySettings,
    SecretSettings, SecretSource, Settings, SignerSettings, StoreSettings, TeamSettings,
};
