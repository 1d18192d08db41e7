//! One alert as any format tells of it, and what follows from it for the journal.

use std::sync::Arc;

use codeops_core::model::{Alert, AlertId, Fingerprint, Labels, Name, Period, Signal};
use jiff::{SignedDuration, Timestamp};

/// How far ahead of ours a sender's clock may be. A beginning that is later is none: what fires has begun.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// One alert, told of.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Within bounds.
    pub labels: Labels,
    /// Within bounds.
    pub annotations: Labels,
    /// Where the sender shows it: http or https.
    pub url: Option<String>,
    /// The labels that stay the same while it lives, where the sender changes others; all of them otherwise.
    pub identity: Option<Labels>,
    /// When it began, if the sender says.
    pub starts_at: Option<Timestamp>,
    /// How it is.
    pub state: State,
    /// When the sender said so, where what it says later may come earlier, or where it says nothing else of a beginning.
    pub said_at: Option<Timestamp>,
}

/// How an alert is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It fires.
    Firing {
        /// Until when, unless it is told of again.
        expires_at: Option<Timestamp>,
    },
    /// It is over.
    Resolved {
        /// Since when, if the sender says.
        ended_at: Option<Timestamp>,
    },
    /// It is held back there: neither firing for us nor over.
    Silenced,
}

impl Told {
    /// What tells it from other alerts of its source.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.identity.as_ref().unwrap_or(&self.labels))
    }

    /// The same, of a sender whose alerts expire after this time unless they are told of again, where it says no end of them.
    #[must_use]
    pub fn expiring(mut self, expire: Option<Period>, now: Timestamp) -> Self {
        if let State::Firing { expires_at: expires_at @ None } = &mut self.state {
            *expires_at = expire.map(|expire| expire.after(now));
        }
        self
    }

    /// What the journal is told. `began` says since when an alert fires that its sender gives no time for.
    pub fn signal(
        self,
        receiver: &Name,
        source: &Name,
        now: Timestamp,
        began: impl Fn(&Fingerprint) -> Option<Timestamp>,
    ) -> Signal {
        let fingerprint = self.fingerprint();
        let began_at = self.starts_at.filter(|at| at.duration_since(now) <= AHEAD);
        match self.state {
            State::Firing { expires_at } => {
                let starts_at = began_at.or_else(|| began(&fingerprint)).or(self.said_at).unwrap_or(now);
                Signal::Firing(Arc::new(Alert {
                    id: AlertId { source: source.clone(), fingerprint, starts_at: whole_milliseconds(starts_at) },
                    receiver: receiver.clone(),
                    labels: self.labels,
                    annotations: self.annotations,
                    url: self.url,
                    expires_at,
                }))
            }
            State::Resolved { ended_at } => {
                // With an end, all that began before it are over: a source may tell of one under several beginnings.
                // Without a beginning, ours counted, so that its clock must not decide.
                let ended = ended_at.filter(|_| began_at.is_some());
                let starts_at = if ended.is_some() { None } else { began_at.map(whole_milliseconds) };
                Signal::Resolved {
                    source: source.clone(),
                    fingerprint,
                    starts_at,
                    ended_at: ended.unwrap_or(now),
                    name: None,
                }
            }
            State::Silenced => Signal::Silenced { source: source.clone(), fingerprint, name: None },
        }
    }
}

/// As an [`AlertId`] has it.
fn whole_milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_begin_in_the_future_has_begun_and_ends_when_that_is_told() {
        let (main, now) = (Name::new("main").expect("a name"), Timestamp::UNIX_EPOCH);
        let told = |starts_at: Timestamp, state| Told {
            labels: [("alertname".to_owned(), "Down".to_owned())].into(),
            annotations: Labels::new(),
            url: None,
            identity: None,
            starts_at: Some(starts_at),
            state,
            said_at: None,
        };
        let later = |seconds| now.checked_add(SignedDuration::from_secs(seconds)).expect("a time");
        let year = later(365 * 86_400);
        let firing = State::Firing { expires_at: None };
        for (starts_at, known, began) in [
            (later(20), None, later(20)),
            (year, None, now),
            // Told of again it is the same alert, and no other.
            (year, Some(later(-60)), later(-60)),
        ] {
            let Signal::Firing(alert) = told(starts_at, firing).signal(&main, &main, now, |_| known) else {
                panic!("it fires")
            };
            assert_eq!(alert.id.starts_at, began);
        }
        let over = told(year, State::Resolved { ended_at: Some(year) }).signal(&main, &main, now, |_| None);
        assert!(matches!(over, Signal::Resolved { starts_at: None, ended_at, .. } if ended_at == now), "{over:?}");
    }
}
