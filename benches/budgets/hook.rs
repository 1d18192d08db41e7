//! From the moment a push hook is sent to the first call of a provider for what was pushed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use codeops::hooks::{self, HookLimits, Hooks};
use codeops::journal::Started;
use codeops::port::{
    Abilities, Actuator, Applied, ApplyError, Hint, LogQuery, LogStream, Observer, Secrets, Stat, SystemClock,
    Unreachable,
};
use codeops::source::{Reason, Triggers};
use codeops_core::model::{Listing, ResourceId, Scope, Secret};
use futures_util::stream::BoxStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::daemon::Place;
use super::house::House;
use super::memory_provider::MemoryProvider;
use super::table::Row;

const APPS: usize = 100;
const PUSHES: usize = 120;

pub(crate) fn measure() -> Vec<Row> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let all = runtime.block_on(pushes());
    let what = format!("push hook → first provider call, {APPS} apps");
    vec![Row::p99("hook", &what, Duration::from_millis(250), &all)]
}

async fn pushes() -> Vec<Duration> {
    let apps = (0..APPS).map(|i| file(i, 0));
    let place = Place::with(&apps.collect::<Vec<_>>());
    let (calls, mut called) = mpsc::unbounded_channel();
    let provider = Timed { inner: MemoryProvider::new(Arc::new(SystemClock)), calls };
    let provider: Arc<dyn Actuator> = Arc::new(provider);
    let providers = BTreeMap::from([("local".parse().unwrap(), provider)]);
    let mut house = House::start(&place, Duration::from_secs(3_600), |_| providers).await;
    house.until_fine(APPS).await;
    let mut edge = JoinSet::new();
    let address = serve_hooks(&house, &mut edge).await;
    let mut all = Vec::new();
    for push in 1..=PUSHES {
        place.commit(&[file(push % APPS, push)]);
        let begun = Instant::now();
        send(&address).await;
        let first = loop {
            let (round, at): (usize, Instant) = called.recv().await.unwrap();
            if round == push {
                break at;
            }
        };
        all.push(first.duration_since(begun));
        house.until_fine(APPS).await;
    }
    all
}

/// An app that says in its environment by which push it came.
fn file(i: usize, round: usize) -> (String, String) {
    let text = format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: a{i}, team: payments}}\nspec:\n  run: {{command: [./app]}}\n  env: {{ROUND: \"{round}\"}}\n  rollout: {{surge: 1, unavailable: 0, bake: 1ms}}\n"
    );
    (format!("apps/a{i}.yaml"), text)
}

/// The hooks address and the triggers, wired as the daemon wires them.
async fn serve_hooks(house: &House, edge: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut triggers = Triggers::new(Duration::from_secs(3_600), 1);
    let trigger = triggers.trigger();
    let hooks = Hooks {
        git_secret: Secret::new("secret".to_owned()),
        fetch_now: Box::new(move || trigger.fetch_now(Reason::Hook)),
        alerts: None,
        clock: Arc::new(SystemClock),
        limits: HookLimits::default(),
    };
    edge.spawn(hooks::serve(listener, hooks, CancellationToken::new()));
    let fetch = house.fetch.clone();
    edge.spawn(async move {
        loop {
            triggers.next().await;
            let _ = fetch.try_send(());
        }
    });
    address
}

async fn send(address: &str) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /hooks/git HTTP/1.1\r\nHost: {address}\r\nX-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: secret\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

/// Tells of each call, before it is done.
struct Timed {
    inner: Arc<MemoryProvider>,
    calls: mpsc::UnboundedSender<(usize, Instant)>,
}

#[async_trait]
impl Observer for Timed {
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
impl Actuator for Timed {
    async fn apply(&self, step: &Started, secrets: &Secrets) -> Result<Applied, ApplyError> {
        let round = step.step().op.desired().and_then(|desired| desired.spec.env.get("ROUND")?.parse().ok());
        if let Some(round) = round {
            let _ = self.calls.send((round, Instant::now()));
        }
        self.inner.apply(step, secrets).await
    }
}
