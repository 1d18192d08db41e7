//! Scripts of playbooks: executables of a revision, run confined through `codeops launch`, JSON in, JSON or text out.
//!
//! Confined means: a uid of the team's own, a clean environment, no descriptor but the three standard streams, the
//! read-only view of the revision as working folder, one private temporary folder to write in, Landlock around all of
//! it, a filter of system calls, no new privileges, limits, and an end for every process of it when its time is up. Where one of these is missing
//! the script is refused, unless the settings say `scripts: unconfined`.

mod process;
mod uids;
mod view;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use codeops_core::config::ScriptsMode;
use serde_json::{Value, json};

use self::process::{Ended, Running};
use self::uids::TeamUids;
use self::view::{View, Views};
use super::{Parts, failed, text};
use crate::base::remove_folder;
use crate::launch::{Limits, Orders, User, Walls, calls};
use crate::port::{EffectError, Performed, ScriptCall};

pub use self::uids::RANGE as UIDS;

/// Address space, in bytes; of memory that is really used a script has [`process::MEMORY`].
const SPACE: u64 = 4 << 30;
/// Bytes of one file it writes.
const FILE: u64 = 256 << 20;
/// Processes and threads of all scripts of one team.
const PROCESSES: u64 = 256;
/// Open files.
const FILES: u64 = 1_024;
/// Processor seconds beyond the time it has.
const CPU_SLACK: u64 = 5;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why scripts cannot be confined on this machine, with what to do; `Ok` where they can.
///
/// # Errors
/// One sentence.
pub fn confinement() -> Result<(), String> {
    let missing = if !rustix::process::geteuid().is_root() {
        "the daemon does not run as root, so that teams cannot have users of their own"
    } else if !Walls::can_be_raised() {
        "this kernel has no Landlock (boot it with `lsm=landlock,…`)"
    } else if !calls::can_be_filtered() {
        "this kernel cannot filter system calls (it needs CONFIG_SECCOMP_FILTER)"
    } else {
        return Ok(());
    };
    Err(format!("scripts cannot be confined here: {missing}; or set `scripts: unconfined` in the settings"))
}

/// Where scripts run. One process has one, whatever settings it takes over: what is on stays in it. Cheap to clone.
#[derive(Clone)]
pub struct Scripts {
    folder: PathBuf,
    views: Arc<Views>,
    uids: Arc<TeamUids>,
}

impl Scripts {
    /// Prepares `folder`, `views/`, `tmp/` and `uids.json` in it, and clears away what an earlier daemon left there.
    ///
    /// # Errors
    /// The folder cannot be prepared; says which and why.
    pub fn new(folder: &Path) -> Result<Self, String> {
        Self::open(folder).map_err(|error| format!("the folder `{}` cannot be prepared: {error}", folder.display()))
    }

    fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
        let uids = TeamUids::open(folder)?;
        let tmp = folder.join("tmp");
        // Each script has a folder of its own in it: what cannot be removed, such as what somebody mounted there, is in no one's way.
        if let Err(error) = remove_folder(&tmp) {
            tracing::warn!(folder = %tmp.display(), %error, "what scripts left cannot be removed and stays: is something mounted there?");
        }
        make_again(&tmp).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", tmp.display())))?;
        Ok(Self {
            folder: folder.to_owned(),
            views: Arc::new(Views::open(&folder.join("views"))?),
            uids: Arc::new(uids),
        })
    }

    /// Runs one script to its end.
    pub(super) async fn run(&self, parts: &Parts, key: &str, call: &ScriptCall) -> Result<Performed, EffectError> {
        if parts.scripts == ScriptsMode::Confined {
            confinement().map_err(failed)?;
        }
        let view = self.views.of(&call.revision, &*parts.source).await.map_err(failed)?;
        let program = program(&view, &call.file).map_err(failed)?;
        let limit = Duration::from_millis(call.timeout_ms);
        let started = Running::prepare(&self.uids, &call.team, &self.folder.join("tmp")).await;
        let mut running = started.map_err(|error| cannot_start(&call.file, &error.to_string()))?;
        let orders = orders(key, call, &view, &program, &running);
        let ended = running.run(&parts.launcher, &orders, limit).await;
        running.clear().await;
        drop(view);
        told(parts, call, ended)
    }
}

/// Makes a folder, or takes the one that is there, if it is the daemon's own.
fn make_again(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o711).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let meta = fs::symlink_metadata(folder)?;
            if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
                return Err(error);
            }
            fs::set_permissions(folder, Permissions::from_mode(0o711))
        }
        made => made,
    }
}

/// The file to run.
fn program(view: &View, file: &str) -> Result<PathBuf, String> {
    let inside = !file.is_empty() && file.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    let path = view.path().join(file);
    let found = fs::symlink_metadata(&path).ok().filter(|meta| inside && meta.is_file());
    let meta = found.ok_or_else(|| format!("the revision has no file `{file}`: commit it, or correct the step"))?;
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(format!("`{file}` cannot be run: begin it with a line such as `#!/bin/sh`"));
    }
    Ok(path)
}

fn orders(key: &str, call: &ScriptCall, view: &View, program: &Path, running: &Running) -> Orders {
    let tmp = running.tmp().display().to_string();
    let env = [
        ("PATH", PATH),
        ("HOME", &tmp),
        ("TMPDIR", &tmp),
        ("LANG", "C.UTF-8"),
        ("CODEOPS_TEAM", call.team.as_str()),
        ("CODEOPS_REVISION", call.revision.as_str()),
        ("CODEOPS_SCRIPT", &call.file),
        ("CODEOPS_KEY", key),
    ];
    let own = running.uid();
    let walls = Walls { read: vec![view.path().to_owned()], write: vec![running.tmp().to_owned()] };
    Orders {
        command: vec![program.display().to_string()],
        dir: view.path().to_owned(),
        env: env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>(),
        user: own.map(|uid| User { uid, gid: uid, groups: Vec::new() }),
        files: Some(FILES),
        soft_files: None,
        cgroups: running.cgroups(),
        input: Some(call.input.to_string()),
        limits: Limits {
            memory: Some(SPACE),
            cpu: Some(call.timeout_ms.div_ceil(1_000) + CPU_SLACK),
            file: Some(FILE),
            // Without a user of their own they would count with everything else.
            processes: own.map(|_| PROCESSES),
        },
        walls: Walls::can_be_raised().then_some(walls),
        filtered: calls::can_be_filtered(),
        bound: true,
    }
}

fn cannot_start(file: &str, why: &str) -> EffectError {
    failed(format!("`{file}` cannot be started: {why}"))
}

/// What became of it.
fn told(parts: &Parts, call: &ScriptCall, ended: io::Result<Ended>) -> Result<Performed, EffectError> {
    let file = &call.file;
    let ended = ended.map_err(|error| cannot_start(file, &error.to_string()))?;
    let veil = &parts.veil(&call.team);
    if let Some(why) = &ended.not_started {
        return Err(cannot_start(file, why));
    }
    let how = match (ended.timed_out, ended.status) {
        (true, _) => format!("took longer than {} s and was ended", call.timeout_ms.div_ceil(1_000)),
        (false, Some(status)) => match status.code() {
            Some(code) => format!("exited with code {code}"),
            None => format!("was ended by a signal ({status})"),
        },
        (false, None) => "ended, and nobody knows how".to_owned(),
    };
    let complaint = ended.stderr.text(veil, 8 << 10);
    let printed = ended.stdout.text(veil, 4 << 10);
    let evidence = format!(
        "{file} {how}; it printed {} bytes\n{complaint}{}{printed}",
        ended.stdout.total(),
        if complaint.is_empty() { "" } else { "\n" },
    );
    if !ended.timed_out && ended.status.is_some_and(|status| status.success()) {
        let output = ended.stdout.value(veil, |text| json!({ "text": text }));
        let output = if output == Value::Null { json!({}) } else { output };
        return Ok(Performed { output, evidence });
    }
    let last = if complaint.is_empty() { &printed } else { &complaint };
    let last = text::tail(last, 500);
    let why = if last.is_empty() { String::new() } else { format!(": {last}") };
    Err(EffectError::Failed { error: format!("`{file}` {how}{why}"), evidence })
}
