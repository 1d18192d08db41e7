//! One effect, done beside the flow. It is a task of its own: what panics comes to an end that nobody knows, as what a crash cut
//! off does, and takes nothing along that waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::journal::StartedEffect;
use crate::port::{Effect, EffectError, Effects, Performed};

/// Does it within this time; `late` says that it did not come back.
pub(super) async fn perform(
    effects: &Arc<dyn Effects>,
    started: StartedEffect,
    effect: Effect,
    within: Duration,
    late: String,
) -> Result<Performed, EffectError> {
    let (mut on, effects) = (JoinSet::new(), Arc::clone(effects));
    on.spawn(async move { effects.perform(&started, &effect).await });
    let error = match tokio::time::timeout(within, on.join_next()).await {
        Ok(Some(Ok(result))) => return result,
        Ok(_) => "codeops broke off while it was done, by a defect of its own".to_owned(),
        Err(_) => late,
    };
    Err(EffectError::Unknown { error, evidence: String::new() })
}
