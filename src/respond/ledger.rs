//! Latches that end, and runs that end because this daemon only observes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::model::{
    AlertId, AlertMemory, AlertState, Health, Name, PageOpened, Run, RunEvent, RunState, Rung, Subject,
};
use codeops_core::playbook::unlatches_at;
use jiff::Timestamp;

use super::Flow;
use crate::journal::{LogError, Record};

/// So many runs are named in a page of many.
const NAMED: usize = 20;

impl Flow {
    /// Ends latches of what has been healthy, and of which nothing has fired, for an hour.
    pub(super) async fn ledger(&mut self) -> Result<(), LogError> {
        let now = self.tools.clock.now();
        let healthy_since = |subject: &Subject| match subject {
            Subject::Resource(id) => {
                self.board.resources.get(id).filter(|view| view.health == Health::Healthy).map(|view| view.since)
            }
            Subject::Playbook(_) | Subject::Group { .. } => Some(Timestamp::MIN),
        };
        let latched: Vec<(Subject, Timestamp)> = self.remembered(|response| {
            let ends =
                |subject: &Subject| Some((subject.clone(), unlatches_at(subject, healthy_since(subject), response)?));
            response.ledger.keys().filter_map(ends).collect()
        });
        let mut records = Vec::new();
        for (subject, at) in latched {
            if at <= now {
                let why = "for an hour it has been healthy, and nothing of it has fired".to_owned();
                records.push(Record::Unlatched { subject, why });
            } else {
                self.wake_at(at);
            }
        }
        self.tools.journal.record(records).await.map(|_| ())
    }

    /// A store older than what it observes, or settings that only observe: alerts tell people alone. The first ends old runs,
    /// and says so in one page; under the second they are held as by a freeze.
    pub(super) async fn observe(&mut self, why: &str) -> Result<(), LogError> {
        if !self.tools.rules.observe {
            self.end_old_runs(why).await?;
        }
        self.alerts().await?;
        self.answers().await?;
        self.other_runs().await
    }

    /// One page says so, and of each cancelled run whose alert still fires whoever is told of it is called: in one page for all of
    /// a policy, for the fallback in the same.
    async fn end_old_runs(&mut self, why: &str) -> Result<(), LogError> {
        let runs: Vec<Arc<Run>> = self.remembered(|response| {
            let old = response.runs.values().filter(|run| run.rung != Rung::Page);
            old.cloned().collect()
        });
        let observes = self.board.revision.as_ref().map(|it| it.id.clone());
        // A page that is open says so, also to the next daemon; one that nobody could be told of was said once.
        let is_said = self.tools.said.with(|said| said.observing.as_deref() == Some(why))
            || self.remembered(|response| {
                let pages = response.pages.values().map(|page| &page.observes);
                let mut told = pages.chain(response.calls.values().map(|call| &call.observes));
                observes.is_some() && told.any(|of| *of == observes)
            });
        if runs.is_empty() && is_said {
            return Ok(());
        }
        let state = RunState::Cancelled;
        let mut unheard: BTreeMap<Name, Vec<&Run>> = BTreeMap::new();
        for run in &runs {
            let policy = self.calls_of(run, state);
            self.log_end(run, state, why, policy.is_some());
            if let Some(policy) = policy {
                unheard.entry(policy).or_default().push(run);
            }
        }
        let fallback = self.tools.rules.fallback.clone();
        let text = match runs.len() {
            0 => format!("No run was on. {why}"),
            many => format!("{many} runs were cancelled. {why}"),
        };
        let own = fallback.as_ref().and_then(|fallback| unheard.remove(fallback));
        let fires_on = own.map(|runs| format!("\n{}", self.fire_on(&runs).0)).unwrap_or_default();
        let opened = PageOpened {
            policy: fallback,
            title: "codeops only observes until a commit".to_owned(),
            body: format!("{text}\nAlerts are answered by no playbook until then: each calls a person.{fires_on}"),
            observes: observes.clone(),
            ..PageOpened::default()
        };
        let ended = |run: &Arc<Run>| {
            let event = RunEvent::Ended { state, why: why.to_owned() };
            Record::Run { run: run.id, resource: None, event }
        };
        let mut beside: Vec<Record> = runs.iter().map(ended).collect();
        for (policy, runs) in unheard {
            let (text, alerts) = self.fire_on(&runs);
            let body = format!("No playbook answers them until a commit. {why}\n{text}");
            let title = "cancelled by a codeops that only observes: alerts fire on".to_owned();
            let (policy, observes) = (Some(policy), observes.clone());
            let opened = PageOpened { policy, title, body, alerts, observes, ..PageOpened::default() };
            beside.push(self.tools.journal.opened_page(opened).1);
        }
        self.tools.journal.open_page(opened, |_| beside).await?;
        self.tools.said.with(|said| said.observing = Some(why.to_owned()));
        Ok(())
    }

    /// What a page says of these runs that are cancelled while their alerts fire, and those alerts.
    fn fire_on(&self, runs: &[&Run]) -> (String, Vec<AlertId>) {
        let alerts: Vec<Arc<AlertMemory>> = self.remembered(|response| {
            let ids: BTreeSet<&AlertId> = runs.iter().flat_map(|run| &run.alerts).collect();
            let known = ids.into_iter().filter_map(|id| response.alerts.get(id));
            known.filter(|it| it.state == AlertState::Firing).cloned().collect()
        });
        let mut named: Vec<String> =
            runs.iter().take(NAMED).map(|run| format!("{} of playbook {}", run.id, run.playbook.name)).collect();
        if let Some(more) = runs.len().checked_sub(NAMED).filter(|more| *more > 0) {
            named.push(format!("{more} more"));
        }
        let shown = self.first_shown(&alerts, &alerts);
        let text = format!("What these cancelled runs answered fires on: {}.\n{shown}", named.join(", "));
        (text, alerts.iter().map(|it| it.alert.id.clone()).collect())
    }
}
