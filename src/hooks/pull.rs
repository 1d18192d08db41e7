//! What a delivery left out is asked of its source, behind the sender's back: it has its answer, and the alerts that it did send
//! are durable.

use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::Name;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::alerts::Shared;
use super::format;
use crate::port::AlertListing;

/// How long to wait before it is tried again.
const PAUSES: [u64; 3] = [1, 5, 15];

/// One delivery that was cut short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pull {
    pub(super) receiver: Name,
    pub(super) source: Name,
    /// The name that codeops has in the sender's own routing.
    pub(super) route: String,
}

/// Does what is asked for, one after the other, until cancelled.
pub(super) async fn run(
    shared: Arc<Shared>,
    listing: Option<Arc<dyn AlertListing>>,
    mut asked: mpsc::Receiver<Pull>,
    cancel: CancellationToken,
) {
    let work = async {
        while let Some(pull) = asked.recv().await {
            match &listing {
                Some(listing) => again_and_again(&shared, &**listing, &pull).await,
                None => tracing::error!(receiver = %pull.receiver, "a delivery was cut short, and nobody can be asked"),
            }
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = work => cancel.cancelled().await,
    }
}

async fn again_and_again(shared: &Shared, listing: &dyn AlertListing, pull: &Pull) {
    let receiver = &pull.receiver;
    for seconds in PAUSES {
        match once(shared, listing, pull).await {
            Ok(new) => {
                tracing::info!(%receiver, new, "the rest of a delivery that was cut short is taken");
                return;
            }
            Err(error) => tracing::warn!(%receiver, error, "the rest of a delivery cannot be had yet"),
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    tracing::error!(%receiver, "the rest of a delivery is missing until its sender tells of it again");
}

async fn once(shared: &Shared, listing: &dyn AlertListing, pull: &Pull) -> Result<usize, String> {
    let body = listing.firing(&pull.receiver, &pull.route).await?;
    let parsed = format::parse_listing(&body).map_err(|error| error.0.to_owned())?;
    let now = shared.clock.now();
    let began = |fingerprint: &_| shared.intake.began(&pull.source, fingerprint);
    let signal = |told: format::Told| told.signal(&pull.receiver, &pull.source, now, began);
    let signals = parsed.told.into_iter().map(signal).collect();
    let receipt = shared.intake.receive(&pull.receiver, &[], signals, parsed.spoiled).await;
    receipt.map(|receipt| receipt.new).map_err(|error| error.to_string())
}
