//! Messages to people. A message is accepted when the channel itself says so, in its own way, and not before.

mod email;
mod pagerduty;
mod slack;
mod smtp;
mod webhook;

use std::time::Duration;

use codeops_core::model::{Address, Channel, SecretName};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde_json::json;

use super::http::{Answer, Call};
use super::{Parts, failed, http, text};
use crate::port::{EffectError, Performed, Secrets, Send, ToldAlert, Veil};

/// A channel that does not answer in this time has not accepted.
const LIMIT: Duration = Duration::from_secs(15);
/// What a mail to several takes less than its sender waits: who got it shall be known.
const SLACK: Duration = Duration::from_secs(2);

/// A message without secrets, ready for any channel.
struct Message {
    /// In one line.
    title: String,
    body: String,
    /// Where the page shows more.
    link: Option<String>,
    /// The alert that it tells of first.
    alert: Option<ToldAlert>,
}

/// Sends one message.
pub(super) async fn perform(parts: &Parts, key: &str, send: &Send) -> Result<Performed, EffectError> {
    let secrets = parts.secrets(&send.team, &send.channel.secrets())?;
    let link = |page: &String| send.path.as_ref().map(|path| format!("{}{path}", page.trim_end_matches('/')));
    let veil = parts.veil(&send.team);
    let message = Message {
        title: text::line(&veil.redact(&send.title), 1_000),
        body: veil.redact(&send.body),
        link: parts.page.as_ref().and_then(link),
        alert: send.alert.clone().map(|alert| {
            // One with a mask in it leads nowhere.
            let url = alert.url.filter(|url| veil.redact(url) == *url);
            ToldAlert { url, ..alert }
        }),
    };
    let said = match &send.channel {
        Channel::PagerDuty { routing_key, url } => {
            let key_of = value(&secrets, routing_key)?;
            let url = url.as_deref().unwrap_or(pagerduty::PUBLIC);
            let body = pagerduty::event(key_of, key, &message, (send.over, send.test), parts.clock.now());
            let answer = post(parts, send, url, &body, HeaderMap::new()).await?;
            accepted(&answer, &veil, "PagerDuty", answer.status == StatusCode::ACCEPTED, "202")?
        }
        Channel::Slack { url } => {
            let body = slack::text(&message);
            let answer = post(parts, send, address(&secrets, url)?, &body, HeaderMap::new()).await?;
            let took = answer.status.is_success() && !slack::complains(&answer.body.text(&veil, 1 << 10));
            accepted(&answer, &veil, "the webhook", took, "200 ok")?
        }
        Channel::Webhook { url, secret } => {
            let now = parts.clock.now();
            let body = webhook::body(send, &message, now);
            let secret = secret.as_ref().map(|name| value(&secrets, name)).transpose()?;
            let headers = webhook::headers(secret, &key_of(send, key), now, &body);
            let answer = post(parts, send, address(&secrets, url)?, &body, headers).await?;
            accepted(&answer, &veil, "the webhook", answer.status.is_success(), "200 to 299")?
        }
        Channel::Email { to, from, server, login } => {
            let login = login.as_ref().map(|(user, name)| Ok((user.as_str(), value(&secrets, name)?))).transpose()?;
            let egress = parts.egress(&send.team);
            let mail = email::mail(to, from, &message, &key_of(send, key), parts.clock.now())?;
            email::deliver(&mail, server, login, &egress, LIMIT * 2 - SLACK).await?
        }
    };
    let word = send.channel.word();
    Ok(Performed {
        output: json!({"accepted": true, "channel": word}),
        evidence: format!("{word} accepted it: {said}"),
    })
}

/// The end of a page is another message than its beginning. (`PagerDuty` is told of both under one key.)
fn key_of(send: &Send, key: &str) -> String {
    if send.over { format!("{key}:over") } else { key.to_owned() }
}

fn value<'s>(secrets: &'s Secrets, name: &SecretName) -> Result<&'s str, EffectError> {
    let value = secrets.get(name).ok_or_else(|| failed(format!("the secret `{name}` has no value")))?;
    Ok(value.reveal().trim())
}

fn address<'s>(secrets: &'s Secrets, address: &'s Address) -> Result<&'s str, EffectError> {
    match address {
        Address::Plain(url) => Ok(url),
        Address::Secret(name) => value(secrets, name),
    }
}

async fn post(
    parts: &Parts,
    send: &Send,
    url: &str,
    body: &str,
    mut headers: HeaderMap,
) -> Result<Answer, EffectError> {
    // Often the URL is the secret: of it only the host is told.
    let url: Url = url.parse().map_err(|error| failed(format!("the channel's URL cannot be used: {error}")))?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let shown = format!("the message to {}", url.origin().ascii_serialization());
    // Followed, what another page answers would pass for a yes: a login, or a place that took no message.
    let expect = vec![301, 302, 303, 307, 308];
    let call = Call { method: Method::POST, url, headers, body: Some(body.as_bytes().to_vec()), shown, expect };
    http::send(&parts.egress(&send.team), call, LIMIT).await
}

/// What the channel said when it took the message; an error when it did not.
fn accepted(answer: &Answer, veil: &Veil<'_>, who: &str, took: bool, wanted: &str) -> Result<String, EffectError> {
    let said = text::line(&answer.body.text(veil, 1 << 10), 300);
    let said = format!("{} {said}", answer.status.as_u16());
    if took {
        return Ok(said);
    }
    Err(failed(format!("{who} did not accept the message: it answered {said}; expected {wanted}")))
}
