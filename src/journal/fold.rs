//! The pure fold of records into what is remembered; live appends and recovery share it, so they cannot disagree.

use codeops_core::model::{Memory, ResourceId};

use super::log::Entry;

/// A part of the memory that an entry changed, so that a store can write just that part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// `Memory::revision`.
    Revision,
    /// One of `Memory::resources`.
    Resource(ResourceId),
    /// `Memory::systems`.
    Systems,
    /// `Memory::removals`.
    Removals,
    /// `Memory::allowed`.
    Allowed,
    /// `Memory::waves`.
    Waves,
}

/// Folds one entry into the memory and says which parts changed.
pub fn fold(memory: &mut Memory, entry: &Entry) -> Vec<Change> {
    let _ = (memory, entry);
    Vec::new()
}
