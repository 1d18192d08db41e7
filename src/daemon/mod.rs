//! Wires everything together: opens, binds, starts, waits for the end, drains. Decides nothing.

mod assembly;
mod life;
mod listen;
mod once;
mod options;
pub mod outcome;
mod preview;
pub mod progress;
mod reload;
mod unwritable;
mod waiting;
mod watchdog;

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use assembly::Assembly;
use life::{Broken, Kept, Life};
use listen::Listeners;
pub use once::apply;
pub use options::{Options, Reload};
pub use preview::plan;
pub use unwritable::{GRACE, unwritable};
use watchdog::Kennel;

/// How long the parts get to end once the daemon is told to.
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);

/// Runs the daemon until `cancel` fires, then drains it. Settings that change are taken over by a new life of everything
/// but the listeners, within this process; settings that cannot be lived with leave the old ones in force. So does a journal
/// that takes nothing more, once it can be opened again: nobody has to come for a disk that was full.
///
/// A disk that is full when it starts is waited for as well.
///
/// # Errors
/// Anything else that keeps it from starting: the state folder, the settings, an address in use, the repository's address. And
/// a part that ended though none should.
pub async fn run(options: Options, cancel: CancellationToken) -> anyhow::Result<()> {
    let listeners = Listeners::bind(&options).await?;
    let kept = Kept::default();
    let mut watch = reload::Watch::begin(options.reload.clone(), kept.settings.clone()).await;
    let mut options = options.with_own_branch();
    let kennel = Kennel::open();
    let mut life = match Life::begin(&options, &listeners, &kept, false).await {
        Err(error) if waiting::passes(&error) => match waiting::begin(&options, &listeners, &kept, &cancel).await {
            Some(life) => life,
            None => return Ok(()),
        },
        begun => begun?,
    };
    kennel.watch(life.vitals.clone());
    listeners.tell(life.hook_secret.as_deref(), life.alerts_token.as_deref());
    let mut named = reload::named(&options.settings, &life.generated()).await;
    loop {
        let (settings, usable) = tokio::select! {
            () = cancel.cancelled() => {
                kept.said.ends();
                life.end().await;
                return Ok(());
            }
            broken = life.broken() => {
                let Broken::Unwritable(why) = broken else {
                    kept.said.ends();
                    life.end().await;
                    return Err(broken.into());
                };
                life.end().await;
                tracing::error!(why, "nothing could be written down for a minute; the daemon begins anew");
                let Some(next) = waiting::begin(&options, &listeners, &kept, &cancel).await else { return Ok(()) };
                life = next;
                kennel.watch(life.vitals.clone());
                continue;
            }
            changed = watch.changed(&options.settings) => changed,
        };
        let new = Options { settings, ..options.clone() }.with_own_branch();
        let names = reload::named(&new.settings, &life.generated()).await;
        if new.settings == options.settings && names == named {
            tracing::info!("the settings and what they name are as before");
            continue;
        }
        named = names;
        tracing::info!("taking over the settings and what they name");
        life.end().await;
        life = match Life::begin(&new, &listeners, &kept, true).await {
            Ok(life) => {
                if usable {
                    kept.settings.taken();
                }
                options = new;
                life
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the new settings cannot be used; the old ones stay");
                kept.settings.refused(format!("{error:#}"));
                let Some(life) = waiting::begin(&options, &listeners, &kept, &cancel).await else { return Ok(()) };
                life
            }
        };
        kennel.watch(life.vitals.clone());
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
