//! A real daemon on a real repository, started as a user would, and looked at through its page and `/proc`.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

/// The longest anything here may take.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_codeops");

/// A folder with a config repository and a state folder.
pub(crate) struct Place {
    folder: TempDir,
}

/// A daemon that runs; it and all it started end with it.
pub(crate) struct Daemon {
    child: Child,
    page: u16,
    binary: PathBuf,
}

/// The head that every repository of the benches has.
pub(crate) const HEAD: &str = "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme}\nspec: {defaults: {provider: local}}\n---\napiVersion: codeops/v1\nkind: Team\nmetadata: {name: payments}\nspec: {}\n";

impl Place {
    /// A repository with these files, committed.
    pub(crate) fn with(files: &[(String, String)]) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        // The kernel's name for the binary is how processes are found again, so each place has its own copy.
        fs::copy(BINARY, place.binary()).unwrap();
        place.git(&["init", "--quiet", "--initial-branch=main"]);
        place.commit(&[("codeops.yaml".to_owned(), HEAD.to_owned())]);
        if !files.is_empty() {
            place.commit(files);
        }
        place
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.folder.path().join("ops")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn binary(&self) -> PathBuf {
        self.folder.path().join("codeops")
    }

    pub(crate) fn git(&self, words: &[&str]) {
        fs::create_dir_all(self.repository()).unwrap();
        let mut git = program("git");
        git.current_dir(self.repository()).args(["-c", "user.name=bench", "-c", "user.email=bench@localhost"]);
        assert!(git.args(words).env("GIT_CONFIG_GLOBAL", "/dev/null").status().unwrap().success(), "git {words:?}");
    }

    pub(crate) fn commit(&self, files: &[(String, String)]) {
        for (path, text) in files {
            let path = self.repository().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", "change"]);
    }

    /// Starts a daemon and waits until its page listens.
    pub(crate) fn start(&self) -> Daemon {
        let (page, hooks) = (free_port(), free_port());
        let mut command = program(self.binary());
        command.args(["run", "--repo", self.repository().to_str().unwrap()]);
        command.args(["--state", self.state().to_str().unwrap(), "--poll", "1h"]);
        command.args(["--listen", &format!("127.0.0.1:{page}"), "--hooks-listen", &format!("127.0.0.1:{hooks}")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let daemon = Daemon { child, page, binary: self.binary() };
        until_listening(page);
        daemon
    }
}

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One JSON document of the page, by a request of its own.
    pub(crate) fn json(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&self.answer(path)?).ok()
    }

    /// The body of what the page answers.
    pub(crate) fn answer(&self, path: &str) -> Option<String> {
        use std::io::{Read as _, Write as _};
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.page)).ok()?;
        write!(stream, "GET /{path} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\n\r\n", self.page).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }

    /// Waits until so many resources are synced and healthy.
    pub(crate) fn until_fine(&self, count: usize) {
        let fine = |found: &Value| {
            let all = found["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
            all.iter().filter(|r| r["sync"] == "Synced" && r["health"] == "Healthy").count()
        };
        until(|| self.json("api/v1/resources").is_some_and(|found| fine(&found) == count), "all apps are healthy");
    }

    /// The process and the port of an app's first instance.
    pub(crate) fn instance(&self, app: &str) -> Option<(i32, u16)> {
        let found = self.json(&format!("api/v1/resources/app/{app}"))?;
        let instance = found["instances"].as_array()?.first()?;
        let number = |key: &str| instance[key].as_i64();
        Some((i32::try_from(number("pid")?).ok()?, u16::try_from(number("port")?).ok()?))
    }

    /// Its keepers.
    pub(crate) fn keepers(&self) -> Vec<i32> {
        let is_keeper = |pid: &i32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).nth(1) == Some(b"keeper")
        };
        running(&self.binary).into_iter().filter(is_keeper).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        end_all(&self.binary);
    }
}

/// Ends every keeper that runs from a binary, and what it keeps.
pub(crate) fn end_all(binary: &Path) {
    let found = running(binary);
    let kept: Vec<i32> = found.iter().flat_map(|pid| children(*pid)).collect();
    for pid in found.into_iter().chain(kept) {
        kill(pid);
    }
}

pub(crate) fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Whose child a process is.
pub(crate) fn parent(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

/// Every process that runs from this binary.
fn running(binary: &Path) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == *binary)).collect()
}

/// Waits until something listens on a port.
pub(crate) fn until_listening(port: u16) {
    let begun = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(begun.elapsed() < PATIENCE, "nothing listens on {port}");
        std::thread::sleep(Duration::from_micros(100));
    }
}

pub(crate) fn until(done: impl Fn() -> bool, what: &str) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "not so within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A port nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), &["VmRSS:"])
}

/// Memory that a process shares with nobody, in KiB.
pub(crate) fn private(pid: i32) -> u64 {
    field(&format!("/proc/{pid}/smaps_rollup"), &["Private_Clean:", "Private_Dirty:"])
}

fn field(file: &str, names: &[&str]) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

#[expect(clippy::disallowed_methods, reason = "what is measured are programs")]
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(name)
}
