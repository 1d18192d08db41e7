//! Written configuration as types (floor F0): the manifests' shared parts and the daemon's settings. Plain serde types;
//! reading them strictly, with places and near names, is [`crate::desired`]'s work.

mod repository;
mod settings;

pub use repository::{BlastRadius, Freeze, FreezeWhat, RepositoryDefaults, RepositorySpec, TeamSpec};
pub use settings::{
    AuthSettings, BotSettings, HeartbeatSettings, HookSettings, HooksSettings, MappingSettings, Mode, PAGE,
    PageSettings, ProcessSettings, ProviderSettings, ReceiverFormat, ReceiverSettings, RepositorySettings, ScriptsMode,
    SecretSettings, SecretSource, Settings, SignerSettings, StoreSettings, TeamSettings, WatchdogSettings,
};
