//! Scheduled playbooks whose last run failed.

use codeops_core::model::{Name, ResponseMemory, RunId};
use jiff::Timestamp;
use serde::Serialize;

use crate::web::Web;

/// One of them.
#[derive(Debug, Clone, Serialize)]
pub(in crate::web) struct Failing {
    pub(in crate::web) playbook: Name,
    /// When the first of the runs ended that failed one after the other.
    pub(in crate::web) since: Timestamp,
    /// How many they are.
    pub(in crate::web) times: u32,
    /// The last of them: it says why.
    pub(in crate::web) run: RunId,
}

/// All of them, the one that fails for the longest time first.
pub(in crate::web) fn failing(web: &Web) -> Vec<Failing> {
    let mut all = web.page.journal.response(of);
    all.sort_by_key(|it| it.since);
    all
}

fn of(response: &ResponseMemory) -> Vec<Failing> {
    let failing = response.schedules.iter().filter_map(|(playbook, taken)| {
        let it = taken.failing.as_ref()?;
        Some(Failing { playbook: playbook.clone(), since: it.since, times: it.times, run: it.run })
    });
    failing.collect()
}
