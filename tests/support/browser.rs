//! A real Chromium through chromedriver, spoken to in plain WebDriver. Without a browser a test says why it is skipped,
//! and fails in CI, which promises one.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::skip::skip;

/// One browser window; closed with the value.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    client: reqwest::Client,
    /// Its profile, and what is temporary to it.
    _folder: tempfile::TempDir,
}

impl Browser {
    /// Starts one; `None` where there is no browser and nobody promised one.
    pub(crate) async fn start() -> Option<Self> {
        let profile = tempfile::tempdir().expect("a folder for the profile");
        let Some((driver, port)) = driver(profile.path()) else {
            skip("chromedriver is missing; install chromium and chromium-driver to look at the page");
            return None;
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().expect("a client");
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1280,900",
            &format!("--user-data-dir={}", profile.path().join("profile").display()),
        ]
        .map(str::to_owned);
        let mut browser = Self { driver, session: String::new(), client, _folder: profile };
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}});
        let base = format!("http://127.0.0.1:{port}/session");
        let answer: Value = browser
            .client
            .post(&base)
            .json(&wanted)
            .send()
            .await
            .expect("chromedriver answers")
            .json()
            .await
            .expect("JSON");
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        browser.session = format!("{base}/{id}");
        Some(browser)
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.client.post(format!("{}/{path}", self.session)).json(&body).send().await;
        let answer: Value = answer.expect("chromedriver answers").json().await.expect("JSON");
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].clone()
    }

    /// Opens an address.
    pub(crate) async fn open(&self, url: &str) {
        self.post("url", json!({"url": url})).await;
    }

    /// The value of a script's `return`.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("execute/sync", json!({"script": script, "args": []})).await
    }

    /// A command of the DevTools protocol.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    /// Waits until a script returns true.
    pub(crate) async fn until(&self, script: &str) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while self.run(script).await != json!(true) {
            assert!(tokio::time::Instant::now() < deadline, "never became true: {script}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sets the width and the scheme that the page sees.
    pub(crate) async fn look(&self, width: u32, scheme: &str) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", scheme).await;
    }

    /// A picture as a PNG file: of the whole page, or of what fits the window.
    pub(crate) async fn picture(&self, file: &Path, whole: bool) {
        let wanted = json!({"captureBeyondViewport": whole, "format": "png"});
        let taken = self.devtools("Page.captureScreenshot", wanted).await;
        let data = taken["data"].as_str().expect("a picture");
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
        std::fs::write(file, bytes).expect("the picture is written");
    }
}

impl Browser {
    /// Ends the session, and with it the browser. Blocking: it is what `drop` can do.
    fn end_session(&self) -> std::io::Result<()> {
        let address = self.session.trim_start_matches("http://");
        let Some((host, path)) = address.split_once('/') else { return Ok(()) };
        let mut stream = std::net::TcpStream::connect(host)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "DELETE /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        stream.read_to_end(&mut Vec::new()).map(|_| ())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Only the end of its session ends the browser; a chromedriver that is ended leaves it behind.
        let _ = self.end_session();
        if let Some(pid) = rustix::process::Pid::from_raw(self.driver.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.driver.wait();
    }
}

/// Starts chromedriver and reads the port that it chose. What it and the browser leave lying about lies in `folder`.
fn driver(folder: &Path) -> Option<(Child, u16)> {
    #[expect(clippy::disallowed_methods, reason = "tests start the browser's driver")]
    let mut command = std::process::Command::new("chromedriver");
    let mut driver =
        command.arg("--port=0").env("TMPDIR", folder).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let output = BufReader::new(driver.stdout.take()?);
    let mut lines = output.lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("started successfully on port"))?;
    let port = line.rsplit(' ').next()?.trim_end_matches('.').parse().ok()?;
    Some((driver, port))
}
