//! The hooks address: authenticated before parsing.
