//! The journal's log on SQLite: durable, hash-chained, with the fold beside it in the same transaction.
//!
//! One folder holds it all: `lock` (one daemon at a time), `journal.db` and SQLite's own `-wal` and `-shm`. One thread
//! writes; reads have connections of their own. What is acknowledged has been committed and synced; a commit that fails
//! poisons the store until it is opened again.
//!
//! A lost store is not a disaster: an empty folder gives a fresh store with another [`identity`](crate::journal::Log::identity),
//! and what lives is recognised by the stamps on the live objects themselves. Rebuilding from them is the reconciler's
//! work, not this room's; a `DaemonStarted` record with a higher epoch brings the count above what live objects have seen.

mod archive;
mod audit_chain;
mod error;
mod folder;
mod history;
mod large;
mod projection;
mod query;
mod retention;
mod schema;
mod sqlite;
mod table;
mod writer;

pub mod audit;

pub use archive::Archive;
pub use error::StoreError;
pub use retention::Keep;
pub use sqlite::Sqlite;
