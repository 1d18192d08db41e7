//! Adapters to live systems, and the one registry that builds them.

pub mod registry;

pub use registry::*;
