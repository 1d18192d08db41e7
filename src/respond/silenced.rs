//! What its source holds back, by a silence or an inhibition there, is asked about again: most sources do not tell when that
//! ends. Until then nothing is done about it; then it is judged as if it came now. So is what its source, when asked, said to be
//! over and has not told of since: where its end was held back, the source may take what comes back for told. And what still
//! fires though its run is over: that its end is held back as well nobody else finds out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::model::{Alert, AlertId, AlertMemory, AlertState, Disposition, Name, ResponseMemory, Signal};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use super::alerts::Fate;
use super::ask::PATIENCE;
use super::{Event, Flow, is_due};
use crate::journal::{LogError, Record};
use crate::port::AlertAnswer;

/// How often sources are asked.
const LOOK: SignedDuration = SignedDuration::from_secs(15);

impl Flow {
    /// Asks the sources of what they hold back, and of what was found to be over, if it is time. Each has a question and a time
    /// of its own: one that hangs keeps its own alerts waiting, and nobody else's.
    pub(super) fn silenced(&mut self, now: Timestamp) {
        // They may be many, and each turn comes by here.
        if let Some(at) = self.silenced_asked_at.filter(|at| !is_due(Some(*at), LOOK, now)) {
            return self.wake_at(at.checked_add(LOOK).unwrap_or(now));
        }
        let mut asked: BTreeMap<Name, Vec<Arc<Alert>>> = BTreeMap::new();
        for alert in self.remembered(|response| self.to_ask(response, now)) {
            if let Some(receiver) = self.tools.sources.asked_by(&alert) {
                asked.entry(receiver).or_default().push(alert);
            }
        }
        if asked.is_empty() {
            return;
        }
        self.silenced_asked_at = Some(now);
        self.wake_at(now.checked_add(LOOK).unwrap_or(now));
        for (receiver, alerts) in asked {
            if !self.asking_silenced.insert(receiver.clone()) {
                continue;
            }
            let (sources, sender) = (Arc::clone(&self.tools.sources), self.afoot.sender.clone());
            let ids: Vec<AlertId> = alerts.iter().map(|alert| alert.id.clone()).collect();
            self.tasks.spawn(async move {
                // One of its own: what panics says nothing, and must not end the asking.
                let (mut on, name) = (JoinSet::new(), receiver.clone());
                on.spawn(async move { sources.ask_all(&name, &alerts).await });
                let answers = match tokio::time::timeout(PATIENCE, on.join_next()).await {
                    Ok(Some(Ok(answers))) => answers,
                    _ => Vec::new(),
                };
                let _ = sender.send(Event::Looked { receiver, asked: ids, answers }).await;
            });
        }
    }

    /// The alerts whose sources are to be asked how they are.
    fn to_ask(&self, response: &ResponseMemory, now: Timestamp) -> Vec<Arc<Alert>> {
        let wanted = |it: &AlertMemory| match it.state {
            // What was left while its source could not be asked counts from now on: what else brings it is dropped meanwhile.
            AlertState::Silenced => matches!(it.disposition, Disposition::Quiet { .. } | Disposition::Left { .. }),
            AlertState::Resolved => it.asked && response.matters(it, now) && is_last(&it.alert.id, response),
            // Nobody else finds out that it is over, where that was held back.
            AlertState::Firing => {
                matches!(&it.disposition, Disposition::Run { run } if !response.runs.contains_key(run))
            }
            _ => false,
        };
        let askable = |it: &&Arc<AlertMemory>| self.tools.rules.askable.contains(&it.alert.id.source);
        let asked = response.alerts.values().filter(|it| wanted(it)).filter(askable);
        asked.map(|it| Arc::clone(&it.alert)).collect()
    }

    /// What a source says of what it held back, and of what was found to be over.
    pub(super) async fn looked(
        &mut self,
        receiver: &Name,
        asked: &[AlertId],
        answers: Vec<AlertAnswer>,
    ) -> Result<(), LogError> {
        self.asking_silenced.remove(receiver);
        let said = answers.iter().filter(|it| it.state != AlertState::Unknown).map(|it| &it.id);
        let said: BTreeSet<&AlertId> = said.collect();
        self.tools.journal.asked(asked.iter().map(|id| (id, said.contains(id))));
        let (mut fires, mut over, mut anew) = (BTreeMap::new(), Vec::new(), Vec::new());
        self.remembered(|response| {
            for answer in answers {
                let Some(known) = response.alerts.get(&answer.id) else { continue };
                let why = match known.state {
                    AlertState::Silenced => "its source does not hold it back any more",
                    AlertState::Resolved if known.asked => "its source has it again, and did not tell",
                    AlertState::Firing => "",
                    _ => continue,
                };
                let open = known.state != AlertState::Resolved;
                match (answer.state, answer.anew) {
                    (AlertState::Firing, None) if known.state == AlertState::Firing => {}
                    (AlertState::Firing, None) => fires.entry(why).or_insert_with(Vec::new).push(answer.id),
                    (AlertState::Firing, Some(alert)) => {
                        over.extend(open.then_some(answer.id));
                        anew.push(alert);
                    }
                    (AlertState::Resolved, _) => over.extend(open.then_some(answer.id)),
                    _ => {}
                }
            }
        });
        let record = |(why, alerts): (&str, Vec<AlertId>), state| {
            let why = why.to_owned();
            (!alerts.is_empty()).then_some(Record::AlertState { alerts, state, why })
        };
        let mut records: Vec<Record> = fires.into_iter().filter_map(|it| record(it, AlertState::Firing)).collect();
        records.extend(record(("its source, when asked, says so", over), AlertState::Resolved));
        self.tools.journal.record(records).await?;
        self.begin_anew(anew).await
    }

    /// Takes in alerts that began anew and that their source may not tell of for long: it thinks that it has.
    async fn begin_anew(&self, alerts: Vec<Arc<Alert>>) -> Result<(), LogError> {
        for alert in alerts {
            let (receiver, name) = (alert.receiver.clone(), alert.name().to_owned());
            match self.tools.journal.receive(&receiver, &[], vec![Signal::Firing(alert)], 0).await {
                // There is no room now: the source is asked again.
                Err(error @ (LogError::Overloaded | LogError::Full)) => {
                    tracing::warn!(%receiver, alert = name, %error, "an alert that fires anew cannot be taken in now");
                }
                taken => drop(taken?),
            }
        }
        Ok(())
    }

    /// Notes of these alerts that their source, when asked, said that they are over: what it says itself of their end may have
    /// been held back by a silence, or lost.
    pub(super) async fn found_over(&self, alerts: Vec<AlertId>) -> Result<(), LogError> {
        let alerts: Vec<AlertId> = self.remembered(|response| {
            let open = |id: &AlertId| response.alerts.get(id).is_some_and(|it| it.state != AlertState::Resolved);
            alerts.into_iter().filter(open).collect()
        });
        if alerts.is_empty() {
            return Ok(());
        }
        let why = "its source, when asked, says so".to_owned();
        let record = Record::AlertState { alerts, state: AlertState::Resolved, why };
        self.tools.journal.record(vec![record]).await.map(|_| ())
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

/// Whether nothing is known of the same that began later.
fn is_last(id: &AlertId, response: &ResponseMemory) -> bool {
    let last = AlertId { starts_at: Timestamp::MAX, ..id.clone() };
    response.alerts.range(id..=&last).nth(1).is_none()
}
