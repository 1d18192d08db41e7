//! The pure heart of codeops: its words, its manifests, and the functions that decide.
//!
//! Nothing here reads a clock, a file, the network, the environment or a random number; the crate's `Cargo.toml` is the
//! proof. Time and facts come in as arguments, decisions go out as data.
//!
//! The flow inside this crate: [`desired`] turns manifests into resources, [`plan`] compares them with what was observed,
//! [`policy`] says which changes may go, and [`rollout`] turns one change into the next small steps.

pub mod action;
pub mod alert;
pub mod config;
pub mod desired;
pub mod expression;
pub mod model;
pub mod plan;
pub mod playbook;
pub mod policy;
pub mod rollout;
pub mod schedule;
