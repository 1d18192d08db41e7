//! How intents end, as it is written down.

use serde::{Deserialize, Serialize};

/// How an intent ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// It took effect.
    Done {
        /// What the provider said, redacted.
        note: Option<String>,
    },
    /// It did not; it is tried again after `backoff_ms`.
    Retry {
        /// Why, redacted.
        error: String,
        /// How long to wait.
        backoff_ms: u64,
    },
    /// It did not yet, and nothing failed: what it needs is under way beside it. It is asked again soon.
    UnderWay {
        /// How far that is, redacted.
        note: String,
    },
    /// It did not, and will not as it is declared.
    Rejected {
        /// Why, redacted.
        error: String,
    },
    /// It is not known; observed next.
    Unknown {
        /// Why, redacted.
        error: String,
    },
    /// After a look it turned out that it had not happened, or no longer matters. Earlier versions said it also of what was
    /// taken up again.
    Superseded,
    /// How it went on was not known, and a later intent takes it up under the same key.
    TakenUp,
}
