//! One suite that every provider passes.
