//! Content digests: `v1:` and the hex of SHA-256 over a canonical JSON form. The same meaning always gives the same digest.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::InvalidName;

/// A versioned content digest, `v1:` and 64 hex digits. Two are comparable only within one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Arc<str>);

impl Digest {
    /// The `v1` digest of a JSON value's [`canonical`] form.
    pub fn of(value: &Value) -> Self {
        Self(format!("v1:{}", hex::encode(Sha256::digest(canonical(value)))).into())
    }

    /// The whole digest with its version.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 8 hex digits, for ids and people.
    pub fn short(&self) -> &str {
        self.0.split_once(':').and_then(|(_, hex)| hex.get(..8)).unwrap_or(&self.0)
    }
}

impl FromStr for Digest {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let valid = text.split_once(':').is_some_and(|(version, hex)| {
            version.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
                && hex.len() == 64
                && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        });
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName {
                text: text.chars().take(80).collect(),
                what: "digest",
                expected: "a version and 64 hex digits, such as v1:9f86…",
            })
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.as_ref().to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The canonical JSON text of a value: object keys sorted by code point, no white space, whatever the map order in memory.
pub fn canonical(value: &Value) -> String {
    let mut out = Vec::with_capacity(1024);
    write_canonical(value, &mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<(&String, &Value)> = map.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (i, (key, member)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_leaf(key, out);
                out.push(b':');
                write_canonical(member, out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_canonical(item, out);
            }
            out.push(b']');
        }
        leaf => write_leaf(leaf, out),
    }
}

fn write_leaf(leaf: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    serde_json::to_writer(out, leaf).expect("texts and numbers are always JSON");
}
