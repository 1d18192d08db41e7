//! The alerts of a period as a journal has them: what became of each, and what else fired at that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::alert::{Quiet, Router};
use codeops_core::model::{Alert, AlertId, Disposition, Memory, Name, Run, Signal, TeamName};
use jiff::Timestamp;

use crate::journal::{AlertQuery, Category, Entry, Query, Record, RunQuery, SignalQuery, fold};
use crate::store::Archive;

/// How much is read at a time.
const PAGE: usize = 500;

/// What a journal has of a period.
pub(super) struct Past {
    /// What was delivered, in order.
    told: Vec<Entry>,
    /// In the order in which it was decided.
    moments: Vec<Moment>,
}

/// One alert, when it was decided what becomes of it.
pub(super) struct Moment {
    pub(super) at: Timestamp,
    /// As it was first told of.
    pub(super) alert: Arc<Alert>,
    pub(super) was: Was,
}

/// What became of it.
pub(super) enum Was {
    /// A run, its own or one that it joined.
    Run(Arc<Run>),
    /// It was kept quiet for this reason, until it was over or until now.
    Quiet(String),
    /// What no tree decides, and what did: a storm's page, a page that told of it already, its end before its turn.
    Neither(String),
}

impl Past {
    /// Reads it.
    pub(super) fn read(archive: &Archive, from: Timestamp, to: Timestamp) -> anyhow::Result<Self> {
        let mut told = told(archive, from, to)?;
        as_known(archive, &mut told)?;
        let (runs, receipts) = (runs(archive, from)?, receipts(archive, from)?);
        let mut first: BTreeMap<AlertId, (Timestamp, Arc<Alert>)> = BTreeMap::new();
        for entry in &told {
            let Record::Alerts { signals, .. } = &entry.record else { continue };
            for signal in signals {
                if let Signal::Firing(alert) = signal {
                    first.entry(alert.id.clone()).or_insert_with(|| (entry.at, Arc::clone(alert)));
                }
            }
        }
        let moment = |(id, (at, alert)): (AlertId, (Timestamp, Arc<Alert>))| {
            let (at, was) = match runs.get(&id) {
                // What was kept quiet first was decided when that ended.
                Some(run) => (at.max(run.opened_at), Was::Run(Arc::clone(run))),
                // All that had come by then was judged together.
                None => match receipts.get(&id) {
                    Some((judged_at, receipt)) => (at.max(*judged_at), was(Some(receipt))),
                    None => (at, was(None)),
                },
            };
            Moment { at, alert, was }
        };
        let mut moments: Vec<Moment> = first.into_iter().map(moment).collect();
        moments.sort_by_key(|moment| moment.at);
        Ok(Self { told, moments })
    }

    /// Each alert, with what fires when it is decided, under these rules. Answers how many there are.
    pub(super) fn each(
        &self,
        router: &Router,
        receivers: &BTreeMap<Name, BTreeSet<TeamName>>,
        mut look: impl FnMut(&Moment, &Quiet<'_>),
    ) -> usize {
        let (mut memory, mut told) = (Memory::default(), self.told.iter().peekable());
        let mut firing = Quiet::new(router, &memory.response.alerts, receivers);
        for moment in &self.moments {
            let mut more = false;
            while let Some(entry) = told.next_if(|entry| entry.at <= moment.at) {
                fold(&mut memory, entry);
                more = true;
            }
            if more {
                firing = Quiet::new(router, &memory.response.alerts, receivers);
            }
            look(moment, &firing);
        }
        self.moments.len()
    }
}

fn told(archive: &Archive, from: Timestamp, to: Timestamp) -> anyhow::Result<Vec<Entry>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = archive.signals_between(&SignalQuery { from, to, after, limit: PAGE })?;
        found.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

/// What is only told to fire still says no more of it: what that was is known.
fn as_known(archive: &Archive, told: &mut [Entry]) -> anyhow::Result<()> {
    let signals = told.iter_mut().filter_map(|entry| match &mut entry.record {
        Record::Alerts { signals, .. } => Some(signals),
        _ => None,
    });
    let still: Vec<&mut Signal> = signals.flatten().filter(|signal| matches!(signal, Signal::Still { .. })).collect();
    if still.is_empty() {
        return Ok(());
    }
    let known = alerts(archive)?;
    for signal in still {
        if let Signal::Still { alert, expires_at, .. } = signal
            && let Some(known) = known.get(alert)
        {
            *signal = Signal::Firing(Arc::new(Alert { expires_at: Some(*expires_at), ..known.as_ref().clone() }));
        }
    }
    Ok(())
}

/// All alerts that are known, those that are over too.
fn alerts(archive: &Archive) -> anyhow::Result<BTreeMap<AlertId, Arc<Alert>>> {
    let (mut found, mut query) = (BTreeMap::new(), AlertQuery { limit: PAGE, ..AlertQuery::default() });
    loop {
        let page = archive.alerts(&query)?;
        found.extend(page.items.into_iter().map(|it| (it.alert.id.clone(), Arc::clone(&it.alert))));
        match page.next {
            Some(next) => query.before = Some(next),
            None => return Ok(found),
        }
    }
}

/// The run that answered each alert: its own, or the one it joined.
fn runs(archive: &Archive, from: Timestamp) -> anyhow::Result<BTreeMap<AlertId, Arc<Run>>> {
    let (mut found, mut before) = (BTreeMap::new(), None);
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

/// What became of an alert that no run answered.
fn was(receipt: Option<&Disposition>) -> Was {
    match receipt {
        Some(Disposition::Quiet { why }) => Was::Quiet(why.clone()),
        Some(Disposition::Waits { .. }) => Was::Neither("in a storm".to_owned()),
        Some(Disposition::Left { why }) if why.starts_with("a storm") => Was::Neither("in a storm".to_owned()),
        // Written by older daemons only: by now what is latched joins a page or calls a person.
        Some(Disposition::Left { why }) if why.starts_with("latched") => Was::Neither("latched".to_owned()),
        Some(Disposition::Left { why }) => Was::Neither(why.clone()),
        Some(Disposition::Run { .. }) => Was::Neither("a page told of it already".to_owned()),
        Some(Disposition::Received) | None => Was::Neither("nothing was decided yet".to_owned()),
    }
}

/// What became of each alert last; of those that were kept quiet at some time, why; and when each was judged first.
fn receipts(archive: &Archive, from: Timestamp) -> anyhow::Result<BTreeMap<AlertId, (Timestamp, Disposition)>> {
    let (mut found, mut before) = (BTreeMap::new(), None);
    loop {
        let categories = vec![Category::Alert];
        let page = archive.read(&Query { categories, before, limit: PAGE, ..Query::default() })?;
        // The newest come first.
        let older = page.items.last().is_some_and(|entry| entry.at < from);
        for entry in page.items {
            let (at, Record::Disposed { alerts, disposition }) = (entry.at, entry.record) else { continue };
            for alert in alerts {
                let (judged_at, known) = found.entry(alert).or_insert_with(|| (at, disposition.clone()));
                *judged_at = at;
                let quiet = |it: &Disposition| matches!(it, Disposition::Quiet { .. });
                if quiet(&disposition) && !quiet(known) {
                    known.clone_from(&disposition);
                }
            }
        }
        match page.next {
            Some(next) if !older => before = Some(next),
            _ => return Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use codeops_core::model::{Fingerprint, Labels, Response, Whose};

    use super::*;
    use crate::journal::Log as _;
    use crate::port::Clock;
    use crate::store::Sqlite;

    /// A clock of its own, in milliseconds.
    struct At(AtomicI64);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::from_millisecond(self.0.load(Ordering::Relaxed)).expect("a time")
        }
    }

    fn told_of(name: &str) -> (AlertId, Record) {
        let labels: Labels = [("alertname".to_owned(), name.to_owned())].into();
        let receiver: Name = "main".parse().expect("a name");
        let id = AlertId {
            source: receiver.clone(),
            fingerprint: Fingerprint::of(&labels),
            starts_at: Timestamp::UNIX_EPOCH,
        };
        let (annotations, url, expires_at) = (Labels::new(), None, None);
        let alert = Alert { id: id.clone(), receiver: receiver.clone(), labels, annotations, url, expires_at };
        let signals = vec![Signal::Firing(Arc::new(alert))];
        (id, Record::Alerts { receiver, delivery: Vec::new(), signals, spoiled: 0 })
    }

    #[tokio::test]
    async fn what_came_shortly_after_it_and_was_judged_with_it_fires_when_it_is_decided_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Arc::new(At(AtomicI64::new(1_000)));
        let store = Sqlite::open(folder.path(), Arc::clone(&clock) as Arc<dyn Clock>).expect("a store");
        let ((disk, first), (_, second)) = (told_of("DiskSlow"), told_of("HostDown"));
        let quiet = Disposition::Quiet { why: "inhibited by alert HostDown, which fires".to_owned() };
        for (at, record) in [
            (1_000, first),
            (1_003, second),
            (1_005, Record::Disposed { alerts: vec![disk.clone()], disposition: quiet }),
        ] {
            clock.0.store(at, Ordering::Relaxed);
            store.append(vec![record]).await.expect("it is written down");
        }
        let archive = Sqlite::open_read(folder.path()).expect("a store to read");
        let end = Timestamp::from_second(9).expect("a time");
        let past = Past::read(&archive, Timestamp::UNIX_EPOCH, end).expect("it reads");
        let router = Router::new(&Arc::new(Response::default()), None, Whose::default());
        let mut seen = Vec::new();
        past.each(&router, &BTreeMap::new(), |moment, _| seen.push((moment.alert.id.clone(), moment.at)));
        let judged = seen.iter().find(|(id, _)| *id == disk).map(|(_, at)| at.as_millisecond());
        assert_eq!(judged, Some(1_005), "when it was judged, and not when it came");
    }

    #[tokio::test]
    async fn what_is_only_told_to_fire_still_is_decided_as_what_it_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Arc::new(At(AtomicI64::new(1_000)));
        let store = Sqlite::open(folder.path(), Arc::clone(&clock) as Arc<dyn Clock>).expect("a store");
        let ((id, first), second) = (told_of("HostDown"), Timestamp::from_second);
        let still = Signal::Still { alert: id.clone(), expires_at: Timestamp::MAX, name: None };
        let receiver = "main".parse().expect("a name");
        let again = Record::Alerts { receiver, delivery: Vec::new(), signals: vec![still], spoiled: 0 };
        for (at, record) in [(1_000, first), (20_000, again)] {
            clock.0.store(at, Ordering::Relaxed);
            store.append(vec![record]).await.expect("it is written down");
        }
        let archive = Sqlite::open_read(folder.path()).expect("a store to read");
        let past = Past::read(&archive, second(15).expect("a time"), second(30).expect("a time")).expect("it reads");
        let router = Router::new(&Arc::new(Response::default()), None, Whose::default());
        let mut seen = Vec::new();
        past.each(&router, &BTreeMap::new(), |moment, _| {
            seen.push((moment.alert.id.clone(), moment.alert.name().to_owned()));
        });
        assert_eq!(seen, [(id, "HostDown".to_owned())]);
    }
}
