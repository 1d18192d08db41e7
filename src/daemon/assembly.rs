//! The parts that every command which acts needs, opened in the one right order.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use codeops_core::model::{ProviderName, Secret};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Options;
use crate::gate::{self, Gate};
use crate::hooks;
use crate::journal::{Journal, Log};
use crate::port::{Actuator, Observer, Publisher, SystemClock, Vault};
use crate::provider::{self, Environment};
use crate::reconcile::{self, Rules};
use crate::secret::{self, SettingsVault};
use crate::source::Mirror;
use crate::store::Sqlite;

pub(super) struct Assembly {
    pub(super) log: Arc<dyn Log>,
    pub(super) journal: Journal,
    pub(super) vault: Arc<dyn Vault>,
    pub(super) actuators: BTreeMap<ProviderName, Arc<dyn Actuator>>,
    pub(super) mirror: Mirror,
}

/// The push hook's secret.
pub(super) struct HookSecret {
    pub(super) secret: Secret<String>,
    /// The file it was generated into, when the settings name none.
    pub(super) generated: Option<PathBuf>,
}

impl Assembly {
    /// Opens everything. The store comes first: it locks the state folder against a second daemon.
    pub(super) async fn open(options: &Options) -> anyhow::Result<Self> {
        let clock = Arc::new(SystemClock);
        let store = Sqlite::open(&options.state, clock.clone())?;
        let vault =
            SettingsVault::new(options.settings.secrets.clone(), *store.tag_key().reveal(), options.variables.clone())
                .with_known(options.known.clone());
        let log: Arc<dyn Log> = Arc::new(store);
        let journal = Journal::new(Arc::clone(&log));
        let epoch = reconcile::count_daemon(&journal, &*clock).await?;
        let environment = Environment {
            state: options.state.clone(),
            binary: options.binary.clone(),
            teams: options.settings.teams.clone(),
            clock,
            epoch,
        };
        let actuators = provider::build(&options.settings.providers, &environment).map_err(anyhow::Error::msg)?;
        let mirror = Mirror::open(&options.settings.repository, &options.state, &options.variables).await?;
        Ok(Self { log, journal, vault: Arc::new(vault), actuators, mirror })
    }

    /// The read halves.
    pub(super) fn observers(&self) -> BTreeMap<ProviderName, Arc<dyn Observer>> {
        let observer = |(name, actuator): (&ProviderName, &Arc<dyn Actuator>)| {
            (name.clone(), Arc::clone(actuator) as Arc<dyn Observer>)
        };
        self.actuators.iter().map(observer).collect()
    }

    /// The push hook's secret: the settings' own, else one that is generated once and kept in the state folder.
    pub(super) fn hook_secret(&self, options: &Options) -> anyhow::Result<HookSecret> {
        if let Some(hook) = &options.settings.repository.hook {
            let secret = secret::read(&hook.secret, &options.variables).map_err(anyhow::Error::msg)?;
            return Ok(HookSecret { secret, generated: None });
        }
        let (secret, file) = hooks::kept_secret(&options.state)
            .with_context(|| format!("the push hook's secret in {}", options.state.display()))?;
        Ok(HookSecret { secret, generated: Some(file) })
    }

    /// Starts the gate in `tasks` and puts the flow together; the write halves go to the gate and nowhere else.
    pub(super) fn reconcile(
        self,
        options: &Options,
        publisher: Publisher,
        fetch: mpsc::Receiver<()>,
        until_settled: bool,
        tasks: &mut JoinSet<()>,
        cancel: CancellationToken,
    ) -> reconcile::Parts {
        let observers = self.observers();
        let clock = Arc::new(SystemClock);
        let gate = gate::Parts {
            journal: self.journal.clone(),
            actuators: self.actuators,
            vault: Arc::clone(&self.vault),
            clock: clock.clone(),
        };
        reconcile::Parts {
            rules: rules(options, &self.mirror, until_settled),
            source: Arc::new(self.mirror),
            observers,
            gate: Gate::start(gate, tasks, cancel),
            journal: self.journal,
            vault: self.vault,
            clock,
            publisher,
            fetch,
        }
    }
}

/// What the settings say to the flow.
pub(super) fn rules(options: &Options, mirror: &Mirror, until_settled: bool) -> Rules {
    Rules {
        url: mirror.url(),
        branch: mirror.branch().to_owned(),
        environment: options.settings.environment.clone(),
        teams: options.settings.teams.clone(),
        reserved: options.settings.reserved(),
        freeze: options.settings.freeze.clone(),
        may_freeze: options
            .settings
            .receivers
            .iter()
            .filter(|(_, it)| it.may_freeze)
            .map(|(name, _)| name.clone())
            .collect(),
        observe: options.settings.mode == codeops_core::config::Mode::Observe,
        resync: reconcile::RESYNC,
        until_settled,
    }
}
