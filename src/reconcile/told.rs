//! What the log says of resources: each line has the id in the field `resource`, so that one app's story can be picked out.

use codeops_core::model::{Health, Sync};

use crate::journal::Record;

/// Tells of what is written down.
pub(super) fn tell(records: &[Record]) {
    for record in records {
        match record {
            Record::Status { resource, sync, health, why } => {
                let why = why.as_deref().unwrap_or_default();
                let well = !matches!(sync, Sync::Held | Sync::Unknown) && !matches!(health, Health::Degraded);
                match well {
                    true => tracing::info!(%resource, %sync, %health, why, "it stands otherwise"),
                    false => tracing::warn!(%resource, %sync, %health, why, "it is not well"),
                }
            }
            Record::Instance { resource, instance, what } => {
                tracing::warn!(%resource, %instance, what, "an instance ended");
            }
            Record::Drift { resource, what } => tracing::warn!(%resource, what, "it differs, and no commit said so"),
            Record::Pinned { resource, template, pin } => {
                let (template, why) = (template.short(), &pin.why);
                match pin.check_only {
                    true => tracing::warn!(%resource, template, why, "a new check failed and is pinned"),
                    false => tracing::warn!(%resource, template, why, "a version failed and is pinned"),
                }
            }
            Record::Baked { again: true, .. } => {}
            Record::Baked { resource, good, .. } => {
                let template = good.resource.template_digest.short();
                tracing::info!(%resource, template, "a version has shown that it is good");
            }
            Record::Forgotten { resource } => tracing::info!(%resource, "it is gone and forgotten"),
            _ => {}
        }
    }
}
