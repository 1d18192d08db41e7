//! Due times of scheduled playbooks. Each is written down as taken up or left in the transaction that opens its run, so that
//! none runs twice and none is lost.

use std::sync::Arc;

use codeops_core::model::{Labels, Name, Playbook, RunCause, Schedule, Trigger};
use codeops_core::playbook::{Asked, Opening, due, next_time, open, target_for};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Flow;
use crate::journal::{LogError, Record};

/// How late a time may be taken up where missed times are not caught up with.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

impl Flow {
    pub(super) async fn schedules(&mut self) -> Result<(), LogError> {
        let now = self.tools.clock.now();
        let response = Arc::clone(self.router.response());
        for (name, playbook) in &response.playbooks {
            if let Trigger::Schedule(schedule) = &playbook.on {
                self.schedule(name, playbook, schedule, now).await?;
            }
        }
        Ok(())
    }

    async fn schedule(
        &mut self,
        name: &Name,
        playbook: &Arc<Playbook>,
        schedule: &Schedule,
        now: Timestamp,
    ) -> Result<(), LogError> {
        let Some(taken) = self.remembered(|response| response.schedules.get(name).copied()) else {
            // Seen for the first time: it counts from now, so that a new playbook does not run for last night.
            let left = Some("it counts from now on".to_owned());
            let record = Record::Scheduled { playbook: name.clone(), due: now, left };
            return self.tools.journal.record(vec![record]).await.map(|_| ());
        };
        match due(schedule, taken, now, GRACE) {
            Ok(Some(time)) => self.take_up(name, playbook, time, now).await?,
            Ok(None) => {}
            Err(error) => tracing::warn!(playbook = %name, error, "a schedule cannot be read"),
        }
        if let Ok(Some(next)) = next_time(schedule, now) {
            self.wake_at(next);
        }
        Ok(())
    }

    async fn take_up(
        &mut self,
        name: &Name,
        playbook: &Arc<Playbook>,
        time: Timestamp,
        now: Timestamp,
    ) -> Result<(), LogError> {
        let scheduled = |left| Record::Scheduled { playbook: name.clone(), due: time, left };
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
            only_pages: false,
        };
        match self.remembered(|response| open(&asked, response, now)) {
            Opening::Open { event, .. } => {
                let taken = scheduled(None);
                self.tools.journal.open_run(*event, |_| vec![taken]).await.map(|_| ())
            }
            Opening::Join(run) => {
                let left = Some(format!("run {run} is on"));
                self.tools.journal.record(vec![scheduled(left)]).await.map(|_| ())
            }
            Opening::Left(why) => self.tools.journal.record(vec![scheduled(Some(why))]).await.map(|_| ()),
        }
    }
}
