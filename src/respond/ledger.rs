//! Latches that end, and runs that end because this daemon only observes.

use codeops_core::model::{Health, PageEvent, PageOpened, RunEvent, RunId, RunState, Rung, Subject};
use codeops_core::playbook::unlatches_at;
use jiff::Timestamp;

use super::Flow;
use crate::journal::{LogError, Record};

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

    async fn end_old_runs(&mut self, why: &str) -> Result<(), LogError> {
        let runs: Vec<RunId> = self.remembered(|response| {
            let old = response.runs.values().filter(|run| run.rung != Rung::Page);
            old.map(|run| run.id).collect()
        });
        let said = self.tools.said.with(|said| said.observing.as_deref() == Some(why));
        if !said || !runs.is_empty() {
            let state = RunState::Cancelled;
            let text = match runs.len() {
                0 => format!("No run was on. {why}"),
                many => format!("{many} runs were cancelled. {why}"),
            };
            let ended =
                |run| Record::Run { run, resource: None, event: RunEvent::Ended { state, why: why.to_owned() } };
            let beside: Vec<Record> = runs.into_iter().map(ended).collect();
            let policy = self.tools.rules.fallback.clone();
            let title = "codeops only observes until a commit".to_owned();
            let body = format!("{text}\nAlerts are answered by no playbook until then: each calls a person.");
            let event = PageEvent::Opened(PageOpened { policy, title, body, ..PageOpened::default() });
            self.tools.journal.open_page(event, |_| beside).await?;
            self.tools.said.with(|said| said.observing = Some(why.to_owned()));
        }
        Ok(())
    }
}
