//! Values of secrets that the settings grant.
