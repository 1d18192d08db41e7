//! Pages: sent again and again until a channel accepts them, whatever else holds.

use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::{Notified, Page, PageEvent, PageId, TeamName};
use codeops_core::playbook::{PageNext, Told, next_send, told_in_turn};

use super::runs::page_ends;
use super::{Event, Flow};
use crate::journal::{LogError, Record};
use crate::port::{Effect, EffectError, Performed, Send};

/// How long one send may take.
pub(super) const SEND: Duration = Duration::from_secs(30);

impl Flow {
    /// Sends what is due.
    pub(super) async fn pages(&mut self) -> Result<(), LogError> {
        let now = self.tools.clock.now();
        let open: Vec<Arc<Page>> = self.remembered(|response| response.pages.values().cloned().collect());
        for page in open {
            let fallback = self.tools.rules.fallback.as_ref();
            let mut told = told_in_turn(page.policy.as_ref(), fallback, self.router.response(), now);
            // One whose answer is still awaited must not hide when the next is due.
            told.retain(|told| !self.sending.contains(&(page.id, told.notified.clone())));
            match next_send(&page, &told, now) {
                PageNext::Send(told) => {
                    for told in told {
                        self.send(&page, told).await?;
                    }
                }
                PageNext::Wait(until) => self.wake_at(until),
                PageNext::Nobody | PageNext::Over => {}
            }
        }
        Ok(())
    }

    async fn send(&mut self, page: &Arc<Page>, told: Told) -> Result<(), LogError> {
        if !self.sending.insert((page.id, told.notified.clone())) {
            return Ok(());
        }
        let started = self.tools.journal.begin_send(page.id, told.notified.clone()).await?;
        let path = page.run.map_or_else(|| "/alerts".to_owned(), |run| format!("/runs/{run}"));
        let team = told.team.clone();
        let effect = Effect::Send(Send {
            team: told.team,
            channel: told.channel,
            title: page.title.clone(),
            body: page.body.clone(),
            page: Some(page.id),
            over: false,
            path: Some(path),
        });
        let (effects, sender, page) = (Arc::clone(&self.tools.effects), self.sender.clone(), page.id);
        self.tasks.spawn(async move {
            let result = tokio::time::timeout(SEND, effects.perform(&started, &effect)).await;
            let result = result.unwrap_or_else(|_| {
                let error = format!("the channel did not answer within {} s", SEND.as_secs());
                Err(EffectError::Unknown { error, evidence: String::new() })
            });
            let _ = sender.send(Event::Sent { page, notified: told.notified, team, result }).await;
        });
        Ok(())
    }

    /// A send has come back. What is not known to be accepted is sent again: two calls are better than none.
    pub(super) async fn sent(
        &mut self,
        page: PageId,
        notified: Notified,
        team: &TeamName,
        result: Result<Performed, EffectError>,
    ) -> Result<(), LogError> {
        self.sending.remove(&(page, notified.clone()));
        let Some(known) = self.remembered(|response| response.pages.get(&page).cloned()) else { return Ok(()) };
        let mut records = Vec::new();
        let event = match result {
            Ok(_) => {
                tracing::info!(%page, %notified, "a page was accepted");
                records.extend(self.with_memory(|memory| page_ends(memory, &known)));
                PageEvent::Accepted { notified }
            }
            Err(EffectError::Failed { error, .. } | EffectError::Unknown { error, .. }) => {
                let error = self.tools.vault.redact_of(team, &error);
                tracing::warn!(%page, %notified, error, "a page was not accepted");
                PageEvent::Failed { notified, error }
            }
        };
        records.push(Record::Page { page, event });
        self.tools.journal.record(records).await.map(|_| ())
    }
}
