//! Where answers go: standard output as a table, JSON or YAML; colour only on a terminal.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use codeops_core::model::steers;
use serde::Serialize;

use super::args::{Format, Global, When};
use super::environment::Variables;
use super::exit::Coded;

/// A way to stress a word; each also has to be told by the word itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Bold,
    Dim,
    Good,
    Busy,
    Bad,
    Accent,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Busy => "33",
            Style::Bad => "31",
            Style::Accent => "36",
        }
    }
}

/// How this command prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) format: Format,
    colour: bool,
    colour_errors: bool,
}

impl Output {
    pub(crate) fn new(global: &Global, variables: &Variables) -> Self {
        let plain = variables.get("NO_COLOR").is_some() || variables.get("TERM") == Some("dumb");
        let on = |terminal: bool| match global.color {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && !plain,
        };
        Self {
            format: global.output,
            colour: on(std::io::stdout().is_terminal()),
            colour_errors: on(std::io::stderr().is_terminal()),
        }
    }

    /// For people, without colour.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { format: Format::Table, colour: false, colour_errors: false }
    }

    /// Whether colour is wanted.
    pub(crate) fn colour(&self) -> bool {
        self.colour
    }

    /// `text` in `style`, where colour is wanted.
    pub(crate) fn paint(&self, style: Style, text: impl Display) -> String {
        painted(self.colour, style, text)
    }

    /// The same for what goes beside the answer.
    pub(crate) fn paint_note(&self, style: Style, text: impl Display) -> String {
        painted(self.colour_errors, style, text)
    }

    /// Prints `value` as JSON or YAML, or else what `table` makes of it.
    pub(crate) fn value<T: Serialize>(&self, value: &T, table: impl FnOnce() -> String) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Table => table(),
            Format::Json => serde_json::to_string_pretty(value)? + "\n",
            // By way of JSON, so that both say the same of every type.
            Format::Yaml => serde_saphyr::to_string(&serde_json::to_value(value)?)?,
        };
        self.text(&text)
    }

    /// Prints `value` as one line of JSON or one YAML document in a stream, or else what `line` makes of it.
    pub(crate) fn item<T: Serialize>(&self, value: &T, line: impl FnOnce() -> String) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Table => line(),
            Format::Json => serde_json::to_string(value)? + "\n",
            Format::Yaml => format!("---\n{}", serde_saphyr::to_string(&serde_json::to_value(value)?)?),
        };
        self.text(&text)
    }

    /// Prints `text` as it is. A reader that went away, such as `head`, is no failure.
    pub(crate) fn text(&self, text: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Gone.into()),
            other => Ok(other?),
        }
    }

    /// Prints a line beside the answer, for people.
    pub(crate) fn note(&self, text: impl Display) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// Prints an error with its causes and gives its exit code.
    pub(crate) fn fail(&self, error: &anyhow::Error) -> ExitCode {
        if error.is::<Gone>() {
            return ExitCode::SUCCESS;
        }
        let head = painted(self.colour_errors, Style::Bad, "error:");
        let _ = writeln!(std::io::stderr(), "{head} {}", sentence(error));
        ExitCode::from(error.downcast_ref::<Coded>().map_or(1, |coded| coded.code))
    }
}

/// The reader of standard output went away.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
struct Gone;

/// An error and its causes in one line, a cause that the outer text already tells left out.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.as_str() {
            "" => cause,
            before if before.contains(&cause) => text,
            before => format!("{before}: {cause}"),
        }
    })
}

fn painted(colour: bool, style: Style, text: impl Display) -> String {
    match style.code() {
        code if colour && !code.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        _ => text.to_string(),
    }
}

/// `text` with control characters made visible, so that what an app or a commit says cannot steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => c,
            c if u32::from(c) < 0x20 => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
            '\u{7f}' => '\u{2421}',
            c if steers(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// The style of a sync or health word.
pub(crate) fn style_of(word: &str) -> Style {
    match word {
        "Synced" | "Healthy" | "applied" | "running" | "done" | "resolved" | "replaced" => Style::Good,
        "OutOfSync" | "Progressing" | "Suspended" | "applying" | "starting" | "partial" | "waiting" | "paged"
        | "silenced" => Style::Busy,
        "Held" | "Degraded" | "Missing" | "failed" | "unhealthy" | "crashLoop" | "backoff" | "firing" | "unknown" => {
            Style::Bad
        }
        _ => Style::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_cannot_be_steered() {
        assert_eq!(printable("a\u{1b}[2Jb\tc\u{202e}"), "a\u{241b}[2Jb\tc\u{fffd}");
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("no such file").context("cannot read x: no such file").context("settings");
        assert_eq!(sentence(&error), "settings: cannot read x: no such file");
    }
}
