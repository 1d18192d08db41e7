//! The keeper as a real process.
