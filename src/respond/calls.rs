//! The end of a call: whoever accepted a page is told once its alerts are over, so that nothing stays open with them.
//! Told a few times and then let go: nobody is waked by what is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeops_core::model::{AlertState, Call, Disposition, Notified, PageEvent, PageId, RunId};
use codeops_core::playbook::told_in_turn;
use jiff::{SignedDuration, Timestamp};

use super::pages::SEND;
use super::{Event, Flow};
use crate::journal::{LogError, Record};
use crate::port::{Effect, Send};

/// How often it is tried, and how long after each other.
const TRIES: u32 = 5;
const AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// Tries to tell of one page's end; lost with the daemon, whose next begins anew.
#[derive(Debug, Default)]
pub(super) struct Closing {
    tries: u32,
    under_way: bool,
    again: Option<Timestamp>,
}

impl Flow {
    /// Tells of the pages whose alerts are over.
    pub(super) async fn calls(&mut self) -> Result<(), LogError> {
        let open: BTreeMap<PageId, Call> = self.remembered(|response| response.calls.clone());
        self.closing.retain(|page, _| open.contains_key(page));
        if open.is_empty() {
            return Ok(());
        }
        let now = self.tools.clock.now();
        let states = self.states_of_runs();
        for (page, call) in open {
            let waits = self.closing.entry(page).or_default();
            if waits.under_way || waits.again.is_some_and(|again| again > now) {
                continue;
            }
            match states.get(&call.run) {
                None => self.close(page, "nothing is told of its alerts any more".to_owned()).await?,
                Some(all) if all.iter().all(|state| *state == AlertState::Resolved) => self.tell(page, &call).await?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// How the alerts are that each run answered.
    fn states_of_runs(&self) -> BTreeMap<RunId, Vec<AlertState>> {
        self.remembered(|response| {
            let mut states: BTreeMap<RunId, Vec<AlertState>> = BTreeMap::new();
            for alert in response.alerts.values() {
                if let Disposition::Run { run } = &alert.disposition {
                    states.entry(*run).or_default().push(alert.state);
                }
            }
            states
        })
    }

    async fn close(&mut self, page: PageId, why: String) -> Result<(), LogError> {
        self.closing.remove(&page);
        self.tools.journal.record(vec![Record::Page { page, event: PageEvent::Closed { why } }]).await.map(|_| ())
    }

    async fn tell(&mut self, page: PageId, call: &Call) -> Result<(), LogError> {
        let now = self.tools.clock.now();
        let fallback = self.tools.rules.fallback.as_ref();
        let told = told_in_turn(call.policy.as_ref(), fallback, self.router.response(), now);
        let mut sends = Vec::new();
        for told in told.into_iter().filter(|told| call.told.contains(&told.notified)) {
            let started = self.tools.journal.begin_send(page, told.notified.clone()).await?;
            let effect = Effect::Send(Send {
                team: told.team,
                channel: told.channel,
                title: format!("Resolved: {}", call.title),
                body: format!("All alerts of page {page} are resolved, says their source."),
                page: Some(page),
                over: true,
                path: Some(format!("/runs/{}", call.run)),
            });
            sends.push((told.notified, started, effect));
        }
        if let Some(closing) = self.closing.get_mut(&page) {
            closing.under_way = true;
        }
        let (effects, sender) = (Arc::clone(&self.tools.effects), self.sender.clone());
        self.tasks.spawn(async move {
            let mut untold: Vec<Notified> = Vec::new();
            for (notified, started, effect) in sends {
                let result = tokio::time::timeout(SEND, effects.perform(&started, &effect)).await;
                if !matches!(result, Ok(Ok(_))) {
                    untold.push(notified);
                }
            }
            let _ = sender.send(Event::Closed { page, untold }).await;
        });
        Ok(())
    }

    /// An attempt to tell of a page's end has come back.
    pub(super) async fn closed(&mut self, page: PageId, untold: Vec<Notified>) -> Result<(), LogError> {
        if untold.is_empty() {
            return self.close(page, "its alerts are resolved, and those who were told know".to_owned()).await;
        }
        let names: Vec<String> = untold.iter().map(ToString::to_string).collect();
        let names = names.join(", ");
        tracing::warn!(%page, untold = names, "the end of a page was not accepted");
        let again = self.tools.clock.now().checked_add(AGAIN).unwrap_or(Timestamp::MAX);
        let closing = self.closing.entry(page).or_default();
        (closing.under_way, closing.tries, closing.again) = (false, closing.tries + 1, Some(again));
        if closing.tries >= TRIES {
            return self.close(page, format!("its alerts are resolved; {names} did not accept to be told")).await;
        }
        self.wake_at(again);
        Ok(())
    }
}
