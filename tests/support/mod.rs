//! What several tests share: temporary repositories, a memory provider, a fault-injecting log.

pub(crate) mod app;
pub(crate) mod fault_log;
pub(crate) mod git;
pub(crate) mod paths;
