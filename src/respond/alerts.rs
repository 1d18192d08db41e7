//! What becomes of alerts: routed, kept quiet, answered by a run of their own or by another's, or told of in one page
//! when there are too many. Each leaves a receipt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::alert::{self, Quiet, Routed};
use codeops_core::model::{
    AlertId, AlertMemory, AlertState, Concurrency, Disposition, Limits, Memory, Name, Per, Period, Pin, Playbook,
    RunCause, RunEvent, RunId, Subject, TeamName, Trigger, WhenBusy,
};
use codeops_core::playbook::{Asked, Opening, in_storm, open, target_for};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Flow;
use crate::gate::Mark;
use crate::journal::{LogError, Record};

/// Our own playbook, which answers what no other does: it pages.
pub(super) const PAGES: &str = "codeops-page";
/// How often what is kept quiet is looked at again.
const QUIET_LOOK: SignedDuration = SignedDuration::from_secs(15);
/// How late a resolved signal may come when the repository does not say.
pub(super) const RESOLVE_DELAY: Period = Period::from_secs(360);

/// What is to become of one alert.
enum Fate {
    Left(String),
    Quiet(String),
    Joins(RunId),
    Opens { event: Box<RunEvent>, latches: Option<Subject>, team: TeamName },
    Storm,
}

impl Flow {
    /// Looks at all alerts that have no receipt, or only a passing one.
    pub(super) async fn alerts(&mut self) -> Result<(), LogError> {
        let now = self.tools.clock.now();
        self.expire(now).await?;
        let again = self.quiet_looked_at.is_none_or(|at| now.duration_since(at) >= QUIET_LOOK);
        let waits = self.remembered(|response| response.alerts.values().any(|it| is_quiet(it)));
        if waits {
            let next = self.quiet_looked_at.and_then(|at| at.checked_add(QUIET_LOOK).ok()).unwrap_or(now);
            self.wake_at(next.max(now));
        }
        let open: Vec<Arc<AlertMemory>> = self.remembered(|response| {
            let wants = |it: &&Arc<AlertMemory>| match &it.disposition {
                Disposition::Received => true,
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
        self.dispose(open, now).await
    }

    async fn expire(&mut self, now: Timestamp) -> Result<(), LogError> {
        let (expired, next) =
            self.remembered(|response| (alert::expired(&response.alerts, now), alert::next_expiry(&response.alerts)));
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

    async fn dispose(&mut self, open: Vec<Arc<AlertMemory>>, now: Timestamp) -> Result<(), LogError> {
        let mut left: BTreeMap<String, Vec<AlertId>> = BTreeMap::new();
        let mut quiet: BTreeMap<String, Vec<AlertId>> = BTreeMap::new();
        let mut storm: Vec<Arc<AlertMemory>> = Vec::new();
        let mut records = Vec::new();
        let frozen = self.frozen(now);
        let response = Arc::clone(self.router.response());
        let over: Vec<(Arc<AlertMemory>, Routed, Option<String>)> = self.remembered(|memory| {
            let rules = Quiet::new(&response, &memory.alerts);
            let look = |alert: &Arc<AlertMemory>| {
                let routed = self.router.route(&alert.alert.labels);
                let quiet = alert::quiet(&alert.alert, &routed, &rules, now);
                (Arc::clone(alert), routed, quiet)
            };
            open.iter().map(look).collect()
        });
        for (alert, routed, hushed) in over {
            let why = frozen.clone().or(hushed);
            let fates = match (alert.state, why) {
                (AlertState::Firing, None) => self.fates(&alert, &routed, now),
                (AlertState::Firing, Some(why)) => vec![Fate::Quiet(why)],
                (state, _) => vec![Fate::Left(format!("it was {state} before its turn"))],
            };
            for fate in fates {
                match fate {
                    Fate::Left(why) => left.entry(why).or_default().push(alert.alert.id.clone()),
                    Fate::Quiet(why) if alert.disposition == (Disposition::Quiet { why: why.clone() }) => {}
                    Fate::Quiet(why) => quiet.entry(why).or_default().push(alert.alert.id.clone()),
                    Fate::Storm => storm.push(Arc::clone(&alert)),
                    // Written with the others: thousands may join one run at once.
                    Fate::Joins(run) => {
                        let id = alert.alert.id.clone();
                        let event = RunEvent::Joined { alert: id.clone() };
                        records.push(Record::Run { run, resource: None, event });
                        records.push(disposed(vec![id], Disposition::Run { run }));
                    }
                    // Written at once: the next alert may join it.
                    Fate::Opens { event, latches, team } => {
                        self.open(&alert, *event, latches, &team, now).await?;
                    }
                }
            }
        }
        records.extend(left.into_iter().map(|(why, alerts)| disposed(alerts, Disposition::Left { why })));
        records.extend(quiet.into_iter().map(|(why, alerts)| disposed(alerts, Disposition::Quiet { why })));
        self.tools.journal.record(records).await?;
        self.storm(&storm, now).await
    }

    /// What becomes of one alert that fires and is not kept quiet: something for each playbook that answers it.
    fn fates(&self, alert: &Arc<AlertMemory>, routed: &Routed, now: Timestamp) -> Vec<Fate> {
        let answering: Vec<&Arc<Playbook>> =
            routed.playbooks.iter().filter_map(|name| self.router.response().playbooks.get(name)).collect();
        if answering.is_empty() {
            return vec![self.only_page(alert, routed, "no playbook answers it", now)];
        }
        // One alert has one run: the first playbook that answers it and may. Others with the same target would only join.
        let seen = seen(alert);
        let may = |playbook: &&&Arc<Playbook>| {
            let target = playbook.target.as_ref().map(|template| target_for(template, &seen));
            target.is_none_or(|target| target.is_ok_and(|target| self.may_act(&playbook.team, &target)))
        };
        let playbook = answering.iter().find(may).unwrap_or(&answering[0]);
        vec![self.answer(alert, playbook, routed, now)]
    }

    fn answer(&self, alert: &Arc<AlertMemory>, playbook: &Arc<Playbook>, routed: &Routed, now: Timestamp) -> Fate {
        let seen = seen(alert);
        let target = match playbook.target.as_ref().map(|template| target_for(template, &seen)).transpose() {
            Ok(target) => target,
            Err(error) => return self.only_page(alert, routed, &error, now),
        };
        if let Some(target) = &target {
            let Some(declared) = self.declared(target) else {
                return self.only_page(alert, routed, &format!("its target {target} is not declared"), now);
            };
            if !self.may_act(&playbook.team, target) {
                let why = format!("team {} may not act on {target}", playbook.team);
                return self.only_page(alert, routed, &why, now);
            }
            if declared.spec.suspend {
                return Fate::Quiet(format!("{target} is suspended by its manifest"));
            }
        }
        let policy = routed.policy.clone().or_else(|| self.escalation(&playbook.team));
        self.fate(alert, playbook, target, policy, seen, routed, false, now)
    }

    /// A page and nothing else, through a run like any other.
    fn only_page(&self, alert: &Arc<AlertMemory>, routed: &Routed, why: &str, now: Timestamp) -> Fate {
        let mut seen = seen(alert);
        seen["annotations"]["codeops"] = Value::from(why);
        let team = self.paging_team(routed);
        let playbook = Arc::new(pages(team));
        self.fate(alert, &playbook, None, routed.policy.clone(), seen, routed, true, now)
    }

    #[expect(clippy::too_many_arguments, reason = "each is a fact of its own, and a struct would only name them again")]
    fn fate(
        &self,
        alert: &Arc<AlertMemory>,
        playbook: &Arc<Playbook>,
        target: Option<codeops_core::model::ResourceId>,
        policy: Option<Name>,
        seen: Value,
        routed: &Routed,
        only_pages: bool,
        now: Timestamp,
    ) -> Fate {
        let Some(revision) = &self.board.revision else { return Fate::Quiet("no revision is in force yet".to_owned()) };
        let asked = Asked {
            playbook,
            authority: &playbook.team,
            cause: RunCause::Alert { alert: alert.alert.id.clone() },
            target,
            policy,
            alert: seen,
            revision: &revision.id,
            resolve_delay: self.resolve_delay(),
            group: routed.group(&alert.alert.labels),
            only_pages,
        };
        let (opening, storm) = self.remembered(|response| (open(&asked, response, now), in_storm(response, now)));
        match opening {
            Opening::Left(why) => Fate::Left(why),
            Opening::Join(run) => Fate::Joins(run),
            Opening::Open { .. } if storm => Fate::Storm,
            Opening::Open { event, latches } => Fate::Opens { event, latches, team: playbook.team.clone() },
        }
    }

    async fn open(
        &mut self,
        alert: &Arc<AlertMemory>,
        event: RunEvent,
        latches: Option<Subject>,
        team: &TeamName,
        now: Timestamp,
    ) -> Result<(), LogError> {
        let id = alert.alert.id.clone();
        self.roll_back_unproven(&event, alert, team, now).await?;
        let beside = |run| {
            let mut records = vec![disposed(vec![id], Disposition::Run { run })];
            records.extend(latches.map(|subject| Record::Latched { subject }));
            records
        };
        self.tools.journal.open_run(event, beside).await.map(|_| ())
    }

    /// An alert inside a rollout's bake rolls it back at once; the run only proves.
    async fn roll_back_unproven(
        &mut self,
        event: &RunEvent,
        alert: &AlertMemory,
        team: &TeamName,
        now: Timestamp,
    ) -> Result<(), LogError> {
        let RunEvent::Opened { target: Some(target), .. } = event else { return Ok(()) };
        let facts = self.with_memory(|memory| self.target(target, memory, None));
        let (Some(facts), Some(declared), Some(picture)) = (facts, self.declared(target).cloned(), self.picture())
        else {
            return Ok(());
        };
        if !(facts.unproven && facts.can_roll_back) || self.tools.rules.observe {
            return Ok(());
        }
        let why = format!("alert {} fired in its bake time", alert.alert.name());
        let tried = Some(Pin::tried_with(&declared));
        let pin = Pin { at: now, revision: Some(picture.revision.clone()), why, tried };
        let template = declared.template_digest.clone();
        let records = vec![Record::Pinned { resource: target.clone(), template, pin }];
        tracing::info!(%target, %team, alert = alert.alert.name(), "an alert fired in a bake time: rolling back");
        let mark = Mark { resource: target.clone(), records, disturbs: false };
        match self.tools.gate.mark(mark, picture).await {
            crate::gate::Passage::Closed(why) => tracing::warn!(why, "the rollback was not written down"),
            crate::gate::Passage::Refused(why) => tracing::info!(why, "the rollback is not let through"),
            _ => {}
        }
        Ok(())
    }

    /// Who is paged for what a team owns.
    pub(super) fn escalation(&self, team: &TeamName) -> Option<Name> {
        let own = self.board.desired.as_ref().and_then(|desired| desired.teams.get(team)?.escalation.clone());
        own.or_else(|| self.tools.rules.fallback.clone())
    }

    pub(super) fn resolve_delay(&self) -> Period {
        let declared = self.board.desired.as_ref().and_then(|desired| desired.repository.resolve_delay);
        declared.unwrap_or(RESOLVE_DELAY)
    }

    /// Whose authority a run that only pages has: the team of the policy it pages.
    fn paging_team(&self, routed: &Routed) -> TeamName {
        let policy = routed.policy.as_ref().and_then(|policy| self.router.response().policies.get(policy));
        policy.map_or_else(|| Name::new("codeops").expect("a literal name"), |policy| policy.team.clone())
    }
}

fn is_quiet(alert: &AlertMemory) -> bool {
    matches!(alert.disposition, Disposition::Quiet { .. }) && alert.state == AlertState::Firing
}

pub(super) fn disposed(alerts: Vec<AlertId>, disposition: Disposition) -> Record {
    Record::Disposed { alerts, disposition }
}

/// What steps see as `alert`.
fn seen(memory: &AlertMemory) -> Value {
    let alert = &memory.alert;
    json!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": alert.id.starts_at.to_string(),
        "source": alert.id.source.as_str(),
        "fingerprint": alert.id.fingerprint.as_str(),
        "url": alert.url,
    })
}

/// The playbook that answers what no other does.
pub(super) fn pages(team: TeamName) -> Playbook {
    Playbook {
        name: Name::new(PAGES).expect("a literal name"),
        team,
        folder: String::new(),
        on: Trigger::Called,
        target: None,
        concurrency: Concurrency { per: Per::Target, when_busy: WhenBusy::Join },
        limits: Limits { timeout: Period::from_secs(900), runs: None },
        steps: Vec::new(),
        otherwise: None,
    }
}

/// Whether a memory still has the alert firing.
pub(super) fn still_fires(memory: &Memory, alerts: &BTreeSet<AlertId>) -> bool {
    alerts.iter().any(|id| memory.response.alerts.get(id).is_some_and(|it| it.state == AlertState::Firing))
}
