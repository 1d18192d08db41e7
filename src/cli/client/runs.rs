//! `runs`: what playbooks did, or one run with its steps.

use serde_json::Value;

use super::{Client, moment, text};
use crate::cli::args::RunsArgs;
use crate::cli::block_on;
use crate::cli::environment::Variables;
use crate::cli::exit::Exit;
use crate::cli::output::{Output, Style, printable, style_of};
use crate::cli::table::{Cell, plain, table};

/// Prints what was asked for.
pub(crate) fn runs(args: &RunsArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::new(&args.server, variables)?;
    if let Some(id) = &args.id {
        let run = block_on(client.json(&format!("api/v1/runs/{id}"), &[]))?;
        output.value(&run, || one(&run, output))?;
        return Ok(Exit::Fine);
    }
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.state.as_ref().map(|state| ("state", state.clone())));
    query.extend(args.playbook.as_ref().map(|name| ("playbook", name.to_string())));
    query.extend(args.target.as_ref().map(|id| ("target", id.to_string())));
    query.extend(args.after.as_ref().map(|cursor| ("after", cursor.clone())));
    let answer = block_on(client.json("api/v1/runs", &query))?;
    output.value(&answer, || rows(items(&answer, "items"), output) + &more(&answer))?;
    Ok(Exit::Fine)
}

/// The list under a key.
pub(super) fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Says that there are more, and how they are seen; nothing where there are none.
pub(super) fn more(answer: &Value) -> String {
    let next = match answer.get("next") {
        Some(Value::String(next)) => next.clone(),
        Some(Value::Number(next)) => next.to_string(),
        _ => return String::new(),
    };
    let shown = items(answer, "items").len();
    format!(
        "{shown} are shown and there are more: `--after {}` goes on, `--limit 1000` shows most at once\n",
        printable(&next)
    )
}

fn rows(runs: &[Value], output: &Output) -> String {
    if runs.is_empty() {
        return "no runs\n".to_owned();
    }
    let rows: Vec<Vec<Cell>> = runs
        .iter()
        .map(|run| {
            let state = text(run, &["state"]);
            vec![
                (text(run, &["id"]).to_owned(), Style::Bold),
                plain(text(run, &["playbook"])),
                plain(text(run, &["target"])),
                (state.to_owned(), style_of(state)),
                plain(printable(cause(run))),
                plain(moment(text(run, &["started_at"]))),
                plain(moment(text(run, &["ended_at"]))),
                plain(printable(text(run, &["why"]))),
            ]
        })
        .collect();
    let heads = ["RUN", "PLAYBOOK", "TARGET", "STATE", "CAUSE", "STARTED (UTC)", "ENDED (UTC)", "WHY"];
    table(output, &heads, &rows)
}

/// The alert's name, or what else began it.
fn cause(run: &Value) -> &str {
    match (text(run, &["cause"]), text(run, &["alert", "labels", "alertname"])) {
        ("alert", name) if !name.is_empty() => name,
        (cause, _) => cause,
    }
}

fn one(run: &Value, output: &Output) -> String {
    let mut page = format!("{} {}\n", output.paint(Style::Bold, text(run, &["id"])), text(run, &["playbook"]));
    let caller = ("called by", &["called_by", "run"] as &[&str]);
    let facts = [
        ("state", &["state"] as &[&str]),
        ("why", &["why"]),
        ("target", &["target"]),
        ("team", &["team"]),
        ("cause", &["cause"]),
        caller,
        ("alert", &["alert", "labels", "alertname"]),
        ("otherwise", &["turned"]),
        ("policy", &["policy"]),
        ("started", &["started_at"]),
        ("ended", &["ended_at"]),
        ("revision", &["revision"]),
    ];
    for (label, path) in facts {
        let value = text(run, path);
        if !value.is_empty() {
            page += &format!("  {label:<10}{}\n", output.paint(style_of(value), printable(value)));
        }
    }
    let steps = items(run, "steps");
    let is_page = |step: &&Value| text(step, &["does"]) == "page" && text(step, &["state"]) == "done";
    // Whom a policy names is not who was called: only an accepted page says that somebody was.
    let paged = steps.iter().filter(is_page).map(|step| text(step, &["output", "page"]));
    let mut calls: Vec<(&str, &str)> = paged.filter(|id| !id.is_empty()).map(|id| (id, "accepted")).collect();
    // A run that was cut off may have called without a step that did.
    for called in items(run, "pages") {
        let (id, state) = (text(called, &["id"]), text(called, &["state"]));
        if !calls.iter().any(|(known, _)| *known == id) {
            calls.push((id, state));
        }
    }
    for (id, state) in calls {
        let word = if state == "accepted" { "paged" } else { "page" };
        let state = if state == "accepted" { String::new() } else { format!(", {state}") };
        page += &format!("  {word:<10}{}{}\n", printable(id), printable(&state));
    }
    if !steps.is_empty() {
        page += "\n";
        page += &step_table(steps, output);
    }
    for step in steps {
        page += &said(step, output);
    }
    page
}

fn step_table(steps: &[Value], output: &Output) -> String {
    let rows: Vec<Vec<Cell>> = steps
        .iter()
        .map(|step| {
            let state = text(step, &["state"]);
            vec![
                (text(step, &["name"]).to_owned(), Style::Bold),
                plain(text(step, &["part"])),
                plain(printable(&format!("{} {}", text(step, &["does"]), text(step, &["what"])))),
                (state.to_owned(), style_of(state)),
                plain(step.get("attempts").map_or_else(String::new, Value::to_string)),
                plain(moment(text(step, &["begun_at"]))),
                plain(moment(text(step, &["ended_at"]))),
                plain(printable(text(step, &["error"]))),
            ]
        })
        .collect();
    let heads = ["STEP", "PART", "DOES", "STATE", "ATTEMPTS", "BEGUN (UTC)", "ENDED (UTC)", "ERROR"];
    table(output, &heads, &rows)
}

/// Its output and evidence, each line by itself.
fn said(step: &Value, output: &Output) -> String {
    let given = step.get("output").filter(|output| !output.is_null());
    let given = given.map(|output| output.as_str().map_or_else(|| output.to_string(), str::to_owned));
    let parts = [("output", given.unwrap_or_default()), ("evidence", text(step, &["evidence"]).to_owned())];
    let mut page = String::new();
    for (what, said) in parts.iter().filter(|(_, said)| !said.is_empty()) {
        let head = format!("{} of {}", what, text(step, &["name"]));
        page += &format!("\n{}\n", output.paint(Style::Dim, head));
        said.lines().for_each(|line| page += &format!("  {}\n", printable(line)));
    }
    page
}
