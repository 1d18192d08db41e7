//! The sign of life: one request to an address that the settings name, so it may be anywhere.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use codeops_core::model::{Name, Secret};
use reqwest::Method;
use reqwest::header::HeaderMap;

use super::http::{Call, send};
use crate::base::Egress;
use crate::port::Heartbeat;

/// How long one may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Sends signs of life.
pub struct Beats {
    url: Secret<String>,
}

impl Beats {
    /// To this address, which is often a secret of its own and shown nowhere.
    pub fn new(url: Secret<String>) -> Self {
        Self { url }
    }
}

#[async_trait]
impl Heartbeat for Beats {
    async fn beat(&self) -> Result<(), String> {
        let url = self.url.reveal().trim().parse().map_err(|_| "the heartbeat's URL cannot be used".to_owned())?;
        let shown = "the heartbeat".to_owned();
        let headers = HeaderMap::new();
        let call = Call { method: Method::GET, url, headers, body: None, shown, expect: Vec::new() };
        let anywhere = Egress::of(&Name::new("codeops").expect("a literal name"), &BTreeMap::new());
        let answer = send(&anywhere, call, LIMIT).await.map_err(|error| error.to_string())?;
        match answer.status.is_success() {
            true => Ok(()),
            false => Err(format!("the heartbeat was answered {}", answer.status.as_u16())),
        }
    }
}
