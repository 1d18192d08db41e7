//! Of which alerts somebody was told: of those that fire and have been dealt with, the others reached nobody.

use std::collections::BTreeSet;

use super::{AlertId, AlertMemory, AlertState, Disposition, ResponseMemory, RunId};

/// Whom alerts were told to: what is out, by run and by alert.
#[derive(Debug)]
pub struct Heard<'a> {
    response: &'a ResponseMemory,
    runs: BTreeSet<RunId>,
    alerts: BTreeSet<&'a AlertId>,
}

impl<'a> Heard<'a> {
    /// All that is out.
    pub fn of(response: &'a ResponseMemory) -> Self {
        let pages = response.pages.values().map(|page| (page.run, &page.alerts));
        let out = pages.chain(response.calls.values().map(|call| (call.run, &call.alerts)));
        let (runs, alerts): (Vec<_>, Vec<_>) = out.unzip();
        Self { response, runs: runs.into_iter().flatten().collect(), alerts: alerts.into_iter().flatten().collect() }
    }

    /// Whether this alert fires, has been dealt with, and nobody knows of it.
    pub fn by_nobody(&self, alert: &AlertMemory) -> bool {
        let dealt_with = match &alert.disposition {
            Disposition::Received | Disposition::Waits { .. } | Disposition::Quiet { .. } => false,
            Disposition::Run { run } => !self.response.runs.contains_key(run) && !self.runs.contains(run),
            Disposition::Left { .. } => true,
        };
        alert.state == AlertState::Firing && dealt_with && !self.alerts.contains(&alert.alert.id)
    }
}
