//! The hooks address: the one edge that may be exposed. Requests are authenticated over the raw body before anything is parsed.
//!
//! A push hook only ever means "fetch now": neither the commit nor the URL in its payload is used, so nothing of the payload
//! is read at all. What to do is injected; this room knows no source and changes nothing itself.

mod alerts;
mod body;
mod door;
pub mod format;
mod intake;
mod overtaken;
mod problem;
mod proof;
mod pull;
mod rate;
mod receiver;
mod seen;
mod signed;
mod token;
mod turns;
mod waiting;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use codeops_core::model::Secret;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::body::Room;
use self::problem::Problem;
use self::rate::Rate;
use self::seen::Seen;
use crate::edge::{self, Bounds, Seldom};
use crate::port::{AlertListing, Clock};

pub use self::intake::Intake;
pub use self::proof::{Delivery, Forge, Meaning, Refused, authenticate, forge};
pub use self::receiver::Receivers;
pub use self::token::{kept_secret, kept_token};
pub use self::waiting::wait;

/// What the hooks address may cost. The defaults are the documented ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookLimits {
    /// One body, in bytes.
    pub body_bytes: usize,
    /// All bodies in memory, of which each connection has a small share for itself.
    pub all_bytes: usize,
    /// The time for one body.
    pub body_time: Duration,
    /// Authentic requests that are new, a second over time.
    pub per_second: u32,
    /// Such requests at once.
    pub burst: u32,
    /// Delivery ids remembered.
    pub remembered: usize,
}

impl Default for HookLimits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            all_bytes: 16 << 20,
            body_time: Duration::from_secs(2),
            per_second: 100,
            burst: 200,
            remembered: 4_096,
        }
    }
}

/// What taking alerts may cost. The defaults are the documented ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertLimits {
    /// One body, in bytes.
    pub body_bytes: usize,
    /// One body of an Alertmanager or a Prometheus, which send many alerts at once.
    pub many_bytes: usize,
    /// All bodies in memory of senders who have proven who they are.
    pub proven_bytes: usize,
    /// All bodies in memory that are read to find out.
    pub unproven_bytes: usize,
    /// The time for one body.
    pub body_time: Duration,
    /// Deliveries taken in the same moment.
    pub concurrency: usize,
    /// Deliveries of one receiver a second over time.
    pub per_second: u32,
    /// Deliveries of one receiver at once.
    pub burst: u32,
    /// Signatures remembered beside the journal.
    pub remembered: usize,
}

impl Default for AlertLimits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            many_bytes: 16 << 20,
            proven_bytes: 64 << 20,
            unproven_bytes: 16 << 20,
            body_time: Duration::from_secs(5),
            concurrency: 64,
            per_second: 2_000,
            burst: 4_000,
            remembered: 16_384,
        }
    }
}

/// What taking alerts needs.
pub struct Alerts {
    /// Who may send.
    pub receivers: Receivers,
    /// Where alerts go.
    pub intake: Arc<dyn Intake>,
    /// Who lists what a delivery left out.
    pub listing: Option<Arc<dyn AlertListing>>,
    /// The limits.
    pub limits: AlertLimits,
}

/// What the hooks address needs.
pub struct Hooks {
    /// What senders of push hooks prove to know.
    pub git_secret: Secret<String>,
    /// Asks for a look at the repository; must not block.
    pub fetch_now: Box<dyn Fn() + Send + Sync>,
    /// Who may tell of alerts; `None`: nobody.
    pub alerts: Option<Alerts>,
    /// For signed timestamps.
    pub clock: Arc<dyn Clock>,
    /// The limits of push hooks.
    pub limits: HookLimits,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A sender gets one connection for one request.
const BOUNDS: Bounds = Bounds {
    what: "the hooks address",
    connections: 256,
    of_one_peer: Some(64),
    head: Duration::from_secs(5),
    head_bytes: 64 << 10,
    stall: Duration::from_secs(10),
    single: Some(Duration::from_secs(15)),
    drain: Duration::from_secs(3),
};

/// Serves the hooks address until cancelled, then drains for some seconds.
pub async fn serve(listener: TcpListener, hooks: Hooks, cancel: CancellationToken) {
    edge::serve(listener, routes(hooks), BOUNDS, &cancel).await;
}

struct Shared {
    hooks: Hooks,
    room: Room,
    rate: Rate,
    seen: Mutex<Seen>,
    refusals: Seldom,
}

/// The routes of the hooks address.
fn routes(mut hooks: Hooks) -> Router {
    let clock = Arc::clone(&hooks.clock);
    let alerts = hooks.alerts.take().map(|alerts| Arc::new(alerts::Shared::new(alerts, clock)));
    let mut all = router(hooks);
    if let Some(shared) = alerts {
        all = all.merge(alerts::router(shared));
    }
    all.fallback(nothing_here).method_not_allowed_fallback(wrong_method)
}

async fn nothing_here() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no hook here: push hooks go to POST /hooks/git, alerts to POST /hooks/alerts/NAME",
    )
}

async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take that method")
}

/// The route of push hooks.
fn router(hooks: Hooks) -> Router {
    let limits = hooks.limits;
    let shared = Shared {
        hooks,
        room: Room::new(limits.all_bytes, BOUNDS.connections),
        rate: Rate::new(limits.per_second, limits.burst),
        seen: Mutex::new(Seen::new(limits.remembered)),
        refusals: Seldom::default(),
    };
    Router::new().route("/hooks/git", post(git)).route("/healthz", get(async || "ok\n")).with_state(Arc::new(shared))
}

async fn git(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    match take(&shared, request).await {
        Ok((status, outcome)) => (status, Json(serde_json::json!({ "outcome": outcome }))).into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn take(shared: &Shared, request: Request<Body>) -> Result<(StatusCode, &'static str), Problem> {
    let (parts, body) = request.into_parts();
    if forge(&parts.headers).is_none() {
        return Err(unauthorized(&shared.refusals, Refused("no header of a known forge, and no X-Codeops-Signature")));
    }
    let limits = shared.hooks.limits;
    let of = (&parts.headers, parts.extensions.get());
    let body = shared.room.read("", of, body, limits.body_bytes, limits.body_time).await?;
    let now = shared.hooks.clock.now();
    // To be refused costs one hash of a bounded body and nobody's turn: a stranger's flood keeps no real hook out.
    let delivery = authenticate(&parts.headers, &body.bytes, shared.hooks.git_secret.reveal(), now)
        .map_err(|refused| unauthorized(&shared.refusals, refused))?;
    act(shared, &delivery)
}

/// What was seen before costs no turn either, for whoever once overheard a delivery can send it again. What is too much is not
/// remembered: it comes again.
fn act(shared: &Shared, delivery: &Delivery) -> Result<(StatusCode, &'static str), Problem> {
    if delivery.meaning == Meaning::Unsaid {
        let why = "the secret is right, and no header says what happened, such as X-Gitlab-Event: Push Hook";
        return Err(Problem::new(StatusCode::BAD_REQUEST, why));
    }
    let again = {
        let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let again = seen.knows(&delivery.ids);
        if !again && !shared.rate.admits() {
            return Err(Problem::overload());
        }
        seen.remember(&delivery.ids);
        again
    };
    let answer = match delivery.meaning {
        _ if again => (StatusCode::OK, "duplicate"),
        Meaning::Ping => (StatusCode::OK, "pong"),
        Meaning::Other | Meaning::Unsaid => (StatusCode::OK, "ignored"),
        Meaning::Push => {
            (shared.hooks.fetch_now)();
            (StatusCode::ACCEPTED, "fetching")
        }
    };
    tracing::info!(forge = ?delivery.forge, outcome = answer.1, "push hook");
    Ok(answer)
}

fn unauthorized(refusals: &Seldom, Refused(why): Refused) -> Problem {
    if let Some(more) = refusals.admits(why) {
        tracing::warn!(why, more, "a push hook is refused");
    }
    Problem::new(StatusCode::UNAUTHORIZED, why)
}
