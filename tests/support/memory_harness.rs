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

    async fn restart(&self) {}
}
