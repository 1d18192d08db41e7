//! `apply`: the same flow as the daemon's, without the edges, until nothing more happens without a commit.

use codeops_core::config::{FreezeWhat, Mode, Settings};
use codeops_core::model::{Health, Resource, RevisionState, Sync};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::outcome::{ApplyOutcome, ApplyResult, PlanOutcome, Verdict};
use super::progress::{self, Listener};
use super::{Assembly, Options, drain, plan};
use crate::port::{Board, Clock as _, Publisher, ResourceView, SystemClock};
use crate::reconcile;

/// Applies the newest revision and waits until it has settled; `listener` hears what is done meanwhile.
///
/// # Errors
/// Anything that keeps it from starting, a running daemon among them, and a journal that takes nothing more.
pub async fn apply(options: Options, listener: Listener, cancel: CancellationToken) -> anyhow::Result<ApplyOutcome> {
    let options = options.with_own_branch();
    let assembly = Assembly::open(&options, false).await?;
    let planned = plan(&options).await?;
    let mut tasks = JoinSet::new();
    let (publisher, watcher) = Publisher::new();
    let (_never, fetch) = mpsc::channel(1);
    let gate = cancel.child_token();
    tasks.spawn(progress::tell(assembly.log.tail(), listener, gate.clone()));
    let parts = assembly.reconcile(&options, publisher, fetch, true, &mut tasks, gate.clone());
    let ended = reconcile::run(parts, cancel.clone()).await;
    gate.cancel();
    drain(&mut tasks).await;
    ended?;
    let interrupted = cancel.is_cancelled();
    let board = watcher.board();
    let frozen = is_frozen(&options.settings, &board);
    Ok(outcome(planned, &board, interrupted, frozen))
}

fn outcome(planned: PlanOutcome, board: &Board, interrupted: bool, frozen: bool) -> ApplyOutcome {
    let verdict = |view: &ResourceView| verdict_of(view, frozen);
    let result = |change: &codeops_core::plan::Change| {
        let (verdict, note) = match board.resources.get(&change.id) {
            Some(view) => (verdict(view), note_of(view)),
            // Deleted, and so no longer on the board.
            None => (Verdict::Applied, None),
        };
        ApplyResult { id: change.id.clone(), verb: change.verb, verdict, note }
    };
    let resources: Vec<ApplyResult> = planned.plan.changes.iter().map(result).collect();
    let state = board.revision.as_ref().map(|revision| revision.state);
    let none_failed = board.resources.values().all(|view| verdict(view) != Verdict::Failed) && !has_errors(board);
    let verdict = match state {
        _ if interrupted || board.source.error.is_some() => Verdict::Failed,
        Some(RevisionState::Applied) => Verdict::Applied,
        Some(RevisionState::Partial | RevisionState::Failed) if none_failed => Verdict::Held,
        Some(RevisionState::Applying) if none_failed && frozen => Verdict::Held,
        Some(RevisionState::Partial) => Verdict::Partial,
        _ => Verdict::Failed,
    };
    ApplyOutcome { planned, resources, verdict }
}

/// Whether a freeze keeps steps from being done, the settings' own or the revision's; or that all is only shown.
fn is_frozen(settings: &Settings, board: &Board) -> bool {
    if settings.mode == Mode::Observe {
        return true;
    }
    let now = SystemClock.now();
    let declared = board.desired.iter().filter_map(|desired| desired.repository.freeze.as_ref());
    let mut freezes = settings.freeze.iter().chain(declared);
    freezes.any(|freeze| freeze.what == FreezeWhat::All && freeze.until.is_none_or(|until| until > now))
}

fn has_errors(board: &Board) -> bool {
    board.diagnostics.iter().any(|mistake| mistake.severity == codeops_core::desired::Severity::Error)
}

fn verdict_of(view: &ResourceView, frozen: bool) -> Verdict {
    match (view.sync, view.health) {
        (Sync::Suspended, _) => Verdict::Suspended,
        (Sync::Synced, Health::Healthy) => Verdict::Applied,
        // What was rolled back is held at its last good, but the commit's own wish failed.
        (Sync::Held, _) if is_pinned(view) => Verdict::Failed,
        (Sync::Held, _) => Verdict::Held,
        // Nothing was tried.
        (Sync::OutOfSync, _) if frozen => Verdict::Held,
        _ => Verdict::Failed,
    }
}

/// Whether what is declared has failed, rather than some version before it.
fn is_pinned(view: &ResourceView) -> bool {
    let pin = |desired: &Resource| view.pins.get(&desired.template_digest).is_some_and(|pin| pin.holds_for(desired));
    view.desired.as_ref().is_some_and(|desired| pin(desired))
}

fn note_of(view: &ResourceView) -> Option<String> {
    let address = || view.live.as_ref().and_then(|live| live.address.as_ref()).map(|at| format!("listening on {at}"));
    view.why.clone().or_else(address)
}
