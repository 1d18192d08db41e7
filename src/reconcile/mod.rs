//! Follows revisions and makes live state the same.
