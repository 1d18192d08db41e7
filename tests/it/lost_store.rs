//! A store that was lost or restored from a backup, with real daemons, keepers and processes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::git::TempRepo;
use crate::support::process_harness::{binary, end_all};

const PATIENCE: Duration = Duration::from_secs(30);

/// A config repository, a state folder, and the daemon that runs on both.
struct Site {
    repository: TempRepo,
    folder: TempDir,
    daemon: Option<Child>,
    server: String,
}

fn app(version: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: shop, team: shop}}\nspec:\n  provider: local\n  replicas: 2\n  \
         env: {{VERSION: {version}}}\n  run: {{command: [/bin/sleep, \"600\"]}}\n  rollout: {{bake: 1s}}\n"
    )
}

fn codeops() -> Command {
    #[expect(clippy::disallowed_methods, reason = "the binary under test")]
    let mut command = Command::new(binary());
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", "/nonexistent");
    command
}

impl Site {
    fn new() -> Self {
        let repository = TempRepo::with(&[
            ("codeops.yaml", "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme}\nspec: {}\n"),
            ("team.yaml", "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: shop}\nspec: {}\n"),
            ("shop.yaml", &app("1")),
        ]);
        let folder = tempfile::tempdir().expect("a folder");
        // Under root the app has a user of its own, who has to reach its folder.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        Self { repository, folder, daemon: None, server: String::new() }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn start(&mut self) {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let (page, hooks) = (format!("127.0.0.1:{}", free()), format!("127.0.0.1:{}", free()));
        let log = fs::File::create(self.folder.path().join("log")).expect("a log");
        let mut command = codeops();
        command.arg("run").arg("--repo").arg(self.repository.path()).arg("--state").arg(self.state());
        command.args(["--listen", &page, "--hooks-listen", &hooks, "--poll", "1s"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        self.daemon = Some(command.spawn().expect("the daemon starts"));
        self.server = format!("http://{page}");
    }

    fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let pid = Pid::from_child(&daemon);
            let _ = kill_process(pid, Signal::TERM);
            drop(daemon.wait());
        }
    }

    fn ask(&self, what: &[&str]) -> Value {
        let answer = codeops().args(what).args(["-o", "json", "--server", &self.server]).output().expect("it runs");
        serde_json::from_slice(&answer.stdout).unwrap_or_default()
    }

    fn until(&self, what: &str, seen: impl Fn(&Value, &Value) -> bool) -> Value {
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

    /// Until the newest commit is applied and its instances have stayed well; their process ids.
    fn until_applied(&self) -> Vec<u64> {
        let head = self.repository.head().to_string();
        let shop = self.until("applied", |status, shop| {
            let revision = status.pointer("/revision/id").or(shop.get("revision")).and_then(Value::as_str);
            shop["sync"] == "Synced" && shop["health"] == "Healthy" && revision == Some(&head) && pids(shop).len() == 2
        });
        pids(&shop)
    }

    /// The store's files, as in a backup: taken while no daemon runs.
    fn store(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = fs::read_dir(self.state()).expect("listed").flatten().map(|entry| entry.path());
        let store =
            files.filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("journal.db")));
        store.map(|path| (path.clone(), fs::read(path).expect("read"))).collect()
    }

    fn lose_store(&self) {
        let store = self.store();
        assert!(!store.is_empty(), "no store in {}", self.state().display());
        for (path, _) in store {
            fs::remove_file(path).expect("removed");
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop();
        end_all(&self.state());
    }
}

fn pids(shop: &Value) -> Vec<u64> {
    let instances = shop["instances"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let mut pids: Vec<u64> = instances.iter().filter_map(|instance| instance["pid"].as_u64()).collect();
    pids.sort_unstable();
    pids
}

#[test]
fn a_lost_store_is_rebuilt_from_stamps() {
    let mut site = Site::new();
    site.start();
    let before = site.until_applied();
    // A second daemon makes the keepers expect even later ones.
    site.stop();
    site.start();
    assert_eq!(site.until_applied(), before);
    site.stop();
    site.lose_store();
    site.start();
    assert_eq!(site.until_applied(), before, "everything is adopted as it runs");
    // And it is obeyed.
    site.repository.commit_file("shop.yaml", &app("2"), "Change the version");
    site.until("changed", |_, shop| {
        let now = pids(shop);
        shop["sync"] == "Synced" && now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
    });
}

#[test]
fn a_restored_store_changes_nothing_until_a_commit() {
    let mut site = Site::new();
    site.start();
    site.until_applied();
    site.stop();
    let backup = site.store();
    site.start();
    site.repository.commit_file("shop.yaml", &app("2"), "Change the version");
    let second = site.until_applied();
    site.stop();
    site.lose_store();
    for (path, bytes) in backup {
        fs::write(path, bytes).expect("restored");
    }
    site.start();
    let shop = site.until("observing only", |status, shop| {
        status["observe_only"].as_str().is_some_and(|why| why.contains("backup")) && !pids(shop).is_empty()
    });
    assert_eq!(pids(&shop), second, "what lives goes on");
    site.repository.commit_file("shop.yaml", &app("3"), "Change the version again");
    let third = site.until_applied();
    assert!(third.iter().all(|pid| !second.contains(pid)), "a commit ends it: {second:?} {third:?}");
    assert_eq!(site.ask(&["status"])["observe_only"], Value::Null);
}
