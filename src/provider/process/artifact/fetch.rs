//! Brings the bytes of one artifact into a file, verifying their SHA-256 as they come.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use codeops_core::model::Artifact;
use futures_util::StreamExt as _;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::{ArtifactError, Egress, Progress, local};
use crate::base::percent_decoded;
use crate::base::request::{self, Forbidden, REDIRECTS, causes, may_reach, shown};

/// The largest artifact that is fetched.
const LARGEST: u64 = 1 << 30;
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);
/// What a server has to bring in each such time, in bytes: one that trickles holds a turn for nothing.
const LEAST: u64 = 60 << 10;
const PACE: Duration = Duration::from_secs(60);
/// A bound for all of it; an honest line brings 1 GiB in it.
const WHOLE: Duration = Duration::from_secs(2 * 60 * 60);

/// Fetches `artifact` into the new file `into` and verifies it.
///
/// # Errors
/// [`ArtifactError::Transient`] for the network, the server or the disk; [`ArtifactError::Refused`] for a wrong digest,
/// an address or file the team may not reach, a scheme that is not taken, or more than 1 GiB. The file is then of no use.
pub async fn fetch(
    artifact: &Artifact,
    egress: &Egress,
    into: &Path,
    progress: &Progress,
) -> Result<(), ArtifactError> {
    let shown = shown(&artifact.url);
    let mut sink = Sink::new(into, &shown, progress).await?;
    match artifact.url.strip_prefix("file://") {
        Some(path) => {
            from_file(path, &shown, egress, &mut sink).await?;
            // The digest of a file is a piece of what is in it: it is not told to those who only guess.
            sink.finish(&artifact.sha256, false).await
        }
        None => {
            let work = from_server(&artifact.url, &shown, egress, &mut sink);
            tokio::time::timeout(WHOLE, work).await.map_err(|_| {
                ArtifactError::Transient(format!("{shown} took longer than {} minutes", WHOLE.as_secs() / 60))
            })??;
            sink.finish(&artifact.sha256, true).await
        }
    }
}

/// Where the bytes go: a file, a digest, and a count.
struct Sink<'a> {
    file: File,
    path: &'a Path,
    shown: &'a str,
    digest: Sha256,
    count: u64,
    progress: &'a Progress,
}

impl<'a> Sink<'a> {
    async fn new(path: &'a Path, shown: &'a str, progress: &'a Progress) -> Result<Self, ArtifactError> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path).await;
        let file = file.map_err(|e| ArtifactError::disk("make", path, &e))?;
        Ok(Self { file, path, shown, digest: Sha256::new(), count: 0, progress })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        self.count += bytes.len() as u64;
        if self.count > LARGEST {
            return Err(ArtifactError::Refused(format!("{} is larger than 1 GiB", self.shown)));
        }
        self.digest.update(bytes);
        self.file.write_all(bytes).await.map_err(|e| ArtifactError::disk("write", self.path, &e))?;
        self.progress.came(self.count);
        Ok(())
    }

    async fn finish(mut self, expected: &str, telling: bool) -> Result<(), ArtifactError> {
        self.file.flush().await.map_err(|e| ArtifactError::disk("write", self.path, &e))?;
        let found = hex::encode(self.digest.finalize());
        if found == expected {
            return Ok(());
        }
        let found = if telling { format!("{found} over {} bytes", self.count) } else { "another".to_owned() };
        Err(ArtifactError::Refused(format!(
            "{} is not what was declared: its SHA-256 is {found}, the manifest says {expected}",
            self.shown
        )))
    }
}

async fn from_file(path: &str, shown: &str, egress: &Egress, sink: &mut Sink<'_>) -> Result<(), ArtifactError> {
    let path = path.strip_prefix("localhost").unwrap_or(path);
    if !path.starts_with('/') {
        return Err(ArtifactError::Refused(format!("{shown} has no absolute path: write file:///path/to/file")));
    }
    let path = PathBuf::from(OsString::from_vec(percent_decoded(path)));
    let (wanted, egress) = (path.clone(), egress.clone());
    let opened = tokio::task::spawn_blocking(move || local::open(&wanted, &egress)).await;
    let file = opened.map_err(|e| ArtifactError::Transient(format!("opening {shown} ended early: {e}")))??;
    sink.progress.expects(file.metadata().map_err(|e| ArtifactError::disk("read", &path, &e))?.len());
    let mut file = File::from_std(file);
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        // Of a disk that is far away as of a server.
        match tokio::time::timeout(SILENCE, file.read(&mut buffer)).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(count)) => sink.write(&buffer[..count]).await?,
            Ok(Err(error)) => return Err(ArtifactError::disk("read", &path, &error)),
            Err(_) => {
                let silence = SILENCE.as_secs();
                return Err(ArtifactError::Transient(format!("{shown} has not been read on for {silence} s")));
            }
        }
    }
}

async fn from_server(url: &str, shown: &str, egress: &Egress, sink: &mut Sink<'_>) -> Result<(), ArtifactError> {
    let url: Url = url.parse().map_err(|e| ArtifactError::Refused(format!("{shown} is not a URL: {e}")))?;
    may_reach(&url, egress)?;
    let response = client(egress)?.get(url).send().await.map_err(|e| failure(shown, &e))?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(ArtifactError::Transient(format!("{shown} answers {status}")));
    }
    if response.content_length().is_some_and(|length| length > LARGEST) {
        return Err(ArtifactError::Refused(format!("{shown} is larger than 1 GiB")));
    }
    sink.progress.expects(response.content_length().unwrap_or_default());
    let mut body = response.bytes_stream();
    let mut pace = Pace { since: Instant::now(), count: 0 };
    while let Some(part) = body.next().await {
        sink.write(&part.map_err(|e| failure(shown, &e))?).await?;
        if !pace.is_kept(Instant::now(), sink.count) {
            let (least, time) = (LEAST >> 10, PACE.as_secs());
            return Err(ArtifactError::Transient(format!("{shown} brings less than {least} KiB in {time} s")));
        }
    }
    Ok(())
}

/// How much had come when.
struct Pace {
    since: Instant,
    count: u64,
}

impl Pace {
    /// Whether enough comes; silence has a bound of its own.
    fn is_kept(&mut self, now: Instant, count: u64) -> bool {
        if now.duration_since(self.since) < PACE {
            return true;
        }
        let before = std::mem::replace(self, Self { since: now, count });
        count - before.count >= LEAST
    }
}

/// A client of its own for each fetch: fetches are rare, and an idle daemon then holds no pool and no certificates.
fn client(egress: &Egress) -> Result<Client, ArtifactError> {
    let guard = egress.clone();
    let redirects = Policy::custom(move |attempt| {
        if attempt.previous().len() > REDIRECTS {
            return attempt.error(Forbidden::Never(format!("more than {REDIRECTS} redirects")));
        }
        if attempt.url().scheme() == "http" && attempt.previous().last().is_some_and(|last| last.scheme() == "https") {
            return attempt.error(Forbidden::Never("a redirect from https to http".to_owned()));
        }
        match may_reach(attempt.url(), &guard) {
            Ok(()) => attempt.follow(),
            Err(why) => attempt.error(why),
        }
    });
    let builder = request::client(egress).connect_timeout(CONNECT).read_timeout(SILENCE).redirect(redirects);
    builder.build().map_err(|e| {
        ArtifactError::Transient(format!("no HTTPS client can be made, are CA certificates installed? {}", causes(&e)))
    })
}

fn failure(shown: &str, error: &reqwest::Error) -> ArtifactError {
    match request::forbidden(error) {
        Some(why) => ArtifactError::from(why.clone()).of(&format!("{shown} may not be fetched")),
        None => ArtifactError::Transient(format!("{shown} cannot be fetched: {}", causes(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    /// A server that answers each path as told; ends with the set.
    async fn server(answers: &'static [(&'static str, &'static str)]) -> (u16, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4_096];
                let count = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..count]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or("");
                let answer = answers.iter().find(|(p, _)| *p == path).map_or("HTTP/1.1 404 No\r\n\r\n", |(_, a)| a);
                let _ = stream.write_all(answer.replace("PORT", &port.to_string()).as_bytes()).await;
            }
        });
        (port, tasks)
    }

    async fn get(url: String, egress: &Egress) -> Result<String, ArtifactError> {
        let home = tempfile::tempdir().unwrap();
        let into = home.path().join("fetched");
        let artifact = Artifact { url, sha256: hex::encode(Sha256::digest("hello")) };
        fetch(&artifact, egress, &into, &Progress::default()).await?;
        Ok(std::fs::read_to_string(into).unwrap())
    }

    const ANSWERS: &[(&str, &str)] = &[
        ("/tool", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"),
        ("/other", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhullo"),
        ("/cut", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nConnection: close\r\n\r\nhello"),
        ("/huge", "HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\nConnection: close\r\n\r\nhello"),
        ("/moved", "HTTP/1.1 302 Found\r\nLocation: /tool\r\nConnection: close\r\n\r\n"),
        ("/loop", "HTTP/1.1 302 Found\r\nLocation: /loop\r\nConnection: close\r\n\r\n"),
        ("/inside", "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:PORT/tool\r\nConnection: close\r\n\r\n"),
        ("/ftp", "HTTP/1.1 302 Found\r\nLocation: ftp://example.com/tool\r\nConnection: close\r\n\r\n"),
    ];

    #[tokio::test]
    async fn what_comes_is_verified_and_failures_are_told_apart() {
        let (port, _tasks) = server(ANSWERS).await;
        let open = Egress::Open;
        let url = |path: &str| format!("http://user:hunter2@127.0.0.1:{port}{path}?token=hunter2");
        assert_eq!(get(format!("http://127.0.0.1:{port}/tool"), &open).await.unwrap(), "hello");
        assert_eq!(get(format!("http://localhost:{port}/moved"), &open).await.unwrap(), "hello");
        for (path, refused, says) in [
            ("/other", true, "SHA-256"),
            ("/tool", false, "404"),
            ("/cut", false, "cannot be fetched"),
            ("/huge", true, "larger than 1 GiB"),
            ("/loop", true, "redirects"),
            ("/ftp", true, "ftp"),
        ] {
            let url =
                if path == "/tool" { url("/nothing") } else { format!("http://user:hunter2@127.0.0.1:{port}{path}") };
            let error = get(url, &open).await.unwrap_err();
            assert_eq!(matches!(error, ArtifactError::Refused(_)), refused, "{path}: {error}");
            let text = error.to_string();
            assert!(text.contains(says) && !text.contains("hunter2"), "{path}: {text}");
        }
        let error = get("ssh://example.com/tool".to_owned(), &open).await.unwrap_err();
        assert!(error.to_string().contains("scheme"), "{error}");
    }

    #[test]
    fn who_trickles_is_left_and_who_is_slow_is_not() {
        let begun = Instant::now();
        // What comes every 8 seconds, and after how many seconds it is left.
        let left = |bytes: u64| {
            let mut pace = Pace { since: begun, count: 0 };
            (1..=900_u64).find(|n| !pace.is_kept(begun + Duration::from_secs(n * 8), n * bytes)).map(|n| n * 8)
        };
        assert_eq!(left(1), Some(64));
        assert_eq!(left(8 << 10), None);
        // Fast at first does not help for ever.
        let mut pace = Pace { since: begun, count: 0 };
        assert!(pace.is_kept(begun + PACE, 1 << 20) && !pace.is_kept(begun + 2 * PACE, (1 << 20) + 60));
    }

    #[tokio::test]
    async fn the_digest_of_a_file_is_not_told() {
        let home = tempfile::tempdir().unwrap();
        let key = home.path().join("a key");
        std::fs::write(&key, "hullo").unwrap();
        let error = get(format!("file://{}", key.display().to_string().replace(' ', "%20")), &Egress::Open).await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains("SHA-256") && !text.contains(&hex::encode(Sha256::digest("hullo"))), "{text}");
        std::fs::write(&key, "hello").unwrap();
        let url = format!("file://{}", key.display());
        assert_eq!(get(url.clone(), &Egress::Open).await.unwrap(), "hello");
        let error = get(url, &Egress::Guarded(vec!["/nowhere".to_owned()])).await.unwrap_err();
        assert!(matches!(&error, ArtifactError::Barred(why) if why.contains("egress")), "{error}");
    }

    #[tokio::test]
    async fn inner_addresses_are_reached_only_where_the_team_names_them() {
        let (port, _tasks) = server(ANSWERS).await;
        let none = Egress::Guarded(Vec::new());
        let named = Egress::Guarded(vec!["localhost".to_owned()]);
        // Written out, resolved, in disguise.
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
            let error = get(format!("http://{host}:{port}/tool"), &none).await.unwrap_err();
            assert!(matches!(&error, ArtifactError::Barred(why) if why.contains("egress")), "{host}: {error}");
        }
        assert_eq!(get(format!("http://localhost:{port}/tool"), &named).await.unwrap(), "hello");
        // A name that is allowed does not open the way to an address that is not.
        let error = get(format!("http://localhost:{port}/inside"), &named).await.unwrap_err();
        assert!(matches!(&error, ArtifactError::Barred(why) if why.contains("egress")), "{error}");
    }
}
