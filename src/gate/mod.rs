//! The only holder of the write half of providers.
