//! A small client for the page's JSON: one error sentence for each way in which asking fails.

use std::time::Duration;

use anyhow::Context;
use futures_util::stream::LocalBoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use crate::cli::args::ServerArgs;
use crate::cli::environment::Variables;
use crate::cli::exit::Coded;

/// A page answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// A daemon that takes over settings, or is started anew, is back within that many seconds.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// What a daemon streams, line by line.
pub(crate) type Lines = LocalBoxStream<'static, anyhow::Result<String>>;

/// The daemon answered that it has not what was asked for, or does not give it.
#[derive(Debug, thiserror::Error)]
#[error("{told}")]
struct Refused {
    status: StatusCode,
    told: String,
}

/// Asks one daemon.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

impl Client {
    /// A client for the daemon that flags and variables name.
    pub(crate) fn new(args: &ServerArgs, variables: &Variables) -> anyhow::Result<Self> {
        let token = match &args.token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| Coded::usage(format!("the token file {}: {error}", file.display())))?;
                Some(text.trim().to_owned())
            }
            None => variables.get("CODEOPS_TOKEN").map(str::to_owned),
        };
        Self::at(&args.server, token)
    }

    /// A client for the daemon at `server`.
    pub(crate) fn at(server: &str, token: Option<String>) -> anyhow::Result<Self> {
        let base = Url::parse(server)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| Coded::usage(format!("--server is `{server}`: expected such as http://127.0.0.1:8080")))?;
        let mut http = reqwest::Client::builder().connect_timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        if is_here(&base) {
            // A proxy cannot know what is meant by this machine.
            http = http.no_proxy();
        }
        Ok(Self { http: http.build().context("the HTTP client cannot be made")?, base, token })
    }

    /// Whether a question failed because there is nothing of that name.
    pub(super) fn is_not_found(error: &anyhow::Error) -> bool {
        error.downcast_ref::<Refused>().is_some_and(|refused| refused.status == StatusCode::NOT_FOUND)
    }

    /// The JSON at `path`, such as `api/v1/status`.
    pub(crate) async fn json(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let response =
            self.send(self.request(path, query)?.timeout(PATIENCE).header("accept", "application/json")).await?;
        response.json().await.with_context(|| format!("{} answers something that is not JSON", self.base))
    }

    /// Whether `path` answers 2xx.
    pub(crate) async fn answers(&self, path: &str) -> anyhow::Result<()> {
        self.send(self.request(path, &[])?.timeout(PATIENCE)).await.map(drop)
    }

    /// The lines of a stream at `path`, as they come.
    pub(crate) async fn lines(&self, path: &str, query: &[(&str, String)], accept: &str) -> anyhow::Result<Lines> {
        let response = self.send(self.request(path, query)?.header("accept", accept)).await?;
        let bytes = response.bytes_stream().map_err(std::io::Error::other);
        Ok(Box::pin(lines(bytes).map(|line| line.context("the daemon ended the stream"))))
    }

    /// The same, once one that was there has ended: from the daemon that follows, as soon as that answers.
    pub(crate) async fn lines_again(
        &self,
        path: &str,
        query: &[(&str, String)],
        accept: &str,
    ) -> anyhow::Result<Lines> {
        let mut tries = 0;
        loop {
            tokio::time::sleep(PAUSE).await;
            tries += 1;
            match self.lines(path, query, accept).await {
                Err(error) if tries >= TRIES => return Err(error),
                Err(_) => {}
                lines => return lines,
            }
        }
    }

    fn request(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<RequestBuilder> {
        let url = self.base.join(path).with_context(|| format!("the address {path}"))?;
        let request = self.http.get(url).query(query);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.map_err(|error| self.silent(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let told: Value = response.json().await.unwrap_or_default();
        let detail = told.get("detail").and_then(Value::as_str).unwrap_or("it gives no reason");
        let hint = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ". Give the token with --token-file FILE or in CODEOPS_TOKEN"
            }
            _ => "",
        };
        let told = format!("{} answers {}: {detail}{hint}", self.base, status.as_u16());
        Err(Refused { status, told }.into())
    }

    fn silent(&self, error: &reqwest::Error) -> anyhow::Error {
        let cause = root_cause(error);
        Coded::unreachable(format!(
            "no daemon answers at {} ({cause}). Start one with `codeops run --repo DIR`, or name another with --server URL",
            self.base
        ))
    }
}

fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn lines<S, B>(bytes: S) -> impl Stream<Item = anyhow::Result<String>>
where
    S: Stream<Item = std::io::Result<B>>,
    B: AsRef<[u8]>,
{
    let state = (Box::pin(bytes), Vec::new());
    futures_util::stream::try_unfold(state, async |(mut bytes, mut held): (_, Vec<u8>)| {
        loop {
            if let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                let rest = held.split_off(end + 1);
                let line = String::from_utf8_lossy(&held).trim_end_matches(['\r', '\n']).to_owned();
                return Ok(Some((line, (bytes, rest))));
            }
            match bytes.next().await {
                Some(chunk) => held.extend_from_slice(chunk?.as_ref()),
                None => return Ok(None),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_put_together_from_chunks() {
        let chunks = ["a\nb", "c\r\n", "\nrest without an end"].map(|chunk| Ok(chunk.as_bytes()));
        let found: Vec<String> = lines(futures_util::stream::iter(chunks)).try_collect().await.expect("lines");
        assert_eq!(found, ["a", "bc", ""]);
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        let here = |text: &str| is_here(&Url::parse(text).expect("a URL"));
        assert!(here("http://127.0.0.1:1") && here("http://[::1]:1") && here("http://localhost"));
        assert!(!here("http://127.0.0.1.example"));
    }
}
