//! `/`: is everything fine, what is not and why, what changed, can this be trusted.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use codeops_core::desired::Severity;

use super::{Shell, page};
use crate::journal::Query;
use crate::port::{ResourceView, RevisionView};
use crate::web::api::{self, HoldItem, Paging};
use crate::web::event::Event;
use crate::web::named;
use crate::web::picture::timeline;
use crate::web::problem::Problem;
use crate::web::response::{self, AlertItem, Failing, PageItem, RunItem, Standing, Week};
use crate::web::words::Mark;
use crate::web::{Web, team};

/// Exceptions shown in full; the rest are in the grid.
const EXCEPTIONS: usize = 40;
/// Events on the timeline, and of those in words.
const EVENTS: usize = 240;
const RECENT: usize = 12;

/// Mistakes of the revision that are shown: a revision may hold many thousand.
const MISTAKES: usize = 100;

/// Firing alerts, runs and open pages shown in full.
const ANSWERS: usize = 12;

/// Resources with how they stand.
type Marked = Vec<(Mark, Arc<ResourceView>)>;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    shell: Shell,
    revision: Option<RevisionView>,
    exceptions: Marked,
    more: usize,
    holds: Vec<HoldItem>,
    firing: Vec<AlertItem>,
    runs: Vec<RunItem>,
    calls: Vec<PageItem>,
    /// Scheduled playbooks whose last run failed.
    failing: Vec<Failing>,
    /// How many more firing alerts and runs there are, and how many alerts are kept quiet.
    standing: Standing,
    week: Week,
    teams: Vec<(String, Marked)>,
    events: Vec<Event>,
    timeline: Option<String>,
}

/// The overview, or `/api/v1/status` for those who want JSON.
pub(in crate::web) async fn overview(State(web): State<Arc<Web>>, headers: HeaderMap) -> Result<Response, Problem> {
    if api::twin(&headers) {
        return Ok(api::status(State(web)).await);
    }
    let shell = Shell::new(&web, "/", "Overview");
    let (exceptions, more) = exceptions(&shell);
    let holds = api::holds_page(&web, &Paging::default()).await?.items;
    let entries = web.page.journal.read(Query { limit: EVENTS, ..Query::default() }).await?.items;
    let mut events = Event::story(&entries);
    named::complete(&web, &entries, &mut events).await;
    let timeline = timeline(&events, shell.now);
    events.truncate(RECENT);
    page(&Overview {
        revision: shell.board.revision.as_ref().map(|revision| team::revision(&web, revision)),
        firing: response::firing(&web, ANSWERS),
        runs: response::active(&web, ANSWERS),
        calls: response::open_pages(&web, ANSWERS).await,
        failing: response::failing(&web),
        standing: Standing::of(&web.page.journal, web.now()),
        week: web.tally.week(shell.now),
        teams: teams(&shell),
        exceptions,
        more,
        holds,
        events,
        timeline,
        shell,
    })
}

/// What is not as it should be, the worst first, and how many more there are.
fn exceptions(shell: &Shell) -> (Marked, usize) {
    let views = shell.board.resources.values();
    let mut all: Vec<_> = views.map(|view| (Mark::of(view), view)).filter(|(mark, _)| is_exception(*mark)).collect();
    all.sort_by_key(|(mark, view)| (*mark, &view.id));
    let more = all.len().saturating_sub(EXCEPTIONS);
    (all.into_iter().take(EXCEPTIONS).map(|(mark, view)| (mark, Arc::clone(view))).collect(), more)
}

fn is_exception(mark: Mark) -> bool {
    !matches!(mark, Mark::Fine | Mark::Suspended)
}

fn teams(shell: &Shell) -> Vec<(String, Marked)> {
    let mut teams: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for view in shell.board.resources.values() {
        let team = view.team.as_ref().map_or_else(|| "no team".to_owned(), ToString::to_string);
        teams.entry(team).or_default().push((Mark::of(view), Arc::clone(view)));
    }
    teams.into_iter().collect()
}
