//! `alerts route`: where an alert would go, by the manifests of a folder. It runs no program and opens no connection.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use codeops_core::alert::{Quiet, Routed, Router, hushed_by, inhibitions, quiet};
use codeops_core::desired::{Compiled, Compiler, Desired};
use codeops_core::model::{Alert, AlertId, Fingerprint, Inhibition, Labels, Name, Playbook, RunCause};
use codeops_core::playbook::{Answer as Answered, Told, World, pin, seen, target_for};
use jiff::Timestamp;
use serde::Serialize;

use super::args::RouteArgs;
use super::exit::{Coded, Exit};
use super::output::{Output, Style, printable};
use super::reached::{self, NotTaken, StepPage};
use super::receivers::Receivers;
use super::{compile, options, validate};
use crate::port::{Clock, SystemClock};

/// The answer as JSON and YAML.
#[derive(Serialize)]
struct Report {
    labels: Labels,
    #[serde(flatten)]
    routed: Shown,
    /// What would keep it quiet now.
    quiet: Option<String>,
    /// The alerts that would keep it quiet while they fire.
    inhibited_by: Vec<String>,
    /// Who would be told now, in turn.
    told: Vec<Person>,
    /// Whom steps page that name a policy of their own.
    step_pages: Vec<StepPage>,
    /// When it is the run's own policy that is told.
    #[serde(skip)]
    when_told: &'static str,
    #[serde(skip)]
    people: Vec<Told>,
    warnings: Vec<String>,
    /// Whether only a person answers it.
    #[serde(skip)]
    pages: bool,
    /// Whether it reaches nobody and nothing.
    #[serde(skip)]
    lost: bool,
}

#[derive(Serialize)]
struct Shown {
    taken: Vec<String>,
    playbooks: Vec<Answer>,
    /// Why none of those that match would run, and a person is called at once.
    only_pages: Option<String>,
    /// Those that match and may not answer it.
    not_taken: Vec<NotTaken>,
    policy: Option<Name>,
    group_by: Vec<String>,
    mute: Vec<Name>,
}

/// One playbook that answers it.
#[derive(Serialize)]
struct Answer {
    playbook: Name,
    team: String,
    target: Option<String>,
    steps: Vec<String>,
}

#[derive(Serialize)]
struct Person {
    notified: String,
    receiver: Name,
    channel: &'static str,
    after_seconds: i64,
}

impl Person {
    fn in_text(&self) -> String {
        let after =
            if self.after_seconds == 0 { "at once".to_owned() } else { format!("after {} s", self.after_seconds) };
        let by = format!("{} ({}, {after})", self.receiver, self.channel);
        if self.notified.starts_with("oncall/") { format!("{} → {by}", self.notified) } else { by }
    }
}

/// Prints where it goes; ends with 1 where that is nowhere.
pub(crate) fn route(args: &RouteArgs, output: &Output) -> anyhow::Result<Exit> {
    let (labels, dir) = read(args)?;
    let settings = match &args.settings {
        Some(file) => Some(options::read_settings(Some(file))?),
        None => None,
    };
    let files = validate::read(&dir, settings.as_ref())?;
    let context = compile::context(args.environment.clone(), settings.as_ref());
    let fallback = context.fallback.clone();
    let Compiled { desired, diagnostics, .. } = Compiler::default().compile(&files, &context);
    let receivers = Receivers::of(settings.as_ref());
    let by = (args.receiver.as_ref(), &receivers);
    let mut report = report(&desired, fallback.as_ref(), labels, by, SystemClock.now())?;
    let pages = &report.step_pages;
    let all: Vec<Told> = report.people.iter().chain(pages.iter().flat_map(|page| &page.people)).cloned().collect();
    report.warnings.extend(reached::barred(&all, &desired.response, &context.teams));
    let (policy, response, now) = (report.routed.policy.as_ref(), &desired.response, SystemClock.now());
    let nobody = reached::unreachable(policy, pages, fallback.as_ref(), response, &context.teams, now);
    report.lost |= report.pages && nobody.is_some();
    report.warnings.extend(nobody);
    if !diagnostics.is_empty() {
        let counted = compile::count(&diagnostics);
        report.warnings.push(format!("the manifests have {counted}: `codeops validate` shows them"));
    }
    output.value(&report, || text(&report, output))?;
    Ok(if report.lost { Exit::Failed } else { Exit::Fine })
}

/// What has a `=` is a label, the last word without one the folder.
fn read(args: &RouteArgs) -> anyhow::Result<(Labels, PathBuf)> {
    let mut labels = Labels::new();
    let mut dir = None;
    for word in &args.labels {
        match word.split_once('=') {
            Some((name, value)) if is_label(name) => drop(labels.insert(name.to_owned(), value.to_owned())),
            Some((name, _)) => {
                return Err(Coded::usage(format!("`{name}` is no name of a label: letters, digits and `_`")));
            }
            None if dir.is_none() => dir = Some(PathBuf::from(word)),
            None => return Err(Coded::usage(format!("`{word}` is neither NAME=VALUE nor the only folder"))),
        }
    }
    if labels.is_empty() {
        return Err(Coded::usage("say the alert's labels, such as alertname=AppDown app=shop"));
    }
    let dir = dir.or_else(|| args.repo.as_ref().map(PathBuf::from)).unwrap_or_else(|| PathBuf::from("."));
    if dir.to_string_lossy().contains("://") {
        return Err(Coded::usage(format!("{} is an address: name a folder that it is checked out in", dir.display())));
    }
    Ok((labels, dir))
}

fn is_label(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn report(
    desired: &Desired,
    fallback: Option<&Name>,
    labels: Labels,
    (receiver, receivers): (Option<&Name>, &Receivers),
    now: Timestamp,
) -> anyhow::Result<Report> {
    let teams = receivers.teams(receiver)?;
    let response = Arc::new(desired.response.clone());
    let router = Router::new(&response, fallback, desired.whose());
    let routed = router.route(&labels);
    let alert = Alert {
        id: AlertId { source: nobody(), fingerprint: Fingerprint::of(&labels), starts_at: now },
        receiver: receiver.cloned().unwrap_or_else(nobody),
        labels,
        annotations: Labels::new(),
        url: None,
        expires_at: None,
    };
    let nothing = BTreeMap::new();
    let quiet = quiet(&alert, &routed, &Quiet::new(&router, &nothing, &receivers.limited), now);
    let inhibited_by: Vec<String> = inhibitions(&router, &alert.labels, hushed_by(routed.owner.as_ref(), teams))
        .into_iter()
        .map(|it| inhibitor(it, &alert.labels))
        .collect();
    let mut warnings = Vec::new();
    let missing = routed.playbooks.iter().filter(|name| !response.playbooks.contains_key(*name));
    warnings.extend(missing.map(|name| format!("playbook {name} does not exist, or has a mistake")));
    let world = World {
        response: &response,
        resources: &desired.resources,
        reach: &desired.reach,
        teams: &desired.teams,
        fallback,
        resolve_delay: desired.repository.resolve_delay(),
    };
    let seen = seen(&alert);
    let answering = world.may_answer(&routed, teams);
    let not_taken = reached::not_taken(&answering);
    if answering.may.is_empty() && !not_taken.is_empty() {
        warnings.push(reached::unanswered(&answering.why));
    }
    let mut playbooks: Vec<Answer> =
        answering.may.iter().map(|playbook| answer(desired, playbook, &alert.labels, &mut warnings)).collect();
    // As the daemon does: where no route says who, the team of the playbook that answers.
    let answered = world.answer(&routed, &seen, teams);
    warnings.extend(receiver.is_none().then(|| receivers.unknown(&world, &routed, &seen)).flatten());
    let only_pages = match &answered {
        Answered::Pages { why, .. } if !playbooks.is_empty() => Some(why.clone()),
        Answered::Held { why, .. } => Some(why.clone()),
        _ => None,
    };
    if only_pages.is_some() {
        playbooks.clear();
    }
    let pages = !matches!(answered, Answered::Runs { .. });
    let runs = match &answered {
        Answered::Runs { playbook, target, .. } => {
            let cause = RunCause::Alert { alert: alert.id.clone() };
            Some(pin(playbook, &cause, target.as_ref(), world.resolve_delay))
        }
        _ => None,
    };
    let policy = match answered {
        Answered::Runs { policy, .. } | Answered::Pages { policy, .. } | Answered::Held { policy, .. } => policy,
    };
    let people = reached::people(policy.as_ref(), fallback, &response, now);
    let of_steps = |program: &Arc<Playbook>| reached::step_pages(program, policy.as_ref(), fallback, &response, now);
    let step_pages = runs.as_ref().map(of_steps).unwrap_or_default();
    let when_told = runs.as_ref().map_or("", |program| reached::when_its_own(program, policy.as_ref()));
    let all: Vec<Told> = people.iter().chain(step_pages.iter().flat_map(|page| &page.people)).cloned().collect();
    warnings.extend(reached::lost(!pages, policy.as_ref(), &response, &all));
    let lost = pages && people.is_empty();
    let told = people.iter().map(person);
    let Routed { group_by, mute, taken, .. } = routed;
    let mute = mute.into_iter().map(|(_, name)| name).collect();
    let shown = Shown { taken, playbooks, only_pages, not_taken, policy, group_by, mute };
    let told = told.collect();
    let labels = alert.labels;
    Ok(Report {
        labels,
        routed: shown,
        quiet,
        inhibited_by,
        told,
        when_told,
        step_pages,
        people,
        warnings,
        pages,
        lost,
    })
}

fn person(told: &Told) -> Person {
    Person {
        notified: told.notified.to_string(),
        receiver: told.receiver.clone(),
        channel: told.channel.word(),
        after_seconds: told.after.as_secs(),
    }
}

/// Which alerts a rule makes keep one with these labels quiet.
fn inhibitor(rule: &Inhibition, labels: &Labels) -> String {
    let own = |name: &String| format!("{name}=\"{}\"", labels.get(name).map_or("", String::as_str));
    let all: Vec<String> = rule.source.iter().map(ToString::to_string).chain(rule.equal.iter().map(own)).collect();
    all.join(", ")
}

fn nobody() -> Name {
    Name::new("route").expect("a literal name")
}

fn answer(desired: &Desired, playbook: &Playbook, labels: &Labels, warnings: &mut Vec<String>) -> Answer {
    let alert = serde_json::json!({"labels": labels, "annotations": {}});
    let target = playbook.target.as_ref().map(|template| target_for(template, &alert));
    let target = match target {
        Some(Ok(id)) => {
            if !desired.resources.contains_key(&id) {
                warnings.push(format!("playbook {}: its target {id} is not declared, so it only pages", playbook.name));
            }
            Some(id.to_string())
        }
        Some(Err(why)) => {
            warnings.push(format!("playbook {}: its target cannot be told, so it only pages: {why}", playbook.name));
            None
        }
        None => None,
    };
    let steps = playbook.steps.iter().map(|step| format!("{} ({})", step.name, step.does.word()));
    Answer { playbook: playbook.name.clone(), team: playbook.team.to_string(), target, steps: steps.collect() }
}

fn text(report: &Report, output: &Output) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str, style: Style| {
        text += &format!("{label:<10}{}\n", output.paint(style, printable(value)));
    };
    let pairs: Vec<String> = report.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    line("alert", &pairs.join(" "), Style::Bold);
    for taken in &report.routed.taken {
        line("route", taken, Style::Plain);
    }
    for answer in &report.routed.playbooks {
        let on = answer.target.as_ref().map(|target| format!(" on {target}")).unwrap_or_default();
        line("playbook", &format!("{}{on}: {}", answer.playbook, answer.steps.join(", ")), Style::Good);
    }
    if let Some(why) = &report.routed.only_pages {
        line("playbook", &format!("none, a person is called at once: {why}"), Style::Busy);
    }
    for not_taken in &report.routed.not_taken {
        line("not taken", &format!(" {not_taken}"), Style::Dim);
    }
    for page in &report.step_pages {
        let by = format!("{}, by the step {} of playbook {}", page.policy, page.step, page.playbook);
        line("policy", &by, Style::Plain);
        for told in &page.people {
            line("told", &person(told).in_text(), Style::Plain);
        }
    }
    if let Some(policy) = &report.routed.policy {
        line("policy", &format!("{policy}{}", report.when_told), Style::Plain);
    }
    for person in &report.told {
        line("told", &person.in_text(), Style::Plain);
    }
    if !report.routed.group_by.is_empty() {
        line("grouped by", &format!(" {}", report.routed.group_by.join(", ")), Style::Plain);
    }
    if let Some(why) = &report.quiet {
        line("quiet", &format!("{why}: now it would start nothing"), Style::Busy);
    }
    for source in &report.inhibited_by {
        line("inhibited", &format!("while an alert with {source} fires: then it would start nothing"), Style::Dim);
    }
    for warning in &report.warnings {
        line("warning", warning, Style::Bad);
    }
    text
}
