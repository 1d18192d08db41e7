//! Looking whether an instance works, and what follows for the table and the rotation.

use std::time::Duration;

use codeops_core::model::{InstanceHealth, Probe};
use tokio::time::{Instant, sleep};

use super::{Supervisor, set_health};
use crate::keeper::backoff::Streak;
use crate::keeper::health::{self, Check, Failed, check_of};
use crate::keeper::holder::Held;

/// An instance with nothing to ask is well after it ran this long.
const SETTLED: Duration = Duration::from_secs(1);
/// The first look at a new process; later ones wait longer, up to [`SLOWEST_START`], until it is well.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const SLOWEST_START: Duration = Duration::from_millis(250);

impl Supervisor {
    /// Looks at its health again and again, until it has to have another port; says why.
    pub(super) async fn look(&self, begun: Instant) -> String {
        let mut passed = self.record().is_ok_and(|record| record.instance.health == InstanceHealth::Healthy);
        let (mut failures, mut wait, mut asked) = (0, FIRST_LOOK, true);
        loop {
            let Some(spec) = self.spec() else { std::future::pending().await };
            let check = check_of(&spec);
            let checked = self.check(&check).await;
            // Well or not is for its own answer only.
            if self.is_stolen().await {
                return format!("port {} is held by another process", self.backend.address().port());
            }
            let could_ask = !matches!(checked, Err(Failed::NotAsked(_)));
            match checked {
                Ok(()) => {
                    (failures, passed) = (0, true);
                    self.passed(begun).await;
                }
                // What it was before it stays.
                Err(Failed::NotAsked(why)) if asked => eprintln!("codeops keeper: health is not known: {why}"),
                Err(Failed::NotAsked(_)) => {}
                Err(Failed::Unwell(why)) => {
                    failures += 1;
                    let late = !passed && begun.elapsed() >= check.start_timeout.as_duration();
                    if late || (passed && failures >= check.failures) {
                        self.backend.set_ready(false);
                        self.failed(why).await;
                    }
                }
            }
            asked = could_ask;
            if passed && spec.health.is_none() && !self.streak.is_loop() {
                // Only asked to know when it is up; from now on its end is what tells, until a check is declared.
                self.declared().await;
            }
            let interval = check.interval.as_duration();
            sleep(if passed { interval } else { wait.min(interval) }).await;
            wait = (wait * 3 / 2).min(SLOWEST_START);
        }
    }

    /// Waits until its spec declares a health check.
    async fn declared(&self) {
        let mut changes = self.keeper.table.watch();
        while self.spec().is_none_or(|spec| spec.health.is_none()) {
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
                health::command(&orders, limit, &self.keeper.tasks).await
            }
            None => {
                sleep(SETTLED).await;
                Ok(())
            }
        }
    }

    async fn passed(&self, begun: Instant) {
        self.backend.set_ready(true);
        // One that ended again and again has to show that it stays.
        if self.streak.is_loop() && begun.elapsed() < Streak::steady_after() {
            return;
        }
        let same = self.record().is_ok_and(|record| record.instance.health == InstanceHealth::Healthy);
        if !same {
            self.change(|instance| set_health(instance, InstanceHealth::Healthy)).await;
        }
    }

    /// It does not work, for this reason.
    pub(super) async fn failed(&self, why: String) {
        let same = self.record().is_ok_and(|record| {
            record.instance.health == InstanceHealth::Unhealthy && record.instance.why.as_ref() == Some(&why)
        });
        if !same {
            self.change(|instance| {
                set_health(instance, InstanceHealth::Unhealthy);
                instance.why = Some(why);
            })
            .await;
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
