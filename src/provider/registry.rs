//! Builds the providers that the settings name. The only file that knows which ones are compiled in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use codeops_core::config::{ProcessSettings, ProviderSettings, TeamSettings};
use codeops_core::model::{Name, ProviderName, TeamName};

use crate::journal::SharedMemory;
use crate::port::{Actuator, Clock, Observer, Vault};

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
    /// Where keepers' secrets come from again, as they were given before; without it they wait for the next step.
    pub vault: Option<Arc<dyn Vault>>,
    /// What is remembered, and with it which system each provider is; without it only what was never elsewhere is known.
    pub memory: Option<Arc<SharedMemory>>,
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
    each(settings, |name, settings| match settings {
        ProviderSettings::Process(settings) => process(name, settings, environment),
    })
}

/// Builds only the read halves, for a look from outside the daemon: nothing is started, removed or changed by them.
///
/// # Errors
/// As [`build`].
pub fn build_observers(
    settings: &BTreeMap<ProviderName, ProviderSettings>,
    environment: &Environment,
) -> Result<BTreeMap<ProviderName, Arc<dyn Observer>>, String> {
    each(settings, |name, settings| match settings {
        ProviderSettings::Process(settings) => process_observer(name, settings, environment),
    })
}

fn each<T>(
    settings: &BTreeMap<ProviderName, ProviderSettings>,
    make: impl Fn(&ProviderName, &ProviderSettings) -> Result<T, String>,
) -> Result<BTreeMap<ProviderName, T>, String> {
    if settings.is_empty() {
        let local = Name::new("local").map_err(|error| error.to_string())?;
        let provider = make(&local, &ProviderSettings::Process(ProcessSettings::default()))?;
        return Ok(BTreeMap::from([(local, provider)]));
    }
    let named = |(name, settings): (&ProviderName, &ProviderSettings)| {
        let made = make(name, settings).map_err(|error| format!("provider {name}: {error}"))?;
        Ok((name.clone(), made))
    };
    settings.iter().map(named).collect()
}

#[cfg(feature = "process")]
fn process(
    name: &ProviderName,
    settings: &ProcessSettings,
    environment: &Environment,
) -> Result<Arc<dyn Actuator>, String> {
    Ok(Arc::new(process::Process::open(name, settings, environment)?))
}

#[cfg(feature = "process")]
fn process_observer(
    name: &ProviderName,
    settings: &ProcessSettings,
    environment: &Environment,
) -> Result<Arc<dyn Observer>, String> {
    Ok(Arc::new(process::Process::look(name, settings, environment)?))
}

#[cfg(not(feature = "process"))]
const LEFT_OUT: &str = "this codeops was built without the feature `process`";

#[cfg(not(feature = "process"))]
fn process(_: &ProviderName, _: &ProcessSettings, _: &Environment) -> Result<Arc<dyn Actuator>, String> {
    Err(LEFT_OUT.to_owned())
}

#[cfg(not(feature = "process"))]
fn process_observer(_: &ProviderName, _: &ProcessSettings, _: &Environment) -> Result<Arc<dyn Observer>, String> {
    Err(LEFT_OUT.to_owned())
}
