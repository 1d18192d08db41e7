//! The conformance suite's hands on the memory provider.

use std::sync::Arc;

use codeops::journal::Started;
use codeops::port::{Actuator, ApplyError, Secrets};
use codeops_core::model::{AppSpec, Instance, ResourceId};

use super::clock::ManualClock;
use super::memory_provider::{Fault, MemoryProvider};
use crate::conformance::Harness;

pub(crate) struct MemoryHarness(Arc<MemoryProvider>);

impl MemoryHarness {
    pub(crate) fn new() -> Self {
        Self::of(MemoryProvider::new(ManualClock::new()))
    }

    pub(crate) fn of(provider: Arc<MemoryProvider>) -> Self {
        Self(provider)
    }
}

#[async_trait::async_trait]
impl Harness for MemoryHarness {
    fn provider(&self) -> Arc<dyn Actuator> {
        self.0.clone()
    }

    fn spec(&self, variant: u32) -> AppSpec {
        serde_json::from_value(serde_json::json!({
            "provider": "local",
            "run": {"command": {"command": ["./app", variant.to_string()]}},
        }))
        .expect("a spec")
    }

    async fn kill(&self, id: &ResourceId, instance: &Instance) {
        self.0.kill(id, &instance.id);
    }

    async fn put_foreign(&self, id: &ResourceId) {
        self.0.put_foreign(id);
    }

    async fn cut(&self, id: &ResourceId, cut: bool) {
        self.0.mute(id, cut.then_some("told to be silent"));
    }

    async fn lose_answer(&self, started: &Started) {
        self.0.fail_next(Fault::LostAfter);
        let result = self.0.apply(started, &Secrets::default()).await;
        assert!(matches!(result, Err(ApplyError::OutcomeUnknown(_))), "{result:?}");
    }

    fn write(&self, id: &ResourceId, text: &str) {
        self.0.write(id, text);
    }

    fn written(&self, id: &ResourceId) -> Option<String> {
        self.0.written(id)
    }

    async fn restart(&self) {}
}

#[cfg(test)]
mod tests {
    use codeops::port::{ApplyError, Hint, Observer as _};
    use codeops_core::model::{InstanceHealth, Observed, Op, Period, Scope};

    use super::MemoryHarness;
    use crate::conformance::{Bench, id};
    use crate::support::clock::ManualClock;
    use crate::support::memory_provider::{Fault, MemoryProvider, Script};
    use futures_util::StreamExt as _;

    fn bench() -> (std::sync::Arc<ManualClock>, std::sync::Arc<MemoryProvider>, Bench<MemoryHarness>) {
        let clock = ManualClock::new();
        let provider = MemoryProvider::new(clock.clone());
        (clock, provider.clone(), Bench::new(MemoryHarness::of(provider)))
    }

    #[tokio::test]
    async fn instances_fare_as_scripted_by_the_clock() {
        let (clock, provider, bench) = bench();
        let shop = id("app/shop");
        let desired = bench.create(&shop, 1).await;
        let instance = bench.start(&desired, 1).await;
        let second = Period::from_secs(1);
        for (script, now, later) in [
            (Script::HealthyAfter(second), InstanceHealth::Starting, InstanceHealth::Healthy),
            (Script::UnhealthyAfter(second), InstanceHealth::Starting, InstanceHealth::Unhealthy),
            (Script::HealthyFor(second), InstanceHealth::Healthy, InstanceHealth::Unhealthy),
            (Script::CrashLoop, InstanceHealth::CrashLoop, InstanceHealth::CrashLoop),
            (Script::Starting, InstanceHealth::Starting, InstanceHealth::Starting),
        ] {
            bench.act(&shop, Op::Stop { instance: instance.clone() }).await;
            bench.start(&desired, 1).await;
            provider.set_health(&desired.template_digest, script);
            assert_eq!(bench.live(&shop).await.instances[0].health, now, "{script:?}");
            clock.advance(second);
            assert_eq!(bench.live(&shop).await.instances[0].health, later, "{script:?}");
        }
    }

    #[tokio::test]
    async fn it_fails_as_told_and_counts_what_had_an_effect() {
        let (_, provider, bench) = bench();
        let shop = id("app/shop");
        let desired = bench.resource(&shop, 1);
        let create = || Op::Create { desired: desired.clone() };
        for (fault, there) in
            [(Fault::Retry, false), (Fault::Reject, false), (Fault::LostBefore, false), (Fault::LostAfter, true)]
        {
            provider.fail_next(fault);
            let error = bench.try_act(&shop, create()).await.unwrap_err();
            let lost = matches!(fault, Fault::LostBefore | Fault::LostAfter);
            assert_eq!(matches!(error, ApplyError::OutcomeUnknown(_)), lost, "{error:?}");
            assert_eq!(provider.live(&shop).is_some(), there, "{fault:?}");
        }
        assert_eq!(provider.applied(), [(shop.clone(), "create".to_owned())]);
        assert!(provider.effects().values().all(|count| *count == 1));
        assert_eq!(provider.secrets().len(), 1);
    }

    #[tokio::test]
    async fn the_world_can_be_changed_behind_codeops_back() {
        let (_, provider, bench) = bench();
        let shop = id("app/shop");
        bench.create(&shop, 1).await;
        let mut hints = provider.hints();
        provider.drift(&shop, "port.number");
        assert_eq!(hints.next().await, Some(Hint::Changed(shop.clone())));
        assert_eq!(bench.live(&shop).await.drift[0].field, "port.number");
        provider.edit(&shop, |live| live.notes.push("by hand".to_owned()));
        assert_eq!(bench.live(&shop).await.notes, ["by hand"]);
        let system = bench.all().await.system;
        provider.set_system("memory:2");
        assert_ne!(bench.all().await.system, system);
        provider.set_unreachable(Some("no answer"));
        assert!(provider.observe(&Scope::All).await.is_err());
        provider.set_unreachable(None);
        provider.remove(&shop);
        assert!(matches!(bench.observed(&shop).await, Observed::Absent(_)));
        assert!(provider.observed() > 3);
    }
}
