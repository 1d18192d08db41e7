//! Files to documents: each file parsed, overlays merged in, documents grouped by what they are about. It decides nothing about them.

pub(super) mod declared;
pub(super) mod environment;
pub(super) mod file;
pub(super) mod freeze;
pub(super) mod groups;
pub(super) mod merging;
pub(super) mod overlay;
