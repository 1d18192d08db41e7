//! One life of the daemon under one set of settings: its parts as tasks, from beginning to end.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::assembly::receivers_of;
use super::listen::{self, Listeners};
use super::{Assembly, Options, drain, unwritable};
use crate::journal::{Journal, Reader};
use crate::port::{AlertSources, Publisher, Pulse, SettingsState, SystemClock, Vitals};
use crate::source::{Reason, Trigger, Triggers, Watch};
use crate::{effect, hooks, reconcile, respond, web};

/// What runs. The flow ends before the edges do, so that the page answers while steps finish.
pub(super) struct Life {
    flow: Part,
    edges: Part,
    journal: Journal,
    /// Who shows that it goes on.
    pub(super) vitals: Vitals,
    /// Where the push hook's generated secret lies.
    pub(super) hook_secret: Option<PathBuf>,
    /// Where the generated token of the receiver `alerts` lies.
    pub(super) alerts_token: Option<PathBuf>,
}

/// Why a life cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// A part panicked.
    #[error("a part of the daemon failed: {0}; its log says more")]
    Failed(JoinError),
    /// A part ended though none should.
    #[error("a part of the daemon ended by itself; its log says more")]
    Ended,
    /// The journal takes nothing.
    #[error("{0}")]
    Unwritable(String),
}

/// What is not begun anew when settings are taken over.
#[derive(Default)]
pub(super) struct Kept {
    /// What the page has counted.
    pub(super) counters: web::Counters,
    /// Whether the settings' file can be used.
    pub(super) settings: SettingsState,
    /// What people have been told once, and what is on.
    pub(super) said: respond::Said,
    /// Where scripts run, those that are on too.
    pub(super) scripts: OnceLock<effect::Scripts>,
}

/// Tasks that end together.
struct Part {
    tasks: JoinSet<()>,
    end: CancellationToken,
}

impl Part {
    fn new() -> Self {
        Self { tasks: JoinSet::new(), end: CancellationToken::new() }
    }

    async fn end(&mut self) {
        self.end.cancel();
        drain(&mut self.tasks).await;
    }
}

impl Life {
    /// Opens and starts everything. `taking_over`: under other settings than the life before it in this process.
    ///
    /// # Errors
    /// Anything that keeps it from starting; nothing runs then, and the state folder is free again.
    pub(super) async fn begin(
        options: &Options,
        listeners: &Listeners,
        kept: &Kept,
        taking_over: bool,
    ) -> anyhow::Result<Self> {
        // All that can fail comes before the first task.
        let address = listen::page_address(options)?;
        let (page_listener, hooks_listener) = (listeners.page()?, listeners.hooks()?);
        let assembly = Assembly::open(options, taking_over).await?;
        let hook = assembly.hook_secret(options)?;
        let limits = hooks::AlertLimits::default();
        let receivers = assembly.alert_receivers(options, limits)?;
        let monitoring = assembly.monitoring(options)?;
        let scripts = match kept.scripts.get() {
            Some(scripts) => scripts,
            None => kept.scripts.get_or_init({
                let scripts = assembly.scripts(options)?;
                move || scripts
            }),
        };
        let answers = assembly.answers(options, scripts, Arc::clone(&monitoring) as Arc<dyn AlertSources>)?;

        let (mut flow, mut edges) = (Part::new(), Part::new());
        let vitals = assembly.vitals.clone();
        flow.tasks.spawn(tick(vitals.runtime.clone(), flow.end.clone()));
        let triggers = Triggers::new(options.settings.repository.poll.as_duration(), Triggers::random_seed());
        let trigger = triggers.trigger();
        let url = options.settings.repository.url.clone().unwrap_or_default();
        flow.tasks.spawn(watch(url, trigger.clone(), flow.end.clone()));
        let (wants_fetch, fetch) = mpsc::channel(1);
        flow.tasks.spawn(forward(triggers, wants_fetch, flow.end.clone()));

        // Read before anything is shown, so that what is to be taken out of answers is known.
        let vault = Arc::clone(&assembly.vault);
        drop(vault.facts());
        let (publisher, watcher) = Publisher::new();
        let page = web::Page {
            watcher: watcher.clone(),
            journal: Reader::new(Arc::clone(&assembly.log)),
            observers: assembly.observers(),
            redact: Arc::new(move |whose, text| vault.redact(whose, text)),
            receivers: receivers_of(&options.settings),
            clock: Arc::new(SystemClock),
            vitals: vitals.clone(),
            counters: kept.counters.clone(),
            settings: kept.settings.clone(),
            config: web::PageConfig { hosts: address.hosts, token: address.token, ..web::PageConfig::default() },
        };
        edges.tasks.spawn(serve_page(page_listener, page, edges.end.clone()));
        let hooked = hooks::Hooks {
            git_secret: hook.secret,
            fetch_now: Box::new(move || trigger.fetch_now(Reason::Hook)),
            alerts: Some(hooks::Alerts {
                receivers: receivers.receivers,
                intake: Arc::new(assembly.journal.clone()),
                listing: Some(monitoring),
                limits,
            }),
            clock: Arc::new(SystemClock),
            limits: hooks::HookLimits::default(),
        };
        edges.tasks.spawn(hooks::serve(hooks_listener, hooked, edges.end.clone()));

        let journal = assembly.journal.clone();
        let parts = assembly.reconcile(options, publisher, fetch, false, &mut flow.tasks, flow.end.clone());
        let (answering, end) = (answers.beside(&parts, watcher, kept.said.clone()), flow.end.clone());
        flow.tasks.spawn(async move {
            if let Err(error) = respond::run(answering, end).await {
                tracing::error!(%error, "no alert is answered any more");
            }
        });
        let end = flow.end.clone();
        flow.tasks.spawn(async move {
            if let Err(error) = reconcile::run(parts, end).await {
                tracing::error!(%error, "nothing more is changed");
            }
        });
        Ok(Self { flow, edges, journal, vitals, hook_secret: hook.generated, alerts_token: receivers.generated })
    }

    /// Waits until a part ends by itself, which none should, or nothing can be written down for long: a daemon that only
    /// looks alive is worse than none.
    pub(super) async fn broken(&mut self) -> Broken {
        let ended = tokio::select! {
            Some(ended) = self.flow.tasks.join_next() => ended,
            Some(ended) = self.edges.tasks.join_next() => ended,
            why = unwritable(&self.journal) => return Broken::Unwritable(why),
        };
        match ended {
            Err(error) => Broken::Failed(error),
            Ok(()) => Broken::Ended,
        }
    }

    /// Files that were generated for it.
    pub(super) fn generated(&self) -> Vec<PathBuf> {
        self.hook_secret.iter().chain(&self.alerts_token).cloned().collect()
    }

    /// Ends the flow, then the edges.
    pub(super) async fn end(mut self) {
        self.flow.end().await;
        self.edges.end().await;
    }
}

/// Shows that tasks get their turn.
async fn tick(pulse: Pulse, end: CancellationToken) {
    let work = async {
        loop {
            pulse.works();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = end.cancelled() => {}
        () = work => {}
    }
    pulse.rests();
}

async fn serve_page(listener: tokio::net::TcpListener, page: web::Page, end: CancellationToken) {
    if let Err(error) = web::serve(listener, page, end).await {
        tracing::error!(%error, "the page cannot be served");
    }
}

/// Keeps a watch on a local folder's refs; where that cannot be, polling serves.
async fn watch(url: String, trigger: Trigger, end: CancellationToken) {
    let watch = Watch::start(&url, trigger);
    if let Err(error) = &watch {
        tracing::warn!(%error, "the folder's refs cannot be watched; it is polled");
    }
    end.cancelled().await;
    drop(watch);
}

/// Passes reasons to look on to reconcile.
async fn forward(mut triggers: Triggers, wants_fetch: mpsc::Sender<()>, end: CancellationToken) {
    loop {
        let reason = tokio::select! {
            () = end.cancelled() => return,
            reason = triggers.next() => reason,
        };
        tracing::debug!(reason = reason.as_str(), "look at the repository");
        // Full means that a look is already due: one is enough.
        let _ = wants_fetch.try_send(());
    }
}
