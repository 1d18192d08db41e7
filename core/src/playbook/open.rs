//! What becomes of an alert or a due time that a playbook answers: a run of its own, a place in another's, or nothing, said
//! why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::busy::{busy, joins, keeps_waiting};
use super::counted::{Counted, counted, within};
use super::group::{group, labels};
use super::{latch, pin};
use crate::model::{
    AlertId, AlertMemory, AlertState, Disposition, Group, Labels, Name, PageId, Period, Playbook, ResourceId,
    ResponseMemory, Revision, Run, RunCause, RunEvent, RunId, RunState, Rung, Subject, TeamName, WhenBusy, covers,
    severity, share,
};

/// So many runs opened within [`STORM_WITHIN`] for the alerts that one source tells of one team are a storm of these: more are not
/// opened for them, and one page tells of all.
pub const STORM_RUNS: usize = 20;
/// So many for all sources together are a storm of those teams that have more of them than others: what the machine is kept from.
pub const STORM_ALL: usize = 60;
/// See [`STORM_RUNS`].
pub const STORM_WITHIN: SignedDuration = SignedDuration::from_secs(60);
/// What comes back within this time begins a rung higher.
const REFIRE: SignedDuration = SignedDuration::from_mins(30);
/// So long after a page was opened others of its group join it though it is accepted: what sources usually wait before they tell of
/// more of a group.
const JOINS_WITHIN: SignedDuration = SignedDuration::from_mins(5);

/// Something that asks for a run.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The playbook that answers.
    pub playbook: &'a Arc<Playbook>,
    /// Whose authority the run has.
    pub authority: &'a TeamName,
    /// What asks.
    pub cause: RunCause,
    /// What it is about.
    pub target: Option<ResourceId>,
    /// Who is paged.
    pub policy: Option<Name>,
    /// What steps see as `alert`.
    pub alert: Value,
    /// The revision in force.
    pub revision: &'a Revision,
    /// How late a resolved signal may come.
    pub resolve_delay: Period,
    /// The labels on which alerts without a target must agree to share a run: its route's `groupBy`.
    pub group: Labels,
    /// The team whose the alert is, where the settings name teams: it shares nothing with another's.
    pub owner: Option<&'a TeamName>,
    /// It goes to a person at once: no playbook answers it.
    pub only_pages: bool,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Opening {
    /// A run of its own.
    Open {
        /// The first event of its log.
        event: Box<RunEvent>,
        /// What is latched with it, if this is one time too many.
        latches: Option<Subject>,
    },
    /// It joins this run.
    Join(RunId),
    /// A person has been called for its group, and this page tells of it, too.
    Told {
        /// The page, which is not over.
        page: PageId,
        /// The run that it comes from.
        run: RunId,
    },
    /// Nothing is done.
    Left(String),
    /// Nothing is done while another run is on; if it still fires then, it is asked again.
    Later(String),
}

/// Whether people keep still what a run is about, for as long as they please: what is about something else does not wait for it.
pub type Still<'a> = &'a dyn Fn(&Run) -> bool;

/// Decides what becomes of it.
pub fn open(asked: &Asked<'_>, response: &ResponseMemory, now: Timestamp, still: Still<'_>) -> Opening {
    let playbook = asked.playbook;
    if let RunCause::Call { .. } = asked.cause {
        return opened(asked, Rung::Steps, None, None);
    }
    let on = busy(asked, response, still);
    if let Some(first) = on.first() {
        match (playbook.concurrency.when_busy, &asked.cause) {
            // What one run does helps its own target only, and one that answers no alert helps none: behind any other the playbook's
            // next run waits its turn. So does one that is to be told to others, or that is worse than all that a person was
            // called for.
            (WhenBusy::Join, RunCause::Alert { .. }) => {
                if let Some(run) = on.iter().find(|run| joins(asked, run, response)) {
                    return Opening::Join(run.id);
                }
            }
            (WhenBusy::Queue, _) => {}
            // Nothing is tried but to call, which waits for nobody.
            (WhenBusy::Skip, RunCause::Alert { .. }) if asked.only_pages => {}
            // Nobody can say when it would be asked again: it waits its turn, and so no longer than others do.
            (WhenBusy::Skip, RunCause::Alert { .. }) if on.iter().any(|run| keeps_waiting(run, still)) => {}
            (_, RunCause::Alert { .. }) => return Opening::Later(is_on(first)),
            _ => return Opening::Left(is_on(first)),
        }
    }
    let RunCause::Alert { .. } = asked.cause else {
        return opened(asked, Rung::Steps, None, None);
    };
    match begins(asked, response, now) {
        Begins::At { rung, latches, because } => opened(asked, rung, because, latches),
        Begins::Told(page, run) => Opening::Told { page, run },
    }
}

/// Where a run for the alert that asks begins, if it is to have one of its own.
pub(super) fn begins(asked: &Asked<'_>, response: &ResponseMemory, now: Timestamp) -> Begins {
    let (mut rung, latches, mut because) = match rung(asked, response, now) {
        Begins::At { rung, latches, because } => (rung, latches, because),
        told @ Begins::Told(..) => return told,
    };
    // A person has it already: nothing more is tried behind their back, however long ago they were called.
    if let Some((page, run)) = with_a_person(asked, response) {
        let since = format!("page {page} of run {run} calls a person for it, and what that tells of still fires");
        because = because.filter(|_| rung == Rung::Page).or(Some(since));
        rung = Rung::Page;
    }
    // Where all that is left is to call a person, one who was called for the likes of it is not called again.
    if rung == Rung::Page
        && let Some((page, run)) = told_of(asked, response, now)
    {
        return Begins::Told(page, run);
    }
    Begins::At { rung, latches, because }
}

/// Where a run for an alert begins.
pub(super) enum Begins {
    /// At this rung.
    At {
        rung: Rung,
        /// What is latched with it.
        latches: Option<Subject>,
        /// Why not at its steps.
        because: Option<String>,
    },
    /// Nowhere: a person was called for it, and this page, which comes from this run, tells of it and is not over.
    Told(PageId, RunId),
}

fn rung(asked: &Asked<'_>, response: &ResponseMemory, now: Timestamp) -> Begins {
    let playbook = asked.playbook;
    let subject = Subject::of(&playbook.name, asked.target.as_ref(), group(asked).as_ref());
    let tries = || latch::tries(&pin(playbook, &asked.cause, asked.target.as_ref(), asked.resolve_delay));
    if latch::latched(&subject, response).is_some() && tries() {
        let told = latch::page_of(asked, &subject, response);
        let at_once = || calls("it is latched: it came back for the third time within an hour".to_owned(), None);
        return told.map_or_else(at_once, |(page, run)| Begins::Told(page, run));
    }
    let all = counted(response, |of| *of == subject, now);
    if asked.only_pages {
        let why = asked.alert.pointer("/annotations/codeops").and_then(Value::as_str);
        return calls(why.unwrap_or("no playbook answers it").to_owned(), None);
    }
    if latch::is_too_often(within(&all, latch::LATCH, now).count()) && tries() {
        return calls("it came back for the third time within an hour".to_owned(), Some(subject));
    }
    if let Some((most, per)) = playbook.limits.runs {
        let per = SignedDuration::from_millis(i64::try_from(per.as_millis()).unwrap_or(i64::MAX));
        // Without a target, the limit is for all that it does, whatever the alerts have in common.
        let limited = |of: &Subject| match of {
            Subject::Resource(_) => *of == subject,
            Subject::Playbook(of) | Subject::Group { playbook: of, .. } => {
                asked.target.is_none() && *of == playbook.name
            }
        };
        let of_all = counted(response, limited, now);
        let of_this = within(&of_all, per, now).filter(|it| *it.playbook == playbook.name).count();
        if of_this >= usize::try_from(most).unwrap_or(usize::MAX) {
            return calls(format!("its `limits.runs` are used up: {most} within {}", said(per)), None);
        }
    }
    // What another playbook proved over held: what comes now is something else, and nothing was tried for it. Nor was anything
    // where the alert was over before.
    let bears = |it: &&Counted<'_>| {
        // One that is on may still prove it over.
        let failed = it.state.is_over() && !matches!(it.state, RunState::Resolved | RunState::Replaced);
        !it.idle && (*it.playbook == playbook.name || failed)
    };
    let Some(last) = within(&all, REFIRE, now).filter(bears).max_by_key(|end| (end.rung, end.at)) else {
        return Begins::At { rung: Rung::Steps, latches: None, because: None };
    };
    let (run, ago) = (last.run, said(now.duration_since(last.at)));
    match last.rung {
        Rung::Steps => {
            let because =
                format!("run {run} ended {} {ago} before, after its steps, and that did not hold", last.state);
            Begins::At { rung: Rung::Otherwise, latches: None, because: Some(because) }
        }
        Rung::Otherwise => calls(
            format!("run {run} ended {} {ago} before, after its `otherwise`, and that did not hold", last.state),
            None,
        ),
        Rung::Page if !last.state.is_over() => calls(format!("run {run} has called a person, and is on"), None),
        Rung::Page if last.state == RunState::Failed => {
            calls(format!("run {run} was to call a person {ago} before"), None)
        }
        Rung::Page => calls(format!("run {run} called a person {ago} before"), None),
    }
}

/// A person is called at once.
fn calls(because: String, latches: Option<Subject>) -> Begins {
    Begins::At { rung: Rung::Page, latches, because: Some(because) }
}

fn said(time: SignedDuration) -> Period {
    Period::from_secs(u64::try_from(time.as_secs()).unwrap_or_default())
}

pub(super) fn is_on(run: &Run) -> String {
    format!("run {} of playbook {} is on", run.id, run.playbook.name)
}

/// Whether so many runs were opened lately for what this source tells of this team, or for all, that another would only add to the
/// storm. What is no team's counts as one's. However many one team's are, they leave the others their share.
pub fn in_storm(response: &ResponseMemory, source: &Name, owner: Option<&TeamName>, now: Timestamp) -> bool {
    let since = now.checked_sub(STORM_WITHIN).unwrap_or(Timestamp::MIN);
    let on = response.runs.values().filter(|run| run.opened_at > since).filter_map(|run| match &run.cause {
        RunCause::Alert { alert } => Some((Some(&alert.source), run.owner.as_ref())),
        RunCause::Schedule { .. } | RunCause::Call { .. } => None,
    });
    let ends = response.ledger.values().flat_map(|ledger| &ledger.ends);
    let over = ends.filter(|end| end.opened_at.is_some_and(|at| at > since));
    let over = over.map(|end| (end.source.as_ref(), end.owner.as_ref()));
    let (mut by_team, mut of_source): (BTreeMap<Option<&TeamName>, usize>, usize) = (BTreeMap::from([(owner, 1)]), 0);
    for (from, team) in on.chain(over) {
        *by_team.entry(team).or_default() += 1;
        of_source += usize::from(from == Some(source) && team == owner);
    }
    let own = by_team.remove(&owner).unwrap_or_default();
    of_source >= STORM_RUNS || !share::fits(own, by_team.into_values(), STORM_ALL)
}

/// The page that tells of an alert of this group, if others that it tells of still fire: one that nobody has accepted yet, or
/// that was opened just now. One that is worse than all of those is not in it.
fn told_of(asked: &Asked<'_>, response: &ResponseMemory, now: Timestamp) -> Option<(PageId, RunId)> {
    let group = Group {
        playbook: asked.playbook.name.clone(),
        target: asked.target.clone(),
        policy: asked.policy.clone(),
        labels: group(asked)?,
    };
    let labels = labels(&asked.alert);
    let since = now.checked_sub(JOINS_WITHIN).unwrap_or(Timestamp::MIN);
    let of_group = out(response).filter(|page| *page.group == group);
    let tells = of_group.filter(|page| page.joins_until_accepted || page.opened_at.is_some_and(|at| at > since));
    let worse = |fires: &AlertMemory| covers(severity(&fires.alert.labels), severity(&labels));
    let covering = tells.filter(|page| lasting(page, asked, response).any(worse));
    covering.max_by_key(|page| page.id).map(|page| (page.id, page.run))
}

/// The page, and its run, by which a person was called for what this is about, if what they were called for still fires.
fn with_a_person(asked: &Asked<'_>, response: &ResponseMemory) -> Option<(PageId, RunId)> {
    let wanted = Subject::of(&asked.playbook.name, asked.target.as_ref(), group(asked).as_ref());
    let mut of_this = out(response).filter(|page| page.group.subject() == wanted);
    let page = of_this.find(|page| lasting(page, asked, response).next().is_some())?;
    Some((page.id, page.run))
}

/// A page of a group that somebody is to see, or has seen, and that is not over.
pub(super) struct Out<'a> {
    pub(super) id: PageId,
    pub(super) run: RunId,
    pub(super) group: &'a Group,
    pub(super) alerts: &'a BTreeSet<AlertId>,
    /// What is sent of it next tells of all that joined it.
    joins_until_accepted: bool,
    pub(super) opened_at: Option<Timestamp>,
}

/// All of them. Of whose end somebody is being told is over: what comes back calls anew.
pub(super) fn out(response: &ResponseMemory) -> impl Iterator<Item = Out<'_>> {
    let open =
        response.pages.values().map(|it| (it.id, it.run, it.group.as_ref(), &it.alerts, true, Some(it.opened_at)));
    let calls = response.calls.iter().filter(|(_, call)| call.ending.is_none());
    let calls = calls.map(|(page, it)| (*page, it.run, it.group.as_ref(), &it.alerts, false, it.opened_at));
    open.chain(calls).filter_map(|(id, run, group, alerts, joins_until_accepted, opened_at)| {
        Some(Out { id, run: run?, group: group?, alerts, joins_until_accepted, opened_at })
    })
}

/// The alerts that such a page tells of and that still fire, beside the one that asks: an earlier time of the same, whose end was
/// missed, tells nobody that it is back. A page may tell of many thousands: what asks looks at no more of them than it needs.
fn lasting<'a>(
    page: &Out<'a>,
    asked: &Asked<'_>,
    response: &'a ResponseMemory,
) -> impl Iterator<Item = &'a AlertMemory> {
    let own = match &asked.cause {
        RunCause::Alert { alert } => Some((alert.source.clone(), alert.fingerprint.clone())),
        RunCause::Schedule { .. } | RunCause::Call { .. } => None,
    };
    let is_own = move |id: &AlertId| {
        own.as_ref().is_some_and(|(source, print)| id.source == *source && id.fingerprint == *print)
    };
    // What comes back while its end is being told is told of anew.
    let answered = Disposition::Run { run: page.run };
    let known = page.alerts.iter().filter_map(|id| response.alerts.get(id)).map(Arc::as_ref);
    known.filter(move |it| it.state == AlertState::Firing && it.disposition == answered && !is_own(&it.alert.id))
}

fn opened(asked: &Asked<'_>, rung: Rung, because: Option<String>, latches: Option<Subject>) -> Opening {
    let event = RunEvent::Opened {
        playbook: pin(asked.playbook, &asked.cause, asked.target.as_ref(), asked.resolve_delay),
        authority: asked.authority.clone(),
        revision: asked.revision.clone(),
        target: asked.target.clone(),
        cause: asked.cause.clone(),
        rung,
        policy: asked.policy.clone(),
        alert: asked.alert.clone(),
        group: group(asked),
        because,
        owner: asked.owner.cloned(),
        mark: None,
    };
    Opening::Open { event: Box::new(event), latches }
}
