//! Manifests as they are written, as types: only their JSON Schema is used.
#![expect(dead_code, reason = "only the schema of these types is used")]

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::forms::{never_two, one_of};
use crate::config::{RepositorySpec, TeamSpec};
use crate::model::{Bytes, Name, OnFailure, Period, ResourceId, Strategy};

/// The config repository: its name, its defaults and its limits. There is exactly one.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Repository {
    api_version: String,
    kind: String,
    metadata: NameOnly,
    spec: Option<RepositorySpec>,
}

/// A team: whoever owns resources.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Team {
    api_version: String,
    kind: String,
    metadata: NameOnly,
    spec: Option<TeamSpec>,
}

/// An application: instances of one command or image behind one stable port.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct App {
    api_version: String,
    kind: String,
    metadata: AppMetadata,
    spec: AppSpec,
}

/// What it is called.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct NameOnly {
    /// Lower-case letters, digits and hyphens; it never changes.
    name: Name,
}

/// What it is called and whose it is.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct AppMetadata {
    /// Lower-case letters, digits and hyphens.
    name: Name,
    /// The one team that owns it.
    team: Name,
    /// Names it had before; data, port and history stay.
    was: Option<Vec<Name>>,
    /// Take over an object in the way that is not ours.
    adopt: Option<bool>,
}

/// What it is called and whose it is.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct OwnedMetadata {
    /// Lower-case letters, digits and hyphens.
    name: Name,
    /// The one team that owns it.
    team: Name,
}

/// A text; numbers are taken as they are written, booleans need quotes.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Text {
    Text(String),
    Number(f64),
}

/// What should run.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct AppSpec {
    /// Where it runs; the Repository's default when left out.
    provider: Option<Name>,
    /// What is run.
    run: Run,
    /// A command run once before the first new instance; its failure keeps the old serving.
    release: Option<Release>,
    /// How many instances; 1 when left out.
    #[schemars(range(min = 0, max = 1000))]
    replicas: Option<u32>,
    /// The stable port that clients use.
    port: Option<Port>,
    /// The IP address the port is bound to; 127.0.0.1 when left out.
    #[schemars(regex(pattern = "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)$"))]
    bind: Option<String>,
    /// Plain environment variables.
    env: Option<BTreeMap<String, Text>>,
    /// Environment variables whose values are secrets, by the secret's name in the daemon's settings.
    secrets: Option<BTreeMap<String, Name>>,
    /// Resources that must be healthy first.
    after: Option<Vec<ResourceId>>,
    /// Limits on each instance.
    resources: Option<Resources>,
    /// How an instance shows that it works; a connection to the port when left out.
    health: Option<Health>,
    /// How new instances replace old ones.
    rollout: Option<Rollout>,
    /// How an instance is asked to end.
    stop: Option<Stop>,
    /// true: no commit is applied, no drift repaired, no playbook run; an instance that ends is still started again.
    suspend: Option<bool>,
}

/// A command, with or without an artifact; or an image.
#[derive(JsonSchema)]
#[schemars(
    deny_unknown_fields,
    extend("oneOf" = one_of(&["command", "image"]), "dependentRequired" = {"artifact": ["command"]})
)]
struct Run {
    /// The program and its arguments; no shell. `$NAME` stands for a variable, `$$` for a dollar sign.
    #[schemars(length(min = 1))]
    command: Option<Vec<Text>>,
    /// Where the program comes from, when not from the host.
    artifact: Option<Artifact>,
    /// A container image.
    image: Option<String>,
}

/// One file, tar.gz, tar.zst or zip.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Artifact {
    /// An http:, https: or file: URL.
    #[schemars(regex(pattern = "^(https?://[^/?#]|file:///)"))]
    url: String,
    /// 64 hex digits.
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    sha256: String,
}

/// A command run once per template.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Release {
    /// The program and its arguments.
    #[schemars(length(min = 1))]
    command: Vec<Text>,
    /// The time it may take; 5m when left out, 7d at most.
    timeout: Option<Period>,
}

/// A number, or a number and a protocol.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Port {
    Number(#[schemars(range(min = 1, max = 65535))] u16),
    Full(FullPort),
}

/// A number and a protocol.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FullPort {
    /// 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    number: u16,
    /// http when health.http is set, else tcp.
    protocol: Option<Protocol>,
}

/// How connections reach instances.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Protocol {
    /// Request by request.
    Http,
    /// Connection by connection.
    Tcp,
}

/// Limits on each instance.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Resources {
    /// A share of processors, such as "0.5" or 500m.
    cpu: Option<Cpu>,
    /// Such as 256MiB; 1MiB at least.
    memory: Option<Bytes>,
}

/// A share of processors.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Cpu {
    Text(#[schemars(regex(pattern = "^[0-9]{1,7}(m|\\.[0-9]{0,3})?$"))] String),
    Number(#[schemars(extend("exclusiveMinimum" = 0))] f64),
}

/// At most one probe, and its times.
#[derive(JsonSchema)]
#[schemars(
    rename_all = "camelCase",
    deny_unknown_fields,
    extend("not" = never_two(&["http", "tcp", "command"]))
)]
struct Health {
    /// A path whose GET answers 200 to 399.
    #[schemars(regex(pattern = "^/"))]
    http: Option<String>,
    /// `true`: the port accepts a connection.
    #[schemars(extend("enum" = [true, null]))]
    tcp: Option<bool>,
    /// A command that exits 0.
    #[schemars(length(min = 1))]
    command: Option<Vec<Text>>,
    /// The time between two probes; 2s when left out, 1h at most.
    interval: Option<Period>,
    /// The time one probe may take; 1s when left out, 1h at most.
    timeout: Option<Period>,
    /// The time until the first success; 60s when left out, 1d at most.
    start_timeout: Option<Period>,
    /// Failures in a row that make an instance unhealthy; 3 when left out.
    #[schemars(range(min = 1, max = 1000))]
    failures: Option<u32>,
}

/// How new instances replace old ones. Surge and unavailable belong to the strategy rolling.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("not" = {
    "type": "object",
    "properties": {"strategy": {"const": "recreate"}},
    "required": ["strategy"],
    "anyOf": [{"required": ["surge"]}, {"required": ["unavailable"]}]
}))]
struct Rollout {
    /// Beside the old, or after them.
    strategy: Option<Strategy>,
    /// Instances above `replicas` while rolling; 1 when left out.
    #[schemars(range(min = 0, max = 1000))]
    surge: Option<u32>,
    /// Instances that may be missing while rolling; 0 when left out.
    #[schemars(range(min = 0, max = 1000))]
    unavailable: Option<u32>,
    /// How long all must stay healthy before this is the last good version; 30s when left out, 7d at most.
    bake: Option<Period>,
    /// What follows a version that fails.
    on_failure: Option<OnFailure>,
}

/// How an instance is asked to end.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Stop {
    /// The signal; TERM when left out.
    signal: Option<Signal>,
    /// The time until it is killed; 10s when left out, 1d at most.
    grace: Option<Period>,
}

/// A signal without `SIG`.
#[derive(JsonSchema)]
#[schemars(rename_all = "UPPERCASE")]
enum Signal {
    Term,
    Int,
    Quit,
    Hup,
    Usr1,
    Usr2,
}
