//! One alert as JSON and pages show it.

use codeops_core::model::{AlertId, AlertMemory, AlertState, Disposition, Fingerprint, Labels, Name, RunId, TeamName};
use jiff::Timestamp;
use serde::Serialize;

use super::{Latch, gather, latch_of};
use crate::journal::{AlertCursor, AlertQuery, LogError};
use crate::web::words::Mark;
use crate::web::{Web, team};

/// One alert.
#[derive(Debug, Clone, Serialize)]
pub(in crate::web) struct AlertItem {
    pub(in crate::web) id: AlertId,
    pub(in crate::web) fingerprint: Fingerprint,
    pub(in crate::web) source: Name,
    pub(in crate::web) receiver: Name,
    /// The one that its receiver is for, if one is. Not what its labels say: their sender chose them.
    pub(in crate::web) team: Option<TeamName>,
    /// Its label `alertname`.
    pub(in crate::web) name: String,
    pub(in crate::web) labels: Labels,
    pub(in crate::web) annotations: Labels,
    /// Where its source shows it.
    pub(in crate::web) url: Option<String>,
    pub(in crate::web) starts_at: Timestamp,
    pub(in crate::web) received_at: Timestamp,
    pub(in crate::web) state: AlertState,
    pub(in crate::web) since: Timestamp,
    pub(in crate::web) run: Option<RunId>,
    /// `received`, `run`, `quiet` or `left`.
    pub(in crate::web) disposition: &'static str,
    /// The latch on what it is about.
    pub(in crate::web) latch: Option<Latch>,
    /// Why it is quiet or left.
    pub(in crate::web) why: Option<String>,
}

impl AlertItem {
    pub(in crate::web) fn of(web: &Web, memory: &AlertMemory) -> Self {
        let alert = &memory.alert;
        // Its words are its sender's; what is said about it here is not.
        let sender = team::sender(web, &alert.receiver);
        let clean = |text: &str| (web.page.redact)(sender, text);
        let cleaned = |pairs: &Labels| pairs.iter().map(|(name, value)| (clean(name), clean(value))).collect();
        let (disposition, run, why) = match &memory.disposition {
            Disposition::Received => ("received", None, None),
            Disposition::Waits { why } => ("received", None, Some(why.clone())),
            Disposition::Run { run } => ("run", Some(*run), None),
            Disposition::Quiet { why } => ("quiet", None, Some(why.clone())),
            Disposition::Left { why } => ("left", None, Some(why.clone())),
        };
        Self {
            id: alert.id.clone(),
            fingerprint: alert.id.fingerprint.clone(),
            source: alert.id.source.clone(),
            receiver: alert.receiver.clone(),
            team: team::of_receiver(web, &alert.receiver),
            name: clean(alert.name()),
            labels: cleaned(&alert.labels),
            annotations: cleaned(&alert.annotations),
            url: alert.url.as_deref().filter(|url| links(url)).map(clean),
            starts_at: alert.id.starts_at,
            received_at: memory.received_at,
            state: memory.state,
            since: memory.since,
            run,
            disposition,
            latch: run.and_then(|run| latch_of(web, run)),
            why,
        }
    }

    /// What is kept quiet is no trouble: people have said that they know of it.
    pub(in crate::web) fn mark(&self) -> Mark {
        match (self.state, self.disposition) {
            (AlertState::Firing, "quiet") => Mark::Suspended,
            (state, _) => Mark::of_alert(state),
        }
    }

    /// Its state as a word for people: also whether it is kept quiet.
    pub(in crate::web) fn word(&self) -> String {
        match (self.state, self.disposition) {
            (AlertState::Firing, "quiet") => "firing, kept quiet".to_owned(),
            (state, _) => state.to_string(),
        }
    }

    /// What was done about it, in a few words.
    pub(in crate::web) fn answer(&self) -> String {
        match (self.disposition, &self.why) {
            ("run", _) => "answered by run".to_owned(),
            ("quiet", Some(why)) => format!("kept quiet: {why}"),
            (_, Some(why)) => why.clone(),
            _ => "waits for its turn".to_owned(),
        }
    }

    /// What people should know of it: its summary or description, if it has one.
    pub(in crate::web) fn summary(&self) -> Option<&str> {
        ["summary", "description", "message"].iter().find_map(|name| self.annotations.get(*name)).map(String::as_str)
    }

    fn bytes(&self) -> usize {
        self.labels.iter().chain(&self.annotations).map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Whether a browser may follow it.
fn links(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// Alerts, the last that came in first, and the cursor of what follows.
pub(in crate::web) async fn alerts(
    web: &Web,
    query: AlertQuery,
) -> Result<(Vec<AlertItem>, Option<AlertCursor>), LogError> {
    let (limit, before, journal) = (query.limit, query.before, web.page.journal.clone());
    let read = move |before, limit| {
        let (journal, query) = (journal.clone(), AlertQuery { before, limit, ..query.clone() });
        async move { journal.alerts(query).await }
    };
    gather(limit, before, read, |memory| {
        let item = AlertItem::of(web, memory);
        let bytes = item.bytes();
        (item, bytes)
    })
    .await
}
