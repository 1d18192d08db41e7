//! Alerts inside a rollout's bake: the version goes back at once, and whatever run there is only proves.

use codeops_core::model::{AlertMemory, Pin, ResourceId};
use codeops_core::plan::is_good;
use jiff::Timestamp;

use super::Flow;
use crate::gate::{Mark, Passage};
use crate::journal::Record;

impl Flow {
    /// Rolls back what an alert fired for before its version was proven good; says so where it did.
    pub(super) async fn roll_back_unproven(
        &self,
        target: &ResourceId,
        alert: &AlertMemory,
        now: Timestamp,
    ) -> Option<String> {
        let facts = self.with_memory(|memory| self.target(target, memory, None));
        let (facts, declared, picture) = (facts?, self.declared(target).cloned()?, self.picture()?);
        if !(facts.unproven && facts.can_roll_back) || self.tools.rules.observe {
            return None;
        }
        // What fired before any instance of this version was there is not its doing, and may be what it mends.
        let came = self.with_memory(|memory| self.came_at(&declared, memory));
        if came.is_some_and(|came| alert.alert.id.starts_at < came) {
            return None;
        }
        let why = format!("alert {} fired in its bake time", alert.alert.name());
        let tried = Some(Pin::tried_with(&declared));
        let check_only =
            self.with_memory(|memory| memory.resources.get(target).is_some_and(|it| is_good(&declared, it)));
        let pin = Pin { at: now, revision: Some(picture.revision.clone()), why, tried, check_only };
        let template = declared.template_digest.clone();
        let records = vec![Record::Pinned { resource: target.clone(), template, pin }];
        tracing::info!(resource = %target, alert = alert.alert.name(), "an alert fired in a bake time: rolling back");
        let mark = Mark { resource: target.clone(), records, disturbs: None };
        match self.tools.gate.mark(mark, picture).await {
            Passage::Closed(why) => tracing::warn!(resource = %target, why, "the rollback was not written down"),
            Passage::Refused(why) => tracing::info!(resource = %target, why, "the rollback is not let through"),
            _ => {
                return Some(format!(
                    "{target} goes back to its last good version: it fired in the bake time of the new one"
                ));
            }
        }
        None
    }
}
