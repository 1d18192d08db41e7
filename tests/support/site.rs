//! A real daemon on a config repository and a state folder, with all that it brings about.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::git::TempRepo;
use super::port::free_port;
use super::process_harness::{binary, end_all};

const PATIENCE: Duration = Duration::from_secs(30);

/// A config repository, a state folder, and the daemon that runs on both.
pub(crate) struct Site {
    pub(crate) repository: TempRepo,
    pub(crate) folder: TempDir,
    pub(crate) daemon: Option<Child>,
    server: String,
}

/// The binary in an environment that holds nothing of this machine's.
pub(crate) fn codeops() -> Command {
    #[expect(clippy::disallowed_methods, reason = "the binary under test")]
    let mut command = Command::new(binary());
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", "/nonexistent");
    command
}

impl Site {
    /// With one file of apps in its repository; no daemon runs yet.
    pub(crate) fn new(apps: &str) -> Self {
        let repository = TempRepo::with(&[
            ("codeops.yaml", "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme}\nspec: {}\n"),
            ("team.yaml", "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: shop}\nspec: {}\n"),
            ("shop.yaml", apps),
        ]);
        let folder = tempfile::tempdir().expect("a folder");
        // Under root the app has a user of its own, who has to reach its folder.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        Self { repository, folder, daemon: None, server: String::new() }
    }

    /// The daemon's state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Starts a daemon.
    pub(crate) fn start(&mut self) {
        self.start_under(codeops());
    }

    /// Starts a daemon by a command that takes the daemon's arguments.
    pub(crate) fn start_under(&mut self, mut command: Command) {
        let (page, hooks) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let log = fs::File::create(self.folder.path().join("log")).expect("a log");
        command.arg("run").arg("--repo").arg(self.repository.path()).arg("--state").arg(self.state());
        command.args(["--listen", &page, "--hooks-listen", &hooks, "--poll", "1s"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        self.daemon = Some(command.spawn().expect("the daemon starts"));
        self.server = format!("http://{page}");
    }

    /// Asks the daemon to end, and waits for it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let pid = Pid::from_child(&daemon);
            let _ = kill_process(pid, Signal::TERM);
            drop(daemon.wait());
        }
    }

    /// What a command answers as JSON.
    pub(crate) fn ask(&self, what: &[&str]) -> Value {
        serde_json::from_str(&self.told(what)).unwrap_or_default()
    }

    /// What a command answers, as JSON too.
    pub(crate) fn told(&self, what: &[&str]) -> String {
        let answer = codeops().args(what).args(["-o", "json", "--server", &self.server]).output().expect("it runs");
        String::from_utf8_lossy(&answer.stdout).into_owned()
    }

    /// The trailer of the one hold, once there is one.
    pub(crate) fn until_held(&self) -> String {
        let trailer = |answer: &Value| Some(answer.pointer("/items/0/trailer")?.as_str()?.to_owned());
        self.until("held", |status, _| status["holds"] == 1);
        let answer = self.read("/api/v1/holds");
        trailer(&answer).unwrap_or_else(|| panic!("a hold: {answer}"))
    }

    /// What the page's address answers.
    pub(crate) fn read(&self, path: &str) -> Value {
        let address = self.server.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("the daemon listens");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or_default()
    }

    /// Waits until status and `app/shop` are as wanted.
    pub(crate) fn until(&self, what: &str, seen: impl Fn(&Value, &Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, shop) = (self.ask(&["status"]), self.ask(&["get", "app/shop"]));
            if seen(&status, &shop) {
                return shop;
            }
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "never {what}:\n{status:#}\n{shop:#}\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the daemon's log says this; the log.
    pub(crate) fn until_logged(&self, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            if log.contains(what) {
                return log;
            }
            assert!(Instant::now() < deadline, "never logged {what}:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Until the newest commit is applied and its instances have stayed well; their process ids.
    pub(crate) fn until_applied(&self) -> Vec<u64> {
        let head = self.repository.head().to_string();
        let shop = self.until("applied", |status, shop| {
            let revision = status.pointer("/revision/id").or(shop.get("revision")).and_then(Value::as_str);
            shop["sync"] == "Synced" && shop["health"] == "Healthy" && revision == Some(&head) && pids(shop).len() == 2
        });
        pids(&shop)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop();
        end_all(&self.state());
    }
}

/// The process ids of an app's instances.
pub(crate) fn pids(shop: &Value) -> Vec<u64> {
    let instances = shop["instances"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let mut pids: Vec<u64> = instances.iter().filter_map(|instance| instance["pid"].as_u64()).collect();
    pids.sort_unstable();
    pids
}
