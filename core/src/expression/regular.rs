//! What it costs to make a regular expression, and which ones are not made at all.

/// How big regular expressions may become, in bytes, and what making one of that size costs, each time it is used.
const REGEX: [(usize, u64); 2] = [(16 << 10, 500), (256 << 10, 10_000)];

/// What making it costs.
///
/// # Errors
/// In one sentence, why it is not made.
pub(super) fn cost(pattern: &str) -> Result<u64, String> {
    if folds_widely(pattern) {
        return Err(
            "a regular expression of `matches` that ignores case is written in ASCII, without what stands for more"
                .to_owned(),
        );
    }
    let mut why = String::new();
    for (size, cost) in REGEX {
        match regex::RegexBuilder::new(pattern).size_limit(size).build() {
            Ok(_) => return Ok(cost),
            Err(error) => why = error.to_string(),
        }
    }
    Err(format!("`matches` takes no such regular expression: {}", why.lines().last().unwrap_or_default()))
}

/// Whether making it would fold the case of more than ASCII and what letters there are: a class over all of Unicode takes a
/// million steps, however small what comes of it is, and it would take them to be refused.
pub(super) fn folds_widely(pattern: &str) -> bool {
    let groups = pattern.split("(?").skip(1);
    let flags: String =
        groups.flat_map(|group| group.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '-')).collect();
    let wide = ["\\x", "\\u", "\\U", "\\p", "\\P", "\\D", "\\S", "\\W", "[:^"];
    // Among blanks that mean nothing, what is below could not be told.
    let is_wide = || flags.contains('x') || !pattern.is_ascii() || wide.iter().any(|wide| pattern.contains(wide));
    flags.contains('i') && (is_wide() || has_class_in_class(pattern))
}

/// Whether a class stands in a class: it may be what another leaves out, and is folded with the outer one. One by itself is
/// folded before it is turned round.
fn has_class_in_class(pattern: &str) -> bool {
    let (mut is_inside, mut rest) = (false, pattern.chars().peekable());
    while let Some(c) = rest.next() {
        match c {
            '\\' => drop(rest.next()),
            // One by its name holds nothing that is not ASCII.
            '[' if is_inside => {
                let name: String = rest.by_ref().take_while(|c| *c != ']').collect();
                let name = name.strip_prefix(':').and_then(|name| name.strip_suffix(':'));
                if !name.is_some_and(|name| name.bytes().all(|b| b.is_ascii_alphabetic())) {
                    return true;
                }
            }
            '[' => {
                is_inside = true;
                rest.next_if_eq(&'^');
                // The first of a class stands for itself.
                rest.next_if_eq(&']');
            }
            ']' => is_inside = false,
            _ => {}
        }
    }
    false
}
