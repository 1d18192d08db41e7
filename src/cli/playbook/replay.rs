//! `playbook replay`: the alerts of a period in a journal, decided again by a working tree; every effect is taken as it
//! ended then. What differs is shown: another playbook, another target, other steps, other people, or nothing where an alert
//! was answered, and the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use codeops_core::alert::{Quiet, Router, quiet};
use codeops_core::model::{Alert, AlertId, Given, GivenAlert, Name, Period, Run, RunState, Rung, StepOutcome};
use codeops_core::playbook::{Answer, PAGES, Scene, seen, simulate};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Tree;
use super::past::{Moment, Past, Was};
use crate::cli::compile::number;
use crate::cli::exit::Exit;
use crate::cli::output::{Output, Style};
use crate::cli::table::{plain, table};
use crate::port::{Clock, SystemClock};
use crate::store::Sqlite;

/// The answer as JSON and YAML.
#[derive(Serialize)]
struct Report {
    from: Timestamp,
    alerts: usize,
    /// Alerts without a decision that a tree makes: told of in a storm's page, over before their turn, or latched.
    not_compared: usize,
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
    /// Muted, in maintenance, inhibited, or its target takes no playbook now: nothing is done.
    quiet: bool,
    /// The playbook; none when a person is called at once.
    playbook: Option<Name>,
    target: Option<String>,
    policy: Option<Name>,
    /// The steps that are begun; none where the alert had no run then, for nobody knows how they would have ended.
    steps: Option<Vec<Name>>,
}

impl Decision {
    const QUIET: Self = Self { quiet: true, playbook: None, target: None, policy: None, steps: None };
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
    let past = Past::read(&archive, from, now)?;
    let router = Router::new(&tree.response, tree.fallback.as_ref(), tree.desired.whose());
    let (mut not_compared, mut same) = (0, 0);
    let mut found: BTreeMap<(String, Decision, Decision), (usize, AlertId)> = BTreeMap::new();
    let decide = |moment: &Moment, firing: &Quiet<'_>| {
        let alert = &moment.alert;
        let (was, is) = match &moment.was {
            Was::Run(run) => (was(run), decided(tree, &router, alert, Some(run.as_ref()), firing, moment.at)),
            Was::Quiet => (Decision::QUIET, decided(tree, &router, alert, None, firing, moment.at)),
            Was::Neither => {
                not_compared += 1;
                return;
            }
        };
        if was == is {
            same += 1;
            return;
        }
        let key = (alert.name().to_owned(), was, is);
        found.entry(key).or_insert_with(|| (0, alert.id.clone())).0 += 1;
    };
    let alerts = past.each(&router, decide);
    let differences: Vec<Difference> = found
        .into_iter()
        .map(|((alertname, was, now), (count, example))| Difference { alertname, count, example, was, now })
        .collect();
    let different = differences.iter().map(|difference| difference.count).sum();
    let report = Report { from, alerts, not_compared, same, different, differences };
    output.value(&report, || text(&report, output))?;
    Ok(if detailed && different > 0 { Exit::Changes } else { Exit::Fine })
}

fn was(run: &Run) -> Decision {
    let name = &run.playbook.name;
    Decision {
        quiet: false,
        playbook: (name.as_str() != PAGES).then(|| name.clone()),
        target: run.target.as_ref().map(ToString::to_string),
        policy: run.policy.clone(),
        steps: Some(begun(run)),
    }
}

/// The names of the steps that a run has begun, in order.
fn begun(run: &Run) -> Vec<Name> {
    let begun = run.steps.iter().filter(|record| record.attempts > 0);
    begun.filter_map(|record| Some(run.step(record.step)?.name.clone())).collect()
}

/// What the working tree decides at a moment, when steps end as they did then.
fn decided(
    tree: &Tree,
    router: &Router,
    alert: &Alert,
    run: Option<&Run>,
    firing: &Quiet<'_>,
    at: Timestamp,
) -> Decision {
    let routed = router.route(&alert.labels);
    if quiet(alert, &routed, firing, at).is_some() {
        return Decision::QUIET;
    }
    let world = tree.world();
    let (playbook, target, policy, pages) = match world.answer(&routed, &seen(alert)) {
        Answer::Runs { playbook, target, policy } => (playbook, target, policy, false),
        Answer::Pages { playbook, policy, .. } => (playbook, None, policy, true),
        Answer::Quiet(_) => return Decision::QUIET,
    };
    let steps = run.map(|run| {
        let given = as_it_was(alert, run);
        let (policy, rung) = (policy.as_ref(), if pages { Rung::Page } else { run.rung });
        let scene = Scene { world: &world, playbook: &playbook, policy, given: &given, now: run.opened_at, rung };
        let mut steps = simulate(&scene).steps();
        if run.ended.as_ref().is_none_or(|(state, _, _)| matches!(state, RunState::Cancelled | RunState::Skipped)) {
            // It never came to its end: what it had begun is all there is to compare.
            steps.truncate(begun(run).len());
        }
        steps
    });
    Decision {
        quiet: false,
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
        "{} since {}: {} answered as before, {} differently, {} not compared\n",
        number(report.alerts, "alert"),
        report.from.strftime("%Y-%m-%d %H:%M UTC"),
        report.same,
        report.different,
        report.not_compared,
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
    let Decision { quiet, playbook, target, policy, steps } = decision;
    if *quiet {
        return "kept quiet".to_owned();
    }
    let playbook = playbook.as_ref().map_or("a person at once", Name::as_str);
    let target = target.as_ref().map(|target| format!(" on {target}")).unwrap_or_default();
    let policy = policy.as_ref().map_or("nobody", Name::as_str);
    let steps: Vec<&str> = steps.iter().flatten().map(Name::as_str).collect();
    let steps = if steps.is_empty() { String::new() } else { format!(": {}", steps.join(", ")) };
    format!("{playbook}{target}{steps} (pages {policy})")
}
