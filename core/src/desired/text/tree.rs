//! The shape of a YAML document once its syntax is known: nodes with exact places, and the source they came from.
//!
//! No meaning is given here: that a text is a duration or a mapping an app is the readers' business.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::model::Place;

/// Where a node stands. `layer` tells the manifest (0) from the overlay (1) after they were merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Span {
    pub layer: u8,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// In characters, at least 1.
    pub width: u32,
}

impl Span {
    /// The first character of a file, for mistakes that stand nowhere else.
    pub(crate) const START: Span = Span { layer: 0, line: 1, column: 1, width: 1 };
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub value: T,
    pub span: Span,
}

/// One node of a document.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub span: Span,
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Nothing was written, or a plain `null` or `~`.
    Null,
    /// A text; `plain` when it was neither quoted nor a block, so that it may also be a number or boolean.
    Scalar { text: Box<str>, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order written; keys are unique.
    Map(Vec<Entry>),
}

/// One key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: Box<str>,
    pub key_span: Span,
    pub value: Node,
}

impl Node {
    /// The entries, when this is a mapping.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key, when this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?.iter().find(|entry| &*entry.key == key).map(|entry| &entry.value)
    }

    /// The text, when this is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// How many nodes there are from here down, keys and this one included, and the bytes of their texts.
    pub(crate) fn size(&self) -> (usize, usize) {
        match &self.value {
            Value::Null => (1, 0),
            Value::Scalar { text, .. } => (1, text.len()),
            Value::List(items) => items.iter().map(Node::size).fold((1, 0), add),
            Value::Map(entries) => {
                entries.iter().map(|entry| add(entry.value.size(), (1, entry.key.len()))).fold((1, 0), add)
            }
        }
    }

    /// How many levels there are from here down; 1 for a leaf.
    pub(crate) fn depth(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.depth()).max().unwrap_or(0),
        }
    }

    /// What this is, for "expected …, found …".
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Scalar { text, plain: true } if is_bool(text) => format!("the boolean `{text}`"),
            Value::Scalar { text, plain: true } if is_number(text) => format!("the number `{}`", cut(text, 40)),
            Value::Scalar { text, .. } => format!("the text `{}`", cut(text, 40)),
        }
    }

    /// The same without what was written.
    pub(crate) fn describe_kind(&self) -> String {
        match &self.value {
            Value::Scalar { text, plain } if !(*plain && is_bool(text)) => "a text".to_owned(),
            _ => self.describe(),
        }
    }
}

fn add(a: (usize, usize), b: (usize, usize)) -> (usize, usize) {
    (a.0 + b.0, a.1 + b.1)
}

/// Whether a plain scalar is a boolean. Only YAML 1.2's own words are: `yes` and `no` are texts.
pub(crate) fn is_bool(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
}

/// Whether a plain scalar is nothing.
pub(crate) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Whether a plain scalar is a number, roughly; only used to name what was found.
pub(crate) fn is_number(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E' | b'_'))
}

/// At most `most` characters of a text, with an ellipsis when some were left off.
pub(crate) fn cut(text: &str, most: usize) -> String {
    // Before anything is cut off: without its `@` a password would not be known as one.
    let text = super::veil::veiled(text);
    let mut out: String = text.chars().take(most).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

/// A file's path and text, for places and the lines shown.
#[derive(Debug)]
pub(crate) struct Source {
    pub path: Arc<str>,
    pub bytes: Arc<[u8]>,
    /// Whether mistakes show none of its values: a secret may stand where only its place should.
    pub veils: bool,
    /// Where each line begins and ends; found when the first line is asked for.
    lines: OnceLock<Vec<Range<usize>>>,
}

impl Source {
    pub(crate) fn new(path: Arc<str>, bytes: Arc<[u8]>) -> Self {
        Self { path, bytes, veils: false, lines: OnceLock::new() }
    }

    /// One whose mistakes show keys alone.
    pub(crate) fn confidential(path: Arc<str>, bytes: Arc<[u8]>) -> Self {
        Self { veils: true, ..Self::new(path, bytes) }
    }

    /// The place of a span in this file.
    pub(crate) fn place(&self, span: Span) -> Place {
        Place { file: Arc::clone(&self.path), line: span.line, column: span.column }
    }

    /// One line without its break, from 1; empty when there is none. Bytes that are no text become replacement characters.
    pub(crate) fn line(&self, number: u32) -> Cow<'_, str> {
        let lines = self.lines.get_or_init(|| lines(&self.bytes));
        let range = lines.get((number as usize).saturating_sub(1)).cloned().unwrap_or_default();
        String::from_utf8_lossy(&self.bytes[range])
    }
}

/// The lines of a text, which end with `\n`, `\r\n` or `\r`; a byte order mark belongs to none.
fn lines(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut start = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let mut out = Vec::new();
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            b'\n' if at == start && at > 0 && bytes[at - 1] == b'\r' => start = at + 1,
            b'\n' | b'\r' => {
                out.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(start..bytes.len());
    out
}
