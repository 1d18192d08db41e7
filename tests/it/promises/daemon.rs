//! The real daemon, really killed: `kill -9` at some moments of a rollout, on a real repository, with real keepers and
//! apps. It ends in the same state, and the apps answer all along.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tokio::time::Instant;

use crate::support::flow::{REPOSITORY, TEAM};
use crate::support::git::TempRepo;
use crate::support::port::free_port;
use crate::support::process_harness::{binary, processes};

/// A daemon on a state folder; everything that runs in the folder is ended with it.
struct Machine {
    repo: TempRepo,
    state: tempfile::TempDir,
    page: u16,
    daemon: Option<Child>,
}

impl Machine {
    fn on(repo: TempRepo) -> Self {
        let state = tempfile::tempdir().expect("a temporary folder");
        Self { repo, state, page: free_port(), daemon: None }
    }

    /// Its daemon has deployed version 1 of `app/a` and `app/b`, which listen on these ports.
    fn serving() -> (Self, u16, u16) {
        let (machine, a, b) = Self::begun();
        machine.wait("deployed", all_well);
        (machine, a, b)
    }

    /// Its daemon deploys them.
    fn begun() -> (Self, u16, u16) {
        let repo = TempRepo::new();
        let (a, b) = (free_port(), free_port());
        repo.write("codeops.yaml", REPOSITORY);
        repo.write("team.yaml", TEAM);
        repo.write("a.yaml", &web_app("a", a, "1"));
        repo.write("b.yaml", &web_app("b", b, "1"));
        repo.commit("First");
        let mut machine = Self::on(repo);
        machine.start();
        (machine, a, b)
    }

    /// Gives the next daemon a secret, in settings of its own.
    fn have_secret(&self) {
        let (settings, secret) = (self.state.path().join("daemon.yaml"), self.state.path().join("key"));
        fs::write(&secret, "hunter2").expect("written");
        let text = format!("secrets: {{shop-key: {{file: {}, teams: [core]}}}}\n", secret.display());
        fs::write(settings, text).expect("written");
    }

    fn start(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "the real daemon is under test")]
        let mut command = Command::new(binary());
        let log = fs::OpenOptions::new().create(true).append(true).open(self.state.path().join("test.log"));
        command
            .args(["run", "--repo", &self.repo.url(), "--state", &self.state.path().display().to_string()])
            .args(["--listen", &format!("127.0.0.1:{}", self.page), "--hooks-listen", "127.0.0.1:0", "--poll", "1s"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"));
        let settings = self.state.path().join("daemon.yaml");
        if settings.exists() {
            command.arg("--settings").arg(settings);
        }
        self.daemon = Some(command.spawn().expect("the daemon starts"));
    }

    fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("it runs");
            daemon.wait().expect("it ran");
        }
    }

    /// What `app/a` has written into a file of its own folder.
    fn wrote(&self, file: &str) -> String {
        fs::read_to_string(self.state.path().join("local/data/a").join(file)).unwrap_or_default()
    }

    /// Lets what waits for a file in the folder of `app/a` go on.
    fn let_go(&self, file: &str) {
        fs::write(self.state.path().join("local/data/a").join(file), "").expect("written");
    }

    /// The templates of the instances of `app/a`.
    fn templates(&self) -> Vec<String> {
        let body = get(self.page, "/api/v1/resources/app/a").and_then(|body| serde_json::from_str(&body).ok());
        let app: Value = body.unwrap_or(Value::Null);
        let instances = app["instances"].as_array().into_iter().flatten();
        instances.filter_map(|instance| instance["template"].as_str().map(str::to_owned)).collect()
    }

    /// What the page says of every app, once `enough`.
    fn wait(&self, what: &str, enough: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = get(self.page, "/api/v1/resources").and_then(|body| serde_json::from_str(&body).ok());
            let answer: Value = answer.unwrap_or(Value::Null);
            if enough(&answer) {
                return answer;
            }
            let log = || fs::read_to_string(self.state.path().join("test.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{what}: {answer:#}\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends all that runs here, as a reboot does.
    fn power_off(&mut self) {
        self.kill();
        let state = self.state.path().to_owned();
        // Keepers first, so that they start nothing again; then what runs in the folder.
        for (pid, path) in processes() {
            if is_keeper(&path, &state) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        for (pid, path) in processes() {
            if fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&state)) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.power_off();
    }
}

fn is_keeper(process: &Path, state: &Path) -> bool {
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    let words: Vec<&str> = line.split(|b| *b == 0).map(|word| std::str::from_utf8(word).unwrap_or("")).collect();
    words.contains(&"keeper") && words.iter().any(|word| Path::new(word).starts_with(state))
}

/// The body of a good answer.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

fn web_app(name: &str, port: u16, version: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: {name}, team: core}}\nspec:\n  \
         run: {{command: [{}, demo-app]}}\n  port: {port}\n  env: {{VERSION: \"{version}\"}}\n  \
         health: {{http: /healthz, interval: 200ms}}\n  rollout: {{bake: 1s}}\n",
        binary().display()
    )
}

fn all_well(answer: &Value) -> bool {
    let resources = answer["resources"].as_array();
    resources.is_some_and(|all| {
        all.len() == 2
            && all.iter().all(|one| {
                one["sync"].as_str().is_some_and(|sync| sync.eq_ignore_ascii_case("synced"))
                    && one["health"].as_str().is_some_and(|health| health.eq_ignore_ascii_case("healthy"))
            })
    })
}

fn version(port: u16) -> Option<String> {
    let body: Value = serde_json::from_str(&get(port, "/api")?).ok()?;
    body["version"].as_str().map(str::to_owned)
}

/// A line of the log that says this of an app.
fn logged(machine: &Machine, resource: &str, what: &str) -> bool {
    let log = fs::read_to_string(machine.state.path().join("test.log")).unwrap_or_default();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let says = |line: &Value| line.to_string().contains(what);
    lines.into_iter().any(|line| line["resource"] == resource && says(&line))
}

fn pids(machine: &Machine, app: &str) -> Vec<i32> {
    let body = get(machine.page, &format!("/api/v1/resources/app/{app}")).unwrap_or_default();
    let body: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let pids = body["instances"].as_array().into_iter().flatten().filter_map(|instance| instance["pid"].as_i64());
    pids.filter_map(|pid| i32::try_from(pid).ok()).collect()
}

#[test]
fn a_suspended_app_is_not_changed_and_started_again_when_it_ends_and_the_log_says_whose_lines_are_whose() {
    let (machine, a, b) = Machine::serving();
    machine.wait("both have baked", |_| ["app/a", "app/b"].iter().all(|id| logged(&machine, id, "it is good")));

    machine.repo.write("a.yaml", &format!("{}  suspend: true\n", web_app("a", a, "2")));
    machine.repo.write("b.yaml", &web_app("b", b, "2").replace("demo-app", "no-such-command"));
    machine.repo.commit("One suspended, one bad");
    let suspended = |answer: &Value| answer["resources"][0]["sync"] == "Suspended";
    let answer = machine.wait("it is suspended", suspended);
    let why = answer["resources"][0]["why"].as_str().unwrap_or_default();
    assert!(why.contains("what ends is still started again"), "{why}");
    let before = pids(&machine, "a");
    let pid = rustix::process::Pid::from_raw(before[0]).expect("a pid");
    kill_process(pid, Signal::KILL).expect("it runs");
    machine.wait("it is started again", |answer| {
        suspended(answer) && pids(&machine, "a") != before && version(a) == Some("1".to_owned())
    });
    machine.wait("its end is logged", |_| logged(&machine, "app/a", "was ended by signal KILL"));
    machine.wait("the other is taken back", |_| logged(&machine, "app/b", "pinned"));
    machine.wait("and serves", |_| version(b) == Some("1".to_owned()));
    assert!(logged(&machine, "app/b", "exited with"), "how the bad one ended");
}

/// How far a rollout is when the daemon is killed. Each stays true once it is.
#[derive(Clone, Copy)]
enum Moment {
    /// The commit is in force, and hardly more.
    Accepted,
    /// The first new instance has been started.
    Started,
    /// It serves, and bakes.
    Serving,
}

#[test]
fn daemon_killed_in_the_middle_of_a_rollout_ends_in_the_same_state_and_apps_go_on() {
    let (mut machine, a, b) = Machine::serving();
    assert_eq!((version(a), version(b)), (Some("1".to_owned()), Some("1".to_owned())));

    for (round, moment) in [(2, Moment::Accepted), (3, Moment::Started), (4, Moment::Serving)] {
        let before = machine.templates();
        let want = Some(round.to_string());
        let tip = machine.repo.commit_file("a.yaml", &web_app("a", a, &round.to_string()), "A new version");
        machine.wait("the moment to kill it", |answer| match moment {
            Moment::Accepted => answer["revision"] == tip.as_str(),
            Moment::Started => machine.templates().iter().any(|template| !before.contains(template)),
            Moment::Serving => version(a) == want,
        });
        machine.kill();
        assert!(version(a).is_some() && version(b).is_some(), "apps answer without a daemon");
        machine.start();
        machine.wait("the new version", |answer| all_well(answer) && version(a) == want);
        assert_eq!(version(b).as_deref(), Some("1"), "the other was not touched");
    }
}

/// An app whose release command says that it runs, waits to be let go, and ends so.
fn releasing(end: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: a, team: core}}\nspec:\n  \
         run: {{command: [/bin/sleep, \"600\"]}}\n  rollout: {{bake: 1s}}\n  \
         release: {{command: [/bin/sh, -c, \"echo run >> runs; while ! test -e go; do sleep 0.05; done; {end}\"], timeout: 60s}}\n"
    )
}

fn sync_is(answer: &Value, sync: &str) -> bool {
    answer["resources"][0]["sync"].as_str().is_some_and(|is| is.eq_ignore_ascii_case(sync))
}

#[test]
fn a_release_command_that_the_daemons_end_cuts_off_runs_once() {
    for (end, sync) in [("exit 1", "held"), ("exit 0", "synced")] {
        let repo = TempRepo::new();
        repo.write("codeops.yaml", REPOSITORY);
        repo.write("team.yaml", TEAM);
        repo.write("a.yaml", &releasing(end));
        repo.commit("First");
        let mut machine = Machine::on(repo);
        machine.start();
        machine.wait("released", |_| machine.wrote("runs") == "run\n");
        machine.kill();
        machine.start();
        machine.wait("looked at", |answer| sync_is(answer, "outofsync"));
        machine.let_go("go");
        machine.wait("released and no more", |answer| sync_is(answer, sync));
        assert_eq!(machine.wrote("runs"), "run\n", "{end}");
    }
}

#[test]
fn a_reboot_during_a_bake_begins_it_again_and_takes_nothing_back() {
    let (mut machine, a, _) = Machine::begun();
    let good = |machine: &Machine| get(machine.page, "/api/v1/resources/app/a").is_some_and(|a| !a.contains("baking"));
    machine.wait("deployed and baked", |answer| all_well(answer) && good(&machine));
    let slow = web_app("a", a, "2").replace("bake: 1s", "bake: 1h");
    machine.repo.commit_file("a.yaml", &slow, "A new version");
    let bakes = |answer: &Value| {
        let why = answer["resources"][0]["why"].as_str().unwrap_or_default().to_owned();
        all_well(answer) && why.starts_with("baking")
    };
    machine.wait("baking", |answer| bakes(answer) && version(a).as_deref() == Some("2"));
    machine.power_off();
    machine.start();
    machine.wait("baking again", |answer| bakes(answer) && version(a).as_deref() == Some("2"));
}

#[test]
fn an_app_with_secrets_comes_back_after_a_reboot_though_nothing_may_be_changed() {
    let repo = TempRepo::new();
    let (a, b) = (free_port(), free_port());
    let app = format!("{}  secrets: {{KEY: shop-key}}\n", web_app("a", a, "1"));
    repo.write("codeops.yaml", REPOSITORY);
    repo.write("team.yaml", TEAM);
    repo.write("a.yaml", &app);
    repo.write("b.yaml", &web_app("b", b, "1"));
    repo.commit("First");
    let mut machine = Machine::on(repo);
    machine.have_secret();
    machine.start();
    machine.wait("deployed", all_well);
    let frozen = REPOSITORY.trim_end().replace("}}", "}, freeze: {what: all, reason: bad night}}");
    let suspended = format!("{app}  suspend: true\n");
    for (file, text, what) in [("codeops.yaml", frozen.as_str(), "frozen"), ("a.yaml", &suspended, "suspended")] {
        let tip = machine.repo.commit_file(file, text, "Stop changes");
        machine.wait(what, |answer| answer["revision"] == tip.as_str() && version(a).is_some());
        machine.power_off();
        assert_eq!(version(a), None);
        machine.start();
        let healthy = |answer: &Value| {
            let health = answer["resources"][0]["health"].as_str().unwrap_or_default().to_owned();
            health.eq_ignore_ascii_case("healthy")
        };
        machine.wait("back", |answer| healthy(answer) && version(a).as_deref() == Some("1"));
    }
}

#[test]
fn a_local_repository_that_is_away_after_a_reboot_keeps_no_app_down() {
    let (mut machine, a, b) = Machine::serving();
    machine.power_off();

    let (here, away) = (machine.repo.path().to_owned(), machine.repo.path().with_extension("away"));
    fs::rename(&here, &away).expect("away");
    machine.start();
    machine.wait("deployed without it", |answer| all_well(answer) && version(a).is_some() && version(b).is_some());
    let status = get(machine.page, "/api/v1/status").unwrap_or_default();
    fs::rename(&away, &here).expect("back");
    assert!(status.contains("cannot look at"), "{status}");
    machine.repo.commit_file("a.yaml", &web_app("a", a, "2"), "A new version");
    machine.wait("followed again", |answer| all_well(answer) && version(a).as_deref() == Some("2"));
}

/// Asks an app again and again, until it is asked how often it did not answer.
struct Prober {
    ends: Arc<AtomicBool>,
    asks: JoinHandle<(usize, usize)>,
}

impl Prober {
    fn of(port: u16) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ends);
        let asks = move || {
            let (mut asked, mut failed) = (0, 0);
            while !over.load(Ordering::Relaxed) {
                asked += 1;
                failed += usize::from(version(port).is_none());
                std::thread::sleep(Duration::from_millis(10));
            }
            (asked, failed)
        };
        Self { ends, asks: std::thread::spawn(asks) }
    }

    /// How often it asked, and how often in vain.
    fn end(self) -> (usize, usize) {
        self.ends.store(true, Ordering::Relaxed);
        self.asks.join().expect("it asked")
    }
}

#[test]
fn a_wrong_health_path_goes_back_and_clients_notice_nothing() {
    let repo = TempRepo::new();
    let (a, b) = (free_port(), free_port());
    repo.write("codeops.yaml", REPOSITORY);
    repo.write("team.yaml", TEAM);
    repo.write("a.yaml", &web_app("a", a, "1"));
    repo.write("b.yaml", &web_app("b", b, "1"));
    repo.commit("First");
    let mut machine = Machine::on(repo);
    machine.start();
    let app = |machine: &Machine| -> Value {
        get(machine.page, "/api/v1/resources/app/a")
            .and_then(|body| serde_json::from_str(&body).ok())
            .unwrap_or_default()
    };
    let baked = |app: &Value| app["last_good"].is_object() && !app["why"].is_string();
    machine.wait("deployed and baked", |answer| all_well(answer) && baked(&app(&machine)));
    let pid = app(&machine)["instances"][0]["pid"].clone();
    let prober = Prober::of(a);
    for (path, killed) in [("/nowhere", false), ("/nowhere-else", true)] {
        let tip = machine.repo.commit_file("a.yaml", &web_app("a", a, "1").replace("/healthz", path), "A wrong path");
        if killed {
            machine.wait("in force", |answer| answer["revision"] == tip.as_str());
            machine.kill();
            machine.start();
        }
        machine.wait("taken back", |answer| answer["revision"] == tip.as_str() && sync_is(answer, "held"));
        let well = |app: &Value| app["health"].as_str().is_some_and(|health| health.eq_ignore_ascii_case("healthy"));
        machine.wait("well", |_| well(&app(&machine)));
        let held = app(&machine);
        let why = held["why"].as_str().unwrap_or_default();
        assert!(why.contains(path) && why.contains("Codeops-Retry: app/a"), "{held:#}");
        assert_eq!(held["pins"].as_array().map(Vec::len), Some(1), "{held:#}");
        let diff = held["diff"].as_array().into_iter().flatten();
        let paths: Vec<&Value> = diff.filter(|it| it["field"] == "health.http").map(|it| &it["from"]).collect();
        assert_eq!(paths, ["/healthz"], "the old check is the live one: {held:#}");
        assert_eq!((&held["instances"][0]["pid"], &held["instances"][0]["restarts"]), (&pid, &Value::from(0)));
    }
    machine.repo.commit_file("a.yaml", &web_app("a", a, "1").replace("/healthz", "/api"), "A right path");
    machine.wait("mended", |answer| all_well(answer) && baked(&app(&machine)));
    assert_eq!(app(&machine)["instances"][0]["pid"], pid, "and nothing was restarted");
    let (asked, failed) = prober.end();
    assert!(asked > 10 && failed == 0, "{failed} of {asked} requests failed");
}
