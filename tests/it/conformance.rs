//! One suite that every provider passes: each case is a test of its own for each provider.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use codeops::journal::{Journal, Outcome, Started};
use codeops::port::{Actuator, Applied, ApplyError, Hint, LogQuery, Secrets, SystemClock};
use codeops_core::model::{
    AppSpec, Cause, Digest, Instance, InstanceHealth, InstanceId, InstanceState, Live, Observed, Op, Owner, Period,
    Place, Resource, ResourceId, Revision, Scope, Step,
};
use futures_util::StreamExt as _;

use crate::support::fault_log::FaultLog;

/// What the suite needs of a provider's surroundings.
#[async_trait::async_trait]
pub(crate) trait Harness: Send + Sync {
    /// The provider under test.
    fn provider(&self) -> Arc<dyn Actuator>;
    /// The spec of an app that starts, writes one line and stays; two variants are two templates.
    fn spec(&self, variant: u32) -> AppSpec;
    /// Ends an instance behind the provider's back.
    async fn kill(&self, id: &ResourceId, instance: &Instance);
    /// Puts something in the way of `id` that carries no stamp.
    async fn put_foreign(&self, id: &ResourceId);
    /// Makes `id` unreachable, or reachable again.
    async fn cut(&self, id: &ResourceId, cut: bool);
    /// Applies, and loses the answer after the effect.
    async fn lose_answer(&self, started: &Started);
    /// The app, which runs, writes what outlives its instances.
    fn write(&self, id: &ResourceId, text: &str);
    /// What it finds of that.
    fn written(&self, id: &ResourceId) -> Option<String>;
    /// The provider as the next daemon opens it on the same system.
    async fn restart(&self);
}

/// A harness, a journal and the words of the suite.
pub(crate) struct Bench<H> {
    pub(crate) harness: H,
    log: Arc<FaultLog>,
    pub(crate) journal: Journal,
}

const PATIENCE: Duration = Duration::from_secs(20);

fn name(text: &str) -> codeops_core::model::Name {
    text.parse().expect("a name")
}

pub(crate) fn id(text: &str) -> ResourceId {
    text.parse().expect("an id")
}

pub(crate) fn owner() -> Owner {
    Owner { repository: name("acme"), environment: None }
}

pub(crate) fn resource(id: &ResourceId, spec: AppSpec) -> Arc<Resource> {
    let json = serde_json::to_value(&spec).expect("JSON");
    let template = serde_json::json!({"run": json["run"], "env": json["env"], "secrets": json["secrets"]});
    Arc::new(Resource {
        id: id.clone(),
        team: name("team"),
        spec_digest: Digest::of(&json),
        template_digest: Digest::of(&template),
        spec,
        secret_tags: Default::default(),
        was: Vec::new(),
        adopt: false,
        place: Place { file: "apps.yaml".into(), line: 1, column: 1 },
    })
}

pub(crate) fn instance_of(resource: &Resource, ordinal: u32) -> InstanceId {
    InstanceId::new(&resource.template_digest, ordinal).expect("an instance id")
}

impl<H: Harness> Bench<H> {
    pub(crate) fn new(harness: H) -> Self {
        let log = FaultLog::new(Arc::new(SystemClock), None);
        Self { harness, journal: Journal::new(log.clone()), log }
    }

    /// The journal as the next daemon opens it.
    pub(crate) fn reopen(&mut self) {
        self.log = self.log.reopen(None);
        self.journal = Journal::new(self.log.clone());
    }

    pub(crate) fn resource(&self, id: &ResourceId, variant: u32) -> Arc<Resource> {
        resource(id, self.harness.spec(variant))
    }

    pub(crate) async fn intend(&self, resource: &ResourceId, op: Op) -> Started {
        let revision: Revision = "0123456789abcdef0123456789abcdef01234567".parse().expect("a revision");
        let step = Step {
            resource: resource.clone(),
            owner: owner(),
            team: name("team"),
            provider: name("local"),
            op,
            cause: Cause::Revision { revision },
        };
        self.journal.intend(step, Vec::new()).await.expect("an intent")
    }

    pub(crate) async fn try_act(&self, resource: &ResourceId, op: Op) -> Result<Applied, ApplyError> {
        let started = self.intend(resource, op).await;
        let result = self.harness.provider().apply(&started, &Secrets::default()).await;
        self.journal.settle(&started, Outcome::Done { note: None }, Vec::new()).await.expect("a result");
        result
    }

    pub(crate) async fn act(&self, resource: &ResourceId, op: Op) -> Applied {
        let word = op.word();
        self.try_act(resource, op).await.unwrap_or_else(|error| panic!("{word} {resource}: {error:?}"))
    }

    pub(crate) async fn observed(&self, id: &ResourceId) -> Observed {
        let scope = Scope::Ids([id.clone()].into());
        self.harness.provider().observe(&scope).await.map_or_else(
            |error| Observed::Unknown(codeops_core::model::Why(error.to_string())),
            |listing| listing.observed(id),
        )
    }

    pub(crate) async fn live(&self, id: &ResourceId) -> Live {
        match self.observed(id).await {
            Observed::Present(live) => *live,
            other => panic!("{id} is {other:?}"),
        }
    }

    pub(crate) async fn all(&self) -> codeops_core::model::Listing {
        self.harness.provider().observe(&Scope::All).await.expect("a listing")
    }

    pub(crate) async fn create(&self, id: &ResourceId, variant: u32) -> Arc<Resource> {
        let desired = self.resource(id, variant);
        self.act(id, Op::Create { desired: Arc::clone(&desired) }).await;
        desired
    }

    pub(crate) async fn start(&self, desired: &Arc<Resource>, ordinal: u32) -> InstanceId {
        let instance = instance_of(desired, ordinal);
        self.act(&desired.id, Op::Start { instance: instance.clone(), desired: Arc::clone(desired) }).await;
        instance
    }

    /// An app with one healthy instance.
    pub(crate) async fn running(&self, id: &ResourceId) -> (Arc<Resource>, InstanceId) {
        let desired = self.create(id, 1).await;
        let instance = self.start(&desired, 1).await;
        self.until_live(id, "healthy", |live| healthy(live, &instance)).await;
        (desired, instance)
    }

    pub(crate) async fn until_live(&self, id: &ResourceId, what: &str, seen: impl Fn(&Live) -> bool) -> Live {
        let observed = self.until(id, what, |observed| matches!(observed, Observed::Present(live) if seen(live))).await;
        match observed {
            Observed::Present(live) => *live,
            other => panic!("{id} is {other:?}"),
        }
    }

    pub(crate) async fn until(&self, id: &ResourceId, what: &str, seen: impl Fn(&Observed) -> bool) -> Observed {
        let mut last = None;
        let looking = async {
            loop {
                let observed = self.observed(id).await;
                if seen(&observed) {
                    return observed;
                }
                last = Some(observed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await.ok();
        found.unwrap_or_else(|| panic!("{id} never was {what}: {last:?}"))
    }

    pub(crate) async fn delete(&self, id: &ResourceId) {
        self.leave(id, None).await;
    }

    /// Deletes it for good, or because it lives on elsewhere.
    async fn leave(&self, id: &ResourceId, moved_to: Option<&str>) {
        let ours = self.live(id).await.ours(&owner()).expect("our stamp");
        self.act(id, Op::Delete { ours, moved_to: moved_to.map(name) }).await;
        self.until(id, "absent", |observed| matches!(observed, Observed::Absent(_))).await;
    }
}

pub(crate) fn healthy(live: &Live, instance: &InstanceId) -> bool {
    live.instances
        .iter()
        .any(|i| i.id == *instance && i.health == InstanceHealth::Healthy && i.state == InstanceState::Running)
}

async fn observes_nothing(bench: Bench<impl Harness>) {
    let listing = bench.all().await;
    assert!(listing.objects.is_empty() && listing.unknown.is_empty(), "{listing:?}");
    assert!(matches!(bench.observed(&id("app/shop")).await, Observed::Absent(_)));
    assert_eq!(listing.system, bench.all().await.system);
}

async fn creates_with_a_stamp_and_no_instance(bench: Bench<impl Harness>) {
    let shop = id("app/shop");
    let desired = bench.create(&shop, 1).await;
    let live = bench.live(&shop).await;
    let stamp = live.stamp.clone().expect("a stamp");
    assert_eq!((&stamp.id, &stamp.owner, &stamp.team), (&shop, &owner(), &desired.team));
    assert_eq!((&stamp.spec, &stamp.template), (&desired.spec_digest, &desired.template_digest));
    assert_eq!(live.spec.as_ref(), Some(&desired.spec));
    assert!(live.instances.is_empty() && live.drift.is_empty());
    assert!(live.ours(&owner()).is_some());
    bench.delete(&shop).await;
}

async fn a_second_look_finds_nothing_to_do(bench: Bench<impl Harness>) {
    let shop = id("app/shop");
    bench.running(&shop).await;
    let (one, two) = (bench.all().await, bench.all().await);
    assert_eq!(one.objects, two.objects);
    assert_eq!(one.system, two.system);
    bench.delete(&shop).await;
}

async fn changes_in_place_without_a_new_instance(bench: Bench<impl Harness>) {
    let shop = id("app/shop");
    let (before, instance) = bench.running(&shop).await;
    let mut spec = before.spec.clone();
    spec.rollout.bake = Period::from_secs(77);
    let desired = resource(&shop, spec);
    assert_eq!(desired.template_digest, before.template_digest);
    let pid = bench.live(&shop).await.instances[0].pid;
    bench.act(&shop, Op::Configure { desired: Arc::clone(&desired) }).await;
    let live = bench.live(&shop).await;
    assert_eq!(live.stamp.map(|s| s.spec), Some(desired.spec_digest.clone()));
    assert_eq!(live.spec.map(|s| s.rollout.bake), Some(Period::from_secs(77)));
    assert_eq!((&live.instances[0].id, live.instances[0].pid, live.instances[0].restarts), (&instance, pid, 0));
    bench.delete(&shop).await;
}

async fn replaces_an_instance_when_the_template_changes(bench: Bench<impl Harness>) {
    let shop = id("app/shop");
    let (_, old) = bench.running(&shop).await;
    let desired = bench.resource(&shop, 2);
    bench.act(&shop, Op::Configure { desired: Arc::clone(&desired) }).await;
    let new = bench.start(&desired, 1).await;
    bench.until_live(&shop, "healthy in the new template", |live| healthy(live, &new)).await;
    bench.act(&shop, Op::Stop { instance: old.clone() }).await;
    let live =
        bench.until_live(&shop, "rid of the old instance", |live| live.instances.iter().all(|i| i.id != old)).await;
    assert_eq!(live.instances.len(), 1);
    assert_eq!(live.instances[0].template, desired.template_digest);
    bench.delete(&shop).await;
}

async fn drift_shows_and_is_repaired(bench: Bench<impl Harness>) {
    let shop = id("app/shop");
    let (desired, instance) = bench.running(&shop).await;
    let before = bench.live(&shop).await.instances[0].clone();
    let mut hints = bench.harness.provider().hints();
    bench.harness.kill(&shop, &before).await;
    let hinted = async {
        while let Some(hint) = hints.next().await {
            if hint == Hint::Lost || hint == Hint::Changed(shop.clone()) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, hinted).await.expect("a hint");
    let changed = |live: &Live| live.instances.iter().all(|i| i.id != instance || *i != before);
    let live = bench.until_live(&shop, "seen to have changed", changed).await;
    if live.instances.is_empty() {
        bench.start(&desired, 1).await;
    }
    let live = bench.until_live(&shop, "healthy again", |live| healthy(live, &instance)).await;
    assert_eq!(live.instances.len(), 1);
    bench.delete(&shop).await;
}

async fn deletes_only_what_is_ours(bench: Bench<impl Harness>) {
    let (shop, other) = (id("app/shop"), id("app/other"));
    bench.running(&shop).await;
    bench.running(&other).await;
    let old = bench.live(&shop).await.ours(&owner()).expect("our stamp");
    let mut spec = bench.harness.spec(1);
    spec.rollout.bake = Period::from_secs(5);
    bench.act(&shop, Op::Configure { desired: resource(&shop, spec) }).await;
    let error = bench
        .try_act(&shop, Op::Delete { ours: old, moved_to: None })
        .await
        .expect_err("a stamp that is not there any more");
    assert!(matches!(error, ApplyError::Retry(_) | ApplyError::Reject(_)), "{error:?}");
    bench.delete(&shop).await;
    assert!(matches!(bench.observed(&other).await, Observed::Present(live) if live.instances.len() == 1));
    bench.delete(&other).await;
    assert!(bench.all().await.objects.is_empty());
}

async fn what_it_wrote_outlives_a_move_and_not_its_deletion(mut bench: Bench<impl Harness>) {
    let shop = id("app/shop");
    bench.running(&shop).await;
    bench.harness.write(&shop, "orders");
    for _ in 0..2 {
        bench.leave(&shop, Some("edge")).await;
        assert!(bench.all().await.objects.is_empty());
        bench.harness.restart().await;
        bench.reopen();
        bench.running(&shop).await;
        assert_eq!(bench.harness.written(&shop).as_deref(), Some("orders"), "it came back");
    }
    bench.delete(&shop).await;
    bench.running(&shop).await;
    assert_eq!(bench.harness.written(&shop), None);
    bench.delete(&shop).await;
}

async fn what_is_not_ours_is_shown_and_left_alone(bench: Bench<impl Harness>) {
    let shop = id("app/shop");
    bench.harness.put_foreign(&shop).await;
    let live = bench.live(&shop).await;
    assert!(live.stamp.is_none() && live.ours(&owner()).is_none());
    let desired = bench.resource(&shop, 1);
    let error = bench.try_act(&shop, Op::Create { desired: Arc::clone(&desired) }).await.expect_err("not ours");
    assert!(matches!(error, ApplyError::Reject(_)), "{error:?}");
    assert_eq!(bench.live(&shop).await, live);
    bench.act(&shop, Op::Adopt { desired: Arc::clone(&desired) }).await;
    assert!(bench.live(&shop).await.ours(&owner()).is_some());
    bench.delete(&shop).await;
}

async fn an_unreachable_object_is_unknown_and_no_other(bench: Bench<impl Harness>) {
    let (shop, other) = (id("app/shop"), id("app/other"));
    bench.running(&shop).await;
    bench.running(&other).await;
    bench.harness.cut(&shop, true).await;
    let observed = bench.observed(&shop).await;
    let others = bench.observed(&other).await;
    let desired = bench.resource(&shop, 2);
    let refused = bench.try_act(&shop, Op::Configure { desired }).await;
    bench.harness.cut(&shop, false).await;
    assert!(matches!(observed, Observed::Unknown(_)), "{observed:?}");
    assert!(matches!(others, Observed::Present(_)), "{others:?}");
    assert!(matches!(refused, Err(ApplyError::Retry(_) | ApplyError::OutcomeUnknown(_))), "{refused:?}");
    bench.until_live(&shop, "known again", |live| live.instances.len() == 1).await;
    bench.delete(&shop).await;
    bench.delete(&other).await;
}

async fn one_key_has_one_effect(bench: Bench<impl Harness>) {
    let shop = id("app/shop");
    let desired = bench.resource(&shop, 1);
    let instance = instance_of(&desired, 1);
    for op in [
        Op::Create { desired: Arc::clone(&desired) },
        Op::Configure { desired: Arc::clone(&desired) },
        Op::Start { instance: instance.clone(), desired: Arc::clone(&desired) },
    ] {
        let started = bench.intend(&shop, op).await;
        for _ in 0..3 {
            bench.harness.provider().apply(&started, &Secrets::default()).await.expect("applied");
        }
        bench.journal.settle(&started, Outcome::Done { note: None }, Vec::new()).await.expect("a result");
    }
    let live = bench.until_live(&shop, "healthy", |live| healthy(live, &instance)).await;
    assert_eq!((live.instances.len(), live.instances[0].restarts), (1, 0));
    let ours = live.ours(&owner()).expect("our stamp");
    for op in [Op::Stop { instance: instance.clone() }, Op::Delete { ours, moved_to: None }] {
        let gone = matches!(op, Op::Delete { .. });
        let started = bench.intend(&shop, op).await;
        bench.harness.provider().apply(&started, &Secrets::default()).await.expect("applied");
        if gone {
            bench.until(&shop, "absent", |observed| matches!(observed, Observed::Absent(_))).await;
        }
        bench.harness.provider().apply(&started, &Secrets::default()).await.expect("applied again");
        bench.journal.settle(&started, Outcome::Done { note: None }, Vec::new()).await.expect("a result");
    }
    assert!(matches!(bench.observed(&shop).await, Observed::Absent(_)));
}

async fn what_is_in_doubt_is_settled_under_the_same_key(mut bench: Bench<impl Harness>) {
    let shop = id("app/shop");
    let desired = bench.create(&shop, 1).await;
    let instance = instance_of(&desired, 1);
    let op = Op::Start { instance: instance.clone(), desired: Arc::clone(&desired) };
    let started = bench.intend(&shop, op.clone()).await;
    bench.harness.lose_answer(&started).await;
    // The daemon dies here: the intent has no result.
    bench.harness.restart().await;
    bench.reopen();
    let before = bench.until_live(&shop, "healthy", |live| healthy(live, &instance)).await.instances[0].clone();
    let again = bench.intend(&shop, op).await;
    assert_eq!(again.key(), started.key());
    bench.harness.provider().apply(&again, &Secrets::default()).await.expect("applied");
    let live = bench.live(&shop).await;
    assert_eq!(live.instances.len(), 1);
    assert_eq!((&live.instances[0].id, live.instances[0].pid), (&before.id, before.pid));
    bench.delete(&shop).await;
}

async fn a_move_to_another_team_keeps_what_runs(bench: Bench<impl Harness>) {
    let shop = id("app/shop");
    let (desired, instance) = bench.running(&shop).await;
    let before = bench.live(&shop).await;
    let team: codeops_core::model::TeamName = "others".parse().expect("a name");
    let theirs = Arc::new(Resource { team: team.clone(), ..Resource::clone(&desired) });
    bench.act(&shop, Op::Configure { desired: theirs }).await;
    let live = bench.live(&shop).await;
    assert_eq!(live.stamp.as_ref().map(|stamp| &stamp.team), Some(&team));
    assert!(healthy(&live, &instance) && !live.instances[0].on_trial);
    assert_eq!((live.instances[0].pid, live.instances[0].restarts), (before.instances[0].pid, 0));
    bench.delete(&shop).await;
}

async fn a_rename_keeps_what_runs(bench: Bench<impl Harness>) {
    let (shop, store) = (id("app/shop"), id("app/store"));
    let (_, instance) = bench.running(&shop).await;
    let before = bench.live(&shop).await;
    let ours = before.ours(&owner()).expect("our stamp");
    let desired = bench.resource(&store, 1);
    bench.act(&store, Op::Rename { from: shop.clone(), ours, desired }).await;
    let live = bench.live(&store).await;
    assert!(healthy(&live, &instance));
    assert_eq!(live.instances[0].pid, before.instances[0].pid);
    assert_eq!(live.stamp.map(|s| s.id), Some(store.clone()));
    assert!(matches!(bench.observed(&shop).await, Observed::Absent(_)));
    // The old name is free for another app.
    bench.create(&shop, 2).await;
    assert_eq!(bench.all().await.objects.len(), 2);
    bench.delete(&shop).await;
    bench.delete(&store).await;
}

async fn a_renamed_app_that_is_silent_is_not_made_again(mut bench: Bench<impl Harness>) {
    let (shop, store) = (id("app/shop"), id("app/store"));
    bench.running(&shop).await;
    let before = bench.live(&shop).await;
    let ours = before.ours(&owner()).expect("our stamp");
    let desired = bench.resource(&store, 1);
    bench.act(&store, Op::Rename { from: shop.clone(), ours, desired: Arc::clone(&desired) }).await;
    // Providers may know it by either id from outside.
    bench.harness.cut(&shop, true).await;
    bench.harness.cut(&store, true).await;
    bench.harness.restart().await;
    bench.reopen();
    let observed = bench.observed(&store).await;
    let listed = bench.all().await.observed(&store);
    let refused = bench.try_act(&store, Op::Create { desired }).await;
    bench.harness.cut(&shop, false).await;
    bench.harness.cut(&store, false).await;
    assert!(matches!(observed, Observed::Unknown(_)), "{observed:?}");
    assert!(matches!(listed, Observed::Unknown(_)), "{listed:?}");
    assert!(matches!(refused, Err(ApplyError::Retry(_) | ApplyError::OutcomeUnknown(_))), "{refused:?}");
    let live = bench.until_live(&store, "known again", |live| live.instances.len() == 1).await;
    assert_eq!(live.instances[0].pid, before.instances[0].pid);
    assert_eq!(bench.all().await.objects.len(), 1);
    bench.delete(&store).await;
}

async fn logs_and_stats_tell_of_each_instance(bench: Bench<impl Harness>) {
    let shop = id("app/shop");
    let (_, instance) = bench.running(&shop).await;
    let provider = bench.harness.provider();
    let line = async {
        loop {
            let query = LogQuery { instance: Some(instance.clone()), tail: 10, follow: false };
            let lines: Vec<_> = provider.logs(&shop, query).await.expect("a log").collect().await;
            if let Some(line) = lines.first() {
                return line.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let line = tokio::time::timeout(PATIENCE, line).await.expect("a line");
    assert_eq!((line.line.as_str(), line.stream, &line.instance), ("started", "stdout", &instance));
    let stats = provider.stats(&Scope::All).await.expect("stats");
    assert_eq!(stats.len(), 1);
    assert!(stats[0].memory_bytes > 0 && stats[0].instance == instance && stats[0].id == shop);
    bench.delete(&shop).await;
}

async fn a_newer_daemon_shuts_an_older_one_out(mut bench: Bench<impl Harness>) {
    let shop = id("app/shop");
    let desired = bench.create(&shop, 1).await;
    let old = bench.intend(&shop, Op::Configure { desired: Arc::clone(&desired) }).await;
    let older = bench.harness.provider();
    bench.harness.restart().await;
    bench.reopen();
    bench.start(&desired, 1).await;
    let error = older.apply(&old, &Secrets::default()).await.expect_err("an older daemon");
    assert!(matches!(error, ApplyError::Retry(_) | ApplyError::Barred(_)), "nothing was done: {error:?}");
    let live = bench.live(&shop).await;
    assert!(live.stamp.is_some_and(|stamp| stamp.key != *old.key()), "an older daemon's step took effect");
    drop(older);
    bench.delete(&shop).await;
}

/// Runs one case on a fresh harness.
async fn run<H: Harness, F: Future<Output = ()>>(harness: H, case: impl FnOnce(Bench<H>) -> F) {
    Box::pin(case(Bench::new(harness))).await;
}

macro_rules! conformance {
    ($provider:ident, $harness:expr) => {
        conformance!($provider, $harness,
            observes_nothing,
            creates_with_a_stamp_and_no_instance,
            a_second_look_finds_nothing_to_do,
            changes_in_place_without_a_new_instance,
            replaces_an_instance_when_the_template_changes,
            drift_shows_and_is_repaired,
            deletes_only_what_is_ours,
            what_it_wrote_outlives_a_move_and_not_its_deletion,
            what_is_not_ours_is_shown_and_left_alone,
            an_unreachable_object_is_unknown_and_no_other,
            one_key_has_one_effect,
            what_is_in_doubt_is_settled_under_the_same_key,
            a_move_to_another_team_keeps_what_runs,
            a_rename_keeps_what_runs,
            a_renamed_app_that_is_silent_is_not_made_again,
            logs_and_stats_tell_of_each_instance,
            a_newer_daemon_shuts_an_older_one_out,
        );
    };
    ($provider:ident, $harness:expr, $($case:ident,)*) => {
        mod $provider {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::run($harness, super::$case).await;
                }
            )*
        }
    };
}

conformance!(memory, crate::support::memory_harness::MemoryHarness::new());
conformance!(process, crate::support::process_harness::ProcessHarness::new());
