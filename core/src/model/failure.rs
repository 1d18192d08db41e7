//! What a scheduled run failed of: a person who was called for it is not called again each time it comes to the same, but once
//! a day while it does.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Digest, Does, PageId, Run, RunCause, RunId, StepOutcome, wait_ends};

/// A failure that a person was called for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldFailure {
    /// The page.
    pub page: PageId,
    /// The run that it comes from.
    pub run: RunId,
    /// What it told of.
    pub of: Digest,
    /// When it was opened. `None` in an older store: long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// How long nobody is called again for what fails alike. Less than a day: the next night's page may be opened sooner in its run
/// than the last.
const AGAIN: SignedDuration = SignedDuration::from_hours(23);

impl ToldFailure {
    /// Whether nobody is called for it again at this time.
    pub fn is_told(&self, now: Timestamp) -> bool {
        self.at.is_some_and(|at| now < wait_ends(at, AGAIN, now))
    }
}

/// Runs of a schedule that failed, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// When the first of them ended.
    pub since: Timestamp,
    /// How many they are.
    pub times: u32,
    /// The last of them.
    pub run: RunId,
}

impl Run {
    /// Whether a person was called in it.
    pub fn has_called(&self) -> bool {
        let pages = |step| self.step(step).is_some_and(|step| matches!(step.does, Does::Page { .. }));
        self.steps.iter().any(|record| record.attempts > 0 && pages(record.step))
    }

    /// What a scheduled run failed of: its program, and each step that failed, with why. `None` while nothing did, and for
    /// runs that alerts or other runs open: those have their own ladder.
    pub fn failure(&self) -> Option<Digest> {
        let RunCause::Schedule { .. } = self.cause else { return None };
        let failed = self.steps.iter().filter_map(|record| {
            let step = self.step(record.step).filter(|step| !matches!(step.does, Does::Page { .. }))?;
            match &record.outcome {
                Some(StepOutcome::Failed { error } | StepOutcome::Unknown { error }) => {
                    Some(json!([step.name, what_stays(error)]))
                }
                _ => None,
            }
        });
        let failed: Vec<_> = failed.collect();
        let program = serde_json::to_value(&*self.playbook).ok()?;
        (!failed.is_empty()).then(|| Digest::of(&json!([program, failed])))
    }
}

/// What of an error is the same each time: not the times, numbers, paths and keys in it.
fn what_stays(error: &str) -> String {
    let changes = |word: &&str| word.contains(|c: char| c.is_ascii_digit() || c == '/');
    let words: Vec<&str> = error.split_whitespace().filter(|word| !changes(word)).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_each_time_makes_no_other_failure() {
        let of = what_stays;
        let one =
            of("scripts/dump.sh ended with 1: 2026-11-28T03:00:01Z run r7-1-0 could not write /tmp/x.aB: disk full");
        assert_eq!(
            one,
            of("scripts/dump.sh ended with 1: 2026-11-29T03:00:09Z run r8-1-0 could not write /tmp/x.cD: disk full")
        );
        assert_ne!(
            one,
            of(
                "scripts/dump.sh ended with 1: 2026-11-28T03:00:01Z run r7-1-0 could not write /tmp/x.aB: not permitted"
            )
        );
    }

    #[test]
    fn what_was_told_in_the_future_keeps_nobody_from_being_called() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (page, run, of) = (PageId(1), RunId(1), Digest::of(&json!([])));
        let told = ToldFailure { page, run, of, at: Some(at(100_000)) };
        assert!(told.is_told(at(100_000)) && told.is_told(at(150_000)));
        assert!(!told.is_told(at(183_000)) && !told.is_told(at(90_000)));
    }
}
