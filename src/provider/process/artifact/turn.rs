//! Turns at what takes much memory to unpack: the tables of zips, the windows of Zstandard. All teams share them; each lasts as
//! long as unpacking one archive.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{ArtifactError, Progress};

/// Archives that are unpacked at once.
const AT_ONCE: usize = 2;
/// How often who waits for that looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

static UNPACKED: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// One of the few that are unpacked at once; given back when dropped.
pub(super) struct Turn;

impl Turn {
    pub(super) fn take(progress: &Progress) -> Result<Self, ArtifactError> {
        let mut taken = UNPACKED.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken >= AT_ONCE {
            if progress.is_given_up() {
                return Err(ArtifactError::Transient("nobody wants it any more".to_owned()));
            }
            taken = UNPACKED.1.wait_timeout(taken, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken += 1;
        Ok(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *UNPACKED.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        UNPACKED.1.notify_one();
    }
}
