//! Apps among each other: former names, dependencies, ports; and an app as written to an app as it should be.

pub(super) mod former;
pub(super) mod listening;
pub(super) mod lower;
pub(super) mod order;
pub(super) mod references;
pub(super) mod unit;
pub(super) mod wanted;
