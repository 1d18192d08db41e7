//! Events as lists and streams tell them: each with the team whose it is, and a run's steps and alerts by their names, which
//! the journal's entries have as numbers and hashes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Known;
use std::sync::Arc;

use codeops_core::model::{AlertId, Name, Run, RunEvent, RunId};

use super::event::Event;
use super::{Web, team};
use crate::journal::{Entry, Record};

/// Completes what lists tell of these entries.
pub(super) async fn complete(web: &Web, entries: &[Entry], events: &mut [Event]) {
    team::name(web, entries, events).await;
    let mut runs: BTreeMap<RunId, Option<Arc<Run>>> = BTreeMap::new();
    let by_id: BTreeMap<u64, &Entry> = entries.iter().map(|entry| (entry.seq.0, entry)).collect();
    for event in events {
        let Some((entry, id)) = by_id.get(&event.id).and_then(|entry| Some((*entry, names(entry)?))) else { continue };
        let run = match runs.entry(id) {
            Known::Occupied(known) => known.into_mut(),
            Known::Vacant(new) => new.insert(web.page.journal.run(id).await.ok().flatten()),
        };
        if let Some(run) = run {
            event.name(entry, run, &|alert| alert_name(web, run, alert));
        }
    }
}

/// One entry as a stream tells it.
pub(super) async fn event(web: &Web, entry: &Entry) -> Event {
    let mut event = [Event::of(entry)];
    complete(web, std::slice::from_ref(entry), &mut event).await;
    let [event] = event;
    event
}

/// The run whose steps or alerts an entry names.
fn names(entry: &Entry) -> Option<RunId> {
    let Record::Run { run, event, .. } = &entry.record else { return None };
    match event {
        RunEvent::StepSkipped { .. }
        | RunEvent::StepBegun { .. }
        | RunEvent::StepEnded { .. }
        | RunEvent::Holds { .. }
        | RunEvent::Joined { .. }
        | RunEvent::Asked { .. } => Some(*run),
        _ => None,
    }
}

/// What an alert of a run is called, as far as that is still known.
pub(super) fn alert_name(web: &Web, run: &Run, alert: &AlertId) -> Option<String> {
    let said = |receiver: &Name, name: &str| (web.page.redact)(team::sender(web, receiver), name);
    let known = web.page.journal.response(|response| response.alerts.get(alert).map(Arc::clone));
    known.map(|known| said(&known.alert.receiver, known.alert.name())).or_else(|| {
        let first = run.alert.get("fingerprint").and_then(|it| it.as_str()) == Some(alert.fingerprint.as_str());
        let name = run.alert.pointer("/labels/alertname").filter(|_| first)?;
        let receiver = run.alert.get("receiver").and_then(|name| Name::new(name.as_str()?).ok())?;
        name.as_str().map(|name| said(&receiver, name))
    })
}
