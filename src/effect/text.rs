//! What comes back from outside, bounded and without secrets. A secret that a bound would cut in two is left out whole.

use serde_json::{Map, Value};

use crate::port::Veil;

/// The most of an output, in bytes.
pub(super) const OUTPUT: usize = 64 << 10;
/// The most of what is kept for people, in bytes.
pub(super) const EVIDENCE: usize = 16 << 10;
/// The most of an error, in bytes.
pub(super) const ERROR: usize = 2 << 10;
/// Read beyond a bound, so that a secret which begins before it is known as one; secrets are hardly longer.
const MARGIN: usize = 4 << 10;

/// How many levels JSON has that is taken as such. What is deeper is a text: with what the journal puts around it, it could not
/// be read any more.
const DEEPEST: usize = 64;

/// The beginning of a stream, and how long all of it was.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    total: u64,
}

impl Kept {
    /// Takes the next piece.
    pub(super) fn take(&mut self, piece: &[u8]) {
        self.total += piece.len() as u64;
        let room = (OUTPUT + MARGIN).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// How long all of it was, in bytes.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// As a value: the JSON that all of it is, or else `text` of its text.
    pub(super) fn value(&self, veil: &Veil<'_>, text: impl Fn(String) -> Value) -> Value {
        let whole = self.total <= OUTPUT as u64;
        let json = whole.then(|| serde_json::from_slice(&self.bytes).ok()).flatten();
        let json = json.filter(|json| is_at_most(DEEPEST, json));
        json.map_or_else(|| text(self.text(veil, OUTPUT)), |json| cleaned(json, veil))
    }

    /// As redacted text of at most `most` bytes, also when it is written as JSON.
    pub(super) fn text(&self, veil: &Veil<'_>, most: usize) -> String {
        let mut text = veil.redact(&String::from_utf8_lossy(&self.bytes));
        if self.total > self.bytes.len() as u64 {
            let kept = text.len().saturating_sub(MARGIN);
            text = cut(&text, kept);
        }
        let mut most = most;
        while text.len() > most || (most > 0 && quoted(&text) > OUTPUT - 256) {
            most = most.min(text.len()) * 7 / 8;
            text = cut(&text, most);
        }
        text
    }
}

/// The end of a stream.
#[derive(Debug, Default)]
pub(super) struct Last {
    bytes: Vec<u8>,
    cut: bool,
}

impl Last {
    /// Takes the next piece.
    pub(super) fn take(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        if self.bytes.len() > 4 * EVIDENCE {
            self.bytes.drain(..self.bytes.len() - EVIDENCE - MARGIN);
            self.cut = true;
        }
    }

    /// As redacted text of at most `most` bytes.
    pub(super) fn text(&self, veil: &Veil<'_>, most: usize) -> String {
        let text = veil.redact(&String::from_utf8_lossy(&self.bytes));
        let from = if self.cut { text.ceil_char_boundary(MARGIN.min(text.len())) } else { 0 };
        tail(&text[from..], most)
    }
}

fn quoted(text: &str) -> usize {
    // Only control characters, quotes and such grow, to six bytes at most.
    if text.len() * 6 < OUTPUT - 256 { text.len() } else { serde_json::to_string(text).map_or(usize::MAX, |t| t.len()) }
}

/// Whether a value has at most so many levels.
fn is_at_most(levels: usize, value: &Value) -> bool {
    let below = |value| levels > 0 && is_at_most(levels - 1, value);
    match value {
        Value::Array(items) => items.iter().all(below),
        Value::Object(entries) => entries.values().all(below),
        _ => true,
    }
}

/// A value whose texts, keys and numbers hold no secret. Most hold none, which one look at all of them together tells.
fn cleaned(value: Value, veil: &Veil<'_>) -> Value {
    let mut all = String::new();
    gather(&value, &mut all);
    if veil.redact(&all) == all { value } else { veiled(value, veil) }
}

/// All that a value says, a line each.
fn gather(value: &Value, all: &mut String) {
    let mut line = |text: &str| {
        all.push_str(text);
        all.push('\n');
    };
    match value {
        Value::String(text) => line(text),
        Value::Number(number) => line(&number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| gather(item, all)),
        Value::Object(entries) => entries.iter().for_each(|(key, value)| {
            all.push_str(key);
            all.push('\n');
            gather(value, all);
        }),
        Value::Null | Value::Bool(_) => {}
    }
}

/// See [`cleaned`].
fn veiled(value: Value, veil: &Veil<'_>) -> Value {
    match value {
        Value::String(text) => Value::String(veil.redact(&text)),
        Value::Number(number) => {
            let text = number.to_string();
            let veiled = veil.redact(&text);
            if veiled == text { Value::Number(number) } else { Value::String(veiled) }
        }
        Value::Array(items) => items.into_iter().map(|item| veiled(item, veil)).collect(),
        Value::Object(entries) => {
            let entry = |(key, value): (String, Value)| (veil.redact(&key), veiled(value, veil));
            Value::Object(entries.into_iter().map(entry).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// At most `most` bytes of a text.
pub(super) fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

/// The last lines of a text, at most `most` bytes.
pub(super) fn tail(text: &str, most: usize) -> String {
    let from = text.ceil_char_boundary(text.len().saturating_sub(most));
    text[from..].trim().to_owned()
}

/// One line without control characters, at most `most` characters.
pub(super) fn line(text: &str, most: usize) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(most).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use codeops_core::desired::SecretFacts;
    use codeops_core::model::{Secret, SecretName, TeamName};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::port::{Secrets, Vault, Whose};

    struct Hunter;

    impl Vault for Hunter {
        fn facts(&self) -> BTreeMap<SecretName, SecretFacts> {
            BTreeMap::new()
        }

        fn values(&self, _: &TeamName, _: &BTreeSet<SecretName>) -> Result<Secrets, String> {
            Ok(Secrets::default())
        }

        fn given_before(
            &self,
            _: &TeamName,
            _: &BTreeMap<String, SecretName>,
            _: &BTreeMap<String, String>,
        ) -> Result<BTreeMap<String, Secret<String>>, String> {
            Err("there are none".to_owned())
        }

        fn redact_read(&self, whose: Whose<'_>, _: &str, text: &str) -> String {
            self.redact(whose, text)
        }

        fn redact(&self, _: Whose<'_>, text: &str) -> String {
            text.replace("hunter2", "***").replace("12345", "***")
        }
    }

    fn team() -> TeamName {
        TeamName::new("payments").expect("a name")
    }

    fn kept(bytes: &[u8]) -> Kept {
        let mut kept = Kept::default();
        bytes.chunks(1_000).for_each(|piece| kept.take(piece));
        kept
    }

    #[test]
    fn what_is_nested_too_deep_is_a_text() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let value = |text: &str| kept(text.as_bytes()).value(&Veil::of(&Hunter, &team()), Value::String);
        assert!(value(&nested(DEEPEST)).is_array());
        for levels in [DEEPEST + 1, 125, 127, 5_000] {
            assert_eq!(value(&nested(levels)), Value::String(nested(levels)));
        }
    }

    #[test]
    fn json_stays_json_without_its_secrets() {
        let read = |text: &str| kept(text.as_bytes()).value(&Veil::of(&Hunter, &team()), Value::String);
        assert_eq!(
            read(r#"{"a": ["hunter2", 12345, 7], "hunter2": null}"#),
            json!({"a": ["***", "***", 7], "***": null})
        );
        assert_eq!(read("it is hunter2\n"), json!("it is ***\n"));
        assert_eq!(kept(b"").value(&Veil::of(&Hunter, &team()), Value::String), json!(""));
    }

    proptest! {
        #[test]
        fn no_part_of_a_secret_is_left_at_a_bound(before in OUTPUT - 20..OUTPUT + MARGIN + 20, byte in prop::sample::select(vec![b'x', 1, b'"', 0xff])) {
            let mut bytes = vec![byte; before];
            bytes.extend_from_slice(b"hunter2");
            bytes.extend(vec![b'y'; 9_000]);
            let value = kept(&bytes).value(&Veil::of(&Hunter, &team()), Value::String);
            prop_assert!(value.to_string().len() <= OUTPUT);
            prop_assert!(!value.to_string().contains("hu"));
        }
    }
}
