//! `GET /api/v1/status`: how everything stands and how far this answer can be trusted.

use std::collections::BTreeMap;

use codeops_core::desired::Diagnostic;
use codeops_core::model::ProviderName;
use jiff::Timestamp;
use serde::Serialize;

use crate::port::{Board, Overall, ProviderView, RevisionView, SourceView};
use crate::web::response::{self, AlertItem, Failing, Latch, Standing, Trouble};
use crate::web::words::{Mark, headline, stale};
use crate::web::{Web, team};

/// Alerts that reached nobody and are told of one by one.
const UNHEARD: usize = 5;

/// The whole, in short.
#[derive(Serialize)]
pub(super) struct Status<'a> {
    mark: Mark,
    headline: String,
    ready: bool,
    broken: Option<&'a str>,
    stale: Option<String>,
    overall: Overall,
    holds: usize,
    /// Those that are kept quiet left out.
    alerts_firing: usize,
    runs_active: usize,
    pages_open: usize,
    /// Firing alerts that reached nobody, and the newest of them.
    alerts_unheard: usize,
    unheard: Vec<AlertItem>,
    /// What came back too often: no playbook tries anything on it.
    latched: Vec<Latch>,
    /// Receivers that are silent, or may bring no more alerts.
    receivers: Vec<Trouble>,
    /// Scheduled playbooks whose last run failed.
    failing: Vec<Failing>,
    owner: Option<&'a str>,
    revision: Option<RevisionView>,
    source: &'a SourceView,
    providers: &'a BTreeMap<ProviderName, ProviderView>,
    fresh_at: Option<Timestamp>,
    now: Timestamp,
    pass_micros: u64,
    observe_only: Option<&'a str>,
    freeze: Option<&'a str>,
    /// Why the settings' file cannot be used, if so.
    settings_error: Option<String>,
    version: &'a str,
    diagnostics: &'a [Diagnostic],
}

impl<'a> Status<'a> {
    pub(super) fn of(web: &'a Web, board: &'a Board) -> Self {
        let (now, standing) = (web.now(), Standing::of(&web.page.journal, web.now()));
        Self {
            mark: Mark::overall(board, &standing),
            headline: headline(board, &standing),
            ready: board.ready,
            broken: board.broken.as_deref(),
            stale: stale(board, now, web.page.config.stale_after),
            overall: board.overall(),
            holds: board.holds.len(),
            alerts_firing: standing.answered + standing.alone,
            runs_active: standing.runs,
            pages_open: standing.pages,
            alerts_unheard: standing.unheard,
            unheard: if standing.unheard > 0 { response::unheard(web, UNHEARD) } else { Vec::new() },
            latched: response::latches(web),
            receivers: response::troubles(web),
            failing: response::failing(web),
            owner: board.owner.as_deref(),
            revision: board.revision.as_ref().map(|revision| team::revision(web, revision)),
            source: &board.source,
            providers: &board.providers,
            fresh_at: board.fresh_at,
            now,
            pass_micros: board.pass_micros,
            observe_only: board.observe_only.as_deref(),
            freeze: board.freeze.as_deref(),
            settings_error: web.page.settings.error(),
            version: &web.page.config.version,
            diagnostics: &board.diagnostics,
        }
    }
}
