//! Wires everything together and drains it.

mod options;

pub use options::Options;

use tokio_util::sync::CancellationToken;

use crate::cli::outcome::{ApplyOutcome, PlanOutcome};

/// Runs until cancelled.
#[expect(clippy::unused_async, reason = "placeholder until the daemon is merged")]
pub async fn run(options: Options, cancel: CancellationToken) -> anyhow::Result<()> {
    drop((options, cancel));
    anyhow::bail!("the daemon is not wired yet")
}

/// Plans once.
#[expect(clippy::unused_async, reason = "placeholder until the daemon is merged")]
pub async fn plan(options: Options) -> anyhow::Result<PlanOutcome> {
    drop(options);
    anyhow::bail!("the daemon is not wired yet")
}

/// Applies once.
#[expect(clippy::unused_async, reason = "placeholder until the daemon is merged")]
pub async fn apply(options: Options) -> anyhow::Result<ApplyOutcome> {
    drop(options);
    anyhow::bail!("the daemon is not wired yet")
}
