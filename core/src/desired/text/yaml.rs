//! Text to documents: drives the YAML event parser and builds trees, within budgets that no bomb can pass.
//!
//! A syntax error ends one document, not the file: the next `---` begins afresh, and what was read of the broken document
//! is kept, so that its kind and name may still be known.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::tree::{At, Entry, Node, Span, Value, is_null};

/// The deepest nesting of lists and mappings.
pub(crate) const MAX_DEPTH: usize = 64;
/// The most documents in one file.
pub(crate) const MAX_DOCUMENTS: usize = 1_024;
/// The most nodes in one file, those that aliases repeat included.
const MAX_NODES: usize = 250_000;
/// The most bytes of text that anchors and aliases of one file may repeat.
const MAX_REPEATED: usize = 1 << 20;

/// One document as far as it could be read.
pub(crate) struct RawDocument {
    /// The tree; partial when `error` is set, `None` when nothing was read.
    pub root: Option<Node>,
    /// The mistake that ended it.
    pub error: Option<Mistake>,
    /// Keys given twice and the like: the tree is whole, but not to be used.
    pub mistakes: Vec<Mistake>,
    /// Whether a key at its top is given twice.
    pub doubled: bool,
}

/// What is wrong with the syntax, and what to do.
pub(crate) type Mistake = At<(String, Option<String>)>;

fn mistake(span: Span, message: impl Into<String>, help: Option<&str>) -> Mistake {
    At { value: (message.into(), help.map(str::to_owned)), span }
}

/// Reads all documents of a text. Empty documents are left out.
pub(crate) fn documents(text: &str) -> Vec<RawDocument> {
    measured(text, u64::MAX).0
}

/// The same with how many nodes they have, and the bytes and nodes that aliases repeat. It ends where there are more than `most`
/// nodes.
pub(crate) fn measured(text: &str, most: u64) -> (Vec<RawDocument>, [usize; 2]) {
    let most = usize::try_from(most).map_or(MAX_NODES, |most| most.min(MAX_NODES));
    let mut budget = Budget { nodes: 0, repeated: 0, most };
    let documents = within(text, &mut budget);
    (documents, [budget.nodes, budget.repeated])
}

fn within(text: &str, budget: &mut Budget) -> Vec<RawDocument> {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut out = Vec::new();
    let mut seen = 0;
    loop {
        let (document, more) = document(&mut parser, budget);
        let spent = document.as_ref().and_then(|d| d.root.as_ref()).map(|root| root.span).unwrap_or(Span::START);
        let broken = document.as_ref().is_some_and(|d| d.error.is_some());
        out.extend(document);
        seen += 1;
        if !more || (broken && (budget.spent() || !parser.proceed_next_document().unwrap_or(false))) {
            return out;
        }
        if seen >= MAX_DOCUMENTS {
            let error =
                mistake(spent, format!("more than {MAX_DOCUMENTS} documents in one file"), Some("split the file"));
            out.push(RawDocument { root: None, error: Some(error), mistakes: Vec::new(), doubled: false });
            return out;
        }
    }
}

/// What one file may still use.
struct Budget {
    nodes: usize,
    repeated: usize,
    most: usize,
}

impl Budget {
    fn spent(&self) -> bool {
        self.nodes > self.most || self.repeated > MAX_REPEATED
    }

    /// Takes for nodes and bytes that are repeated, or says that there is no more.
    fn repeat(&mut self, (nodes, bytes): (usize, usize), span: Span) -> Result<(), Mistake> {
        self.repeated += bytes + nodes;
        self.node(nodes, span)
    }

    fn node(&mut self, count: usize, span: Span) -> Result<(), Mistake> {
        self.nodes += count;
        if self.spent() {
            return Err(mistake(span, "the file grows too large when its aliases are followed", Some("write it out")));
        }
        Ok(())
    }
}

/// One document, and whether there may be more. `None` for an empty one.
fn document<'t>(parser: &mut Parser<'t, StrInput<'t>>, budget: &mut Budget) -> (Option<RawDocument>, bool) {
    let mut builder = Builder::new(budget);
    let mut begun = false;
    loop {
        let (event, span) = match parser.next_event() {
            None => return (None, false),
            Some(Ok((event, span))) => (event, to_span(span.start, span.end)),
            Some(Err(error)) => {
                let failed = syntax(&error);
                return (Some(builder.finish(Some(failed))), true);
            }
        };
        match event {
            Event::StreamStart => {}
            Event::StreamEnd => return (None, false),
            Event::DocumentStart(..) => begun = true,
            Event::DocumentEnd => {
                let document = builder.finish(None);
                let empty = document.root.as_ref().is_none_or(|root| matches!(root.value, Value::Null));
                return ((begun && !empty).then_some(document), true);
            }
            event => {
                if let Err(failed) = builder.take(event, span) {
                    return (Some(builder.finish(Some(failed))), true);
                }
            }
        }
    }
}

fn syntax(error: &ScanError) -> Mistake {
    let mark = *error.marker();
    mistake(to_span(mark, mark), format!("this is not valid YAML: {}", error.kind()), None)
}

fn to_span(start: Marker, end: Marker) -> Span {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let width = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 1 };
    Span { layer: 0, line: number(start.line().max(1)), column: number(start.col() + 1), width: number(width.max(1)) }
}

/// A collection that is not closed yet.
struct Frame {
    span: Span,
    anchor: usize,
    kind: Open,
}

enum Open {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        key: Option<At<Box<str>>>,
        /// Filled once there are many keys, so that a mapping of thousands stays linear.
        keys: HashSet<Box<str>>,
    },
}

/// Builds one document of events with a stack of its own: deep input cannot overflow the thread's.
struct Builder<'b> {
    budget: &'b mut Budget,
    frames: Vec<Frame>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    mistakes: Vec<Mistake>,
    doubled: bool,
}

impl<'b> Builder<'b> {
    fn new(budget: &'b mut Budget) -> Self {
        Self { budget, frames: Vec::new(), root: None, anchors: HashMap::new(), mistakes: Vec::new(), doubled: false }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Mistake> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text_tag = self.tag(tag.as_deref(), span);
                let plain = style == ScalarStyle::Plain && !text_tag;
                let value = if plain && is_null(&text) {
                    Value::Null
                } else {
                    Value::Scalar { text: text.into_owned().into(), plain }
                };
                self.complete(Node { span, value }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), span);
                self.open(span, anchor, Open::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), span);
                self.open(span, anchor, Open::Map { entries: Vec::new(), key: None, keys: HashSet::new() })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(mistake(span, "this alias stands inside what it names", None));
                };
                if self.frames.len() + node.depth() > MAX_DEPTH {
                    return Err(too_deep(span));
                }
                self.budget.repeat(node.size(), span)?;
                let node = Node { span, value: node.value.clone() };
                self.complete(node, 0)
            }
            _ => Ok(()),
        }
    }

    /// Whether a tag makes its scalar a text. Others of YAML's own change nothing; foreign ones are refused.
    fn tag(&mut self, tag: Option<&Tag>, span: Span) -> bool {
        let Some(tag) = tag else { return false };
        if !tag.is_yaml_core_schema() {
            self.mistakes.push(mistake(span, "tags such as this one have no meaning here", Some("leave the tag out")));
        }
        tag.is_yaml_core_schema_tag("str")
    }

    fn open(&mut self, span: Span, anchor: usize, kind: Open) -> Result<(), Mistake> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(too_deep(span));
        }
        if let Some(Frame { kind: Open::Map { key: None, .. }, .. }) = self.frames.last() {
            return Err(mistake(span, "a key must be a plain text, not a list or mapping", None));
        }
        self.frames.push(Frame { span, anchor, kind });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Mistake> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let value = match frame.kind {
            Open::List(items) => Value::List(items),
            Open::Map { entries, .. } => Value::Map(self.merge_keys(entries)?),
        };
        self.complete(Node { span: frame.span, value }, frame.anchor)
    }

    /// A finished node goes into the collection that is open, as key or value.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Mistake> {
        self.budget.node(1, node.span)?;
        if anchor != 0 {
            self.budget.repeat(node.size(), node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        let is_top = self.frames.len() == 1;
        match self.frames.last_mut().map(|frame| &mut frame.kind) {
            None => self.root = Some(node),
            Some(Open::List(items)) => items.push(node),
            Some(Open::Map { entries, key, keys }) => match key.take() {
                None => match node.value {
                    Value::Scalar { text, .. } => *key = Some(At { value: text, span: node.span }),
                    _ => return Err(mistake(node.span, "a key must be a text", None)),
                },
                Some(name) => {
                    if let Some(first) = known_key(entries, keys, &name.value) {
                        let message = format!("the key `{}` is given twice", super::tree::cut(&name.value, 60));
                        let help = format!("the first is on line {}; remove one of the two", first.line);
                        self.mistakes.push(mistake(name.span, message, Some(&help)));
                        self.doubled |= is_top;
                    } else {
                        entries.push(Entry { key: name.value, key_span: name.span, value: node });
                    }
                }
            },
        }
        Ok(())
    }

    /// Expands `<<: *base`: keys of the base that are not written here.
    fn merge_keys(&mut self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Mistake> {
        let Some(at) = entries.iter().position(|entry| &*entry.key == "<<") else { return Ok(entries) };
        let merge = entries.remove(at);
        let bases = match merge.value.value {
            Value::Map(base) => vec![base],
            Value::List(items) if items.iter().all(|item| item.entries().is_some()) => items
                .into_iter()
                .filter_map(|item| match item.value {
                    Value::Map(base) => Some(base),
                    _ => None,
                })
                .collect(),
            _ => return Err(mistake(merge.key_span, "`<<` takes a mapping or a list of mappings", None)),
        };
        let mut keys: HashSet<Box<str>> = entries.iter().map(|entry| entry.key.clone()).collect();
        for entry in bases.into_iter().flatten() {
            if keys.insert(entry.key.clone()) {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// The document, closing what is open when a mistake ended it.
    fn finish(mut self, error: Option<Mistake>) -> RawDocument {
        if error.is_some() {
            while let Some(frame) = self.frames.pop() {
                let value = match frame.kind {
                    Open::List(items) => Value::List(items),
                    Open::Map { entries, .. } => Value::Map(entries),
                };
                let node = Node { span: frame.span, value };
                match self.frames.last_mut().map(|frame| &mut frame.kind) {
                    None => self.root = Some(node),
                    Some(Open::List(items)) => items.push(node),
                    Some(Open::Map { entries, key, .. }) => {
                        entries.extend(key.take().map(|key| Entry { key: key.value, key_span: key.span, value: node }));
                    }
                }
            }
        }
        RawDocument { root: self.root, error, mistakes: self.mistakes, doubled: self.doubled }
    }
}

/// Where a key already stands in a mapping, if it does.
fn known_key(entries: &[Entry], keys: &mut HashSet<Box<str>>, name: &str) -> Option<Span> {
    const FEW: usize = 16;
    if entries.len() >= FEW {
        if keys.is_empty() {
            keys.extend(entries.iter().map(|entry| entry.key.clone()));
        }
        if keys.insert(name.into()) {
            return None;
        }
    }
    entries.iter().find(|entry| &*entry.key == name).map(|entry| entry.key_span)
}

fn too_deep(span: Span) -> Mistake {
    mistake(span, format!("lists and mappings are nested more than {MAX_DEPTH} deep"), None)
}
