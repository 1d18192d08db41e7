//! The journal's log on SQLite.
