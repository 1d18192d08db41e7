//! Pages: sent again and again until a channel accepts them, whatever else holds.

use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::{
    AlertId, AlertMemory, AlertState, Name, Notified, Page, PageEvent, PageId, Run, StepOutcome, TeamName,
};
use codeops_core::playbook::{PageNext, Told, first_that_leads, next_send, told_in_turn};
use jiff::Timestamp;

use super::perform::perform;
use super::runs::page_ends;
use super::{Event, Flow};
use crate::journal::{LogError, Record};
use crate::port::{Effect, EffectError, Performed, Send};

/// How long one send may take.
pub(super) const SEND: Duration = Duration::from_secs(30);
/// What a page begins with that nobody could be told of in time.
const LATE: &str = "All its alerts are over by now: nobody accepted this page before.\n\n";
/// The same of a receiver that was full.
const ROOM: &str = "It has room again by now: nobody accepted this page before.\n\n";
/// The same of a daemon that only observed.
const ACTS: &str = "A commit has come by now: nobody accepted this page before.\n\n";
/// The same of a silence.
const HEARD: &str = "It is heard again by now: nobody accepted this page before.\n\n";

/// To whom a page was sent.
pub(super) struct To {
    /// As its policy names it.
    pub(super) notified: Notified,
    /// The receiver that is.
    pub(super) receiver: Name,
    /// Whose secrets it has.
    pub(super) team: TeamName,
    /// Whether it was told that all is over by now.
    pub(super) late: bool,
}

impl Flow {
    /// Sends what is due.
    pub(super) async fn pages(&mut self) -> Result<(), LogError> {
        let now = self.tools.clock.now();
        let open: Vec<Arc<Page>> = self.remembered(|response| response.pages.values().cloned().collect());
        for page in open {
            let mut told = self.told_by(&page, now);
            // One whose answer is still awaited must not hide when the next is due.
            told.retain(|told| !self.afoot.sending.contains(&(page.id, told.notified.clone())));
            let mended = |told: &Told| self.mended.get(&told.receiver).copied().unwrap_or(self.began_at);
            match next_send(&page, &told, mended, now) {
                PageNext::Send(told) => {
                    for told in told {
                        self.send(&page, told).await?;
                    }
                }
                PageNext::Wait(until) => self.wake_at(until),
                // It is shown for as long as it lasts, though nobody can be called.
                PageNext::Nobody if self.nobody(&page, now) && !self.lasts(&page) => self.withdraw(&page).await?,
                PageNext::Nobody | PageNext::Over => {}
            }
        }
        Ok(())
    }

    /// Who a run's page goes to: who is named, where the run's team may reach that, or the run's own; where those are not there any
    /// more, who answers now.
    pub(super) fn who_is_told(&self, run: &Run, named: Option<Name>) -> Option<Name> {
        let named = named.filter(|policy| self.may_page(&run.authority, policy));
        let now = || self.answers_now(Some(run), Some(&run.playbook.name), run.alerts.iter());
        let policies = &self.router.response().policies;
        let known = |policy: &Name| policies.contains_key(policy);
        named.into_iter().chain(run.policy.clone()).find(known).or_else(|| now().into_iter().find(known))
    }

    /// All that a page tells now: by its policy, or by who answers now where that leads to nobody; and by the fallback where
    /// nobody accepts it.
    fn told_by(&self, page: &Page, now: Timestamp) -> Vec<Told> {
        let (response, fallback) = (self.router.response(), self.tools.rules.fallback.as_ref());
        let own = page.policy.as_ref();
        if first_that_leads(own, response, now).is_some() {
            return told_in_turn(own, fallback, response, now);
        }
        let run = page.run.and_then(|run| self.remembered(|response| response.runs.get(&run).cloned()));
        let playbook = page.group.as_ref().map(|group| &group.playbook).or(page.schedule.as_ref());
        let others = self.answers_now(run.as_deref(), playbook, page.alerts.iter());
        told_in_turn(first_that_leads(&others, response, now), fallback, response, now)
    }

    /// Who answers now for these alerts, or for what a run or a playbook is about, the first first.
    fn answers_now<'a>(
        &self,
        run: Option<&Run>,
        playbook: Option<&Name>,
        alerts: impl Iterator<Item = &'a AlertId>,
    ) -> Vec<Name> {
        let known: Vec<Arc<AlertMemory>> =
            self.remembered(|response| alerts.filter_map(|id| response.alerts.get(id).cloned()).collect());
        let alert = known.iter().find(|it| it.state == AlertState::Firing).or_else(|| known.first());
        let routed = alert.map(|it| self.router.route(&it.alert.labels));
        let team = run.map(|run| &run.authority);
        self.world().map_or_else(Vec::new, |world| world.answers_now(playbook, team, routed.as_ref()))
    }

    /// Whether there is nobody whom a page could tell, and no manifest that may say otherwise once it can be read.
    pub(super) fn nobody(&self, page: &Page, now: Timestamp) -> bool {
        let whole = self.board.desired.as_ref().is_some_and(|desired| desired.response.broken.is_empty());
        self.board.ready && whole && self.told_by(page, now).is_empty()
    }

    /// Whether it is of a receiver, and that is as it says still.
    fn lasts(&self, page: &Page) -> bool {
        let now = self.tools.clock.now();
        let watched = |receiver| self.tools.rules.watchdogs.contains_key(receiver);
        self.remembered(|response| {
            let silent = page.silent.as_ref();
            silent.is_some_and(|receiver| watched(receiver) && !response.heard_since(receiver, page.opened_at))
                || page.full.as_ref().is_some_and(|receiver| !response.has_room(receiver, now))
        })
    }

    /// Takes back a page that nobody can be told of: it would stay open for ever, and stop the sign of life.
    async fn withdraw(&self, page: &Page) -> Result<(), LogError> {
        let why = match &page.policy {
            Some(policy) => {
                format!("there is nobody to tell: escalation policy {policy} and `fallback` lead to no channel")
            }
            None => "there is nobody to tell: no escalation policy applies, and no `fallback`".to_owned(),
        };
        tracing::error!(page = %page.id, title = page.title, why, "a page is withdrawn");
        let outcome = StepOutcome::Failed { error: why.clone() };
        let mut records: Vec<Record> =
            self.with_memory(|memory| page_ends(memory, page, outcome)).into_iter().collect();
        records.push(Record::Page { page: page.id, event: PageEvent::Withdrawn { why } });
        self.tools.journal.record(records).await.map(|_| ())
    }

    /// The alerts that joined a page after its text was written, as a text of their own. Of a run that is over, its own are not
    /// told apart. It comes first, since channels cut what is long.
    fn joined(&self, page: &Page, team: &TeamName) -> String {
        let Some(run) = page.run else { return String::new() };
        let (authority, joined, among) = self.remembered(|response| {
            let run = response.runs.get(&run);
            let known = |id: &AlertId| response.alerts.get(id).cloned();
            let joined = page.alerts.iter().filter(|id| run.is_none_or(|run| !run.alerts.contains(*id)));
            let joined: Vec<_> = joined.filter_map(known).collect();
            let own = run.into_iter().flat_map(|run| &run.alerts).filter_map(known);
            let among: Vec<_> = own.chain(joined.iter().cloned()).collect();
            (run.map(|run| run.authority.clone()), joined, among)
        });
        if joined.is_empty() || page.alerts.len() < 2 {
            return String::new();
        }
        let plural = if joined.len() == 1 { "" } else { "s" };
        let shown = self.first_shown(&joined, &among);
        let text = format!("It tells of {} more alert{plural}:\n{shown}\n", joined.len());
        self.tools.vault.redact_of(authority.as_ref().unwrap_or(team), &text)
    }

    /// Whether all that a page is about is over before anybody has been told of it.
    fn is_late(&self, page: &Page) -> bool {
        if page.observes.is_some() && page.alerts.is_empty() {
            return self.board.observe_only.is_none();
        }
        let now = self.tools.clock.now();
        self.remembered(|response| match (&page.silent, &page.full) {
            (Some(receiver), _) => response.heard_since(receiver, page.opened_at),
            (None, Some(receiver)) => response.has_room(receiver, now),
            (None, None) => page.is_about_what_is_over(&response.alerts),
        })
    }

    async fn send(&mut self, page: &Arc<Page>, told: Told) -> Result<(), LogError> {
        if !self.afoot.sending.insert((page.id, told.notified.clone())) {
            return Ok(());
        }
        let started =
            self.tools.journal.begin_send(page.id, told.notified.clone(), told.receiver.clone(), false).await?;
        let late = self.is_late(page);
        let first = match (&page.silent, &page.full) {
            _ if !late => "",
            _ if page.observes.is_some() && page.alerts.is_empty() => ACTS,
            (Some(_), _) => HEARD,
            (None, Some(_)) => ROOM,
            (None, None) => LATE,
        };
        let body = format!("{first}{}{}", self.joined(page, &told.team), page.body);
        let path = page.run.map_or_else(|| "/alerts".to_owned(), |run| format!("/runs/{run}"));
        let to = To { notified: told.notified, receiver: told.receiver, team: told.team.clone(), late };
        let effect = Effect::Send(Send {
            team: told.team,
            channel: told.channel,
            title: if late { format!("Over by now: {}", page.title) } else { page.title.clone() },
            body,
            page: Some(page.id),
            over: false,
            late,
            test: page.is_test(),
            path: Some(path),
            alert: self.told_first(page, &to.team),
        });
        let (effects, sender, page) = (Arc::clone(&self.tools.effects), self.afoot.sender.clone(), page.id);
        self.afoot.tasks.spawn(async move {
            let late = format!("the channel did not answer within {} s", SEND.as_secs());
            let result = perform(&effects, started, effect, SEND, late).await;
            let _ = sender.send(Event::Sent { page, to, result }).await;
        });
        Ok(())
    }

    /// A send has come back. What is not known to be accepted is sent again: two calls are better than none.
    pub(super) async fn sent(
        &mut self,
        page: PageId,
        to: To,
        result: Result<Performed, EffectError>,
    ) -> Result<(), LogError> {
        self.afoot.sending.remove(&(page, to.notified.clone()));
        let Some(known) = self.remembered(|response| response.pages.get(&page).cloned()) else {
            return self.refused_late(page, to, result).await;
        };
        let To { notified, receiver, team, late } = to;
        // Whoever was told that it is over does not know that it fires: they are told so at once.
        if late && result.is_ok() && !self.is_late(&known) {
            tracing::warn!(%page, %notified, "a page was accepted as over, and fires again by now: it is sent again");
            self.mended.insert(receiver, self.tools.clock.now());
            return Ok(());
        }
        let refused = matches!(result, Err(EffectError::Failed { .. })).then(|| receiver.clone());
        let (mut records, mut over) = (Vec::new(), None);
        let event = match result {
            Ok(done) => {
                let evidence = self.tools.vault.redact_of(&team, &done.evidence);
                tracing::info!(%page, %notified, evidence, "a page was accepted");
                // The way is open again: what waits for another try goes now.
                self.mended.insert(receiver.clone(), self.tools.clock.now());
                let outcome = StepOutcome::Done { output: serde_json::json!({ "page": page }) };
                records.extend(self.with_memory(|memory| page_ends(memory, &known, outcome)));
                over = late.then(|| self.told_as_over(&known, &receiver)).flatten();
                PageEvent::Accepted { notified }
            }
            Err(EffectError::Failed { error, .. } | EffectError::Unknown { error, .. }) => {
                let error = self.tools.vault.redact_of(&team, &error);
                tracing::warn!(%page, %notified, error, "a page was not accepted");
                PageEvent::Failed { notified, error, refused }
            }
        };
        records.push(Record::Page { page, event });
        records.extend(over.map(|event| Record::Page { page, event }));
        self.tools.journal.record(records).await.map(|_| ())
    }

    /// A send has come back after another was accepted: who said no is not told of the end.
    async fn refused_late(&self, page: PageId, to: To, result: Result<Performed, EffectError>) -> Result<(), LogError> {
        let To { notified, receiver, team, .. } = to;
        let waits = self.remembered(|response| response.calls.contains_key(&page));
        let Err(EffectError::Failed { error, .. }) = result else { return Ok(()) };
        if !waits {
            return Ok(());
        }
        let error = self.tools.vault.redact_of(&team, &error);
        tracing::warn!(%page, %notified, error, "a page was not accepted");
        let event = PageEvent::Failed { notified, error, refused: Some(receiver) };
        self.tools.journal.record(vec![Record::Page { page, event }]).await.map(|_| ())
    }

    /// What follows from it that this receiver accepted a page which says that all is over by now, and that is so: it knows. So do
    /// the others to whom nothing else went; where there are no more than those, nothing more is to be told.
    fn told_as_over(&self, page: &Page, receiver: &Name) -> Option<PageEvent> {
        if !self.is_late(page) {
            return None;
        }
        let since = self.remembered(|response| {
            let ends = page.alerts.iter().filter_map(|id| response.alerts.get(id)).map(|alert| alert.since);
            ends.max()
        });
        let (mut knows, mut all) = (vec![receiver.clone()], true);
        for tried in page.tries.values() {
            let only_so = tried.failures == 0 && since.is_some_and(|since| tried.at >= since);
            all &= !tried.receivers.is_empty();
            let may_have = |it: &&Name| !tried.refused.contains(*it) || tried.may_have.contains(*it);
            for other in tried.receivers.iter().filter(may_have).filter(|other| *other != receiver) {
                all &= only_so;
                knows.extend(only_so.then(|| other.clone()));
            }
        }
        let why = || "it was over before anybody was told of it, and was told so".to_owned();
        let told = PageEvent::Told { knows, untold: Vec::new(), begins: false };
        Some(if all { PageEvent::Closed { why: why() } } else { told })
    }
}
