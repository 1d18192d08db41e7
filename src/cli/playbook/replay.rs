//! `playbook replay`: the alerts of a period in a journal, decided again by a working tree; every effect is taken as it
//! ended then. What differs is shown: another playbook, another target, other steps, other people.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use codeops_core::alert::Router;
use codeops_core::model::{Alert, AlertId, Given, GivenAlert, Name, Period, Run, RunState, Rung, Signal, StepOutcome};
use codeops_core::playbook::{Answer, PAGES, Scene, seen, simulate};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Tree;
use crate::cli::compile::number;
use crate::cli::exit::Exit;
use crate::cli::output::{Output, Style};
use crate::cli::table::{plain, table};
use crate::journal::{Record, RunQuery, SignalQuery};
use crate::port::{Clock, SystemClock};
use crate::store::{Archive, Sqlite};

/// How much is read at a time.
const PAGE: usize = 500;

/// The answer as JSON and YAML.
#[derive(Serialize)]
struct Report {
    from: Timestamp,
    alerts: usize,
    /// Alerts whose run is not known: they were kept quiet, left, or told of in a storm's page.
    without_run: usize,
    same: usize,
    different: usize,
    differences: Vec<Difference>,
}

/// Alerts that are answered differently now, in one way.
#[derive(Serialize)]
struct Difference {
    alertname: String,
    /// How many alerts.
    count: usize,
    /// One of them.
    example: AlertId,
    was: Decision,
    now: Decision,
}

/// What was, or would be, decided.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Decision {
    /// The playbook; none when a person is called at once.
    playbook: Option<Name>,
    target: Option<String>,
    policy: Option<Name>,
    /// The steps that are begun.
    steps: Vec<Name>,
}

/// Replays; ends with 2 where something differs and `detailed` asks for it.
pub(super) fn replay(
    tree: &Tree,
    state: &Path,
    since: Period,
    detailed: bool,
    output: &Output,
) -> anyhow::Result<Exit> {
    let archive = Sqlite::open_read(state)?;
    let now = SystemClock.now();
    let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let from = now.checked_sub(SignedDuration::from_millis(millis)).unwrap_or(Timestamp::MIN);
    let alerts = alerts(&archive, from, now)?;
    let runs = runs(&archive, from)?;
    let router = Router::new(&tree.response, tree.fallback.as_ref(), tree.desired.whose());
    let (mut without_run, mut same) = (0, 0);
    let mut found: BTreeMap<(String, Decision, Decision), (usize, AlertId)> = BTreeMap::new();
    for (id, alert) in &alerts {
        let Some(run) = runs.get(id) else {
            without_run += 1;
            continue;
        };
        let (was, is) = (was(run), decided(tree, &router, alert, run));
        if was == is {
            same += 1;
            continue;
        }
        found.entry((alert.name().to_owned(), was, is)).or_insert_with(|| (0, id.clone())).0 += 1;
    }
    let differences: Vec<Difference> = found
        .into_iter()
        .map(|((alertname, was, now), (count, example))| Difference { alertname, count, example, was, now })
        .collect();
    let different = differences.iter().map(|difference| difference.count).sum();
    let report = Report { from, alerts: alerts.len(), without_run, same, different, differences };
    output.value(&report, || text(&report, output))?;
    Ok(if detailed && different > 0 { Exit::Changes } else { Exit::Fine })
}

/// The alerts that were told of, each as it was first.
fn alerts(archive: &Archive, from: Timestamp, to: Timestamp) -> anyhow::Result<BTreeMap<AlertId, Arc<Alert>>> {
    let mut found = BTreeMap::new();
    let mut after = None;
    loop {
        let page = archive.signals_between(&SignalQuery { from, to, after, limit: PAGE })?;
        for entry in page.items {
            let Record::Alerts { signals, .. } = entry.record else { continue };
            for signal in signals {
                if let Signal::Firing(alert) = signal {
                    found.entry(alert.id.clone()).or_insert(alert);
                }
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

/// The run that answered each alert: its own, or the one it joined.
fn runs(archive: &Archive, from: Timestamp) -> anyhow::Result<BTreeMap<AlertId, Arc<Run>>> {
    let mut found = BTreeMap::new();
    let mut before = None;
    loop {
        let page = archive.runs(&RunQuery { before, limit: PAGE, ..RunQuery::default() })?;
        // The last opened come first: what ended before the period answers none of its alerts.
        let mut older = false;
        for run in page.items {
            older = run.ended.as_ref().is_some_and(|(_, _, at)| *at < from);
            for alert in &run.alerts {
                found.insert(alert.clone(), Arc::clone(&run));
            }
        }
        match page.next {
            Some(next) if !older => before = Some(next),
            _ => return Ok(found),
        }
    }
}

fn was(run: &Run) -> Decision {
    let name = &run.playbook.name;
    Decision {
        playbook: (name.as_str() != PAGES).then(|| name.clone()),
        target: run.target.as_ref().map(ToString::to_string),
        policy: run.policy.clone(),
        steps: begun(run),
    }
}

/// The names of the steps that a run has begun, in order.
fn begun(run: &Run) -> Vec<Name> {
    let begun = run.steps.iter().filter(|record| record.attempts > 0);
    begun.filter_map(|record| Some(run.step(record.step)?.name.clone())).collect()
}

/// What the working tree decides, when steps end as they did then.
fn decided(tree: &Tree, router: &Router, alert: &Alert, run: &Run) -> Decision {
    let routed = router.route(&alert.labels);
    let world = tree.world();
    let (playbook, target, policy, rung) = match world.answer(&routed, &seen(alert)) {
        Answer::Runs { playbook, target, policy } => (playbook, target, policy, run.rung),
        Answer::Pages { playbook, policy, .. } => (playbook, None, policy, Rung::Page),
        Answer::Quiet(_) => return Decision { playbook: None, target: None, policy: None, steps: Vec::new() },
    };
    let given = as_it_was(alert, run);
    let scene =
        Scene { world: &world, playbook: &playbook, policy: policy.as_ref(), given: &given, now: run.opened_at, rung };
    let mut steps = simulate(&scene).steps();
    if run.ended.as_ref().is_none_or(|(state, _, _)| matches!(state, RunState::Cancelled | RunState::Skipped)) {
        // It never came to its end: what it had begun is all there is to compare.
        steps.truncate(begun(run).len());
    }
    Decision {
        playbook: (playbook.name.as_str() != PAGES).then(|| playbook.name.clone()),
        target: target.map(|target| target.to_string()),
        policy,
        steps,
    }
}

/// The results of a run's steps, by name; its alert is over after the last one that was done where it ended proven.
fn as_it_was(alert: &Alert, run: &Run) -> Given {
    let done = |record: &&codeops_core::model::StepRecord| matches!(record.outcome, Some(StepOutcome::Done { .. }));
    let named = |record: &codeops_core::model::StepRecord| Some(run.step(record.step)?.name.clone());
    let proven =
        run.ended.as_ref().is_some_and(|(state, _, _)| matches!(state, RunState::Resolved | RunState::Replaced));
    let twice: BTreeSet<Name> = {
        let mut seen = BTreeSet::new();
        begun(run).into_iter().filter(|name| !seen.insert(name.clone())).collect()
    };
    let outcomes = run.steps.iter().filter_map(|record| Some((named(record)?, record.outcome.clone()?)));
    Given {
        alert: Some(GivenAlert { labels: alert.labels.clone(), annotations: alert.annotations.clone() }),
        // A name that both lists have, such as `proof`, ended in two ways: there the clock decides.
        steps: outcomes.filter(|(name, _)| !twice.contains(name)).collect(),
        resolved_after: proven.then(|| run.steps.iter().rfind(|record| done(record)).and_then(named)).flatten(),
        ..Given::default()
    }
}

fn text(report: &Report, output: &Output) -> String {
    let head = format!(
        "{} since {}: {} answered as before, {} differently, {} had no run\n",
        number(report.alerts, "alert"),
        report.from.strftime("%Y-%m-%d %H:%M UTC"),
        report.same,
        report.different,
        report.without_run,
    );
    if report.differences.is_empty() {
        return head;
    }
    let rows: Vec<_> = report
        .differences
        .iter()
        .map(|it| {
            let now = (told(&it.now), Style::Busy);
            vec![plain(&it.alertname), plain(it.count.to_string()), plain(told(&it.was)), now]
        })
        .collect();
    head + "\n" + &table(output, &["ALERT", "COUNT", "WAS", "NOW"], &rows)
}

fn told(decision: &Decision) -> String {
    let Decision { playbook, target, policy, steps } = decision;
    let playbook = playbook.as_ref().map_or("a person at once", Name::as_str);
    let target = target.as_ref().map(|target| format!(" on {target}")).unwrap_or_default();
    let policy = policy.as_ref().map_or("nobody", Name::as_str);
    let steps: Vec<&str> = steps.iter().map(Name::as_str).collect();
    format!("{playbook}{target}: {} (pages {policy})", steps.join(", "))
}
