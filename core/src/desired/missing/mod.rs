//! What is not where it was, or cannot be read: what of it may be taken for gone, and what stays as it is.

pub(super) mod astray;
pub(super) mod hidden;
pub(super) mod lost;
pub(super) mod undeletable;
