//! What no mistake shows of what was written: user names and passwords in URLs, and of the settings every value.

use std::borrow::Cow;

/// `text` with a `*` for each character between `://` and the last `@` of the same word: columns stay.
pub(crate) fn veiled(text: &str) -> Cow<'_, str> {
    if !text.contains("://") || !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("://").map(|at| at + 3) {
        out.push_str(&rest[..begin]);
        rest = &rest[begin..];
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`')).unwrap_or(rest.len());
        if let Some(at) = rest[..end].rfind('@') {
            out.extend(rest[..at].chars().map(|_| '*'));
            rest = &rest[at..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The longest key that is shown.
const KEY: usize = 64;

/// A line of YAML with a `*` for each character of its values and comments: keys and columns stay. Where it cannot be told
/// what something is, it is taken for a value.
pub(crate) fn without_values(line: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    // Lists and mappings that were opened on this line, and whether a key may stand next.
    let (mut depth, mut key_may_come) = (0_usize, true);
    while let Some(first) = rest.chars().next() {
        let bytes = match first {
            ' ' | '\t' => 1,
            '{' | '[' => {
                (depth, key_may_come) = (depth + 1, true);
                1
            }
            '}' | ']' | ',' if depth > 0 || key_may_come => {
                depth = depth.saturating_sub(usize::from(first != ','));
                key_may_come = true;
                1
            }
            '-' if key_may_come && depth == 0 && ["", " "].contains(&rest.get(1..2).unwrap_or_default()) => 1,
            _ if key_may_come && let Some(bytes) = key(rest) => {
                key_may_come = false;
                bytes
            }
            _ => {
                let value = &rest[..value(rest, depth > 0)];
                out.extend(value.chars().map(|_| '*'));
                rest = &rest[value.len()..];
                key_may_come = false;
                continue;
            }
        };
        out.push_str(&rest[..bytes]);
        rest = &rest[bytes..];
    }
    out
}

/// How many bytes at the beginning are a key with its colon.
fn key(text: &str) -> Option<usize> {
    let (key, after) = text.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./\"'".contains(c);
    let is_key = !key.is_empty() && key.len() <= KEY && key.chars().all(plain);
    (is_key && (after.is_empty() || after.starts_with([' ', '\t']))).then_some(key.len() + 1)
}

/// How many bytes at the beginning are one value: in a list or mapping of this line up to where the next may begin.
fn value(text: &str, inside: bool) -> usize {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    if let Some(quote) = quote {
        let mut escaped = false;
        let closes = |&(_, c): &(usize, char)| {
            let closes = c == quote && !escaped;
            escaped = c == '\\' && quote == '"' && !escaped;
            closes
        };
        return text.char_indices().skip(1).find(closes).map_or(text.len(), |(at, _)| at + 1);
    }
    let end = if inside && !text.starts_with('#') { text.find([',', '}', ']']) } else { None };
    end.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{veiled, without_values};

    #[test]
    fn of_a_line_of_settings_keys_stay() {
        for (line, shown) in [
            ("heartbeat: {url: https://h/a,b, every: 1m}", "heartbeat: {url: ***********,*, every: **}"),
            ("  bearer: a b: c # d", "  bearer: **********"),
            (r#"x: {"a-b": "s\"e, t", c: ['d''e', f]} # g"#, r#"x: {"a-b": *********, c: [******, *]} ***"#),
            ("  - - k: v", "  - - k: *"),
            ("- -v", "- **"),
            ("bearer:token", "************"),
            ("MIIEvQ/IBADA+NBg==", "******************"),
            ("word: more, k: v", "word: **********"),
            ("}, k: {v: é}", "}, k: {v: *}"),
            ("{a: b}, c", "{a: *}, *"),
            ("a: }b", "a: **"),
            ("a: &x !y |", "a: *******"),
        ] {
            assert_eq!(without_values(line), shown);
        }
    }

    #[test]
    fn what_stands_before_an_at_is_gone_and_columns_stay() {
        for (text, shown) in [
            ("url: http://user:p@w/x@h.example/a, b: c@d", "url: http://**********@h.example/a, b: c@d"),
            ("`https://é:ü@h` ssh://git@h:22/x", "`https://***@h` ssh://***@h:22/x"),
            ("http://a/b ops@acme.example", "http://a/b ops@acme.example"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(veiled(text), shown);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_or_changes_its_length(text in "(.|://|@){0,40}") {
            prop_assert_eq!(veiled(&text).chars().count(), text.chars().count());
            prop_assert_eq!(without_values(&text).chars().count(), text.chars().count());
        }

        #[test]
        fn no_value_of_any_line_is_shown(line in "[-a:{}, \\[\\]\"'#é]{0,20}", value in "[B-Z]{4,8}") {
            for line in [format!("{line}k: {value}"), format!("{line}k: '{value}'"), format!("{line} {value}")] {
                prop_assert_eq!(without_values(&line).chars().count(), line.chars().count());
                prop_assert!(!without_values(&line).contains(&value), "{}", line);
            }
        }
    }
}
