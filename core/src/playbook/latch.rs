//! The latch. What comes back for the third time within an hour, whatever was tried, is left to a person: nothing more is tried
//! on it until it has been quiet and healthy for an hour. The page that latches says so, and stays open until then: what it tells of
//! joins it when it comes back, and anything else calls anew. Where nothing was ever tried but to call, there is nothing
//! to keep from being tried, and no latch: paging is not limited.

use jiff::{SignedDuration, Timestamp};

use super::may::acts;
use super::open::{Asked, Out, out};
use crate::model::{
    AlertId, AlertState, Ledger, PageId, Playbook, ResponseMemory, Run, RunCause, RunId, Rung, Subject,
};

/// How long what is counted counts, and how long it must be quiet afterwards.
pub(super) const LATCH: SignedDuration = SignedDuration::from_hours(1);
/// How many earlier runs its page tells of.
const TOLD: usize = 5;
/// The run of so many within [`LATCH`] that calls a person and latches.
const RUNS: usize = 3;

/// Whether another run is one time too many, after these.
pub(super) fn is_too_often(before: usize) -> bool {
    before + 1 >= RUNS
}

/// Whether a run of this program tries anything.
pub(super) fn tries(program: &Playbook) -> bool {
    program.steps.iter().chain(program.otherwise.iter().flatten()).any(|step| acts(&step.does))
}

/// Since when it is latched, if it is.
pub(super) fn latched(subject: &Subject, response: &ResponseMemory) -> Option<Timestamp> {
    response.ledger.get(subject).and_then(|ledger: &Ledger| ledger.latched_at)
}

/// When the latch on it ends if nothing more happens; `None` while something of it fires, or it is not healthy. `healthy` is since when
/// it is.
pub fn unlatches_at(subject: &Subject, healthy: Option<Timestamp>, response: &ResponseMemory) -> Option<Timestamp> {
    let at = latched(subject, response)?;
    healthy?.max(quiet_since(subject, response)?).max(at).checked_add(LATCH).ok()
}

/// Whether a page of this subject that was opened then says that it is latched, and so stays open until that ends. One that was
/// out before says nothing of it. `None` in an older store: long ago.
pub fn says_latched(subject: &Subject, opened_at: Option<Timestamp>, response: &ResponseMemory) -> bool {
    latched(subject, response).is_some_and(|since| opened_at.is_some_and(|at| at >= since))
}

/// The page of what is latched that tells the same people of this alert and is not over, the newest; and its run.
pub(super) fn page_of(asked: &Asked<'_>, subject: &Subject, response: &ResponseMemory) -> Option<(PageId, RunId)> {
    let RunCause::Alert { alert } = &asked.cause else { return None };
    let at = |starts_at| AlertId { starts_at, ..alert.clone() };
    let tells = |page: &Out<'_>| page.alerts.range(at(Timestamp::MIN)..=at(Timestamp::MAX)).next().is_some();
    let of_it = out(response).filter(|page| page.group.subject() == *subject && page.group.policy == asked.policy);
    let of_it = of_it.filter(|page| says_latched(subject, page.opened_at, response) && tells(page));
    of_it.map(|page| (page.id, page.run)).max()
}

/// Since when nothing of it fires, as far as runs and pages tell of its alerts; `None` while something does.
pub(super) fn quiet_since(subject: &Subject, response: &ResponseMemory) -> Option<Timestamp> {
    let runs = response.runs.values().filter(|run| run.subject() == *subject).map(|run| &run.alerts);
    let pages = response.pages.values().map(|it| (it.group.as_ref(), &it.alerts));
    let told = pages.chain(response.calls.values().map(|it| (it.group.as_ref(), &it.alerts)));
    let told = told.filter(|(group, _)| group.is_some_and(|group| group.subject() == *subject));
    let known = runs.chain(told.map(|(_, alerts)| alerts)).flatten().filter_map(|id| response.alerts.get(id));
    known
        .map(|it| (it.state != AlertState::Firing).then_some(it.since))
        .try_fold(Timestamp::MIN, |last, since| since.map(|since| last.max(since)))
}

/// What a page of this run says of it: since when it is latched, until when, and what came of the runs before.
pub fn words(run: &Run, ledger: &Ledger) -> Option<String> {
    let since = ledger.latched_at?;
    let (what, until) = match &run.target {
        Some(target) => (
            target.to_string(),
            format!(
                "until it has been healthy and nothing of it has fired for an hour, or a commit says `Codeops-Retry: {target}`"
            ),
        ),
        None => (common(run), "until nothing of it has fired for an hour".to_owned()),
    };
    let since = since.strftime("%Y-%m-%d %H:%M:%S UTC");
    let mut words = format!(
        "Latched since {since}: {what} came back for the third time within an hour. No playbook tries anything on it {until}. \
         This page stays open until then: what it tells of calls nobody again when it comes back; anything else does.\n"
    );
    let before = ledger.ends.iter().filter(|end| end.run != run.id && end.opened_at.is_some());
    for end in before.rev().take(TOLD).collect::<Vec<_>>().into_iter().rev() {
        let tried = match end.rung {
            Rung::Steps => "by its steps",
            Rung::Otherwise => "by its `otherwise`",
            Rung::Page => "by a call to a person",
        };
        let (run, playbook, at) = (end.run, &end.playbook, end.at.strftime("%H:%M:%S UTC"));
        words += &format!("- before: run {run} of playbook {playbook} ended {} {tried} at {at}\n", end.state);
    }
    Some(words)
}

/// What the alerts of a run without a target have in common, in words.
fn common(run: &Run) -> String {
    let labels: Vec<String> = run.group.iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
    match labels.is_empty() {
        true => format!("what playbook {} answers", run.playbook.name),
        false => format!("what playbook {} answers ({})", run.playbook.name, labels.join(" ")),
    }
}
