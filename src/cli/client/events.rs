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

/// Prints the newest events, and with `-f` those that come.
pub(crate) fn events(args: &EventsArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::new(&args.server, variables)?;
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.resource.as_ref().map(|id| ("resource", id.to_string())));
    block_on(async {
        // The stream is opened first, so that nothing falls between the two; what both bring is told once.
        let stream = match args.follow {
            true => Some(client.lines("api/v1/stream", &[], "text/event-stream").await?),
            false => None,
        };
        let answer = client.json("api/v1/events", &query).await?;
        let items = answer.get("items").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
        if let Some(id) = args.resource.as_ref().filter(|_| items.is_empty() && !args.follow) {
            // Nothing happened to it, or there is no such thing. Whoever follows may wait for it to come.
            if let Err(error) = client.json(&format!("api/v1/resources/{}/{}", id.kind, id.name), &[]).await {
                return Err(instead(&client, error, id, None).await);
            }
        }
        let mut newest = 0;
        for event in items.iter().rev() {
            newest = newest.max(number(event));
            output.item(event, || shown(event, output))?;
        }
        let Some(mut lines) = stream else { return Ok(Exit::Fine) };
        let mut assembler = Assembler::default();
        while let Some(line) = lines.try_next().await? {
            let Some(sent) = assembler.take(&line).filter(|sent| sent.event == "event") else { continue };
            let event: Value = serde_json::from_str(&sent.data)?;
            let wanted = args.resource.as_ref().is_none_or(|id| text(&event, &["resource"]) == id.to_string());
            if wanted && number(&event) > newest {
                output.item(&event, || shown(&event, output))?;
            }
        }
        anyhow::bail!("the daemon ended the stream; it is stopping, or this reader fell behind")
    })
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
