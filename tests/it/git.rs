//! The source over real git.
