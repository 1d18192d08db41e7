//! `/alerts`, `/runs` and `/runs/ID`: what monitoring told of, and what was done about it.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use codeops_core::model::{AlertId, AlertState, Part, RunId, RunState};
use serde_json::Value;

use super::lists::paging;
use super::{Shell, page};
use crate::journal::{PageQuery, Query as Entries};
use crate::web::Web;
use crate::web::api::{self, Paging};
use crate::web::event::Event;
use crate::web::named;
use crate::web::picture::bar;
use crate::web::problem::Problem;
use crate::web::redact::Of;
use crate::web::response::{self, AlertItem, Extent, PageItem, RunItem, StepItem};

/// Alerts or runs on one page.
const ITEMS: usize = 50;
/// Entries of a run's log, and calls to people that it made.
const LOG: usize = 200;
const PAGES: usize = 10;

type Asked = Result<Query<Paging>, QueryRejection>;

#[derive(Template)]
#[template(path = "alerts.html")]
struct AlertsPage {
    shell: Shell,
    items: Vec<AlertItem>,
    next: Option<String>,
    state: String,
    target: String,
}

impl AlertsPage {
    fn states(&self) -> Vec<&'static str> {
        api::ALERT_STATES.into_iter().map(AlertState::word).collect()
    }
}

/// Alerts, the last that came in first.
pub(in crate::web) async fn alerts(
    State(web): State<Arc<Web>>,
    asked: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if api::twin(&headers) {
        return Ok(api::alerts(State(web), asked).await?.into_response());
    }
    let paging = paging(asked)?;
    let listed = api::alerts_page(&web, &paging, ITEMS).await?;
    page(&AlertsPage {
        shell: Shell::new(&web, "/alerts", "Alerts"),
        items: listed.items,
        next: listed.next,
        state: paging.state.unwrap_or_default(),
        target: paging.target.unwrap_or_default(),
    })
}

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsPage {
    shell: Shell,
    items: Vec<RunItem>,
    next: Option<String>,
    state: String,
    playbook: String,
    target: String,
}

impl RunsPage {
    fn states(&self) -> Vec<&'static str> {
        api::RUN_STATES.into_iter().map(RunState::word).collect()
    }
}

/// Runs, the last opened first.
pub(in crate::web) async fn runs(
    State(web): State<Arc<Web>>,
    asked: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if api::twin(&headers) {
        return Ok(api::runs(State(web), asked).await?.into_response());
    }
    let paging = paging(asked)?;
    let listed = api::runs_page(&web, &paging, ITEMS).await?;
    page(&RunsPage {
        shell: Shell::new(&web, "/runs", "Runs"),
        items: listed.items,
        next: listed.next,
        state: paging.state.unwrap_or_default(),
        playbook: paging.playbook.unwrap_or_default(),
        target: paging.target.unwrap_or_default(),
    })
}

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    shell: Shell,
    /// Each step with its bar and how long it took.
    steps: Vec<(StepItem, Option<String>, Option<String>)>,
    run: RunItem,
    children: Vec<RunId>,
    pages: Vec<PageItem>,
    events: Vec<Event>,
}

impl RunPage {
    /// Whether `otherwise` begins with this step.
    fn turns(&self, index: &usize) -> bool {
        let part = |index: usize| self.steps.get(index).map(|(step, ..)| step.part);
        part(*index) == Some(Part::Otherwise)
            && index.checked_sub(1).and_then(part).is_none_or(|before| before == Part::Steps)
    }

    fn pairs(&self, labels: &Value) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        labels.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
    }
}

/// One run: its steps in time, their outputs and evidence, whom it called, its log.
pub(in crate::web) async fn run(
    State(web): State<Arc<Web>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if api::twin(&headers) {
        return Ok(api::run(State(web), Path(id)).await?.into_response());
    }
    let known = api::known_run(&web, &id).await?;
    let query = PageQuery { run: Some(known.id), before: None, limit: PAGES };
    let (pages, _) = response::pages(&web, query, Extent::Whole).await?;
    let log = Entries { run: Some(known.id), limit: LOG, ..Entries::default() };
    let entries = web.page.journal.read(log).await?.items;
    let mut run = response::of_run(&web, &known);
    let shell = Shell::new(&web, "/runs", format!("Run {}", run.id));
    let steps = std::mem::take(&mut run.steps).into_iter().map(|step| {
        let (bar, took) = (bar(&run, &step, shell.now), step.took(&run, shell.now));
        (step, bar, took)
    });
    let names = |alert: &AlertId| named::alert_name(&web, &known, alert);
    let mut answer = page(&RunPage {
        steps: steps.collect(),
        children: response::children(&web, &known).await?,
        events: entries.iter().map(|entry| Event::of_run(entry, &known, &names)).collect(),
        pages,
        run,
        shell,
    })?;
    answer.extensions_mut().insert(Of::team(Some(known.authority.clone())));
    Ok(answer)
}
