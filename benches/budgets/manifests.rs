//! Ten thousand manifests: checked by the command, parsed and resolved, and one of them changed.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use codeops::port::Source as _;
use codeops_core::desired::{Compiled, Compiler, Context, Desired};
use codeops_core::model::{
    Instance, InstanceHealth, InstanceId, InstanceState, Key, Listing, Live, Memory, Owner, Resource, Scope, Snapshot,
    Stamp, SystemId,
};
use codeops_core::plan::plan;
use codeops_core::policy::{Facts, judge};
use jiff::Timestamp;
use tokio::time::Instant;

use super::daemon::{BINARY, Place, program};
use super::house;
use super::table::Row;

const MANY: usize = 10_000;
const VALIDATED: u32 = 5;
const COMPILED: u32 = 7;
const CHANGED: u32 = 15;

/// Times, and the processor time of one round: on a busy machine the latter says more.
struct Followed {
    compile: Vec<Duration>,
    compiling: Duration,
    change: Vec<Duration>,
    changing: Duration,
}

pub(crate) fn measure() -> Vec<Row> {
    let apps = (0..MANY).map(|i| (path(i), app(i, 2)));
    let place = Place::with(&apps.collect::<Vec<_>>());
    let before = house::spent(true);
    let validate: Vec<Duration> = (0..VALIDATED).map(|_| validate(&place)).collect();
    let validating = (house::spent(true) - before) / VALIDATED;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let Followed { compile, compiling, change, changing } = runtime.block_on(follow(&place));
    let processor = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
    let millis = Duration::from_millis;
    vec![
        Row::time("manifests", "`codeops validate`, 10,000 manifests", millis(1_000), &validate),
        Row::told("manifests", "… its processor time, on two threads", processor(validating)),
        Row::time("manifests", "parse and resolve 10,000 manifests", millis(500), &compile),
        Row::told("manifests", "… its processor time, on two threads", processor(compiling)),
        Row::time("manifests", "one of 10,000 files changed → plan judged, after the fetch", millis(50), &change),
        Row::told("manifests", "… its processor time", processor(changing)),
    ]
}

fn validate(place: &Place) -> Duration {
    let begun = Instant::now();
    let status = program(BINARY).arg("validate").arg(place.repository()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "all are good");
    begun.elapsed()
}

/// Everything from nothing, then one change after the other.
async fn follow(place: &Place) -> Followed {
    let mirror = house::mirror(place).await;
    let context = Context::default();
    let tip = mirror.fetch(None).await.unwrap();
    let files = mirror.files(&tip.revision).await.unwrap();
    let mut compiler = Compiler::default();
    let (mut compile, mut change) = (Vec::new(), Vec::new());
    let mut compiled = Compiled::default();
    let before = house::spent(false);
    for _ in 0..COMPILED {
        compiler = Compiler::default();
        let begun = Instant::now();
        compiled = compiler.compile(&files, &context);
        compile.push(begun.elapsed());
    }
    let compiling = (house::spent(false) - before) / COMPILED;
    assert_eq!(compiled.desired.resources.len(), MANY, "all are good");
    drop(files);
    let (snapshot, memory) = (live(&compiled.desired), Memory::default());
    let owner = compiled.desired.owner.clone().unwrap();
    let mut last = tip.revision;
    let mut changing = Duration::ZERO;
    for round in 0..CHANGED {
        place.commit(&[(path(77), app(77, 3 + round))]);
        let tip = mirror.fetch(Some(&last)).await.unwrap();
        let before = house::spent(false);
        let begun = Instant::now();
        let files = mirror.files(&tip.revision).await.unwrap();
        let compiled = compiler.compile(&files, &context);
        let planned = plan(&compiled.desired, &tip.revision, &owner, &snapshot, &memory);
        let facts = Facts { now: now(), memory: &memory, snapshot: &snapshot, revision: &tip.revision, freeze: None };
        let judged = judge(&planned, &compiled.desired, &facts);
        change.push(begun.elapsed());
        changing += house::spent(false) - before;
        assert_eq!((planned.changes.len(), judged.decisions.len()), (1, 1), "one has changed");
        last = tip.revision;
    }
    Followed { compile, compiling, change, changing: changing / CHANGED }
}

fn path(i: usize) -> String {
    format!("apps/{:02}/a{i}.yaml", i % 100)
}

fn app(i: usize, replicas: u32) -> String {
    let after = if i.is_multiple_of(10) { String::new() } else { format!("\n  after: [app/a{}]", i - 1) };
    let (number, third) = (1_000 + i % 50_000, i / 50_000);
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: a{i}, team: payments}}\nspec:\n  provider: local\n  run:\n    command: [./shop, --port, $PORT]\n  replicas: {replicas}\n  port: {{number: {number}, protocol: http}}\n  bind: 127.0.{third}.1\n  env:\n    LOG: info\n    NAME: a{i}\n  resources: {{cpu: \"0.5\", memory: 256MiB}}\n  health: {{http: /healthz, interval: 2s, timeout: 1s, startTimeout: 60s}}\n  rollout: {{strategy: rolling, surge: 1, unavailable: 0, bake: 2m, onFailure: rollback}}{after}\n"
    )
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// Everything lives as declared.
fn live(desired: &Desired) -> Snapshot {
    let owner = desired.owner.clone().unwrap();
    let objects = desired.resources.iter().map(|(id, resource)| (id.clone(), object(&owner, resource))).collect();
    let system = SystemId("bench".to_owned());
    let listing = Listing { system, at: now(), scope: Scope::All, objects, unknown: BTreeMap::new(), epoch: 0 };
    Snapshot { providers: BTreeMap::from([("local".parse().unwrap(), Ok(listing))]) }
}

fn object(owner: &Owner, resource: &Arc<Resource>) -> Live {
    let instance = |n: u32| Instance {
        id: InstanceId::new(&resource.template_digest, n).unwrap(),
        template: resource.template_digest.clone(),
        state: InstanceState::Running,
        health: InstanceHealth::Healthy,
        created_at: now(),
        health_since: now(),
        on_trial: false,
        started_at: None,
        restarts: 0,
        losses: 0,
        pid: None,
        port: None,
        why: None,
    };
    let stamp = Stamp {
        owner: owner.clone(),
        id: resource.id.clone(),
        team: resource.team.clone(),
        spec: resource.spec_digest.clone(),
        template: resource.template_digest.clone(),
        key: Key("bench:1:1".to_owned()),
    };
    Live {
        stamp: Some(stamp),
        spec: Some(resource.spec.clone()),
        drift: Vec::new(),
        released: None,
        leaves: false,
        renews: Vec::new(),
        instances: (0..resource.spec.replicas).map(instance).collect(),
        address: None,
        notes: Vec::new(),
    }
}
