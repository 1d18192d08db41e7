//! `logs`: what an app writes, line by line.

use futures_util::TryStreamExt;
use serde_json::Value;

use super::{Client, text};
use crate::cli::args::LogsArgs;
use crate::cli::block_on;
use crate::cli::environment::Variables;
use crate::cli::exit::Exit;
use crate::cli::output::{Output, Style, printable};

/// Prints the newest lines, and with `-f` those that come.
pub(crate) fn logs(args: &LogsArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::new(&args.server, variables)?;
    let path = format!("api/v1/resources/{}/{}/logs", args.id.kind, args.id.name);
    let mut query = vec![("tail", args.tail.to_string()), ("follow", args.follow.to_string())];
    query.extend(args.instance.clone().map(|instance| ("instance", instance)));
    block_on(async {
        let mut lines = client.lines(&path, &query, "application/x-ndjson").await?;
        while let Some(line) = lines.try_next().await? {
            let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
            output.item(&line, || shown(&line, output))?;
        }
        Ok(Exit::Fine)
    })
}

fn shown(line: &Value, output: &Output) -> String {
    let at = text(line, &["at"]);
    let at = at.get(..23).map_or(at.to_owned(), |millis| format!("{millis}Z"));
    let style = if text(line, &["stream"]) == "stderr" { Style::Busy } else { Style::Plain };
    let head = output.paint(Style::Dim, format!("{at} {}", text(line, &["instance"])));
    format!("{head} {}\n", output.paint(style, printable(text(line, &["line"]))))
}
