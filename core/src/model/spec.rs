//! What an app should be, lowered: defaults filled in, units normalised, provider-neutral.
//!
//! Serialised, a field at its built-in default is left out, so that a later default-valued field changes no digest.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::{Bytes, MilliCpu, Name, Period, ProviderName, ResourceId, SecretName};

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_one(value: &u32) -> bool {
    *value == 1
}

fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

fn is_loopback(value: &IpAddr) -> bool {
    *value == loopback()
}

/// One app as one revision declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppSpec {
    /// The provider that runs it.
    pub provider: ProviderName,
    /// What is run.
    pub run: RunSpec,
    /// A command run once per template digest before the first new instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// How many instances; 0 keeps the port and runs none.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub replicas: u32,
    /// The stable port clients use, if it serves one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// The address the stable port is bound to.
    #[serde(default = "loopback", skip_serializing_if = "is_loopback")]
    pub bind: IpAddr,
    /// Plain environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Environment variables whose values are secrets, by the secret's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretName>,
    /// Services it is bound to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<Use>,
    /// Resources that must be healthy first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<ResourceId>,
    /// Limits on processor and memory.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// How an instance shows that it works. `None` means: it keeps running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// How a new template replaces an old one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rollout: Rollout,
    /// How an instance is asked to end.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stop: StopPolicy,
    /// No apply, no drift repair, no playbooks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspend: bool,
}

impl AppSpec {
    /// Whether an instance is judged by both in the same way: by the same check, and asked in the same protocol. Neither
    /// needs a new instance, and either can make one that works look as if it did not.
    pub fn judges_as(&self, other: &AppSpec) -> bool {
        let protocol = |spec: &AppSpec| spec.port.map(|port| port.protocol);
        self.health == other.health && protocol(self) == protocol(other)
    }
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunSpec {
    /// A program and its arguments; no shell. `$NAME` and `${NAME}` in arguments stand for variables of the instance's own
    /// environment (secrets excepted), `$$` for a dollar sign.
    Command {
        /// The program and its arguments; never empty.
        command: Vec<String>,
        /// Where the program comes from, when not from the host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        artifact: Option<Artifact>,
    },
    /// A container image, for providers that run them.
    Image(String),
}

/// A file or archive fetched once, verified and unpacked into the release folder that is the working directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// `http:`, `https:` or `file:` URL of one file, tar.gz, tar.zst or zip.
    pub url: String,
    /// Lower-case hex SHA-256 of the fetched bytes.
    pub sha256: String,
}

/// The release command, such as a database migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Program and arguments, as in [`RunSpec::Command`].
    pub command: Vec<String>,
    /// The time it may take; it is then killed and counts as failed.
    pub timeout: Period,
}

/// The stable port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// 1 to 65535.
    pub number: u16,
    /// How connections are spread over instances.
    pub protocol: Protocol,
}

/// How connections to the stable port reach instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Forwarded request by request.
    Http,
    /// Forwarded connection by connection, drained to a deadline.
    Tcp,
}

/// A service this app is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// The service's name.
    pub service: Name,
    /// The prefix of the variables that are injected.
    #[serde(rename = "as")]
    pub alias: String,
}

/// Limits on one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// The share of processors it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<MilliCpu>,
    /// The memory it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
}

/// How an instance shows that it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// The time between two probes.
    pub interval: Period,
    /// The time one probe may take.
    pub timeout: Period,
    /// The time a new instance has until its first success.
    pub start_timeout: Period,
    /// Failures in a row that make a healthy instance unhealthy.
    pub failures: u32,
}

/// What a health check asks of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    /// `GET` of this path on the instance's port answers 200 to 399.
    Http(String),
    /// The instance's port accepts a connection.
    Tcp,
    /// This command, run as the instance is, exits 0.
    Command(Vec<String>),
}

/// How a new template replaces an old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollout {
    /// Beside the old, or after them.
    #[serde(default)]
    pub strategy: Strategy,
    /// Instances above `replicas` while rolling.
    pub surge: u32,
    /// Instances below `replicas` that may be missing while rolling.
    pub unavailable: u32,
    /// How long all new instances must stay healthy before the template is the last good one.
    pub bake: Period,
    /// What follows a template that fails.
    #[serde(default)]
    pub on_failure: OnFailure,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            strategy: Strategy::Rolling,
            surge: 1,
            unavailable: 0,
            bake: Period::from_secs(30),
            on_failure: OnFailure::Rollback,
        }
    }
}

/// Beside the old instances, or after them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// New instances start beside old ones.
    #[default]
    Rolling,
    /// All old instances stop before the first new one starts.
    Recreate,
}

/// What follows a version that fails its rollout or bake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Back to the last good version.
    #[default]
    Rollback,
    /// Stay as it is, degraded, until a commit.
    Pause,
}

/// How an instance is asked to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopPolicy {
    /// A signal's name without `SIG`: `TERM`, `INT`, `QUIT`, `HUP`, `USR1`, `USR2`.
    pub signal: String,
    /// The time until it is killed.
    pub grace: Period,
}

impl Default for StopPolicy {
    fn default() -> Self {
        Self { signal: "TERM".to_owned(), grace: Period::from_secs(10) }
    }
}
