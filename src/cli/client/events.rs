//! `events`: what happened, oldest first as one reads a log, and with `-f` what happens.

use futures_util::TryStreamExt;
use serde_json::Value;

use super::instead::instead;
use super::sse::Assembler;
use super::{Client, moment, text};
use crate::cli::args::EventsArgs;
use crate::cli::block_on;
use crate::cli::environment::Variables;
use crate::cli::exit::Exit;
use crate::cli::output::{Output, Style, printable};

/// The stream that says what comes.
const STREAM: (&str, &str) = ("api/v1/stream", "text/event-stream");
/// As many events as one answer may have.
const PAGE: usize = 1_000;

/// Prints the newest events, and with `-f` those that come, also from the daemon that follows this one.
pub(crate) fn events(args: &EventsArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::new(&args.server, variables)?;
    let query = |limit: usize, after: Option<&str>| {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(args.resource.as_ref().map(|id| ("resource", id.to_string())));
        query.extend(after.map(|after| ("after", after.to_owned())));
        query
    };
    let is_wanted =
        |event: &Value| args.resource.as_ref().is_none_or(|id| text(event, &["resource"]) == id.to_string());
    block_on(async {
        // The stream is opened first, so that nothing falls between the two; what both bring is told once.
        let mut stream = match args.follow {
            true => Some(client.lines(STREAM.0, &[], STREAM.1).await?),
            false => None,
        };
        let answer = client.json("api/v1/events", &query(usize::from(args.limit), None)).await?;
        if let Some(id) = args.resource.as_ref().filter(|_| items(&answer).is_empty() && !args.follow) {
            // Nothing happened to it, or there is no such thing. Whoever follows may wait for it to come.
            if let Err(error) = client.json(&format!("api/v1/resources/{}/{}", id.kind, id.name), &[]).await {
                return Err(instead(&client, error, id, None).await);
            }
        }
        let mut newest = 0;
        for event in items(&answer).iter().rev() {
            newest = newest.max(number(event));
            output.item(event, || shown(event, output))?;
        }
        while let Some(mut lines) = stream {
            let mut assembler = Assembler::default();
            // A stream that breaks off has ended, like one that is closed.
            while let Some(line) = lines.try_next().await.ok().flatten() {
                let Some(sent) = assembler.take(&line).filter(|sent| sent.event == "event") else { continue };
                let event: Value = serde_json::from_str(&sent.data)?;
                if number(&event) > newest && is_wanted(&event) {
                    newest = number(&event);
                    output.item(&event, || shown(&event, output))?;
                }
            }
            let (again, missed) = loop {
                let again = client.lines_again(STREAM.0, &[], STREAM.1).await?;
                // It may have ended once more.
                if let Ok(missed) = missed(&client, newest, |after| query(PAGE, after)).await {
                    break (again, missed);
                }
            };
            for event in missed.iter().rev() {
                newest = newest.max(number(event));
                output.item(event, || shown(event, output))?;
            }
            stream = Some(again);
        }
        Ok(Exit::Fine)
    })
}

/// The events after the one of this number, newest first.
async fn missed(
    client: &Client,
    newest: u64,
    query: impl Fn(Option<&str>) -> Vec<(&'static str, String)>,
) -> anyhow::Result<Vec<Value>> {
    let (mut missed, mut after) = (Vec::new(), None::<String>);
    loop {
        let answer = client.json("api/v1/events", &query(after.as_deref())).await?;
        let all = items(&answer);
        let new = all.iter().take_while(|event| number(event) > newest).cloned();
        let before = missed.len();
        missed.extend(new);
        after = answer.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() || missed.len() - before < all.len() {
            return Ok(missed);
        }
    }
}

fn items(answer: &Value) -> &[Value] {
    answer.get("items").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn number(event: &Value) -> u64 {
    event.get("id").and_then(Value::as_u64).unwrap_or(0)
}

fn shown(event: &Value, output: &Output) -> String {
    let at = output.paint(Style::Dim, moment(text(event, &["at"])));
    let style = match text(event, &["mark"]) {
        "fine" => Style::Good,
        "progressing" | "suspended" => Style::Busy,
        "held" | "degraded" | "missing" => Style::Bad,
        _ => Style::Plain,
    };
    let resource = output.paint(Style::Bold, text(event, &["resource"]));
    let gap = if text(event, &["resource"]).is_empty() { "" } else { " " };
    format!(
        "{at}  {:<7} {resource}{gap}{}\n",
        text(event, &["category"]),
        output.paint(style, printable(text(event, &["text"])))
    )
}
