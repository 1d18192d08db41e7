//! The page in a real browser and its JSON twins.
