//! The end of a call: whoever accepted a page is told once its alerts are over, so that nothing stays open with them.
//! Told a few times and then let go: nobody is waked by what is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::model::{AlertState, Call, Notified, PageEvent, PageId};
use codeops_core::playbook::{Told, told_in_turn};
use jiff::{SignedDuration, Timestamp};

use super::pages::SEND;
use super::{Event, Flow};
use crate::journal::{LogError, Record};
use crate::port::{Effect, Send};

/// How often it is tried, and how long after each other.
const TRIES: u32 = 5;
const AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// How what a page was about stands.
enum Stands {
    Open,
    /// Its source says so, of all.
    Over,
    /// None is open, and of some nothing is known any more.
    Unknown,
}

/// Tries to tell of one page's end; lost with the daemon, whose next begins anew.
#[derive(Debug, Default)]
pub(super) struct Closing {
    tries: u32,
    under_way: bool,
    again: Option<Timestamp>,
    /// Who has accepted to be told: once is enough.
    accepted: BTreeSet<Notified>,
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
        for (page, call) in open {
            let waits = self.closing.entry(page).or_default();
            if waits.under_way {
                continue;
            }
            if let Some(again) = waits.again.filter(|again| *again > now) {
                self.wake_at(again);
                continue;
            }
            match self.stands(&call) {
                Stands::Open => {}
                Stands::Over => self.tell(page, &call).await?,
                Stands::Unknown => {
                    self.close(page, "its source stopped telling of its alerts, which is no proof".to_owned()).await?;
                }
            }
        }
        Ok(())
    }

    /// How a call stands by the alerts that it is about.
    fn stands(&self, call: &Call) -> Stands {
        self.remembered(|response| {
            let states = call.alerts.iter().map(|id| response.alerts.get(id).map(|alert| alert.state));
            let open = |state: &Option<AlertState>| state.is_some_and(|state| state != AlertState::Resolved);
            let states: Vec<Option<AlertState>> = states.collect();
            match states.iter().any(open) {
                true => Stands::Open,
                false if states.contains(&None) => Stands::Unknown,
                false => Stands::Over,
            }
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
        let accepted = self.closing.get(&page).map(|closing| closing.accepted.clone()).unwrap_or_default();
        let wants = |told: &Told| call.told.contains(&told.notified) && !accepted.contains(&told.notified);
        for told in told.into_iter().filter(wants) {
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
            let (mut accepted, mut untold) = (Vec::new(), Vec::new());
            for (notified, started, effect) in sends {
                match tokio::time::timeout(SEND, effects.perform(&started, &effect)).await {
                    Ok(Ok(_)) => accepted.push(notified),
                    _ => untold.push(notified),
                }
            }
            let _ = sender.send(Event::Closed { page, accepted, untold }).await;
        });
        Ok(())
    }

    /// An attempt to tell of a page's end has come back.
    pub(super) async fn closed(
        &mut self,
        page: PageId,
        accepted: Vec<Notified>,
        untold: Vec<Notified>,
    ) -> Result<(), LogError> {
        if untold.is_empty() {
            return self.close(page, "its alerts are resolved, and those who were told know".to_owned()).await;
        }
        let names: Vec<String> = untold.iter().map(ToString::to_string).collect();
        let names = names.join(", ");
        tracing::warn!(%page, untold = names, "the end of a page was not accepted");
        let again = self.tools.clock.now().checked_add(AGAIN).unwrap_or(Timestamp::MAX);
        let closing = self.closing.entry(page).or_default();
        closing.accepted.extend(accepted);
        (closing.under_way, closing.tries, closing.again) = (false, closing.tries + 1, Some(again));
        if closing.tries >= TRIES {
            return self.close(page, format!("its alerts are resolved; {names} did not accept to be told")).await;
        }
        Ok(())
    }
}
