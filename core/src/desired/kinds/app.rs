//! `kind: App` as it is written: every field with its place, nothing filled in yet.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{Bytes, Name, ProviderName, ResourceId, Resources, RunSpec, SecretName, TeamName, is_variable};

use super::app_parts::{HealthText, PortText, ReleaseText, RolloutText, StopText};
use super::variables;
use crate::desired::text::read::Reader;
use crate::desired::text::tree::{At, Node, Span, cut};

/// The most instances of one app.
pub(crate) const MAX_REPLICAS: u32 = 1_000;

/// The most resources one app may come after.
const MAX_AFTER: usize = 256;

/// The most names one app may have had before.
const MAX_WAS: usize = 256;

/// The least memory that an app may be limited to: with less nothing starts.
const LEAST_MEMORY: Bytes = Bytes(1 << 20);

/// Fields that come with the kind Service.
const NOT_BUILT: [&str; 1] = ["uses"];

/// An app as written. Fields that are wrong are reported and left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AppManifest {
    pub team: Option<At<TeamName>>,
    pub was: Vec<At<Name>>,
    pub adopt: bool,
    /// Where `spec` begins, for mistakes that concern all of it.
    pub spec: Span,
    pub provider: Option<At<ProviderName>>,
    pub run: Option<At<RunSpec>>,
    pub release: Option<ReleaseText>,
    pub replicas: Option<u32>,
    pub port: Option<At<PortText>>,
    /// Whether `port` was written at all, right or wrong.
    pub listens: bool,
    pub bind: Option<IpAddr>,
    pub env: BTreeMap<String, At<String>>,
    pub secrets: BTreeMap<String, At<SecretName>>,
    pub after: Vec<At<ResourceId>>,
    pub resources: Resources,
    pub health: Option<HealthText>,
    pub rollout: RolloutText,
    pub stop: StopText,
    pub suspend: bool,
}

/// Reads an app. What is wrong is in the reader afterwards.
pub(crate) fn read(root: &Node, reader: &mut Reader<'_>) -> AppManifest {
    let mut app = AppManifest::default();
    let Some(mut fields) = reader.fields(root, "kind App") else { return app };
    for name in ["apiVersion", "kind"] {
        fields.get(name);
    }
    if let Some(mut metadata) = fields.get("metadata").and_then(|node| reader.fields(node, "metadata of an App")) {
        metadata.get("name");
        app.team = metadata.require(reader, "team").and_then(|node| reader.parse(node));
        app.was = metadata.get("was").map(|node| was(node, reader)).unwrap_or_default();
        app.adopt = metadata.get("adopt").and_then(|node| reader.boolean(node)).unwrap_or_default();
        metadata.finish(reader, &[]);
    }
    if let Some(node) = fields.require(reader, "spec") {
        spec(node, &mut app, reader);
    }
    fields.finish(reader, &[]);
    app
}

fn spec(node: &Node, app: &mut AppManifest, reader: &mut Reader<'_>) {
    let Some(mut fields) = reader.fields(node, "spec of an App") else { return };
    app.spec = fields.span;
    app.provider = fields.get("provider").and_then(|node| reader.parse(node));
    app.run = fields.require(reader, "run").and_then(|node| super::app_parts::run(node, reader));
    app.release = fields.get("release").and_then(|node| super::app_parts::release(node, reader));
    app.replicas = fields.get("replicas").and_then(|node| reader.number(node, 0, MAX_REPLICAS));
    app.listens = fields.get("port").is_some();
    app.port = fields.get("port").and_then(|node| super::app_parts::port(node, reader));
    app.bind = fields.get("bind").and_then(|node| bind(node, reader));
    if let Some(node) = fields.get("env") {
        app.env = environment(node, reader, |reader, node| reader.text(node));
        variables::fit(node, reader);
    }
    if let Some(node) = fields.get("secrets") {
        app.secrets = environment(node, reader, secret);
        for entry in node.entries().unwrap_or_default().iter().filter(|entry| app.env.contains_key(&*entry.key)) {
            let help = "remove it from one of the two".to_owned();
            reader.error(entry.key_span, format!("`{}` is in `env` as well", cut(&entry.key, 60)), Some(help));
        }
    }
    app.after = fields.get("after").map(|node| after(node, reader)).unwrap_or_default();
    app.resources = fields.get("resources").map(|node| resources(node, reader)).unwrap_or_default();
    app.health = fields.get("health").and_then(|node| super::app_parts::health(node, app.listens, reader));
    app.rollout = fields.get("rollout").map(|node| super::app_parts::rollout(node, reader)).unwrap_or_default();
    app.stop = fields.get("stop").map(|node| super::app_parts::stop(node, reader)).unwrap_or_default();
    app.suspend = fields.get("suspend").and_then(|node| reader.boolean(node)).unwrap_or_default();
    fields.not_built(reader, &NOT_BUILT);
    fields.finish(reader, &NOT_BUILT);
    variables::check(node, app, reader);
}

fn bind(node: &Node, reader: &mut Reader<'_>) -> Option<IpAddr> {
    let text = reader.text(node)?;
    let address = text.value.parse().ok();
    if address.is_none() {
        let help = "name an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all".to_owned();
        reader.error(node.span, format!("`{}` is not an IP address", cut(&text.value, 60)), Some(help));
    }
    address
}

/// A mapping whose keys are environment variables.
fn environment<T>(
    node: &Node,
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>, &Node) -> Option<At<T>>,
) -> BTreeMap<String, At<T>> {
    let mut out = BTreeMap::new();
    for entry in reader.pairs(node, "environment variables") {
        let value = read(reader, &entry.value);
        if !is_variable(&entry.key) {
            let help = "letters, digits and `_`, not beginning with a digit".to_owned();
            let message = format!("`{}` cannot name an environment variable", cut(&entry.key, 60));
            reader.error(entry.key_span, message, Some(help));
        } else if crate::model::BUILT_IN.contains(&&*entry.key) {
            let help = "choose another name; every instance is given `APP`, `HOST`, `INSTANCE` and `PORT`".to_owned();
            reader.error(entry.key_span, format!("`{}` is a built-in variable", entry.key), Some(help));
        } else if let Some(value) = value {
            out.insert(entry.key.to_string(), value);
        }
    }
    out
}

/// The name of a secret that the settings grant; a file in the repository, which is to come, is refused by name.
fn secret(reader: &mut Reader<'_>, node: &Node) -> Option<At<SecretName>> {
    if node.get("file").is_some() {
        let help = "name a secret that the daemon's settings grant instead".to_owned();
        reader.error(node.span, "encrypted files are not built in this version", Some(help));
        return None;
    }
    reader.secret_name(node)
}

fn after(node: &Node, reader: &mut Reader<'_>) -> Vec<At<ResourceId>> {
    let mut out: Vec<At<ResourceId>> = Vec::new();
    let items = reader.items(node, "resources, such as app/auth");
    if items.len() > MAX_AFTER {
        reader.error(node.span, format!("an app comes after at most {MAX_AFTER} others"), None);
        return out;
    }
    for item in items {
        let Some(text) = reader.text(item) else { continue };
        if text.value.starts_with("service/") {
            reader.error(item.span, "kind Service is not built in this version", None);
            continue;
        }
        match text.value.parse::<ResourceId>() {
            Ok(id) if out.iter().any(|other| other.value == id) => {
                reader.error(item.span, format!("`{id}` is listed twice"), None);
            }
            Ok(value) => out.push(At { value, span: item.span }),
            Err(error) => reader.error(item.span, error.to_string(), None),
        }
    }
    out
}

fn was(node: &Node, reader: &mut Reader<'_>) -> Vec<At<Name>> {
    let items = reader.items(node, "names");
    if items.len() > MAX_WAS {
        reader.error(node.span, format!("an app has at most {MAX_WAS} former names"), None);
    }
    items.iter().take(MAX_WAS).filter_map(|item| reader.parse(item)).collect()
}

fn memory(node: &Node, reader: &mut Reader<'_>) -> Option<Bytes> {
    let memory = reader.parse::<Bytes>(node)?.value;
    if memory < LEAST_MEMORY {
        let help = "leave it out for no limit; what is above it is killed".to_owned();
        reader.error(node.span, format!("expected at least {LEAST_MEMORY} of memory, found {memory}"), Some(help));
        return None;
    }
    Some(memory)
}

fn resources(node: &Node, reader: &mut Reader<'_>) -> Resources {
    let Some(mut fields) = reader.fields(node, "resources") else { return Resources::default() };
    let cpu = fields.get("cpu").and_then(|node| reader.parse(node)).map(|at| at.value);
    let memory = fields.get("memory").and_then(|node| memory(node, reader));
    fields.finish(reader, &[]);
    Resources { cpu, memory }
}
