//! The last lines that one instance wrote, few and short: what a person reads first when it has ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Lines that are kept.
const LINES: usize = 5;
/// Characters that are kept of each.
const WIDTH: usize = 160;

/// Between why and what was written.
const WROTE: &str = "; it last wrote: ";

/// Shared by whoever takes an instance's lines and whoever tells of its end. Secrets are out of the lines already.
#[derive(Debug, Clone, Default)]
pub(in crate::keeper) struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    /// Forgets all: a new process begins.
    pub(in crate::keeper) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Takes what was written; the newest stay.
    pub(super) fn take(&self, lines: &[String]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let blank = |c: char| c.is_whitespace() || c.is_control();
        for line in lines.iter().map(|line| line.trim_matches(blank)).filter(|line| !line.is_empty()) {
            if kept.len() == LINES {
                kept.pop_front();
            }
            let mut short: String = line.chars().take(WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
            if line.chars().nth(WIDTH).is_some() {
                short.push('…');
            }
            kept.push_back(short);
        }
    }

    /// How a process ended, `why`, and below what it wrote last, if it wrote anything.
    pub(in crate::keeper) fn told(&self, why: String) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.is_empty() {
            true => why,
            false => format!("{why}{WROTE}{}", Vec::from_iter(kept.iter().map(String::as_str)).join(" / ")),
        }
    }
}

/// What is told without what was written last: that may be another text each time.
pub(in crate::keeper) fn without_last_lines(told: &str) -> &str {
    told.split_once(WROTE).map_or(told, |(why, _)| why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_lines_are_kept_and_little_of_each() {
        let last = LastLines::default();
        assert_eq!(last.told("exited with status 1".to_owned()), "exited with status 1");
        last.take(&(0..9).map(|n| format!("line {n}\u{7}")).collect::<Vec<_>>());
        last.take(&["  ".to_owned(), "x".repeat(10_000)]);
        let told = last.told("exited with status 1".to_owned());
        assert!(
            told.starts_with("exited with status 1; it last wrote: line 5 / line 6 / line 7 / line 8 / xxx"),
            "{told}"
        );
        assert!(told.ends_with("x…") && told.chars().count() < 300, "{told}");
        last.clear();
        assert_eq!(last.told("exited with status 1".to_owned()), "exited with status 1");
    }
}
