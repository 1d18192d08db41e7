//! One life of the daemon under one set of settings: starts every part as a task.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::listen::{self, Listeners};
use super::{Assembly, Options};
use crate::journal::Reader;
use crate::port::{Publisher, SystemClock};
use crate::source::{Reason, Trigger, Triggers, Watch};
use crate::{hooks, reconcile, web};

/// Starts page, hooks, gate and reconcile. They end when `end` fires; a part that must run and cannot ends the daemon by
/// `daemon`.
pub(super) async fn begin(
    assembly: Assembly,
    options: &Options,
    listeners: &Listeners,
    daemon: &CancellationToken,
    end: &CancellationToken,
) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    let triggers = Triggers::new(options.settings.repository.poll.as_duration(), Triggers::random_seed());
    let trigger = triggers.trigger();
    tasks.spawn(watch(options.settings.repository.url.clone().unwrap_or_default(), trigger.clone(), end.clone()));
    let hook = assembly.hook_secret(options)?;

    let (publisher, watcher) = Publisher::new();
    let address = listen::page_address(options)?;
    let page = web::Page {
        watcher,
        journal: Reader::new(Arc::clone(&assembly.log)),
        observers: assembly.observers(),
        clock: Arc::new(SystemClock),
        config: web::PageConfig { hosts: address.hosts, token: address.token, ..web::PageConfig::default() },
    };
    let serving = web::serve(listeners.page()?, page, end.clone());
    tasks.spawn(must("the page", async { serving.await.map_err(anyhow::Error::new) }, daemon.clone()));
    let hooked = hooks::Hooks {
        git_secret: hook.secret,
        fetch_now: Box::new(move || trigger.fetch_now(Reason::Hook)),
        clock: Arc::new(SystemClock),
        limits: hooks::HookLimits::default(),
    };
    tasks.spawn(hooks::serve(listeners.hooks()?, hooked, end.clone()));

    let (wants_fetch, fetch) = mpsc::channel(1);
    tasks.spawn(forward(triggers, wants_fetch));
    let parts = assembly.reconcile(options, publisher, fetch, false, &mut tasks, end.clone());
    let flow = end.clone();
    tasks.spawn(async move {
        if let Err(error) = reconcile::run(parts, flow).await {
            tracing::error!(%error, "nothing more is changed");
        }
    });
    listeners.tell(hook.generated.as_deref());
    Ok(tasks)
}

/// Ends the daemon when a part that must run ends abnormally.
async fn must(what: &'static str, part: impl Future<Output = anyhow::Result<()>>, daemon: CancellationToken) {
    if let Err(error) = part.await.with_context(|| format!("{what} ended")) {
        tracing::error!(error = format!("{error:#}"), "the daemon ends");
        daemon.cancel();
    }
}

/// Keeps a watch on a local folder's refs; where that cannot be, polling serves.
async fn watch(url: String, trigger: Trigger, end: CancellationToken) {
    match Watch::start(&url, trigger) {
        Ok(_watch) => end.cancelled().await,
        Err(error) => tracing::warn!(%error, "the folder's refs cannot be watched; it is polled"),
    }
}

/// Passes reasons to look on to reconcile, until it is gone.
async fn forward(mut triggers: Triggers, wants_fetch: mpsc::Sender<()>) {
    loop {
        let reason = tokio::select! {
            () = wants_fetch.closed() => return,
            reason = triggers.next() => reason,
        };
        tracing::debug!(reason = reason.as_str(), "look at the repository");
        // Full means that a look is already due: one is enough.
        let _ = wants_fetch.try_send(());
    }
}
