//! What `apply` says on standard error while it works: a line for each step that begins or ends, and for each resource that
//! comes to stand differently.

use std::time::Duration;

use super::super::output::{Output, Style, printable};
use crate::daemon::progress::{Doing, Progress};
use crate::journal::Outcome;

/// One line, without its end.
pub(super) fn line(progress: &Progress, output: &Output) -> String {
    match progress {
        Progress::Begun(step) => format!("{} …", named(step, output)),
        Progress::Ended { step, outcome, took } => {
            let (style, word, why) = worded(outcome);
            let why = why.map_or_else(String::new, |why| format!(": {}", printable(why)));
            format!("{} … {} ({}){why}", named(step, output), output.paint_note(style, word), seconds(*took))
        }
        Progress::Stands { resource, sync, health } => {
            format!("{} is {sync}, {health}", output.paint_note(Style::Bold, resource))
        }
    }
}

fn named(step: &Doing, output: &Output) -> String {
    let instance = step.instance.as_ref().map_or_else(String::new, |instance| format!(" {}", printable(instance)));
    format!("{} {}{instance}", step.verb, output.paint_note(Style::Bold, &step.resource))
}

fn worded(outcome: &Outcome) -> (Style, &'static str, Option<&str>) {
    match outcome {
        Outcome::Done { note } => (Style::Good, "done", note.as_deref()),
        Outcome::Retry { error, .. } => (Style::Busy, "not yet, tried again", Some(error)),
        Outcome::UnderWay { note } => (Style::Busy, "under way", Some(note)),
        Outcome::Rejected { error } => (Style::Bad, "failed", Some(error)),
        Outcome::Unknown { error } => (Style::Busy, "not known, looking", Some(error)),
        Outcome::Superseded => (Style::Plain, "no longer matters", None),
        Outcome::TakenUp => (Style::Plain, "taken up again", None),
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_by_verb_and_resource_with_its_end() {
        let output = Output::plain();
        let step = |verb: &str, instance: Option<&str>| Doing {
            verb: verb.to_owned(),
            resource: "app/hello".parse().expect("an id"),
            instance: instance.map(str::to_owned),
        };
        assert_eq!(line(&Progress::Begun(step("start", Some("9f86d081-1"))), &output), "start app/hello 9f86d081-1 …");
        let done = Outcome::Done { note: None };
        let ended = Progress::Ended { step: step("create", None), outcome: done, took: Duration::from_millis(1_240) };
        assert_eq!(line(&ended, &output), "create app/hello … done (1.2 s)");
        let failed = Outcome::Rejected { error: "no such \u{1b}file".to_owned() };
        let ended = Progress::Ended { step: step("create", None), outcome: failed, took: Duration::ZERO };
        assert_eq!(line(&ended, &output), "create app/hello … failed (0.0 s): no such \u{241b}file");
    }
}
