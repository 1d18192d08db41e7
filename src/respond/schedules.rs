//! Due times of scheduled playbooks. Each is written down as taken up or left in the transaction that opens its run, so that
//! none runs twice and none is lost. However many are due, a turn takes few, in turns over teams: alerts are looked at in
//! between.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeops_core::model::{
    Labels, Name, Playbook, Response, Run, RunCause, SELF_TEST, Schedule, TeamName, Trigger, UNSCHEDULED,
};
use codeops_core::playbook::{Asked, Opening, due, next_time, open, target_for};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Flow;
use super::turns::in_turn;
use crate::journal::{LogError, Record, SCHEDULE_CHANGED};

/// How late a time may be taken up where missed times are not caught up with.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

/// How many due times one turn writes down at most: an alert that comes meanwhile waits for no more.
const AT_ONCE: usize = 8;
/// How many schedules one turn looks into at most.
const LOOKS: usize = 256;

/// When schedules are due next, so that most turns look into none. Can be lost.
#[derive(Default)]
pub(super) struct Timetable {
    /// When the clock was read last: where it goes back, nothing of this is known any more.
    read_at: Option<Timestamp>,
    /// By playbook: its schedule as it is remembered, and its next time.
    next: BTreeMap<Name, (String, Timestamp)>,
    /// The team that had its turn last.
    last: Option<TeamName>,
}

impl Timetable {
    /// When this schedule is due next; `None` where it may be due now.
    fn later(&self, name: &Name, schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
        let (of, at) = self.next.get(name)?;
        (*at > now && *of == words(schedule)).then_some(*at)
    }
}

impl Flow {
    pub(super) async fn schedules(&mut self) -> Result<(), LogError> {
        let now = self.tools.clock.now();
        let response = Arc::clone(self.router.response());
        let scheduled = response.playbooks.iter().filter_map(|(name, playbook)| match &playbook.on {
            Trigger::Schedule(schedule) => Some((name, playbook, schedule)),
            Trigger::Alert(_) | Trigger::Called => None,
        });
        let scheduled: Vec<_> = scheduled.collect();
        if self.timetable.read_at.replace(now).is_some_and(|before| now < before) {
            self.timetable.next.clear();
        }
        let declared = |name: &Name| scheduled.binary_search_by(|(other, ..)| (*other).cmp(name)).is_ok();
        self.timetable.next.retain(|name, _| declared(name));
        let mut waiting: BTreeMap<TeamName, Vec<_>> = BTreeMap::new();
        for one in &scheduled {
            match self.timetable.later(one.0, one.2, now) {
                Some(at) => self.wake_at(at),
                None => waiting.entry(one.1.team.clone()).or_default().push(*one),
            }
        }
        let mut written = 0;
        for (looked, (team, (name, playbook, schedule))) in
            in_turn(waiting, self.timetable.last.as_ref()).into_iter().enumerate()
        {
            if written == AT_ONCE || looked == LOOKS {
                self.wake_at(now);
                break;
            }
            self.timetable.last = Some(team);
            written += usize::from(self.schedule(name, playbook, schedule, now).await?);
        }
        self.forget(&response, now).await
    }

    /// The time of this schedule that was last taken up or left. One that is seen for the first time, or was changed, counts
    /// from now: a new playbook does not run for last night, nor a changed one for the times it would have had.
    pub(super) async fn taken(
        &self,
        name: &Name,
        schedule: &Schedule,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, LogError> {
        let of = words(schedule);
        let known = self.remembered(|response| response.schedules.get(name).cloned());
        if let Some(known) = known
            && known.of.as_ref().is_none_or(|known| *known == of)
        {
            return Ok(Some(known.due));
        }
        let left = Some(SCHEDULE_CHANGED.to_owned());
        let record = Record::Scheduled { playbook: name.clone(), due: now, left, of: Some(of) };
        self.tools.journal.record(vec![record]).await.map(|_| None)
    }

    /// A playbook that is not declared any more has no schedule: where it comes back, it counts from then on.
    async fn forget(&mut self, response: &Response, now: Timestamp) -> Result<(), LogError> {
        let is_there = |name: &Name| {
            name.as_str() == SELF_TEST
                || response.broken.contains_key(&format!("Playbook/{name}"))
                || response.playbooks.get(name).is_some_and(|playbook| matches!(playbook.on, Trigger::Schedule(_)))
        };
        let gone: Vec<Name> = self.remembered(|memory| {
            let known = memory.schedules.iter().filter(|(_, taken)| !taken.is_gone());
            known.map(|(name, _)| name.clone()).filter(|name| !is_there(name)).collect()
        });
        let left = || Some("it is not declared any more".to_owned());
        let record =
            |playbook| Record::Scheduled { playbook, due: now, left: left(), of: Some(UNSCHEDULED.to_owned()) };
        self.tools.journal.record(gone.into_iter().map(record).collect()).await.map(|_| ())
    }

    /// Looks into one schedule, and says whether it wrote something down. Until its next time nothing more is due.
    async fn schedule(
        &mut self,
        name: &Name,
        playbook: &Arc<Playbook>,
        schedule: &Schedule,
        now: Timestamp,
    ) -> Result<bool, LogError> {
        let taken = self.taken(name, schedule, now).await?;
        let wrote = match taken.map_or(Ok(None), |taken| due(schedule, taken, now, GRACE)) {
            Ok(Some(time)) => {
                self.take_up(name, playbook, schedule, time, now).await?;
                true
            }
            Ok(None) => taken.is_none(),
            Err(error) => {
                tracing::warn!(playbook = %name, error, "a schedule cannot be read");
                false
            }
        };
        let next = next_time(schedule, now).ok().flatten().unwrap_or(Timestamp::MAX);
        self.timetable.next.insert(name.clone(), (words(schedule), next));
        self.wake_at(next);
        Ok(wrote)
    }

    async fn take_up(
        &mut self,
        name: &Name,
        playbook: &Arc<Playbook>,
        schedule: &Schedule,
        time: Timestamp,
        now: Timestamp,
    ) -> Result<(), LogError> {
        let scheduled = |left| Record::Scheduled { playbook: name.clone(), due: time, left, of: Some(words(schedule)) };
        let Some(revision) = &self.board.revision else { return Ok(()) };
        let target = match playbook.target.as_ref().map(|template| target_for(template, &Value::Null)).transpose() {
            Ok(target) => target,
            Err(error) => return self.tools.journal.record(vec![scheduled(Some(error))]).await.map(|_| ()),
        };
        let asked = Asked {
            playbook,
            authority: &playbook.team,
            cause: RunCause::Schedule { due: time },
            target,
            policy: self.escalation(&playbook.team),
            alert: Value::Null,
            revision: &revision.id,
            resolve_delay: self.resolve_delay(),
            group: Labels::new(),
            owner: None,
            only_pages: false,
        };
        let opening = self.remembered(|response| {
            let still = |run: &Run| self.kept_still(run, response, now).is_some();
            open(&asked, response, now, &still)
        });
        match opening {
            Opening::Open { event, .. } => {
                let taken = scheduled(None);
                self.tools.journal.open_run(*event, |_| vec![taken]).await.map(|_| ())
            }
            Opening::Join(run) | Opening::Told { run, .. } => {
                let left = Some(format!("run {run} is on"));
                self.tools.journal.record(vec![scheduled(left)]).await.map(|_| ())
            }
            Opening::Left(why) | Opening::Later(why) => {
                self.tools.journal.record(vec![scheduled(Some(why))]).await.map(|_| ())
            }
        }
    }
}

/// A schedule as it is remembered.
fn words(schedule: &Schedule) -> String {
    format!("{} {}", schedule.cron, schedule.timezone.as_deref().unwrap_or("UTC"))
}
