//! `playbook replay`: the alerts of a period in a journal, decided again by a working tree; every effect is taken as it
//! ended then. What differs is shown: another playbook, another target, other steps, other people, or nothing where an alert
//! was answered, and the other way round.

use std::collections::BTreeMap;
use std::path::Path;

use codeops_core::alert::{Quiet, Router};
use codeops_core::model::{AlertId, Name, Period};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Tree;
use super::again::{Again, Decision, again};
use super::past::{Moment, Past};
use crate::cli::compile::number;
use crate::cli::exit::Exit;
use crate::cli::output::{Output, Style, printable};
use crate::cli::table::{plain, table};
use crate::port::{Clock, SystemClock};
use crate::store::Sqlite;

/// The answer as JSON and YAML.
#[derive(Serialize)]
struct Report {
    from: Timestamp,
    alerts: usize,
    /// Alerts without a decision that a tree makes: told of in a storm's page, over before their turn, or kept quiet by
    /// another run.
    not_compared: usize,
    /// How many of them for which reason.
    not_compared_why: BTreeMap<String, usize>,
    /// Alerts whose steps cannot be known offline, for the health of their target is assumed; all else of them is the same.
    assumed: usize,
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
    let (mut assumed, mut same) = (0, 0);
    let mut not_compared_why: BTreeMap<String, usize> = BTreeMap::new();
    let mut found: BTreeMap<(String, Decision, Decision), (usize, AlertId)> = BTreeMap::new();
    let decide = |moment: &Moment, firing: &Quiet<'_>| match again(tree, &router, moment, firing) {
        Again::Same => same += 1,
        Again::Assumed => assumed += 1,
        Again::NotCompared(why) => *not_compared_why.entry(why).or_default() += 1,
        Again::Differs(decisions) => {
            let (was, is) = *decisions;
            let key = (moment.alert.name().to_owned(), was, is);
            found.entry(key).or_insert_with(|| (0, moment.alert.id.clone())).0 += 1;
        }
    };
    let alerts = past.each(&router, &tree.receivers.limited, decide);
    let differences: Vec<Difference> = found
        .into_iter()
        .map(|((alertname, was, now), (count, example))| Difference { alertname, count, example, was, now })
        .collect();
    let different = differences.iter().map(|difference| difference.count).sum();
    let not_compared = not_compared_why.values().sum();
    let report = Report { from, alerts, not_compared, not_compared_why, assumed, same, different, differences };
    output.value(&report, || text(&report, output))?;
    Ok(if detailed && different > 0 { Exit::Changes } else { Exit::Fine })
}

fn text(report: &Report, output: &Output) -> String {
    let mut head = format!(
        "{} since {}: {} answered as before, {} differently, {} not compared\n",
        number(report.alerts, "alert"),
        report.from.strftime("%Y-%m-%d %H:%M UTC"),
        report.same,
        report.different,
        report.not_compared,
    );
    for (why, count) in &report.not_compared_why {
        head += &format!("{} not compared: {}\n", number(*count, "alert"), printable(why));
    }
    if report.assumed > 0 {
        let steps = "take the same way, with steps that cannot be known offline: health was assumed";
        head += &format!("{} {steps}\n", number(report.assumed, "alert"));
    }
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
    let Decision { quiet, playbook, target, policy, steps, does } = decision;
    if *quiet {
        return "kept quiet".to_owned();
    }
    let playbook = playbook.as_ref().map_or("a person at once", Name::as_str);
    let target = target.as_ref().map(|target| format!(" on {target}")).unwrap_or_default();
    let policy = policy.as_ref().map_or("nobody", Name::as_str);
    // Whom its steps page stands beside them.
    let pages = match does.iter().flatten().any(|does| does.starts_with("page ")) {
        true => String::new(),
        false => format!(" (pages {policy})"),
    };
    let steps: Vec<String> = steps
        .iter()
        .flatten()
        .zip(does.iter().flatten())
        .map(|(name, does)| if name.as_str() == does { does.clone() } else { format!("{name} ({does})") })
        .collect();
    let steps = if steps.is_empty() { String::new() } else { format!(": {}", steps.join(", ")) };
    format!("{playbook}{target}{steps}{pages}")
}
