//! One HTTP request: no proxy, redirects followed by hand and each checked, the answer bounded. Channels to people send
//! theirs through here as well. A request that may have arrived and was not answered is not known, unless it only reads; nor
//! is one that was answered by a redirect which came to nothing.

use std::time::Duration;

use codeops_core::model::Name;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde_json::{Value, json};

use super::text::Kept;
use super::{Parts, failed, unknown};
use crate::base::Egress;
use crate::base::request::{self, REDIRECTS, causes, forbidden, may_reach};
use crate::port::{EffectError, HttpRequest, Performed};

/// A connection that does not come about in this time does not.
const CONNECT: Duration = Duration::from_secs(10);
/// Headers that are the client's own business.
const OURS: [&str; 7] = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"];

/// One request, ready to be sent.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Vec<u8>>,
    /// For errors: what is requested, without secrets.
    pub(super) shown: String,
    /// Status codes to stop at, also when they would redirect.
    pub(super) expect: Vec<u16>,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Kept,
}

/// Makes the request of a step.
pub(super) async fn perform(parts: &Parts, key: &str, order: &HttpRequest) -> Result<Performed, EffectError> {
    let shown = format!("{} {}", order.method, request::shown(&order.url));
    let call = Call {
        method: order.method.parse().map_err(|_| failed(format!("`{}` is not an HTTP method", order.method)))?,
        url: order.url.parse().map_err(|error| failed(format!("the URL of the request cannot be used: {error}")))?,
        headers: headers(parts, key, order)?,
        body: order.body.clone().map(String::into_bytes),
        expect: order.expect.clone(),
        shown,
    };
    let shown = call.shown.clone();
    let answer = send(&parts.egress(&order.team), call, Duration::from_millis(order.timeout_ms)).await?;
    let status = answer.status.as_u16();
    let veil = parts.veil(&order.team);
    let body = answer.body.value(&veil, Value::String);
    let excerpt = answer.body.text(&veil, 4 << 10);
    let evidence = format!("{shown} answered {status}, {} bytes\n{excerpt}", answer.body.total());
    let fine = if order.expect.is_empty() { answer.status.is_success() } else { order.expect.contains(&status) };
    if fine {
        return Ok(Performed { output: json!({"status": status, "body": body}), evidence });
    }
    let wanted = order.expect.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let wanted = if wanted.is_empty() { "200 to 299".to_owned() } else { wanted };
    Err(EffectError::Failed { error: format!("{shown} answered {status}; expected {wanted}"), evidence })
}

fn headers(parts: &Parts, key: &str, order: &HttpRequest) -> Result<HeaderMap, EffectError> {
    let names = order.secret_headers.values().cloned().collect();
    let secrets = parts.secrets(&order.team, &names)?;
    let secret = |(header, name): (&String, &Name)| {
        let value = secrets.get(name).map(|value| value.reveal().clone()).unwrap_or_default();
        (header.clone(), value, true)
    };
    let plain = order.headers.iter().map(|(header, value)| (header.clone(), value.clone(), false));
    let mut headers = HeaderMap::new();
    for (name, value, sensitive) in plain.chain(order.secret_headers.iter().map(secret)) {
        let known = HeaderName::try_from(&name).ok().filter(|name| !OURS.contains(&name.as_str()));
        let known = known.ok_or_else(|| failed(format!("`{name}` cannot be a header of a request: leave it out")))?;
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| failed(format!("the value of the header `{name}` holds characters that headers cannot")))?;
        value.set_sensitive(sensitive);
        headers.insert(known, value);
    }
    headers.entry("idempotency-key").or_insert(header_value(key));
    let is_json = |body: &String| serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok();
    if order.body.as_ref().is_some_and(is_json) {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    }
    Ok(headers)
}

/// A text as a header carries it; empty where it cannot.
pub(super) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// Sends a request and reads its answer, all in `limit`.
///
/// # Errors
/// `Failed`: it did not arrive, or only read; `Unknown`: it may have arrived.
pub(super) async fn send(egress: &Egress, call: Call, limit: Duration) -> Result<Answer, EffectError> {
    let client = request::client(egress)
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT.min(limit * 9 / 10))
        .build()
        .map_err(|error| {
            failed(format!("no HTTPS client can be made, are CA certificates installed? {}", causes(&error)))
        })?;
    let (shown, reads) = (call.shown.clone(), call.method.is_safe());
    let doubt = |why: String| if reads { failed(why) } else { unknown(format!("{why}; it may have been done")) };
    match tokio::time::timeout(limit, follow(&client, egress, call)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Trouble::Refused(why))) => Err(failed(format!("{shown} was not sent: {why}"))),
        Ok(Err(Trouble::Turned { why, is_known: true })) => Err(failed(format!("{shown} {why}"))),
        Ok(Err(Trouble::Turned { why, is_known: false })) => Err(doubt(format!("{shown} {why}"))),
        Ok(Err(Trouble::Lost(why))) => Err(doubt(format!("{shown} was not answered: {why}"))),
        Err(_) => Err(doubt(format!("{shown} was not answered within {} s", limit.as_secs_f32()))),
    }
}

/// Why there is no answer.
enum Trouble {
    /// Nothing was sent.
    Refused(String),
    /// What was sent was answered by where else to go, and there it ended. `is_known`: that answer says that nothing was done.
    Turned { why: String, is_known: bool },
    /// It may have arrived.
    Lost(String),
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        match forbidden(&error) {
            Some(why) => Trouble::Refused(why.to_string()),
            None if error.is_connect() || error.is_builder() => Trouble::Refused(causes(&error)),
            None => Trouble::Lost(causes(&error)),
        }
    }
}

impl Trouble {
    fn unfollowed(status: u16, why: &str, is_known: bool) -> Self {
        Self::Turned { why: format!("was answered {status}, which is not followed: {why}"), is_known }
    }

    /// The same of a request that a redirect with this status asked for: the one before it has been sent.
    fn after(self, status: u16) -> Self {
        let (how, why) = match self {
            Self::Refused(why) => ("was not reached", why),
            Self::Lost(why) => ("did not answer", why),
            turned @ Self::Turned { .. } => return turned,
        };
        let why = format!("was answered {status}, and where that leads to {how}: {why}");
        Self::Turned { why, is_known: false }
    }
}

async fn follow(client: &Client, egress: &Egress, mut call: Call) -> Result<Answer, Trouble> {
    // The redirects that were answered, the last one and whether each says that nothing was done.
    let mut turned: Option<(u16, bool)> = None;
    for _ in 0..=REDIRECTS {
        let mut response = match ask(client, egress, &call).await {
            Ok(response) => response,
            Err(trouble) => {
                return Err(match turned {
                    Some((status, _)) => trouble.after(status),
                    None => trouble,
                });
            }
        };
        let status = response.status().as_u16();
        let is_known = matches!(status, 307 | 308) && turned.is_none_or(|(_, is_known)| is_known);
        match redirected(&call, &response) {
            Ok(Some(next)) => (call, turned) = (next, Some((status, is_known))),
            Ok(None) => {
                let mut body = Kept::default();
                while let Some(piece) = response.chunk().await? {
                    body.take(&piece);
                }
                return Ok(Answer { status: response.status(), body });
            }
            Err(why) => return Err(Trouble::unfollowed(status, &why, is_known)),
        }
    }
    let (status, is_known) = turned.unwrap_or_default();
    Err(Trouble::unfollowed(status, &format!("more than {REDIRECTS} redirects"), is_known))
}

async fn ask(client: &Client, egress: &Egress, call: &Call) -> Result<Response, Trouble> {
    may_reach(&call.url, egress).map_err(|why| Trouble::Refused(why.to_string()))?;
    let mut request = client.request(call.method.clone(), call.url.clone()).headers(call.headers.clone());
    if let Some(body) = &call.body {
        request = request.body(body.clone());
    }
    Ok(request.send().await?)
}

/// The request that a redirect asks for, if the response is one; an error says why it is not followed. Another origin gets
/// none of the step's headers.
fn redirected(call: &Call, response: &Response) -> Result<Option<Call>, String> {
    let status = response.status();
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) || call.expect.contains(&status.as_u16()) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()) else { return Ok(None) };
    let url = call.url.join(location).map_err(|error| format!("it redirects to no URL: {error}"))?;
    if call.url.scheme() == "https" && url.scheme() != "https" {
        return Err("it redirects from https to http".to_owned());
    }
    let again = matches!(status.as_u16(), 307 | 308) || call.method.is_safe();
    let same = call.url.origin() == url.origin();
    if !same && again && call.body.is_some() {
        return Err(format!("it redirects what is sent to another host, {}", url.origin().ascii_serialization()));
    }
    Ok(Some(Call {
        method: if again { call.method.clone() } else { Method::GET },
        headers: if same { call.headers.clone() } else { HeaderMap::new() },
        body: if again { call.body.clone() } else { None },
        url,
        shown: call.shown.clone(),
        expect: call.expect.clone(),
    }))
}
