//! What becomes of alerts: routed, kept quiet, answered by a run of their own or by another's, or told of in one page
//! when there are too many. Each leaves a receipt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::alert::{self, Quiet, Routed};
use codeops_core::model::{
    AlertId, AlertMemory, AlertState, Disposition, Name, PageEvent, PageId, ResourceId, Run, RunCause, RunEvent, RunId,
    Subject,
};
use codeops_core::playbook::{Answer, Asked, Opening, World, in_storm, open, seen};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::storm::{Storm, Stormy};
use super::{Flow, is_due};
use crate::journal::{LogError, Record};

/// How often what is kept quiet is looked at again.
const QUIET_LOOK: SignedDuration = SignedDuration::from_secs(15);

/// What is to become of one alert.
pub(super) enum Fate {
    Left(String),
    Quiet(String),
    Joins(RunId),
    /// This page, which comes from this run, tells of it, too.
    Told(PageId, RunId),
    Opens {
        event: Box<RunEvent>,
        latches: Option<Subject>,
    },
    /// Too many at once: whoever would have been paged is told of it with the others.
    Storm(Option<Name>),
}

impl Flow {
    /// Looks at all alerts that have no receipt, or only a passing one.
    pub(super) async fn alerts(&mut self) -> Result<(), LogError> {
        let now = self.tools.clock.now();
        self.expire(now).await?;
        self.unheard(now).await?;
        self.silenced(now);
        let again = is_due(self.quiet_looked_at, QUIET_LOOK, now);
        let (quiet, stormy) =
            self.remembered(|response| (response.alerts.values().any(|it| is_quiet(it)), self.storms(response)));
        let page = self.next_storm_page(stormy.values().min().copied(), now);
        if let Some(page) = page.filter(|_| !stormy.is_empty()) {
            self.wake_at(page);
        }
        if quiet {
            let next = self.quiet_looked_at.and_then(|at| at.checked_add(QUIET_LOOK).ok()).unwrap_or(now);
            self.wake_at(next.max(now));
        }
        let open: Vec<Arc<AlertMemory>> = self.remembered(|response| {
            let askable = |it: &AlertMemory| self.tools.rules.askable.contains(&it.alert.id.source);
            let wants = |it: &&Arc<AlertMemory>| match &it.disposition {
                // It has its receipt until its source, which is asked, says something else.
                Disposition::Quiet { .. } if it.state == AlertState::Silenced => !askable(it),
                Disposition::Run { run } if it.state == AlertState::Silenced => !response.runs.contains_key(run),
                Disposition::Received => true,
                Disposition::Waits { .. } => page.is_none() || it.state != AlertState::Firing,
                Disposition::Quiet { .. } => again || it.state != AlertState::Firing,
                Disposition::Run { .. } | Disposition::Left { .. } => false,
            };
            response.alerts.values().filter(wants).cloned().collect()
        });
        if again {
            self.quiet_looked_at = Some(now);
        }
        if open.is_empty() {
            return Ok(());
        }
        self.dispose(open, &stormy, now).await
    }

    async fn expire(&mut self, now: Timestamp) -> Result<(), LogError> {
        let rule = |it: &AlertMemory| self.tools.rules.expire.get(&it.alert.receiver).copied();
        let expires = |it: &AlertMemory| alert::expires(it, rule(it), self.began_at, self.looks_since);
        let (expired, next) = self.remembered(|response| {
            (alert::expired(&response.alerts, expires, now), alert::next_expiry(&response.alerts, expires))
        });
        if let Some(next) = next {
            self.wake_at(next);
        }
        if expired.is_empty() {
            return Ok(());
        }
        let why = "its source stopped telling of it; that is no proof that it is over".to_owned();
        let record = Record::AlertState { alerts: expired, state: AlertState::Expired, why };
        self.tools.journal.record(vec![record]).await.map(|_| ())
    }

    async fn dispose(&mut self, open: Vec<Arc<AlertMemory>>, stormy: &Stormy, now: Timestamp) -> Result<(), LogError> {
        let mut left: BTreeMap<String, Vec<AlertId>> = BTreeMap::new();
        let mut quiet: BTreeMap<String, Vec<AlertId>> = BTreeMap::new();
        let mut told: BTreeMap<(PageId, RunId), Vec<AlertId>> = BTreeMap::new();
        let mut storm: Storm = Storm::new();
        let mut records = Vec::new();
        let frozen = self.remembered(|response| self.frozen(response, now));
        let router = Arc::clone(&self.router);
        let over: Vec<(Arc<AlertMemory>, Routed, Option<String>)> = {
            // What rules say is looked up without the lock: what comes in meanwhile is taken in.
            let receivers = self.remembered(|memory| self.tools.rules.reaches(memory.kept.keys()));
            let rules = self.remembered(|memory| Quiet::new(&router, &memory.alerts, &receivers));
            let look = |alert: Arc<AlertMemory>| {
                let routed = router.route(&alert.alert.labels);
                let quiet = alert::quiet(&alert.alert, &routed, &rules, now);
                (alert, routed, quiet)
            };
            open.into_iter().map(look).collect()
        };
        let mut baked = BTreeMap::new();
        for (alert, routed, hushed) in over {
            let (mut fate, about) = match (alert.state, hushed) {
                (AlertState::Firing, None) => self.fate(&alert, &routed, frozen.as_deref(), stormy, now),
                (AlertState::Firing, Some(why)) => (Fate::Quiet(why), BTreeSet::new()),
                (AlertState::Silenced, _) => (self.fate_of_silenced(&alert), BTreeSet::new()),
                (state, _) => (Fate::Left(format!("it was {state} before its turn")), BTreeSet::new()),
            };
            // Whatever becomes of the alert; once is enough for all that come together.
            let mut taken_back: Vec<String> = Vec::new();
            for target in about.into_iter().filter(|_| frozen.is_none()) {
                if !baked.contains_key(&target) {
                    let back = self.roll_back_unproven(&target, &alert, now).await;
                    baked.insert(target.clone(), back);
                }
                taken_back.extend(baked.get(&target).cloned().flatten());
            }
            if let (Fate::Opens { event, .. }, false) = (&mut fate, taken_back.is_empty()) {
                tell_taken_back(event, &taken_back.join("; "));
            }
            match fate {
                Fate::Left(why) => left.entry(why).or_default().push(alert.alert.id.clone()),
                Fate::Quiet(why) if alert.disposition == (Disposition::Quiet { why: why.clone() }) => {}
                Fate::Quiet(why) => quiet.entry(why).or_default().push(alert.alert.id.clone()),
                Fate::Storm(policy) => storm.entry(policy).or_default().push(Arc::clone(&alert)),
                Fate::Told(page, run) => told.entry((page, run)).or_default().push(alert.alert.id.clone()),
                // Written with the others: thousands may join one run at once.
                Fate::Joins(run) => {
                    let id = alert.alert.id.clone();
                    let event = RunEvent::Joined { alert: id.clone() };
                    records.push(Record::Run { run, resource: None, event });
                    // Whoever has a page of an earlier time of it is not told that it is over.
                    let told = self.pages_out(run);
                    let joins = |page| Record::Page { page, event: PageEvent::Joined { alerts: vec![id.clone()] } };
                    records.extend(told.into_iter().map(joins));
                    records.push(disposed(vec![id], Disposition::Run { run }));
                }
                // Written at once: the next alert may join it.
                Fate::Opens { event, latches } => self.open(&alert, *event, latches).await?,
            }
        }
        for ((page, run), alerts) in told {
            records.push(disposed(alerts.clone(), Disposition::Run { run }));
            records.push(Record::Page { page, event: PageEvent::Joined { alerts } });
        }
        records.extend(left.into_iter().map(|(why, alerts)| disposed(alerts, Disposition::Left { why })));
        records.extend(quiet.into_iter().map(|(why, alerts)| disposed(alerts, Disposition::Quiet { why })));
        self.tools.journal.record(records).await?;
        self.storm(&storm, stormy.values().min().copied(), now).await
    }

    /// What becomes of one alert that fires and is not kept quiet, and what it is about: the target of the playbook that answers
    /// it, and what its labels name. In a freeze no playbook runs, nor one on what is suspended: a person is called for it at once.
    fn fate(
        &self,
        alert: &AlertMemory,
        routed: &Routed,
        frozen: Option<&str>,
        stormy: &Stormy,
        now: Timestamp,
    ) -> (Fate, BTreeSet<ResourceId>) {
        let (Some(revision), Some(world)) = (&self.board.revision, self.world()) else {
            return (Fate::Quiet("no revision is in force yet".to_owned()), BTreeSet::new());
        };
        if alert::freezes(alert, &self.tools.rules.may_freeze) {
            return (Fate::Quiet("it freezes everything, and calls nobody".to_owned()), BTreeSet::new());
        }
        let mut alert_seen = seen(&alert.alert);
        let receiver = self.tools.rules.reach_of(&alert.alert.receiver);
        let answer = self.answer(&world, alert, routed);
        // Of what is suspended no version goes back either.
        let held = matches!(answer, Answer::Held { .. });
        let (playbook, target, policy, only_pages) = match answer {
            Answer::Runs { playbook, target, policy } => (playbook, target, policy, frozen.map(str::to_owned)),
            Answer::Held { playbook, target, policy, why } => (playbook, Some(target), policy, Some(why)),
            Answer::Pages { playbook, policy, why } => (playbook, None, policy, Some(why)),
        };
        if let Some(why) = &only_pages {
            // The page tells of it beside what the source wrote.
            alert_seen["annotations"]["codeops"] = Value::from(why.as_str());
        }
        let owner = self.router.whose().owner_of(&alert.alert.labels, receiver);
        let asked = Asked {
            playbook: &playbook,
            authority: &playbook.team,
            cause: RunCause::Alert { alert: alert.alert.id.clone() },
            target: target.clone(),
            policy: policy.clone(),
            alert: alert_seen,
            revision: &revision.id,
            resolve_delay: world.resolve_delay,
            group: routed.group(&alert.alert.labels),
            owner,
            only_pages: only_pages.is_some(),
        };
        let named = world.about(&alert.alert.labels, owner, receiver).filter(|_| self.board.observe_only.is_none());
        let about = target.filter(|_| !held).into_iter().chain(named).collect();
        let source = &alert.alert.id.source;
        // A storm goes on until its page has told of all that wait for it.
        let goes_on = stormy.contains_key(&(source.clone(), owner.cloned()));
        let (opening, storm) = self.remembered(|response| {
            let still = |run: &Run| self.kept_still(run, response, now).is_some();
            (open(&asked, response, now, &still), goes_on || in_storm(response, source, owner, now))
        });
        let fate = match opening {
            Opening::Left(why) => Fate::Left(why),
            Opening::Later(why) => Fate::Quiet(why),
            Opening::Join(run) => Fate::Joins(run),
            Opening::Told { page, run } => Fate::Told(page, run),
            Opening::Open { .. } if storm => Fate::Storm(policy),
            Opening::Open { event, latches } => Fate::Opens { event, latches },
        };
        (fate, about)
    }

    /// Who answers an alert, by its receiver, too.
    pub(super) fn answer(&self, world: &World<'_>, alert: &AlertMemory, routed: &Routed) -> Answer {
        let receiver = self.tools.rules.reach_of(&alert.alert.receiver);
        match (&self.board.observe_only, receiver) {
            (None, receiver) => world.answer(routed, &seen(&alert.alert), receiver),
            (Some(why), None) => world.pages(routed.policy.as_ref(), why.clone()),
            (Some(why), Some(teams)) => world.within(world.pages(routed.policy.as_ref(), why.clone()), teams, routed),
        }
    }

    /// The pages of a run that are not over, accepted or not.
    pub(super) fn pages_out(&self, run: RunId) -> Vec<PageId> {
        self.remembered(|response| {
            let open = response.pages.iter().filter(|(_, page)| page.run == Some(run)).map(|(id, _)| *id);
            open.chain(response.calls.iter().filter(|(_, call)| call.run == Some(run)).map(|(id, _)| *id)).collect()
        })
    }

    async fn open(
        &mut self,
        alert: &Arc<AlertMemory>,
        event: RunEvent,
        latches: Option<Subject>,
    ) -> Result<(), LogError> {
        let id = alert.alert.id.clone();
        let beside = |run| {
            let mut records = vec![disposed(vec![id], Disposition::Run { run })];
            records.extend(latches.map(|subject| Record::Latched { subject }));
            records
        };
        self.tools.journal.open_run(event, beside).await.map(|_| ())
    }
}

/// Whoever is called for what opens a run learns what was done before it.
fn tell_taken_back(opened: &mut RunEvent, back: &str) {
    if let RunEvent::Opened { alert, .. } = opened {
        alert["takenBack"] = Value::from(back);
    }
}

fn is_quiet(alert: &AlertMemory) -> bool {
    matches!(alert.disposition, Disposition::Quiet { .. }) && alert.state == AlertState::Firing
}

pub(super) fn disposed(alerts: Vec<AlertId>, disposition: Disposition) -> Record {
    Record::Disposed { alerts, disposition }
}
