//! Whether an alert comes from someone who knows its receiver's secret. Over headers and the raw body alone, before anything is
//! parsed; a receiver that there is not has a door too, which costs as much to try and never opens.

use std::fmt;
use std::io;

use axum::http::{HeaderMap, header::AUTHORIZATION};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codeops_core::config::{AuthSettings, ReceiverFormat, SecretSource};
use codeops_core::model::Secret;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::proof::Refused;
use super::signed::{first, fits, timely};
use crate::base;

/// PagerDuty sends a signature for each secret of a subscription whose secret is being changed.
const SIGNATURES: usize = 8;

/// What a receiver's sender must prove.
pub(super) struct Door {
    /// The hash of the one right `Authorization`.
    authorization: [u8; 32],
    key: Secret<Vec<u8>>,
    opens: Opens,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opens {
    Never,
    ByAuthorization,
    BySignature(Style),
}

/// How a body is signed: told by the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `X-Grafana-Alerting-Signature`: hex over `timestamp:body`.
    Grafana,
    /// `X-PagerDuty-Signature: v1=HEX,v1=HEX` over the body.
    PagerDuty,
    /// `X-Codeops-Signature: sha256=HEX` over `timestamp.body`.
    Codeops,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("opens", &self.opens).finish_non_exhaustive()
    }
}

impl Door {
    /// The door of a receiver that there is not.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn shut() -> io::Result<Self> {
        let key = Secret::new(base::random::<32>()?.to_vec());
        Ok(Self { authorization: base::random::<32>()?, key, opens: Opens::Never })
    }

    /// The door of a receiver. `read` gives the values of its secrets.
    ///
    /// # Errors
    /// In one sentence: a secret cannot be read, or is empty, or this format's senders do not sign.
    pub(super) fn new(
        auth: &AuthSettings,
        format: ReceiverFormat,
        read: impl Fn(&SecretSource) -> Result<Secret<String>, String>,
    ) -> Result<Self, String> {
        let shut = Self::shut().map_err(|error| error.to_string())?;
        let by = |right: String| Self { authorization: hash(&right), opens: Opens::ByAuthorization, ..shut };
        match auth {
            AuthSettings::Bearer(token) => Ok(by(format!("bearer {}", filled(read(token)?)?.reveal()))),
            AuthSettings::Basic { user, password } => {
                let both = format!("{user}:{}", filled(read(password)?)?.reveal());
                Ok(by(format!("basic {}", STANDARD.encode(both))))
            }
            AuthSettings::Hmac { secret } => {
                let style = match format {
                    ReceiverFormat::Grafana => Style::Grafana,
                    ReceiverFormat::PagerDuty => Style::PagerDuty,
                    ReceiverFormat::Generic | ReceiverFormat::CloudEvents => Style::Codeops,
                    _ => return Err("this format's sender does not sign: use `bearer` or `basic`".to_owned()),
                };
                let key = Secret::new(filled(read(secret)?)?.reveal().as_bytes().to_vec());
                Ok(Self { key, opens: Opens::BySignature(style), ..Self::shut().map_err(|error| error.to_string())? })
            }
        }
    }

    /// Whether the headers alone prove it.
    pub(super) fn opens_to(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (value, again) = (values.next().map(|value| value.as_bytes()).unwrap_or_default(), values.next());
        let (scheme, rest) = value.split_at(value.iter().position(|byte| *byte == b' ').unwrap_or(value.len()));
        // Hashed first, so that not even the length shows.
        let told = Sha256::new().chain_update(scheme.to_ascii_lowercase()).chain_update(rest).finalize();
        let same = bool::from(told.as_slice().ct_eq(&self.authorization));
        same && again.is_none() && self.opens == Opens::ByAuthorization
    }

    /// Checks the body's signature, by the header that carries it, and gives what tells this delivery from others.
    ///
    /// # Errors
    /// What is missing or does not fit: for the log alone.
    pub(super) fn check(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<String, Refused> {
        let style = style(headers).ok_or(Refused("neither the right Authorization nor a signature"))?;
        let signature = match style {
            Style::Grafana => self.grafana(headers, body, now),
            Style::PagerDuty => self.pagerduty(headers, body),
            Style::Codeops => self.codeops(headers, body, now),
        }?;
        // A header that is not signed must not say what the alert is.
        let bare = headers.contains_key("ce-id") || headers.contains_key("ce-type");
        match self.opens == Opens::BySignature(style) {
            true if bare => Err(Refused("the signature does not cover `ce-` headers: send structured CloudEvents")),
            true => Ok(format!("signature:{signature}")),
            false => Err(Refused("this receiver is not proven by that signature")),
        }
    }

    fn grafana(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<String, Refused> {
        let hex = first(headers, &["x-grafana-alerting-signature"])?.ok_or(Refused("the signature is empty"))?;
        let timestamp = timely(headers, "x-grafana-alerting-timestamp", now)?;
        fits(self.key.reveal(), &[timestamp.as_bytes(), b":", body], hex)?;
        Ok(hex.to_ascii_lowercase())
    }

    fn pagerduty(&self, headers: &HeaderMap, body: &[u8]) -> Result<String, Refused> {
        let all = first(headers, &["x-pagerduty-signature"])?.ok_or(Refused("the signature is empty"))?;
        let mut each = all.split(',').take(SIGNATURES).filter_map(|one| one.trim().strip_prefix("v1="));
        let found = each.find(|hex| fits(self.key.reveal(), &[body], hex).is_ok());
        found.map(str::to_ascii_lowercase).ok_or(Refused("no signature fits the body"))
    }

    fn codeops(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<String, Refused> {
        let header = first(headers, &["x-codeops-signature"])?.ok_or(Refused("the signature is empty"))?;
        let hex = header.strip_prefix("sha256=").ok_or(Refused("the signature does not begin with sha256="))?;
        let timestamp = timely(headers, "x-codeops-timestamp", now)?;
        fits(self.key.reveal(), &[timestamp.as_bytes(), b".", body], hex)?;
        Ok(hex.to_ascii_lowercase())
    }
}

/// Whether a request claims to be signed, so that its body is needed to tell.
pub(super) fn is_signed(headers: &HeaderMap) -> bool {
    style(headers).is_some()
}

fn style(headers: &HeaderMap) -> Option<Style> {
    let styles = [
        ("x-grafana-alerting-signature", Style::Grafana),
        ("x-pagerduty-signature", Style::PagerDuty),
        ("x-codeops-signature", Style::Codeops),
    ];
    styles.into_iter().find(|(header, _)| headers.contains_key(*header)).map(|(_, style)| style)
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// An empty secret would let everybody in.
fn filled(secret: Secret<String>) -> Result<Secret<String>, String> {
    if secret.reveal().trim().is_empty() { Err("the secret is empty".to_owned()) } else { Ok(secret) }
}
