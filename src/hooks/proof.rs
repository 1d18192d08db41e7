//! Whether a push hook comes from someone who knows the secret. Pure: headers and the raw body in, a delivery or a refusal out;
//! nothing of the body is parsed. Comparisons take the same time whatever the bytes are.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac as _;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::signed::{first, fits, mac, timely};

/// Who sends: tells which headers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forge {
    /// Also Forgejo and Gogs.
    Gitea,
    /// `X-Gitlab-Token`, or `webhook-signature`.
    GitLab,
    /// `X-Hub-Signature-256`.
    GitHub,
    /// Cloud and Data Center: `X-Hub-Signature`.
    Bitbucket,
    /// Anyone: `X-Codeops-Signature` and `X-Codeops-Timestamp`.
    Generic,
}

/// What an authentic request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Something was pushed: fetch now.
    Push,
    /// The forge tries whether the hook works.
    Ping,
    /// Something else happened there.
    Other,
    /// No header says what happened.
    Unsaid,
}

/// An authentic request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Who sent it.
    pub forge: Forge,
    /// What it means.
    pub meaning: Meaning,
    /// What it is known by; one that was seen makes it a duplicate. Empty: nothing tells it from another.
    pub ids: Vec<String>,
}

/// Why a request is not authentic, in one sentence for its sender; tells nothing about the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub &'static str);

/// Says who sends, by headers alone: what says what happened, else what proves it. Gitea is looked for first: it sends GitHub's
/// headers too.
pub fn forge(headers: &HeaderMap) -> Option<Forge> {
    let has = |names: &[&str]| names.iter().any(|name| headers.contains_key(*name));
    if has(&["x-gitea-event", "x-forgejo-event", "x-gogs-event"]) {
        Some(Forge::Gitea)
    } else if has(&["x-gitlab-event"]) {
        Some(Forge::GitLab)
    } else if has(&["x-github-event"]) {
        Some(Forge::GitHub)
    } else if has(&["x-event-key"]) {
        Some(Forge::Bitbucket)
    } else if has(&["x-codeops-signature"]) {
        Some(Forge::Generic)
    } else if has(&["x-gitea-signature", "x-forgejo-signature", "x-gogs-signature"]) {
        Some(Forge::Gitea)
    } else if has(&["x-gitlab-token", "webhook-signature"]) {
        Some(Forge::GitLab)
    } else if has(&["x-hub-signature-256"]) {
        Some(Forge::GitHub)
    } else if has(&["x-hub-signature"]) {
        Some(Forge::Bitbucket)
    } else {
        None
    }
}

/// Proves that the sender of these headers and this body knows `secret`.
///
/// # Errors
/// What is missing or does not fit.
pub fn authenticate(headers: &HeaderMap, body: &[u8], secret: &str, now: Timestamp) -> Result<Delivery, Refused> {
    if secret.is_empty() {
        return Err(Refused("no secret is set here, so nothing can be proven"));
    }
    let forge = forge(headers).ok_or(Refused("no header of a known forge, and no X-Codeops-Signature"))?;
    let request = Request { headers, body, secret, now };
    let proven = match forge {
        Forge::Gitea => request.gitea()?,
        Forge::GitLab => request.gitlab()?,
        Forge::GitHub => request.github()?,
        Forge::Bitbucket => request.bitbucket()?,
        Forge::Generic => request.generic()?,
    };
    let id = request.first(proven.id_headers)?;
    let ids = id.map(|id| format!("id:{id}")).into_iter().chain(proven.signature.map(|s| format!("signature:{s}")));
    Ok(Delivery { forge, meaning: proven.meaning, ids: ids.collect() })
}

struct Request<'a> {
    headers: &'a HeaderMap,
    body: &'a [u8],
    secret: &'a str,
    now: Timestamp,
}

struct Proven {
    meaning: Meaning,
    /// A delivery id may stand in any of these. None of them is signed, so the signature counts as an id too.
    id_headers: &'static [&'static str],
    signature: Option<String>,
}

impl Request<'_> {
    fn gitea(&self) -> Result<Proven, Refused> {
        let signature = self
            .first(&["x-gitea-signature", "x-forgejo-signature", "x-gogs-signature"])?
            .ok_or(Refused("X-Gitea-Signature is missing or empty: set the secret in the hook's settings"))?;
        self.check_hex(&[self.body], signature)?;
        let event = self.first(&["x-gitea-event", "x-forgejo-event", "x-gogs-event"])?;
        Ok(Proven {
            meaning: meaning(event, &["push", "create", "delete"], &[]),
            id_headers: &["x-gitea-delivery", "x-forgejo-delivery", "x-gogs-delivery"],
            signature: Some(signature.to_ascii_lowercase()),
        })
    }

    fn github(&self) -> Result<Proven, Refused> {
        let header = self
            .first(&["x-hub-signature-256"])?
            .ok_or(Refused("X-Hub-Signature-256 is missing: set the secret in the webhook's settings"))?;
        let signature = self.check_sha256(header, &[self.body])?;
        let event = self.first(&["x-github-event"])?;
        Ok(Proven {
            meaning: meaning(event, &["push"], &["ping"]),
            id_headers: &["x-github-delivery"],
            signature: Some(signature),
        })
    }

    fn bitbucket(&self) -> Result<Proven, Refused> {
        let header = self
            .first(&["x-hub-signature"])?
            .ok_or(Refused("X-Hub-Signature is missing: set the secret in the webhook's settings"))?;
        let signature = self.check_sha256(header, &[self.body])?;
        let event = self.first(&["x-event-key"])?;
        let pushes = ["repo:push", "repo:refs_changed", "mirror:repo_synchronized"];
        Ok(Proven {
            meaning: meaning(event, &pushes, &["diagnostics:ping"]),
            id_headers: &["x-request-uuid", "x-request-id"],
            signature: Some(signature),
        })
    }

    fn gitlab(&self) -> Result<Proven, Refused> {
        let event = self.first(&["x-gitlab-event"])?;
        let meaning = meaning(event, &["Push Hook", "System Hook"], &[]);
        if self.headers.contains_key("webhook-signature") {
            return Ok(Proven { meaning, id_headers: &["webhook-id"], signature: Some(self.standard_webhook()?) });
        }
        let token = self
            .first(&["x-gitlab-token"])?
            .ok_or(Refused("X-Gitlab-Token is missing: set the secret token in the webhook's settings"))?;
        // Hashed first, so that not even the length shows.
        let same = Sha256::digest(token).ct_eq(&Sha256::digest(self.secret));
        if !bool::from(same) {
            return Err(Refused("X-Gitlab-Token is not the secret"));
        }
        Ok(Proven { meaning, id_headers: &["idempotency-key", "webhook-id", "x-gitlab-event-uuid"], signature: None })
    }

    /// `webhook-signature: v1,BASE64 …` over `id.timestamp.body`; any of several may fit, for a secret that is changed.
    fn standard_webhook(&self) -> Result<String, Refused> {
        let id = self.first(&["webhook-id"])?.ok_or(Refused("webhook-id is missing"))?;
        let timestamp = self.timestamp("webhook-timestamp")?;
        let key = match self.secret.strip_prefix("whsec_").map(|encoded| STANDARD.decode(encoded)) {
            Some(Ok(key)) => key,
            _ => self.secret.as_bytes().to_vec(),
        };
        let header = self.first(&["webhook-signature"])?.ok_or(Refused("webhook-signature is empty"))?;
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", self.body];
        let fits =
            |encoded: &str| STANDARD.decode(encoded).is_ok_and(|bytes| mac(&key, &signed).verify_slice(&bytes).is_ok());
        let found = header.split(' ').take(8).filter_map(|one| one.strip_prefix("v1,")).find(|encoded| fits(encoded));
        found.map(str::to_owned).ok_or(Refused("webhook-signature does not fit the body"))
    }

    /// `X-Codeops-Signature: sha256=HEX` over `timestamp.body`.
    fn generic(&self) -> Result<Proven, Refused> {
        let header = self.first(&["x-codeops-signature"])?.ok_or(Refused("X-Codeops-Signature is empty"))?;
        let timestamp = self.timestamp("x-codeops-timestamp")?;
        let signature = self.check_sha256(header, &[timestamp.as_bytes(), b".", self.body])?;
        Ok(Proven { meaning: Meaning::Push, id_headers: &["x-codeops-delivery"], signature: Some(signature) })
    }

    /// A header in seconds since 1970 that is near enough to now, as text.
    fn timestamp(&self, name: &'static str) -> Result<&str, Refused> {
        timely(self.headers, name, self.now)
    }

    /// Checks `sha256=HEX` and gives the hex.
    fn check_sha256(&self, header: &str, signed: &[&[u8]]) -> Result<String, Refused> {
        let hex = header.strip_prefix("sha256=").ok_or(Refused("the signature does not begin with sha256="))?;
        self.check_hex(signed, hex)?;
        Ok(hex.to_ascii_lowercase())
    }

    fn check_hex(&self, signed: &[&[u8]], hex: &str) -> Result<(), Refused> {
        fits(self.secret.as_bytes(), signed, hex)
    }

    fn first(&self, names: &[&'static str]) -> Result<Option<&str>, Refused> {
        first(self.headers, names)
    }
}

fn meaning(event: Option<&str>, pushes: &[&str], pings: &[&str]) -> Meaning {
    match event {
        Some(event) if pushes.contains(&event) => Meaning::Push,
        Some(event) if pings.contains(&event) => Meaning::Ping,
        Some(_) => Meaning::Other,
        None => Meaning::Unsaid,
    }
}
