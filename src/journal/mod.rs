//! The write-ahead journal: every intent, result and decision, durable before it counts. It mints [`Started`], without
//! which no provider can be asked to do anything.
//!
//! This floor knows records, their fold into [`Memory`](codeops_core::model::Memory), and the [`Log`] trait that a store
//! implements; it knows no database.
//!
//! # The life of a step
//! [`Journal::intend`] appends a [`Record::Intent`] and gives a [`Started`] once it is durable; the provider applies it
//! under its key; [`Journal::settle`] appends the [`Record::Result`]. In between the intent is [`InDoubt`]. A daemon that
//! starts finds the intents that an earlier one left so: it observes first, and what it then begins again, the same word
//! and subject on the same resource, goes under the key it had, so that it takes effect once. [`Outcome::Unknown`] leaves
//! an intent in doubt; every other outcome ends it. Whoever ends one as [`Outcome::Superseded`] knows that the same step is
//! not to come any more; [`Outcome::TakenUp`] is said by the intent that goes on with it.
//!
//! # Guarantees
//! - What [`Log::append`] has answered survives a kill and a power cut, all of one call or nothing.
//! - The memory, the intents in doubt, the epoch and the tail show only what is durable, in the order of the numbers.
//! - [`fold`], [`fold_doubts`] and [`fold_epoch`] are pure, and the only way from records to what is remembered.
//!
//! # Errors
//! A commit that fails poisons the log: what was asked with it may or may not be found again by the next daemon, and
//! nothing more is taken, because after a failed sync nobody can tell what the disk holds.

mod category;
mod delivery;
mod fold;
mod fold_response;
mod fold_revision;
mod history;
mod intake;
mod log;
mod outcome;
mod reader;
mod record;
mod room;
mod shared;
mod writer;

pub use category::Category;
pub use delivery::{Came, Deliveries, Delivery, delivery_id};
pub use fold::{Change, Folded, Over, fold, fold_doubts, fold_epoch};
pub use history::{AlertCursor, AlertPage, AlertQuery, Listed, PageList, PageQuery, RunPage, RunQuery, SignalQuery};
pub use intake::Receipt;
pub use log::{Entry, Log, LogError, Page, Query, Seq};
pub use outcome::Outcome;
pub use reader::Reader;
pub use record::{AsBefore, Record, SCHEDULE_CHANGED};
pub use shared::{Read, SharedMemory};
pub use writer::{InDoubt, Journal, Started, StartedEffect};
