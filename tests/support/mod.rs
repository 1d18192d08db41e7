//! What several tests share: temporary repositories, an app, a memory provider, a fault-injecting log.

pub(crate) mod app;
pub(crate) mod clock;
pub(crate) mod fault_log;
pub(crate) mod flow;
pub(crate) mod git;
pub(crate) mod memory_harness;
pub(crate) mod memory_history;
pub(crate) mod memory_provider;
pub(crate) mod paths;
pub(crate) mod port;
pub(crate) mod process_harness;
pub(crate) mod scripted_effects;
pub(crate) mod scripted_source;
pub(crate) mod sink;
pub(crate) mod site;
pub(crate) mod skip;
pub(crate) mod small_disk;
