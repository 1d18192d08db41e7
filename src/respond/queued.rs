//! Runs that wait for their turn: what they come to when they are judged again.

use codeops_core::model::{Disposition, PageEvent, Run, RunEvent, RunState};
use codeops_core::playbook::Judged;

use super::Flow;
use super::alerts::disposed;
use crate::journal::{LogError, Record};

impl Flow {
    /// Writes down what a run comes to that is judged other than when it was opened. Its alerts go from it to the pages that
    /// tell of them in the transaction that ends it, so that none is lost.
    pub(super) async fn judge(&self, run: &Run, judged: Judged) -> Result<(), LogError> {
        let event = |event, resource| Record::Run { run: run.id, resource, event };
        let mut records = Vec::new();
        match judged {
            Judged::Higher { rung, latches, because } => {
                records.push(event(RunEvent::Raised { rung, because: Some(because) }, None));
                records.extend(latches.map(|subject| Record::Latched { subject }));
            }
            Judged::Told(told) => {
                let pages: Vec<String> = told.keys().map(|(page, of)| format!("page {page} of run {of}")).collect();
                for ((page, of), alerts) in told {
                    records.push(disposed(alerts.clone(), Disposition::Run { run: of }));
                    records.push(Record::Page { page, event: PageEvent::Joined { alerts } });
                }
                let why = format!("a person was called before its turn: {} tells of it", pages.join(", "));
                let (state, playbook) = (RunState::Skipped, run.playbook.name.as_str());
                tracing::info!(run = %run.id, playbook, why, "a run does not begin");
                records.push(event(RunEvent::Ended { state, why }, run.target.clone()));
            }
        }
        self.tools.journal.record(records).await.map(|_| ())
    }
}
