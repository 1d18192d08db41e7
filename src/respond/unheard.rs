//! What reached nobody when it came: once somebody can be told, it is asked again.

use std::sync::Arc;

use codeops_core::model::{AlertMemory, Disposition, Heard};
use codeops_core::playbook::first_that_leads;
use jiff::Timestamp;

use super::Flow;
use super::alerts::disposed;
use crate::journal::LogError;

impl Flow {
    /// After a change of how alerts are answered: what fires, whose run has ended and of which nobody was told is received anew where
    /// that leads to somebody by now.
    pub(super) async fn unheard(&mut self, now: Timestamp) -> Result<(), LogError> {
        // What only observes has said so to somebody, and does nothing until a commit.
        if self.board.observe_only.is_some() || !std::mem::take(&mut self.answers_anew) {
            return Ok(());
        }
        let unheard: Vec<Arc<AlertMemory>> = self.remembered(|response| {
            let heard = Heard::of(response);
            response.alerts.values().filter(|alert| heard.by_nobody(alert)).cloned().collect()
        });
        let reached = unheard.iter().filter(|alert| self.reaches(alert, now));
        let reached: Vec<_> = reached.map(|alert| alert.alert.id.clone()).collect();
        if reached.is_empty() {
            return Ok(());
        }
        tracing::info!(alerts = reached.len(), "what reached nobody is answered anew: somebody can be told by now");
        self.tools.journal.record(vec![disposed(reached, Disposition::Received)]).await.map(|_| ())
    }

    /// Whether who would be called for it now leads to anybody.
    fn reaches(&self, alert: &AlertMemory, now: Timestamp) -> bool {
        let Some(world) = self.world() else { return false };
        let routed = self.router.route(&alert.alert.labels);
        let told = self.answer(&world, alert, &routed).policy().cloned();
        let policies = told.iter().chain(self.tools.rules.fallback.as_ref());
        first_that_leads(policies, self.router.response(), now).is_some()
    }
}
