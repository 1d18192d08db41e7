//! Wires everything together: opens, binds, starts, waits for the end, drains. Decides nothing.

mod assembly;
mod listen;
mod once;
mod options;
pub mod outcome;
mod preview;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::journal::Reader;
use crate::port::{Publisher, SystemClock};
use crate::source::{Reason, Triggers, Watch};
use crate::{hooks, reconcile, web};

use assembly::Assembly;
pub use once::apply;
pub use options::Options;
pub use preview::plan;

/// How long the parts get to end once the daemon is told to.
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);

/// Runs the daemon until `cancel` fires, then drains it.
///
/// # Errors
/// Anything that keeps it from starting: the state folder, the settings, an address in use, the repository's address.
pub async fn run(options: Options, cancel: CancellationToken) -> anyhow::Result<()> {
    let page = listen::page_address(&options)?;
    let (page_listener, page_local) = listen::bind("the page", &page.address).await?;
    let (hooks_listener, hooks_local) = listen::bind("the hooks", &options.settings.hooks.listen).await?;
    let assembly = Assembly::open(&options).await?;
    let hook = assembly.hook_secret(&options)?;

    let mut tasks = JoinSet::new();
    let mut triggers = Triggers::new(options.settings.repository.poll.as_duration(), Triggers::random_seed());
    let trigger = triggers.trigger();
    let url = options.settings.repository.url.clone().unwrap_or_default();
    let watch = Watch::start(&url, trigger.clone()).map_err(anyhow::Error::new)?;

    let (publisher, watcher) = Publisher::new();
    let page = web::Page {
        watcher,
        journal: Reader::new(Arc::clone(&assembly.log)),
        observers: assembly.observers(),
        clock: Arc::new(SystemClock),
        config: web::PageConfig { hosts: page.hosts, token: page.token, ..web::PageConfig::default() },
    };
    let serving = web::serve(page_listener, page, cancel.child_token());
    tasks.spawn(report("the page", async { serving.await.map_err(anyhow::Error::new) }, cancel.clone()));
    let hooked = hooks::Hooks {
        git_secret: hook.secret,
        fetch_now: Box::new(move || trigger.fetch_now(Reason::Hook)),
        clock: Arc::new(SystemClock),
        limits: hooks::HookLimits::default(),
    };
    tasks.spawn(hooks::serve(hooks_listener, hooked, cancel.child_token()));

    let (wants_fetch, fetch) = mpsc::channel(1);
    tasks.spawn(async move {
        loop {
            let reason = triggers.next().await;
            tracing::debug!(reason = reason.as_str(), "look at the repository");
            // Full means that a look is already due: one is enough.
            if let Err(mpsc::error::TrySendError::Closed(())) = wants_fetch.try_send(()) {
                return;
            }
        }
    });

    let gates = cancel.child_token();
    let parts = assembly.reconcile(&options, publisher, fetch, false, &mut tasks, gates);
    let flow = cancel.child_token();
    tasks.spawn(async move {
        if let Err(error) = reconcile::run(parts, flow).await {
            tracing::error!(%error, "nothing more is changed");
        }
    });

    tracing::info!(page = %format_args!("http://{page_local}"), hooks = %format_args!("http://{hooks_local}"), "listening");
    if let Some(file) = hook.generated {
        tracing::info!(secret = %file.display(), "push hooks prove to know the secret in this file");
    }
    cancel.cancelled().await;
    drop(watch);
    drain(tasks).await;
    Ok(())
}

/// Ends the daemon when a part that must run ends abnormally.
async fn report(what: &'static str, part: impl Future<Output = anyhow::Result<()>>, cancel: CancellationToken) {
    if let Err(error) = part.await.with_context(|| format!("{what} ended")) {
        tracing::error!(error = format!("{error:#}"), "the daemon ends");
        cancel.cancel();
    }
}

/// Waits for every task, up to the deadline, and ends the rest.
async fn drain(mut tasks: JoinSet<()>) {
    let ended = async { while tasks.join_next().await.is_some_and(|ended| ended.is_ok()) {} };
    if tokio::time::timeout(DRAIN_DEADLINE, ended).await.is_err() {
        tracing::warn!("some parts did not end within {} s", DRAIN_DEADLINE.as_secs());
    }
    tasks.shutdown().await;
}
