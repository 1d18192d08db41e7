//! What every request passes: method, host, token; and what every answer carries: the headers that keep a page harmless.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::problem::{Problem, wants_json};
use super::session::{LASTS, Pass, is_shared, own_host, same};
use super::{Web, pages, redact};
use crate::edge::Peer;

const COOKIE: &str = "codeops";
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Lets a request through, or says why not.
pub(super) async fn guard(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    let json = wants_json(request.headers(), is_for_machines(request.uri().path()));
    let is_static = request.uri().path().starts_with("/static/");
    // Whoever asks whether the daemon lives is told so however much else is asked for.
    let waits = !is_static && !is_probe(request.uri().path());
    let peer = request.extensions().get::<Peer>().copied();
    // Held until all of the answer is there.
    let (_turn, response) = match check(&web, &request) {
        Ok(None) if waits => match web.answers.turn().await {
            Ok(turn) => (Some(turn), next.run(request).await),
            Err(full) => (None, full.into_response()),
        },
        Ok(None) => (None, next.run(request).await),
        Ok(Some(welcome)) => (None, welcome),
        Err(problem) => (None, problem.into_response()),
    };
    let mut response = match is_static {
        true => response,
        false => shown(&web, response, json).await,
    };
    if let Some(peer) = peer.filter(|_| waits) {
        response = match web.answers.hold(peer, response).await {
            Ok(response) => response,
            Err(full) => shown(&web, full.into_response(), json).await,
        };
    }
    protect(response.headers_mut());
    response
}

/// An answer as its reader wants it, without what must not be shown.
async fn shown(web: &Web, mut response: Response, json: bool) -> Response {
    if !json && let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = pages::problem(web, &problem, response.headers());
    }
    redact::answer(response, &web.page.redact).await
}

/// Probes of orchestrators carry no token, and these answers tell nothing of what runs.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

fn is_for_machines(path: &str) -> bool {
    path.starts_with("/api/") || path == "/metrics" || is_probe(path)
}

/// `Some` is an answer that the guard gives itself: the cookie in exchange for a token, or the way to where it is given.
fn check(web: &Web, request: &Request) -> Result<Option<Response>, Problem> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let detail = "this page only shows; change live state with a commit to the config repository";
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).with(header::ALLOW, "GET, HEAD"));
    }
    check_host(web, request.uri(), request.headers())?;
    if has_body(request.headers()) {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "a request here has no body"));
    }
    check_token(web, request)
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}

/// A page on this machine must not be readable through a name that someone else points at it (DNS rebinding).
fn check_host(web: &Web, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let authority = uri.authority().map(|authority| authority.as_str());
    let mut hosts = headers.get_all(header::HOST).iter();
    // Of two nobody knows which one counts.
    let host = hosts.next().filter(|_| hosts.next().is_none()).and_then(|value| value.to_str().ok());
    let known = |authority: &str| bare_host(authority).is_some_and(|host| is_known(web, host));
    if host.is_some_and(known) && authority.is_none_or(known) {
        return Ok(());
    }
    let detail = "this name is not known here: use the address the daemon listens on, or add the name to its settings";
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
}

/// The host of `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`; `None` for all else.
fn bare_host(authority: &str) -> Option<&str> {
    Some(host_and_port(authority)?.0)
}

/// The same, and the port with its colon, or nothing.
fn host_and_port(authority: &str) -> Option<(&str, &str)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').filter(|(inner, _)| inner.parse::<Ipv6Addr>().is_ok())?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    (!host.is_empty() && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))).then_some((host, rest))
}

fn is_known(web: &Web, host: &str) -> bool {
    let listening = web.address.ip();
    let address = host.parse::<IpAddr>().ok();
    host.eq_ignore_ascii_case("localhost")
        || address.is_some_and(|ip| ip == listening || ip.is_loopback() || listening.is_unspecified())
        || web.page.config.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
        || web.page.config.token.as_ref().is_some_and(|token| own_host(token.reveal()).eq_ignore_ascii_case(host))
}

fn check_token(web: &Web, request: &Request) -> Result<Option<Response>, Problem> {
    let Some(token) = &web.page.config.token else { return Ok(None) };
    let path = request.uri().path();
    if is_probe(path) || path.starts_with("/static/") {
        return Ok(None);
    }
    let token = token.reveal();
    let (headers, now) = (request.headers(), web.now());
    if bearer(headers).is_some_and(|shown| same(shown, token)) || has_cookie(headers, token, now) {
        return Ok(None);
    }
    let authority = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let (host, port) = host_and_port(authority).unwrap_or_default();
    let own = own_host(token);
    let is_own = host.eq_ignore_ascii_case(&own);
    if asked(request.uri(), "token").is_some_and(|shown| same(&shown, token)) {
        return Ok(Some(match is_shared(host) && !is_own {
            true => moved(request.uri(), &format!("{own}{port}"), &Pass::Ticket.beginning(token, now)),
            false => welcome(request.uri(), token, now),
        }));
    }
    if is_own && asked(request.uri(), "ticket").is_some_and(|shown| Pass::Ticket.admits(&shown, token, now)) {
        return Ok(Some(welcome(request.uri(), token, now)));
    }
    let detail = "show the daemon's token: as `Authorization: Bearer TOKEN`, or open the page once with `?token=TOKEN`";
    Err(Problem::new(StatusCode::UNAUTHORIZED, detail).with(header::WWW_AUTHENTICATE, "Bearer"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn has_cookie(headers: &HeaderMap, token: &str, now: Timestamp) -> bool {
    let pairs = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    pairs
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .any(|(name, value)| name == COOKIE && Pass::Cookie.admits(value, token, now))
}

/// What is given under this name in the query.
fn asked(uri: &Uri, name: &str) -> Option<String> {
    let axum::extract::Query(pairs) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    pairs.into_iter().find(|(given, _)| given == name).map(|(_, value)| value)
}

/// Takes the token out of the address bar and leaves a cookie. It is sent along where a person follows a link from elsewhere,
/// and with nothing else from elsewhere: all that can be done here is to look.
fn welcome(uri: &Uri, token: &str, now: Timestamp) -> Response {
    let (value, lasts) = (Pass::Cookie.beginning(token, now), LASTS.as_secs());
    let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Lax");
    (StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie), (header::LOCATION, path(uri))]).into_response()
}

/// To the same page at its own name, by whatever scheme it is reached.
fn moved(uri: &Uri, authority: &str, ticket: &str) -> Response {
    let there = format!("//{authority}{}?ticket={ticket}", path(uri));
    (StatusCode::SEE_OTHER, [(header::LOCATION, there)]).into_response()
}

/// A path that begins with two slashes would be another host's.
fn path(uri: &Uri) -> String {
    format!("/{}", uri.path().trim_start_matches('/'))
}

fn protect(headers: &mut HeaderMap) {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_is_read_without_its_port() {
        let hosts = ["localhost:80", "localhost", "[::1]:80", "[::1]"].map(bare_host);
        assert_eq!(hosts, ["localhost", "localhost", "::1", "::1"].map(Some));
        for odd in [
            "[::1].evil.example",
            "[::1]x:80",
            "[::1",
            "[localhost]",
            "localhost:80:80",
            "localhost:x",
            "a@b:c",
            ":80",
            "",
        ] {
            assert_eq!(bare_host(odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn no_header_or_address_panics(text in any::<String>(), token in "[!-~]{1,20}") {
            let _ = bare_host(&text);
            prop_assert_eq!(same(&text, &token), text == token);
            if let Ok(value) = HeaderValue::from_str(&text) {
                let headers = HeaderMap::from_iter([
                    (header::COOKIE, value.clone()),
                    (header::AUTHORIZATION, value.clone()),
                    (header::ACCEPT, value),
                ]);
                prop_assert!(!has_cookie(&headers, &token, Timestamp::UNIX_EPOCH));
                let _ = (bearer(&headers), wants_json(&headers, false));
            }
            if let Ok(uri) = text.parse::<Uri>() {
                let _ = asked(&uri, "token");
            }
        }
    }
}
