//! Wires everything together: opens, binds, starts, waits for the end, drains. Decides nothing.

mod assembly;
mod life;
mod listen;
mod once;
mod options;
pub mod outcome;
mod preview;
mod reload;

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use assembly::Assembly;
use listen::Listeners;
pub use once::apply;
pub use options::{Options, Reload};
pub use preview::plan;

/// How long the parts get to end once the daemon is told to.
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);

/// Runs the daemon until `cancel` fires, then drains it. Settings that change are taken over by a new life of everything
/// but the listeners, within this process; settings that cannot be lived with leave the old ones in force.
///
/// # Errors
/// Anything that keeps it from starting: the state folder, the settings, an address in use, the repository's address.
pub async fn run(options: Options, cancel: CancellationToken) -> anyhow::Result<()> {
    let listeners = Listeners::bind(&options).await?;
    let mut options = options.with_own_branch();
    let mut before: Option<Options> = None;
    loop {
        let assembly = match (Assembly::open(&options).await, before.take()) {
            (Ok(assembly), _) => assembly,
            (Err(error), None) => return Err(error),
            (Err(error), Some(old)) => {
                tracing::error!(error = format!("{error:#}"), "the new settings cannot be used; the old ones stay");
                options = old;
                Assembly::open(&options).await?
            }
        };
        let end = cancel.child_token();
        let mut life = life::begin(assembly, &options, &listeners, &cancel, &end).await?;
        tokio::select! {
            () = end.cancelled() => {}
            settings = reload::changed(options.reload.as_ref(), &options.settings) => {
                tracing::info!("the settings have changed: taking them over");
                let new = Options { settings, ..options.clone() }.with_own_branch();
                before = Some(std::mem::replace(&mut options, new));
            }
        }
        end.cancel();
        drain(&mut life).await;
        if cancel.is_cancelled() {
            return Ok(());
        }
    }
}

/// Waits for every task, up to the deadline, and ends the rest.
async fn drain(tasks: &mut JoinSet<()>) {
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_DEADLINE, ended).await.is_err() {
        tracing::warn!("some parts did not end within {} s", DRAIN_DEADLINE.as_secs());
    }
    tasks.shutdown().await;
}
