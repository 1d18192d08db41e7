//! Typed reading of trees that goes on after a mistake: every wrong field of a manifest is reported in one run.
//!
//! A reader knows fields, types and near names; it does not know manifests or settings.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::model::{Place, SecretName};

use super::diagnostic::Diagnostic;
use super::tree::{At, Entry, Node, Source, Span, Value, cut, is_bool};
use crate::desired::bounds::allowance::{self, Allowance};

/// The most mistakes that are noted of one document: nobody reads more, and a hostile one would cost too much.
const MOST: usize = 100;

/// Collects the mistakes of one manifest. `sources` are the manifest's file and, once merged, its overlay's.
pub(crate) struct Reader<'s> {
    sources: Vec<&'s Source>,
    pub(crate) found: Vec<Diagnostic>,
    /// What expressions may still take.
    pub(crate) allowance: Allowance,
    /// Whether it was told that they take too much; where the first is not read, none after it is.
    refuses: bool,
    /// How much may still be compared to find what was meant.
    compared: usize,
}

impl<'s> Reader<'s> {
    pub(crate) fn new(sources: Vec<&'s Source>) -> Self {
        Self {
            sources,
            found: Vec::new(),
            allowance: Allowance::of(allowance::MOST),
            refuses: false,
            compared: MOST_COMPARED,
        }
    }

    /// The same with less for expressions.
    pub(crate) fn with(self, allowance: Allowance) -> Self {
        Self { allowance, ..self }
    }

    /// Notes that an expression is not read, as there were too many.
    pub(crate) fn refuse(&mut self, span: Span) {
        if !std::mem::replace(&mut self.refuses, true) {
            let (message, help) = self.allowance.refusal();
            self.error(span, message, Some(help));
        }
    }

    /// Whether there are so many mistakes that no more are noted.
    pub(crate) fn full(&self) -> bool {
        self.found.len() >= MOST
    }

    /// The name most like `text`, when one is near enough to be meant; none where it would not be told, or took too long to find.
    pub(crate) fn near<'c>(&mut self, text: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
        if self.full() { None } else { nearest(text, candidates, &mut self.compared) }
    }

    /// Notes a mistake.
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>, help: Option<String>) {
        if self.full() {
            return;
        }
        let source = self.sources.get(usize::from(span.layer)).or(self.sources.first());
        if let Some(source) = source {
            self.found.push(Diagnostic::error(source, span, message, help));
        }
    }

    /// The place of a span; `None` where there is no source.
    pub(crate) fn place(&self, span: Span) -> Option<Place> {
        let source = self.sources.get(usize::from(span.layer)).or(self.sources.first());
        source.map(|source| source.place(span))
    }

    fn expected(&mut self, node: &Node, what: &str) {
        let found = self.found(node);
        self.error(node.span, format!("expected {what}, found {found}"), None);
    }

    /// What stands in a place of something else; not its words where they may be a secret's.
    fn found(&self, node: &Node) -> String {
        let veils = self.sources.iter().any(|source| source.veils);
        if veils { node.describe_kind() } else { node.describe() }
    }

    /// The fields of a mapping; nothing and mistakes give none.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, what: &'static str) -> Option<Fields<'n>> {
        match &node.value {
            Value::Map(entries) => Some(Fields::new(entries, node.span, what)),
            _ => {
                self.expected(node, &format!("a mapping for {what}"));
                None
            }
        }
    }

    /// A text. Numbers are taken as they are written; booleans and nothing need quotes to be meant as texts.
    pub(crate) fn text(&mut self, node: &Node) -> Option<At<String>> {
        match &node.value {
            // No program takes one, in its arguments or its environment.
            Value::Scalar { text, .. } if text.contains('\0') => {
                self.error(node.span, "a text holds the character \\0, which no program can be given", None);
                None
            }
            Value::Scalar { text, plain } if !(*plain && is_bool(text)) => {
                Some(At { value: text.to_string(), span: node.span })
            }
            Value::Scalar { text, .. } => {
                let help = format!("put it in quotes if the text is meant: \"{text}\"");
                self.error(node.span, format!("expected a text, found {}", node.describe()), Some(help));
                None
            }
            _ => {
                self.expected(node, "a text");
                None
            }
        }
    }

    /// A text that a type can be made of.
    pub(crate) fn parse<T>(&mut self, node: &Node) -> Option<At<T>>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(node)?;
        match text.value.parse() {
            Ok(value) => Some(At { value, span: node.span }),
            Err(error) => {
                self.error(node.span, error.to_string(), None);
                None
            }
        }
    }

    /// The name of a secret. What is none may be the secret itself, and is not shown.
    pub(crate) fn secret_name(&mut self, node: &Node) -> Option<At<SecretName>> {
        if let Value::Scalar { text, plain } = &node.value
            && !(*plain && is_bool(text))
            && let Ok(value) = SecretName::new(text)
        {
            return Some(At { value, span: node.span });
        }
        let source = self.sources.get(usize::from(node.span.layer)).or(self.sources.first());
        if let Some(source) = source.filter(|_| !self.full()) {
            let message = format!("expected the name of a secret, found {}", node.describe_kind());
            let help = "secrets are named here, as the settings name them: lower-case letters, digits and hyphens";
            self.found.push(Diagnostic::confidential(source, node.span, message, Some(help.to_owned())));
        }
        None
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = self.near(&text.value, names.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        self.error(node.span, format!("`{}` is none of {}", cut(&text.value, 40), list(&names)), help);
        None
    }

    /// A whole number within bounds, written without quotes.
    pub(crate) fn number(&mut self, node: &Node, from: u32, to: u32) -> Option<u32> {
        let number = match &node.value {
            Value::Scalar { text, plain: true } if text.bytes().all(|b| b.is_ascii_digit()) => text.parse::<u32>().ok(),
            _ => None,
        };
        match number {
            Some(number) if (from..=to).contains(&number) => Some(number),
            _ => {
                let quoted = matches!(&node.value, Value::Scalar { text, plain: false } if text.parse::<u32>().is_ok());
                let help = quoted.then(|| "numbers are written without quotes here".to_owned());
                let message = format!("expected a whole number from {from} to {to}, found {}", self.found(node));
                self.error(node.span, message, help);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Scalar { text, plain: true } if is_bool(text) => Some(text.eq_ignore_ascii_case("true")),
            _ => {
                self.expected(node, "`true` or `false`");
                None
            }
        }
    }

    /// The items of a list.
    pub(crate) fn items<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            _ => {
                self.expected(node, &format!("a list of {what}"));
                &[]
            }
        }
    }

    /// The entries of a mapping whose keys are free, such as `env`.
    pub(crate) fn pairs<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Entry] {
        match &node.value {
            Value::Map(entries) => entries,
            _ => {
                self.expected(node, &format!("a mapping of {what}"));
                &[]
            }
        }
    }

    /// A list of values that a type can be made of; the good ones when some are not.
    pub(crate) fn list<T>(&mut self, node: &Node, what: &str) -> Vec<At<T>>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.items(node, what).iter().filter_map(|item| self.parse(item)).collect()
    }

    /// A mapping from names to whatever `read` makes of the values; the good ones when some are not.
    pub(crate) fn named<K, V>(
        &mut self,
        node: &Node,
        what: &str,
        mut read: impl FnMut(&mut Self, &Node) -> Option<V>,
    ) -> BTreeMap<K, V>
    where
        K: FromStr + Ord,
        K::Err: Display,
    {
        let mut out = BTreeMap::new();
        for entry in self.pairs(node, what) {
            let value = read(self, &entry.value);
            match entry.key.parse::<K>() {
                Ok(key) => out.extend(value.map(|value| (key, value))),
                Err(error) => self.error(entry.key_span, error.to_string(), None),
            }
        }
        out
    }
}

/// The fields of one mapping; those never asked for are unknown.
pub(crate) struct Fields<'n> {
    entries: &'n [Entry],
    known: Vec<&'static str>,
    what: &'static str,
    /// Where the mapping begins.
    pub(crate) span: Span,
}

impl<'n> Fields<'n> {
    fn new(entries: &'n [Entry], span: Span, what: &'static str) -> Self {
        let span = entries.first().map_or(span, |first| first.key_span);
        Self { entries, known: Vec::new(), what, span }
    }

    /// A field, if it is there and not nothing. Also makes its name known.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<&'n Node> {
        self.entry(name).map(|entry| &entry.value).filter(|node| !matches!(node.value, Value::Null))
    }

    /// A field with its key, even where it is nothing.
    pub(crate) fn entry(&mut self, name: &'static str) -> Option<&'n Entry> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        self.entries.iter().find(|entry| &*entry.key == name)
    }

    /// A field that must be there.
    pub(crate) fn require(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<&'n Node> {
        let found = self.get(name);
        if found.is_none() {
            let at = self.entry(name).map_or(self.span, |entry| entry.key_span);
            reader.error(at, format!("{} needs `{name}`", self.what), None);
        }
        found
    }

    /// Refuses fields of the design that this version does not have yet.
    pub(crate) fn not_built(&mut self, reader: &mut Reader<'_>, names: &[&'static str]) {
        for name in names {
            if let Some(entry) = self.entries.iter().find(|entry| &*entry.key == *name) {
                reader.error(entry.key_span, format!("`{name}` is not built in this version"), None);
            }
        }
    }

    /// Reports every field that was never asked for, `ignored` excepted.
    pub(crate) fn finish(self, reader: &mut Reader<'_>, ignored: &[&str]) {
        for entry in self.entries {
            let key = &*entry.key;
            if reader.full() {
                return;
            }
            if self.known.contains(&key) || ignored.contains(&key) {
                continue;
            }
            let help = match reader.near(key, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("{} has {}", self.what, list(&self.known)),
            };
            reader.error(entry.key_span, format!("unknown field `{}` in {}", cut(key, 60), self.what), Some(help));
        }
    }
}

/// How much is compared to find the nearest name, each letter with each of the other: what 5,000 short names take. Of a document so
/// much is for all its mistakes together.
const MOST_COMPARED: usize = 500_000;

/// The name most like `text`, when one is near enough to be meant.
pub fn near<'c>(text: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let mut left = MOST_COMPARED;
    nearest(text, candidates, &mut left)
}

fn nearest<'c>(text: &str, candidates: impl Iterator<Item = &'c str>, left: &mut usize) -> Option<&'c str> {
    if text.len() > 100 {
        return None;
    }
    let lower = text.to_lowercase();
    let most = (text.chars().count() / 3).max(1);
    let close = |other: &str| other.len().abs_diff(text.len()) <= most * 4;
    candidates
        .filter(|candidate| close(candidate))
        .take_while(|candidate| {
            let rest = left.checked_sub((text.len() + 1) * (candidate.len() + 1));
            *left = rest.unwrap_or_default();
            rest.is_some()
        })
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` and `c`.
pub(crate) fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => "no fields".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}
