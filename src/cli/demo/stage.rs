//! Where the demo plays: a temporary folder with a copy of this binary, a config repository made from the example, a
//! state folder, four free ports, and the daemon as a child.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use include_dir::{Dir, include_dir};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::api;
use super::git::Git;
use super::prober::Prober;
use super::sink::Sink;
use crate::cli::client::Client;
use crate::cli::environment::Variables;
use crate::cli::init;

static EXAMPLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/examples/repo-layout");

/// The ports that the example's manifests name; the demo puts free ones in their place.
const FRONT: &str = "port: 8101";
const SHOP: &str = "port: 8102";

/// Where the example's manifests send pages; the demo's own sink goes in its place.
const PAGES: &str = "http://127.0.0.1:8190/page";

/// The settings: one receiver of alerts, as one would declare it for Alertmanager.
const SETTINGS: &str = "receivers:\n  alertmanager: {format: alertmanager, auth: {bearer: {file: TOKEN}}}\n";

/// How the example's manifests name the program; the demo's copy goes in its place.
const PROGRAM: &str = "command: [codeops,";

/// The settings file's name.
const DAEMON: &str = "daemon.yaml";

/// The last lines of the daemon's log that are shown when an act fails.
const LAST_WORDS: usize = 12;

/// Everything the acts need.
pub(super) struct Stage {
    folder: TempDir,
    /// The copy of this binary that everything runs from.
    pub(super) binary: PathBuf,
    pub(super) git: Git,
    pub(super) client: Client,
    /// The page's address.
    pub(super) page: String,
    /// Clients of both apps, from the first deployment on.
    pub(super) prober: Option<Prober>,
    pub(super) daemon: Option<Child>,
    /// The trailer that lets the held deletion through, once it is known.
    pub(super) trailer: Option<String>,
    /// Where pages go.
    pub(super) sink: Sink,
    alert_token: String,
    ports: Ports,
    path: String,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    page: u16,
    hooks: u16,
    front: u16,
    shop: u16,
}

impl Stage {
    /// Builds the stage and starts the daemon.
    pub(super) async fn build(variables: &Variables) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("codeops-demo-").tempdir().context("a temporary folder")?;
        // Under root each app has a user of its own, who has to reach the binary.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        // The kernel's own name for the folder: it is what /proc tells of a process's binary.
        let binary = folder.path().canonicalize()?.join("codeops");
        fs::copy(std::env::current_exe()?, &binary).context("this program cannot be copied")?;
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
        let ports = free_ports()?;
        let repository = folder.path().join("ops");
        let sink = Sink::start().await?;
        let fill = |text: &str| rendered(text, ports, &binary).replace(PAGES, &sink.address());
        init::write(&EXAMPLE, &repository, &fill)?;
        let git = Git::hermetic(&repository);
        git.run(&["init", "--quiet", "--initial-branch=main"]).await?;
        // Whoever commits there once the acts are over may have said to no Git yet who they are.
        git.run(&["config", "user.name", "codeops demo"]).await?;
        git.run(&["config", "user.email", "codeops@localhost"]).await?;
        let page = format!("http://127.0.0.1:{}", ports.page);
        let client = Client::at(&page, None)?;
        let path = variables.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin").to_owned();
        let alert_token = declare_receiver(folder.path())?;
        let (prober, daemon, trailer) = (None, None, None);
        Ok(Self { binary, git, client, page, prober, daemon, trailer, sink, alert_token, ports, path, folder })
    }

    pub(super) fn repository(&self) -> PathBuf {
        self.folder.path().join("ops")
    }

    pub(super) fn front(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.front)
    }

    pub(super) fn front_port(&self) -> u16 {
        self.ports.front
    }

    pub(super) fn shop(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.shop)
    }

    /// Where monitoring posts alerts.
    pub(super) fn alerts_url(&self) -> String {
        format!("http://127.0.0.1:{}/hooks/alerts/alertmanager", self.ports.hooks)
    }

    /// How monitoring proves who it is.
    pub(super) fn alert_token(&self) -> &str {
        &self.alert_token
    }

    /// Starts the daemon, as one would by hand, and waits until it is ready.
    pub(super) async fn start_daemon(&mut self) -> anyhow::Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let child = Command::new(&self.binary)
            .arg("run")
            .arg("--repo")
            .arg(self.repository())
            .arg("--state")
            .arg(self.folder.path().join("state"))
            .args(["--listen", &format!("127.0.0.1:{}", self.ports.page)])
            .args(["--hooks-listen", &format!("127.0.0.1:{}", self.ports.hooks)])
            .args(["--poll", "2s", "--log", "human"])
            .arg("--settings")
            .arg(self.folder.path().join(DAEMON))
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.folder.path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C on the terminal is for the demo, which then ends the daemon in its own time.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("the daemon cannot be started")?;
        let daemon = self.daemon.insert(child);
        tokio::select! {
            ready = api::ready(&self.client) => ready,
            ended = daemon.wait() => anyhow::bail!("the daemon ended at once: {}", ended?),
        }
    }

    /// The prober, which runs from the first deployment on.
    pub(super) fn probe(&mut self) -> anyhow::Result<&Prober> {
        if self.prober.is_none() {
            self.prober = Some(Prober::start(&[("front", self.front()), ("shop", self.shop())])?);
        }
        self.prober.as_ref().context("the prober runs")
    }

    /// Changes one manifest: each `from` becomes its `to`.
    pub(super) fn edit(&self, file: &str, changes: &[(&str, &str)]) -> anyhow::Result<()> {
        let path = self.repository().join(file);
        let mut text = fs::read_to_string(&path)?;
        for (from, to) in changes {
            anyhow::ensure!(text.contains(from), "{file} does not hold `{from}`");
            text = text.replace(from, to);
        }
        Ok(fs::write(path, text)?)
    }

    /// Adds a manifest.
    pub(super) fn add(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let path = self.repository().join(file);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("daemon.log")
    }

    /// The last lines of the daemon's log.
    pub(super) fn daemon_log(&self) -> String {
        let text = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(LAST_WORDS)).map(|line| format!("       {line}\n")).collect()
    }

    /// Removes the folder.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        let path = self.folder.path().to_path_buf();
        self.folder.close().with_context(|| format!("{} cannot be removed", path.display()))
    }
}

/// Writes the settings and the token that alerts are proven with; gives the token.
fn declare_receiver(folder: &Path) -> anyhow::Result<String> {
    let token: String = hex::encode(crate::base::random::<24>()?);
    let file = folder.join("alert-token");
    crate::base::write_private(&file, token.as_bytes())?;
    let settings = SETTINGS.replace("TOKEN", &init::quoted(&file.to_string_lossy()));
    crate::base::write_private(&folder.join(DAEMON), settings.as_bytes())?;
    Ok(token)
}

/// Ports nobody listens on now; all held at once, so that they differ.
fn free_ports() -> anyhow::Result<Ports> {
    let held: Vec<TcpListener> =
        (0..4).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>().context("free ports")?;
    let ports: Vec<u16> = held.iter().map(|l| l.local_addr().map(|a| a.port())).collect::<Result<_, _>>()?;
    match ports[..] {
        [page, hooks, front, shop] => Ok(Ports { page, hooks, front, shop }),
        _ => anyhow::bail!("four free ports"),
    }
}

fn rendered(text: &str, ports: Ports, binary: &Path) -> String {
    text.replace(FRONT, &format!("port: {}", ports.front))
        .replace(SHOP, &format!("port: {}", ports.shop))
        .replace(PROGRAM, &format!("command: [{},", init::quoted(&binary.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_holds_what_the_demo_puts_its_own_in_place_of() {
        let text = |file: &str| EXAMPLE.get_file(file).and_then(|f| f.contents_utf8()).expect("an example's file");
        assert!(text("apps/front.yaml").contains(FRONT) && text("apps/shop.yaml").contains(SHOP));
        assert!(text("alerts/routing.yaml").contains(PAGES) && text("codeops.yaml").contains("resolveDelay: 30s"));
        assert!(text("apps/front.yaml").contains(PROGRAM) && text("apps/shop.yaml").contains(PROGRAM));
    }
}
