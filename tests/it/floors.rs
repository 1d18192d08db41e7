//! Imports go one way only.
