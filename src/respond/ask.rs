//! Questions to monitoring systems, how the alerts of a run are: beside the flow, and within a time that does not grow with
//! how many there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::{Alert, AlertId, AlertState, Run, RunEvent, RunId};
use tokio::task::JoinSet;

use super::{Event, Flow};
use crate::journal::LogError;
use crate::port::AlertSources;

/// How long all questions of one run may take: a person waits behind them.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// How many are on at once.
const AT_ONCE: usize = 8;

impl Flow {
    /// Asks how these alerts of a run are, unless that is being asked.
    pub(super) fn ask(&mut self, run: &Run, alerts: &[AlertId]) {
        if !self.asking.insert(run.id) {
            return;
        }
        let answers: BTreeMap<AlertId, AlertState> =
            alerts.iter().map(|id| (id.clone(), AlertState::Unknown)).collect();
        let known: Vec<Arc<Alert>> = self.remembered(|response| {
            alerts.iter().filter_map(|id| response.alerts.get(id).map(|it| Arc::clone(&it.alert))).collect()
        });
        let (sources, sender, run) = (Arc::clone(&self.tools.sources), self.afoot.sender.clone(), run.id);
        self.tasks.spawn(async move {
            let answers = answered(sources, known, answers).await.into_iter().collect();
            let _ = sender.send(Event::Answered { run, answers }).await;
        });
    }

    /// What sources said.
    pub(super) async fn answered(&mut self, id: RunId, answers: Vec<(AlertId, AlertState)>) -> Result<(), LogError> {
        self.asking.remove(&id);
        let Some(run) = self.remembered(|response| response.runs.get(&id).cloned()) else { return Ok(()) };
        let silenced = answers.iter().filter(|(_, state)| *state == AlertState::Silenced).map(|(id, _)| id.clone());
        self.hold_back(silenced.collect()).await?;
        let over = answers.iter().filter(|(_, state)| *state == AlertState::Resolved).map(|(id, _)| id.clone());
        self.found_over(over.collect()).await?;
        let events = answers.into_iter().map(|(alert, state)| RunEvent::Asked { alert, state }).collect();
        self.record(&run, events).await
    }
}

/// These answers with all that is said in time; who breaks off says nothing.
async fn answered(
    sources: Arc<dyn AlertSources>,
    alerts: Vec<Arc<Alert>>,
    mut answers: BTreeMap<AlertId, AlertState>,
) -> BTreeMap<AlertId, AlertState> {
    let mut on: JoinSet<(AlertId, AlertState)> = JoinSet::new();
    let mut alerts = alerts.into_iter();
    let all = async {
        loop {
            while on.len() < AT_ONCE
                && let Some(alert) = alerts.next()
            {
                let sources = Arc::clone(&sources);
                on.spawn(async move { (alert.id.clone(), sources.ask(&alert).await) });
            }
            match on.join_next().await {
                Some(Ok((id, state))) => drop(answers.insert(id, state)),
                Some(Err(_)) => {}
                None => return,
            }
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        tracing::warn!("monitoring did not answer within {} s how all alerts of a run are", PATIENCE.as_secs());
    }
    answers
}
