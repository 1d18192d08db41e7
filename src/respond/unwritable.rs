//! What is left to do when the journal takes nothing more: one page, out of what is remembered and written down nowhere,
//! so that a person hears of it. Sent until a channel accepts it, or the daemon begins anew.

use std::time::Duration;

use codeops_core::model::Labels;
use codeops_core::playbook::{Told, told};

use super::Flow;
use super::pages::SEND;
use crate::port::{Effect, Send};

/// Between two rounds over all channels.
const AGAIN: Duration = Duration::from_secs(10);

impl Flow {
    /// Calls whoever is called when nothing else says whom.
    pub(super) async fn call_about_journal(&self) {
        let Some((started, why)) = self.tools.journal.unwritten_send() else { return };
        let told = self.last_resort();
        if told.is_empty() {
            return tracing::error!("the journal takes nothing more, and there is nobody to call: set `fallback`");
        }
        let body = format!(
            "Alerts are answered with 503 for a minute and then not at all, and nothing is changed until it can be \
             written again; apps run on. Look at the disk of the state folder.\n\n{why}"
        );
        loop {
            for told in &told {
                let (team, channel) = (told.team.clone(), told.channel.clone());
                let (title, body) = ("codeops cannot write its journal".to_owned(), body.clone());
                let effect = Effect::Send(Send {
                    team,
                    channel,
                    title,
                    body,
                    page: None,
                    over: false,
                    late: false,
                    test: false,
                    path: Some("/".to_owned()),
                    alert: None,
                });
                let sent = tokio::time::timeout(SEND, self.tools.effects.perform(&started, &effect)).await;
                if matches!(sent, Ok(Ok(_))) {
                    return tracing::info!(notified = %told.notified, "a page about the journal was accepted");
                }
                tracing::warn!(notified = %told.notified, "a page about the journal was not accepted");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Everybody of the fallback's policy, whatever their level; where there is none, of the one at the top of all routes.
    fn last_resort(&self) -> Vec<Told> {
        let (response, now) = (self.router.response(), self.tools.clock.now());
        let of = |policy: Option<&_>| policy.map(|policy| told(policy, response, now)).unwrap_or_default();
        let fallback = of(self.tools.rules.fallback.as_ref());
        if fallback.is_empty() { of(self.router.route(&Labels::new()).policy.as_ref()) } else { fallback }
    }
}
