//! `get`: resources as a table, or one with all that is known of it.

use codeops_core::model::{Kind, Name, ResourceId};
use serde_json::{Value, json};

use super::instead::instead;
use super::{Client, moment, short, text};
use crate::cli::args::GetArgs;
use crate::cli::block_on;
use crate::cli::environment::Variables;
use crate::cli::exit::{Coded, Exit};
use crate::cli::output::{Output, Style, printable, style_of};
use crate::cli::table::{Cell, plain, table};

/// Prints what was asked for.
pub(crate) fn get(args: &GetArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::new(&args.server, variables)?;
    match args.what.as_deref() {
        Some(what) if what.contains('/') => {
            let id: ResourceId = what.parse().map_err(|error| Coded::usage(format!("{error}")))?;
            let found = block_on(async {
                match client.json(&format!("api/v1/resources/{}/{}", id.kind, id.name), &[]).await {
                    Ok(found) => Ok(found),
                    Err(error) => Err(instead(&client, error, &id, None).await),
                }
            })?;
            output.value(&found, || one(&found, output))?;
        }
        kind => {
            let kind = kind.map(parse_kind).transpose()?;
            let mut answer = block_on(client.json("api/v1/resources", &[]))?;
            let mut found =
                answer.get_mut("resources").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
            if let Some(kind) = kind {
                found.retain(|r| text(r, &["id"]).starts_with(&format!("{kind}/")));
            }
            answer["resources"] = json!(found);
            output.value(&answer, || rows(&found, output))?;
        }
    }
    Ok(Exit::Fine)
}

fn parse_kind(word: &str) -> anyhow::Result<Kind> {
    let named = Kind::ALL.iter().copied().find(|kind| kind.as_str() == word || kind.plural() == word);
    named.ok_or_else(|| {
        let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        let meant = Name::new(word).map(|name| format!("; did you mean {}?", ResourceId::app(name)));
        let meant = meant.unwrap_or_default();
        Coded::usage(format!("`{word}` is no kind of resource, there is {}{meant}", kinds.join(", ")))
    })
}

/// Resources as a table.
pub(super) fn rows(resources: &[Value], output: &Output) -> String {
    if resources.is_empty() {
        return "nothing\n".to_owned();
    }
    let word = |resource: &Value, key: &str| -> Cell {
        let word = text(resource, &[key]);
        (word.to_owned(), style_of(word))
    };
    let rows: Vec<Vec<Cell>> = resources
        .iter()
        .map(|r| {
            vec![
                (text(r, &["id"]).to_owned(), Style::Bold),
                // Of a manifest that cannot be read and a resource that does not live, nobody knows the team.
                plain(match text(r, &["team"]) {
                    "" => "-",
                    team => team,
                }),
                word(r, "sync"),
                word(r, "health"),
                plain(short(text(r, &["revision"]))),
                plain(moment(text(r, &["since"]))),
                plain(printable(&text(r, &["why"]).replace('\n', " "))),
            ]
        })
        .collect();
    table(output, &["ID", "TEAM", "SYNC", "HEALTH", "REVISION", "SINCE (UTC)", "WHY"], &rows)
}

fn one(resource: &Value, output: &Output) -> String {
    let mut page = format!("{}\n", output.paint(Style::Bold, text(resource, &["id"])));
    for key in ["team", "provider", "sync", "health", "why", "revision", "since", "digest", "address"] {
        let value = text(resource, &[key]);
        if !value.is_empty() {
            page += &format!("  {key:<11}{}\n", output.paint(style_of(value), printable(value)));
        }
    }
    if let Some(latch) = resource.get("latch").filter(|latch| !latch.is_null()) {
        page += &format!("  {:<11}{}\n", "latched", output.paint(Style::Busy, printable(&super::latched(latch))));
    }
    for key in ["depends_on", "used_by", "notes"] {
        let list: Vec<&str> = array(resource, key).iter().filter_map(Value::as_str).collect();
        if !list.is_empty() {
            page += &format!("  {:<11}{}\n", key.replace('_', " "), printable(&list.join(", ")));
        }
    }
    let differences = array(resource, "diff");
    if !differences.is_empty() {
        page += "\ndifferences (live → declared)\n";
        for difference in differences {
            let side =
                |key: &str| difference.get(key).filter(|v| !v.is_null()).map_or("-".to_owned(), Value::to_string);
            let field = text(difference, &["field"]);
            page += &format!("  {field}: {} → {}\n", printable(&side("from")), printable(&side("to")));
        }
    }
    let instances = array(resource, "instances");
    if !instances.is_empty() {
        page += "\n";
        page += &instance_table(instances, output);
    }
    page
}

fn instance_table(instances: &[Value], output: &Output) -> String {
    let any = |instance: &Value, keys: &[&str]| -> String {
        let found = keys.iter().find_map(|key| instance.get(key)).filter(|value| !value.is_null());
        found.map(|value| value.as_str().map_or(value.to_string(), str::to_owned)).unwrap_or_default()
    };
    let rows: Vec<Vec<Cell>> = instances
        .iter()
        .map(|instance| {
            let (state, health) = (any(instance, &["state"]), any(instance, &["health"]));
            let on_trial = instance.get("on_trial").and_then(Value::as_bool) == Some(true);
            vec![
                (any(instance, &["id"]), Style::Bold),
                (state.clone(), style_of(&state)),
                (format!("{health}{}", if on_trial { ", on trial" } else { "" }), style_of(&health)),
                plain(any(instance, &["pid"])),
                plain(any(instance, &["port"])),
                plain(any(instance, &["restarts"])),
                plain(moment(&any(instance, &["started_at"]))),
                plain(printable(&any(instance, &["why"]))),
            ]
        })
        .collect();
    table(output, &["INSTANCE", "STATE", "HEALTH", "PID", "PORT", "RESTARTS", "STARTED (UTC)", "WHY"], &rows)
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
