//! What several tests share: temporary repositories, a memory provider, a fault-injecting log.

pub(crate) mod app;
