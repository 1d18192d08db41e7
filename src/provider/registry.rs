//! Builds the providers that the settings name. The only file that knows which ones are compiled in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use codeops_core::config::{ProcessSettings, ProviderSettings, TeamSettings};
use codeops_core::model::{Name, ProviderName, TeamName};

use crate::port::{Actuator, Clock};

/// Local processes, each app under its own keeper.
#[cfg(feature = "process")]
#[path = "process/mod.rs"]
pub mod process;

/// What providers are given of the world.
#[derive(Clone)]
pub struct Environment {
    /// The daemon's state folder.
    pub state: PathBuf,
    /// The path of the running `codeops` binary: keepers are started from it.
    pub binary: PathBuf,
    /// What each team may reach; empty: everything.
    pub teams: BTreeMap<TeamName, TeamSettings>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Counts daemons on the store; keepers refuse a lower one than they have seen.
    pub epoch: u64,
}

/// Builds every provider of the settings by its name; without any, one process provider called `local`.
///
/// # Errors
/// One sentence that names the provider, what is wrong and what to do.
pub fn build(
    settings: &BTreeMap<ProviderName, ProviderSettings>,
    environment: &Environment,
) -> Result<BTreeMap<ProviderName, Arc<dyn Actuator>>, String> {
    let laptop;
    let settings = if settings.is_empty() {
        let local = Name::new("local").map_err(|e| e.to_string())?;
        laptop = BTreeMap::from([(local, ProviderSettings::Process(ProcessSettings::default()))]);
        &laptop
    } else {
        settings
    };
    settings
        .iter()
        .map(|(name, settings)| match settings {
            ProviderSettings::Process(settings) => Ok((name.clone(), process(name, settings, environment)?)),
        })
        .collect()
}

#[cfg(feature = "process")]
fn process(
    name: &ProviderName,
    settings: &ProcessSettings,
    environment: &Environment,
) -> Result<Arc<dyn Actuator>, String> {
    let provider = process::Process::open(name, settings, environment).map_err(|e| format!("provider {name}: {e}"))?;
    Ok(Arc::new(provider))
}

#[cfg(not(feature = "process"))]
fn process(name: &ProviderName, _: &ProcessSettings, _: &Environment) -> Result<Arc<dyn Actuator>, String> {
    Err(format!("provider {name}: this codeops was built without the feature `process`"))
}
