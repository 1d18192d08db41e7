//! A page over a board and a journal in memory, with one of everything: healthy, degraded, held, progressing, unknown,
//! suspended; and with texts that try to be markup.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use codeops::journal::{
    AlertPage, AlertQuery, Entry, InDoubt, Log, LogError, Outcome, Page as Entries, PageList, PageQuery, Query, Reader,
    Record, RunPage, RunQuery, Seq, SharedMemory, SignalQuery, fold,
};
use codeops::port::{
    Abilities, Board, Clock, Commit, Hint, LogLine, LogQuery, LogStream, Observer, ProviderView, Publisher,
    ResourceView, RevisionView, SettingsState, SourceView, Stat, SystemClock, Unreachable, Vitals, Whose,
};
use codeops::web::{Counters, Page, PageConfig};
use codeops_core::desired::{Diagnostic, Severity};
use codeops_core::model::{
    AppSpec, CauseKind, Digest, Health, HoldId, Instance, InstanceHealth, InstanceId, InstanceState, Key, Kind,
    LastGood, Listing, Live, Name, PageId, Pin, Place, Resource, ResourceId, Revision, RevisionState, Run, RunId,
    Scope, Sync, SystemId, TeamName, Verb,
};
use codeops_core::plan::Difference;
use codeops_core::policy::Hold;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::memory_history::MemoryHistory;

/// A text that would be markup on a page that forgot to escape, and would move a terminal.
pub(crate) const EVIL: &str = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\u{1b}[2J\u{202e}";

/// What must never be shown.
pub(crate) const SECRET: &str = "hunter2-is-secret";
/// A secret that one team is granted.
pub(crate) const GUESSED: &str = "guess-of-another-team";
/// That team.
pub(crate) const HAS_GUESSED: &str = "payments";

/// A journal in memory.
pub(crate) struct MemoryLog {
    entries: Mutex<Vec<Entry>>,
    memory: Arc<SharedMemory>,
    history: Mutex<MemoryHistory>,
    tail: broadcast::Sender<Arc<Entry>>,
}

impl MemoryLog {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::default(),
            memory: Arc::default(),
            history: Mutex::default(),
            tail: broadcast::channel(64).0,
        })
    }

    pub(crate) fn add(&self, at: Timestamp, record: Record) -> Seq {
        let mut entries = self.entries.lock().expect("the fixture is valid");
        let seq = Seq(entries.len() as u64 + 1);
        let entry = Entry { seq, at, record };
        entries.push(entry.clone());
        let mut memory = self.memory.write().expect("the fixture is valid");
        let folded = fold(&mut memory, &entry);
        self.history().take(&memory, &entry, &folded);
        let _ = self.tail.send(Arc::new(entry));
        seq
    }

    fn history(&self) -> MutexGuard<'_, MemoryHistory> {
        self.history.lock().expect("the fixture is valid")
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, records: Vec<Record>) -> Result<Vec<Entry>, LogError> {
        for record in records {
            self.add(SystemClock.now(), record);
        }
        Ok(Vec::new())
    }

    async fn offer(&self, records: Vec<Record>) -> Result<Option<Vec<Entry>>, LogError> {
        self.append(records).await.map(Some)
    }

    async fn signals_between(&self, _query: SignalQuery) -> Result<Entries, LogError> {
        Ok(Entries { items: Vec::new(), next: None })
    }

    async fn runs(&self, query: RunQuery) -> Result<RunPage, LogError> {
        Ok(self.history().runs(&query))
    }

    async fn run(&self, id: RunId) -> Result<Option<Arc<Run>>, LogError> {
        Ok(self.history().run(id))
    }

    async fn alerts(&self, query: AlertQuery) -> Result<AlertPage, LogError> {
        Ok(self.history().alerts(&query))
    }

    async fn pages(&self, query: PageQuery) -> Result<PageList, LogError> {
        Ok(self.history().pages(&query))
    }

    async fn page(&self, id: PageId) -> Result<Option<Arc<codeops_core::model::Page>>, LogError> {
        Ok(self.history().page(id))
    }

    async fn read(&self, query: Query) -> Result<Entries, LogError> {
        let entries = self.entries.lock().expect("the fixture is valid");
        let mut items: Vec<Entry> = entries
            .iter()
            .rev()
            .filter(|entry| query.before.is_none_or(|before| entry.seq < before))
            .filter(|entry| query.since.is_none_or(|since| entry.seq > since))
            .filter(|entry| query.resource.is_none() || query.resource.as_ref() == entry.record.resource())
            .filter(|entry| query.run.is_none() || query.run == entry.record.run())
            .filter(|entry| query.categories.is_empty() || query.categories.contains(&entry.record.category()))
            .take(query.limit + 1)
            .cloned()
            .collect();
        let more = items.len() > query.limit;
        items.truncate(query.limit);
        Ok(Entries { next: if more { items.last().map(|entry| entry.seq) } else { None }, items })
    }

    fn memory(&self) -> Arc<SharedMemory> {
        Arc::clone(&self.memory)
    }

    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn in_doubt(&self) -> Vec<InDoubt> {
        Vec::new()
    }

    fn identity(&self) -> (String, u64) {
        ("memory".to_owned(), 1)
    }

    fn poisoned(&self) -> Option<String> {
        None
    }

    fn tail(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.tail.subscribe()
    }
}

/// The reading half of a provider: some lines, then what the test says.
pub(crate) struct Reading {
    pub(crate) lines: broadcast::Sender<LogLine>,
    instances: Vec<(ResourceId, InstanceId)>,
    since: Timestamp,
    asked: AtomicU64,
}

#[async_trait]
impl Observer for Reading {
    fn abilities(&self) -> &'static Abilities {
        &Abilities { word: "process", kinds: &[Kind::App], commands: true, images: false, host_ports: true }
    }

    async fn observe(&self, scope: &Scope) -> Result<Listing, Unreachable> {
        let (system, at) = (SystemId("here".to_owned()), SystemClock.now());
        Ok(Listing { system, at, scope: scope.clone(), epoch: 0, objects: BTreeMap::new(), unknown: BTreeMap::new() })
    }

    fn hints(&self) -> BoxStream<'static, Hint> {
        stream::pending().boxed()
    }

    async fn logs(&self, id: &ResourceId, query: LogQuery) -> Result<LogStream, Unreachable> {
        if id.name.as_str() == "mail" {
            return Err(Unreachable("the edge provider does not answer on /run/edge.sock; start it".to_owned()));
        }
        let texts = ["listening on 127.0.0.1:41233", "GET /healthz 200 0.4 ms", "GET /cart 200 3.1 ms", EVIL];
        let wanted = |line: &LogLine| query.instance.as_ref().is_none_or(|only| *only == line.instance);
        let first: Vec<LogLine> = texts.iter().map(|text| line(text)).filter(wanted).collect();
        let first = stream::iter(first.into_iter().rev().take(query.tail).collect::<Vec<_>>().into_iter().rev());
        if !query.follow {
            return Ok(first.boxed());
        }
        let lines = self.lines.subscribe();
        let later = stream::unfold(lines, async |mut lines| Some((lines.recv().await.ok()?, lines)));
        Ok(first.chain(later).boxed())
    }

    async fn stats(&self, _: &Scope) -> Result<Vec<Stat>, Unreachable> {
        let at = SystemClock.now();
        let elapsed = u64::try_from(at.duration_since(self.since).as_micros()).expect("time goes on");
        let n = self.asked.fetch_add(1, Ordering::Relaxed);
        let wave = [3, 5, 4, 8, 6, 9, 5, 4, 7, 3][usize::try_from(n % 10).expect("one digit")];
        let stats = self.instances.iter().map(|(id, instance)| Stat {
            id: id.clone(),
            instance: instance.clone(),
            at,
            cpu_micros: elapsed / 20 + wave * 300,
            memory_bytes: (40 + wave) << 20,
            requests: Some(elapsed / 1_000 + wave * 4),
        });
        Ok(stats.collect())
    }
}

pub(crate) fn line(text: &str) -> LogLine {
    let instance = InstanceId::new(&Digest::of(&json!("shop")), 1).expect("the fixture is valid");
    LogLine { at: SystemClock.now(), instance, stream: "stdout", line: text.to_owned() }
}

/// A served page; it ends with the test.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) publisher: Publisher,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) reading: Arc<Reading>,
    pub(crate) vitals: Vitals,
    pub(crate) settings: SettingsState,
    pub(crate) counters: Counters,
    pub(crate) cancel: CancellationToken,
    tasks: JoinSet<()>,
}

impl Served {
    pub(crate) async fn start(board: Board, config: PageConfig) -> Self {
        Self::on(board, config, MemoryLog::new(), Counters::default()).await
    }

    /// Over a journal and counts that may have been before.
    pub(crate) async fn on(board: Board, config: PageConfig, log: Arc<MemoryLog>, counters: Counters) -> Self {
        let (publisher, watcher) = Publisher::new();
        publisher.publish(board);
        let board = watcher.board();
        let instances = board.resources.values().flat_map(|view| {
            let live = view.live.iter().flat_map(|live| &live.instances);
            live.map(|instance| (view.id.clone(), instance.id.clone()))
        });
        let instances = instances.collect();
        let reading = Arc::new(Reading {
            lines: broadcast::channel(64).0,
            instances,
            since: SystemClock.now(),
            asked: AtomicU64::default(),
        });
        let observer: Arc<dyn Observer> = Arc::clone(&reading) as Arc<dyn Observer>;
        let vitals = Vitals::default();
        let settings = SettingsState::default();
        let page = Page {
            watcher,
            journal: Reader::new(Arc::clone(&log) as Arc<dyn Log>),
            observers: [(name("local"), observer)].into(),
            redact: Arc::new(|whose, text| {
                let text = text.replace(SECRET, "***");
                let has = |team: &TeamName| team.as_str() == HAS_GUESSED;
                let knows = match whose {
                    Whose::Nobody => false,
                    Whose::Team(team) => has(team),
                    Whose::Teams(teams) => teams.iter().any(has),
                    Whose::Everybody => true,
                };
                if knows { text.replace(GUESSED, "***") } else { text }
            }),
            receivers: [
                (name("storefronts"), Some([name("storefront")].into())),
                (name("payments"), Some([name(HAS_GUESSED)].into())),
                (name("both"), Some([name("storefront"), name(HAS_GUESSED)].into())),
                (name("alertmanager"), None),
            ]
            .into(),
            clock: Arc::new(SystemClock),
            vitals: vitals.clone(),
            counters: counters.clone(),
            settings: settings.clone(),
            config,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the fixture is valid");
        let address = listener.local_addr().expect("the fixture is valid");
        let (cancel, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let ending = cancel.clone();
        tasks.spawn(async move { codeops::web::serve(listener, page, ending).await.expect("it serves") });
        Self { address, publisher, log, reading, vitals, settings, counters, cancel, tasks }
    }

    /// The rich board with its history.
    pub(crate) async fn rich() -> Self {
        let served = Self::start(board(), PageConfig::default()).await;
        history(&served.log);
        served
    }

    /// Asks the page to end and waits until it has.
    pub(crate) async fn end(mut self) {
        self.cancel.cancel();
        let ended = tokio::time::timeout(std::time::Duration::from_secs(20), self.tasks.join_next()).await;
        ended.expect("the page ends").expect("it was served").expect("without a panic");
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("the fixture is valid")
}

pub(crate) fn app(text: &str) -> ResourceId {
    ResourceId::app(name(text))
}

pub(crate) fn revision(digit: char) -> Revision {
    let tail: String = "f2a9c17d40b8".chars().cycle().take(39).collect();
    format!("{digit}{tail}").parse().expect("the fixture is valid")
}

pub(crate) fn ago(secs: i64) -> Timestamp {
    SystemClock.now() - SignedDuration::from_secs(secs)
}

fn spec(id: &str, replicas: u32) -> AppSpec {
    let spec = json!({
        "provider": "local",
        "run": {"command": {"command": [format!("./{id}"), "--port", "$PORT"]}},
        "replicas": replicas,
        "port": {"number": 8080, "protocol": "http"},
        "env": {"LOG": "info", "GREETING": EVIL},
        "secrets": {"API_KEY": "shop-api-key"},
        "health": {"probe": {"http": "/healthz"}, "interval": "2s", "timeout": "1s", "startTimeout": "60s", "failures": 3},
    });
    serde_json::from_value(spec).expect("the fixture is valid")
}

fn resource(id: &str, replicas: u32) -> Arc<Resource> {
    let digest = Digest::of(&json!(id));
    Arc::new(Resource {
        id: app(id),
        team: name("payments"),
        spec: spec(id, replicas),
        spec_digest: digest.clone(),
        template_digest: digest,
        secret_tags: BTreeMap::new(),
        was: Vec::new(),
        adopt: false,
        place: Place { file: format!("apps/{id}.yaml").into(), line: 1, column: 1 },
    })
}

fn live(id: &str, health: InstanceHealth) -> Arc<Live> {
    let template = Digest::of(&json!(id));
    let instance = |ordinal: u32| Instance {
        id: InstanceId::new(&template, ordinal).expect("the fixture is valid"),
        template: template.clone(),
        state: InstanceState::Running,
        health,
        created_at: ago(86_400 * 2 + 5),
        health_since: ago(4_000),
        on_trial: false,
        started_at: Some(ago(4_000)),
        restarts: ordinal - 1,
        losses: 0,
        pid: Some(4_200 + ordinal),
        port: Some(40_000 + u16::try_from(ordinal).expect("the fixture is valid")),
        why: (health == InstanceHealth::CrashLoop).then(|| "exit code 1 four times within 60 s".to_owned()),
    };
    Arc::new(Live {
        stamp: None,
        spec: Some(spec(id, 1)),
        drift: Vec::new(),
        released: None,
        leaves: false,
        renews: Vec::new(),
        instances: vec![instance(1), instance(2)],
        address: Some("127.0.0.1:8080".to_owned()),
        notes: vec!["not isolated".to_owned(), "memory limit not enforced".to_owned()],
    })
}

fn view(id: &str, team: &str, sync: Sync, health: Health, why: Option<&str>) -> ResourceView {
    let of_instances = if health == Health::Degraded { InstanceHealth::CrashLoop } else { InstanceHealth::Healthy };
    let resource = resource(id, 1);
    ResourceView {
        id: app(id),
        team: Some(name(team)),
        provider: name("local"),
        sync,
        health,
        why: why.map(str::to_owned),
        since: ago(300),
        revision: Some(revision('3')),
        digest: Some(resource.spec_digest.clone()),
        desired: Some(resource),
        live: Some(live(id, of_instances)),
        differences: Vec::new(),
        depends_on: Vec::new(),
        used_by: Vec::new(),
        last_good: None,
        pins: BTreeMap::new(),
        next_at: None,
        stuck: false,
    }
}

/// Every resource fine.
pub(crate) fn calm() -> Board {
    let mut board = board();
    board.holds.clear();
    board.diagnostics.clear();
    for view in board.resources.values_mut() {
        let view = Arc::make_mut(view);
        (view.sync, view.health, view.why) = (Sync::Synced, Health::Healthy, None);
    }
    board
}

/// One of everything, with no text that is there to do harm: for a picture to show.
pub(crate) fn showcase() -> Board {
    let mut board = board();
    let pricing = Arc::make_mut(board.resources.get_mut(&app("pricing")).expect("it is there"));
    pricing.why =
        Some("1.5.0 failed its health check; back to 1.4.2, and pinned until its template changes".to_owned());
    board.diagnostics.clear();
    board
}

/// One of everything.
pub(crate) fn board() -> Board {
    let fine = [
        ("checkout", "payments"),
        ("ledger", "payments"),
        ("invoices", "payments"),
        ("receipts", "payments"),
        ("fraud", "payments"),
        ("search", "storefront"),
        ("catalog", "storefront"),
        ("images", "storefront"),
        ("reviews", "storefront"),
        ("recommendations", "storefront"),
        ("cart", "storefront"),
        ("auth", "platform"),
        ("gateway", "platform"),
        ("metrics-relay", "platform"),
        ("jobs", "platform"),
    ];
    let mut views: Vec<ResourceView> =
        fine.iter().map(|(id, team)| view(id, team, Sync::Synced, Health::Healthy, None)).collect();
    views.push(shop());
    let why =
        format!("1.5.0 failed its health check {EVIL}; rolled back to 1.4.2 and pinned until its template changes");
    views.push(view("pricing", "payments", Sync::Synced, Health::Degraded, Some(&why)));
    views.push(view("legacy", "platform", Sync::Held, Health::Healthy, Some("its removal is held until a commit")));
    views.push(view("mail", "platform", Sync::Unknown, Health::Unknown, Some("provider edge does not answer")));
    views.push(view("batch", "platform", Sync::Suspended, Health::Healthy, None));
    let changes: BTreeSet<_> = [(Verb::Delete, app("legacy")), (Verb::Delete, app("jobs"))].into();
    let id = HoldId::of(&changes);
    let why = "this would remove 2 of 3 apps within an hour, more than the blast radius of 25 % allows".to_owned();
    Board {
        owner: Some("acme-ops/prod".to_owned()),
        ready: true,
        source: SourceView {
            url: "https://git.example/acme/ops.git".to_owned(),
            branch: "main".to_owned(),
            fetched_at: Some(ago(14)),
            error: None,
            held: None,
        },
        revision: Some(RevisionView {
            id: revision('3'),
            subject: "Raise shop to two replicas".to_owned(),
            author: "Ada <ada@acme.example>".to_owned(),
            teams: BTreeSet::new(),
            state: RevisionState::Applying,
            accepted_at: ago(90),
        }),
        fresh_at: Some(ago(8)),
        pass_micros: 3_400,
        providers: [provider("local", None), provider("edge", Some("connection refused on /run/edge.sock"))].into(),
        resources: views.into_iter().map(|view| (view.id.clone(), Arc::new(view))).collect(),
        holds: vec![Hold { trailer: format!("Codeops-Allow: {id}"), id, changes, why, removals: BTreeSet::new() }],
        diagnostics: vec![Diagnostic {
            severity: Severity::Error,
            place: Place { file: "apps/shipping.yaml".into(), line: 7, column: 3 },
            team: None,
            message: "unknown field `replica`".to_owned(),
            help: Some("did you mean `replicas`?".to_owned()),
            line: "  replica: 3".to_owned(),
            line_start: 1,
            width: 7,
        }],
        ..Board::default()
    }
}

fn provider(text: &str, error: Option<&str>) -> (Name, ProviderView) {
    let system = Some(SystemId("5c0f".to_owned()));
    (name(text), ProviderView { word: "process", system, answered_at: Some(ago(8)), error: error.map(str::to_owned) })
}

/// A resource with everything to show.
fn shop() -> ResourceView {
    let mut shop = view(
        "shop",
        "storefront",
        Sync::OutOfSync,
        Health::Progressing,
        Some("1 of 2 instances runs the new template"),
    );
    shop.desired = Some(resource("shop", 2));
    shop.next_at = Some(SystemClock.now() + SignedDuration::from_secs(42));
    shop.differences = vec![Difference { field: "replicas".to_owned(), from: Some(json!(1)), to: Some(json!(2)) }];
    shop.depends_on = vec![app("auth"), app("catalog"), app("mail")];
    shop.used_by = vec![app("gateway"), app("cart")];
    shop.last_good = Some(LastGood { resource: resource("shop", 1), revision: Some(revision('2')), at: ago(5_000) });
    let pin = Pin {
        at: ago(9_000),
        revision: Some(revision('1')),
        why: format!("never became healthy {EVIL}"),
        tried: None,
        check_only: false,
    };
    shop.pins = [(Digest::of(&json!("bad")), pin)].into();
    shop
}

/// Some history: three revisions, steps, drift, a hold, a pin.
pub(crate) fn history(log: &MemoryLog) {
    log.add(ago(12_000), Record::DaemonStarted { version: "0.1.0".to_owned(), epoch: 4, reloaded: false });
    for (digit, subject, secs) in
        [('1', "Try a new pricing engine", 11_000), ('2', EVIL, 6_000), ('3', "Raise shop to two replicas", 90)]
    {
        let commit = Commit {
            revision: revision(digit),
            author: "Ada <ada@acme.example>".to_owned(),
            at: ago(secs + 20),
            subject: subject.to_owned(),
            trailers: vec![("Codeops-Retry".to_owned(), "app/shop".to_owned())],
            signer: None,
            changed: BTreeSet::new(),
            stands: BTreeSet::new(),
            brings: BTreeSet::new(),
            beyond: BTreeSet::new(),
            brought: Vec::new(),
            later: Default::default(),
            teams: BTreeSet::new(),
        };
        let owner = "acme-ops/prod".parse().expect("the fixture is valid");
        let accepted = Record::RevisionAccepted {
            revision: revision(digit),
            owner,
            commits: vec![commit],
            blast_percent: 25,
            files: BTreeMap::new(),
            by_file: BTreeMap::new(),
            gone: BTreeSet::new(),
            claims: BTreeMap::new(),
            changed: BTreeMap::new(),
            asked: BTreeMap::new(),
        };
        log.add(ago(secs), accepted);
        steps(log, digit, secs);
        let state = |state| Record::RevisionState { revision: revision(digit), state, why: None };
        log.add(
            ago(secs - 30),
            state(match digit {
                '1' => RevisionState::Partial,
                '2' => RevisionState::Applied,
                _ => RevisionState::Applying,
            }),
        );
    }
    log.add(
        ago(3_000),
        Record::Drift { resource: app("cart"), what: "instance 9f86d081-1 was killed by signal 9".to_owned() },
    );
    let status = |id, sync, health| Record::Status { resource: app(id), sync, health, why: None };
    log.add(ago(2_990), status("cart", Sync::Synced, Health::Healthy));
    log.add(ago(2_000), status("pricing", Sync::Synced, Health::Degraded));
    let changes = vec![(Verb::Delete, app("legacy")), (Verb::Delete, app("jobs"))];
    let hold = HoldId::of(&changes.iter().cloned().collect());
    log.add(
        ago(1_500),
        Record::Held { hold, changes, why: "more than the blast radius allows".to_owned(), removals: BTreeSet::new() },
    );
    log.add(ago(40), status("shop", Sync::OutOfSync, Health::Progressing));
    super::answers::answers(log);
}

fn steps(log: &MemoryLog, digit: char, secs: i64) {
    for id in ["shop", "pricing"] {
        let intent = Record::Intent {
            key: Key(format!("memory:1:{secs}")),
            resource: app(id),
            team: name("payments"),
            provider: name("local"),
            word: "start".to_owned(),
            subject: "9f86d081-1".to_owned(),
            cause: format!("revision {}", revision(digit).short()),
            cause_kind: Some(CauseKind::Revision),
        };
        let seq = log.add(ago(secs - 5), intent);
        let outcome = Outcome::Done { note: Some("listening on 127.0.0.1:8080".to_owned()) };
        log.add(
            ago(secs - 4),
            Record::Result {
                intent: seq,
                resource: app(id),
                what: Some("start 9f86d081-1".to_owned()),
                aim: None,
                outcome,
            },
        );
    }
}
