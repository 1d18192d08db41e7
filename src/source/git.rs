//! The hardened `git` command: the only thing here that opens a connection.
//!
//! It runs without a shell, with an environment of its own, no system or user configuration, no hooks, no prompt, and one
//! allowed protocol; a time limit kills its whole process group. It knows nothing of branches, mirrors or revisions.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::address::Address;
use super::text::one_line;
use super::{Limits, SourceError};

/// The oldest git that has every switch used here.
const OLDEST: (u32, u32) = (2, 30);
/// Git's own home, below the folder of the mirrors.
pub(super) const HOME: &str = "home";
/// Its configuration there.
const CONFIGURATION: &str = ".gitconfig";
/// More than this of what git prints is dropped.
const OUTPUT: u64 = 1 << 20;
/// What git calls `SSL_CERT_FILE`, which Debian's git, linked with GnuTLS, does not read by itself.
const CERTIFICATES: &str = "GIT_SSL_CAINFO";
/// The most memory of one git process, in bytes; packs that it maps do not count.
const MEMORY: u64 = 512 << 20;
/// Variables of the daemon that git may see: how to find programs, agents, proxies and certificates.
const PASSED: &[&str] = &[
    "PATH",
    "SSH_AUTH_SOCK",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    CERTIFICATES,
    "TMPDIR",
];

/// Settings that hold for every command. `fetch.unpackLimit=1` keeps what arrives as packs, so that size is cheap to see.
const CONFIG: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "credential.helper=",
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    "fetch.unpackLimit=1",
    "http.followRedirects=false",
    "protocol.allow=never",
    "submodule.recurse=false",
    // A small push may unpack to much: what is large is streamed, by one thread.
    "core.bigFileThreshold=1m",
    "pack.threads=1",
    "pack.windowMemory=16m",
    "pack.deltaCacheSize=16m",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "advice.fetchShowForcedUpdates=false",
];

/// What is out of shape in these ways harms nobody, and [`super::object`] and [`super::entries`] read it: old tools made such commits, and they stay in
/// every history that has them. What else git finds wrong with an object, it refuses.
const HARMLESS: &[&str] = &[
    "badDate",
    "badDateOverflow",
    "badEmail",
    "badFilemode",
    "badName",
    "badTimezone",
    "missingAuthor",
    "missingCommitter",
    "missingEmail",
    "missingNameBeforeEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "multipleAuthors",
    "nulInCommit",
    "zeroPaddedDate",
    "zeroPaddedFilemode",
];

/// How one command ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The exit code; `None`: killed by a signal.
    pub(super) code: Option<i32>,
    /// What it printed, cut.
    pub(super) stdout: String,
    /// Its complaint as one redacted line, cut.
    pub(super) complaint: String,
}

impl Ended {
    /// Whether it did what it was asked.
    pub(super) fn ok(&self) -> bool {
        self.code == Some(0)
    }
}

/// The `git` command as this source uses it.
#[derive(Debug)]
pub(super) struct Git {
    address: Address,
    /// Where its home is.
    folder: PathBuf,
    environment: Vec<(String, String)>,
    limits: Limits,
}

impl Git {
    /// Prepares the private home below `folder` and checks that git is there and new enough.
    pub(super) async fn new(
        address: &Address,
        folder: &Path,
        environment: &BTreeMap<String, String>,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        let home = prepare_home(folder, address)?;
        let mut variables: Vec<(String, String)> = PASSED
            .iter()
            .filter_map(|name| environment.get(*name).map(|value| ((*name).to_owned(), value.clone())))
            .collect();
        if let (None, Some(file)) = (environment.get(CERTIFICATES), environment.get("SSL_CERT_FILE")) {
            variables.push((CERTIFICATES.to_owned(), file.clone()));
        }
        if !environment.contains_key("PATH") {
            variables.push(("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()));
        }
        let home_text = home.display().to_string();
        let fixed = [
            ("HOME", home_text.as_str()),
            ("GIT_CEILING_DIRECTORIES", &folder.display().to_string()),
            ("GIT_CONFIG_GLOBAL", &format!("{home_text}/{CONFIGURATION}")),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "/bin/false"),
            ("SSH_ASKPASS", "/bin/false"),
            ("GIT_ALLOW_PROTOCOL", address.protocol()),
            ("GIT_PROTOCOL_FROM_USER", "0"),
            ("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes -oConnectTimeout=15"),
            ("GIT_SSH_VARIANT", "ssh"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            // A repository on this machine that lacks objects would name a program that gets them.
            ("GIT_NO_LAZY_FETCH", "1"),
            ("LC_ALL", "C"),
        ];
        variables.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let git = Self { address: address.clone(), folder: folder.to_owned(), environment: variables, limits };
        git.check_version().await?;
        Ok(git)
    }

    /// What it may cost.
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Refuses a mirror that outgrew the limit: a quick fetch ends before it is caught at it.
    pub(super) async fn check_size(&self, folder: &Path) -> Result<(), SourceError> {
        let folder = folder.to_owned();
        let bytes = tokio::task::spawn_blocking(move || folder_bytes(&folder)).await.unwrap_or_default();
        if bytes > self.limits.mirror_bytes { Err(self.too_big()) } else { Ok(()) }
    }

    /// The error of a repository beyond the limit.
    pub(super) fn too_big(&self) -> SourceError {
        SourceError(format!(
            "the repository {} is bigger than {} MiB and is not followed: keep manifests in a repository of their own",
            self.address,
            self.limits.mirror_bytes >> 20
        ))
    }

    async fn check_version(&self) -> Result<(), SourceError> {
        let ended = self.run(Path::new("/"), &["--version"], None).await?;
        match version(&ended.stdout) {
            Some(found) if found >= OLDEST => Ok(()),
            _ => Err(SourceError(format!(
                "git {}.{} or newer is needed, and `git --version` says `{}`: install a newer git",
                OLDEST.0,
                OLDEST.1,
                one_line(&ended.stdout, 80)
            ))),
        }
    }

    /// Runs git in `folder` to its end. `watched` is a folder that must not outgrow the limit while it runs.
    ///
    /// # Errors
    /// Git cannot be started, ran out of time, or outgrew the limit. A failing git is `Ok` with its code.
    pub(super) async fn run(
        &self,
        folder: &Path,
        arguments: &[&str],
        watched: Option<&Path>,
    ) -> Result<Ended, SourceError> {
        if !self.folder.join(HOME).join(CONFIGURATION).exists() {
            // Somebody removed it.
            prepare_home(&self.folder, &self.address)?;
        }
        let mut command = Command::new("git");
        for setting in CONFIG {
            command.args(["-c", setting]);
        }
        for id in HARMLESS {
            command.args(["-c", &format!("fetch.fsck.{id}=ignore"), "-c", &format!("fsck.{id}=ignore")]);
        }
        command.args(["-c", &format!("protocol.{}.allow=always", self.address.protocol())]);
        command.args(arguments).current_dir(folder).env_clear().envs(self.environment.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| SourceError(cannot_start(folder, &error)))?;
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
        // Before git has started what does the work: that inherits it. A git that cannot be bounded does its work all the same.
        let _ = group
            .0
            .map(|pid| prlimit(Some(pid), Resource::Data, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) }));
        let verb = arguments.iter().find(|argument| !argument.starts_with('-')).copied().unwrap_or("git");
        tokio::select! {
            ended = collect(&mut child, &self.address) => {
                let ended = ended.map_err(|error| SourceError(format!("`git {verb}` cannot be waited for: {error}")))?;
                group.disarm();
                Ok(ended)
            }
            () = tokio::time::sleep(self.limits.time) => Err(SourceError(format!(
                "`git {verb}` for {} took longer than {} s and was ended; it is tried again",
                self.address, self.limits.time.as_secs()
            ))),
            () = outgrown(watched, self.limits.mirror_bytes) => Err(self.too_big()),
        }
    }
}

/// What to do when git cannot be started in a folder.
fn cannot_start(folder: &Path, error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound && !folder.is_dir() {
        return format!("`git` cannot be started in `{}`: that folder is gone; it is made again", folder.display());
    }
    let advice = match error.kind() {
        std::io::ErrorKind::NotFound => "install git 2.30 or newer, and see that the daemon's PATH leads to it",
        std::io::ErrorKind::PermissionDenied => "see that the daemon may run it",
        // Too many processes, no memory: it passes or the machine says more.
        _ => "it is tried again; look at the machine's limits on processes and memory",
    };
    format!("`git` cannot be started: {error}; {advice}")
}

/// Kills the process group when it is dropped: whatever git started ends with it.
struct Group(Option<Pid>);

impl Group {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Gone already is as good as killed.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn collect(child: &mut Child, address: &Address) -> std::io::Result<Ended> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr, status) = tokio::join!(read_some(stdout), read_some(stderr), child.wait());
    Ok(Ended { code: status?.code(), stdout, complaint: complaint(&stderr, address) })
}

/// What cannot be seen goes first: it could stand within what is to be masked.
fn complaint(stderr: &str, address: &Address) -> String {
    one_line(&address.redact(&one_line(stderr, usize::MAX)), 600)
}

async fn read_some(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut bytes = Vec::new();
    // What cannot be read is missing from a message; the exit code tells success.
    let _ = (&mut stream).take(OUTPUT).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Ends when the folder holds more than `limit` bytes; never without a folder.
async fn outgrown(folder: Option<&Path>, limit: u64) {
    let Some(folder) = folder else { return std::future::pending().await };
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let folder = folder.to_owned();
        if tokio::task::spawn_blocking(move || folder_bytes(&folder)).await.is_ok_and(|bytes| bytes > limit) {
            return;
        }
    }
}

/// The bytes of all files in a folder, as far as they can be seen.
fn folder_bytes(folder: &Path) -> u64 {
    let mut total = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => total += meta.len(),
                Err(_) => {}
            }
        }
    }
    total
}

/// A home of git's own. Its `.gitconfig` takes the place of the user's and says that the folder named in the settings may
/// be read whoever owns it, that one alone: `upload-pack` reads this from no other place. Nothing is pushed there then.
/// Credentials of an http address are presented from here.
fn prepare_home(folder: &Path, address: &Address) -> Result<PathBuf, SourceError> {
    let home = folder.join(HOME);
    let prepare = || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&home)?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(home.join(CONFIGURATION))?;
        writeln!(file, "{}{}", address.safe_folders(), address.configuration())
    };
    prepare().map_err(|error: std::io::Error| {
        SourceError(format!("the folder `{}` cannot be prepared for git: {error}", folder.display()))
    })?;
    Ok(home)
}

/// Major and minor of `git version 2.47.3 (…)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix("git version ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_git_prints_them() {
        assert_eq!(version("git version 2.47.3\n"), Some((2, 47)));
        assert_eq!(version("git version 2.39.5 (Apple Git-154)\n"), Some((2, 39)));
        assert_eq!(version("hub 1.0"), None);
        assert!(version("git version 2.9.1").is_some_and(|found| found < OLDEST));
    }

    #[test]
    fn only_a_git_that_is_not_there_is_to_be_installed() {
        let why = |error: rustix::io::Errno| cannot_start(Path::new("/"), &error.into());
        assert!(why(rustix::io::Errno::NOENT).contains("install git"));
        let gone = cannot_start(Path::new("/nowhere"), &rustix::io::Errno::NOENT.into());
        assert!(gone.contains("`/nowhere`") && !gone.contains("install git"), "{gone}");
        for error in [rustix::io::Errno::AGAIN, rustix::io::Errno::NOMEM, rustix::io::Errno::ACCESS] {
            assert!(!why(error).contains("install git"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_command_out_of_time_takes_its_children_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let address = Address::parse(&folder.path().display().to_string()).expect("a folder is an address");
        let limits = Limits { time: Duration::from_millis(300), ..Limits::default() };
        let git = Git::new(&address, folder.path(), &BTreeMap::new(), limits).await.expect("git is installed");
        let pid_file = folder.path().join("pid");
        let alias = format!("alias.stall=!sleep 60 & echo $! > {}; wait", pid_file.display());
        let error = git.run(folder.path(), &["-c", &alias, "stall"], None).await.expect_err("it is out of time");
        assert!(error.0.contains("took longer than"), "{error}");
        let pid: i32 = fs::read_to_string(pid_file).expect("the child ran").trim().parse().expect("a pid");
        let pid = Pid::from_raw(pid).expect("a pid");
        let gone = async {
            while rustix::process::test_kill_process(pid).is_ok() && !zombie(pid) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the child ends with its group");
    }

    fn zombie(pid: Pid) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_ok_and(|stat| stat.contains(") Z "))
    }
}
