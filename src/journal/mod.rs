//! The write-ahead journal: every intent, result and decision, durable before it counts. It mints [`Started`], without
//! which no provider can be asked to do anything.
//!
//! This floor knows records, their fold into [`Memory`](codeops_core::model::Memory), and the [`Log`] trait that a store
//! implements; it knows no database.

mod fold;
mod log;
mod record;
mod writer;

pub use fold::{Change, fold, fold_doubts, fold_epoch};
pub use log::{Entry, Log, LogError, Page, Query, Seq};
pub use record::{Category, Outcome, Record};
pub use writer::{InDoubt, Journal, Reader, Started};
