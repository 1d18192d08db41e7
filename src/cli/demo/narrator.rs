//! What the demo says: the act, what is done, what was seen, and how long it took.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::stage::Stage;
use crate::cli::args::Format;
use crate::cli::output::{Output, Style};

/// Tells the story and remembers how it went.
pub(super) struct Narrator {
    output: Output,
    acts: Vec<Act>,
    since: Instant,
}

/// One act, for the report as JSON.
#[derive(Debug, Serialize)]
struct Act {
    title: String,
    proven: bool,
    seconds: f64,
    seen: Vec<String>,
    failure: Option<String>,
}

impl Narrator {
    pub(super) fn new(output: Output) -> Self {
        Self { output, acts: Vec::new(), since: Instant::now() }
    }

    /// One line, as it is. Where the answer is to be JSON or YAML, the story goes beside it.
    pub(super) fn say(&self, line: impl Display) {
        if self.output.format == Format::Table {
            let _ = writeln!(std::io::stdout(), "{line}");
        } else {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    fn paint(&self, style: Style, text: impl Display) -> String {
        self.output.paint(style, text)
    }

    pub(super) fn open(&self, stage: &Stage) {
        self.say(self.paint(Style::Bold, "codeops, shown at work on this machine"));
        self.say("");
        self.say(format!("  the page        {}", self.paint(Style::Accent, &stage.page)));
        self.say(format!("  the repository  {}", stage.repository().display()));
        self.say(format!("  front, shop     {}  {}", stage.front(), stage.shop()));
    }

    pub(super) fn begin(&mut self, title: &str) {
        let number = self.acts.len() + 1;
        self.say("");
        self.say(format!("{}  {}", self.paint(Style::Accent, number), self.paint(Style::Bold, title)));
        self.acts.push(Act { title: title.to_owned(), proven: false, seconds: 0.0, seen: Vec::new(), failure: None });
        self.since = Instant::now();
    }

    /// What is done now, as one would type it.
    pub(super) fn does(&self, what: impl Display) {
        self.say(format!("   {}", self.paint(Style::Dim, format!("$ {what}"))));
    }

    /// A proof.
    pub(super) fn sees(&mut self, what: impl Display) {
        let what = what.to_string();
        self.say(format!("   {} {what}", self.paint(Style::Good, "✓")));
        if let Some(act) = self.acts.last_mut() {
            act.seen.push(what);
        }
    }

    /// Something worth knowing that proves nothing.
    pub(super) fn notes(&self, what: impl Display) {
        self.say(format!("     {what}"));
    }

    pub(super) fn proven(&mut self) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.say(format!("   {}", self.paint(Style::Dim, format!("{seconds:.1} s"))));
        if let Some(act) = self.acts.last_mut() {
            act.proven = true;
            act.seconds = seconds;
        }
    }

    pub(super) fn not_proven(&mut self, error: &anyhow::Error, log: &str) {
        let why = format!("{error:#}");
        self.say(format!("   {} not proven: {why}", self.paint(Style::Bad, "✗")));
        if !log.is_empty() {
            self.say(format!("     the daemon's last words:\n{log}"));
        }
        if let Some(act) = self.acts.last_mut() {
            act.seconds = self.since.elapsed().as_secs_f64();
            act.failure = Some(why);
        }
    }

    pub(super) fn stay(&self, stage: &Stage) {
        self.say("");
        self.say(format!(
            "It stays up. Look at {}, or commit something yourself:",
            self.paint(Style::Accent, &stage.page)
        ));
        self.say("");
        self.say(format!("  cd {}", stage.repository().display()));
        self.say("  sed -i 's/COLOUR: .*/COLOUR: teal/' apps/front.yaml && git commit -am 'Paint it teal'");
        self.say("");
        self.say("Ctrl-C ends it and removes everything it made.");
    }

    /// Whether every act so far was proven.
    pub(super) fn all_proven(&self) -> bool {
        self.acts.len() > super::acts::ALL.len() - 1 && self.acts.iter().all(|act| act.proven)
    }

    pub(super) fn report(&self) -> anyhow::Result<()> {
        let proven = self.acts.iter().filter(|act| act.proven).count();
        let all = self.acts.len();
        let style = if self.all_proven() { Style::Good } else { Style::Bad };
        let line = format!("\n{}\n", self.paint(style, format!("{proven} of {all} acts proven")));
        let answer = serde_json::json!({"proven": self.all_proven(), "acts": self.acts});
        self.output.value(&answer, || line)
    }
}

/// A duration as people read it.
pub(super) fn took(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis < 1_000 => format!("{millis} ms"),
        millis => format!("{:.1} s", millis as f64 / 1_000.0),
    }
}
