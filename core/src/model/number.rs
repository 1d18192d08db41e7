//! Ids that are counted in one store: a letter and a number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidName;

macro_rules! numbered {
    ($(#[$doc:meta])* $type:ident, $letter:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(pub u64);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!(concat!($letter, "{}"), self.0))
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let number = text.strip_prefix($letter).and_then(|digits| digits.parse().ok());
                number.map(Self).ok_or_else(|| InvalidName {
                    text: text.chars().take(80).collect(),
                    what: $what,
                    expected: concat!("`", $letter, "` and a number"),
                })
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> Self {
                id.to_string()
            }
        }
    };
}

numbered!(
    /// A run's id, such as `r42`: counted in one store.
    RunId, "r", "run id"
);
numbered!(
    /// A page's id, such as `p7`: counted in one store.
    PageId, "p", "page id"
);
