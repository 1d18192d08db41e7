//! The source over the network: a web server with `git http-backend` behind TLS and a password, and a real `sshd`. Both are
//! Debian's, on ports of their own, with keys that live as long as the test.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use codeops::port::Source as _;
use codeops::source::Mirror;
use codeops_core::config::RepositorySettings;
use tempfile::TempDir;

use crate::support::git::{SshKey, TempRepo};
use crate::support::port::free_port;
use crate::support::skip::skip;

/// The file of a program that may lie where only root looks; says so and gives none if it is missing.
fn program(name: &str, package: &str) -> Option<PathBuf> {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(|folder| Path::new(folder).join(name));
    let found = found.into_iter().find(|file| file.exists());
    if found.is_none() {
        skip(&format!("{name} is missing; install {package}"));
    }
    found
}

#[expect(clippy::disallowed_methods, reason = "tests drive real servers")]
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// A server with its files. Ended when dropped.
struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Server {
    /// Starts a program that stays in the foreground, and returns when it answers.
    fn start(mut command: Command, port: u16, folder: TempDir) -> Self {
        let log = folder.path().join("log");
        let output = fs::File::create(&log).expect("a log");
        let child = command.stdout(output.try_clone().expect("a log")).stderr(output).spawn().expect("it starts");
        let mut server = Self { child, port, folder };
        #[expect(clippy::disallowed_methods, reason = "a deadline")]
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.child.try_wait().expect("it can be waited for");
            let told = fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none() && begun.elapsed() < Duration::from_secs(30), "{command:?}: {ended:?} {told}");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// A file of its own.
    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for 127.0.0.1 as `NAME.pem`, with its key as `NAME.key`.
fn certificate(folder: &Path, name: &str) {
    let (key, pem) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pem")));
    let mut openssl = command("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]);
    let output = openssl.arg("-keyout").arg(key).arg("-out").arg(pem).output().expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `https://…/git/.git` is the repository, for `bot` with `s3cret` alone; `/moved` points there.
fn web_server(repo: &TempRepo) -> Option<Server> {
    let lighttpd = program("lighttpd", "lighttpd and lighttpd-mod-openssl")?;
    program("openssl", "openssl")?;
    let folder = tempfile::tempdir().expect("a folder");
    certificate(folder.path(), "site");
    certificate(folder.path(), "stranger");
    fs::write(folder.path().join("users"), "bot:s3cret\n").expect("written");
    let exec = command("git").arg("--exec-path").output().expect("git is installed").stdout;
    let (port, here) = (free_port(), folder.path().display());
    let (exec, served) = (String::from_utf8_lossy(&exec).trim().to_owned(), repo.url());
    let config = format!(
        r#"
server.modules = ("mod_alias", "mod_setenv", "mod_auth", "mod_authn_file", "mod_redirect", "mod_cgi", "mod_openssl")
server.document-root = "{here}"
server.bind = "127.0.0.1"
server.port = {port}
ssl.engine = "enable"
ssl.pemfile = "{here}/site.pem"
ssl.privkey = "{here}/site.key"
alias.url = ("/git" => "{exec}/git-http-backend")
url.redirect = ("^/moved/(.*)" => "/git/$1")
auth.backend = "plain"
auth.backend.plain.userfile = "{here}/users"
$HTTP["url"] =~ "^/git" {{
    cgi.assign = ("" => "")
    setenv.set-environment = ("GIT_PROJECT_ROOT" => "{served}", "GIT_HTTP_EXPORT_ALL" => "1")
    auth.require = ("" => ("method" => "basic", "realm" => "git", "require" => "user=bot"))
}}
"#
    );
    let path = folder.path().join("lighttpd.conf");
    fs::write(&path, config).expect("written");
    let mut lighttpd = command(lighttpd);
    lighttpd.args(["-D", "-f"]).arg(path);
    Some(Server::start(lighttpd, port, folder))
}

/// What one look at `url` comes to, from an empty state folder each time.
async fn look(url: &str, environment: &BTreeMap<String, String>) -> Result<codeops_core::model::Revision, String> {
    let state = tempfile::tempdir().expect("a folder");
    let mirror = open(url, state.path(), environment).await;
    mirror.fetch(None).await.map(|tip| tip.revision).map_err(|error| error.0)
}

async fn open(url: &str, state: &Path, environment: &BTreeMap<String, String>) -> Mirror {
    let settings = RepositorySettings { url: Some(url.to_owned()), ..RepositorySettings::default() };
    Mirror::open(&settings, state, environment, &BTreeMap::new()).await.expect("it opens")
}

#[tokio::test]
async fn a_repository_behind_https_and_a_password_is_followed() {
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    let Some(server) = web_server(&repo) else { return };
    let place = format!("127.0.0.1:{}", server.port);
    let trusting = |file: &str| BTreeMap::from([("SSL_CERT_FILE".to_owned(), server.file(file))]);

    let state = tempfile::tempdir().expect("a folder");
    let mirror = open(&format!("https://bot:s3cret@{place}/git/.git"), state.path(), &trusting("site.pem")).await;
    let first = mirror.fetch(None).await.expect("fetched").revision;
    assert_eq!(first, repo.head());
    let second = repo.commit_file("a.yaml", "2", "Go on");
    assert_eq!(mirror.fetch(Some(&first)).await.expect("fetched").revision, second);
    assert_eq!(&*mirror.files(&second).await.expect("readable")["a.yaml"].bytes, b"2");

    let refused = async |url: String, file: &str| look(&url, &trusting(file)).await.expect_err("refused");
    for (user, path, file, why) in [
        ("bot:s3cret", "git", "stranger.pem", "certificate"),
        ("bot:wr0ng", "git", "site.pem", "credentials"),
        ("", "git", "site.pem", "credentials"),
        ("bot:s3cret", "moved", "site.pem", "returned error: 301"),
        ("bot:s3cret", "git/none", "site.pem", "not found"),
    ] {
        let at = if user.is_empty() { String::new() } else { format!("{user}@") };
        let error = refused(format!("https://{at}{place}/{path}/.git"), file).await;
        assert!(error.contains(why), "{user} {path} {file}: {error}");
        assert!(!error.contains("s3cret") && !error.contains("wr0ng"), "{error}");
    }
}

/// Where `sshd` for this user's own login listens; the key that may log in is `key`.
fn ssh_server(key: &SshKey, host: &SshKey) -> Option<Server> {
    let sshd = program("sshd", "openssh-server")?;
    if rustix::process::geteuid().is_root() {
        // Where sshd gives up its rights; the service would have made it.
        fs::create_dir_all("/run/sshd").expect("made");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (port, here) = (free_port(), folder.path().display());
    fs::write(folder.path().join("authorized_keys"), key.public()).expect("written");
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {}\nPidFile none\nAuthorizedKeysFile {here}/authorized_keys\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n",
        host.private().display()
    );
    let path = folder.path().join("sshd_config");
    fs::write(&path, config).expect("written");
    let mut sshd = command(sshd);
    sshd.args(["-D", "-e", "-f"]).arg(path);
    Some(Server::start(sshd, port, folder))
}

/// An `ssh` that has another `~/.ssh` than this user's: the real one, told where keys and hosts are kept.
fn ssh_home(folder: &Path, key: &Path) -> BTreeMap<String, String> {
    let here = folder.display();
    let config = format!(
        "IdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {here}/known_hosts\n\
         GlobalKnownHostsFile /dev/null\n",
        key.display()
    );
    fs::write(folder.join("config"), config).expect("written");
    let ssh = folder.join("ssh");
    fs::write(&ssh, format!("#!/bin/sh\nexec /usr/bin/ssh -F {here}/config \"$@\"\n")).expect("written");
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("its mode");
    BTreeMap::from([("PATH".to_owned(), format!("{here}:/usr/local/bin:/usr/bin:/bin"))])
}

#[tokio::test]
async fn a_repository_behind_ssh_is_followed_and_only_a_known_host_is_believed() {
    let (key, host, other) = (SshKey::new("ed25519"), SshKey::new("ed25519"), SshKey::new("ed25519"));
    let Some(server) = ssh_server(&key, &host) else { return };
    let repo = TempRepo::with(&[("a.yaml", "1")]);
    let user = command("id").arg("-un").output().expect("id is there").stdout;
    let user = String::from_utf8_lossy(&user).trim().to_owned();
    let url = format!("ssh://{user}@127.0.0.1:{}{}", server.port, repo.url());
    let home = tempfile::tempdir().expect("a folder");
    let environment = ssh_home(home.path(), key.private());
    let know = |host: &SshKey| {
        let line = format!("[127.0.0.1]:{} {}\n", server.port, host.public());
        fs::write(home.path().join("known_hosts"), line).expect("written");
    };

    let error = look(&url, &environment).await.expect_err("an unknown host");
    assert!(error.contains("Host key verification failed") && error.contains("known hosts"), "{error}");
    know(&other);
    let error = look(&url, &environment).await.expect_err("a host with another key");
    assert!(error.contains("Host key verification failed") && error.contains("known hosts"), "{error}");

    know(&host);
    let state = tempfile::tempdir().expect("a folder");
    let mirror = open(&url, state.path(), &environment).await;
    let first = mirror.fetch(None).await.unwrap_or_else(|error| {
        panic!("{error}: {}", fs::read_to_string(server.file("log")).unwrap_or_default());
    });
    assert_eq!(first.revision, repo.head());
    let second = repo.commit_file("a.yaml", "2", "Go on");
    assert_eq!(mirror.fetch(Some(&first.revision)).await.expect("fetched").revision, second);

    let error = look(&url, &ssh_home(home.path(), other.private())).await.expect_err("a key that may not log in");
    assert!(error.contains("Permission denied") && error.contains("takes none of the keys"), "{error}");
}
