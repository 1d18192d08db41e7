//! Receivers that somebody has to look at: one that is silent, and one of whose alerts no more are taken.

use codeops_core::model::{Name, ResponseMemory};
use jiff::Timestamp;
use serde::Serialize;

use crate::web::Web;
use crate::web::words::plural;

/// One of them.
#[derive(Debug, Clone, Serialize)]
pub(in crate::web) struct Trouble {
    pub(in crate::web) receiver: Name,
    /// `silent` or `full`.
    pub(in crate::web) what: &'static str,
    /// In one sentence.
    pub(in crate::web) why: String,
}

/// All of them.
pub(in crate::web) fn troubles(web: &Web) -> Vec<Trouble> {
    let now = web.now();
    web.page.journal.response(|response| of(response, now))
}

fn of(response: &ResponseMemory, now: Timestamp) -> Vec<Trouble> {
    let silent = response.silent().into_iter().map(|(receiver, since)| {
        let heard = response.watchdogs.get(receiver).map(|at| format!(", and was last heard at {at}"));
        let heard = heard.unwrap_or_else(|| ", and was never heard".to_owned());
        let why = format!("its Watchdog is missed since {since}{heard}");
        Trouble { receiver: receiver.clone(), what: "silent", why }
    });
    let full = response.full(now).into_iter().map(|receiver| {
        let kept = response.kept_of(receiver);
        let (alerts, mib) = (plural(kept.alerts, "alert"), kept.bytes >> 20);
        let written = response.spent_of(receiver, now) >> 20;
        let why = match kept.is_full() {
            true => format!(
                "{alerts} of {mib} MiB are remembered, and it may bring no more until some have been over for an hour"
            ),
            false => {
                format!("what it told of late took {written} MiB of the journal, and it may bring little more for now")
            }
        };
        Trouble { receiver: receiver.clone(), what: "full", why }
    });
    silent.chain(full).collect()
}
