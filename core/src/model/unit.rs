//! Units as people write them: periods (`2m`), sizes (`256MiB`), processor shares (`0.5`). Kept as whole numbers.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a text is not a unit's value; says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: expected {expected}")]
pub struct InvalidUnit {
    /// The text as given, cut to 80 characters.
    pub text: String,
    /// Such as `duration`.
    pub what: &'static str,
    /// The form it should have.
    pub expected: &'static str,
}

macro_rules! text_unit {
    ($type:ident) => {
        impl TryFrom<String> for $type {
            type Error = InvalidUnit;
            fn try_from(text: String) -> Result<Self, InvalidUnit> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

/// A length of time in whole milliseconds, written `500ms`, `30s`, `2m`, `1h30m`, `7d`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    with = "String",
    description = "A duration: whole numbers with units from the largest down, such as 500ms, 30s, 1h30m or 7d.",
    extend("pattern" = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", "minLength" = 2)
)]
pub struct Period(u64);

text_unit!(Period);

const PERIOD_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Period {
    /// The longest period that is accepted: 3,660 days, so that sums with a timestamp stay in range.
    pub const MAX: Period = Period(3_660 * 86_400_000);

    /// A period of whole milliseconds, capped at [`Period::MAX`].
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    /// A period of whole seconds, capped at [`Period::MAX`].
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1_000))
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The same as a [`Duration`].
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// `at` moved forward by this period.
    pub fn after(self, at: jiff::Timestamp) -> jiff::Timestamp {
        at.checked_add(jiff::SignedDuration::from_millis(self.0.cast_signed())).unwrap_or(jiff::Timestamp::MAX)
    }

    /// When a wait of this period that began at a remembered moment ends: now, where the clock was set back since.
    pub fn ends(self, since: jiff::Timestamp, now: jiff::Timestamp) -> jiff::Timestamp {
        super::wait_ends(since, jiff::SignedDuration::from_millis(self.0.cast_signed()), now)
    }
}

/// When something is due, for a sentence that is read later than it is made: what is left would be wrong by then. With the
/// date where that is not the one of `now`, and rounded up to whole seconds.
pub fn due(now: jiff::Timestamp, then: jiff::Timestamp) -> String {
    let begun = i64::from(then.subsec_nanosecond() > 0);
    let then = then.checked_add(jiff::SignedDuration::from_secs(begun)).unwrap_or(then);
    let day = |at: jiff::Timestamp| at.strftime("%Y-%m-%d").to_string();
    let form = if day(now) == day(then) { "%H:%M:%S UTC" } else { "%Y-%m-%d %H:%M:%S UTC" };
    then.strftime(form).to_string()
}

impl FromStr for Period {
    type Err = InvalidUnit;
    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let bad = || InvalidUnit {
            text: text.chars().take(80).collect(),
            what: "duration",
            expected: "a whole number and a unit (ms, s, m, h, d), such as 30s or 1h30m, at most 3660d",
        };
        let mut rest = text;
        let mut total: u64 = 0;
        let mut last_unit = u64::MAX;
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let number: u64 = number.parse().map_err(|_| bad())?;
            let millis = PERIOD_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, m)| *m).ok_or_else(bad)?;
            if millis >= last_unit {
                return Err(bad());
            }
            last_unit = millis;
            total = number.checked_mul(millis).and_then(|n| total.checked_add(n)).ok_or_else(bad)?;
            rest = tail;
        }
        if total > Self::MAX.0 {
            return Err(bad());
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.pad("0s");
        }
        let mut rest = self.0;
        let mut text = String::new();
        for (name, millis) in PERIOD_UNITS {
            let count = rest / millis;
            rest %= millis;
            if count > 0 {
                text.push_str(&format!("{count}{name}"));
            }
        }
        f.pad(&text)
    }
}

/// A size in bytes, written `512KiB`, `256MiB`, `2GiB` (powers of 1,024) or `1MB` (powers of 1,000).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    with = "String",
    description = "A size: a whole number and a unit, such as 256MiB (powers of 1,024) or 1MB (of 1,000).",
    extend("pattern" = "^[0-9]+(B|[KMGT]iB|[KMGT]B)$")
)]
pub struct Bytes(pub u64);

text_unit!(Bytes);

const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = InvalidUnit;
    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let bad = || InvalidUnit {
            text: text.chars().take(80).collect(),
            what: "size",
            expected: "a whole number and a unit (B, KiB, MiB, GiB, TiB, KB, MB, GB, TB), such as 256MiB",
        };
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let factor = BYTE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, f)| *f).ok_or_else(bad)?;
        number.checked_mul(factor).filter(|n| *n <= 1 << 60).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = BYTE_UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match exact {
            Some((name, factor)) => f.pad(&format!("{}{name}", self.0 / factor)),
            None => f.pad(&format!("{}B", self.0)),
        }
    }
}

/// A share of processors in thousandths, written `"0.5"`, `"2"` or `500m`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct MilliCpu(pub u32);

text_unit!(MilliCpu);

impl FromStr for MilliCpu {
    type Err = InvalidUnit;
    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let bad = || InvalidUnit {
            text: text.chars().take(80).collect(),
            what: "share of processors",
            expected: "a number above 0 with at most three decimals, such as \"0.5\", or thousandths, such as 500m",
        };
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.len() <= 7 && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<u32>().ok()).flatten().ok_or_else(bad)
        };
        let milli = match text.strip_suffix('m') {
            Some(milli) => number(milli)?,
            None => {
                let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
                if part.len() > 3 {
                    return Err(bad());
                }
                let part = number(&format!("{part:0<3}"))?;
                number(whole)?.checked_mul(1_000).and_then(|n| n.checked_add(part)).ok_or_else(bad)?
            }
        };
        if milli == 0 { Err(bad()) } else { Ok(Self(milli)) }
    }
}

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000, self.0 % 1_000);
        if part == 0 { f.pad(&whole.to_string()) } else { f.pad(format!("{whole}.{part:03}").trim_end_matches('0')) }
    }
}
