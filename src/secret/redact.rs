//! Takes known values out of texts, also in the forms they travel in: base64, hex,
//! percent-encoded, JSON-escaped, in markup, a line of many.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use codeops_core::model::SecretName;

/// Shorter values would redact half of every text, and tell: whoever has all short texts shown sees which of them is a
/// value of another team's. The keeper takes an app's own, shorter ones too, out of what the app writes.
pub(super) const SHORTEST: usize = 8;
/// Shorter lines of a value of several lines are too common to stand for it.
const SHORTEST_LINE: usize = 12;
/// What stands in a value's place.
const MASK: &str = "***";

/// Of each secret so many values are known, and of older ones so many bytes: what was rotated out so often is of no use to anybody,
/// and for ever it would be searched for in all that is shown.
pub(super) const KEPT: usize = 32;
const KEPT_BYTES: usize = 64 << 10;
/// By so many bytes of a needle it is searched for; only where they stand the rest is looked at.
const BEGINNING: usize = 48;

/// Values, and all that stands for them. Old ones stay known for a while: texts about them may come late.
#[derive(Clone, Default)]
pub(super) struct Needles {
    /// Of each secret, the newest last.
    values: BTreeMap<SecretName, Vec<String>>,
    /// With how many values each stands for.
    all: BTreeMap<Arc<str>, usize>,
    /// Made when first needed.
    search: OnceLock<Search>,
}

/// Finds needles in one reading of a text, however many there are.
#[derive(Clone)]
struct Search {
    /// `None` where there are more than it can take, which nobody has: they are searched for one by one then.
    beginnings: Option<AhoCorasick>,
    /// What has the same beginning.
    needles: Vec<Vec<Arc<str>>>,
}

impl Search {
    fn new<'n>(all: impl Iterator<Item = &'n Arc<str>>) -> Self {
        let mut needles: Vec<Vec<Arc<str>>> = Vec::new();
        // They come in order, so that equal beginnings stand side by side.
        for needle in all {
            match needles.last_mut() {
                Some(same) if same.first().is_some_and(|one| beginning(one) == beginning(needle)) => {
                    same.push(Arc::clone(needle));
                }
                _ => needles.push(vec![Arc::clone(needle)]),
            }
        }
        let beginnings = needles.iter().filter_map(|same| same.first()).map(|needle| beginning(needle));
        Self { beginnings: AhoCorasick::new(beginnings).ok(), needles }
    }

    /// Where which of them stand in a text; those that overlap, too.
    fn found<'s>(&'s self, text: &'s str) -> Box<dyn Iterator<Item = (usize, &'s Arc<str>)> + 's> {
        let Some(beginnings) = &self.beginnings else {
            let each = self.needles.iter().flatten();
            return Box::new(each.flat_map(move |it| text.match_indices(&**it).map(move |(at, _)| (at, it))));
        };
        Box::new(beginnings.find_overlapping_iter(text).flat_map(move |found| {
            let rest = text.as_bytes().get(found.start()..).unwrap_or_default();
            let same = self.needles.get(found.pattern().as_usize()).into_iter().flatten();
            same.filter(move |it| rest.starts_with(it.as_bytes())).map(move |it| (found.start(), it))
        }))
    }
}

fn beginning(needle: &str) -> &[u8] {
    let bytes = needle.as_bytes();
    bytes.get(..BEGINNING).unwrap_or(bytes)
}

impl Needles {
    /// Learns a value of a secret, which is its newest by now.
    pub(super) fn learn(&mut self, secret: &SecretName, value: &str) {
        if value.chars().count() < SHORTEST {
            return;
        }
        let values = self.values.entry(secret.clone()).or_default();
        let mut gone: Vec<String> = values.extract_if(.., |known| known == value).collect();
        values.push(value.to_owned());
        while values.len() > KEPT || (values.len() > 1 && values.iter().map(String::len).sum::<usize>() > KEPT_BYTES) {
            gone.push(values.remove(0));
        }
        self.count(value);
        gone.iter().for_each(|value| self.discount(value));
    }

    /// Knows no longer what stands for this value alone.
    pub(super) fn forget(&mut self, value: &str) {
        let gone = self.values.values_mut().flat_map(|values| values.extract_if(.., |known| known == value)).count();
        (0..gone).for_each(|_| self.discount(value));
    }

    fn count(&mut self, value: &str) {
        for needle in needles_of(value) {
            *self.all.entry(needle.into()).or_default() += 1;
        }
        self.search = OnceLock::new();
    }

    fn discount(&mut self, value: &str) {
        for needle in needles_of(value) {
            if let Some(count) = self.all.get_mut(&*needle) {
                *count -= 1;
                if *count == 0 {
                    self.all.remove(&*needle);
                }
            }
        }
        self.search = OnceLock::new();
    }

    /// Whether this text stands for what it knows.
    pub(super) fn knows(&self, text: &str) -> bool {
        self.all.contains_key(text)
    }

    fn search(&self) -> Option<&Search> {
        (!self.all.is_empty()).then(|| self.search.get_or_init(|| Search::new(self.all.keys())))
    }
}

/// Takes out of texts what must not be shown. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Redactor(Vec<Arc<Needles>>);

impl Redactor {
    /// Of what all of these know.
    pub(super) fn of(needles: impl IntoIterator<Item = Arc<Needles>>) -> Self {
        Self(needles.into_iter().collect())
    }

    fn found<'s>(&'s self, text: &'s str) -> impl Iterator<Item = (usize, &'s Arc<str>)> + 's {
        self.0.iter().filter_map(|needles| needles.search()).flat_map(|search| search.found(text))
    }

    /// What of it stands in a text, in all its forms.
    pub(super) fn found_in(&self, text: &str) -> Self {
        let found: BTreeSet<&str> = self.found(text).map(|(_, needle)| &**needle).collect();
        let mut known = Needles::default();
        found.into_iter().for_each(|needle| known.count(needle));
        Self::of([Arc::new(known)])
    }

    /// `text` without what is known. Of what overlaps nothing is left, be it a value that holds another, or one that begins in another.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut found: Vec<(usize, usize)> = self.found(text).map(|(at, needle)| (at, at + needle.len())).collect();
        found.sort_unstable();
        let (mut clean, mut until) = (String::with_capacity(text.len()), 0);
        for (start, end) in found {
            if start >= until {
                clean.push_str(text.get(until..start).unwrap_or_default());
                clean.push_str(MASK);
            }
            until = until.max(end);
        }
        clean.push_str(text.get(until..).unwrap_or_default());
        clean
    }
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

    /// What takes these values of one secret out.
    fn knowing(values: &[&str]) -> Redactor {
        let mut needles = Needles::default();
        let name = SecretName::new("key").expect("a name");
        values.iter().for_each(|value| needles.learn(&name, value));
        Redactor::of([Arc::new(needles)])
    }

    #[test]
    fn of_a_secret_that_is_rotated_for_ever_a_bounded_number_of_values_is_known() {
        let (mut needles, name) = (Needles::default(), SecretName::new("key").expect("a name"));
        let value = |n: usize| format!("rotated-value-{n:05}");
        let mut most = 0;
        for n in 0..400 {
            needles.learn(&name, &value(n));
            needles.learn(&name, &value(n));
            most = most.max(needles.all.len());
        }
        assert!(most < KEPT * 20, "{most}");
        assert!(needles.knows(&value(399)) && needles.knows(&value(400 - KEPT)));
        assert!(!needles.knows(&value(399 - KEPT)) && !needles.knows(&value(0)));
        // One that comes back is the newest again.
        needles.learn(&name, &value(400 - KEPT));
        needles.learn(&name, &value(400));
        assert!(needles.knows(&value(400 - KEPT)) && !needles.knows(&value(401 - KEPT)));
        for n in 0..10 {
            needles.learn(&name, &format!("{n}{}", "x".repeat(KEPT_BYTES / 2)));
        }
        assert_eq!(needles.values[&name].len(), 1, "long ones are fewer");
        needles.forget(&needles.values[&name][0].clone());
        assert!(needles.all.is_empty());
    }

    #[test]
    fn of_what_overlaps_nothing_is_left() {
        let redactor = knowing(&["abcdefgh-first", "first-12345678", "abcdefgh-first-and-more"]);
        assert_eq!(redactor.redact("1 abcdefgh-first-12345678 2"), "1 *** 2");
        assert_eq!(redactor.redact("abcdefgh-first-and-more abcdefgh-first"), "*** ***");
        let long = |end: &str| format!("{}{end}", "0123456789".repeat(20));
        let redactor = knowing(&[&long("a"), &long("b"), "größer-als-ü"]);
        let text = format!("{} {} {} größer-als-ü", long("a"), long("b"), long("c"));
        assert_eq!(redactor.redact(&text), format!("*** *** {} ***", long("c")));
    }

    #[test]
    fn values_go_in_every_form_they_travel_in() {
        let key = "-----BEGIN KEY-----\nMIIabcdefghijkl\n-----END KEY-----";
        let redactor = knowing(&["p@ss \"w0rd\"", "ab", key]);
        let text = "1 p@ss \"w0rd\" 2 p@ss \\\"w0rd\\\" 3 cEBzcyAidzByZCI= 4 p%40ss%20%22w0rd%22 5 MIIabcdefghijkl ab";
        assert_eq!(redactor.redact(text), "1 *** 2 *** 3 ***= 4 *** 5 *** ab");
    }

    #[test]
    fn values_go_also_inside_longer_texts_that_were_encoded() {
        let redactor = knowing(&["hunter2-is-secret"]);
        for text in ["user:hunter2-is-secret", "u:hunter2-is-secret@x", "me:hunter2-is-secret;;"] {
            let encoded = STANDARD_NO_PAD.encode(text);
            let kept = redactor.redact(&encoded);
            assert!(kept.contains(MASK) && kept.len() < 16, "{text}: {encoded} stays {kept}");
        }
        assert_eq!(redactor.redact(&hex::encode("hunter2-is-secret")), MASK);
        assert_eq!(redactor.redact(&hex::encode_upper("hunter2-is-secret")), MASK);
        let redactor = knowing(&["a<b>&'cde"]);
        assert_eq!(redactor.redact("a&#60;b&#62;&#38;&#39;cde"), MASK);
    }

    #[test]
    fn what_is_short_enough_to_be_tried_out_is_not_told_by_a_mask() {
        let redactor = knowing(&["4711", "1234567"]);
        let tried: String = (0..10_000).map(|number| format!("{number:04} ")).collect();
        assert_eq!(redactor.redact(&tried), tried);
    }

    proptest! {
        #[test]
        fn no_value_is_left(value in "[ -~]{8,40}", before in "[ -~]{0,40}") {
            prop_assume!(!"***".contains(&value) && !value.contains("**"));
            let redactor = knowing(&[&value]);
            let kept = redactor.redact(&format!("{before}\u{1}{value}\u{1}"));
            prop_assert!(!kept.contains(&value), "{kept}");
        }
    }
}
