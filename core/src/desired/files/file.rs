//! One file parsed: its documents with their heads and bodies, and every mistake that can be seen without other files.
//!
//! Depends on nothing but the file's path and bytes, so it is kept as long as they stay the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::{RepositorySpec, TeamSpec};
use crate::model::{Environment, ResourceId};

use super::overlay;
use crate::desired::File;
use crate::desired::bounds::portion::{Left, Portion};
use crate::desired::bounds::{allowance::Allowance, space};
use crate::desired::kinds::app::{self, AppManifest};
use crate::desired::kinds::header::{Head, Header, ManifestKind, head};
use crate::desired::kinds::people;
use crate::desired::kinds::response::{self, ResponseManifest};
use crate::desired::missing::astray::is_misspelt;
use crate::desired::missing::hidden::SpecPart;
use crate::desired::teams::rights;
use crate::desired::text::diagnostic::Diagnostic;
use crate::desired::text::mistakes::MOST_OF_FILE;
use crate::desired::text::read::Reader;
use crate::desired::text::tree::{Node, Source, Span};
use crate::desired::text::yaml;

/// The largest file that is read.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// The name of the folders that scripts stand in.
pub(crate) const SCRIPTS: &str = "scripts";

/// The folder below which each environment has its overlays.
pub(crate) const OVERLAYS: &str = "environments/";

/// One parsed file.
#[derive(Debug)]
pub(crate) struct ParsedFile {
    /// The content id it was parsed from.
    pub content: Arc<str>,
    /// Why it was not read, where it was left out.
    pub left_out: Option<Arc<str>>,
    /// What it is, where it is no file.
    pub elsewhere: Option<&'static str>,
    pub source: Source,
    pub class: Class,
    pub documents: Vec<Document>,
    /// The ids it declares or, as an overlay, changes.
    pub ids: Arc<BTreeSet<ResourceId>>,
    /// Why, for each document of which not even kind and name could be read.
    pub lost: Vec<String>,
    /// The first mistake in a document of a kind that is not built.
    pub unbuilt: Option<String>,
    /// The first mistake in the body of the last document.
    pub last_mistake: Option<String>,
    /// Mistakes in syntax and heads; those in bodies are with their documents.
    pub found: Vec<Diagnostic>,
    /// What its expressions took.
    pub allowance: Allowance,
    /// What it takes of what is kept.
    pub space: Portion,
    /// Whether it is the top file, or holds nothing but the Repository and teams: what such files share is their own.
    pub of_people: bool,
}

/// One document whose kind and name are known.
#[derive(Debug)]
pub(crate) struct Document {
    pub header: Header,
    /// Where it begins.
    pub begin: Span,
    /// The how many-th document of its file it is, from 0.
    pub ordinal: usize,
    /// An overlay's tree. A manifest's is not kept, for few have an overlay: [`trees`] gives it again.
    pub patch: Option<Node>,
    /// What its tree takes.
    pub weight: u64,
    /// Where it says what it declares.
    pub spec: Option<SpecPart>,
    /// Whether it says former names.
    pub renames: bool,
    /// Why it is not to be used, when syntax or head are wrong.
    pub broken: Option<String>,
    pub body: Body,
    /// Mistakes in the body.
    pub found: Vec<Diagnostic>,
}

/// The body of a document, read by kind.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Repository(Arc<RepositorySpec>),
    /// With the place of its escalation policy.
    Team(Arc<TeamSpec>, Option<Span>),
    App(Arc<AppManifest>),
    /// Of how alerts are answered.
    Response(Arc<ResponseManifest>),
    /// A merge patch; it is read once merged.
    Overlay,
}

/// What a path is, by its name alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Class {
    /// Not a manifest.
    Ignored,
    /// A manifest.
    Manifest,
    /// A patch for one environment; `None` when the path names none.
    Overlay(Option<Environment>),
    /// No manifest, but what playbooks may run: any other file in a folder called `scripts`.
    Script,
    /// No manifest, but what one may have become: its ending is misspelt, or it is no file.
    Stray,
}

/// Whether a file of this name is YAML, and so a manifest unless it is hidden.
pub fn is_manifest(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, ending)| matches!(ending, "yaml" | "yml"))
}

/// Whether a file of this path, from the top, is wanted of a revision; others need not be read. Of a script only the first
/// line matters.
pub fn is_wanted(path: &str) -> bool {
    class(path) != Class::Ignored
}

/// Classifies a path.
pub(crate) fn class(path: &str) -> Class {
    if path.split('/').any(|part| part.starts_with('.')) {
        return Class::Ignored;
    }
    // A whole folder that is not read may hold manifests.
    if !is_manifest(path) && !path.ends_with('/') {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_script = folder.split('/').any(|part| part == SCRIPTS);
        return match is_script {
            true => Class::Script,
            false if is_misspelt(path) => Class::Stray,
            false => Class::Ignored,
        };
    }
    match path.strip_prefix(OVERLAYS) {
        None => Class::Manifest,
        Some(rest) => Class::Overlay(rest.split_once('/').and_then(|(name, _)| name.parse().ok())),
    }
}

/// Parses one file; `left` is what may still be taken. Never panics, whatever the bytes are.
pub(crate) fn parse(path: &Arc<str>, file: &File, left: Left) -> ParsedFile {
    let mut parsed = read(path, file, left);
    if parsed.space.is_spent() {
        let (message, help) = space::refusal(parsed.of_people);
        let found = Diagnostic::error(&parsed.source, Span::START, message, Some(help));
        let (space, of_people) = (parsed.space.given_back(), parsed.of_people);
        parsed = ParsedFile {
            lost: vec![found.why()],
            found: vec![found],
            space,
            of_people,
            ..empty(path, file, left.expressions)
        };
    }
    parsed
}

/// A file of which nothing was read.
fn empty(path: &Arc<str>, file: &File, expressions: u64) -> ParsedFile {
    let source = Source::new(Arc::clone(path), Arc::clone(&file.bytes));
    ParsedFile {
        content: Arc::clone(&file.content),
        left_out: file.left_out.clone(),
        source,
        class: if file.elsewhere.is_some() { Class::Stray } else { class(path) },
        elsewhere: file.elsewhere,
        documents: Vec::new(),
        ids: Arc::default(),
        lost: Vec::new(),
        unbuilt: None,
        last_mistake: None,
        found: Vec::new(),
        allowance: Allowance::of(expressions),
        space: Portion::of(0),
        of_people: **path == *rights::TOP,
    }
}

/// Reads all of a file, unless it takes more than there is.
fn read(path: &Arc<str>, file: &File, mut left: Left) -> ParsedFile {
    let mut parsed = empty(path, file, left.expressions);
    if let Some(why) = &file.left_out {
        let help = "make them fewer or shorter: files count in the order of their paths".to_owned();
        let found = Diagnostic::error(&parsed.source, Span::START, &**why, Some(help));
        if !matches!(parsed.class, Class::Script | Class::Stray) {
            parsed.lost.push(found.why());
        }
        parsed.found.push(found);
        return parsed;
    }
    if matches!(parsed.class, Class::Script | Class::Stray) {
        return parsed;
    }
    match text(&parsed.source) {
        Ok(text) => {
            parsed.of_people |= is_of_people(text);
            parsed.space = Portion::of(left.room(parsed.of_people).offered());
            if !parsed.space.takes(space::of_text(text.len())) {
                return parsed;
            }
            let (raws, [nodes, repeated]) = yaml::measured(text, parsed.space.rest());
            if !parsed.space.takes(nodes as u64 + space::of_text(repeated)) {
                return parsed;
            }
            let patch = matches!(parsed.class, Class::Overlay(_));
            // What is behind a mistake of syntax is not read, up to the next document that is.
            let has_more = text.matches("apiVersion").count() > raws.len();
            let mut out = Output { has_more, ..Output::default() };
            for (ordinal, raw) in raws.into_iter().enumerate() {
                document(&parsed.source, ordinal, raw, patch, &mut parsed.allowance, &mut out);
            }
            let heads = out.documents.iter().map(|document| &document.header);
            parsed.ids = Arc::new(heads.filter_map(|header| header.kind.resource(&header.name.value)).collect());
            let last = out.documents.last().and_then(|document| document.found.first());
            parsed.last_mistake = last.map(Diagnostic::why);
            (parsed.documents, parsed.lost, parsed.found) = (out.documents, out.lost, out.found);
            parsed.unbuilt = out.unbuilt;
            let found = parsed.documents.iter().flat_map(|document| &document.found).chain(&parsed.found);
            parsed.space.takes(space::of_mistakes(found));
        }
        Err(found) => {
            parsed.lost.push(found.why());
            parsed.found.push(*found);
        }
    }
    parsed
}

#[derive(Default)]
struct Output {
    documents: Vec<Document>,
    lost: Vec<String>,
    unbuilt: Option<String>,
    /// Whether more manifests begin in the text than were found.
    has_more: bool,
    found: Vec<Diagnostic>,
    /// How many mistakes there are so far.
    mistakes: usize,
}

impl Output {
    /// Keeps of a document's mistakes no more than a file may have, and at least one: whether there is any decides.
    fn keep(&mut self, found: &mut Vec<Diagnostic>) {
        found.truncate(MOST_OF_FILE.saturating_sub(self.mistakes).max(1));
        self.mistakes += found.len();
    }
}

/// The trees of all documents of a file, read again; `None` for one of which nothing can be read.
pub(crate) fn trees(source: &Source) -> Vec<Option<Node>> {
    let documents = text(source).map(yaml::documents).unwrap_or_default();
    documents.into_iter().map(|raw| raw.root).collect()
}

fn document(
    source: &Source,
    ordinal: usize,
    raw: yaml::RawDocument,
    patch: bool,
    allowance: &mut Allowance,
    out: &mut Output,
) {
    let mut reader = Reader::new(vec![source]);
    for mistake in raw.error.iter().chain(&raw.mistakes) {
        let (message, help) = mistake.value.clone();
        reader.error(mistake.span, message, help);
    }
    let syntax_good = reader.found.is_empty();
    // A key that is given twice leaves the rest to be read; what ends a document leaves only a part of it.
    let is_whole = raw.error.is_none();
    let known = match &raw.root {
        Some(root) if is_whole => head(root, &mut reader),
        // A broken document's missing fields are not mistakes of their own.
        Some(root) => head(root, &mut Reader::new(Vec::new())),
        None => Head::Unknown,
    };
    let why = reader.found.first().map(Diagnostic::why);
    out.keep(&mut reader.found);
    out.found.append(&mut reader.found);
    match (known, raw.root) {
        (Head::NotBuilt, _) => out.unbuilt = out.unbuilt.take().or(why),
        (Head::Known { header, good }, Some(tree)) => {
            let (body, found) = if patch {
                (Body::Overlay, overlay::check(source, &tree))
            } else {
                body(header.kind, &tree, vec![source], allowance)
            };
            let broken = if syntax_good && good { None } else { why };
            let mut found = if is_whole && is_plain(&tree) { found } else { Vec::new() };
            out.keep(&mut found);
            if broken.is_some() {
                // Nobody takes such a document up, but its other mistakes are told with the first.
                found.retain(|mistake| !out.found.contains(mistake));
                out.found.append(&mut found);
            }
            let begin = tree.entries().and_then(|entries| entries.first()).map_or(Span::START, |first| first.key_span);
            let weight = space::of_tree(&tree);
            let spec = SpecPart::of(&tree, raw.doubled || (!is_whole && out.has_more));
            let renames = tree.get("metadata").is_some_and(|metadata| metadata.get("was").is_some());
            let patch = patch.then_some(tree);
            out.documents.push(Document { header, begin, ordinal, patch, weight, spec, renames, broken, body, found });
        }
        (Head::Nameless { kind }, Some(tree)) => {
            if is_whole && is_plain(&tree) && !patch {
                let mut more = body(kind, &tree, vec![source], allowance).1;
                out.keep(&mut more);
                let more: Vec<Diagnostic> = more.into_iter().filter(|mistake| !out.found.contains(mistake)).collect();
                out.found.extend(more);
            }
            out.lost.push(why.unwrap_or_else(|| format!("{} cannot be read", source.path)));
        }
        _ => out.lost.push(why.unwrap_or_else(|| format!("{} cannot be read", source.path))),
    }
}

/// Whether what is in a file is the Repository and teams alone, by the lines that say so: it is asked before the file is parsed.
fn is_of_people(text: &str) -> bool {
    let words = [ManifestKind::Repository, ManifestKind::Team].map(ManifestKind::word);
    let mut kinds = text.lines().filter_map(|line| line.strip_prefix("kind:")).peekable();
    kinds.peek().is_some() && kinds.all(|word| words.contains(&word.trim()))
}

/// Whether a document is not encrypted: of one that is, no value is what it will be.
fn is_plain(tree: &Node) -> bool {
    tree.get("sops").is_none()
}

/// Reads a body by kind; `sources` are the files that the tree's layers come from.
pub(crate) fn body(
    kind: ManifestKind,
    tree: &Node,
    sources: Vec<&Source>,
    allowance: &mut Allowance,
) -> (Body, Vec<Diagnostic>) {
    let mut reader = Reader::new(sources).with(*allowance);
    let body = match kind {
        ManifestKind::Repository => Body::Repository(Arc::new(people::repository(tree, &mut reader))),
        ManifestKind::Team => {
            let (team, escalation) = people::team(tree, &mut reader);
            Body::Team(Arc::new(team), escalation)
        }
        ManifestKind::App => Body::App(Arc::new(app::read(tree, &mut reader))),
        _ => Body::Response(Arc::new(response::read(kind, tree, &mut reader))),
    };
    *allowance = reader.allowance;
    (body, reader.found)
}

/// The file's text without a byte order mark, or why it is none.
pub(crate) fn text(source: &Source) -> Result<&str, Box<Diagnostic>> {
    let bytes = &*source.bytes;
    if source.path.contains(char::REPLACEMENT_CHARACTER) {
        let message = "the file's name, or that of a folder above it, is not UTF-8";
        return Err(Diagnostic::error(source, Span::START, message, Some("rename it".to_owned())).into());
    }
    if source.path.ends_with('/') {
        let message = "this folder is nested too deep: nothing in it is read";
        return Err(Diagnostic::error(source, Span::START, message, Some("move what is in it up".to_owned())).into());
    }
    if bytes.len() > MAX_BYTES {
        let message = format!("the file is bigger than {MAX_BYTES} bytes, which is the most that a manifest may have");
        return Err(Diagnostic::error(source, Span::START, message, Some("split it".to_owned())).into());
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let span = position(&bytes[..error.valid_up_to()]);
        Box::new(Diagnostic::error(source, span, "this is not text: manifests are UTF-8", None))
    })?;
    let control = |b: &u8| (*b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r')) || *b == 0x7f;
    if let Some(at) = bytes.iter().position(control) {
        let message = format!("this is not text: it holds the control character {:#04x}", bytes[at]);
        return Err(Diagnostic::error(source, position(&bytes[..at]), message, None).into());
    }
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The place just after some text.
fn position(before: &[u8]) -> Span {
    let text = String::from_utf8_lossy(before);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let (mut line, mut column, mut last) = (1u32, 1u32, ' ');
    for c in text.chars() {
        match c {
            '\n' if last == '\r' => {}
            '\n' | '\r' => (line, column) = (line + 1, 1),
            _ => column += 1,
        }
        last = c;
    }
    Span { layer: 0, line, column, width: 1 }
}
