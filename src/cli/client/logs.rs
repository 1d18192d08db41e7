//! `logs`: what an app writes, line by line.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde_json::Value;

use super::instead::instead;
use super::{Client, text};
use crate::cli::args::LogsArgs;
use crate::cli::block_on;
use crate::cli::environment::Variables;
use crate::cli::exit::Exit;
use crate::cli::output::{Output, Style, printable};

/// As many lines as one answer may have: what came meanwhile should be among them.
const MISSED: usize = 10_000;

/// Prints the newest lines, and with `-f` those that come, also from the daemon that follows this one.
pub(crate) fn logs(args: &LogsArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::new(&args.server, variables)?;
    let path = format!("api/v1/resources/{}/{}/logs", args.id.kind, args.id.name);
    let query = |tail: String| {
        let mut query = vec![("tail", tail), ("follow", args.follow.to_string())];
        query.extend(args.instance.clone().map(|instance| ("instance", instance)));
        query
    };
    block_on(async {
        let mut told = Told::default();
        let mut lines = match client.lines(&path, &query(args.tail.to_string()), "application/x-ndjson").await {
            Ok(lines) => lines,
            Err(error) => return Err(instead(&client, error, &args.id, args.instance.as_deref()).await),
        };
        loop {
            told.begin();
            // A stream that breaks off has ended, like one that is closed.
            while let Some(line) = lines.try_next().await.ok().flatten() {
                let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
                if told.is_new(&line) {
                    output.item(&line, || shown(&line, output))?;
                }
            }
            if !args.follow {
                return Ok(Exit::Fine);
            }
            lines = client.lines_again(&path, &query(MISSED.to_string()), "application/x-ndjson").await?;
        }
    })
}

/// What has been printed, so that an answer that begins earlier repeats nothing.
#[derive(Default)]
struct Told {
    /// Of each instance the newest time, and how many lines had it.
    before: BTreeMap<String, (Timestamp, usize)>,
    now: BTreeMap<String, (Timestamp, usize)>,
    /// The newest time of all before this answer: what an instance wrote until then that nobody was told of was not asked for.
    newest: Option<Timestamp>,
}

impl Told {
    /// Another answer begins.
    fn begin(&mut self) {
        self.before = self.now.clone();
        self.newest = self.before.values().map(|(at, _)| *at).max();
        self.now.values_mut().for_each(|(_, count)| *count = 0);
    }

    /// Whether a line was in no answer before this one.
    fn is_new(&mut self, line: &Value) -> bool {
        let Ok(at) = text(line, &["at"]).parse::<Timestamp>() else { return true };
        let instance = text(line, &["instance"]).to_owned();
        let (newest, count) = self.now.entry(instance.clone()).or_insert((at, 0));
        if at > *newest {
            (*newest, *count) = (at, 0);
        }
        if at == *newest {
            *count += 1;
        }
        match self.before.get(&instance) {
            Some((last, lines)) => at > *last || at == *last && *count > *lines,
            None => self.newest.is_none_or(|newest| at > newest),
        }
    }
}

fn shown(line: &Value, output: &Output) -> String {
    let at = text(line, &["at"]);
    let at = at.get(..23).map_or(at.to_owned(), |millis| format!("{millis}Z"));
    let style = if text(line, &["stream"]) == "stderr" { Style::Busy } else { Style::Plain };
    let head = output.paint(Style::Dim, format!("{at} {}", text(line, &["instance"])));
    format!("{head} {}\n", output.paint(style, printable(text(line, &["line"]))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_two_answers_bring_is_told_once() {
        let line = |secs: i64, instance: &str, text: &str| {
            let at = Timestamp::from_second(secs).expect("a time").to_string();
            json!({"at": at, "instance": instance, "line": text})
        };
        let mut told = Told::default();
        let mut answer = |lines: &[Value]| {
            told.begin();
            let new = lines.iter().filter(|line| told.is_new(line));
            new.map(|line| text(line, &["line"]).to_owned()).collect::<Vec<_>>()
        };
        let first = [line(1, "x", "a"), line(2, "x", "b"), line(2, "x", "b"), line(2, "y", "c")];
        assert_eq!(answer(&first), ["a", "b", "b", "c"], "equal lines are lines too");
        // One that was over before is no news; one that came and went meanwhile is.
        let second = [
            &[line(1, "w", "o"), line(2, "w", "o")],
            &first[..],
            &[line(2, "x", "d"), line(3, "x", "e"), line(3, "z", "f")],
        ]
        .concat();
        assert_eq!(answer(&second), ["d", "e", "f"]);
        assert_eq!(answer(&second), [""; 0]);
        assert_eq!(answer(&[line(3, "x", "e"), line(4, "x", "g")]), ["g"], "also where it begins later");
    }
}
