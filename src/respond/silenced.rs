//! What its source holds back, by a silence or an inhibition there, is asked about again: most sources do not tell when that
//! ends. Until then nothing is done about it; then it is judged as if it came now.

use std::sync::Arc;

use codeops_core::model::{Alert, AlertId, AlertMemory, AlertState, Disposition};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use super::alerts::Fate;
use super::ask::PATIENCE;
use super::{Event, Flow};
use crate::journal::{LogError, Record};

/// How often sources are asked.
const LOOK: SignedDuration = SignedDuration::from_secs(15);

impl Flow {
    /// Asks the sources of what they hold back, if it is time.
    pub(super) fn silenced(&mut self, now: Timestamp) {
        let askable = &self.tools.rules.askable;
        let held = |it: &&Arc<AlertMemory>| {
            it.state == AlertState::Silenced
                && matches!(it.disposition, Disposition::Quiet { .. })
                && askable.contains(&it.alert.id.source)
        };
        let held: Vec<Arc<Alert>> =
            self.remembered(|response| response.alerts.values().filter(held).map(|it| Arc::clone(&it.alert)).collect());
        if held.is_empty() || self.asking_silenced {
            return;
        }
        let next = self.silenced_asked_at.and_then(|at| at.checked_add(LOOK).ok()).unwrap_or(now);
        if now < next {
            return self.wake_at(next);
        }
        (self.silenced_asked_at, self.asking_silenced) = (Some(now), true);
        let (sources, sender) = (Arc::clone(&self.tools.sources), self.sender.clone());
        self.tasks.spawn(async move {
            // One of its own: what panics says nothing, and must not end the asking.
            let mut on = JoinSet::new();
            on.spawn(async move { sources.ask_all(&held).await });
            let answers = match tokio::time::timeout(PATIENCE, on.join_next()).await {
                Ok(Some(Ok(answers))) => answers,
                _ => Vec::new(),
            };
            let _ = sender.send(Event::Looked { answers }).await;
        });
    }

    /// What sources say of what they held back.
    pub(super) async fn looked(&mut self, answers: Vec<(AlertId, AlertState)>) -> Result<(), LogError> {
        self.asking_silenced = false;
        let still: Vec<(AlertId, AlertState)> = self.remembered(|response| {
            let silenced = |id: &AlertId| response.alerts.get(id).is_some_and(|it| it.state == AlertState::Silenced);
            answers.into_iter().filter(|(id, _)| silenced(id)).collect()
        });
        let now = [
            (AlertState::Firing, "its source does not hold it back any more"),
            (AlertState::Resolved, "its source says so, which held it back"),
        ];
        let mut records = Vec::new();
        for (state, why) in now {
            let alerts: Vec<AlertId> = still.iter().filter(|(_, is)| *is == state).map(|(id, _)| id.clone()).collect();
            if !alerts.is_empty() {
                records.push(Record::AlertState { alerts, state, why: why.to_owned() });
            }
        }
        self.tools.journal.record(records).await.map(|_| ())
    }

    /// Notes of these alerts that their source, when asked, said that it holds them back. What is over by now stays over.
    pub(super) async fn hold_back(&self, alerts: Vec<AlertId>) -> Result<(), LogError> {
        let alerts: Vec<AlertId> = self.remembered(|response| {
            let open = |id: &AlertId| {
                let state = response.alerts.get(id).map(|it| it.state);
                state.is_some_and(|state| !matches!(state, AlertState::Resolved | AlertState::Silenced))
            };
            alerts.into_iter().filter(open).collect()
        });
        if alerts.is_empty() {
            return Ok(());
        }
        let why = "its source holds it back, by a silence or an inhibition there".to_owned();
        let record = Record::AlertState { alerts, state: AlertState::Silenced, why };
        self.tools.journal.record(vec![record]).await.map(|_| ())
    }

    /// What becomes of an alert that its source holds back and that no run is on: it waits for the end of that, where its source
    /// can be asked.
    pub(super) fn fate_of_silenced(&self, alert: &AlertMemory) -> Fate {
        if self.tools.rules.askable.contains(&alert.alert.id.source) {
            return Fate::Quiet("its source holds it back, and is asked until it does not".to_owned());
        }
        Fate::Left(match &alert.disposition {
            Disposition::Run { run } => format!("run {run} has ended, and its source holds it back"),
            _ => "it was silenced before its turn".to_owned(),
        })
    }
}
