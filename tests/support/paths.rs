//! Reads the paths that a Rust source mentions, without a parser of the language: comments, texts and test modules are
//! taken out, then every path that begins at `crate`, `self`, `super` or `codeops_core` is followed through its braces.

/// One path a source mentions, absolute within its crate.
pub(crate) struct Mention {
    /// Its segments after the crate's name.
    pub(crate) path: Vec<String>,
    /// The line it begins on, from 1.
    pub(crate) line: usize,
}

/// The source without what is compiled for tests alone: modules declared so, and all from a test module's body on, which
/// by custom stands last.
pub(crate) fn without_tests(source: &str) -> String {
    let mut kept = String::new();
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            match lines.peek() {
                Some(next) if declared(next).is_some() => drop(lines.next()),
                Some(next) if next.contains("mod ") => break,
                _ => {}
            }
            // What stood here keeps its lines, so that places stay right.
            kept += "\n\n";
        } else {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

/// The modules with files of their own that `source` declares for tests alone.
pub(crate) fn test_modules(source: &str) -> Vec<String> {
    let lines: Vec<&str> = source.lines().collect();
    let for_tests = |pair: &[&str]| match pair {
        ["#[cfg(test)]", next] => declared(next),
        _ => None,
    };
    lines.windows(2).filter_map(for_tests).collect()
}

/// The name in `mod name;`.
fn declared(line: &str) -> Option<String> {
    let (visibility, name) = line.strip_suffix(';')?.split_once("mod ")?;
    (visibility.is_empty() || visibility.starts_with("pub")).then(|| name.to_owned())
}

/// Every path within the crate that `source`, the file of `module`, mentions. Paths into `codeops_core` belong to
/// another crate and are left out: every room above the core may import all of it.
pub(crate) fn mentions(source: &str, module: &[String]) -> Vec<Mention> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let begins = at == 0 || tokens.get(at - 1).is_none_or(|t| t.text != "::");
        let base = match token.text.as_str() {
            "crate" => Some(Vec::new()),
            "self" => Some(module.to_vec()),
            "super" => Some(parent(module)),
            _ => None,
        };
        let followed = tokens.get(at + 1).is_some_and(|t| t.text == "::");
        match base {
            Some(base) if begins && followed => {
                let mut walk = Walk { tokens: &tokens, at: at + 2, line: token.line, found: &mut found };
                walk.tree(base);
                at = walk.at.max(at + 1);
            }
            _ => at += 1,
        }
    }
    found
}

fn parent(module: &[String]) -> Vec<String> {
    module.split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default()
}

struct Walk<'a> {
    tokens: &'a [Token],
    at: usize,
    line: usize,
    found: &'a mut Vec<Mention>,
}

impl Walk<'_> {
    /// Follows one tree after `prefix::`.
    fn tree(&mut self, mut prefix: Vec<String>) {
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            match token.text.as_str() {
                "{" => return self.branches(&prefix),
                "super" => prefix = parent(&prefix),
                "self" => {}
                text if text == "*" || is_word(text) => prefix.push(text.to_owned()),
                _ => {
                    self.at -= 1;
                    break;
                }
            }
            if self.tokens.get(self.at).is_none_or(|t| t.text != "::") {
                break;
            }
            self.at += 1;
        }
        self.found.push(Mention { path: prefix, line: self.line });
    }

    fn branches(&mut self, prefix: &[String]) {
        while let Some(token) = self.tokens.get(self.at) {
            match token.text.as_str() {
                "}" => {
                    self.at += 1;
                    return;
                }
                "," => self.at += 1,
                "as" => self.at += 2,
                text if text == "*" || text == "{" || is_word(text) => self.tree(prefix.to_vec()),
                _ => return,
            }
        }
    }
}

struct Token {
    text: String,
    line: usize,
}

fn is_word(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}

/// Words, `::` and single signs; comments, texts and characters are left out.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    let is = |at: usize, wanted: &str| wanted.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    while let Some(&c) = chars.get(at) {
        let start = at;
        if is(at, "//") {
            while chars.get(at).is_some_and(|c| *c != '\n') {
                at += 1;
            }
        } else if c == 'r' && (is(at + 1, "\"") || is(at + 1, "#\"") || is(at + 1, "##\"")) {
            let hashes = chars.iter().skip(at + 1).take_while(|c| **c == '#').count();
            let end = format!("\"{}", "#".repeat(hashes));
            at += hashes + 2;
            while at < chars.len() && !is(at, &end) {
                at += 1;
            }
            at += end.len();
        } else if c == '"' {
            at += 1;
            while chars.get(at).is_some_and(|c| *c != '"') {
                at += if is(at, "\\") { 2 } else { 1 };
            }
            at += 1;
        } else if c == '\'' && (is(at + 2, "'") || is(at + 1, "\\")) {
            at += if is(at + 1, "\\") { 3 } else { 2 };
            while chars.get(at).is_some_and(|c| *c != '\'') {
                at += 1;
            }
            at += 1;
        } else if c.is_alphanumeric() || c == '_' {
            while chars.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_') {
                at += 1;
            }
            tokens.push(Token { text: chars[start..at].iter().collect(), line });
        } else {
            at += if is(at, "::") { 2 } else { 1 };
            if !c.is_whitespace() {
                tokens.push(Token { text: chars[start..at].iter().collect(), line });
            }
        }
        line += chars[start..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(source: &str, module: &[&str]) -> Vec<String> {
        let module: Vec<String> = module.iter().map(|s| (*s).to_owned()).collect();
        mentions(source, &module).into_iter().map(|m| m.path.join("::")).collect()
    }

    #[test]
    fn nested_braces_are_followed() {
        let found = paths("use crate::{port::{Clock, self}, store as s, gate::*};", &["web"]);
        assert_eq!(found, ["port::Clock", "port", "store", "gate::*"]);
    }

    #[test]
    fn super_and_inline_paths_are_absolute() {
        let found = paths("fn f() { super::super::store::open(crate::web::x(1)) }", &["web", "page"]);
        assert_eq!(found, ["store::open", "web::x"]);
    }

    #[test]
    fn what_is_for_tests_alone_is_left_out() {
        let source = "mod a;\n#[cfg(test)]\npub(crate) mod sim;\nuse crate::b;\n\n#[cfg(test)]\nmod tests {\n    use crate::c;\n}\n";
        assert_eq!(test_modules(source), ["sim"]);
        assert_eq!(paths(&without_tests(source), &[]), ["b"]);
    }

    #[test]
    fn comments_and_texts_are_not_read() {
        assert!(
            paths("// crate::store\n/// [`crate::store`]\nlet a = \"crate::store\"; 'x'; '\\''; r#\"crate::b\"#", &[])
                .is_empty()
        );
    }
}
