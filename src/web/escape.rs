//! The one escaper of all pages: nothing that comes from outside can become markup, move a terminal or turn text around.

use std::borrow::Cow;
use std::fmt::{self, Write};

use askama::filters::Escaper;

/// HTML escaping that also makes control characters visible; named in `askama.toml`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Visible;

impl Escaper for Visible {
    fn write_escaped_str<W: Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        string.chars().try_for_each(|c| write_char(&mut dest, c))
    }
}

fn write_char(dest: &mut impl Write, c: char) -> fmt::Result {
    match c {
        '<' => dest.write_str("&#60;"),
        '>' => dest.write_str("&#62;"),
        '&' => dest.write_str("&#38;"),
        '"' => dest.write_str("&#34;"),
        '\'' => dest.write_str("&#39;"),
        c => dest.write_char(shown(c)),
    }
}

/// A character as it is shown: controls by their pictures, marks that reorder or hide text by the replacement character.
fn shown(c: char) -> char {
    match c {
        '\n' | '\t' => c,
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

/// A text for a terminal or a plain-text answer, with its control characters made visible.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| shown(c) == c) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().map(shown).collect())
    }
}

/// The escaped form of a text, for markup that is made without a template.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Writing to a String cannot fail.
    let _ = Visible.write_escaped_str(&mut out, text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_and_controls_are_harmless() {
        assert_eq!(html("<b>\u{1b}[31m'x'&\"\u{202e}"), "&#60;b&#62;\u{241b}[31m&#39;x&#39;&#38;&#34;\u{fffd}");
        assert_eq!(visible("a\r\tb"), "a\u{240d}\tb");
    }

    proptest! {
        #[test]
        fn no_text_becomes_markup(text in any::<String>()) {
            let out = html(&text);
            prop_assert!(!out.contains(['<', '>', '"', '\'']));
            prop_assert!(!out.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }
    }
}
