//! A journal that takes nothing more is for good: only opening it anew can show that the disk works again. The daemon
//! does that by itself, after a time in which what is under way ends, people are called, and the page says why.

use std::time::Duration;

use crate::journal::Journal;

/// How long a daemon goes on that can write nothing down.
pub const GRACE: Duration = Duration::from_secs(60);

/// How often the journal is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until the journal has taken nothing for [`GRACE`]; says why.
pub async fn unwritable(journal: &Journal) -> String {
    loop {
        if let Some(why) = journal.poisoned() {
            tokio::time::sleep(GRACE).await;
            return why;
        }
        tokio::time::sleep(LOOK).await;
    }
}
