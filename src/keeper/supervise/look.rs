//! Looking whether an instance works, and what follows for the table and the rotation.

use std::time::Duration;

use codeops_core::model::{AppSpec, Instance, InstanceHealth, Probe, Resource};
use tokio::time::{Instant, sleep};

use super::Supervisor;
use crate::base::complain;
use crate::keeper::backoff::Streak;
use crate::keeper::health::{self, Check, Failed, check_of};
use crate::keeper::holder::Held;
use crate::keeper::logs::without_last_lines;
use crate::keeper::table::{Durable, Record};
use crate::port::{Clock as _, SystemClock};

/// An instance with nothing to ask is well after it ran this long.
const SETTLED: Duration = Duration::from_secs(1);
/// The first look at a new process; later ones wait longer, up to [`SLOWEST_START`], until it is well.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const SLOWEST_START: Duration = Duration::from_millis(250);
/// How soon it is told anew that the same fails, with other lines written.
const TOLD_ANEW: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Looks at its health again and again, until it has to have another port; says why.
    pub(super) async fn look(&self, begun: Instant) -> String {
        let passes = |instance: &Instance| instance.health == InstanceHealth::Healthy || instance.on_trial;
        let mut passed = self.record().is_ok_and(|record| passes(&record.instance));
        let (mut failures, mut wait, mut asked) = (0, FIRST_LOOK, true);
        // What it last answered while it starts.
        let mut told = None;
        let mut last = None;
        // The start timeout is for one check: a mended one is not late for what the wrong one took.
        let (mut before, mut since) = (None::<AppSpec>, begun);
        loop {
            let Some(spec) = self.spec() else { std::future::pending().await };
            if before.replace(spec.clone()).is_some_and(|before| !before.judges_as(&spec)) {
                (failures, since) = (0, Instant::now());
            }
            let check = check_of(&spec);
            let checked = self.check(&check).await;
            // Well or not is for its own answer only.
            if self.is_stolen().await {
                return format!("found that port {} is held by another process", self.backend.address().port());
            }
            let could_ask = !matches!(checked, Err(Failed::NotAsked(_)));
            let passes_now = checked.is_ok();
            match checked {
                Ok(()) => {
                    failures = 0;
                    passed |= self.passed(&spec, begun, told.as_deref()).await;
                }
                // What it was before it stays.
                Err(Failed::NotAsked(why)) if asked => {
                    complain(format_args!("codeops keeper: health is not known: {why}"));
                }
                Err(Failed::NotAsked(_)) => {}
                Err(Failed::Unwell(why)) => {
                    failures += 1;
                    let why = seldom_anew(why, &mut last);
                    let late = !passed && since.elapsed() >= check.start_timeout.as_duration();
                    if late || (passed && failures >= check.failures) {
                        self.unwell(&spec, why).await;
                    } else if !passed && begun.elapsed() >= SETTLED && told.as_ref() != Some(&why) {
                        self.not_yet(&spec, told.as_deref(), &why).await;
                        told = Some(why);
                    }
                }
            }
            asked = could_ask;
            let is_up = || passes_now || self.record().is_ok_and(|it| it.instance.health == InstanceHealth::Healthy);
            if spec.health.is_none() && !self.streak.is_loop() && is_up() {
                // Only asked to know when it is up; from now on its end is what tells, until another check is declared.
                self.judged_otherwise(&spec).await;
                continue;
            }
            let interval = check.interval.as_duration();
            tokio::select! {
                () = sleep(if passed { interval } else { wait.min(interval) }) => {}
                () = self.judged_otherwise(&spec) => {}
            }
            wait = (wait * 3 / 2).min(SLOWEST_START);
        }
    }

    /// Waits until its check is another than that of `spec`.
    async fn judged_otherwise(&self, spec: &AppSpec) {
        let mut changes = self.keeper.table.watch();
        while self.spec().is_none_or(|now| now.judges_as(spec)) {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn check(&self, check: &Check) -> Result<(), Failed> {
        let limit = check.timeout.as_duration();
        match &check.probe {
            Some(Probe::Http(path)) => health::http(self.backend.address(), path, limit).await,
            Some(Probe::Tcp) => health::tcp(self.backend.address(), limit).await,
            Some(Probe::Command(command)) => {
                let record = self.record()?;
                let orders = self.orders(&record, command, record.instance.port)?;
                let secrets =
                    self.keeper.table.read(|all| all.volatile.secrets.get(&record.instance.template).cloned());
                health::command(&orders, &secrets.unwrap_or_default(), limit, &self.keeper.tasks).await
            }
            None => {
                sleep(SETTLED).await;
                Ok(())
            }
        }
    }

    /// It passes the check of `spec`; whether that is still the one that counts. What it `told` while it started is over.
    async fn passed(&self, spec: &AppSpec, begun: Instant, told: Option<&str>) -> bool {
        // What passes a check that is asked no more is not put in the rotation for that.
        let counts = self.keeper.table.read(|all| {
            let counts = all.durable.is_judged_by(&self.id, spec);
            if counts {
                self.backend.set_ready(true);
            }
            counts
        });
        // One that ended again and again has to show that it stays.
        if !counts || self.streak.is_loop() && begun.elapsed() < Streak::steady_after() {
            return counts;
        }
        let same = self.record().is_ok_and(|record| record.instance.health == InstanceHealth::Healthy);
        if same {
            return true;
        }
        let well = |record: &mut Record, newest: Option<&Resource>| {
            record.instance.pass(SystemClock.now());
            if told.is_some() && record.instance.why.as_deref() == told {
                record.instance.why = None;
            }
            if let Some(newest) = newest.filter(|newest| newest.template_digest == record.instance.template) {
                record.passed_as(&newest.spec);
            }
        };
        self.judged(spec, well).await;
        true
    }

    /// It starts, and has answered so lately; what it said of an end of its own is worth more.
    async fn not_yet(&self, spec: &AppSpec, before: Option<&str>, why: &str) {
        let tell = |record: &mut Record, _: Option<&Resource>| {
            let instance = &mut record.instance;
            let own = instance.starts_again() == 0 || instance.why.as_deref() == before;
            if own && instance.health == InstanceHealth::Starting {
                instance.why = Some(why.to_owned());
            }
        };
        self.judged(spec, tell).await;
    }

    /// It does not pass the check of `spec`. While that is new to it, it is sent requests all the same; one that it has
    /// passed before shows that it does not work, and ends the trial.
    async fn unwell(&self, spec: &AppSpec, why: String) {
        // In its turn at the table, so that no new check comes between the look at the trial and what follows from it.
        let take_out = |instance: &Instance| {
            if !instance.on_trial {
                self.backend.set_ready(false);
            }
        };
        match self.record() {
            // No trial begins for what does not work.
            Ok(record) if fails_so(&record.instance, &why) => take_out(&record.instance),
            _ => {
                let judge = |record: &mut Record, _: Option<&Resource>| {
                    let had_passed = record.resource.spec.judges_as(spec);
                    record.instance.fail(why, had_passed, SystemClock.now());
                    take_out(&record.instance);
                };
                self.judged(spec, judge).await;
            }
        }
    }

    /// Writes down what the check of `spec` has shown; if it is another by now, it has shown nothing.
    async fn judged(&self, spec: &AppSpec, judge: impl FnOnce(&mut Record, Option<&Resource>)) {
        let judged = |durable: &mut Durable| {
            if durable.is_judged_by(&self.id, spec)
                && let Some(record) = durable.instances.get_mut(&self.id)
            {
                judge(record, durable.resource.as_ref());
            }
        };
        self.keeper.table.update(judged).await;
    }

    /// It does not work, for this reason.
    pub(super) async fn failed(&self, why: String) {
        if !self.record().is_ok_and(|record| fails_so(&record.instance, &why)) {
            self.change(|instance| instance.fail(why, false, SystemClock.now())).await;
        }
    }

    /// Whether another process listens on its port; what is seen once may be a socket on its way from one of its
    /// processes to the next.
    async fn is_stolen(&self) -> bool {
        for _ in 0..2 {
            if self.backend.held() != Held::Other {
                return false;
            }
            sleep(FIRST_LOOK).await;
        }
        self.backend.held() == Held::Other
    }
}

/// Why it fails, or the same as it was told `last` where only what it wrote is another, and that was told just now: lines
/// with a time in them would otherwise make news of each look.
fn seldom_anew(why: String, last: &mut Option<(Instant, String)>) -> String {
    match last {
        Some((at, told)) if at.elapsed() < TOLD_ANEW && without_last_lines(told) == without_last_lines(&why) => {
            told.clone()
        }
        _ => last.insert((Instant::now(), why)).1.clone(),
    }
}

fn fails_so(instance: &Instance, why: &str) -> bool {
    instance.health == InstanceHealth::Unhealthy && instance.why.as_deref() == Some(why)
}
