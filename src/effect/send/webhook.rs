//! A webhook that takes our JSON, signed where a secret is named: the receiver proves it as our own hooks prove theirs.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use serde_json::json;
use sha2::Sha256;

use super::Message;
use crate::effect::http::header_value;
use crate::port::Send;

/// The body, as JSON.
pub(super) fn body(send: &Send, message: &Message, now: Timestamp) -> String {
    let run = send.path.as_deref().and_then(|path| path.strip_prefix("/runs/"));
    json!({
        "status": send.page.map(|_| if send.over || send.late { "resolved" } else { "firing" }),
        "page": send.page.map(|page| page.to_string()),
        "title": message.title,
        "body": message.body,
        "run": run,
        "url": message.link,
        "alert": message.alert.as_ref().map(|alert| json!({
            "startsAt": alert.starts_at.to_string(),
            "source": alert.source.as_str(),
            "receiver": alert.receiver.as_str(),
            "url": alert.url,
        })),
        "at": now.to_string(),
    })
    .to_string()
}

/// `X-Codeops-Signature: sha256=HEX` over `timestamp.body`, with the timestamp in seconds since 1970 beside it.
pub(super) fn headers(secret: Option<&str>, key: &str, now: Timestamp, body: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("idempotency-key", header_value(key));
    let Some(secret) = secret else { return headers };
    let at = now.as_second();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{at}.{body}").as_bytes());
    headers.insert("x-codeops-timestamp", header_value(&at.to_string()));
    headers
        .insert("x-codeops-signature", header_value(&format!("sha256={}", hex::encode(mac.finalize().into_bytes()))));
    headers
}
