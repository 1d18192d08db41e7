//! What alerts have in common that share a page, and how severe they are.

use serde::{Deserialize, Serialize};

use super::{Labels, Name, ResourceId, Subject};

/// Alerts that one page tells of, whenever they come while it is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The playbook that answers them.
    pub playbook: Name,
    /// What it acts on.
    pub target: Option<ResourceId>,
    /// Who is paged, as their route says.
    pub policy: Option<Name>,
    /// The labels on which they agree.
    pub labels: Labels,
}

impl Group {
    /// What the runs that answer them are counted for.
    pub fn subject(&self) -> Subject {
        Subject::of(&self.playbook, self.target.as_ref(), Some(&self.labels))
    }
}

/// What an alert says of how severe it is: its label `severity`, empty where it has none.
pub fn severity(labels: &Labels) -> &str {
    labels.get("severity").map_or("", String::as_str)
}

/// Whether who was called for the one has been called for the other, too. A word that is not known is covered by itself alone:
/// it may say more.
pub fn covers(paged: &str, new: &str) -> bool {
    paged.eq_ignore_ascii_case(new) || matches!((rank(paged), rank(new)), (Some(paged), Some(new)) if paged >= new)
}

/// The word of these that says most.
pub fn worst<'a>(all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    all.filter(|word| !word.is_empty()).reduce(|worst, word| if covers(worst, word) { worst } else { word })
}

/// The most that these say, as one of four words that every pager knows. Who says nothing, or what nobody knows, is critical.
pub fn degree<'a>(all: impl Iterator<Item = &'a str>) -> &'static str {
    match all.map(|word| rank(word).unwrap_or(4)).max() {
        Some(0 | 1) => "info",
        Some(2) => "warning",
        Some(3) => "error",
        _ => "critical",
    }
}

/// The words that monitoring systems have for it, the worst the highest.
fn rank(severity: &str) -> Option<u8> {
    Some(match severity.to_ascii_lowercase().as_str() {
        "none" | "ok" | "debug" => 0,
        "info" | "information" | "informational" | "notice" | "low" => 1,
        "warning" | "warn" | "minor" | "medium" | "average" => 2,
        "error" | "err" | "major" | "high" => 3,
        "critical" | "crit" | "page" | "fatal" | "emergency" | "disaster" => 4,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{covers, degree, worst};

    #[test]
    fn what_is_worse_is_not_covered_and_neither_is_a_word_that_nobody_knows() {
        for (paged, new) in
            [("critical", "warning"), ("critical", "page"), ("Warning", "warning"), ("", ""), ("p1", "P1")]
        {
            assert!(covers(paged, new), "{paged} {new}");
        }
        for (paged, new) in [("warning", "critical"), ("critical", ""), ("", "info"), ("critical", "p1"), ("p2", "p1")]
        {
            assert!(!covers(paged, new), "{paged} {new}");
        }
    }

    #[test]
    fn of_several_the_worst_is_said_and_what_says_nothing_is_critical() {
        for (all, said, grade) in [
            (&["warning", "critical", "info"][..], Some("critical"), "critical"),
            (&["Minor", "notice"], Some("Minor"), "warning"),
            (&["info"], Some("info"), "info"),
            (&["high", ""], Some("high"), "critical"),
            (&["warning", "who-knows"], Some("who-knows"), "critical"),
            (&[], None, "critical"),
        ] {
            assert_eq!((worst(all.iter().copied()), degree(all.iter().copied())), (said, grade), "{all:?}");
        }
    }
}
