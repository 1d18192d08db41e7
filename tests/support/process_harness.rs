//! The conformance suite's hands on the process provider: real keepers and real processes in a temporary state folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codeops::journal::Started;
use codeops::port::{Actuator, Observer, Secrets, SystemClock, Vault};
use codeops::provider::{Environment, build, build_observers};
use codeops::secret::SettingsVault;
use codeops_core::config::{SecretSettings, SecretSource};
use codeops_core::model::{AppSpec, Instance, Name, ResourceId};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::conformance::Harness;

/// A provider on a state folder of its own. Ends every process it brought about when dropped.
pub(crate) struct ProcessHarness {
    state: tempfile::TempDir,
    epoch: AtomicU64,
    provider: Mutex<Option<Arc<dyn Actuator>>>,
}

/// The one secret, granted to the one team.
const SECRET: &str = "shop-key";

impl ProcessHarness {
    pub(crate) fn new() -> Self {
        let state = tempfile::tempdir().expect("a temporary folder");
        fs::write(state.path().join(SECRET), "hunter2").expect("written");
        let provider = Mutex::new(Some(open(state.path(), &binary(), 1)));
        Self { state, epoch: AtomicU64::new(1), provider }
    }

    /// The next daemon on the same state folder, as the given binary.
    pub(crate) fn restart_as(&self, binary: &Path) {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let next = open(self.state.path(), binary, epoch);
        *self.provider.lock().expect("no panic while held") = Some(next);
    }

    /// The secret has another value from now on.
    pub(crate) fn set_secret(&self, value: &str) {
        fs::write(self.state.path().join(SECRET), value).expect("written");
    }

    /// The keyed tag of the secret's value.
    pub(crate) fn secret_tag(&self) -> String {
        let facts = vault(self.state.path()).facts();
        facts[&SECRET.parse().expect("a name")].tag.clone().expect("readable")
    }

    /// The daemon ends and no other comes.
    pub(crate) fn end_daemon(&self) {
        *self.provider.lock().expect("no panic while held") = None;
    }

    /// The read half as a command beside the daemon opens it.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        let environment = environment(self.state.path(), &binary(), self.epoch.load(Ordering::Relaxed));
        let mut built = build_observers(&Default::default(), &environment).expect("an observer");
        built.remove(&"local".parse::<Name>().expect("a name")).expect("the provider called local")
    }

    /// The provider's folders.
    pub(crate) fn home(&self) -> PathBuf {
        self.state.path().join("local")
    }

    /// The provider's folder of an app.
    pub(crate) fn folder(&self, id: &ResourceId) -> PathBuf {
        self.home().join("apps").join(id.name.as_str())
    }

    /// The keepers that run on this state folder: of one app, or of all.
    pub(crate) fn keepers(&self, id: Option<&ResourceId>) -> Vec<Pid> {
        keepers_below(&id.map_or_else(|| self.state.path().to_owned(), |id| self.folder(id)))
    }
}

/// The keepers of folders in `state`.
fn keepers_below(state: &Path) -> Vec<Pid> {
    processes()
        .into_iter()
        .filter(|(_, path)| {
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            let mut words = line.split(|b| *b == 0).map(|w| Path::new(std::str::from_utf8(w).unwrap_or("")));
            words.any(|w| w == Path::new("keeper")) && words.any(|w| w.starts_with(state))
        })
        .map(|(pid, _)| pid)
        .collect()
}

/// Ends all keepers of `state`, then what runs in it. The daemon must have ended, or it starts keepers again.
pub(crate) fn end_all(state: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let keepers = keepers_below(state);
        if keepers.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            // A second panic would hide the first.
            assert!(std::thread::panicking(), "these keepers cannot be killed: {keepers:?}");
            break;
        }
        for pid in keepers {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for (pid, path) in processes() {
        if fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(state)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_codeops"))
}

fn environment(state: &Path, binary: &Path, epoch: u64) -> Environment {
    Environment {
        state: state.to_owned(),
        binary: binary.to_owned(),
        teams: Default::default(),
        clock: Arc::new(SystemClock),
        vault: Some(vault(state)),
        memory: None,
        epoch,
    }
}

fn vault(state: &Path) -> Arc<dyn Vault> {
    let source = SecretSource::File(state.join(SECRET).display().to_string());
    let settings = SecretSettings { source, teams: vec!["team".parse().expect("a name")] };
    let settings = [(SECRET.parse().expect("a name"), settings)].into();
    Arc::new(SettingsVault::new(settings, [7; 32], Default::default()))
}

/// A process provider called `local` as a daemon of `epoch` opens it.
fn open(state: &Path, binary: &Path, epoch: u64) -> Arc<dyn Actuator> {
    let mut built = build(&Default::default(), &environment(state, binary, epoch)).expect("a provider");
    built.remove(&"local".parse::<Name>().expect("a name")).expect("the provider called local")
}

pub(crate) fn processes() -> Vec<(Pid, PathBuf)> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((Pid::from_raw(pid)?, entry.path()))
        })
        .collect()
}

impl Drop for ProcessHarness {
    fn drop(&mut self) {
        // The daemon first, so that it starts no keeper again.
        self.end_daemon();
        end_all(self.state.path());
    }
}

#[async_trait::async_trait]
impl Harness for ProcessHarness {
    fn provider(&self) -> Arc<dyn Actuator> {
        self.provider.lock().expect("no panic while held").clone().expect("a daemon")
    }

    fn spec(&self, variant: u32) -> AppSpec {
        serde_json::from_value(serde_json::json!({
            "provider": "local",
            "run": {"command": {"command": ["/bin/sh", "-c", "echo started; exec sleep 600"]}},
            "env": {"VARIANT": variant.to_string()},
            "stop": {"signal": "TERM", "grace": "2s"},
        }))
        .expect("a spec")
    }

    async fn kill(&self, _: &ResourceId, instance: &Instance) {
        let pid = instance.pid.and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).expect("a process");
        kill_process(pid, Signal::KILL).expect("killed");
    }

    async fn put_foreign(&self, id: &ResourceId) {
        let folder = self.folder(id);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("notes.txt"), "somebody else's").expect("a file");
    }

    async fn cut(&self, id: &ResourceId, cut: bool) {
        for pid in self.keepers(Some(id)) {
            kill_process(pid, if cut { Signal::STOP } else { Signal::CONT }).expect("a signal");
        }
    }

    async fn lose_answer(&self, started: &Started) {
        let provider = self.provider();
        // The daemon stops listening somewhere between the effect and the answer.
        let secrets = Secrets::default();
        let applying = provider.apply(started, &secrets);
        let _ = tokio::time::timeout(Duration::from_secs(10), applying).await;
    }

    fn write(&self, id: &ResourceId, text: &str) {
        fs::write(self.home().join("data").join(id.name.as_str()).join("note"), text).expect("written");
    }

    fn written(&self, id: &ResourceId) -> Option<String> {
        fs::read_to_string(self.home().join("data").join(id.name.as_str()).join("note")).ok()
    }

    async fn restart(&self) {
        self.restart_as(&binary());
    }
}
