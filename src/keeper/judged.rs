//! By which check an instance is judged, and what a new one does to those that serve.

use codeops_core::model::{AppSpec, InstanceHealth, InstanceId, Resource, Stamp};
use jiff::Timestamp;

use super::table::{Durable, Record};

impl Durable {
    /// The spec an instance is checked and stopped by: what can change in place comes from the app's newest spec.
    pub(super) fn spec_of<'a>(&'a self, record: &'a Record) -> &'a AppSpec {
        let newest = self.resource.as_ref().filter(|newest| newest.template_digest == record.instance.template);
        &newest.unwrap_or(&record.resource).spec
    }

    /// Whether the check of `spec` is the one that counts for an instance.
    pub(super) fn is_judged_by(&self, id: &InstanceId, spec: &AppSpec) -> bool {
        self.instances.get(id).is_some_and(|record| self.spec_of(record).judges_as(spec))
    }

    /// Takes a new spec. What it judges otherwise than before is judged anew, and goes on serving if it served.
    pub(super) fn configure(&mut self, stamp: Stamp, resource: Resource, now: Timestamp) {
        let before: Vec<AppSpec> = self.instances.values().map(|record| self.spec_of(record).clone()).collect();
        (self.stamp, self.resource) = (Some(stamp), Some(resource));
        let each = self.instances.iter().zip(before);
        let changed = each.filter(|((_, record), before)| !self.spec_of(record).judges_as(before));
        let changed: Vec<(InstanceId, AppSpec)> = changed.map(|((id, _), before)| (id.clone(), before)).collect();
        for (id, before) in changed {
            if let Some(record) = self.instances.get_mut(&id) {
                // An earlier keeper may not have written down by what it is well.
                if record.instance.health == InstanceHealth::Healthy {
                    record.passed_as(&before);
                }
                record.instance.put_on_trial(now);
            }
        }
    }
}

impl Record {
    /// It passes the check of `spec`, and is judged by that once a newer template is there, which may have another.
    pub(super) fn passed_as(&mut self, spec: &AppSpec) {
        let own = &mut self.resource.spec;
        own.health.clone_from(&spec.health);
        if let (Some(own), Some(port)) = (&mut own.port, spec.port) {
            own.protocol = port.protocol;
        }
    }
}
