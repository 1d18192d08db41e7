//! One machine: a repository with an app and its playbook, a daemon, the monitoring that watches the app, and who is paged.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use codeops::journal::RunQuery;
use codeops::store::{Archive, Sqlite};
use codeops_core::model::{AlertMemory, AlertState, Memory, Run};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::app;
use crate::support::flow::TEAM;
use crate::support::git::TempRepo;
use crate::support::port::free_port;
use crate::support::process_harness::{binary, end_all};
use crate::support::sink::{HttpSink, Reply};
use crate::support::skip::skip;

/// What monitoring systems prove themselves with.
pub(super) const TOKEN: &str = "a-token-of-these-tests";
/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who tells the daemon of alerts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Monitoring {
    /// Prometheus tells Alertmanager, which tells codeops.
    Alertmanager,
    /// Prometheus tells both.
    Both,
}

/// Everything that runs. Ends it all when dropped.
pub(super) struct World {
    daemon: Daemon,
    app: u16,
    alertmanager: u16,
    prometheus: u16,
    folder: TempDir,
    sink: HttpSink,
    _programs: Vec<Program>,
}

impl World {
    /// Starts it all, and waits until the app is deployed, healthy and watched. `None` where monitoring is not installed.
    pub(super) async fn start(steps: &str, monitoring: Monitoring) -> Option<Self> {
        for (program, package) in [("prometheus", "prometheus"), ("prometheus-alertmanager", "prometheus-alertmanager")]
        {
            if !installed(program) {
                skip(&format!("{program} is missing; install {package} to hear of alerts from a real one"));
                return None;
            }
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        // The app has a user of its own, which must be able to read what ails it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
        let sink = HttpSink::serve(|_| Reply::status(200, "{}")).await;
        let (app, alertmanager, prometheus) = (free_port(), free_port(), free_port());
        let fault = folder.path().join("fault");
        let repo = TempRepo::new();
        repo.write("codeops.yaml", REPOSITORY);
        repo.write("team.yaml", TEAM);
        repo.write("web.yaml", &web(app, &fault));
        repo.write("answer.yaml", &answer(steps, &sink.url("/page")));
        repo.commit("First");
        let api = format!("http://127.0.0.1:{alertmanager}");
        let daemon = Daemon::start(repo, &settings(&api)).await;
        daemon.wait("the app is deployed", all_well).await;
        let mut programs = vec![run_alertmanager(folder.path(), alertmanager, daemon.hooks)];
        let direct = (monitoring == Monitoring::Both).then_some(daemon.hooks);
        programs.push(run_prometheus(folder.path(), prometheus, alertmanager, app, direct));
        let world = Self { daemon, app, alertmanager, prometheus, folder, sink, _programs: programs };
        world.until("the app is watched", || {
            let answer = get(prometheus, "/api/v1/query?query=up")?;
            answer.contains(",\"1\"]").then_some(())
        });
        Some(world)
    }

    /// Writes whom the fault is for: a process's id, or `all`.
    pub(super) fn fault(&self, whom: &str) {
        fs::write(self.folder.path().join("fault"), whom).expect("our own folder");
    }

    /// The process that answers for the app.
    pub(super) async fn pid(&self) -> u32 {
        self.until("the app answers", || get(self.app, "/pid")?.trim().parse().ok())
    }

    /// All runs.
    pub(super) fn runs(&self) -> Vec<Arc<Run>> {
        self.daemon.runs()
    }

    /// The first run, once it has begun its first step.
    pub(super) async fn run_begins(&self) -> Arc<Run> {
        self.until("a run begins", || self.runs().pop().filter(|run| !run.steps.is_empty()))
    }

    /// The first run, once it is over.
    pub(super) async fn run_ends(&self) -> Arc<Run> {
        self.until("a run ends", || self.runs().pop().filter(|run| run.ended.is_some()))
    }

    /// The alerts that matter.
    pub(super) fn alerts(&self) -> Vec<Arc<AlertMemory>> {
        self.daemon.memory().response.alerts.into_values().collect()
    }

    /// How many pages were sent.
    pub(super) fn pages(&self) -> usize {
        self.sink.taken().len()
    }

    /// The first page.
    pub(super) async fn page(&self) -> Value {
        self.until("somebody is paged", || Some(self.sink.taken().first()?.json()))
    }

    /// Waits until the alert was taken both from Prometheus and from Alertmanager, as they count it themselves.
    pub(super) async fn told_by_both(&self) {
        let direct = format!("{{alertmanager=\"http://127.0.0.1:{}/api/v2/alerts\"}} ", self.daemon.hooks);
        let counted = [
            (self.prometheus, "prometheus_notifications_sent_total", direct.as_str()),
            (self.alertmanager, "alertmanager_notifications_total", "{integration=\"webhook\"} "),
        ];
        self.until("both have told of it", || {
            let told = |(port, name, labels): &(u16, &str, &str)| {
                let metrics = get(*port, "/metrics").unwrap_or_default();
                let count = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(labels));
                count.is_some_and(|count| count != "0")
            };
            counted.iter().all(told).then_some(())
        });
        let refused = "prometheus_notifications_errors_total";
        let metrics = get(self.prometheus, "/metrics").unwrap_or_default();
        assert!(metrics.contains(&format!("{refused}{direct}0")), "some posts of Prometheus were refused");
    }

    /// Silences the alert as a person would.
    pub(super) async fn silence(&self) {
        let url = format!("--alertmanager.url=http://127.0.0.1:{}", self.alertmanager);
        let words = ["silence", "add", &url, "--author=test", "--comment=known", "--duration=1h", "alertname=AppDown"];
        let mut silencing = program("amtool", &words, Stdio::null());
        assert!(silencing.wait().expect("amtool runs").success(), "amtool could not silence the alert");
    }

    /// Ends all silences as a person would.
    pub(super) async fn speak(&self) {
        let list = get(self.alertmanager, "/api/v2/silences").expect("an Alertmanager that answers");
        let list: Value = serde_json::from_str(&list).expect("a list of silences");
        let ids = list.as_array().into_iter().flatten().filter_map(|it| it["id"].as_str());
        let url = format!("--alertmanager.url=http://127.0.0.1:{}", self.alertmanager);
        let words: Vec<&str> = ["silence", "expire", &url].into_iter().chain(ids).collect();
        let mut ending = program("amtool", &words, Stdio::null());
        assert!(ending.wait().expect("amtool runs").success(), "amtool could not end the silence");
    }

    /// Waits until the one alert is so.
    pub(super) async fn alert_is(&self, state: AlertState) -> Arc<AlertMemory> {
        self.until("the alert is so", || self.alerts().pop().filter(|alert| alert.state == state))
    }

    /// The second run, once it is on.
    pub(super) async fn second_run(&self) -> Arc<Run> {
        self.until("another run begins", || {
            self.runs().into_iter().max_by_key(|run| run.id).filter(|run| run.id.0 == 2)
        })
    }

    /// What `look` finds, once it finds it.
    fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        until(what, look, || {
            let said = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            format!("{}\n{}\n{}", self.daemon.log(), said("prometheus.log"), said("alertmanager.log"))
        })
    }
}

pub(super) const REPOSITORY: &str = "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme-ops}\n\
    spec: {defaults: {provider: local}, resolveDelay: 5s}\n";

fn web(port: u16, fault: &Path) -> String {
    let command = serde_json::to_string(&app::command()).expect("words");
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: web, team: core}}\nspec:\n  run: {{command: {command}}}\n  \
         port: {port}\n  env: {{TEST_APP: serve, FAULT: {}}}\n  health: {{http: /healthz, interval: 200ms}}\n  \
         rollout: {{bake: 1s}}\n",
        fault.display()
    )
}

fn answer(steps: &str, page: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: app-down, team: core}}\nspec:\n  \
         on: {{alert: {{alertname: AppDown}}}}\n  target: app/{{{{ alert.labels.app }}}}\n  steps: {steps}\n---\n\
         apiVersion: codeops/v1\nkind: AlertRoute\nmetadata: {{name: main, team: core}}\n\
         spec: {{route: {{policy: oncall}}}}\n---\n{}",
        people(page)
    )
}

/// A policy `oncall` that tells one webhook.
pub(super) fn people(page: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: EscalationPolicy\nmetadata: {{name: oncall, team: core}}\n\
         spec: {{levels: [{{notify: [receiver/desk]}}]}}\n---\n\
         apiVersion: codeops/v1\nkind: Receiver\nmetadata: {{name: desk, team: core}}\nspec: {{webhook: \"{page}\"}}\n"
    )
}

pub(super) fn settings(alertmanager: &str) -> String {
    format!(
        "fallback: oncall\nreceivers:\n  \
         alertmanager: {{format: alertmanager, source: prom, auth: {{bearer: {{file: TOKEN}}}}, api: \"{alertmanager}\"}}\n  \
         prometheus: {{format: prometheus, source: prom, auth: {{bearer: {{file: TOKEN}}}}}}\n"
    )
}

pub(super) fn run_alertmanager(folder: &Path, port: u16, hooks: u16) -> Program {
    let config = format!(
        "route: {{receiver: codeops, group_by: [alertname, app], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
         receivers:\n- name: codeops\n  webhook_configs:\n  - url: http://127.0.0.1:{hooks}/hooks/alerts/alertmanager\n    \
         send_resolved: true\n    max_alerts: 50\n    http_config: {{authorization: {{credentials: {TOKEN}}}}}\n"
    );
    fs::write(folder.join("alertmanager.yml"), config).expect("our own folder");
    let words = [
        format!("--config.file={}", folder.join("alertmanager.yml").display()),
        format!("--storage.path={}", folder.join("alertmanager").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".to_owned(),
    ];
    Program(program("prometheus-alertmanager", &words, log(folder, "alertmanager.log")))
}

fn run_prometheus(folder: &Path, port: u16, alertmanager: u16, app: u16, direct: Option<u16>) -> Program {
    let direct = direct.map(|hooks| {
        format!(
            "  - authorization: {{credentials: {TOKEN}}}\n    static_configs: [{{targets: ['127.0.0.1:{hooks}']}}]\n"
        )
    });
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\n\
         alerting:\n  alertmanagers:\n  - static_configs: [{{targets: ['127.0.0.1:{alertmanager}']}}]\n{}\
         scrape_configs:\n- job_name: apps\n  static_configs: [{{targets: ['127.0.0.1:{app}'], labels: {{app: web}}}}]\n",
        direct.unwrap_or_default()
    );
    let rules = "groups:\n- name: apps\n  rules:\n  - alert: AppDown\n    expr: up == 0\n    for: 1s\n    \
        labels: {severity: critical}\n    annotations: {summary: 'nobody answers at {{ $labels.instance }}'}\n";
    fs::write(folder.join("prometheus.yml"), config).expect("our own folder");
    fs::write(folder.join("rules.yml"), rules).expect("our own folder");
    let words = [
        format!("--config.file={}", folder.join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", folder.join("prometheus").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    Program(program("prometheus", &words, log(folder, "prometheus.log")))
}

/// A daemon on a repository and a state folder of its own.
pub(super) struct Daemon {
    pub(super) repo: TempRepo,
    state: TempDir,
    pub(super) page: u16,
    pub(super) hooks: u16,
    child: Child,
}

impl Daemon {
    /// Starts it with these settings, in which `TOKEN` is the file that holds the token.
    pub(super) async fn start(repo: TempRepo, settings: &str) -> Self {
        let state = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| state.path().join(name);
        fs::write(path("token"), TOKEN).expect("our own folder");
        fs::set_permissions(path("token"), fs::Permissions::from_mode(0o600)).expect("our own file");
        let settings = settings.replace("TOKEN", &path("token").display().to_string());
        fs::write(path("settings.yaml"), settings).expect("our own folder");
        let (page, hooks) = (free_port(), free_port());
        let words = [
            "run",
            "--repo",
            &repo.url(),
            "--state",
            &path("state").display().to_string(),
            "--settings",
            &path("settings.yaml").display().to_string(),
            "--listen",
            &format!("127.0.0.1:{page}"),
            "--hooks-listen",
            &format!("127.0.0.1:{hooks}"),
            "--poll",
            "1s",
        ];
        let child = program(&binary().display().to_string(), &words, log(state.path(), "test.log"));
        let daemon = Self { repo, state, page, hooks, child };
        daemon.wait("the daemon answers", |answer| answer.is_object()).await;
        daemon
    }

    /// What the page says of every app, once `enough`.
    pub(super) async fn wait(&self, what: &str, enough: impl Fn(&Value) -> bool) {
        let look = || {
            let answer = get(self.page, "/api/v1/resources")?;
            serde_json::from_str(&answer).ok().filter(|answer| enough(answer))
        };
        until(what, look, || self.log());
    }

    /// Its state folder.
    pub(super) fn state_folder(&self) -> PathBuf {
        self.state.path().join("state")
    }

    /// Its settings.
    pub(super) fn settings_file(&self) -> PathBuf {
        self.state.path().join("settings.yaml")
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as nothing else does.
    pub(super) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ran");
    }

    /// Its journal, read beside it.
    pub(super) fn archive(&self) -> Option<Archive> {
        Sqlite::open_read(&self.state.path().join("state")).ok()
    }

    /// What it remembers.
    pub(super) fn memory(&self) -> Memory {
        let recalled = self.archive().and_then(|archive| archive.memory().ok());
        recalled.map(|(memory, _)| memory).unwrap_or_default()
    }

    /// All its runs, the last opened first.
    pub(super) fn runs(&self) -> Vec<Arc<Run>> {
        let page =
            self.archive().and_then(|archive| archive.runs(&RunQuery { limit: 1_000, ..Default::default() }).ok());
        page.map(|page| page.items).unwrap_or_default()
    }

    /// What it has logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.state.path().join("test.log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        end_all(self.state.path());
    }
}

/// A program that ends with this.
pub(super) struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn program<S: AsRef<std::ffi::OsStr>>(name: &str, words: &[S], log: impl Into<Stdio>) -> Child {
    #[expect(clippy::disallowed_methods, reason = "real programs are under test")]
    let mut command = Command::new(name);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("it starts")
}

fn log(folder: &Path, name: &str) -> fs::File {
    fs::OpenOptions::new().create(true).append(true).open(folder.join(name)).expect("a log")
}

/// Whether a program of this name is installed.
pub(super) fn installed(name: &str) -> bool {
    ["/usr/bin", "/usr/local/bin"].iter().any(|folder| Path::new(folder).join(name).exists())
}

fn all_well(answer: &Value) -> bool {
    let is = |one: &Value, field: &str, value: &str| {
        one[field].as_str().is_some_and(|said| said.eq_ignore_ascii_case(value))
    };
    let resources = answer["resources"].as_array();
    resources.is_some_and(|all| {
        !all.is_empty() && all.iter().all(|one| is(one, "sync", "synced") && is(one, "health", "healthy"))
    })
}

/// The body of a good answer.
pub(super) fn get(port: u16, path: &str) -> Option<String> {
    let (status, body) = request(port, &format!("GET {path}"), "", "")?;
    (status == 200).then_some(body)
}

/// Status and body of an answer.
pub(super) fn request(port: u16, what: &str, headers: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let length = body.len();
    let head = format!("{what} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// What `look` finds, once it finds it.
pub(super) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>, log: impl Fn() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}\n{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}
