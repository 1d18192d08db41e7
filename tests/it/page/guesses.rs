//! Whoever writes a guess at another team's secret is not told by a mask whether it is right, wherever it stands: a mask is made
//! of what those who wrote a text know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops::journal::Record;
use codeops::port::{Board, Commit};
use codeops::web::PageConfig;
use codeops_core::desired::Diagnostic;
use codeops_core::model::{
    Disposition, Fingerprint, Health, HoldId, PageEvent, PageId, PageOpened, Part, Playbook, ResourceId, RevisionState,
    RunCause, RunEvent, RunId, Signal, Sync, TeamName, Verb,
};
use codeops_core::policy::Hold;
use serde_json::{Value, json};

use super::answers::{Story, alert, app_down, done};
use super::fixture::{GUESSED, HAS_GUESSED, MemoryLog, Served, ago, app, board, name, revision};
use super::get;

/// Who has no right to it.
const GUESSES: &str = "storefront";

fn accepted(digit: char, words: &str, teams: &[&str]) -> Record {
    let commit = Commit {
        revision: revision(digit),
        author: format!("{words} <a@acme.example>"),
        at: ago(60),
        subject: words.to_owned(),
        trailers: vec![("Codeops-Retry".to_owned(), words.to_owned())],
        signer: Some(words.to_owned()),
        changed: BTreeSet::new(),
        stands: BTreeSet::new(),
        brings: BTreeSet::new(),
        beyond: BTreeSet::new(),
        brought: Vec::new(),
        later: Default::default(),
        teams: teams.iter().map(|team| name(team)).collect(),
    };
    Record::RevisionAccepted {
        revision: revision(digit),
        owner: "acme-ops/prod".parse().expect("the fixture is valid"),
        commits: vec![commit],
        blast_percent: 25,
        files: BTreeMap::new(),
        by_file: BTreeMap::new(),
        gone: BTreeSet::new(),
        claims: BTreeMap::new(),
        changed: BTreeMap::new(),
        asked: BTreeMap::new(),
    }
}

fn playbook(called: &str, team: &str) -> Arc<Playbook> {
    let mut playbook = Arc::unwrap_or_clone(app_down());
    (playbook.name, playbook.team) = (name(called), name(team));
    Arc::new(playbook)
}

/// A run that says these words wherever it may.
fn run(log: &MemoryLog, id: u64, playbook: Arc<Playbook>, target: &str, words: &str) {
    let cause = RunCause::Schedule { due: ago(40) };
    let mut story = Story::open(log, id, 40, playbook, Some(target), cause, Value::Null);
    story.begin(Part::Steps, 0, 1);
    story.end(Part::Steps, 0, 1, done(json!({ "said": words })), words);
    story.then(1, RunEvent::Paused { why: Some(words.to_owned()) });
    let (title, body) = (words.to_owned(), words.to_owned());
    let event = PageEvent::Opened(PageOpened { run: Some(RunId(id)), title, body, ..PageOpened::default() });
    log.add(ago(30), Record::Page { page: PageId(id), event });
}

/// An alert that says them, and was left for this reason.
fn fires(log: &MemoryLog, receiver: &str, words: &str, why: &str) {
    let mut alert = Arc::unwrap_or_clone(alert(words, receiver, 35));
    alert.receiver = name(receiver);
    alert.labels.insert("note".to_owned(), words.to_owned());
    alert.annotations.insert("summary".to_owned(), words.to_owned());
    alert.url = Some(format!("https://monitoring.example/{words}"));
    alert.id.fingerprint = Fingerprint::of(&alert.labels);
    let (id, signals) = (alert.id.clone(), vec![Signal::Firing(Arc::new(alert))]);
    log.add(ago(35), Record::Alerts { receiver: name(receiver), delivery: Vec::new(), signals, spoiled: 0 });
    let disposition = Disposition::Left { why: why.to_owned() };
    log.add(ago(34), Record::Disposed { alerts: vec![id], disposition });
}

fn says(board: &mut Board, id: &ResourceId, words: &str) {
    let view = Arc::make_mut(board.resources.get_mut(id).expect("it is there"));
    (view.sync, view.health, view.why) = (Sync::OutOfSync, Health::Degraded, Some(words.to_owned()));
    let live = Arc::make_mut(view.live.as_mut().expect("it lives"));
    live.notes = vec![words.to_owned()];
}

fn mistake(board: &mut Board, team: Option<TeamName>, words: &str) {
    let mistake = board.diagnostics.first().expect("one").clone();
    board.diagnostics.push(Diagnostic {
        team,
        message: words.to_owned(),
        line: words.to_owned(),
        help: Some(words.to_owned()),
        ..mistake
    });
}

/// What stands around each place that holds this.
fn lines(path: &str, text: &str, what: &str) -> Vec<String> {
    let around = |(at, _): (usize, &str)| {
        let (from, to) = (text.floor_char_boundary(at.saturating_sub(80)), text.floor_char_boundary(at + 80));
        format!("{path}: {}", &text[from..to])
    };
    text.match_indices(what).map(around).collect()
}

/// Pages and their twins on which there is something of what is planted.
fn places(own: &str, digit: char, runs: &[u64]) -> Vec<String> {
    let lists = ["/events", "/revisions", "/holds", "/alerts", "/runs"];
    let mut places = vec!["/".to_owned(), "/api/v1/status".to_owned(), "/api/v1/resources".to_owned()];
    places.extend(lists.iter().flat_map(|path| [(*path).to_owned(), format!("/api/v1{path}")]));
    places.extend([format!("/apps/{own}"), format!("/api/v1/resources/app/{own}"), "/api/v1/pages".to_owned()]);
    let id = revision(digit);
    places.extend([format!("/revisions/{id}"), format!("/api/v1/revisions/{id}")]);
    places.extend(runs.iter().flat_map(|run| [format!("/runs/r{run}"), format!("/api/v1/runs/r{run}")]));
    places
}

#[tokio::test]
async fn no_guess_of_a_team_is_told_to_be_right_wherever_it_stands() {
    let mut shown = board();
    let (guess, theirs) = (app(GUESSED), app("checkout"));
    let mut view = (*shown.resources[&app("cart")]).clone();
    view.id = guess.clone();
    shown.resources.insert(guess.clone(), Arc::new(view));
    says(&mut shown, &guess, GUESSED);
    // What is another's names it, and is named by it.
    let checkout = Arc::make_mut(shown.resources.get_mut(&theirs).expect("it is there"));
    assert_eq!(checkout.team, Some(name(HAS_GUESSED)));
    (checkout.used_by, checkout.depends_on) = (vec![guess.clone()], vec![guess.clone()]);
    let changes: BTreeSet<_> = [(Verb::Delete, guess.clone()), (Verb::Delete, theirs)].into();
    let id = HoldId::of(&changes);
    shown.holds = vec![Hold {
        trailer: format!("Codeops-Allow: {id}"),
        id,
        changes,
        why: GUESSED.to_owned(),
        removals: BTreeSet::new(),
    }];
    mistake(&mut shown, Some(name(GUESSES)), GUESSED);
    mistake(&mut shown, None, GUESSED);
    (shown.freeze, shown.source.held) = (Some(GUESSED.to_owned()), Some(GUESSED.to_owned()));
    let current = shown.revision.as_mut().expect("one");
    (current.subject, current.author, current.teams) = (GUESSED.into(), GUESSED.into(), [name(GUESSES)].into());
    let served = Served::start(shown, PageConfig::default()).await;
    let log = &served.log;
    log.add(ago(70), accepted('4', GUESSED, &[]));
    log.add(ago(60), accepted('5', GUESSED, &[GUESSES]));
    let (state, why) = (RevisionState::Partial, Some(GUESSED.to_owned()));
    log.add(ago(50), Record::RevisionState { revision: revision('5'), state, why });
    run(log, 20, playbook(GUESSED, GUESSES), GUESSED, GUESSED);
    // Another's run on what has such a name.
    run(log, 21, playbook("theirs", HAS_GUESSED), GUESSED, "nothing");
    run(log, 22, playbook(GUESSED, GUESSES), "checkout", GUESSED);
    fires(log, "storefronts", GUESSED, GUESSED);
    fires(log, "both", GUESSED, GUESSED);
    fires(log, "gone-from-the-settings", GUESSED, GUESSED);
    log.add(ago(20), Record::Note { resource: None, text: GUESSED.to_owned() });
    log.add(ago(20), Record::Note { resource: Some(guess), text: GUESSED.to_owned() });
    let mut asked = places(GUESSED, '5', &[20, 21, 22]);
    asked.extend(["/apps/checkout", "/api/v1/resources/app/checkout", "/metrics"].map(str::to_owned));
    let mut told = Vec::new();
    for path in asked {
        let text = get(&served, &path).await.text().await.expect("whole");
        told.extend(lines(&path, &text, "***"));
        told.extend((!text.contains(GUESSED)).then(|| format!("{path} does not say it: {text}")));
    }
    assert!(told.is_empty(), "{told:#?}");
}

#[tokio::test]
async fn no_request_is_answered_with_a_mask_of_its_own_words() {
    let served = Served::rich().await;
    for path in [
        format!("/api/v1/resources/app/{GUESSED}"),
        format!("/api/v1/resources/{GUESSED}/x"),
        format!("/api/v1/resources/app/{GUESSED}/logs"),
        format!("/api/v1/resources/app/{GUESSED}/stats"),
        format!("/api/v1/resources/app/shop/logs?instance={GUESSED}"),
        format!("/api/v1/resources/app/shop/logs?tail={GUESSED}"),
        format!("/api/v1/revisions/{GUESSED}"),
        format!("/api/v1/runs/{GUESSED}"),
        format!("/api/v1/pages/{GUESSED}"),
        format!("/api/v1/events?resource={GUESSED}"),
        format!("/api/v1/events?after={GUESSED}"),
        format!("/api/v1/events?limit={GUESSED}"),
        format!("/api/v1/alerts?state={GUESSED}"),
        format!("/api/v1/{GUESSED}"),
        format!("/{GUESSED}"),
        format!("/apps/{GUESSED}"),
        format!("/{GUESSED}/x"),
        format!("/revisions/{GUESSED}"),
        format!("/runs/{GUESSED}"),
        format!("/runs?playbook={GUESSED}&target=app/{GUESSED}"),
        format!("/runs?target={GUESSED}"),
        format!("/alerts?target=app/{GUESSED}"),
        format!("/events?resource=app/{GUESSED}"),
        format!("/events?category={GUESSED}"),
        format!("/events?run={GUESSED}"),
    ] {
        for accept in ["text/html", "application/json"] {
            let answer = super::client().get(served.url(&path)).header(super::ACCEPT, accept).send().await;
            let text = answer.expect("answered").text().await.expect("whole");
            assert!(!text.contains("***"), "{path} {accept}: {text}");
        }
    }
    let long = "x".repeat(9_000);
    let text = get(&served, &format!("/api/v1/resources/{long}/x")).await.text().await.expect("whole");
    assert!(text.len() < 1_000, "what was asked for is cut: {}", text.len());
}

#[tokio::test]
async fn a_teams_own_secret_is_masked_wherever_it_stands() {
    let mut shown = board();
    let (own, team) = (app("checkout"), name(HAS_GUESSED));
    says(&mut shown, &own, GUESSED);
    let changes: BTreeSet<_> = [(Verb::Delete, own)].into();
    let id = HoldId::of(&changes);
    shown.holds = vec![Hold {
        trailer: format!("Codeops-Allow: {id}"),
        id,
        changes,
        why: GUESSED.to_owned(),
        removals: BTreeSet::new(),
    }];
    mistake(&mut shown, Some(team.clone()), GUESSED);
    let current = shown.revision.as_mut().expect("one");
    (current.subject, current.author, current.teams) = (GUESSED.into(), GUESSED.into(), [team].into());
    let served = Served::start(shown, PageConfig::default()).await;
    let log = &served.log;
    log.add(ago(70), accepted('4', GUESSED, &[HAS_GUESSED]));
    log.add(ago(60), accepted('5', GUESSED, &[GUESSES, HAS_GUESSED]));
    run(log, 20, playbook("own", HAS_GUESSED), "checkout", GUESSED);
    fires(log, "payments", GUESSED, "no playbook answers it");
    let words = GUESSED.to_owned();
    log.add(ago(20), Record::Note { resource: Some(app("checkout")), text: words });
    let mut told = Vec::new();
    for path in places("checkout", '5', &[20]) {
        let text = get(&served, &path).await.text().await.expect("whole");
        told.extend(lines(&path, &text, GUESSED));
        told.extend((!text.contains("***")).then(|| format!("{path} masks nothing: {text}")));
    }
    assert!(told.is_empty(), "{told:#?}");
}
