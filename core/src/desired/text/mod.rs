//! Text to trees with exact places, typed reading of trees, and mistakes as they are shown. It knows no kind of manifest.

pub(super) mod condition;
pub(super) mod diagnostic;
pub(super) mod edit;
pub(super) mod mistakes;
pub(super) mod read;
pub(super) mod tree;
pub(super) mod veil;
pub(super) mod yaml;
