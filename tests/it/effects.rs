//! Effects on the outside world, done for real: requests and messages to servers on loopback, scripts under the kernel's
//! walls, commits pushed to repositories.

mod asks;
mod commits;
mod confinement;
mod requests;
mod scripts;
mod sends;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use codeops::effect::{Parts, Performer, Scripts, Seal};
use codeops::journal::Journal;
use codeops::port::{
    CommitError, CommitOrder, Committed, Committer, Effect, EffectError, Effects as _, Performed, Source, SystemClock,
    Vault as _,
};
use codeops::secret::SettingsVault;
use codeops_core::config::{BotSettings, ScriptsMode, SecretSettings, SecretSource, TeamSettings};
use codeops_core::model::{Name, Notified, PageId, TeamName};

use crate::support::clock::ManualClock;
use crate::support::fault_log::MemoryLog;
use crate::support::scripted_source::ScriptedSource;

/// The value of the secret `token`, which the team `payments` may use.
const TOKEN: &str = "hunter2-is-secret";

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn payments() -> TeamName {
    name("payments")
}

/// A performer and what it needs.
struct Stage {
    performer: Performer,
    journal: Journal,
    source: Arc<ScriptedSource>,
    folder: PathBuf,
    /// Removed with it.
    temporary: Vec<tempfile::TempDir>,
}

struct Setting {
    egress: &'static [&'static str],
    paths: &'static [&'static str],
    scripts: ScriptsMode,
    secrets: Vec<(&'static str, String)>,
    source: Option<Arc<dyn Source>>,
    committer: Arc<dyn Committer>,
    bot: BotSettings,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            egress: &["127.0.0.1", "localhost"],
            paths: &["apps/"],
            scripts: ScriptsMode::Confined,
            secrets: vec![("token", TOKEN.to_owned())],
            source: None,
            committer: Arc::new(Nobody),
            bot: BotSettings::default(),
        }
    }
}

/// Makes no commits.
struct Nobody;

#[async_trait]
impl Committer for Nobody {
    async fn commit(&self, _: &CommitOrder<'_>) -> Result<Committed, CommitError> {
        Err(CommitError::Failed("nobody commits here".to_owned()))
    }
}

impl Setting {
    fn stage(self) -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        let stage = self.stage_in(folder.path());
        Stage { temporary: vec![folder], ..stage }
    }

    fn stage_in(self, folder: &Path) -> Stage {
        // Scripts under users of their own must get through, as they do in a state folder.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711)).expect("set");
        let clock = ManualClock::new();
        let source = ScriptedSource::new(clock.clone());
        let granted = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let team = TeamSettings { egress: granted(self.egress), paths: granted(self.paths), ..TeamSettings::default() };
        let other = TeamSettings { paths: vec!["other/".to_owned()], ..TeamSettings::default() };
        let secret =
            |text: &str| SecretSettings { source: SecretSource::Env(text.to_owned()), teams: vec![payments()] };
        let settings = self.secrets.iter().map(|(key, _)| (name(key), secret(key))).collect();
        let environment = self.secrets.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let vault = Arc::new(SettingsVault::new(settings, [7; 32], environment));
        let _ = vault.facts();
        let parts = Parts {
            vault,
            source: self.source.unwrap_or_else(|| source.clone()),
            committer: self.committer,
            clock: Arc::new(SystemClock),
            teams: BTreeMap::from([(payments(), team), (name("other"), other)]),
            scripts: self.scripts,
            bot: self.bot,
            seal: Seal::under(&[7; 32]),
            page: Some("http://codeops.example/".to_owned()),
            launcher: PathBuf::from(env!("CARGO_BIN_EXE_codeops")),
        };
        let journal = Journal::new(MemoryLog::new(clock));
        let performer = Performer::new(parts, Scripts::new(&folder.join("effects")).expect("prepared"));
        Stage { performer, journal, source, folder: folder.to_owned(), temporary: Vec::new() }
    }
}

impl Stage {
    fn new() -> Self {
        Setting::default().stage()
    }

    /// Does an effect under the first key.
    async fn perform(&self, effect: Effect) -> Result<Performed, EffectError> {
        self.perform_as(1, effect).await
    }

    /// Does an effect under the key of this page.
    async fn perform_as(&self, page: u64, effect: Effect) -> Result<Performed, EffectError> {
        let told = Notified::Receiver(name("anyone"));
        let started = self.journal.begin_send(PageId(page), told, name("anyone"), false).await.expect("written");
        let done = self.performer.perform(&started, &effect).await;
        let shown = format!("{done:?}");
        assert!(!shown.contains(TOKEN), "a secret is shown: {shown}");
        done
    }
}

/// The error of an effect that failed.
fn failed(done: Result<Performed, EffectError>) -> String {
    match done {
        Err(EffectError::Failed { error, .. }) => error,
        other => panic!("not failed: {other:?}"),
    }
}

/// The error of an effect of which nothing is known.
fn unknown(done: Result<Performed, EffectError>) -> String {
    match done {
        Err(EffectError::Unknown { error, .. }) => error,
        other => panic!("not unknown: {other:?}"),
    }
}
