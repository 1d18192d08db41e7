//! User names and passwords in URLs made unreadable, wherever a mistake shows what was written.

use std::borrow::Cow;

/// `text` with a `*` for each character between `://` and the last `@` of the same word: columns stay.
pub(super) fn veiled(text: &str) -> Cow<'_, str> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::veiled;

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
        }
    }
}
