//! codeops: one daemon that makes live state follow a Git repository.
//!
//! Rooms, from the ground up: [`base`] is what all share of disk and kernel, [`launch`] what becomes a user's program; [`port`] and [`journal`] are the traits and the
//! write-ahead log; [`source`], [`provider`], [`store`], [`secret`], [`effect`] and [`keeper`] are adapters to the world; [`gate`] and
//! [`reconcile`] are the flow of commits, [`respond`] that of alerts; [`web`] and [`hooks`] are the edges, served by [`edge`]; [`daemon`] and [`cli`] only wire.
//! What decides is in `codeops-core`.
#![recursion_limit = "256"]

pub mod base;
pub mod cli;
pub mod daemon;
pub mod edge;
pub mod effect;
pub mod gate;
pub mod hooks;
pub mod journal;
pub mod keeper;
pub mod launch;
pub mod port;
pub mod provider;
pub mod reconcile;
pub mod respond;
pub mod secret;
pub mod source;
pub mod store;
pub mod web;
