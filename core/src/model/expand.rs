//! Variables in texts: `$NAME` and `${NAME}` stand for a variable, `$$` for a dollar sign. Pure; used to check manifests
//! and, with real values, to start instances.

use std::collections::BTreeMap;

/// The most bytes an expanded text may have: what the kernel takes for one argument or variable.
pub const MAX_EXPANDED: usize = 128 * 1024;

/// The variables every instance is given beside its own. `PORT` and `HOST` only where the app has a port.
pub const BUILT_IN: [&str; 4] = ["APP", "HOST", "INSTANCE", "PORT"];

/// The variables every instance is given unless its manifest declares them.
pub const GIVEN: [&str; 2] = ["PATH", "STATE_DIRECTORY"];

/// Why a text cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A dollar sign that begins no variable.
    #[error("a `$` must begin a variable, as $NAME or ${{NAME}}; write $$ for a dollar sign")]
    LoneDollar,
    /// A variable nobody gives.
    #[error("the variable `{0}` is not declared")]
    Unknown(String),
    /// Longer than [`MAX_EXPANDED`].
    #[error("the text is longer than 128 KiB once its variables are filled in")]
    TooLong,
}

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'t> {
    Plain(&'t str),
    Variable(&'t str),
}

/// Fills in a text's variables. `lookup` gives each variable's value, which is not expanded again.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text)? {
        match piece {
            Piece::Plain(plain) => out.push_str(plain),
            Piece::Variable(name) => {
                out.push_str(&lookup(name).ok_or_else(|| ExpandError::Unknown(name.to_owned()))?);
            }
        }
        if out.len() > MAX_EXPANDED {
            return Err(ExpandError::TooLong);
        }
    }
    Ok(out)
}

/// Fills in the variables of an environment's values. A value may name built-in variables, which `built_in` gives, and
/// variables whose own values name none but built-in ones: a text is never expanded twice.
pub fn expand_env(
    env: &BTreeMap<String, String>,
    built_in: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, ExpandError> {
    let simple = |name: &str| built_in(name).or_else(|| expand(env.get(name)?, &built_in).ok());
    env.iter().map(|(name, text)| Ok((name.clone(), expand(text, simple)?))).collect()
}

/// The names of the variables a text needs, in order.
pub fn variables(text: &str) -> Result<Vec<&str>, ExpandError> {
    let named = |piece| match piece {
        Piece::Variable(name) => Some(name),
        Piece::Plain(_) => None,
    };
    Ok(pieces(text)?.into_iter().filter_map(named).collect())
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, ExpandError> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push(Piece::Plain(&rest[..at]));
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push(Piece::Plain("$"));
            rest = tail;
        } else if let Some(braced) = after.strip_prefix('{') {
            let (name, tail) = braced.split_once('}').ok_or(ExpandError::LoneDollar)?;
            out.push(Piece::Variable(Some(name).filter(|name| is_variable(name)).ok_or(ExpandError::LoneDollar)?));
            rest = tail;
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let name = Some(&after[..end]).filter(|name| is_variable(name)).ok_or(ExpandError::LoneDollar)?;
            out.push(Piece::Variable(name));
            rest = &after[end..];
        }
    }
    out.push(Piece::Plain(rest));
    Ok(out)
}

/// Whether a text can name an environment variable: letters, digits and `_`, not beginning with a digit.
pub fn is_variable(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.len() <= 128 && name.bytes().all(good) && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_and_dollars_escaped() {
        let lookup = |name: &str| (name == "PORT").then(|| "8080".to_owned());
        assert_eq!(expand("--port=$PORT, ${PORT}x, $$PORT", lookup), Ok("--port=8080, 8080x, $PORT".to_owned()));
        assert_eq!(expand("$HOST", lookup), Err(ExpandError::Unknown("HOST".to_owned())));
        for lone in ["$", "a $1", "${", "${}", "${A-b}", "$ "] {
            assert_eq!(expand(lone, lookup), Err(ExpandError::LoneDollar), "{lone}");
        }
    }

    #[test]
    fn values_are_expanded_once_and_cannot_grow_without_end() {
        let env = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let port = |name: &str| (name == "PORT").then(|| "1$X".to_owned());
        let out = expand_env(&env(&[("A", "$B!"), ("B", "$PORT")]), port).expect("expands");
        assert_eq!(out["A"], "1$X!");
        assert!(expand_env(&env(&[("A", "$B"), ("B", "$A")]), port).is_err());
        let big: BTreeMap<String, String> = env(&[("A", &"x".repeat(1_000)), ("B", &"$A".repeat(1_000))]);
        assert_eq!(expand_env(&big, port), Err(ExpandError::TooLong));
    }
}
