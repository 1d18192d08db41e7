//! `alerts`: what monitoring told of, and what became of it.

use serde_json::Value;

use super::runs::{items, more};
use super::{Client, moment, text};
use crate::cli::args::AlertListArgs;
use crate::cli::block_on;
use crate::cli::environment::Variables;
use crate::cli::exit::Exit;
use crate::cli::output::{Output, Style, printable, style_of};
use crate::cli::table::{Cell, plain, table};

/// Prints the newest alerts.
pub(crate) fn alerts(args: &AlertListArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::new(&args.server, variables)?;
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.state.as_ref().map(|state| ("state", state.clone())));
    query.extend(args.target.as_ref().map(|id| ("target", id.to_string())));
    query.extend(args.source.as_ref().map(|name| ("source", name.to_string())));
    query.extend(args.after.as_ref().map(|cursor| ("after", cursor.clone())));
    let answer = block_on(client.json("api/v1/alerts", &query))?;
    output.value(&answer, || rows(items(&answer, "items"), output) + &more(&answer))?;
    Ok(Exit::Fine)
}

fn rows(alerts: &[Value], output: &Output) -> String {
    if alerts.is_empty() {
        return "no alerts\n".to_owned();
    }
    let rows: Vec<Vec<Cell>> = alerts
        .iter()
        .map(|alert| {
            let state = text(alert, &["state"]);
            let why = match text(alert, &["why"]) {
                "" => text(alert, &["annotations", "summary"]),
                why => why,
            };
            vec![
                (printable(text(alert, &["name"])), Style::Bold),
                (state.to_owned(), style(alert)),
                plain(text(alert, &["source"])),
                plain(moment(text(alert, &["starts_at"]))),
                plain(text(alert, &["disposition"])),
                plain(text(alert, &["run"])),
                plain(labels(alert)),
                plain(printable(&why.replace('\n', " "))),
            ]
        })
        .collect();
    let heads = ["ALERT", "STATE", "SOURCE", "BEGAN (UTC)", "BECAME", "RUN", "LABELS", "WHY"];
    table(output, &heads, &rows)
}

/// What fires and is kept quiet is no trouble.
fn style(alert: &Value) -> Style {
    match (text(alert, &["state"]), text(alert, &["disposition"])) {
        ("firing", "quiet") => Style::Dim,
        (state, _) => style_of(state),
    }
}

/// All but its name, cut to what a line bears.
fn labels(alert: &Value) -> String {
    const MOST: usize = 60;
    let labels = alert.get("labels").and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<String> = labels
        .filter(|(name, _)| *name != "alertname")
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    let all = printable(&pairs.join(" ").replace('\n', " "));
    if all.chars().count() <= MOST { all } else { all.chars().take(MOST).collect::<String>() + "…" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_that_goes_on_says_how_the_rest_is_seen() {
        assert_eq!(more(&json!({"items": [{}], "next": null})), "");
        for next in [json!("c42"), json!(42)] {
            let said = more(&json!({"items": [{}, {}], "next": next}));
            assert!(said.starts_with("2 are shown and there are more") && said.contains("--after"), "{said}");
            assert!(said.contains("42`"), "{said}");
        }
    }
}
