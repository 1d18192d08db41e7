//! The read-only page, its JSON twins, metrics.
