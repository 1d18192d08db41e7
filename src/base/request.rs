//! Requests made for a team: a client that connects only where the team's egress lets it, and what its errors may say. It
//! sends nothing by itself.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Url};

use super::Egress;

/// The most redirects that are followed.
pub const REDIRECTS: usize = 5;

/// A client for one team: names are resolved here, and what is connected to is what was checked. A URL with an address
/// written out is never resolved: ask [`may_reach`] of each, redirects as well.
pub fn client(egress: &Egress) -> ClientBuilder {
    // Someone else may have installed it first: either way there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .user_agent(concat!("codeops/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(GuardedResolver(egress.clone())));
    match egress {
        // A proxy would resolve names where the guard cannot look.
        Egress::Guarded(_) => builder.no_proxy(),
        Egress::Open => builder,
    }
}

/// What can be told from the URL alone: the scheme, and an address written out.
///
/// # Errors
/// Why it may not be reached, in one sentence.
pub fn may_reach(url: &Url, egress: &Egress) -> Result<(), Forbidden> {
    if !matches!(url.scheme(), "http" | "https") {
        let why = format!("`{}:` is not a scheme that requests are made by: use https or http", url.scheme());
        return Err(Forbidden::Never(why));
    }
    let host = url.host_str().unwrap_or("");
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) if !egress.allows(host, address) => Err(Forbidden::Barred(Egress::refusal(host, None))),
        _ => Ok(()),
    }
}

/// The addresses of `host` that the team may reach, with `port`; at least one.
///
/// # Errors
/// The name cannot be resolved, or a [`Forbidden`] inside the error.
pub async fn resolve(host: &str, port: u16, egress: &Egress) -> io::Result<Vec<SocketAddr>> {
    let bare = host.trim_matches(['[', ']']);
    let found: Vec<SocketAddr> = tokio::net::lookup_host((bare, port)).await?.collect();
    let first = found.first().map(SocketAddr::ip);
    let kept: Vec<SocketAddr> = found.into_iter().filter(|a| egress.allows(bare, a.ip())).collect();
    if kept.is_empty() { Err(io::Error::other(Forbidden::Barred(Egress::refusal(host, first)))) } else { Ok(kept) }
}

/// A refusal of ours, found again in the chain of an HTTP error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// No such request is made: only another one helps.
    #[error("{0}")]
    Never(String),
    /// The settings do not let the team reach it: another one helps, and so do other settings.
    #[error("{0}")]
    Barred(String),
}

/// Why we refused, when the error is a refusal of ours.
pub fn forbidden(error: &reqwest::Error) -> Option<&Forbidden> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(why) = inner.downcast_ref() {
            return Some(why);
        }
        cause = inner.source();
    }
    None
}

/// The chain of causes without the URL, which may carry credentials.
pub fn causes(error: &reqwest::Error) -> String {
    let mut text = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push(inner.to_string());
        cause = inner.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { text.join(": ") }
}

/// The URL without user, password, query and fragment, for messages.
pub fn shown(url: &str) -> String {
    match url.parse::<Url>() {
        Ok(mut url) => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            url.to_string()
        }
        Err(_) => "the URL".to_owned(),
    }
}

/// Resolves names and keeps only addresses that may be reached.
struct GuardedResolver(Egress);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.0.clone();
        Box::pin(async move {
            let kept = resolve(name.as_str(), 0, &egress).await.map_err(unwrapped)?;
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

/// A refusal stands in the chain as itself.
fn unwrapped(error: io::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error.downcast::<Forbidden>() {
        Ok(forbidden) => forbidden.into(),
        Err(error) => error.into(),
    }
}
