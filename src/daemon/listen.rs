//! The two addresses: the page's and the hooks'.

use std::net::SocketAddr;

use anyhow::Context as _;
use codeops_core::config::PageSettings;
use codeops_core::model::Secret;
use tokio::net::TcpListener;

use super::Options;
use crate::secret;

/// Where the page listens when nothing says otherwise.
pub(super) const PAGE: &str = "127.0.0.1:8080";

/// Binds an address given as `host:port`; says which and why when it cannot.
pub(super) async fn bind(what: &str, address: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("{what} cannot listen on {address}; give another address, or end what listens there")
    })?;
    let local = listener.local_addr().with_context(|| format!("{what} on {address}"))?;
    Ok((listener, local))
}

/// What the settings say of the page.
pub(super) struct PageAddress {
    pub(super) address: String,
    pub(super) token: Option<Secret<String>>,
    pub(super) hosts: Vec<String>,
}

/// The page's address, and the token and host names that go with it.
pub(super) fn page_address(options: &Options) -> anyhow::Result<PageAddress> {
    Ok(match &options.settings.listen {
        None => PageAddress { address: PAGE.to_owned(), token: None, hosts: Vec::new() },
        Some(PageSettings::Address(address)) => {
            PageAddress { address: address.clone(), token: None, hosts: Vec::new() }
        }
        Some(PageSettings::Guarded { address, token, hosts }) => {
            let token = secret::read(token, &options.variables).map_err(anyhow::Error::msg).context("listen.token")?;
            PageAddress { address: address.clone(), token: Some(token), hosts: hosts.clone() }
        }
    })
}
