//! Changes one value in a manifest and leaves the rest of the file byte for byte. Pure: bytes in, bytes out. What was
//! written is read again, and given back only if that value and nothing else is another.

use std::ops::Range;

use serde_json::Value as Json;

use super::tree::{Entry, Node, Span, Value, is_bool, is_null, is_number};
use super::yaml::documents;

/// The bytes of a file in which `path`, dotted, such as `spec.replicas`, is `value`. `document` is the kind and name of the
/// document that is meant, as in `("App", "shop")`; without, it is the only one. A key that is missing is added to its
/// mapping; items of lists are numbered from 0.
///
/// # Errors
/// One sentence: there is no such document, the path leads nowhere, or the value cannot be set without touching more.
pub fn edit(bytes: &[u8], document: Option<(&str, &str)>, path: &str, value: &Json) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text".to_owned())?;
    let trees = trees(text)?;
    let (at, root) = chosen(&trees, document)?;
    let steps: Vec<&str> = path.split('.').collect();
    if steps.iter().any(|step| step.is_empty()) {
        return Err(format!("`{path}` is not a dotted path such as spec.replicas"));
    }
    let (range, written) = change(text, root, &steps, value).map_err(|why| format!("`{path}`: {why}"))?;
    let edited = format!("{}{written}{}", &text[..range.start], &text[range.end..]);
    let mut expected = trees.clone();
    set(&mut expected[at], &steps, &node_of(value)?);
    let found = self::trees(&edited).unwrap_or_default();
    let as_meant = found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| same(a, b));
    if as_meant {
        return Ok(edited.into_bytes());
    }
    Err(format!("`{path}` cannot be set without touching more: write its value on one line, without anchors"))
}

fn trees(text: &str) -> Result<Vec<Node>, String> {
    let whole = |document: super::yaml::RawDocument| match (
        document.error.or(document.mistakes.into_iter().next()),
        document.root,
    ) {
        (None, Some(root)) => Ok(root),
        (Some(mistake), _) => Err(format!("line {}: {}", mistake.span.line, mistake.value.0)),
        (None, None) => Err("the file holds an empty document".to_owned()),
    };
    documents(text).into_iter().map(whole).collect()
}

fn chosen<'t>(trees: &'t [Node], document: Option<(&str, &str)>) -> Result<(usize, &'t Node), String> {
    let Some((kind, name)) = document else {
        return match trees {
            [only] => Ok((0, only)),
            _ => Err(format!("the file holds {} documents: say which one", trees.len())),
        };
    };
    let is_it = |root: &&Node| {
        let named = root.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::text);
        root.get("kind").and_then(Node::text) == Some(kind) && named == Some(name)
    };
    let mut found = trees.iter().enumerate().filter(|(_, root)| is_it(root));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(format!("the file declares no {kind} `{name}`")),
        (Some(_), Some(_)) => Err(format!("the file declares the {kind} `{name}` twice")),
    }
}

/// What is to be written instead of which bytes.
fn change(text: &str, root: &Node, steps: &[&str], value: &Json) -> Result<(Range<usize>, String), String> {
    let mut node = root;
    for (depth, step) in steps.iter().enumerate() {
        node = match &node.value {
            Value::List(items) => {
                let item = step.parse::<usize>().ok().and_then(|index| items.get(index));
                item.ok_or_else(|| format!("the list has no item {step}"))?
            }
            Value::Map(entries) => match entries.iter().find(|entry| &*entry.key == *step) {
                Some(entry) if depth + 1 == steps.len() => return replaced(text, entry, value),
                Some(Entry { value: Node { value: Value::Null, .. }, .. }) => {
                    let inner = steps[depth + 1..].iter().rev().fold(value.clone(), |inner, key| nested(key, inner));
                    let entry = entries.iter().find(|entry| &*entry.key == *step).expect("it was just found");
                    return replaced(text, entry, &inner);
                }
                Some(entry) => &entry.value,
                None => {
                    let inner = steps[depth + 1..].iter().rev().fold(value.clone(), |inner, key| nested(key, inner));
                    return added(text, node, entries, &format!("{}: {}", key_text(step), written(&inner)));
                }
            },
            _ => return Err(format!("`{}` holds {}, not a mapping", steps[..depth].join("."), node.describe())),
        };
    }
    replaced_at(text, node, value)
}

fn nested(key: &str, inner: Json) -> Json {
    Json::Object(std::iter::once((key.to_owned(), inner)).collect())
}

/// Another value for a key that is there.
fn replaced(text: &str, entry: &Entry, value: &Json) -> Result<(Range<usize>, String), String> {
    let at = offset(text, entry.value.span);
    let empty = matches!(entry.value.value, Value::Null) && !text[at..].starts_with(['~', 'n', 'N']);
    if !empty {
        return replaced_at(text, &entry.value, value);
    }
    // Nothing is written there: the value goes behind the key's colon.
    let key = offset(text, entry.key_span);
    let colon = text[key..].find(':').map(|colon| key + colon + 1).ok_or("its key has no colon")?;
    Ok((colon..colon, format!(" {}", written(value))))
}

fn replaced_at(text: &str, node: &Node, value: &Json) -> Result<(Range<usize>, String), String> {
    if matches!(node.value, Value::List(_) | Value::Map(_)) {
        return Err(format!("it is {}, which is not replaced as a whole", node.describe()));
    }
    let start = offset(text, node.span);
    let width: usize = text[start..].chars().take(node.span.width as usize).map(char::len_utf8).sum();
    let old = &text[start..start + width];
    let quoted = old.starts_with(['"', '\'']) && value.is_string();
    Ok((start..start + width, if quoted { value.to_string() } else { written(value) }))
}

/// One more key in a mapping.
fn added(text: &str, node: &Node, entries: &[Entry], line: &str) -> Result<(Range<usize>, String), String> {
    let start = offset(text, node.span);
    if text[start..].starts_with('{') {
        let comma = if entries.is_empty() { "" } else { ", " };
        return Ok((start + 1..start + 1, format!("{line}{comma}")));
    }
    let first = entries.first().ok_or("its mapping is empty")?;
    let column = first.key_span.column as usize - 1;
    let begin = offset(text, first.key_span);
    let mut end = begin;
    let mut at = begin;
    for (number, part) in text[begin..].split_inclusive('\n').enumerate() {
        let bare = part.trim_end_matches(['\n', '\r']);
        let indent = bare.chars().take_while(|c| *c == ' ').count();
        let content = bare.trim_start();
        let said = !content.is_empty() && !content.starts_with('#');
        let marker = bare.starts_with("---") || bare.starts_with("...");
        if number > 0 && said && (indent < column || marker) {
            break;
        }
        if number == 0 || said {
            end = at + bare.len();
        }
        at += part.len();
    }
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    Ok((end..end, format!("{newline}{}{line}", " ".repeat(column))))
}

/// The byte at which a span begins.
fn offset(text: &str, span: Span) -> usize {
    let mut start = if text.starts_with('\u{feff}') { 3 } else { 0 };
    for _ in 1..span.line {
        let rest = &text[start..];
        let Some(end) = rest.find(['\n', '\r']) else { return text.len() };
        start += end + if rest[end..].starts_with("\r\n") { 2 } else { 1 };
    }
    let before: usize = text[start..].chars().take(span.column as usize - 1).map(char::len_utf8).sum();
    start + before
}

/// A value as YAML on one line.
fn written(value: &Json) -> String {
    match value {
        Json::String(text) => key_text(text),
        other => other.to_string(),
    }
}

/// A text, quoted unless it can stand for nothing else.
fn key_text(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'))
        && !is_bool(text)
        && !is_null(text)
        && !["yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { Json::from(text).to_string() }
}

/// The value as the parser sees it.
fn node_of(value: &Json) -> Result<Node, String> {
    if value.is_null() {
        return Ok(Node { span: Span::START, value: Value::Null });
    }
    trees(&value.to_string())?.pop().ok_or_else(|| "the value cannot be written as YAML".to_owned())
}

fn set(node: &mut Node, steps: &[&str], value: &Node) {
    let Some((step, rest)) = steps.split_first() else {
        *node = value.clone();
        return;
    };
    if matches!(node.value, Value::Null) {
        node.value = Value::Map(Vec::new());
    }
    match &mut node.value {
        Value::List(items) => {
            if let Some(item) = step.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                set(item, rest, value);
            }
        }
        Value::Map(entries) => match entries.iter_mut().find(|entry| &*entry.key == *step) {
            Some(entry) => set(&mut entry.value, rest, value),
            None => {
                let mut inner = Node { span: Span::START, value: Value::Null };
                set(&mut inner, rest, value);
                entries.push(Entry { key: (*step).into(), key_span: Span::START, value: inner });
            }
        },
        _ => {}
    }
}

/// Whether two trees mean the same, wherever they stand.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Null, Value::Null) => true,
        (Value::Scalar { text: a, plain: p }, Value::Scalar { text: b, plain: q }) => {
            a == b && (p == q || !(is_bool(a) || is_number(a)))
        }
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            let there =
                |entry: &Entry| b.iter().any(|other| other.key == entry.key && same(&entry.value, &other.value));
            a.len() == b.len() && a.iter().all(there)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SHOP: &str = "# The shop.\napiVersion: codeops/v1\nkind: App\nmetadata: {name: shop, team: payments}\nspec:\n  \
        replicas: 2   # enough\n  env:\n    LOG: \"info\"\n    GREETING: |\n      two\n        lines\n  run:\n    command: [./shop, --port, $PORT]\n\n  # below\n---\nkind: App\nmetadata:\n  name: front\nspec:\n  suspend:\n  replicas: 1\n";

    fn shop(path: &str, value: &Json) -> String {
        String::from_utf8(edit(SHOP.as_bytes(), Some(("App", "shop")), path, value).unwrap()).unwrap()
    }

    #[test]
    fn one_value_is_another_and_the_rest_stays() {
        assert_eq!(shop("spec.replicas", &json!(4)), SHOP.replace("replicas: 2 ", "replicas: 4 "));
        assert_eq!(shop("spec.env.LOG", &json!("debug")), SHOP.replace("\"info\"", "\"debug\""));
        assert_eq!(shop("spec.run.command.0", &json!("./shop2")), SHOP.replace("[./shop,", "[\"./shop2\","));
        assert_eq!(shop("metadata.team", &json!("no")), SHOP.replace("team: payments", "team: \"no\""));
        let front = edit(SHOP.as_bytes(), Some(("App", "front")), "spec.suspend", &json!(true)).unwrap();
        assert_eq!(String::from_utf8(front).unwrap(), SHOP.replace("suspend:\n", "suspend: true\n"));
    }

    #[test]
    fn a_missing_key_joins_its_mapping() {
        assert_eq!(shop("spec.suspend", &json!(true)), SHOP.replace("$PORT]\n", "$PORT]\n  suspend: true\n"));
        assert_eq!(shop("spec.env.B", &json!("1")), SHOP.replace("lines\n", "lines\n    B: \"1\"\n"));
        assert_eq!(shop("metadata.adopt", &json!(true)), SHOP.replace("{name", "{adopt: true, name"));
        assert_eq!(
            shop("spec.rollout.bake", &json!("5m")),
            SHOP.replace("$PORT]\n", "$PORT]\n  rollout: {\"bake\":\"5m\"}\n")
        );
        let crlf = edit(b"kind: App\r\nspec:\r\n  a: 1", None, "spec.b", &json!(2)).unwrap();
        assert_eq!(crlf, b"kind: App\r\nspec:\r\n  a: 1\r\n  b: 2");
    }

    #[test]
    fn what_would_touch_more_is_refused() {
        let refused = |text: &str, path: &str| edit(text.as_bytes(), None, path, &json!(7)).unwrap_err();
        assert!(refused(SHOP, "spec.replicas").contains("2 documents"));
        assert!(refused("a: {b: 1}\n", "a").contains("mapping"));
        assert!(refused("a: 1\n", "a.b").contains("not a mapping"));
        assert!(refused("a: |\n  x\n  y\n", "a").contains("touching more"));
        assert!(refused("a: &x {b: 1}\nc: *x\n", "c.b").contains("touching more"));
        assert!(refused("a: [1]\n", "a.1").contains("no item"));
        assert!(refused("a: 1\na: 2\n", "a").contains("twice"));
        assert!(refused("a: 1\n", "").contains("dotted path"));
        assert!(edit(SHOP.as_bytes(), Some(("App", "nobody")), "spec.a", &json!(1)).unwrap_err().contains("no App"));
        assert!(edit(b"\xff", None, "a", &json!(1)).is_err());
    }

    #[test]
    fn the_fuzz_corpus_is_taken() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/manifest");
        for entry in std::fs::read_dir(corpus).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            for path in ["kind", "spec.replicas", "metadata.name.x"] {
                let _ = edit(&bytes, None, path, &json!(7));
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_edited_as_meant_or_refused(text in "([a-c]: ?[0-9\"'{}\\[\\],&*x|>#é-]{0,6}\n? {0,3}){0,6}", path in "[a-c](\\.[a-c0]){0,2}", value in "[ -~é]{0,8}") {
            if let Ok(bytes) = edit(text.as_bytes(), None, &path, &json!(value)) {
                let tree = trees(std::str::from_utf8(&bytes).unwrap()).unwrap();
                let mut node = &tree[0];
                for step in path.split('.') {
                    node = match &node.value {
                        Value::List(items) => &items[step.parse::<usize>().unwrap()],
                        _ => node.get(step).unwrap(),
                    };
                }
                prop_assert_eq!(node.text(), Some(value.as_str()));
            }
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..200), path in ".{0,20}") {
            let _ = edit(&bytes, None, &path, &json!(1));
        }
    }
}
