//! Alerts inside a rollout's bake: the version goes back at once, and whatever run there is only proves.

use codeops_core::model::{AlertMemory, OnFailure, Pin, ResourceId};
use codeops_core::plan::{is_good, pin_of};
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
        let pauses = declared.spec.rollout.on_failure == OnFailure::Pause;
        let may = self.with_memory(|memory| {
            let remembered = memory.resources.get(target);
            // What has failed already keeps the reason for which it did.
            let failed = remembered.is_some_and(|it| pin_of(&declared, it).is_some());
            let good = remembered.is_some_and(|it| it.last_good.is_some());
            facts.can_roll_back || (pauses && good && !failed)
        });
        if !facts.unproven || !may || self.tools.rules.observe {
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
        tracing::info!(resource = %target, alert = alert.alert.name(), "an alert fired in a bake time: the version has failed");
        let mark = Mark { resource: target.clone(), records, disturbs: None };
        match self.tools.gate.mark(mark, picture).await {
            Passage::Closed(why) => tracing::warn!(resource = %target, why, "the rollback was not written down"),
            Passage::Refused(why) => tracing::info!(resource = %target, why, "the rollback is not let through"),
            _ => {
                let does = match pauses {
                    true => "is left as it is, failed, as its manifest says `pause`",
                    false => "goes back to its last good version",
                };
                return Some(format!("{target} {does}: it fired in the bake time of the new one"));
            }
        }
        None
    }
}
