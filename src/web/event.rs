//! A journal entry as people and programs read it: one sentence and a few fields, never the raw record.

use std::collections::{BTreeMap, BTreeSet};

use codeops_core::model::{
    AlertId, AlertState, Digest, Disposition, Health, Name, PageEvent, Part, ResourceId, Revision, Run, RunEvent,
    RunId, Signal, StepOutcome, StepRef, Sync, TeamName,
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::run_words::{hash, numbered, of_run};
use super::words::{Mark, plural, took};
use super::{event_kept, event_page};
use crate::journal::{Category, Entry, Outcome, Record, SCHEDULE_CHANGED, Seq};

/// One event.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Event {
    /// Its number in the journal: the cursor.
    pub(super) id: u64,
    pub(super) at: Timestamp,
    pub(super) category: Category,
    /// What it is about, if one resource.
    pub(super) resource: Option<ResourceId>,
    /// What it is about, if one revision.
    pub(super) revision: Option<Revision>,
    /// What it is about, if one run.
    pub(super) run: Option<RunId>,
    /// Whose it is, if one team's; the journal alone does not say it of all.
    pub(super) team: Option<TeamName>,
    /// How it bears on things; `None`: neither good nor bad.
    pub(super) mark: Option<Mark>,
    /// In one sentence.
    pub(super) text: String,
}

impl Event {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            id: entry.seq.0,
            at: entry.at,
            category: entry.record.category(),
            resource: entry.record.resource().cloned(),
            revision: revision(&entry.record).cloned(),
            run: entry.record.run(),
            team: None,
            mark: mark(&entry.record),
            text: sentence(&entry.record),
        }
    }

    /// Entries newest first, one event each.
    pub(super) fn list(entries: &[Entry]) -> Vec<Self> {
        let quiet = kept_quiet(entries);
        let of = |entry| Self { mark: Self::mark_of(entry, &quiet), ..Self::of(entry) };
        entries.iter().map(of).collect()
    }

    /// An alert that is kept quiet is no trouble from the beginning.
    fn mark_of(entry: &Entry, quiet: &BTreeSet<&AlertId>) -> Option<Mark> {
        match &entry.record {
            Record::Alerts { signals, .. } => signals.iter().map(|signal| of_signal(signal, quiet)).min(),
            record => mark(record),
        }
    }

    /// Entries newest first as a story to be read: what was begun and has ended is told once, where it ended.
    pub(super) fn story(entries: &[Entry]) -> Vec<Self> {
        let ended: BTreeSet<Seq> = entries.iter().filter_map(|entry| ends(&entry.record)).collect();
        let quiet = kept_quiet(entries);
        let mut begun = BTreeMap::new();
        let mut events = Vec::with_capacity(entries.len());
        for entry in entries.iter().rev() {
            let mut event = Self { mark: Self::mark_of(entry, &quiet), ..Self::of(entry) };
            match &entry.record {
                Record::Intent { word, subject, .. } if ended.contains(&entry.seq) => {
                    begun.insert(entry.seq, format!("{word} {}", short(subject)));
                    continue;
                }
                Record::Result { intent, outcome, .. } => {
                    if let Some(what) = begun.get(intent) {
                        event.text = format!("{what}: {}", outcome_text(outcome));
                    }
                }
                _ => {}
            }
            events.push(event);
        }
        events.reverse();
        events
    }

    /// An entry of a run's own log: its steps and alerts by their names, and the run not named again.
    pub(super) fn of_run(entry: &Entry, run: &Run, alert: &dyn Fn(&AlertId) -> Option<String>) -> Self {
        let mut event = Self { run: None, team: Some(run.authority.clone()), ..Self::of(entry) };
        if let Record::Run { event: what, .. } = &entry.record {
            let step = |step: &StepRef| run.step(*step).map_or_else(|| numbered(step), |it| it.name.to_string());
            event.text = of_run(what, &step, &|id| alert(id).unwrap_or_else(|| hash(id)));
        }
        event
    }

    /// Says the same of an entry of a run's log among others with the names of its steps and alerts.
    pub(super) fn name(&mut self, entry: &Entry, run: &Run, alert: &dyn Fn(&AlertId) -> Option<String>) {
        if let Record::Run { run: id, event: what, .. } = &entry.record {
            let step = |at: &StepRef| match (run.step(*at), at.part) {
                (Some(step), Part::Steps) => format!("step {}", step.name),
                (Some(step), Part::Otherwise) => format!("otherwise step {}", step.name),
                (None, _) => numbered(at),
            };
            let text = of_run(what, &step, &|id| alert(id).unwrap_or_else(|| hash(id)));
            self.text = format!("run {id} {text}");
        }
    }

    /// The category's word.
    pub(super) fn group(&self) -> &'static str {
        self.category.word()
    }
}

/// The alerts of which the last word in these entries is that they are kept quiet.
fn kept_quiet(entries: &[Entry]) -> BTreeSet<&AlertId> {
    let disposed = entries.iter().rev().filter_map(|entry| match &entry.record {
        Record::Disposed { alerts, disposition } => Some((alerts, matches!(disposition, Disposition::Quiet { .. }))),
        _ => None,
    });
    let last: BTreeMap<&AlertId, bool> =
        disposed.flat_map(|(alerts, quiet)| alerts.iter().map(move |id| (id, quiet))).collect();
    last.into_iter().filter(|(_, quiet)| *quiet).map(|(id, _)| id).collect()
}

fn ends(record: &Record) -> Option<Seq> {
    match record {
        Record::Result { intent, .. } => Some(*intent),
        _ => None,
    }
}

fn revision(record: &Record) -> Option<&Revision> {
    match record {
        Record::RevisionAccepted { revision, .. }
        | Record::RevisionState { revision, .. }
        | Record::Unpinned { revision, .. }
        | Record::Allowed { revision, .. } => Some(revision),
        Record::Pinned { pin, .. } => pin.revision.as_ref(),
        _ => None,
    }
}

fn mark(record: &Record) -> Option<Mark> {
    match record {
        Record::RevisionState { state, .. } => Some(Mark::of_revision(state.word())),
        Record::Source { error: Some(_), .. } => Some(Mark::Unknown),
        Record::Source { held: Some(_), .. } | Record::Held { .. } => Some(Mark::Held),
        Record::Result { outcome, .. } => match outcome {
            Outcome::Done { .. } => Some(Mark::Fine),
            Outcome::Retry { .. } | Outcome::UnderWay { .. } => Some(Mark::Progressing),
            Outcome::Rejected { .. } => Some(Mark::Degraded),
            Outcome::Unknown { .. } => Some(Mark::Unknown),
            Outcome::Superseded | Outcome::TakenUp => None,
        },
        Record::Status { sync, health, .. } => Some(status_mark(*sync, *health)),
        Record::Instance { .. } | Record::Pinned { .. } => Some(Mark::Degraded),
        Record::Drift { .. } => Some(Mark::Progressing),
        Record::Baked { again, .. } => (!again).then_some(Mark::Fine),
        Record::Alerts { signals, .. } => signals.iter().map(|signal| of_signal(signal, &BTreeSet::new())).min(),
        Record::AlertState { state, .. } => Some(Mark::of_alert(*state)),
        Record::Run { event, .. } => mark_of_run(event),
        Record::Page { event, .. } => match event {
            PageEvent::Opened(_) | PageEvent::Failed { .. } => Some(Mark::Degraded),
            PageEvent::Accepted { .. } => Some(Mark::Held),
            PageEvent::Closed { .. } => Some(Mark::Fine),
            _ => None,
        },
        Record::Latched { .. } => Some(Mark::Held),
        _ => None,
    }
}

fn of_signal(signal: &Signal, quiet: &BTreeSet<&AlertId>) -> Mark {
    match signal {
        Signal::Firing(alert) if quiet.contains(&alert.id) => Mark::Suspended,
        Signal::Still { alert, .. } if quiet.contains(alert) => Mark::Suspended,
        Signal::Firing(_) | Signal::Still { .. } => Mark::of_alert(AlertState::Firing),
        Signal::Resolved { .. } => Mark::of_alert(AlertState::Resolved),
        Signal::Silenced { .. } => Mark::of_alert(AlertState::Silenced),
    }
}

fn mark_of_run(event: &RunEvent) -> Option<Mark> {
    match event {
        RunEvent::Opened { .. } => Some(Mark::Progressing),
        RunEvent::StepEnded { outcome, .. } => Some(match outcome {
            StepOutcome::Done { .. } => Mark::Fine,
            StepOutcome::Failed { .. } => Mark::Degraded,
            StepOutcome::Unknown { .. } => Mark::Unknown,
        }),
        RunEvent::Raised { .. } | RunEvent::Turned { .. } => Some(Mark::Held),
        RunEvent::Ended { state, .. } => Some(Mark::of_run(*state)),
        _ => None,
    }
}

fn status_mark(sync: Sync, health: Health) -> Mark {
    match (sync, health) {
        (Sync::Held, _) => Mark::Held,
        (_, Health::Degraded) => Mark::Degraded,
        (Sync::Suspended, Health::Unknown) => Mark::Unknown,
        (Sync::Suspended, _) => Mark::Suspended,
        (Sync::Unknown, _) | (_, Health::Unknown) => Mark::Unknown,
        (Sync::Synced, Health::Healthy) => Mark::Fine,
        _ => Mark::Progressing,
    }
}

fn sentence(record: &Record) -> String {
    match record {
        Record::DaemonStarted { reloaded: true, .. } => "settings taken over".to_owned(),
        Record::DaemonStarted { version, .. } => format!("daemon {version} started"),
        Record::RevisionAccepted { revision, commits, .. } => accepted(revision, commits),
        Record::RevisionState { revision, state, why } => and(format!("revision {} {state}", revision.short()), why),
        Record::Kept { manifests, holders, gone, .. } => event_kept::sentence(manifests, holders, gone),
        Record::Stays { declared: Some(declared), .. } => {
            format!("its manifest has a mistake now: it stays as revision {} declares it", declared.revision.short())
        }
        Record::Stays { before: Some(before), .. } => {
            format!("its manifest has a mistake now: it stays as revision {} declares it", before.revision.short())
        }
        Record::Stays { .. } => "its manifest counts again".to_owned(),
        Record::Source { error: Some(error), .. } => format!("the repository cannot be followed: {error}"),
        Record::Source { held: Some(held), .. } => format!("the newest tip is not followed: {held}"),
        Record::Source { .. } => "the repository answers, and its newest commit is followed".to_owned(),
        Record::Intent { word, subject, cause, .. } => format!("{word} {} because of {cause}", short(subject)),
        Record::Result { what: Some(what), outcome, .. } => format!("{}: {}", short(what), outcome_text(outcome)),
        Record::Result { intent, outcome, .. } => format!("step {}: {}", intent.0, outcome_text(outcome)),
        Record::Status { sync, health, why, .. } => and(format!("{sync}, {health}"), why),
        Record::Instance { instance, what, .. } => format!("{instance}: {what}"),
        Record::Drift { what, .. } => format!("live state moved away: {what}"),
        Record::Baked { good, again: true, .. } => {
            format!("{} stays the last good, as it is declared now", good.resource.template_digest.short())
        }
        Record::Baked { good, .. } => format!("baked: {} is the last good", good.resource.template_digest.short()),
        Record::Ports { ports, .. } => event_kept::ports(ports),
        Record::Released { template, .. } => format!("release command of {} succeeded", template.short()),
        Record::Pinned { template, pin, .. } if pin.check_only => {
            format!("check pinned: {}; template {} is good and stays", pin.why, template.short())
        }
        Record::Pinned { template, pin, .. } => format!("{} failed and is pinned: {}", template.short(), pin.why),
        Record::Unpinned { revision, .. } => format!("commit {} says to try again", revision.short()),
        Record::Held { hold, changes, why, .. } => {
            format!("{} held as {hold}: {why}", plural(changes.len(), "change"))
        }
        Record::Allowed { hold, revision, .. } => format!("commit {} says `Codeops-Allow: {hold}`", revision.short()),
        Record::TakenBack { .. } => "its removal, which was held, is not asked for any more".to_owned(),
        Record::Removal { verb, hold, .. } => match hold {
            Some(hold) => format!("{verb} let through, released from hold {hold}"),
            None => format!("{verb} let through"),
        },
        Record::HoldSpent { hold } => format!("`Codeops-Allow: {hold}` releases nothing more"),
        Record::Forgotten { .. } => "gone; nothing more is remembered of it".to_owned(),
        Record::Renamed { from, .. } => format!("was {from} until now"),
        Record::System { provider, system } => format!("provider {provider} is system {system}"),
        Record::Waves { waves: Some(waves) } => {
            let update = |what: String| format!("{what} to change in waves, one after the other");
            let own = waves
                .own
                .iter()
                .map(|(team, members)| update(format!("{} of the team `{team}`", plural(members.len(), "resource"))));
            let all = Some(waves.members.len()).filter(|members| *members > 0);
            let all = all.map(|members| update(plural(members, "resource")));
            all.into_iter().chain(own).collect::<Vec<_>>().join("; ")
        }
        Record::Waves { waves: None } => "the update in waves has ended".to_owned(),
        Record::Alerts { receiver, signals, spoiled, .. } => alerts(receiver, signals, *spoiled),
        Record::AlertState { alerts, state, why } => {
            format!("{} {state}: {why}", plural(alerts.len(), "alert"))
        }
        Record::Disposed { alerts, disposition } => {
            format!("{} {}", plural(alerts.len(), "alert"), disposition_text(disposition))
        }
        Record::Run { run, event, .. } => {
            format!("run {run} {}", of_run(event, &numbered, &hash))
        }
        Record::Page { page, event } => format!("page {page} {}", event_page::sentence(event)),
        Record::Scheduled { playbook, due, left: None, .. } => format!("playbook {playbook} was due at {due}"),
        Record::Scheduled { playbook, due, left: Some(why), of: Some(of) } if why == SCHEDULE_CHANGED => {
            format!("playbook {playbook} has a new schedule, `{of}`: its times after {due} count, and none was missed")
        }
        Record::Scheduled { playbook, due, left: Some(why), .. } => {
            format!("playbook {playbook}, due at {due}, is left: {why}")
        }
        Record::Watchdog { receiver } => format!("receiver {receiver} heard its Watchdog"),
        Record::Renewed { renewal, .. } => format!(
            "{} make way for new ones: playbook {}, run {}",
            plural(renewal.instances.len(), "instance"),
            renewal.playbook,
            renewal.run
        ),
        Record::Latched { .. } => {
            "is latched: it came back for the third time in an hour. No playbook tries anything on it until it has been healthy, and nothing of it has fired, for an hour"
                .to_owned()
        }
        Record::Unlatched { why, .. } => format!("playbooks may try again: {why}"),
        Record::Note { text, .. } => text.clone(),
    }
}

fn alerts(receiver: &Name, signals: &[Signal], spoiled: u32) -> String {
    let name = |signal: &Signal| match signal {
        Signal::Firing(alert) => format!("{} fires", alert.name()),
        Signal::Still { alert, name, .. } => {
            format!("{} still fires", name.as_deref().unwrap_or_else(|| alert.fingerprint.as_str()))
        }
        Signal::Resolved { name: Some(name), .. } => format!("{name} is over"),
        Signal::Resolved { fingerprint, .. } => format!("{fingerprint} is over"),
        Signal::Silenced { name: Some(name), .. } => format!("{name} is silenced"),
        Signal::Silenced { fingerprint, .. } => format!("{fingerprint} is silenced"),
    };
    let mut text = match signals {
        [] => "nothing new".to_owned(),
        [only] => name(only),
        [first, rest @ ..] => format!("{} and {} more", name(first), rest.len()),
    };
    if spoiled > 0 {
        text.push_str(&format!("; {} could not be read", plural(spoiled as usize, "element")));
    }
    format!("receiver {receiver}: {text}")
}

fn disposition_text(disposition: &Disposition) -> String {
    match disposition {
        Disposition::Received => "received".to_owned(),
        Disposition::Waits { why } => format!("waits: {why}"),
        Disposition::Run { run } => format!("answered by run {run}"),
        Disposition::Quiet { why } => format!("kept quiet: {why}"),
        Disposition::Left { why } => format!("left: {why}"),
    }
}

fn accepted(revision: &Revision, commits: &[crate::port::Commit]) -> String {
    let subject = commits.last().map_or("", |commit| commit.subject.as_str());
    let more = commits.len().saturating_sub(1);
    let more = if more == 0 { String::new() } else { format!(" and {} more", plural(more, "commit")) };
    format!("revision {} accepted: {subject}{more}", revision.short())
}

fn and(text: String, why: &Option<String>) -> String {
    match why {
        Some(why) => format!("{text}: {why}"),
        None => text,
    }
}

/// Digests are cut to their short form, for people.
pub(super) fn short(subject: &str) -> String {
    let word = |word: &str| word.parse::<Digest>().map_or_else(|_| word.to_owned(), |digest| digest.short().to_owned());
    subject.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// How an intent ended, in a few words.
pub(super) fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { note } => and("done".to_owned(), note),
        Outcome::Retry { error, backoff_ms } => {
            let wait = SignedDuration::from_millis(i64::try_from(*backoff_ms).unwrap_or(i64::MAX));
            format!("not yet, again after {}: {error}", took(wait))
        }
        Outcome::UnderWay { note } => format!("under way: {note}"),
        Outcome::Rejected { error } => format!("refused: {error}"),
        Outcome::Unknown { error } => format!("not known, looking again: {error}"),
        Outcome::Superseded => "no longer matters".to_owned(),
        Outcome::TakenUp => "taken up again where it was left".to_owned(),
    }
}
