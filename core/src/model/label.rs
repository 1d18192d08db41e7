//! Labels, annotations and links as they come in from outside, brought within bounds. Whoever compares an alert with what
//! its source says of it brings both through here, so that both have one fingerprint.

use super::Labels;

/// The most labels of one alert.
pub const MOST_LABELS: usize = 64;
/// The longest name, in bytes.
const NAME: usize = 128;
/// The longest value, in bytes.
const VALUE: usize = 4 << 10;
/// The longest link, in bytes.
const URL: usize = 2 << 10;

/// Labels within bounds, control characters made visible. An empty value is no label. They are an alert's identity, so
/// nothing is cut off: what is out of bounds is refused.
///
/// # Errors
/// In one sentence, what is wrong with them; nothing of them is shown.
pub fn bounded_labels(told: impl IntoIterator<Item = (String, String)>) -> Result<Labels, &'static str> {
    let mut labels = Labels::new();
    for (name, value) in told {
        let value = visible(&value, false);
        if value.is_empty() {
            continue;
        }
        if name.is_empty() || name.len() > NAME || name.chars().any(|c| shown(c) != c) {
            return Err("a label's name is empty, longer than 128 bytes, or has control characters");
        }
        if value.len() > VALUE {
            return Err("a label's value is longer than 4 KiB");
        }
        labels.insert(name, value);
    }
    match labels.len() {
        0 => Err("there are no labels"),
        1..=MOST_LABELS => Ok(labels),
        _ => Err("there are more than 64 labels"),
    }
}

/// Annotations within bounds, control characters but line breaks and tabs made visible. They are prose: what is too long
/// is cut, and what is too much is left out.
pub fn bounded_annotations(told: impl IntoIterator<Item = (String, String)>) -> Labels {
    let good = |name: &str| !name.is_empty() && name.len() <= NAME && name.chars().all(|c| shown(c) == c);
    let told = told.into_iter().filter(|(name, value)| good(name) && !value.is_empty());
    let all: Labels = told.map(|(name, value)| (name, cut(visible(&value, true)))).collect();
    all.into_iter().take(MOST_LABELS).collect()
}

/// A text with control characters, and marks that hide or reorder text, made visible; `lines` keeps line breaks and tabs.
pub fn visible(text: &str, lines: bool) -> String {
    text.chars().map(|c| if lines && matches!(c, '\n' | '\t') { c } else { shown(c) }).collect()
}

/// A link that may be shown: http or https, at most 2 KiB, without control characters, spaces or a password.
pub fn web_url(text: &str) -> Option<String> {
    let rest = ["https://", "http://"].iter().find_map(|scheme| {
        let (head, rest) = text.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    })?;
    let host = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let plain = text.len() <= URL && text.chars().all(|c| shown(c) == c && !c.is_whitespace());
    (plain && !host.is_empty() && !host.contains('@')).then(|| text.to_owned())
}

fn cut(mut text: String) -> String {
    if text.len() > VALUE {
        text.truncate(text.floor_char_boundary(VALUE - '…'.len_utf8()));
        text.push('…');
    }
    text
}

fn shown(c: char) -> char {
    match c {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}' => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn identity_is_refused_where_prose_is_cut() {
        let long = "ä".repeat(3_000);
        assert!(bounded_labels(one("a", &long)).is_err() && bounded_labels(one(&"n".repeat(129), "x")).is_err());
        assert!(bounded_labels(one("", "x")).is_err() && bounded_labels(one("a\n", "x")).is_err());
        assert!(bounded_labels(one("a", "")).is_err(), "an empty label is none");
        let many = |count: usize| (0..count).map(|i| (format!("l{i}"), "x".to_owned()));
        assert!(bounded_labels(many(64)).is_ok() && bounded_labels(many(65)).is_err());
        assert_eq!(bounded_annotations(many(65)).len(), 64);
        let cut = &bounded_annotations(one("a", &long))["a"];
        assert!(cut.len() <= VALUE && cut.ends_with('…'), "{}", cut.len());
    }

    #[test]
    fn control_characters_are_seen() {
        assert_eq!(bounded_labels(one("a", "x\u{1b}[2J\n\u{202e}")).unwrap()["a"], "x␛[2J␊\u{fffd}");
        assert_eq!(bounded_annotations(one("a", "x\u{1b}\ny"))["a"], "x␛\ny");
    }

    #[test]
    fn links_go_to_the_web() {
        for good in ["http://prometheus:9090/graph?g0.expr=up+%3D%3D+0", "HTTPS://x", "https://x/@y"] {
            assert_eq!(web_url(good).as_deref(), Some(good));
        }
        for bad in
            ["", "javascript:alert(1)", "http://", "http:///x", "http://u:p@x/", "http://x/a b", "ftp://x", "//x"]
        {
            assert_eq!(web_url(bad), None, "{bad}");
        }
    }
}
