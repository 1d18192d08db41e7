//! Silence is an error: a Watchdog that is not heard pages, a sign of life leaves only while everything makes progress, and
//! paging itself is tried on a schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::alert::silent;
use codeops_core::model::{Name, Page, PageOpened, SELF_TEST, is_ahead, wait_ends};
use codeops_core::playbook::{due, next_time};
use jiff::{SignedDuration, Timestamp};

use tokio::task::JoinSet;

use super::{Event, Flow};
use crate::journal::{LogError, Record};

/// How old the last full look may be for reconcile to count as making progress.
const FRESH: SignedDuration = SignedDuration::from_mins(3);
/// How old an open page may be for paging to count as making progress.
const UNHEARD: SignedDuration = SignedDuration::from_mins(10);
/// How long what a Watchdog's sender has told may take until it is written down: what is on its way is heard.
const WRITING: SignedDuration = SignedDuration::from_secs(2);

impl Flow {
    pub(super) async fn silence(&mut self) -> Result<(), LogError> {
        let now = self.tools.clock.now();
        self.watchdogs(now).await?;
        self.self_test(now).await?;
        self.heartbeat(now);
        Ok(())
    }

    /// A receiver that has not heard its Watchdog pages, once until it is heard again.
    async fn watchdogs(&mut self, now: Timestamp) -> Result<(), LogError> {
        let watched = self.tools.rules.watchdogs.clone();
        let since = self.tools.said.with(|said| {
            said.listened.retain(|name, _| watched.contains_key(name));
            // Where the clock was set back, all are listened to anew: what was heard in its future is no word of today.
            let set_back = said.listened_at.replace(now).is_some_and(|at| is_ahead(at, now));
            said.listened.values_mut().filter(|at| set_back || is_ahead(**at, now)).for_each(|at| *at = now);
            for name in watched.keys() {
                said.listened.entry(name.clone()).or_insert(self.began_at.min(now));
            }
            said.listened.clone()
        });
        let heard = self.remembered(|response| response.watchdogs.clone());
        let last = |(name, since): (&Name, &Timestamp)| {
            let heard = heard.get(name).filter(|at| !is_ahead(**at, now));
            (name.clone(), heard.map_or(*since, |at| *since.max(at)))
        };
        let last: BTreeMap<Name, Timestamp> = since.iter().map(last).collect();
        let judged = now.checked_sub(WRITING).unwrap_or(now);
        let silent = silent(watched.iter().map(|(name, within)| (name, *within)), &last, Timestamp::MIN, judged);
        self.tools.said.with(|said| said.silent.retain(|name| silent.iter().any(|(still, _, _)| still == name)));
        // By an earlier daemon, too.
        let told: BTreeSet<Name> = self.remembered(|response| response.silent().into_keys().cloned().collect());
        for (receiver, _, within) in silent {
            if told.contains(&receiver) || self.tools.said.with(|said| said.silent.contains(&receiver)) {
                continue;
            }
            let title = format!("monitoring is silent: receiver {receiver} has not heard its Watchdog");
            let when = match (heard.get(&receiver), since.get(&receiver)) {
                (Some(at), _) => format!("It was last heard at {at}"),
                (None, Some(at)) => format!("It has never been heard, and was waited for since {at}"),
                (None, None) => "It has never been heard".to_owned(),
            };
            let body = format!(
                "{when}; it should be heard every {within}. Alerts of this system may not reach codeops: \
                 look at the monitoring system and at its route to the hooks address."
            );
            let policy = self.tools.rules.fallback.clone();
            let silent = Some(receiver.clone());
            let opened = PageOpened { policy, title, body, silent, ..PageOpened::default() };
            self.tools.journal.open_page(opened, |_| Vec::new()).await?;
            // Said only once it is durable: what could not be written down is said by whoever begins anew.
            self.tools.said.with(|said| said.silent.insert(receiver));
        }
        for (name, within) in watched {
            let late = within.after(last.get(&name).copied().unwrap_or(now));
            let late = late.checked_add(WRITING).unwrap_or(late);
            if late >= now {
                self.wake_at(late);
            }
        }
        Ok(())
    }

    async fn self_test(&mut self, now: Timestamp) -> Result<(), LogError> {
        let Some(schedule) = self.tools.rules.self_test.clone() else { return Ok(()) };
        let name = Name::new(SELF_TEST).expect("a literal name");
        let Some(taken) = self.taken(&name, &schedule, now).await? else { return Ok(()) };
        if let Ok(Some(time)) = due(&schedule, taken, now, SignedDuration::from_hours(1)) {
            let title = "codeops paging self-test: nothing is wrong".to_owned();
            let body =
                "This page shows that paging works. It comes as often as `selfTest` in the settings says, and is over at once.".to_owned();
            let opened = PageOpened {
                policy: self.tools.rules.fallback.clone(),
                title,
                body,
                schedule: Some(name.clone()),
                ..PageOpened::default()
            };
            let record = Record::Scheduled { playbook: name, due: time, left: None, of: None };
            self.tools.journal.open_page(opened, |_| vec![record]).await?;
        }
        if let Ok(Some(next)) = next_time(&schedule, now) {
            self.wake_at(next);
        }
        Ok(())
    }

    /// Sends the sign of life, if all goes on.
    fn heartbeat(&mut self, now: Timestamp) {
        let (Some(heartbeat), Some(every)) = (self.tools.heartbeat.clone(), self.tools.rules.heartbeat) else { return };
        let next = self.beaten_at.filter(|at| *at <= now).map_or(now, |at| every.after(at));
        if next > now {
            self.wake_at(next);
            return;
        }
        self.wake_at(every.after(now));
        if self.beating {
            return;
        }
        self.beaten_at = Some(now);
        if let Some(why) = self.stands_still(now) {
            tracing::warn!(why, "no sign of life is sent");
            return;
        }
        self.beating = true;
        let (heartbeat, sender) = (heartbeat, self.afoot.sender.clone());
        self.tasks.spawn(async move {
            // One of its own: what panics must not be the last sign of life.
            let mut on = JoinSet::new();
            on.spawn(async move { heartbeat.beat().await });
            if let Some(Ok(Err(error))) = on.join_next().await {
                tracing::warn!(error, "the sign of life could not be sent");
            }
            let _ = sender.send(Event::Beaten).await;
        });
    }

    /// What makes no progress, if anything.
    fn stands_still(&self, now: Timestamp) -> Option<String> {
        if let Some(why) = self.board.broken.clone().or_else(|| self.tools.journal.poisoned()) {
            return Some(format!("the journal takes nothing: {why}"));
        }
        if let Some(stuck) = self.tools.vitals.stuck() {
            return Some(format!("{} has made no progress for {:?}", stuck.worker, stuck.time()));
        }
        let fresh = self.board.fresh_at.is_some_and(|at| now.duration_since(at) <= FRESH);
        if !fresh {
            return Some("a provider has not been observed lately".to_owned());
        }
        // What nobody could ever accept says nothing of whether paging goes on.
        let is_late = |page: &&Arc<Page>| now > wait_ends(page.opened_at, UNHEARD, now);
        // Who could be told is looked up in what is remembered, too.
        let late: Vec<_> = self.remembered(|response| response.pages.values().filter(is_late).cloned().collect());
        let unheard = late.iter().find(|page| !self.nobody(page, now));
        unheard.map(|page| format!("nobody has accepted page {}", page.id))
    }
}
