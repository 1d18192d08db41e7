//! Alerts: one firing instance each, keyed on the monitoring system it came from, the fingerprint that we compute, and when it
//! began.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{InvalidName, Name, RunId};

/// Labels or annotations by name. Bounded where they come in: at most 64, names up to 128 bytes, values up to 4 KiB.
pub type Labels = BTreeMap<String, String>;

/// The first 16 hex of SHA-256 over the sorted labels. We compute it; a sender's own is never used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; DIGITS]);

/// How many hex digits a fingerprint has.
const DIGITS: usize = 16;

impl Fingerprint {
    /// The fingerprint of these labels.
    pub fn of(labels: &Labels) -> Self {
        let mut hash = Sha256::new();
        for (name, value) in labels {
            // No label holds this byte, so no two sets of labels run together.
            hash.update(name);
            hash.update([0xff]);
            hash.update(value);
            hash.update([0xff]);
        }
        let mut digits = [b'0'; DIGITS];
        for (pair, byte) in digits.chunks_mut(2).zip(hash.finalize()) {
            for (digit, half) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = b"0123456789abcdef"[usize::from(half)];
            }
        }
        Self(digits)
    }

    /// The sixteen digits.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        match <[u8; DIGITS]>::try_from(text.as_bytes()) {
            Ok(digits) if digits.iter().all(is_digit) => Ok(Self(digits)),
            _ => {
                let text = text.chars().take(80).collect();
                Err(InvalidName { text, what: "fingerprint", expected: "16 hex digits" })
            }
        }
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.as_str().to_owned()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What identifies one alert: `source/fingerprint/startsAt`, the last in whole milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AlertId {
    /// Of its labels. Ids are ordered by it first: hundreds of thousands are compared without looking further.
    pub fingerprint: Fingerprint,
    /// The monitoring system; receivers of one system share it.
    pub source: Name,
    /// When it began, in whole milliseconds.
    pub starts_at: Timestamp,
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}/{}", self.source, self.fingerprint, self.starts_at.as_millisecond()))
    }
}

impl FromStr for AlertId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bad = || InvalidName {
            text: text.chars().take(80).collect(),
            what: "alert id",
            expected: "source/fingerprint/milliseconds",
        };
        let mut parts = text.splitn(3, '/');
        let (source, fingerprint, at) =
            (parts.next().ok_or_else(bad)?, parts.next().ok_or_else(bad)?, parts.next().ok_or_else(bad)?);
        let starts_at = at.parse().ok().and_then(of_milliseconds).ok_or_else(bad)?;
        Ok(Self { source: source.parse()?, fingerprint: fingerprint.parse()?, starts_at })
    }
}

/// The last second there is has times whose milliseconds cannot be read back as they are.
fn of_milliseconds(ms: i64) -> Option<Timestamp> {
    let last = Timestamp::MAX.as_millisecond();
    if (last - last % 1_000..=last).contains(&ms) {
        return Timestamp::from_second(ms / 1_000).ok();
    }
    Timestamp::from_millisecond(ms).ok()
}

impl TryFrom<String> for AlertId {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<AlertId> for String {
    fn from(id: AlertId) -> Self {
        id.to_string()
    }
}

/// One alert as its source told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its identity.
    pub id: AlertId,
    /// The receiver it first came in by.
    pub receiver: Name,
    /// What it is.
    pub labels: Labels,
    /// What people should know of it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub annotations: Labels,
    /// Where the source shows it, if it says: an http or https URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// When it counts as expired unless the source tells of it again; `None`: never by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Alert {
    /// The label `alertname`, or `?`.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("?", String::as_str)
    }
}

/// What a source says of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Signal {
    /// It fires, for the first time or still.
    Firing(Arc<Alert>),
    /// It still fires, as it is known, and will until another time.
    Still {
        /// Which.
        alert: AlertId,
        /// When it counts as expired unless the source tells of it again.
        expires_at: Timestamp,
        /// Its name, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// It is over: closes every alert of this source and fingerprint that began no later than `ended_at`.
    Resolved {
        /// Which; a source that does not repeat `startsAt` closes all of the fingerprint.
        source: Name,
        /// Of its labels.
        fingerprint: Fingerprint,
        /// When it began, if the source says.
        starts_at: Option<Timestamp>,
        /// When it ended.
        ended_at: Timestamp,
        /// Its name, for people; filled in where it is known when it is written. Older records do not have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// The source holds it back on purpose (a silence, an inhibition): it is neither firing for us nor over.
    Silenced {
        /// Which.
        source: Name,
        /// Of its labels.
        fingerprint: Fingerprint,
        /// Its name, as for one that is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
}

impl Signal {
    /// Fills in the name of the alert that it is about, where that is not in it.
    pub fn name(&mut self, of: impl FnOnce(&Name, &Fingerprint) -> Option<String>) {
        if let Signal::Resolved { source, fingerprint, name, .. } | Signal::Silenced { source, fingerprint, name } =
            self
            && name.is_none()
        {
            *name = of(source, fingerprint);
        }
    }
}

/// How an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// Its source says that it fires.
    Firing,
    /// Its source said that it is over.
    Resolved,
    /// Its source stopped telling of it: no proof that it is over.
    Expired,
    /// Its source holds it back.
    Silenced,
    /// Its source was asked and does not know, or cannot be asked.
    Unknown,
}

impl AlertState {
    /// Its word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            AlertState::Firing => "firing",
            AlertState::Resolved => "resolved",
            AlertState::Expired => "expired",
            AlertState::Silenced => "silenced",
            AlertState::Unknown => "unknown",
        }
    }
}

impl fmt::Display for AlertState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What became of an alert: every alert ends in one of these, or waits for one. The durable receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Disposition {
    /// Durable, and not routed yet.
    Received,
    /// It is one of a storm, and the next page of it will tell of it.
    Waits {
        /// In one sentence.
        why: String,
    },
    /// Answered by a run; several alerts on one target share one.
    Run {
        /// The run.
        run: RunId,
    },
    /// Nothing is done yet: muted, inhibited, in maintenance, suspended, frozen. It is looked at again as long as it fires.
    Quiet {
        /// In one sentence.
        why: String,
    },
    /// Nothing is done, and that is final: resolved before its turn, a latched target, a storm that a page tells of.
    Left {
        /// In one sentence.
        why: String,
    },
}

/// What is remembered of one alert while it matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertMemory {
    /// As its source last told of it.
    pub alert: Arc<Alert>,
    /// How it is.
    pub state: AlertState,
    /// Since when.
    pub since: Timestamp,
    /// When it first came in.
    pub received_at: Timestamp,
    /// What became of it.
    pub disposition: Disposition,
    /// Whether it is over by what its source said when it was asked, and the source has not told so by itself: it may think that
    /// it has told of what comes back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_any_time_is_read_back() {
        let labels = Labels::new();
        for at in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::constant(1_790_000_000, 5_000_000), Timestamp::MAX]
        {
            let source = Name::new("main").unwrap();
            let id = AlertId { source, fingerprint: Fingerprint::of(&labels), starts_at: at };
            let read: AlertId = id.to_string().parse().unwrap();
            assert!((read.starts_at.as_second() - at.as_second()).abs() <= 1, "{at}");
        }
    }
}
