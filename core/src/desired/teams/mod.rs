//! Who may say what: claims of the settings, and who has a thing that several ask for.

pub(super) mod contest;
pub(super) mod given;
pub(super) mod glob;
pub(super) mod grants;
pub(super) mod holder;
pub(super) mod rights;
