//! The parts that every command which acts needs, opened in the one right order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use codeops_core::config::{JournalSettings, Mode, ReceiverSettings, Settings};
use codeops_core::model::{CatchUp, Name, ProviderName, Schedule, Secret};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Options;
use crate::effect::{self, MonitoringApis};
use crate::gate::{self, Gate};
use crate::hooks::{self, AlertLimits};
use crate::journal::{Journal, Log};
use crate::port::{
    Actuator, AlertSources, Committer, Effects, Heartbeat, Observer, Publisher, Senders, Source, SystemClock, Vault,
    Vitals, Watcher,
};
use crate::provider::{self, Environment};
use crate::reconcile::{self, Rules};
use crate::respond;
use crate::secret::{self, SettingsVault};
use crate::source::Mirror;
use crate::store::{Keep, Sqlite};

pub(super) struct Assembly {
    pub(super) log: Arc<dyn Log>,
    pub(super) journal: Journal,
    pub(super) vault: Arc<dyn Vault>,
    pub(super) actuators: BTreeMap<ProviderName, Arc<dyn Actuator>>,
    pub(super) mirror: Arc<Mirror>,
    pub(super) vitals: Vitals,
    seal: effect::Seal,
}

/// Who may tell of alerts.
pub(super) struct AlertReceivers {
    pub(super) receivers: hooks::Receivers,
    /// The file that the token of the receiver `alerts` was generated into, when the settings declare none.
    pub(super) generated: Option<PathBuf>,
}

/// The push hook's secret.
pub(super) struct HookSecret {
    pub(super) secret: Secret<String>,
    /// The file it was generated into, when the settings name none.
    pub(super) generated: Option<PathBuf>,
}

impl Assembly {
    /// Opens everything. The store comes first: it locks the state folder against a second daemon. `reloaded`: this process
    /// takes over other settings.
    pub(super) async fn open(options: &Options, reloaded: bool) -> anyhow::Result<Self> {
        let clock = Arc::new(SystemClock);
        let JournalSettings { days, entries, size } = options.settings.journal;
        let keep = Keep { days, records: entries.into(), bytes: size.0 };
        let store = Sqlite::open_keeping(&options.state, clock.clone(), keep)?;
        let vault: Arc<dyn Vault> = Arc::new(
            SettingsVault::new(options.settings.secrets.clone(), *store.tag_key().reveal(), options.variables.clone())
                .with_known(options.known.clone())
                .with_teams_apart(!options.settings.teams.is_empty()),
        );
        let seal = effect::Seal::under(store.tag_key().reveal());
        let vitals = Vitals::writing(store.pulse());
        let log: Arc<dyn Log> = Arc::new(store);
        let journal = Journal::new(Arc::clone(&log));
        let epoch = reconcile::count_daemon(&journal, &*clock, reloaded).await?;
        let environment = Environment {
            state: options.state.clone(),
            binary: options.binary.clone(),
            teams: options.settings.teams.clone(),
            clock,
            vault: Some(Arc::clone(&vault)),
            memory: Some(journal.memory()),
            epoch,
        };
        if let Some(why) = options.settings.one_user() {
            tracing::warn!("{why}");
        }
        let actuators = provider::build(&options.settings.providers, &environment).map_err(anyhow::Error::msg)?;
        let (settings, variables) = (&options.settings, &options.variables);
        let mirror = Mirror::open(&settings.repository, &options.state, variables, &settings.teams).await?;
        Ok(Self { log, journal, vault, actuators, mirror: Arc::new(mirror), vitals, seal })
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

    /// The receivers of alerts: the settings' own, else `alerts` with a token that is generated once and kept.
    pub(super) fn alert_receivers(&self, options: &Options, limits: AlertLimits) -> anyhow::Result<AlertReceivers> {
        let declared = &options.settings.receivers;
        if !declared.is_empty() {
            let read = |source: &_| secret::read(source, &options.variables);
            let receivers = hooks::Receivers::new(declared, limits, read).map_err(anyhow::Error::msg)?;
            return Ok(AlertReceivers { receivers, generated: None });
        }
        let (token, file) = hooks::kept_token(&options.state)
            .with_context(|| format!("the token for alerts in {}", options.state.display()))?;
        let receivers = hooks::Receivers::only_default(limits, &token).map_err(anyhow::Error::msg)?;
        Ok(AlertReceivers { receivers, generated: Some(file) })
    }

    /// The monitoring systems that can be asked.
    pub(super) fn monitoring(&self, options: &Options) -> anyhow::Result<Arc<MonitoringApis>> {
        let read = |source: &_| secret::read(source, &options.variables);
        let apis = MonitoringApis::new(&options.settings.receivers, Arc::new(SystemClock), read);
        apis.map(Arc::new).map_err(anyhow::Error::msg)
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
        let clock = Arc::new(SystemClock);
        let gate = gate::Parts {
            journal: self.journal.clone(),
            actuators: self.actuators.clone(),
            vault: Arc::clone(&self.vault),
            clock: clock.clone(),
            vitals: self.vitals.clone(),
        };
        reconcile::Parts {
            rules: rules(options, &self.mirror, until_settled),
            observers: self.observers(),
            source: self.mirror,
            gate: Gate::start(gate, tasks, cancel),
            journal: self.journal,
            vault: self.vault,
            clock,
            publisher,
            vitals: self.vitals,
            fetch,
        }
    }

    /// Where scripts run: one for all lives of this process.
    ///
    /// # Errors
    /// The folder cannot be prepared.
    pub(super) fn scripts(&self, options: &Options) -> anyhow::Result<effect::Scripts> {
        effect::Scripts::new(&options.state.join("effects")).map_err(anyhow::Error::msg)
    }

    /// What the flow that answers alerts is made of, but for the gate and the board, which it shares with the other flow.
    ///
    /// # Errors
    /// A setting cannot be read.
    pub(super) fn answers(
        &self,
        options: &Options,
        scripts: &effect::Scripts,
        sources: Arc<dyn AlertSources>,
    ) -> anyhow::Result<Answers> {
        let settings = &options.settings;
        let read = |source: &_| secret::read(source, &options.variables);
        let effects = effect::Parts {
            vault: Arc::clone(&self.vault),
            source: Arc::clone(&self.mirror) as Arc<dyn Source>,
            committer: Arc::clone(&self.mirror) as Arc<dyn Committer>,
            clock: Arc::new(SystemClock),
            teams: settings.teams.clone(),
            scripts: settings.scripts,
            bot: settings.bot.clone(),
            seal: self.seal.clone(),
            page: Some(settings.page_url()),
            launcher: options.binary.clone(),
        };
        let heartbeat = settings.heartbeat.as_ref().map(|beat| read(&beat.url)).transpose();
        let heartbeat = heartbeat.map_err(anyhow::Error::msg).context("heartbeat.url in the settings")?;
        Ok(Answers {
            effects: Arc::new(effect::Performer::new(effects, scripts.clone())),
            sources,
            heartbeat: heartbeat.map(|url| Arc::new(effect::Beats::new(url)) as Arc<dyn Heartbeat>),
            rules: answer_rules(settings),
        })
    }
}

/// See [`Assembly::answers`].
pub(super) struct Answers {
    effects: Arc<dyn Effects>,
    sources: Arc<dyn AlertSources>,
    heartbeat: Option<Arc<dyn Heartbeat>>,
    rules: respond::Rules,
}

impl Answers {
    /// Puts the flow together, beside the one that it shares gate and journal with.
    pub(super) fn beside(self, flow: &reconcile::Parts, watcher: Watcher, said: respond::Said) -> respond::Parts {
        respond::Parts {
            journal: flow.journal.clone(),
            watcher,
            gate: flow.gate.clone(),
            effects: self.effects,
            sources: self.sources,
            heartbeat: self.heartbeat,
            vitals: flow.vitals.clone(),
            vault: Arc::clone(&flow.vault),
            clock: Arc::clone(&flow.clock),
            rules: self.rules,
            said,
        }
    }
}

/// The receivers of the settings, and the teams whose resources alone their alerts may reach.
pub(super) fn receivers_of(settings: &Settings) -> Senders {
    if settings.receivers.is_empty() {
        return Name::new(hooks::Receivers::DEFAULT).map(|name| (name, None)).into_iter().collect();
    }
    settings.receivers.iter().map(|(name, it)| (name.clone(), it.teams.clone())).collect()
}

/// What the settings say to the flow that answers alerts.
fn answer_rules(settings: &Settings) -> respond::Rules {
    let receivers = &settings.receivers;
    let source = |(name, it): (&Name, &ReceiverSettings)| it.source.clone().unwrap_or_else(|| name.clone());
    let watchdog = |(name, it): (&Name, &ReceiverSettings)| Some((name.clone(), it.watchdog.as_ref()?.within));
    respond::Rules {
        fallback: settings.fallback.clone(),
        watchdogs: receivers.iter().filter_map(watchdog).collect(),
        may_freeze: may_freeze(settings),
        receivers: settings.receivers.iter().filter_map(|(name, it)| Some((name.clone(), it.teams.clone()?))).collect(),
        senders: receivers_of(settings),
        expire: receivers.iter().filter_map(|(name, it)| Some((name.clone(), it.expire?))).collect(),
        askable: receivers.iter().filter(|(_, it)| it.api.is_some()).map(source).collect(),
        heartbeat: settings.heartbeat.as_ref().map(|beat| beat.every),
        self_test: settings.self_test.clone().map(|cron| Schedule { cron, timezone: None, catch_up: CatchUp::Last }),
        freeze: settings.freeze.clone(),
        observe: settings.mode == Mode::Observe,
    }
}

/// Receivers whose alert may freeze everything.
pub(super) fn may_freeze(settings: &Settings) -> BTreeSet<Name> {
    settings.receivers.iter().filter(|(_, it)| it.may_freeze).map(|(name, _)| name.clone()).collect()
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
        fallback: options.settings.fallback.clone(),
        fallback_team: options.settings.fallback_team.clone(),
        may_freeze: may_freeze(&options.settings),
        observe: options.settings.mode == Mode::Observe,
        resync: reconcile::RESYNC,
        until_settled,
    }
}
