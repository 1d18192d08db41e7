//! The gate's claims: a sequence of steps never meets its own, and a rename holds both names.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use codeops::gate::{Gate, Parts, Passage, Picture};
use codeops::journal::{Journal, Started};
use codeops::port::{
    Abilities, Actuator, Applied, ApplyError, Hint, LogQuery, LogStream, Observer, Secrets, Stat, Unreachable,
};
use codeops_core::desired::{Compiler, Context, ProviderFacts};
use codeops_core::model::{Cause, Listing, Live, Op, Owner, ProviderName, Resource, ResourceId, Scope, Snapshot, Step};
use futures_util::stream::BoxStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::fault_log::FaultLog;
use crate::support::flow::{REPOSITORY, TEAM, app, app_with, id, no_secrets, paused_clock};
use crate::support::memory_provider::MemoryProvider;
use crate::support::scripted_source::ScriptedSource;

/// A provider whose steps wait until they may go on.
struct Slow {
    inner: Arc<MemoryProvider>,
    may_go: Semaphore,
}

#[async_trait]
impl Observer for Slow {
    fn abilities(&self) -> &'static Abilities {
        self.inner.abilities()
    }
    async fn observe(&self, scope: &Scope) -> Result<Listing, Unreachable> {
        self.inner.observe(scope).await
    }
    fn hints(&self) -> BoxStream<'static, Hint> {
        self.inner.hints()
    }
    async fn logs(&self, id: &ResourceId, query: LogQuery) -> Result<LogStream, Unreachable> {
        self.inner.logs(id, query).await
    }
    async fn stats(&self, scope: &Scope) -> Result<Vec<Stat>, Unreachable> {
        self.inner.stats(scope).await
    }
}

#[async_trait]
impl Actuator for Slow {
    async fn apply(&self, started: &Started, secrets: &Secrets) -> Result<Applied, ApplyError> {
        self.may_go.acquire().await.expect("never closed").forget();
        self.inner.apply(started, secrets).await
    }
}

/// A gate over one provider, and a revision of two apps: `a`, and `z` that was `b`.
struct Bench {
    gate: Gate,
    slow: Arc<Slow>,
    picture: Arc<Picture>,
    tasks: JoinSet<()>,
    cancel: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        let clock = paused_clock();
        let source = ScriptedSource::new(Arc::clone(&clock));
        let renamed = app_with("z", "v1", "was: [b], ", "");
        let files = [("codeops.yaml", REPOSITORY), ("t.yaml", TEAM), ("a.yaml", &app("a", "v1")), ("z.yaml", &renamed)];
        let revision = source.commit(&files, &[]);
        let facts = ProviderFacts { word: "memory", commands: true, images: true, host_ports: false };
        let context = Context { providers: Some([(local(), facts)].into()), ..Context::default() };
        let desired = Arc::new(Compiler::default().compile(&source.tree(&revision), &context).desired);
        let inner = MemoryProvider::new(Arc::clone(&clock));
        let slow = Arc::new(Slow { inner, may_go: Semaphore::new(Semaphore::MAX_PERMITS) });
        let (mut tasks, cancel) = (JoinSet::new(), CancellationToken::new());
        let parts = Parts {
            journal: Journal::new(FaultLog::new(Arc::clone(&clock), None)),
            actuators: [(local(), Arc::clone(&slow) as Arc<dyn Actuator>)].into(),
            vault: no_secrets(),
            clock,
            vitals: codeops::port::Vitals::default(),
        };
        let gate = Gate::start(parts, &mut tasks, cancel.clone());
        let picture = Arc::new(Picture { desired, snapshot: Arc::default(), revision, freeze: None });
        Self { gate, slow, picture, tasks, cancel }
    }

    /// What is seen now.
    async fn look(&mut self) {
        let listing = self.slow.observe(&Scope::All).await.expect("it answers");
        let snapshot = Arc::new(Snapshot { providers: [(local(), Ok(listing))].into() });
        self.picture = Arc::new(Picture { snapshot, ..Picture::clone(&self.picture) });
    }

    fn desired(&self, name: &str) -> Arc<Resource> {
        Arc::clone(&self.picture.desired.resources[&id(name)])
    }

    fn step(&self, name: &str, op: Op) -> Step {
        let cause = Cause::Revision { revision: self.picture.revision.clone() };
        Step { resource: id(name), owner: owner(), team: "core".parse().expect("a name"), provider: local(), op, cause }
    }

    async fn pass(&self, step: Step) -> Passage {
        self.gate.pass(step, Arc::clone(&self.picture), None).await
    }

    async fn end(mut self) {
        self.cancel.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn local() -> ProviderName {
    "local".parse().expect("a name")
}

fn owner() -> Owner {
    "acme-ops/prod".parse().expect("an owner")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sequence_never_meets_its_own_claim() {
    let mut bench = Bench::new();
    bench.look().await;
    let desired = bench.desired("a");
    let create = Op::Create { desired: Arc::clone(&desired) };
    assert_eq!(bench.pass(bench.step("a", create)).await, Passage::Applied);
    for round in 0..2_000 {
        let configure = Op::Configure { desired: Arc::clone(&desired) };
        assert_eq!(bench.pass(bench.step("a", configure)).await, Passage::Applied, "in round {round}");
    }
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_rename_claims_the_name_it_takes_and_the_one_it_leaves() {
    let mut bench = Bench::new();
    let desired = bench.desired("z");
    let mut former = Resource::clone(&desired);
    former.id = id("b");
    let stamp = codeops_core::model::Stamp {
        owner: owner(),
        id: id("b"),
        team: "core".parse().expect("a name"),
        spec: desired.spec_digest.clone(),
        template: desired.template_digest.clone(),
        key: codeops_core::model::Key("store:1:1".to_owned()),
    };
    let live = Live {
        stamp: Some(stamp),
        spec: Some(former.spec.clone()),
        drift: Vec::new(),
        released: None,
        leaves: false,
        renews: Vec::new(),
        instances: Vec::new(),
        address: None,
        notes: Vec::new(),
    };
    bench.slow.inner.put(&id("b"), live.clone());
    bench.look().await;
    bench.slow.may_go.forget_permits(Semaphore::MAX_PERMITS);
    let ours = live.ours(&owner()).expect("our stamp");
    let rename = bench.step("z", Op::Rename { from: id("b"), ours: ours.clone(), desired: Arc::clone(&desired) });
    let (gate, picture) = (bench.gate.clone(), Arc::clone(&bench.picture));
    let mut renaming = JoinSet::new();
    renaming.spawn(async move { gate.pass(rename, picture, None).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (name, op) in [("b", Op::Delete { ours, moved_to: None }), ("z", Op::Configure { desired })] {
        let refused = bench.pass(bench.step(name, op)).await;
        assert_eq!(refused, Passage::Refused(format!("another step on app/{name} is under way")));
    }
    bench.slow.may_go.add_permits(1);
    assert_eq!(renaming.join_next().await.expect("one").expect("no panic"), Passage::Applied);
    bench.end().await;
}
