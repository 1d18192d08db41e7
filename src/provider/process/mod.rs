//! Local processes: each app lives under a keeper of its own, and this provider tells the keepers what to do.
pub mod artifact;
mod releases;
