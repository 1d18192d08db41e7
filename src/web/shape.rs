//! What is shown of resources, in the words of the manifest: a spec as one would write it, defaults filled in. The shapes in
//! which the journal and providers keep things stay their own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use codeops_core::model::{
    AppSpec, Artifact, Digest, HealthCheck, Instance, InstanceHealth, InstanceId, InstanceState, Period, Port, Probe,
    ProviderName, Release, ResourceId, Resources, Rollout, RunSpec, SecretName, StopPolicy, Use,
};
use jiff::Timestamp;
use serde::Serialize;

/// The `spec` of an App's manifest.
#[derive(Serialize)]
pub(super) struct SpecShape<'a> {
    provider: &'a ProviderName,
    run: RunShape<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<&'a Release>,
    replicas: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<Port>,
    bind: IpAddr,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    secrets: &'a BTreeMap<String, SecretName>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    uses: &'a [Use],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    after: &'a [ResourceId],
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a Resources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthShape<'a>>,
    rollout: RolloutShape<'a>,
    stop: &'a StopPolicy,
    suspend: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RunShape<'a> {
    Command {
        command: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        artifact: Option<&'a Artifact>,
    },
    Image {
        image: &'a str,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HealthShape<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a [String]>,
    interval: Period,
    timeout: Period,
    start_timeout: Period,
    failures: u32,
}

/// `surge` and `unavailable` belong to the strategy `rolling` alone.
#[derive(Serialize)]
#[serde(untagged)]
enum RolloutShape<'a> {
    Rolling(&'a Rollout),
    #[serde(rename_all = "camelCase")]
    Recreate {
        strategy: codeops_core::model::Strategy,
        bake: Period,
        on_failure: codeops_core::model::OnFailure,
    },
}

impl<'a> SpecShape<'a> {
    /// `spec` as one would write it.
    pub(super) fn of(spec: &'a AppSpec) -> Self {
        Self {
            provider: &spec.provider,
            run: match &spec.run {
                RunSpec::Command { command, artifact } => RunShape::Command { command, artifact: artifact.as_ref() },
                RunSpec::Image(image) => RunShape::Image { image },
            },
            release: spec.release.as_ref(),
            replicas: spec.replicas,
            port: spec.port,
            bind: spec.bind,
            env: &spec.env,
            secrets: &spec.secrets,
            uses: &spec.uses,
            after: &spec.after,
            resources: (spec.resources != Resources::default()).then_some(&spec.resources),
            health: spec.health.as_ref().map(health),
            rollout: rollout(&spec.rollout),
            stop: &spec.stop,
            suspend: spec.suspend,
        }
    }
}

fn health(check: &HealthCheck) -> HealthShape<'_> {
    let (mut http, mut tcp, mut command) = (None, None, None);
    match &check.probe {
        Probe::Http(path) => http = Some(path.as_str()),
        Probe::Tcp => tcp = Some(true),
        Probe::Command(words) => command = Some(words.as_slice()),
    }
    let HealthCheck { interval, timeout, start_timeout, failures, .. } = *check;
    HealthShape { http, tcp, command, interval, timeout, start_timeout, failures }
}

fn rollout(rollout: &Rollout) -> RolloutShape<'_> {
    match rollout.strategy {
        codeops_core::model::Strategy::Rolling => RolloutShape::Rolling(rollout),
        strategy => RolloutShape::Recreate { strategy, bake: rollout.bake, on_failure: rollout.on_failure },
    }
}

/// An instance as answers show it.
#[derive(Serialize)]
pub(super) struct InstanceShape<'a> {
    id: &'a InstanceId,
    template: &'a Digest,
    state: InstanceState,
    health: InstanceHealth,
    created_at: Timestamp,
    health_since: Timestamp,
    on_trial: bool,
    started_at: Option<Timestamp>,
    restarts: u32,
    pid: Option<u32>,
    port: Option<u16>,
    why: Option<&'a str>,
}

impl<'a> InstanceShape<'a> {
    /// `instance`, with names as the rest of an answer has them.
    pub(super) fn of(instance: &'a Instance) -> Self {
        Self {
            id: &instance.id,
            template: &instance.template,
            state: instance.state,
            health: instance.health,
            created_at: instance.created_at,
            health_since: instance.health_since,
            on_trial: instance.on_trial,
            started_at: instance.started_at,
            restarts: instance.restarts,
            pid: instance.pid,
            port: instance.port,
            why: instance.why.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use codeops_core::desired::{Compiler, Context, File, Files};

    use super::*;

    const REPOSITORY: &str = "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: ops}\nspec: {}\n";
    const OTHERS: &str = "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: t}\nspec: {}\n---\n\
        apiVersion: codeops/v1\nkind: App\nmetadata: {name: other, team: t}\nspec: {provider: local, run: {command: [x]}}\n";

    fn compiled(spec: &str) -> AppSpec {
        let app = format!("apiVersion: codeops/v1\nkind: App\nmetadata: {{name: a, team: t}}\nspec: {spec}\n");
        let file = |text: &str| File::new(text, text.as_bytes());
        let files = [("codeops.yaml", REPOSITORY), ("a.yaml", &app), ("o.yaml", OTHERS)];
        let files: Files = files.into_iter().map(|(path, text)| (Arc::from(path), file(text))).collect();
        let compiled = Compiler::default().compile(&files, &Context::default());
        let found = compiled.desired.resources.get(&"app/a".parse().expect("an id"));
        found.unwrap_or_else(|| panic!("{spec}: {:?}", compiled.diagnostics)).spec.clone()
    }

    #[test]
    fn what_is_shown_can_be_written_and_means_the_same() {
        for spec in [
            "{provider: local, run: {command: [./a, \"$$x\"]}}",
            "{provider: local, run: {image: \"x/y:1\"}, replicas: 0, suspend: true}",
            "{provider: local, run: {command: [a], artifact: {url: \"https://b.example/a\", sha256: \
             0000000000000000000000000000000000000000000000000000000000000000}}, port: 8080, health: {http: /healthz}}",
            "{provider: local, run: {command: [a]}, port: {number: 80, protocol: http}, bind: 0.0.0.0, health: {tcp: true}, \
             env: {A: b}, after: [app/other], resources: {cpu: \"0.5\", memory: 256MiB}, release: {command: [m]}}",
            "{provider: local, run: {command: [a]}, health: {command: [check, it], interval: 90s, failures: 7}, \
             rollout: {strategy: recreate, bake: 2m, onFailure: pause}, stop: {signal: INT, grace: 1m}}",
            "{provider: local, run: {command: [a]}, rollout: {surge: 0, unavailable: 2}}",
        ] {
            let spec = compiled(spec);
            let shown = serde_json::to_string(&SpecShape::of(&spec)).expect("JSON");
            assert_eq!(compiled(&shown), spec, "{shown}");
        }
    }

    #[test]
    fn names_are_those_of_the_manifest() {
        let spec = compiled("{provider: local, run: {command: [./a]}, port: 80, health: {http: /up}}");
        let shown = serde_json::to_value(SpecShape::of(&spec)).expect("JSON");
        assert_eq!(shown["run"], serde_json::json!({"command": ["./a"]}));
        assert_eq!(shown["health"]["http"], "/up");
        assert!(shown["health"]["startTimeout"].is_string() && shown["replicas"] == 1, "{shown}");
    }
}
