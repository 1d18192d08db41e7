//! One mistake in a manifest: where, what, what was expected. Rendered with the line shown.

use std::borrow::Cow;
use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::tree::{Source, Span};
use super::veil::{veiled, without_values};
use crate::model::{Place, TeamName};

/// The most characters of a line that are shown.
const SHOWN: usize = 160;

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The manifest is not used.
    Error,
    /// It is used, but probably not what was meant.
    Warning,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Where it stands.
    pub place: Place,
    /// Whose file that is, where the settings name teams: what it tells is that team's text.
    pub team: Option<TeamName>,
    /// What is wrong, in one sentence, without the place.
    pub message: String,
    /// What was expected or what to do, if more can be said.
    pub help: Option<String>,
    /// The line it stands on, cut to 160 characters, control characters made visible.
    pub line: String,
    /// The column of the first character of `line`, from 1; more than 1 only where a long line was cut on the left.
    pub line_start: u32,
    /// How many characters of the line are meant, at least 1.
    pub width: u32,
}

impl Diagnostic {
    /// An error at a span of a source.
    pub(crate) fn error(source: &Source, span: Span, message: impl Into<String>, help: Option<String>) -> Self {
        let line = source.line(span.line);
        let shown = if source.veils { Cow::Owned(without_values(&line)) } else { veiled(&line) };
        Self::showing(&shown, source, span, message, help)
    }

    /// The same where the line may hold a secret: of it keys alone are shown.
    pub(crate) fn confidential(source: &Source, span: Span, message: impl Into<String>, help: Option<String>) -> Self {
        Self::showing(&without_values(&source.line(span.line)), source, span, message, help)
    }

    fn showing(shown: &str, source: &Source, span: Span, message: impl Into<String>, help: Option<String>) -> Self {
        let column = span.column.max(1) as usize;
        let skip = if column > SHOWN - 40 { column - 40 } else { 0 };
        Self {
            severity: Severity::Error,
            place: source.place(span),
            team: None,
            message: visible(&message.into()),
            help: help.map(|help| visible(&help)),
            line: shown.chars().skip(skip).take(SHOWN).map(visible_char).collect(),
            line_start: u32::try_from(skip + 1).unwrap_or(1),
            width: span.width.max(1),
        }
    }

    /// How much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let texts = self.message.len() + self.line.len();
        size_of::<Self>() + texts + self.help.as_ref().map_or(0, String::len)
    }

    /// Why something is held, in one line: whoever reads only this is to know what to do as well.
    pub(crate) fn why(&self) -> String {
        let remedy = self.help.as_ref().map(|help| format!(": {help}")).unwrap_or_default();
        format!("{self}{remedy}")
    }

    /// The diagnostic as people read it: message, place, the line with the mistake underlined, help. Ends without a
    /// newline; `colour` adds ANSI colours.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let at = self.place.column.saturating_sub(self.line_start) as usize;
        let byte = |character: usize| self.line.char_indices().nth(character).map_or(self.line.len(), |(byte, _)| byte);
        let span = byte(at)..byte(at + self.width as usize);
        let group = level.primary_title(self.message.as_str());
        let file = visible(&self.place.file);
        let origin = Origin::path(&*file).line(self.place.line as usize).char_column(self.place.column as usize);
        let mut group: Group<'_> = if self.line.is_empty() {
            group.element(origin)
        } else {
            let snippet = Snippet::source(self.line.as_str())
                .line_start(self.place.line as usize)
                .annotation(AnnotationKind::Primary.span(span));
            if self.line_start == 1 {
                group.element(snippet.path(&*file))
            } else {
                group.element(origin).element(snippet)
            }
        };
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}: {word}: {}", visible(&self.place.to_string()), self.message)
    }
}

/// A text with every control character made visible, so that a manifest cannot write to a terminal, and no password in a URL.
fn visible(text: &str) -> String {
    veiled(text).chars().map(visible_char).collect()
}

/// One character for one, so that columns stay.
fn visible_char(c: char) -> char {
    match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => '\u{fffd}',
        other => other,
    }
}
