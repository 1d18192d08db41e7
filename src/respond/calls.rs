//! The end of a call: whoever accepted a page is told once its alerts are over, so that nothing stays open with them.
//! Told a few times and then let go: nobody is waked by what is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeops_core::model::{
    AlertState, Call, Channel, Disposition, Name, Notified, PageEvent, PageId, ResponseMemory, SELF_TEST, TeamName,
    wait_ends,
};
use codeops_core::playbook::{about, says_latched, told_in_turn};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use super::pages::SEND;
use super::perform::perform;
use super::{Event, Flow};
use crate::journal::{LogError, Record};
use crate::port::{Effect, Send};

/// How often it is tried, and how long after each other.
const TRIES: u32 = 5;
const AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// How what a page was about stands.
#[derive(PartialEq, Eq)]
enum Stands {
    Open,
    /// Its source says so, of all.
    Over,
    /// None is open, and of some nothing is known any more.
    Unknown,
}

/// How a receiver is reached: as the journal names it, with its team's secrets, by its channel.
type Reached = (Notified, TeamName, Channel);

/// When the end of a page may be told again that somebody did not accept.
fn again(call: &Call, now: Timestamp) -> Option<Timestamp> {
    let tried = call.ending.as_ref().filter(|ending| ending.tries > 0)?;
    Some(wait_ends(tried.at, AGAIN, now)).filter(|again| *again > now)
}

/// How a call stands by the alerts that it is about, by whether whose silence it is was heard again, or by how later runs of its
/// schedule ended; what is not waited for
/// any more is over, too.
fn stands(
    call: &Call,
    response: &ResponseMemory,
    now: Timestamp,
    (watched, observes): (impl Fn(&Name) -> bool, bool),
) -> Stands {
    if call.observes.is_some() {
        return if observes { Stands::Open } else { Stands::Over };
    }
    if let Some(receiver) = &call.silent {
        let heard = call.opened_at.is_none_or(|at| response.heard_since(receiver, at));
        return if heard || !watched(receiver) { Stands::Over } else { Stands::Open };
    }
    if let Some(receiver) = &call.full {
        return if response.has_room(receiver, now) { Stands::Over } else { Stands::Open };
    }
    if let Some(schedule) = &call.schedule {
        let taken = response.schedules.get(schedule);
        let over = schedule.as_str() == SELF_TEST
            || taken.is_none_or(|taken| taken.is_gone() || taken.well.is_some_and(|well| call.run < Some(well)));
        return if over { Stands::Over } else { Stands::Open };
    }
    let alerts = &response.alerts;
    let mut lost = call.lost.unwrap_or(false);
    for id in &call.alerts {
        match alerts.get(id) {
            Some(alert) if alert.state != AlertState::Resolved => return Stands::Open,
            Some(_) => {}
            None => lost |= call.lost.is_none(),
        }
    }
    if lost { Stands::Unknown } else { Stands::Over }
}

/// Whether what a call is about may come back without calling anew: who has it keeps it.
fn is_latched(call: &Call, response: &ResponseMemory) -> bool {
    call.group.as_ref().is_some_and(|group| says_latched(&group.subject(), call.opened_at, response))
}

/// Whether a call tells of something again that came while its end was being told: what a run of its own answers has its own.
fn goes_on(call: &Call, response: &ResponseMemory) -> bool {
    let known = call.alerts.iter().filter_map(|id| response.alerts.get(id));
    let mut open = known.filter(|alert| alert.state != AlertState::Resolved);
    let its_own = call.run.map(|run| Disposition::Run { run });
    is_latched(call, response) || open.any(|alert| its_own.as_ref() == Some(&alert.disposition))
}

impl Flow {
    /// Tells of the pages whose alerts are over.
    pub(super) async fn calls(&mut self) -> Result<(), LogError> {
        let now = self.tools.clock.now();
        let watched = |receiver: &Name| self.tools.rules.watchdogs.contains_key(receiver);
        let observes = self.board.observe_only.is_some();
        let (waits, over) = self.remembered(|response| {
            let waits: Vec<Timestamp> = response.calls.values().filter_map(|call| again(call, now)).collect();
            let waiting = |page: &PageId, call: &Call| self.afoot.closing.contains(page) || again(call, now).is_some();
            let calls = response.calls.iter().filter(|(page, call)| !waiting(page, call));
            // A call may be about thousands of alerts: only one that ends is looked at whole, and one that is latched not at all.
            let over: Vec<(PageId, Call, Stands)> = calls
                .filter(|(_, call)| !is_latched(call, response))
                .map(|(page, call)| (page, call, stands(call, response, now, (watched, observes))))
                .filter(|(_, _, stands)| *stands != Stands::Open)
                .map(|(page, call, stands)| (*page, call.clone(), stands))
                .collect();
            (waits, over)
        });
        waits.into_iter().for_each(|again| self.wake_at(again));
        for (page, call, stands) in over {
            match stands {
                Stands::Open => {}
                Stands::Over => self.tell(page, &call).await?,
                Stands::Unknown => {
                    self.close(page, "its source stopped telling of its alerts, which is no proof".to_owned()).await?;
                }
            }
        }
        Ok(())
    }

    async fn close(&mut self, page: PageId, why: String) -> Result<(), LogError> {
        self.tools.journal.record(vec![Record::Page { page, event: PageEvent::Closed { why } }]).await.map(|_| ())
    }

    async fn tell(&mut self, page: PageId, call: &Call) -> Result<(), LogError> {
        if call.ending.is_none() {
            let event = PageEvent::Told { knows: Vec::new(), untold: Vec::new(), begins: true };
            self.tools.journal.record(vec![Record::Page { page, event }]).await?;
        }
        let knows = call.ending.as_ref().map(|ending| ending.knows.clone()).unwrap_or_default();
        let (told, mut untold) = self.who_was_told(call);
        untold.retain(|receiver| !knows.contains(receiver));
        let (mut sends, body) = (Vec::new(), self.what_is_over(page, call));
        for (receiver, (notified, team, channel)) in told {
            if knows.contains(&receiver) {
                continue;
            }
            let started = self.tools.journal.begin_send(page, notified, receiver.clone(), true).await?;
            let path = call.run.map_or_else(|| "/alerts".to_owned(), |run| format!("/runs/{run}"));
            let effect = Effect::Send(Send {
                team,
                channel,
                title: format!("Resolved: {}", about(&call.title)),
                body: body.clone(),
                page: Some(page),
                over: true,
                late: false,
                test: call.schedule.as_ref().is_some_and(|name| name.as_str() == SELF_TEST),
                path: Some(path),
                alert: None,
            });
            sends.push((receiver, started, effect));
        }
        self.afoot.closing.insert(page);
        let (effects, sender) = (Arc::clone(&self.tools.effects), self.afoot.sender.clone());
        self.afoot.tasks.spawn(async move {
            let mut on = JoinSet::new();
            for (receiver, started, effect) in sends {
                let effects = Arc::clone(&effects);
                on.spawn(async move {
                    let told = perform(&effects, started, effect, SEND, String::new()).await;
                    (receiver, told.is_ok())
                });
            }
            let mut knows = Vec::new();
            while let Some(Ok((receiver, told))) = on.join_next().await {
                match told {
                    true if on.is_empty() => knows.push(receiver),
                    // Those that have not answered yet may take long.
                    true => drop(sender.send(Event::Knows { page, receiver }).await),
                    false => untold.push(receiver),
                }
            }
            let _ = sender.send(Event::Closed { page, knows, untold }).await;
        });
        Ok(())
    }

    fn what_is_over(&self, page: PageId, call: &Call) -> String {
        if call.observes.is_some() {
            return "A commit has come: what is declared is done again, and playbooks answer alerts.".to_owned();
        }
        if let Some(receiver) = &call.full {
            return format!("New alerts of receiver {receiver} are taken again.");
        }
        if let Some(schedule) = &call.schedule {
            let well = self.remembered(|response| response.schedules.get(schedule)?.well);
            return match well.filter(|well| call.run < Some(*well)) {
                Some(well) => format!("Run {well} of playbook {schedule} has ended well."),
                None if schedule.as_str() == SELF_TEST => "Paging works: nothing was wrong.".to_owned(),
                None => format!("Playbook {schedule} is not scheduled any more."),
            };
        }
        let Some(receiver) = &call.silent else {
            return format!("All alerts of page {page} are resolved, says their source.");
        };
        match self.remembered(|response| response.watchdogs.get(receiver).copied()) {
            Some(at) if call.opened_at.is_none_or(|opened| at > opened) => {
                format!("Receiver {receiver} hears its Watchdog again, since {at} at the latest.")
            }
            _ => format!("Receiver {receiver} waits for no Watchdog any more, say the settings."),
        }
    }

    /// The receivers that a call went to, whoever is on call by now, each with its channel; and those that are not declared any
    /// more. Of an older call it is not known whose turn it was: then it is whose turn it is.
    fn who_was_told(&self, call: &Call) -> (BTreeMap<Name, Reached>, Vec<Name>) {
        let response = self.router.response();
        let (mut told, mut gone) = (BTreeMap::new(), Vec::new());
        for name in &call.receivers {
            match response.receivers.get(name) {
                Some(known) => {
                    let notified = Notified::Receiver(name.clone());
                    told.insert(name.clone(), (notified, known.team.clone(), known.spec.clone()));
                }
                None => gone.push(name.clone()),
            }
        }
        let (fallback, now) = (self.tools.rules.fallback.as_ref(), self.tools.clock.now());
        let by_turn = told_in_turn(call.policy.as_ref(), fallback, response, now);
        for it in by_turn.into_iter().filter(|it| call.told.contains(&it.notified)) {
            told.entry(it.receiver).or_insert((it.notified, it.team, it.channel));
        }
        (told, gone)
    }

    /// One of those who are told of a page's end knows; the others have not answered yet.
    pub(super) async fn knows(&mut self, page: PageId, receiver: Name) -> Result<(), LogError> {
        if !self.remembered(|response| response.calls.contains_key(&page)) {
            return Ok(());
        }
        let event = PageEvent::Told { knows: vec![receiver], untold: Vec::new(), begins: false };
        self.tools.journal.record(vec![Record::Page { page, event }]).await.map(|_| ())
    }

    /// An attempt to tell of a page's end has come back: who accepted it last, and who did not.
    pub(super) async fn closed(&mut self, page: PageId, knows: Vec<Name>, untold: Vec<Name>) -> Result<(), LogError> {
        self.afoot.closing.remove(&page);
        let stands = self.remembered(|response| {
            let call = response.calls.get(&page)?;
            Some((goes_on(call, response), call.ending.as_ref().map(|ending| ending.tries)))
        });
        let Some((goes_on, tries)) = stands else { return Ok(()) };
        if goes_on {
            // Its end is told anew, to everybody.
            let event = PageEvent::Told { knows: Vec::new(), untold: Vec::new(), begins: false };
            return self.tools.journal.record(vec![Record::Page { page, event }]).await.map(|_| ());
        }
        let over = self.remembered(|response| match response.calls.get(&page) {
            Some(call) if call.silent.is_some() => "the silence is over",
            Some(call) if call.observes.is_some() => "it does not only observe any more",
            Some(call) if call.full.is_some() => "the receiver has room again",
            Some(call) if call.schedule.is_some() => "what was scheduled is over",
            _ => "its alerts are resolved",
        });
        if untold.is_empty() {
            return self.close(page, format!("{over}, and those who were told know")).await;
        }
        let names: Vec<&str> = untold.iter().map(Name::as_str).collect();
        let names = names.join(", ");
        tracing::warn!(%page, untold = %names, "the end of a page was not accepted");
        if tries.unwrap_or_default() + 1 >= TRIES {
            return self.close(page, format!("{over}; {names} did not accept to be told")).await;
        }
        let event = PageEvent::Told { knows, untold, begins: false };
        self.tools.journal.record(vec![Record::Page { page, event }]).await.map(|_| ())
    }
}
