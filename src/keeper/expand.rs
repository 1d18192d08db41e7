//! `$NAME` and `${NAME}` in arguments stand for variables, `$$` for a dollar sign. Nothing is evaluated twice.

use std::collections::BTreeMap;

/// `text` with its variables put in.
///
/// # Errors
/// In one sentence, when a variable is not there or a brace is not closed.
pub(super) fn expand(text: &str, env: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let (name, after) = match rest.strip_prefix('{') {
            Some(inner) => inner.split_once('}').ok_or_else(|| format!("`{text}` has a `${{` that is not closed"))?,
            None => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                rest.split_at(end)
            }
        };
        let value = env.get(name).ok_or_else(|| {
            format!(
                "`{text}` names the variable `{name}`, which the instance does not have; write `$$` for a dollar sign"
            )
        })?;
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_for_their_values() {
        let env = BTreeMap::from([("PORT".to_owned(), "80".to_owned()), ("A".to_owned(), "$PORT".to_owned())]);
        assert_eq!(expand("$PORT:${PORT}0 $$PORT $A", &env).as_deref(), Ok("80:800 $PORT $PORT"));
        assert!(expand("$NOPE", &env).is_err_and(|why| why.contains("NOPE")));
        assert!(expand("${PORT", &env).is_err());
    }
}
