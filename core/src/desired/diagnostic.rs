//! One mistake in a manifest: where, what, what was expected. Rendered with the line shown.

use serde::Serialize;

use crate::model::Place;

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The manifest is not used.
    Error,
    /// It is used, but probably not what was meant.
    Warning,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Where it stands.
    pub place: Place,
    /// What is wrong, in one sentence, without the place.
    pub message: String,
    /// What was expected or what to do, if more can be said.
    pub help: Option<String>,
    /// The line it stands on, cut to 160 characters, control characters made visible.
    pub line: String,
    /// How many characters of the line are meant, at least 1.
    pub width: u32,
}
