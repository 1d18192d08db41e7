//! The other flow: alerts and due times become runs, runs become actions and effects, and where nothing helps, pages.
//!
//! One task owns the [`Flow`]; what takes time (effects, sends, questions to sources) runs beside it and comes back as an
//! [`Event`]. It decides nothing itself: [`codeops_core::alert`], [`codeops_core::playbook`] and [`codeops_core::action`]
//! do, from what the journal remembers and the board shows. Everything is written down before it is done, so a daemon
//! that dies anywhere is followed by one that goes on.

mod act;
mod afoot;
mod alerts;
mod ask;
mod bake;
mod calls;
mod context;
mod holds;
mod ledger;
mod pages;
mod perform;
mod queued;
mod room;
mod runs;
mod said;
mod schedules;
mod shown;
mod silence;
mod silenced;
mod storm;
mod targets;
mod turns;
mod unheard;
mod unwritable;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use codeops_core::alert::Router;
use codeops_core::desired::Desired;
use codeops_core::model::{
    AlertId, AlertState, Name, PageId, Period, Response, ResponseMemory, RunId, Schedule, StepRef, TeamName, Whose,
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::said::Said;
use crate::gate::Gate;
use crate::journal::{Entry, Journal, LogError};
use crate::port::{
    AlertAnswer, AlertSources, Board, Clock, EffectError, Effects, Heartbeat, Performed, Senders, Vault, Vitals,
    Watcher,
};

/// The shortest time between two looks at everything: what comes in a burst is looked at together.
const BREATH: Duration = Duration::from_millis(5);
/// The longest time without a look, whatever nothing says.
const LONGEST: Duration = Duration::from_secs(15);

/// What the flow is made of.
pub struct Parts {
    /// What is remembered, and where decisions are written.
    pub journal: Journal,
    /// The picture of everything that reconcile publishes.
    pub watcher: Watcher,
    /// The way to change anything.
    pub gate: Gate,
    /// Effects on the outside world.
    pub effects: Arc<dyn Effects>,
    /// Monitoring systems that can be asked.
    pub sources: Arc<dyn AlertSources>,
    /// The sign of life, if one is wanted.
    pub heartbeat: Option<Arc<dyn Heartbeat>>,
    /// Where the flow shows that it goes on, and sees whether the others do.
    pub vitals: Vitals,
    /// Takes secrets out of what is written down.
    pub vault: Arc<dyn Vault>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What does not change while the daemon runs.
    pub rules: Rules,
    /// What was said before settings were taken over, and what is on since then.
    pub said: Said,
}

/// What the settings say.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Who is paged when nothing else says.
    pub fallback: Option<Name>,
    /// Receivers with a Watchdog, and within what time it must be heard again.
    pub watchdogs: BTreeMap<Name, Period>,
    /// Receivers whose alert may freeze everything.
    pub may_freeze: BTreeSet<Name>,
    /// Receivers that may only reach what these teams own.
    pub receivers: BTreeMap<Name, BTreeSet<TeamName>>,
    /// Receivers whose alerts expire when they are not told of again within this time, where their senders say no end.
    pub expire: BTreeMap<Name, Period>,
    /// All receivers, and whose what they bring is.
    pub senders: Senders,
    /// Sources that have an API to be asked.
    pub askable: BTreeSet<Name>,
    /// How often a sign of life is sent.
    pub heartbeat: Option<Period>,
    /// When paging is tried.
    pub self_test: Option<Schedule>,
    /// A freeze from the settings.
    pub freeze: Option<codeops_core::config::Freeze>,
    /// Nothing is done, only shown.
    pub observe: bool,
}

impl Rules {
    /// The teams whose alone is what a receiver may reach, where it may not reach all. One that the settings have no more reaches
    /// nobody's: which teams it was for is not known any more.
    fn reach_of(&self, receiver: &Name) -> Option<&BTreeSet<TeamName>> {
        static NOBODYS: BTreeSet<TeamName> = BTreeSet::new();
        let gone = || (!self.senders.contains_key(receiver)).then_some(&NOBODYS);
        self.receivers.get(receiver).or_else(gone)
    }

    /// The same of all that are restricted, of these too.
    fn reaches<'a>(&self, receivers: impl Iterator<Item = &'a Name>) -> BTreeMap<Name, BTreeSet<TeamName>> {
        let gone = receivers.filter(|receiver| !self.senders.contains_key(*receiver));
        let gone = gone.map(|receiver| (receiver.clone(), BTreeSet::new()));
        gone.chain(self.receivers.iter().map(|(name, teams)| (name.clone(), teams.clone()))).collect()
    }
}

/// How something that ran beside the flow came back.
enum Event {
    /// An effect of a run's step.
    Performed { run: RunId, step: StepRef, attempt: u32, result: Result<Performed, EffectError> },
    /// A send of a page.
    Sent { page: PageId, to: pages::To, result: Result<Performed, EffectError> },
    /// Answers of sources.
    Answered { run: RunId, answers: Vec<(AlertId, AlertState)> },
    /// Answers of the source that this receiver's credentials ask, about what it held back or was found to be over.
    Looked { receiver: Name, asked: Vec<AlertId>, answers: Vec<AlertAnswer> },
    /// Who was told of a page's end and accepted that, while others have not answered.
    Knows { page: PageId, receiver: Name },
    /// An attempt to tell of a page's end is over; who accepted it last, and who did not.
    Closed { page: PageId, knows: Vec<Name>, untold: Vec<Name> },
    /// The sign of life has left, or could not.
    Beaten,
}

/// Runs until `cancel` fires. Then it begins nothing more; what is on goes on for the next flow of this process, and where none
/// follows ([`Said::ends`]) it gets 10 seconds.
///
/// # Errors
/// Only when the journal takes nothing more.
pub async fn run(parts: Parts, cancel: CancellationToken) -> Result<(), LogError> {
    let said = parts.said.clone();
    let (afoot, mut events) = said.with(|said| said.afoot.take()).unwrap_or_else(afoot::nothing);
    let tail = parts.journal.tail();
    let now = parts.clock.now();
    let mut flow = Flow {
        router: Arc::new(Router::new(&Arc::new(Response::default()), parts.rules.fallback.as_ref(), Whose::default())),
        board: parts.watcher.board(),
        began_at: now,
        looks_since: parts.said.with(|said| *said.looks_since.get_or_insert(now)),
        beaten_at: None,
        beating: false,
        mended: BTreeMap::new(),
        asking: BTreeSet::new(),
        answers_anew: false,
        quiet_looked_at: None,
        room_looked_at: None,
        silenced_asked_at: None,
        asking_silenced: BTreeSet::new(),
        timetable: schedules::Timetable::default(),
        ran: None,
        wake: None,
        afoot,
        tasks: JoinSet::new(),
        tools: parts,
    };
    if let Some(desired) = flow.board.desired.clone() {
        flow.take_desired(&desired);
    }
    let ended = flow.follow(tail, &mut events, &cancel).await;
    flow.tools.vitals.respond.rests();
    if ended.is_err() {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = flow.call_about_journal() => {}
        }
        // The page goes on saying what is wrong, until the daemon begins anew.
        cancel.cancelled().await;
    }
    flow.tasks.shutdown().await;
    let for_good = said.with(|said| said.ends);
    let drained = flow.drain(&mut events, for_good).await;
    if !for_good {
        said.with(|said| said.afoot = Some((flow.afoot, events)));
    }
    ended.and(drained)
}

/// The one task and what it owns. All of it but the tools can be lost.
struct Flow {
    tools: Parts,
    board: Arc<Board>,
    /// Routes and playbooks of the revision in force.
    router: Arc<Router>,
    began_at: Timestamp,
    /// Since when this process looks: settings that are taken over are no break in that.
    looks_since: Timestamp,
    beaten_at: Option<Timestamp>,
    beating: bool,
    /// When the channels of receivers were changed last, or accepted a page, of those that were or did since this flow began.
    mended: BTreeMap<Name, Timestamp>,
    asking: BTreeSet<RunId>,
    /// Whether how alerts are answered has changed, and nobody has looked yet whom that reaches.
    answers_anew: bool,
    /// When what is kept quiet was last looked at.
    quiet_looked_at: Option<Timestamp>,
    /// When it was last looked whether there is room for alerts.
    room_looked_at: Option<Timestamp>,
    /// When sources were last asked about what they hold back, and by which receivers they are being asked.
    silenced_asked_at: Option<Timestamp>,
    asking_silenced: BTreeSet<Name>,
    /// When schedules are due.
    timetable: schedules::Timetable,
    /// The team of which a run that no alert began came further last.
    ran: Option<TeamName>,
    /// When to look again though nothing happened.
    wake: Option<Timestamp>,
    /// What this process is doing.
    afoot: afoot::Afoot,
    /// Questions, which are asked again.
    tasks: JoinSet<()>,
}

impl Flow {
    async fn follow(
        &mut self,
        mut tail: broadcast::Receiver<Arc<Entry>>,
        events: &mut mpsc::Receiver<Event>,
        cancel: &CancellationToken,
    ) -> Result<(), LogError> {
        let mut watcher = self.tools.watcher.clone();
        let pulse = self.tools.vitals.respond.clone();
        loop {
            pulse.works();
            // Who writes nothing would not notice, and somebody has to be called.
            if let Some(why) = self.tools.journal.poisoned() {
                return Err(LogError::Poisoned(why));
            }
            self.turn().await?;
            let wait = self.wake.map_or(LONGEST, |wake| until(wake, self.tools.clock.now()).min(LONGEST));
            pulse.rests();
            let event = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                Some(event) = events.recv() => Some(event),
                // Missed entries are no loss: what is remembered is looked at whole.
                _ = tail.recv() => None,
                changed = watcher.changed() => if changed.is_err() { return Ok(()) } else { None },
                () = tokio::time::sleep(wait) => None,
                Some(_) = self.tasks.join_next() => None,
                Some(_) = self.afoot.tasks.join_next() => None,
                Some(_) = self.afoot.commits.join_next() => None,
            };
            pulse.works();
            if let Some(event) = event {
                self.take_in(event).await?;
            }
            tokio::time::sleep(BREATH).await;
            while let Ok(event) = events.try_recv() {
                self.take_in(event).await?;
            }
            while !matches!(
                tail.try_recv(),
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed)
            ) {}
            self.take_board(watcher.board());
        }
    }

    /// One look at everything.
    async fn turn(&mut self) -> Result<(), LogError> {
        self.wake = None;
        self.room().await?;
        if !self.board.ready || self.board.desired.is_none() {
            // Until everything has been looked at once, nothing is known of any target. Intake goes on; so does paging.
            return self.pages().await;
        }
        if let Some(why) = self.board.observe_only.clone() {
            // Nothing acts; but what happens is told of, and silence too.
            self.observe(&why).await?;
            self.silence().await?;
            self.calls().await?;
            return self.pages().await;
        }
        // Whoever is to observe again is told so again.
        self.tools.said.with(|said| said.observing = None);
        self.alerts().await?;
        self.answers().await?;
        self.schedules().await?;
        self.other_runs().await?;
        self.ledger().await?;
        self.silence().await?;
        self.calls().await?;
        self.pages().await
    }

    async fn take_in(&mut self, event: Event) -> Result<(), LogError> {
        match event {
            Event::Performed { run, step, attempt, result } => self.performed(run, step, attempt, result).await,
            Event::Sent { page, to, result } => self.sent(page, to, result).await,
            Event::Answered { run, answers } => self.answered(run, answers).await,
            Event::Looked { receiver, asked, answers } => self.looked(&receiver, &asked, answers).await,
            Event::Knows { page, receiver } => self.knows(page, receiver).await,
            Event::Closed { page, knows, untold } => self.closed(page, knows, untold).await,
            Event::Beaten => {
                self.beating = false;
                Ok(())
            }
        }
    }

    fn take_board(&mut self, board: Arc<Board>) {
        if let Some(desired) = &board.desired
            && !self.board.desired.as_ref().is_some_and(|before| Arc::ptr_eq(before, desired))
        {
            self.take_desired(desired);
        }
        self.board = board;
    }

    fn take_desired(&mut self, desired: &Desired) {
        let whose = desired.whose();
        if **self.router.response() == desired.response && *self.router.whose() == whose {
            return;
        }
        let fallback = self.tools.rules.fallback.as_ref();
        if let Some(fallback) = fallback.filter(|name| !desired.response.policies.contains_key(*name)) {
            tracing::warn!(%fallback, "the revision has no such EscalationPolicy: what only the settings' `fallback` would tell reaches nobody");
        }
        let (now, before) = (self.tools.clock.now(), self.router.response());
        let other = desired.response.receivers.iter().filter(|(name, it)| before.receivers.get(*name) != Some(*it));
        self.mended.extend(other.map(|(name, _)| (name.clone(), now)));
        self.router = Arc::new(Router::new(&Arc::new(desired.response.clone()), fallback, whose));
        self.answers_anew = true;
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Reads what is remembered. Never held across an await.
    fn remembered<T>(&self, read: impl FnOnce(&ResponseMemory) -> T) -> T {
        let memory = self.tools.journal.memory();
        let memory = memory.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        read(&memory.response)
    }
}

/// Whether what was last looked at then is to be looked at again. A clock that was set back since puts nothing off.
fn is_due(last: Option<Timestamp>, every: SignedDuration, now: Timestamp) -> bool {
    last.is_none_or(|at| now < at || now.duration_since(at) >= every)
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_at_now_and_then_is_so_also_after_the_clock_was_set_back() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let due = |last: Option<i64>, now| is_due(last.map(at), SignedDuration::from_secs(15), at(now));
        assert!(due(None, 1_000) && due(Some(1_000), 1_015) && !due(Some(1_000), 1_014));
        assert!(due(Some(1_000), 999), "it would stand still until the clock has caught up");
    }
}
