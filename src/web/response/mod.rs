//! Alerts, runs and pages as they are shown: read from the history in bounded pieces, each text redacted before it is cut.
//! It only reads; what follows from an alert is decided elsewhere.

mod alert;
mod doing;
mod failing;
mod latch;
mod page;
mod receiver;
mod run;
mod standing;
mod tally;

use codeops_core::model::TeamName;

use crate::journal::{Listed, LogError};
use crate::port::Whose;
use crate::web::Redact;

pub(super) use alert::{AlertItem, alerts};
pub(super) use failing::{Failing, failing};
pub(super) use latch::{Latch, latch_of, latch_on, latches};
pub(super) use page::{PageItem, one_page, pages};
pub(super) use receiver::{Trouble, troubles};
pub(super) use run::{RunItem, StepItem, children, of_run, runs};
pub(super) use standing::{Standing, active, firing, open_pages, unheard};
pub(super) use tally::{Tally, Week, follow};

/// What one item of a list says at most in one text, in bytes; the item by itself has it whole.
const SHORT: usize = 1 << 10;
/// Items read at once, and what a page of a list holds at most, in bytes: then it is shorter than asked, and `next` goes on.
const CHUNK: usize = 50;
const WHOLE: usize = 4 << 20;

/// How much of a text is shown.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    /// All there is: bounded when it was written.
    Whole,
    /// The beginning.
    Short,
}

impl Extent {
    /// The text, and whether something of it was left out. Redacted first, so that no cut goes through a secret.
    fn text(self, text: &str, team: Option<&TeamName>, redact: &Redact) -> (String, bool) {
        match self {
            Extent::Short if text.len() > SHORT => {
                let clean = redact(Whose::of(team), text);
                (format!("{}…", &clean[..clean.floor_char_boundary(SHORT)]), true)
            }
            Extent::Whole | Extent::Short => (text.to_owned(), false),
        }
    }
}

/// Up to `limit` items, shown, until they are [`WHOLE`]; and the cursor of what follows.
async fn gather<T, C: Copy, S, R: Future<Output = Result<Listed<T, C>, LogError>>>(
    limit: usize,
    mut after: Option<C>,
    read: impl Fn(Option<C>, usize) -> R,
    show: impl Fn(&T) -> (S, usize),
) -> Result<(Vec<S>, Option<C>), LogError> {
    let (mut shown, mut size) = (Vec::new(), 0);
    loop {
        let listed = read(after, CHUNK.min(limit - shown.len())).await?;
        for item in &listed.items {
            let (item, bytes) = show(item);
            shown.push(item);
            size += bytes;
        }
        after = listed.next;
        if after.is_none() || shown.len() >= limit || size >= WHOLE {
            return Ok((shown, after));
        }
    }
}
