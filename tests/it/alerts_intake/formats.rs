//! What each format says, read exactly.
