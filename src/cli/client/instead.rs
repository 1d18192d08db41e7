//! What is there in place of what was asked for and is not: the nearest name, or all of them.

use codeops_core::desired::near;
use codeops_core::model::ResourceId;
use serde_json::Value;

use super::{Client, text};

/// So many names are told where none is near.
const TOLD: usize = 10;

/// The error of a question about a resource, or about an instance of it, with what there is instead.
pub(super) async fn instead(
    client: &Client,
    error: anyhow::Error,
    id: &ResourceId,
    instance: Option<&str>,
) -> anyhow::Error {
    if !Client::is_not_found(&error) {
        return error;
    }
    let Ok(all) = client.json("api/v1/resources", &[]).await else { return error };
    let ids = ids(&all, "resources");
    if !ids.contains(&id.to_string()) {
        return with(&error, &id.to_string(), &ids, "nothing is declared");
    }
    let Some(instance) = instance else { return error };
    let Ok(one) = client.json(&format!("api/v1/resources/{}/{}", id.kind, id.name), &[]).await else { return error };
    with(&error, instance, &self::ids(&one, "instances"), "it has no instance now")
}

fn with(error: &anyhow::Error, asked: &str, there: &[String], none: &str) -> anyhow::Error {
    let names = || there.iter().map(String::as_str);
    let hint = match near(asked, names()) {
        Some(near) => format!("did you mean {near}?"),
        None if there.is_empty() => none.to_owned(),
        None => {
            let more = if there.len() > TOLD { ", …" } else { "" };
            format!("there is {}{more}", names().take(TOLD).collect::<Vec<_>>().join(", "))
        }
    };
    anyhow::anyhow!("{error}; {hint}")
}

fn ids(answer: &Value, list: &str) -> Vec<String> {
    let items = answer.get(list).and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
    items.iter().map(|item| text(item, &["id"]).to_owned()).collect()
}
