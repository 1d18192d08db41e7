//! The two addresses: the page's and the hooks'. Bound once, for as long as the process lives.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context as _;
use codeops_core::config::{PAGE, PageSettings};
use codeops_core::model::Secret;

use super::Options;
use crate::secret;

/// Both listeners. Each life of the daemon accepts from copies, so that no connection is refused between two.
pub(super) struct Listeners {
    page: TcpListener,
    hooks: TcpListener,
    addresses: (SocketAddr, SocketAddr),
}

impl Listeners {
    /// Binds both; says which and why when it cannot.
    pub(super) async fn bind(options: &Options) -> anyhow::Result<Self> {
        let address = page_address(options)?;
        let page = bind("the page", &address.address).await?;
        anyhow::ensure!(
            page.local_addr()?.ip().is_loopback() || address.token.is_some(),
            "the page would listen on {}, which other machines may reach: give it a token (`listen: {{address, token}}` \
             in the settings), or listen on 127.0.0.1",
            address.address
        );
        let hooks = bind("the hooks", &options.settings.hooks.listen).await?;
        let addresses = (page.local_addr()?, hooks.local_addr()?);
        Ok(Self { page, hooks, addresses })
    }

    pub(super) fn page(&self) -> anyhow::Result<tokio::net::TcpListener> {
        copy(&self.page).context("the page's listener")
    }

    pub(super) fn hooks(&self) -> anyhow::Result<tokio::net::TcpListener> {
        copy(&self.hooks).context("the hooks' listener")
    }

    /// Says where it listens, and where generated secrets lie.
    pub(super) fn tell(&self, hook_secret: Option<&Path>, alerts_token: Option<&Path>) {
        let (page, hooks) = self.addresses;
        tracing::info!(page = %format_args!("http://{page}"), hooks = %format_args!("http://{hooks}"), "listening");
        if let Some(file) = hook_secret {
            tracing::info!(secret = %file.display(), "push hooks prove to know the secret in this file");
        }
        if let Some(file) = alerts_token {
            let to = format_args!("http://{hooks}/hooks/alerts/alerts");
            tracing::info!(token = %file.display(), %to, "alerts are taken with the bearer token in this file");
        }
    }
}

fn copy(listener: &TcpListener) -> std::io::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::from_std(listener.try_clone()?)
}

async fn bind(what: &str, address: &str) -> anyhow::Result<TcpListener> {
    let listener = tokio::net::TcpListener::bind(address).await.with_context(|| {
        format!("{what} cannot listen on {address}; give another address, or end what listens there")
    })?;
    listener.into_std().with_context(|| format!("{what} on {address}"))
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
