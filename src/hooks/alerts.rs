//! Alerts: authenticated over headers and the raw body, then read, then durable, and only then answered. Overload is 503, for some
//! senders never come again after a 429; a receiver that there is not answers like one whose secret was not known.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use codeops_core::config::ReceiverFormat;
use codeops_core::model::{Alert, Fingerprint, Kept, Name, Signal};
use jiff::Timestamp;

use super::body::{Held, Room};
use super::door::is_signed;
use super::format::{self, INCIDENT_KEY, Malformed, Parsed, State as Is, Told};
use super::intake::Intake;
use super::overtaken::Ends;
use super::problem::Problem;
use super::receiver::{Receiver, Receivers, Watchdog};
use super::seen::Seen;
use super::turns::{Turn, Turns};
use super::{AlertLimits, Alerts, BOUNDS, pull};
use crate::edge::{Leaves, Peer, Seldom};
use crate::journal::{LogError, Receipt};
use crate::port::{AlertListing, Clock};

/// Bodies from here on are read beside the others, not between them.
const BIG: usize = 32 << 10;
/// Bodies from here on are read in turns: they may hold thousands of alerts, of which each takes more memory than bytes.
const MANY: usize = 128 << 10;

pub(super) struct Shared {
    pub(super) receivers: Receivers,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: AlertLimits,
    pub(super) turns: Turns,
    /// For bodies of senders who have shown who they are, and for those that are read to tell.
    proven: Room,
    unproven: Room,
    /// Signatures, and ids in headers that are not signed: what shows a replay under another name.
    seen: Mutex<Seen>,
    ends: Mutex<Ends>,
    /// What strangers were refused for.
    refusals: Seldom,
    pub(super) listing: Option<Arc<dyn AlertListing>>,
}

impl Shared {
    pub(super) fn new(alerts: Alerts, clock: Arc<dyn Clock>) -> Self {
        let Alerts { receivers, intake, listing, limits } = alerts;
        Self {
            receivers,
            intake,
            clock,
            limits,
            turns: Turns::of_all(limits.concurrency),
            proven: Room::new(limits.proven_bytes, BOUNDS.connections),
            unproven: Room::new(limits.unproven_bytes, BOUNDS.connections),
            seen: Mutex::new(Seen::new(limits.remembered)),
            ends: Mutex::new(Ends::new(limits.remembered)),
            refusals: Seldom::default(),
            listing,
        }
    }
}

/// The routes that take alerts.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let router = Router::new().route("/hooks/alerts/{receiver}", post(of_receiver).options(handshake));
    let router = match shared.receivers.of_prometheus() {
        Some(_) => router.route("/api/v2/alerts", post(of_prometheus)),
        None => router,
    };
    router.with_state(shared)
}

async fn of_receiver(State(shared): State<Arc<Shared>>, Path(name): Path<String>, request: Request<Body>) -> Response {
    match take(&shared, &name, request).await {
        Ok(taken) => taken.into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// As an Alertmanager answers: what was good is kept, and 400 says that not all of it was.
async fn of_prometheus(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let name = shared.receivers.of_prometheus().map(|receiver| receiver.name.to_string()).unwrap_or_default();
    match take(&shared, &name, request).await {
        Ok(Taken { spoiled: 0, .. }) => StatusCode::OK.into_response(),
        Ok(_) => {
            Problem::new(StatusCode::BAD_REQUEST, "some alerts could not be read; the others are taken").into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// What became of a delivery.
struct Taken {
    duplicate: bool,
    new: usize,
    spoiled: u32,
}

impl Taken {
    fn into_response(self) -> Response {
        let outcome = if self.duplicate { "duplicate" } else { "taken" };
        Json(serde_json::json!({ "outcome": outcome, "new": self.new, "spoiled": self.spoiled })).into_response()
    }
}

async fn take(shared: &Shared, name: &str, request: Request<Body>) -> Result<Taken, Problem> {
    let (parts, body) = request.into_parts();
    let now = shared.clock.now();
    let from = (&parts.headers, parts.extensions.get(), parts.extensions.get());
    let (receiver, proof, body) = enter(shared, name, from, body, now).await?;
    if !receiver.rate.admits() {
        return Err(Problem::overload());
    }
    let big = if body.bytes.len() < MANY { None } else { Some(turn(shared, receiver).await?) };
    let place = receiver.turns.place(&shared.turns).ok_or_else(Problem::overload)?;
    let parsed = read(receiver, parts.headers, body, now).await?;
    deliver(shared, receiver, proof, parsed, (place, big), now).await
}

/// A turn at what may take much memory.
async fn turn<'s>(shared: &'s Shared, receiver: &'s Receiver) -> Result<Turn<'s>, Problem> {
    let turn = tokio::time::timeout(shared.limits.body_time, receiver.turns.big(&shared.turns)).await;
    turn.ok().flatten().ok_or_else(Problem::overload)
}

/// Lets in whoever proves to know the secret. What is done, and what is answered, depends on the request alone and not on
/// which receivers there are.
async fn enter<'s>(
    shared: &'s Shared,
    name: &str,
    (headers, leaves, peer): (&HeaderMap, Option<&Leaves>, Option<&Peer>),
    body: Body,
    now: Timestamp,
) -> Result<(&'s Receiver, Option<String>, Held), Problem> {
    let (receiver, door) = shared.receivers.named(name);
    let refused = |why: &'static str| {
        // Those of no receiver count together: anybody may make up as many names as they like.
        let whom = receiver.map_or("", |receiver| receiver.name.as_str());
        if let Some(more) = shared.refusals.admits_of(whom, why) {
            // Anybody may send anything: what can be no receiver's name is not repeated.
            let receiver = Name::new(name).map_or_else(|_| "(no name of one)".to_owned(), |name| name.to_string());
            tracing::warn!(receiver, peer = peer.map(tracing::field::display), why, more, "an alert is refused");
        }
        Problem::new(StatusCode::UNAUTHORIZED, "no receiver of this name is opened by what was sent")
    };
    let limits = shared.limits;
    if door.opens_to(headers) {
        let receiver = receiver.ok_or_else(|| refused("there is no such receiver"))?;
        let body = shared.proven.read(name, (headers, leaves), body, receiver.body_bytes, limits.body_time).await?;
        return Ok((receiver, None, body));
    }
    if !is_signed(headers) {
        return Err(refused("neither the right Authorization nor a signature, or no such receiver"));
    }
    let body = shared.unproven.read("", (headers, leaves), body, limits.body_bytes, limits.body_time).await?;
    match (door.check(headers, &body.bytes, now), receiver) {
        (Ok(proof), Some(receiver)) => Ok((receiver, Some(proof), body)),
        (Ok(_), None) => Err(refused("there is no such receiver")),
        (Err(error), _) => Err(refused(error.0)),
    }
}

/// Reads a body. What takes long is done beside the tasks that answer others.
async fn read(receiver: &Receiver, headers: HeaderMap, body: Held, now: Timestamp) -> Result<Parsed, Problem> {
    let reading = Arc::clone(&receiver.reading);
    let parsed = if body.bytes.len() < BIG && reading.mapping.is_none() {
        format::parse(&headers, &body.bytes, &reading, now)
    } else {
        let work = tokio::task::spawn_blocking(move || format::parse(&headers, &body.bytes, &reading, now));
        work.await.unwrap_or(Err(Malformed("the body cannot be read")))
    };
    let parsed = parsed.map_err(|Malformed(why)| {
        tracing::warn!(receiver = %receiver.name, why, "a delivery cannot be read");
        Problem::new(StatusCode::BAD_REQUEST, why)
    })?;
    if let Parsed { spoiled, why: Some(why), .. } = parsed {
        tracing::warn!(receiver = %receiver.name, spoiled, why, "alerts in a delivery cannot be read");
    }
    Ok(parsed)
}

async fn deliver(
    shared: &Shared,
    receiver: &Receiver,
    proof: Option<String>,
    parsed: Parsed,
    turns: (Turn<'_>, Option<Turn<'_>>),
    now: Timestamp,
) -> Result<Taken, Problem> {
    let Parsed { told, spoiled, why: _, beyond, ids, truncated } = parsed;
    let (mut durable, mut beside) = ids_of(receiver, proof, ids);
    if shared.seen.lock().unwrap_or_else(PoisonError::into_inner).knows(&beside) {
        return Ok(Taken { duplicate: true, new: 0, spoiled: 0 });
    }
    let nothing = told.is_empty() && spoiled > 0;
    let too_many = beyond > 0 && (truncated.is_none() || pull::whom(shared, receiver).is_none());
    if nothing || too_many {
        // It is refused: the same delivery, once the receiver's mapping is mended, is no duplicate.
        (durable, beside) = Default::default();
    }
    let (mut told, heard) = without_watchdogs(receiver, told);
    told.retain(|told| !is_own_page(shared, receiver, told));
    let (told, ends) = in_order(shared, receiver, told);
    let mut signals = receiver.signals(&*shared.intake, told, now);
    signals.retain(|signal| !is_held_back(shared, receiver, signal));
    let take = async |ids: &[String], signals, spoiled| {
        let taken = shared.intake.receive(&receiver.name, ids, signals, spoiled).await;
        if !heard.is_empty() && matches!(taken, Err(LogError::Full)) {
            hear_though_full(shared, receiver, &heard, &durable, now).await?;
        }
        taken.map_err(|error| not_taken(receiver, &error))
    };
    let (receipt, rest) = match truncated {
        None => (take(&durable, signals, spoiled).await?, 0),
        // What came is kept before its rest is asked for; without that the delivery has not been, and comes again.
        Some(truncated) => {
            let first = take(&[], signals, spoiled).await?;
            // Asking takes long, and keeps nobody else out.
            drop(turns);
            let rest = pull::rest(shared, receiver, truncated, now).await?;
            let whole = take(&durable, Vec::new(), 0).await?;
            (Receipt { duplicate: whole.duplicate, new: first.new }, rest)
        }
    };
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).remember(&beside);
    for (fingerprint, at) in ends {
        shared.ends.lock().unwrap_or_else(PoisonError::into_inner).remember(&receiver.source, fingerprint, at);
    }
    if receipt.duplicate {
        return Ok(Taken { duplicate: true, new: 0, spoiled: 0 });
    }
    hear(shared, receiver, &heard, now).await?;
    let new = receipt.new + rest;
    tracing::debug!(receiver = %receiver.name, new, spoiled, "alerts taken");
    if nothing {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "no alert in it could be read"));
    }
    if too_many {
        tracing::error!(receiver = %receiver.name, beyond, "a delivery has too many alerts: the first are taken and the others are not; send fewer at once, or set the receiver's `api`");
        let why = "it has more than 10,000 alerts: the first are taken, and the others are not";
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    Ok(Taken { duplicate: false, new, spoiled })
}

/// Alerts, and beside them the Watchdogs that are heard, which are none.
fn without_watchdogs(receiver: &Receiver, mut told: Vec<Told>) -> (Vec<Told>, Vec<Arc<Watchdog>>) {
    let mut heard: Vec<Arc<Watchdog>> = Vec::new();
    told.retain(|told| {
        let of = receiver.watchdogs_of(told);
        let is_alert = of.is_empty();
        let fires = matches!(told.state, Is::Firing { .. });
        // By another way it says nothing of this receiver's: a dead Alertmanager sends none while its Prometheus lives.
        for watchdog in of.into_iter().filter(|watchdog| fires && watchdog.receiver == receiver.name) {
            if !heard.iter().any(|known| Arc::ptr_eq(known, &watchdog)) {
                heard.push(watchdog);
            }
        }
        is_alert
    });
    (told, heard)
}

/// Whether it is a page of ours that comes back from where it was sent, as incidents of a whole PagerDuty account do: whoever is
/// called knows of it, and a call for each call would have no end.
fn is_own_page(shared: &Shared, receiver: &Receiver, told: &Told) -> bool {
    let key = told.annotations.get(INCIDENT_KEY).filter(|_| receiver.reading.format == ReceiverFormat::PagerDuty);
    let own = key.is_some_and(|key| shared.intake.is_own_page(key));
    if own {
        tracing::debug!(receiver = %receiver.name, key, "a page of this daemon came back, and is no alert");
    }
    own
}

/// Notes that Watchdogs were heard, each for the receiver that is watched by it.
async fn hear(shared: &Shared, by: &Receiver, heard: &[Arc<Watchdog>], now: Timestamp) -> Result<(), Problem> {
    for watchdog in heard.iter().filter(|watchdog| watchdog.is_due(now)) {
        shared.intake.heard(&watchdog.receiver).await.map_err(|error| not_taken(by, &error))?;
        watchdog.note(now);
    }
    Ok(())
}

/// The same of a delivery that is refused for want of room: its sender is there. It will come again and be no duplicate then,
/// so that what it was heard by is known under other ids.
async fn hear_though_full(
    shared: &Shared,
    receiver: &Receiver,
    heard: &[Arc<Watchdog>],
    ids: &[String],
    now: Timestamp,
) -> Result<(), Problem> {
    let ids: Vec<String> = ids.iter().map(|id| format!("watchdog {id}")).collect();
    let before = shared.intake.receive(&receiver.name, &ids, Vec::new(), 0).await;
    if before.map_err(|error| not_taken(receiver, &error))?.duplicate {
        return Ok(());
    }
    hear(shared, receiver, heard, now).await
}

/// Whether this says only what is no news of an alert that its source holds back: a Prometheus tells on of what its Alertmanager
/// silences.
fn is_held_back(shared: &Shared, receiver: &Receiver, signal: &Signal) -> bool {
    let fires = |alert: &Alert| receiver.source_is_asked && shared.intake.is_silenced(&alert.id);
    matches!(signal, Signal::Firing(alert) if fires(alert))
}

/// Leaves out what an end that came before it has overtaken; and the ends among the rest, to be remembered once they are
/// taken.
fn in_order(shared: &Shared, receiver: &Receiver, told: Vec<Told>) -> (Vec<Told>, Vec<(Fingerprint, Timestamp)>) {
    let known = shared.ends.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut kept, mut ends) = (Vec::with_capacity(told.len()), Vec::new());
    for told in told {
        let fires = matches!(told.state, Is::Firing { .. });
        match told.said_at.map(|at| (told.fingerprint(), at)) {
            Some((fingerprint, at)) if fires && known.after(&receiver.source, &fingerprint, at) => {
                tracing::info!(receiver = %receiver.name, "an alert that is over already is left out: its end came first");
                continue;
            }
            Some(end) if !fires => ends.push(end),
            _ => {}
        }
        kept.push(told);
    }
    (kept, ends)
}

/// What a delivery is known by, durably, and what else shows that it was sent again. Where the body is signed, ids in headers
/// prove nothing: the signature counts, and they only beside it.
fn ids_of(receiver: &Receiver, proof: Option<String>, ids: Vec<String>) -> (Vec<String>, Vec<String>) {
    let Some(signature) = proof else { return (ids, Vec::new()) };
    let beside = ids.iter().chain([&signature]).map(|id| format!("{}/{id}", receiver.name)).collect();
    (vec![signature], beside)
}

pub(super) fn not_taken(receiver: &Receiver, error: &LogError) -> Problem {
    match error {
        LogError::Overloaded => Problem::overload(),
        LogError::Full => {
            if let Some(more) = receiver.full.admits("full") {
                let (name, most, bytes) = (&receiver.name, Kept::MOST_ALERTS, Kept::MOST_BYTES);
                tracing::error!(receiver = %name, most, bytes, more, "new alerts are refused: as many of this receiver are remembered, or as much was written down of late, as may be");
            }
            Problem::unavailable(
                "as many alerts of this receiver are remembered, or as much was written down of late, as may be: send it again later",
            )
        }
        LogError::Poisoned(_) | LogError::Closed | LogError::Read(_) => {
            tracing::error!(%error, "an alert cannot be taken");
            Problem::unavailable("nothing can be written down now: send it again later")
        }
    }
}

/// CloudEvents asks before it sends. Answered alike for every name: what counts is proven by what is sent.
async fn handshake(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let mut response = StatusCode::OK.into_response();
    let answer = response.headers_mut();
    answer.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    if let Some(origin) = headers.get("webhook-request-origin").filter(|origin| origin.len() <= 255) {
        answer.insert("webhook-allowed-origin", origin.clone());
        answer.insert("webhook-allowed-rate", HeaderValue::from(shared.limits.per_second.saturating_mul(60)));
    }
    response
}
