//! Whether the settings' file can be used as it is: told by whoever reads it, shown by the page.

use std::sync::{Arc, Mutex, PoisonError};

/// What came of the last reading of the settings. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct SettingsState(Arc<Mutex<Option<String>>>);

impl SettingsState {
    /// They could be used.
    pub fn taken(&self) {
        self.set(None);
    }

    /// They could not; those in force stay.
    pub fn refused(&self, why: String) {
        self.set(Some(why));
    }

    /// Why the file cannot be used as it is, if so.
    pub fn error(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, error: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}
