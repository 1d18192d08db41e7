//! Takes known values out of texts, also in the forms they travel in: base64, hex,
//! percent-encoded, JSON-escaped, in markup, a line of many.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter values would redact half of every text, and tell: whoever has all short texts shown sees which of them is a
/// value of another team's. The keeper takes an app's own, shorter ones too, out of what the app writes.
pub(super) const SHORTEST: usize = 8;
/// Shorter lines of a value of several lines are too common to stand for it.
const SHORTEST_LINE: usize = 12;
/// What stands in a value's place.
const MASK: &str = "***";

/// Knows what must not be shown. Old values stay known: texts about them may come late. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Redactor {
    /// Longest first, so that a value that holds another is taken whole.
    needles: Arc<[String]>,
}

impl Redactor {
    /// Learns one more value.
    pub(super) fn learn(&mut self, value: &str) {
        if value.chars().count() < SHORTEST {
            return;
        }
        let mut needles: BTreeSet<String> = self.needles.iter().cloned().collect();
        needles.extend(needles_of(value));
        self.needles = sorted(needles);
    }

    /// Knows no longer what stands for this value alone.
    pub(super) fn forget(&mut self, value: &str) {
        let mut needles = self.needles.to_vec();
        let gone = needles_of(value);
        needles.retain(|needle| !gone.contains(needle));
        self.needles = needles.into();
    }

    /// Whether it knows this value.
    pub(super) fn knows(&self, value: &str) -> bool {
        self.needles.iter().any(|needle| needle == value)
    }

    /// All that both know.
    pub(super) fn with(&self, other: &Self) -> Self {
        Self { needles: sorted(self.needles.iter().chain(&*other.needles).cloned().collect()) }
    }

    /// What of it stands in a text, in all its forms.
    pub(super) fn found_in(&self, text: &str) -> Self {
        let mut found = Self::default();
        self.needles.iter().filter(|needle| text.contains(needle.as_str())).for_each(|needle| found.learn(needle));
        found
    }

    /// `text` without what is known.
    pub(super) fn redact(&self, text: &str) -> String {
        self.needles.iter().filter(|needle| !needle.is_empty()).fold(text.to_owned(), |text, needle| {
            if text.contains(needle.as_str()) { text.replace(needle.as_str(), MASK) } else { text }
        })
    }
}

fn sorted(needles: BTreeSet<String>) -> Arc<[String]> {
    let mut needles: Vec<String> = needles.into_iter().collect();
    needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
    needles.into()
}

/// All that stands for a value.
fn needles_of(value: &str) -> Vec<String> {
    let lines = value.lines().map(str::trim).filter(|line| line.len() >= SHORTEST_LINE);
    forms(value).into_iter().chain(lines.map(str::to_owned)).collect()
}

fn forms(value: &str) -> Vec<String> {
    let json = serde_json::Value::String(value.to_owned()).to_string();
    let mut forms = vec![
        value.to_owned(),
        json.get(1..json.len() - 1).unwrap_or_default().to_owned(),
        STANDARD_NO_PAD.encode(value),
        URL_SAFE_NO_PAD.encode(value),
        percent(value, false),
        percent(value, true),
        markup(value),
    ];
    forms.retain(|form| form.len() >= SHORTEST);
    let hex = [hex::encode(value), hex::encode_upper(value)];
    let inside =
        (0..3).flat_map(|before| [inside(value, before, &STANDARD_NO_PAD), inside(value, before, &URL_SAFE_NO_PAD)]);
    // What other texts could hold by chance stays.
    forms.extend(hex.into_iter().chain(inside).filter(|form| form.len() >= SHORTEST));
    forms
}

/// What base64 of a longer text says of a value that begins `before` bytes into a group of three: the characters that
/// its neighbours have no part in.
fn inside(value: &str, before: usize, engine: &GeneralPurpose) -> String {
    let bytes: Vec<u8> = std::iter::repeat_n(0, before).chain(value.bytes()).collect();
    let (begin, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    engine.encode(&bytes).get(begin..end).unwrap_or_default().to_owned()
}

/// As it stands on a page.
fn markup(value: &str) -> String {
    value.chars().fold(String::new(), |mut out, c| {
        match c {
            '<' | '>' | '&' | '"' | '\'' => {
                write!(out, "&#{};", u32::from(c)).expect("a string takes all that is written");
            }
            _ => out.push(c),
        }
        out
    })
}

/// Percent-encoded; all but RFC 3986's unreserved characters, in upper-case hex unless `lower`.
fn percent(value: &str, lower: bool) -> String {
    value.bytes().fold(String::new(), |mut out, byte| {
        let written = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.write_char(char::from(byte)),
            _ if lower => write!(out, "%{byte:02x}"),
            _ => write!(out, "%{byte:02X}"),
        };
        written.expect("a string takes all that is written");
        out
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_go_in_every_form_they_travel_in() {
        let mut redactor = Redactor::default();
        redactor.learn("p@ss \"w0rd\"");
        redactor.learn("ab");
        redactor.learn("-----BEGIN KEY-----\nMIIabcdefghijkl\n-----END KEY-----");
        let text = "1 p@ss \"w0rd\" 2 p@ss \\\"w0rd\\\" 3 cEBzcyAidzByZCI= 4 p%40ss%20%22w0rd%22 5 MIIabcdefghijkl ab";
        assert_eq!(redactor.redact(text), "1 *** 2 *** 3 ***= 4 *** 5 *** ab");
    }

    #[test]
    fn values_go_also_inside_longer_texts_that_were_encoded() {
        let mut redactor = Redactor::default();
        redactor.learn("hunter2-is-secret");
        for text in ["user:hunter2-is-secret", "u:hunter2-is-secret@x", "me:hunter2-is-secret;;"] {
            let encoded = STANDARD_NO_PAD.encode(text);
            let kept = redactor.redact(&encoded);
            assert!(kept.contains(MASK) && kept.len() < 16, "{text}: {encoded} stays {kept}");
        }
        assert_eq!(redactor.redact(&hex::encode("hunter2-is-secret")), MASK);
        assert_eq!(redactor.redact(&hex::encode_upper("hunter2-is-secret")), MASK);
        redactor.learn("a<b>&'cde");
        assert_eq!(redactor.redact("a&#60;b&#62;&#38;&#39;cde"), MASK);
    }

    #[test]
    fn what_is_short_enough_to_be_tried_out_is_not_told_by_a_mask() {
        let mut redactor = Redactor::default();
        redactor.learn("4711");
        redactor.learn("1234567");
        let tried: String = (0..10_000).map(|number| format!("{number:04} ")).collect();
        assert_eq!(redactor.redact(&tried), tried);
    }

    proptest! {
        #[test]
        fn no_value_is_left(value in "[ -~]{8,40}", before in "[ -~]{0,40}") {
            prop_assume!(!"***".contains(&value) && !value.contains("**"));
            let mut redactor = Redactor::default();
            redactor.learn(&value);
            let kept = redactor.redact(&format!("{before}\u{1}{value}\u{1}"));
            prop_assert!(!kept.contains(&value), "{kept}");
        }
    }
}
