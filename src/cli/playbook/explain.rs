//! `playbook explain`: what an alert with these labels would start, and why.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use codeops_core::alert::{Quiet, Router, quiet};
use codeops_core::model::{
    Alert, AlertId, Fingerprint, Given, GivenAlert, Labels, Name, Part, Playbook, PlaybookStep, Run, Rung,
};
use codeops_core::playbook::{Answer, Preview, Scene, Told, preview, seen};
use jiff::Timestamp;
use serde::Serialize;

use super::{Tree, text};
use crate::cli::exit::{Coded, Exit};
use crate::cli::output::{Output, Style};
use crate::cli::reached::{self, NotTaken, StepPage};
use crate::port::{Clock, SystemClock};

/// The answer as JSON and YAML.
#[derive(Serialize)]
struct Explained {
    labels: Labels,
    /// The routes it takes.
    routes: Vec<String>,
    /// Every playbook that answers; the first one that may act runs.
    playbooks: Vec<Name>,
    /// Those of them that may not.
    not_taken: Vec<NotTaken>,
    /// Why it would start nothing now.
    quiet: Option<String>,
    /// Why no playbook answers, and only a person is called.
    only_pages: Option<String>,
    playbook: Option<Name>,
    target: Option<String>,
    policy: Option<Name>,
    /// Who is paged, in order, as things are now.
    told: Vec<Person>,
    /// Whom steps page that name a policy of their own.
    step_pages: Vec<ByStep>,
    /// When it is the run's own policy that is told.
    #[serde(skip)]
    when_told: &'static str,
    steps: Vec<Step>,
    warnings: Vec<String>,
    /// Whether it reaches nobody and nothing.
    #[serde(skip)]
    lost: bool,
}

/// One who is paged.
#[derive(Serialize)]
struct Person {
    who: String,
    receiver: Name,
    channel: String,
    after: String,
}

/// A step's own page.
#[derive(Serialize)]
struct ByStep {
    #[serde(flatten)]
    page: StepPage,
    told: Vec<Person>,
}

/// One step.
#[derive(Serialize)]
struct Step {
    part: Part,
    name: Name,
    /// Whether the manifest says it, or it is there by default.
    by_default: bool,
    #[serde(rename = "if")]
    condition: Option<String>,
    /// Whether that holds; none where it is not known before the run.
    holds: Option<bool>,
    does: String,
}

/// Labels as `NAME=VALUE`, and the folder: the one word without `=`.
pub(super) fn split(words: &[String]) -> anyhow::Result<(Labels, PathBuf)> {
    let (mut labels, mut folder) = (Labels::new(), None);
    for word in words {
        match word.split_once('=') {
            Some((name, value)) if !name.is_empty() && !name.contains('/') => {
                labels.insert(name.to_owned(), value.trim_matches('"').to_owned());
            }
            _ if folder.is_none() => folder = Some(PathBuf::from(word)),
            _ => return Err(Coded::usage(format!("`{word}` is neither a label, NAME=VALUE, nor the one folder"))),
        }
    }
    if labels.is_empty() {
        return Err(Coded::usage("name the alert's labels, such as alertname=AppDown app=shop"));
    }
    Ok((labels, folder.unwrap_or_else(|| PathBuf::from("."))))
}

/// Explains what would run, and why; ends with 1 where it reaches no playbook and no person.
pub(super) fn explain(tree: &Tree, labels: Labels, receiver: Option<&Name>, output: &Output) -> anyhow::Result<Exit> {
    let now = SystemClock.now();
    let world = tree.world();
    let teams = tree.receivers.teams(receiver)?;
    let router = Router::new(&tree.response, tree.fallback.as_ref(), tree.desired.whose());
    let routed = router.route(&labels);
    let alert = alert(&labels, receiver, now);
    let nothing = BTreeMap::new();
    let rules = Quiet::new(&router, &nothing, &tree.receivers.limited);
    let hushed = quiet(&alert, &routed, &rules, now);
    let answer = world.answer(&routed, &seen(&alert), teams);
    let unknown = receiver.is_none().then(|| tree.receivers.unknown(&world, &routed, &seen(&alert))).flatten();
    let mut explained = Explained {
        labels: labels.clone(),
        routes: routed.taken.clone(),
        playbooks: routed.playbooks.clone(),
        not_taken: reached::not_taken(&world.may_answer(&routed, teams)),
        quiet: hushed,
        only_pages: None,
        playbook: None,
        target: None,
        policy: None,
        told: Vec::new(),
        step_pages: Vec::new(),
        when_told: "",
        steps: Vec::new(),
        warnings: unknown.into_iter().collect(),
        lost: false,
    };
    let (playbook, rung) = match answer {
        Answer::Held { playbook, target, policy, why } => {
            (explained.only_pages, explained.policy) = (Some(why), policy);
            explained.target = Some(target.to_string());
            (Some(playbook), Rung::Page)
        }
        Answer::Pages { playbook, policy, why } => {
            (explained.only_pages, explained.policy) = (Some(why), policy);
            (Some(playbook), Rung::Page)
        }
        Answer::Runs { playbook, target, policy } => {
            (explained.target, explained.policy) = (target.map(|target| target.to_string()), policy);
            explained.playbook = Some(playbook.name.clone());
            (Some(playbook), Rung::Steps)
        }
    };
    if let Some(playbook) = playbook {
        let given = Given { alert: Some(GivenAlert { labels, ..GivenAlert::default() }), ..Given::default() };
        let policy = explained.policy.as_ref();
        let scene = Scene { world: &world, playbook: &playbook, policy, given: &given, now, rung };
        let mut pages = Vec::new();
        if let Ok((run, steps)) = preview(&scene) {
            explained.steps = steps.iter().filter_map(|it| step(it, &run, &playbook)).collect();
            pages = reached::step_pages(&run.playbook, policy, tree.fallback.as_ref(), &tree.response, now);
            explained.when_told = reached::when_its_own(&run.playbook, policy);
        }
        let people = reached::people(policy, tree.fallback.as_ref(), &tree.response, now);
        let all: Vec<Told> = people.iter().chain(pages.iter().flat_map(|page| &page.people)).cloned().collect();
        explained.warnings.extend(reached::lost(explained.playbook.is_some(), policy, &tree.response, &all));
        explained.lost = explained.playbook.is_none() && people.is_empty();
        explained.warnings.extend(reached::barred(&all, &tree.response, &tree.teams));
        let nobody = reached::unreachable(policy, &pages, tree.fallback.as_ref(), &tree.response, &tree.teams, now);
        explained.lost |= explained.playbook.is_none() && nobody.is_some();
        explained.warnings.extend(nobody);
        explained.told = people.into_iter().map(person).collect();
        let told = |page: &StepPage| page.people.iter().cloned().map(person).collect();
        explained.step_pages = pages.into_iter().map(|page| ByStep { told: told(&page), page }).collect();
    }
    output.value(&explained, || told_in_text(&explained, output))?;
    Ok(if explained.lost { Exit::Failed } else { Exit::Fine })
}

fn alert(labels: &Labels, receiver: Option<&Name>, now: Timestamp) -> Alert {
    let source = receiver.cloned().unwrap_or_else(|| Name::new("given").expect("a literal name"));
    let id = AlertId { source: source.clone(), fingerprint: Fingerprint::of(labels), starts_at: now };
    Alert { id, receiver: source, labels: labels.clone(), annotations: Labels::new(), url: None, expires_at: None }
}

fn person(told: Told) -> Person {
    Person {
        who: told.notified.to_string(),
        channel: text::channel(&told.channel),
        after: format!("{:#}", told.after),
        receiver: told.receiver,
    }
}

fn step(preview: &Preview, run: &Run, playbook: &Arc<Playbook>) -> Option<Step> {
    let written = run.step(preview.step)?;
    // A run that only pages passes over everything else.
    if run.rung == Rung::Page && !matches!(written.does, codeops_core::model::Does::Page { .. }) {
        return None;
    }
    let own = match preview.step.part {
        Part::Steps => Some(&playbook.steps),
        Part::Otherwise => playbook.otherwise.as_ref(),
    };
    let has = |steps: &Vec<PlaybookStep>| steps.iter().any(|step| step.name == written.name);
    Some(Step {
        part: preview.step.part,
        name: written.name.clone(),
        by_default: !own.is_some_and(has),
        condition: written.when.as_ref().map(|when| when.source().to_owned()),
        holds: preview.when.as_ref().and_then(|when| when.as_ref().ok().copied()),
        does: match &preview.order {
            Ok(order) => text::order(order, written, run.policy.as_ref()),
            Err(why) => format!("{}, filled in once it is known: {why}", written.does.word()),
        },
    })
}

fn told_in_text(explained: &Explained, output: &Output) -> String {
    let line = |head: &str, text: &str| format!("{} {text}\n", output.paint(Style::Dim, format!("{head:<9}")));
    let mut text = line("routes", &list(&explained.routes, "none matches"));
    if let Some(why) = &explained.quiet {
        text += &line("quiet", &format!("it would start nothing now: {why}"));
    }
    match (&explained.playbook, &explained.only_pages) {
        (Some(playbook), _) => {
            let taken = |other: &&Name| explained.not_taken.iter().all(|it| it.playbook != **other);
            let others = explained.playbooks.iter().filter(|other| *other != playbook).filter(taken);
            let others: Vec<&str> = others.map(Name::as_str).collect();
            let beside = match others.is_empty() {
                true => String::new(),
                false => format!("   (also matching, but one alert has one run: {})", others.join(", ")),
            };
            text += &line("playbook", &format!("{playbook}{beside}"));
            text += &line("target", explained.target.as_deref().unwrap_or("none"));
        }
        (None, Some(why)) if explained.lost => text += &line("playbook", &format!("none: {why}")),
        (None, Some(why)) => text += &line("playbook", &format!("none, a person is called at once: {why}")),
        (None, None) => {}
    }
    for not_taken in &explained.not_taken {
        text += &line("not taken", &not_taken.to_string());
    }
    for part in [Part::Steps, Part::Otherwise] {
        let head = if part == Part::Steps { "steps" } else { "otherwise" };
        for (index, step) in explained.steps.iter().filter(|step| step.part == part).enumerate() {
            text += &line(if index == 0 { head } else { "" }, &step_in_text(step));
        }
    }
    let told = |people: &[Person]| -> String {
        let told = |it: &Person| format!("after {}: {} by {} ({})", it.after, it.who, it.channel, it.receiver);
        people.iter().map(|person| line("", &told(person))).collect()
    };
    for ByStep { page, told: people } in &explained.step_pages {
        let whose = match explained.playbook.as_ref() == Some(&page.playbook) {
            true => String::new(),
            false => format!(" of playbook {}, which it calls", page.playbook),
        };
        text += &line("paged", &format!("{}, by the step {}{whose}", page.policy, page.step));
        text += &told(people);
    }
    let policy = explained.policy.as_ref().map_or("nobody", Name::as_str);
    text += &line("paged", &format!("{policy}{}", explained.when_told));
    text += &told(&explained.told);
    text.extend(explained.warnings.iter().map(|warning| line("warning", warning)));
    text
}

fn step_in_text(step: &Step) -> String {
    let condition = match (&step.condition, step.holds) {
        (None, _) => String::new(),
        (Some(condition), Some(true)) => format!(" [if {condition}: true]"),
        (Some(condition), Some(false)) => format!(" [if {condition}: false, so it is passed over]"),
        (Some(condition), None) => format!(" [if {condition}: known when its turn comes]"),
    };
    let default = if step.by_default { " (by default)" } else { "" };
    format!("{}: {}{condition}{default}", step.name, step.does)
}

fn list(words: &[String], none: &str) -> String {
    if words.is_empty() { none.to_owned() } else { words.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_the_folder_are_told_apart() {
        let words = ["alertname=AppDown".to_owned(), "ops".to_owned(), "app=\"shop\"".to_owned()];
        let (labels, folder) = split(&words).expect("labels");
        assert_eq!(labels["app"], "shop");
        assert_eq!(folder, PathBuf::from("ops"));
        assert!(split(&["ops".to_owned()]).is_err());
        assert!(split(&["a=b".to_owned(), "x".to_owned(), "y".to_owned()]).is_err());
    }
}
