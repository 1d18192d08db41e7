//! One resource: declared against live, instances, plots, its place, its logs and its history.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use codeops_core::model::{AppSpec, Health, Instance, Kind, Sync};
use futures_util::StreamExt;
use similar::{ChangeTag, TextDiff};

use super::{Shell, page};
use crate::journal::Query;
use crate::port::{LogLine, LogQuery, ResourceView};
use crate::web::Web;
use crate::web::api;
use crate::web::event::Event;
use crate::web::logs;
use crate::web::named;
use crate::web::picture::{Series, graph, plot};
use crate::web::problem::Problem;
use crate::web::redact::Of;
use crate::web::response::{AlertItem, Latch, RunItem, latch_on};
use crate::web::shape::SpecShape;
use crate::web::words::Mark;

const EVENTS: usize = 30;
const LINES: usize = 100;
/// A page does not wait longer than this for log lines.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Template)]
#[template(path = "resource.html")]
struct ResourcePage {
    shell: Shell,
    view: Arc<ResourceView>,
    mark: Mark,
    diff: Vec<Line>,
    changed: bool,
    plots: Vec<(&'static str, String, String)>,
    graph: Option<String>,
    latch: Option<Latch>,
    alerts: Vec<AlertItem>,
    runs: Vec<RunItem>,
    events: Vec<Event>,
    lines: Result<Vec<LogLine>, String>,
}

/// One line of the specification.
struct Line {
    /// `same`, `live` (only there) or `declared` (only in the revision).
    class: &'static str,
    sign: &'static str,
    text: String,
}

impl ResourcePage {
    fn instances(&self) -> &[Instance] {
        self.view.live.as_ref().map_or(&[], |live| &live.instances)
    }

    /// Whether somebody has looked what of it runs.
    fn is_known(&self) -> bool {
        self.view.live.is_some() || (self.view.sync != Sync::Unknown && self.view.health != Health::Unknown)
    }

    fn mark_of(&self, instance: &Instance) -> Mark {
        Mark::of_instance(instance.state, instance.health)
    }

    fn state_of(&self, instance: &Instance) -> String {
        let trial = if instance.on_trial { ", on trial" } else { "" };
        let state = format!("{:?}, {:?}", instance.state, instance.health).to_lowercase();
        state.replace("crashloop", "crash loop") + trial
    }

    fn value(&self, value: &Option<serde_json::Value>) -> String {
        match value {
            None => "nothing".to_owned(),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

/// `/apps/NAME`, or its JSON twin.
pub(in crate::web) async fn resource(
    State(web): State<Arc<Web>>,
    Path((plural, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let kind = Kind::ALL.iter().find(|kind| kind.plural() == plural);
    let kind = kind.ok_or_else(|| Problem::not_found("there is nothing at this address"))?.to_string();
    if api::twin(&headers) {
        return api::resource(State(web), Path((kind, name))).await;
    }
    let view = api::find(&web.board(), &kind, &name)?;
    let shell = Shell::new(&web, "/apps", view.id.to_string());
    let query = Query { resource: Some(view.id.clone()), limit: EVENTS, ..Query::default() };
    let entries = web.page.journal.read(query).await?.items;
    let mut events = Event::story(&entries);
    named::complete(&web, &entries, &mut events).await;
    let (diff, changed) = diff(&view);
    let (alerts, runs) = api::answers_of(&web, &view.id).await?;
    let team = view.team.clone();
    let mut answer = page(&ResourcePage {
        latch: latch_on(&web, &view.id),
        alerts,
        runs,
        mark: Mark::of(&view),
        plots: plots(&web, &view),
        graph: graph(&shell.board, &view),
        lines: newest_lines(&web, &view).await,
        diff,
        changed,
        events,
        view,
        shell,
    })?;
    answer.extensions_mut().insert(Of::team(team));
    Ok(answer)
}

/// The whole specification with what differs marked; `-` is live, `+` is declared.
fn diff(view: &ResourceView) -> (Vec<Line>, bool) {
    let declared = view.desired.as_ref().map(|desired| yaml(&desired.spec)).unwrap_or_default();
    let live = view.live.as_ref().and_then(|live| live.spec.as_ref()).map(yaml);
    let Some(live) = live else {
        let lines = declared.lines().map(|text| Line { class: "same", sign: " ", text: text.to_owned() });
        return (lines.collect(), false);
    };
    let compared = TextDiff::from_lines(&live, &declared);
    let lines: Vec<Line> = compared
        .iter_all_changes()
        .map(|change| {
            let (class, sign) = match change.tag() {
                ChangeTag::Equal => ("same", " "),
                ChangeTag::Delete => ("live", "-"),
                ChangeTag::Insert => ("declared", "+"),
            };
            Line { class, sign, text: change.value().trim_end_matches('\n').to_owned() }
        })
        .collect();
    let changed = lines.iter().any(|line| line.class != "same");
    (lines, changed)
}

fn yaml(spec: &AppSpec) -> String {
    serde_saphyr::to_string(&SpecShape::of(spec)).unwrap_or_else(|error| format!("it cannot be shown: {error}"))
}

/// Title, newest value and picture of each plot that has something to show.
fn plots(web: &Web, view: &ResourceView) -> Vec<(&'static str, String, String)> {
    type Reads = fn(&crate::web::samples::Shown) -> Option<f64>;
    type Shows = fn(f64) -> String;
    let kinds: [(&'static str, Reads, Shows); 4] = [
        ("Requests", |point| point.requests, |value| format!("{value:.1} /s")),
        ("CPU", |point| Some(point.cpu), |value| format!("{:.0} %", value * 100.0)),
        ("Memory", |point| Some(bytes(point.memory_bytes)), |value| format!("{value:.1} MiB")),
        ("Restarts", |point| Some(f64::from(point.restarts)), |value| format!("{value:.0}")),
    ];
    let mut samples = web.samples().of(&view.id);
    // What is gone is in no sum, and its line would end at "now".
    let live = view.live.as_ref().map_or(&[][..], |live| &live.instances);
    samples.retain(|id, _| live.iter().any(|instance| instance.id == *id));
    let mut plots = Vec::new();
    for (title, read, show) in kinds {
        let series: Vec<Series> = samples
            .iter()
            .map(|(id, points)| Series { name: id.to_string(), values: points.iter().filter_map(read).collect() })
            .filter(|series| !series.values.is_empty())
            .collect();
        if !series.is_empty() {
            let newest = series.iter().filter_map(|series| series.values.last()).sum();
            plots.push((title, show(newest), plot(title, &series, show)));
        }
    }
    plots
}

fn bytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1_024).unwrap_or(u32::MAX)) / 1_024.0
}

async fn newest_lines(web: &Web, view: &ResourceView) -> Result<Vec<LogLine>, String> {
    let read = async {
        let query = LogQuery { instance: None, tail: LINES, follow: false };
        let lines = logs::open(web, view, query).await.map_err(|problem| problem.detail)?;
        Ok(lines.take(LINES).collect().await)
    };
    let late =
        |_: tokio::time::error::Elapsed| Err("the provider did not answer in time; reload to try again".to_owned());
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(late)
}
