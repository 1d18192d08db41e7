//! The keeper: one small process per app that owns its stable port and its instances, and outlives the daemon. It never
//! decides what should run; it does what the daemon asks and keeps doing it when nobody asks.

pub mod client;
pub mod frame;
pub mod wire;

pub use client::{ConnectError, binary_id};
