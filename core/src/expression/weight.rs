//! How much work it is to read an expression, told from its text alone: parsing it is the work.

use super::regular::folds_widely;

/// What each has to itself: a thread is begun for it.
const EACH: u64 = 20;
/// A minus: the parser looks far ahead of it.
const MINUS: u64 = 20;
/// A backslash: it may stand for a class of thousands of characters.
const BACKSLASH: u64 = 50;
/// Making a regular expression; and, beside one, what may repeat a part of it until it is as big as it may become.
const MATCHES: u64 = 30;
const REPEATED: u64 = 500;
/// What stands for more where the case of more than ASCII is folded.
const FOLDED: u64 = 1_000;

/// The words and signs of an expression. What is more work counts for more: a minus for 20, a backslash for 50, a `matches` for
/// 30, beside one a `{` for 500, and 20 for the expression itself.
pub fn weight(source: &str) -> u64 {
    let matches = source.matches("matches").count() as u64;
    MATCHES * matches + words(source, matches > 0)
}

/// The same of a regular expression by itself. One that folds the case of more than ASCII goes through all of Unicode for
/// each thing in it that stands for more.
pub fn weight_of_pattern(pattern: &str) -> u64 {
    let wide = |c: &char| matches!(c, '\\' | '[') || !c.is_ascii();
    let folds = if folds_widely(pattern) { pattern.chars().filter(wide).count() as u64 } else { 0 };
    // A minus is a sign like others here.
    FOLDED * folds + words(&pattern.replace('-', "."), true)
}

fn words(source: &str, has_patterns: bool) -> u64 {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut weight, mut in_word) = (EACH, false);
    for c in source.chars() {
        weight += match c {
            _ if is_word(c) => u64::from(!in_word),
            '-' => MINUS,
            '\\' => BACKSLASH,
            '{' if has_patterns => REPEATED,
            _ => u64::from(!c.is_whitespace()),
        };
        in_word = is_word(c);
    }
    weight
}

/// The same of all expressions in a template.
pub fn weight_of_template(text: &str) -> u64 {
    let after = text.split("{{").skip(1);
    after.map(|part| weight(part.split_once("}}").map_or(part, |(inside, _)| inside))).sum()
}
