//! Temporary repositories made with the real `git`, hermetic: no configuration of the machine, fixed names and times.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use codeops_core::model::Revision;
use tempfile::TempDir;

use super::port::free_port;

/// A work tree with its repository, on branch `main`, without commits. Removed when dropped.
#[derive(Debug)]
pub(crate) struct TempRepo {
    folder: TempDir,
}

impl TempRepo {
    /// An empty repository.
    pub(crate) fn new() -> Self {
        let repo = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        repo.git(&["init", "--quiet", "--initial-branch=main", "."]);
        repo
    }

    /// A repository with one commit of these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let repo = Self::new();
        for (path, text) in files {
            repo.write(path, text);
        }
        repo.commit("First");
        repo
    }

    /// The work tree.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What `repository.url` takes.
    pub(crate) fn url(&self) -> String {
        self.path().display().to_string()
    }

    /// Writes a file and its folders; not committed yet.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("below the work tree")).expect("folders");
        fs::write(path, text).expect("written");
    }

    /// Removes a file; not committed yet.
    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.path().join(path)).expect("removed");
    }

    /// Commits everything, also when nothing changed.
    pub(crate) fn commit(&self, message: &str) -> Revision {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.head()
    }

    /// Writes one file and commits it.
    pub(crate) fn commit_file(&self, path: &str, text: &str, message: &str) -> Revision {
        self.write(path, text);
        self.commit(message)
    }

    /// Signs every commit from now on with this key.
    pub(crate) fn sign_with(&self, key: &SshKey) {
        self.git(&["config", "gpg.format", "ssh"]);
        self.git(&["config", "user.signingKey", &key.private.display().to_string()]);
        self.git(&["config", "commit.gpgSign", "true"]);
    }

    /// Signs no more.
    pub(crate) fn sign_no_more(&self) {
        self.git(&["config", "commit.gpgSign", "false"]);
    }

    /// The commit that is checked out.
    pub(crate) fn head(&self) -> Revision {
        self.git(&["rev-parse", "HEAD"]).parse().expect("a commit id")
    }

    /// Runs git here and gives what it printed, trimmed. Panics when it fails.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git_in(self.path(), arguments)
    }
}

/// Runs git in a folder, hermetic. Panics when it fails.
pub(crate) fn git_in(folder: &Path, arguments: &[&str]) -> String {
    let output = command("git").args(arguments).current_dir(folder).output().expect("git is installed");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "tests drive the real git")]
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, value) in [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_AUTHOR_NAME", "Ada Lovelace"),
        ("GIT_AUTHOR_EMAIL", "ada@acme.example"),
        ("GIT_COMMITTER_NAME", "Ada Lovelace"),
        ("GIT_COMMITTER_EMAIL", "ada@acme.example"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("LC_ALL", "C"),
    ] {
        command.env(name, value);
    }
    command.env_remove("GIT_DIR").env_remove("GIT_INDEX_FILE").env_remove("GIT_WORK_TREE").stdin(Stdio::null());
    command
}

/// A key made by the real `ssh-keygen`.
#[derive(Debug)]
pub(crate) struct SshKey {
    folder: TempDir,
    private: PathBuf,
}

impl SshKey {
    /// A new key; `kind` as `ssh-keygen -t` takes it.
    pub(crate) fn new(kind: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let private = folder.path().join("key");
        let path = private.display().to_string();
        let status = command("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-C", "", "-f", &path]).status();
        assert!(status.expect("ssh-keygen is installed").success());
        Self { folder, private }
    }

    /// The file of the private key.
    pub(crate) fn private(&self) -> &Path {
        &self.private
    }

    /// `keytype base64`.
    pub(crate) fn public(&self) -> String {
        fs::read_to_string(self.private.with_extension("pub")).expect("a public key").trim().to_owned()
    }

    /// An `allowed_signers` file that names only this key, as `principal`.
    pub(crate) fn allowed_signers(&self, principal: &str) -> PathBuf {
        let path = self.folder.path().join("allowed_signers");
        fs::write(&path, format!("{principal} namespaces=\"git\" {}\n", self.public())).expect("written");
        path
    }
}

/// A `git daemon` on loopback that serves every repository below one folder. Ended when dropped.
#[derive(Debug)]
pub(crate) struct GitDaemon {
    child: Option<Child>,
    base: PathBuf,
    port: u16,
}

impl GitDaemon {
    /// Serves the folder and returns when it answers.
    pub(crate) fn serve(base: &Path) -> Self {
        let mut daemon = Self { child: None, base: base.to_owned(), port: free_port() };
        daemon.start();
        daemon
    }

    /// What `repository.url` takes for the repository in `folder` below the base; empty for the base itself.
    pub(crate) fn url(&self, folder: &str) -> String {
        format!("git://127.0.0.1:{}/{folder}", self.port)
    }

    /// Ends it: the repository is unreachable.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // `git daemon` runs as a child of `git`: the group ends, not only its leader.
            let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).expect("it ran");
            child.wait().expect("it ran");
        }
    }

    /// Starts it again on the same port.
    pub(crate) fn start(&mut self) {
        use std::os::unix::process::CommandExt as _;
        let child = command("git")
            .args(["-c", "safe.directory=*", "daemon", "--reuseaddr", "--export-all", "--listen=127.0.0.1"])
            .args([format!("--port={}", self.port), format!("--base-path={}", self.base.display())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        self.child = Some(child.expect("git is installed"));
        for _ in 0..2_000 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("git daemon does not answer");
    }
}

impl Drop for GitDaemon {
    fn drop(&mut self) {
        self.stop();
    }
}
