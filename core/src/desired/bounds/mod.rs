//! How much of a revision is read and kept, so that no team's files keep out another's. It knows files and nodes, and no kind.

pub(super) mod allowance;
pub(super) mod levelling;
pub(super) mod portion;
pub(super) mod space;
