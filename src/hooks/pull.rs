//! What a delivery left out is asked of its source before the sender has its answer: what cannot be had is not acknowledged, and
//! the sender comes again. So nothing is left out for want of memory, and nothing by a crash.

use std::time::Duration;

use codeops_core::model::{AlertId, Labels, Signal, bounded_labels};
use jiff::Timestamp;

use super::alerts::Shared;
use super::format::{self, Truncated};
use super::problem::Problem;
use super::receiver::Receiver;
use super::turns::Turn;
use crate::port::{Absence, AlertListing, GroupListing};

/// How long a sender waits for it at most: an Alertmanager waits 10 s or longer.
const LIMIT: Duration = Duration::from_secs(8);
/// How many signals go into one entry.
const CHUNK: usize = 1_000;

/// Who can be asked for what a receiver's deliveries left out, if somebody can.
pub(super) fn whom<'s>(shared: &'s Shared, receiver: &Receiver) -> Option<&'s dyn AlertListing> {
    shared.listing.as_deref().filter(|_| receiver.has_api)
}

/// Takes in what a delivery left out; answers how much of it is new. Where nobody can be asked for it, a sender that came again
/// would bring no more.
///
/// # Errors
/// It cannot be had, or not be written down, now.
pub(super) async fn rest(
    shared: &Shared,
    receiver: &Receiver,
    truncated: Truncated,
    now: Timestamp,
) -> Result<usize, Problem> {
    let (name, missing) = (&receiver.name, truncated.count);
    let Some(listing) = whom(shared, receiver) else {
        tracing::error!(receiver = %name, missing, "a delivery was cut short: set the receiver's `api`, or max_alerts to 0");
        return Ok(0);
    };
    let asked = tokio::time::timeout(LIMIT, ask(shared, listing, receiver, truncated, now)).await;
    let failed = match asked {
        Ok(Ok(Rest { signals, spoiled, unsettled, turn })) => {
            let new = write(shared, receiver, signals, spoiled).await?;
            drop(turn);
            if !unsettled {
                tracing::info!(receiver = %name, missing, new, "the rest of a delivery that was cut short is taken");
                return Ok(new);
            }
            "its source was started lately and cannot say yet what is over".to_owned()
        }
        Ok(Err(error)) => error,
        Err(_) => format!("no answer within {} s", LIMIT.as_secs()),
    };
    tracing::warn!(receiver = %name, missing, error = failed, "the rest of a delivery cannot be had; its sender is to try again");
    Err(Problem::unavailable("what was left out of it cannot be had from its source now: send it again later"))
}

/// What a source says of a group.
struct Rest<'t> {
    signals: Vec<Signal>,
    spoiled: u32,
    /// Something may be over, and it cannot say so yet.
    unsettled: bool,
    /// Kept for as long as they are in memory.
    turn: Turn<'t>,
}

async fn ask<'t>(
    shared: &'t Shared,
    listing: &dyn AlertListing,
    receiver: &'t Receiver,
    truncated: Truncated,
    now: Timestamp,
) -> Result<Rest<'t>, String> {
    let turn = receiver.turns.pull(&shared.turns).await.ok_or("there are no turns")?;
    // Before it is asked: what comes in by another delivery meanwhile may not be on its list.
    let known = known(shared, receiver, &truncated.group);
    let GroupListing { body, up } = listing.group(&receiver.name, &truncated.group).await?;
    let (route, of) = (truncated.route, known.iter().map(|id| id.fingerprint.clone()).collect());
    let parsed = tokio::task::spawn_blocking(move || format::parse_listing(&body, &route, &of)).await;
    let listed = parsed.map_err(|error| error.to_string())?.map_err(|error| error.0.to_owned())?;
    // Where an entry could not be read, nothing is concluded from what is not there.
    let gone = known.into_iter().filter(|id| listed.spoiled == 0 && !listed.open.contains(&id.fingerprint));
    let (mut signals, mut unsettled) = (Vec::new(), false);
    for id in gone {
        match up.absence(id.starts_at, now) {
            Absence::Over => signals.push(over(id, now)),
            Absence::TooEarly => unsettled = true,
            Absence::Forgotten => {}
        }
    }
    let fires = listed.firing.into_iter().filter(|told| receiver.watchdogs_of(told).is_empty());
    signals.extend(receiver.signals(&*shared.intake, fires, now));
    Ok(Rest { signals, spoiled: listed.spoiled, unsettled, turn })
}

/// What of a group is known to be open. Its labels are compared as they came in.
fn known(shared: &Shared, receiver: &Receiver, group: &Labels) -> Vec<AlertId> {
    let bounded = if group.is_empty() { Ok(Labels::new()) } else { bounded_labels(group.clone()) };
    let known = bounded.map(|group| shared.intake.open(&receiver.name, &group)).unwrap_or_default();
    known.into_iter().filter(|id| id.source == receiver.source).collect()
}

/// What a cut delivery may have left out is also that something is over, and that is told once.
fn over(id: AlertId, now: Timestamp) -> Signal {
    let AlertId { source, fingerprint, starts_at } = id;
    Signal::Resolved { source, fingerprint, starts_at: Some(starts_at), ended_at: now, name: None }
}

async fn write(shared: &Shared, receiver: &Receiver, mut signals: Vec<Signal>, spoiled: u32) -> Result<usize, Problem> {
    let (mut new, mut spoiled) = (0, spoiled);
    while !signals.is_empty() || spoiled > 0 {
        let rest = signals.split_off(signals.len().min(CHUNK));
        let chunk = std::mem::replace(&mut signals, rest);
        let receipt = shared.intake.receive(&receiver.name, &[], chunk, std::mem::take(&mut spoiled)).await;
        new += receipt.map_err(|error| super::alerts::not_taken(receiver, &error))?.new;
    }
    Ok(new)
}
