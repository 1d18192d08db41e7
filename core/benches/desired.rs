//! Compiling 10,000 manifests: all of them, then one changed, then planned and judged against as many live objects. Prints
//! milliseconds; run with `--profile perf`.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::str::FromStr as _;
use std::sync::Arc;

use codeops_core::desired::{Compiler, Context, Desired, File, Files, order};
use codeops_core::model::{
    Instance, InstanceHealth, InstanceId, InstanceState, Key, Listing, Live, Memory, Owner, Resource, Revision, Scope,
    Snapshot, Stamp, SystemId,
};
use codeops_core::plan::plan;
use codeops_core::policy::{Facts, judge};

const MANY: usize = 10_000;

fn file(text: String) -> File {
    File::new(text.clone(), text.into_bytes())
}

fn app(i: usize, replicas: usize) -> File {
    let after = if i.is_multiple_of(10) { String::new() } else { format!("\n  after: [app/a{}]", i - 1) };
    file(format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: a{i}, team: payments}}\nspec:\n  provider: local\n  run:\n    command: [./shop, --port, $PORT]\n  replicas: {replicas}\n  port: {{number: {}, protocol: http}}\n  bind: 127.0.{}.1\n  env:\n    LOG: info\n    NAME: a{i}\n  resources: {{cpu: \"0.5\", memory: 256MiB}}\n  health: {{http: /healthz, interval: 2s, timeout: 1s, startTimeout: 60s}}\n  rollout: {{strategy: rolling, surge: 1, unavailable: 0, bake: 2m, onFailure: rollback}}{after}\n",
        1_000 + i % 50_000,
        i / 50_000,
    ))
}

/// In a hundred folders, so that the order of the paths is not that of the ids.
fn path(i: usize) -> Arc<str> {
    format!("apps/{:02}/a{i}.yaml", i % 100).into()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
fn timed<T>(what: &str, rounds: usize, mut run: impl FnMut(usize) -> T) -> Option<T> {
    let mut best = f64::MAX;
    let mut out = None;
    for round in 0..rounds {
        let start = std::time::Instant::now();
        out = Some(run(round));
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{what:<40} {:>8.1} ms, best of {rounds}", best * 1_000.0);
    out
}

fn main() {
    let mut files = Files::new();
    let head = "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme}\nspec: {defaults: {provider: local}}\n---\napiVersion: codeops/v1\nkind: Team\nmetadata: {name: payments}\nspec: {}\n";
    files.insert(Arc::from("codeops.yaml"), file(head.to_owned()));
    files.extend((0..MANY).map(|i| (path(i), app(i, 2))));
    let context = Context::default();
    let mut compiler = Compiler::default();
    let all = timed("10,000 manifests, all new", 5, |_| {
        compiler = Compiler::default();
        compiler.compile(&files, &context)
    });
    let all = all.unwrap_or_default();
    for diagnostic in all.diagnostics.iter().take(3) {
        println!("{}", diagnostic.render(false));
    }
    assert_eq!(all.desired.resources.len(), MANY, "all are good");
    let one = timed("10,000 manifests, one changed", 20, |round| {
        files.insert(path(77), app(77, 3 + round));
        compiler.compile(&files, &context)
    });
    let one = one.unwrap_or_default();
    assert_eq!(one.desired.resources.len(), MANY, "all are good");
    timed("nothing changed", 20, |_| compiler.compile(&files, &context));
    timed("their order", 5, |_| order(&one.desired.resources));
    let (snapshot, memory, revision) =
        (live(&all.desired), Memory::default(), Revision::from_str(&"a".repeat(40)).unwrap());
    let owner = one.desired.owner.clone().unwrap();
    let planned =
        timed("plan, one changed", 20, |_| plan(&one.desired, &revision, &owner, &snapshot, &memory)).unwrap();
    assert_eq!(planned.changes.len(), 1, "one has changed");
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let facts = Facts { now, memory: &memory, snapshot: &snapshot, revision: &revision, freeze: None };
    timed("judge, one changed", 20, |_| judge(&planned, &one.desired, &facts));
}

/// Everything lives as declared.
fn live(desired: &Desired) -> Snapshot {
    let owner = desired.owner.clone().unwrap();
    let objects = desired.resources.iter().map(|(id, resource)| (id.clone(), object(&owner, resource)));
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    let (system, unknown) = (SystemId("bench".to_owned()), Default::default());
    let listing = Listing { system, at, scope: Scope::All, objects: objects.collect(), unknown, epoch: 0 };
    Snapshot { providers: [("local".parse().unwrap(), Ok(listing))].into() }
}

fn object(owner: &Owner, resource: &Resource) -> Live {
    let instance = |n: u32| Instance {
        id: InstanceId::new(&resource.template_digest, n).unwrap(),
        template: resource.template_digest.clone(),
        state: InstanceState::Running,
        health: InstanceHealth::Healthy,
        created_at: "2025-01-01T00:00:00Z".parse().unwrap(),
        health_since: "2025-01-01T00:00:00Z".parse().unwrap(),
        on_trial: false,
        started_at: None,
        restarts: 0,
        losses: 0,
        pid: None,
        port: None,
        why: None,
    };
    Live {
        stamp: Some(Stamp {
            owner: owner.clone(),
            id: resource.id.clone(),
            team: resource.team.clone(),
            spec: resource.spec_digest.clone(),
            template: resource.template_digest.clone(),
            key: Key("bench:1:1".to_owned()),
        }),
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
