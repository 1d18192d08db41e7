//! Errors as problem documents (RFC 9457); a browser gets the same words as a page.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::redact::AsIs;
use crate::journal::LogError;
use crate::port::Unreachable;

/// A client's own words are repeated up to so many bytes.
const SAID: usize = 512;

/// An answer that is not what was asked for; says what to do next.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Problem {
    /// Always `about:blank`: the status says it all.
    r#type: &'static str,
    /// In a few words.
    pub(super) title: String,
    /// The HTTP status.
    pub(super) status: u16,
    /// In one sentence.
    pub(super) detail: String,
    /// Whether it says what was asked for: a mask in that would tell whoever guesses.
    #[serde(skip)]
    asked: bool,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Self {
            r#type: "about:blank",
            title,
            status: status.as_u16(),
            detail: detail.into(),
            asked: false,
            headers: Vec::new(),
        }
    }

    /// What the client got wrong. Its own words stay as they are, and are cut.
    fn asked(status: StatusCode, what: impl Into<String>) -> Self {
        let mut what: String = what.into();
        if what.len() > SAID {
            what.truncate(what.floor_char_boundary(SAID));
            what.push('…');
        }
        Self { asked: true, ..Self::new(status, what) }
    }

    /// Lets an answer that shows it keep what was asked for.
    pub(super) fn keep(&self, response: &mut Response) {
        if self.asked {
            response.extensions_mut().insert(AsIs);
        }
    }

    pub(super) fn not_found(what: impl Into<String>) -> Self {
        Self::asked(StatusCode::NOT_FOUND, what)
    }

    pub(super) fn bad_request(what: impl Into<String>) -> Self {
        Self::asked(StatusCode::BAD_REQUEST, what)
    }

    pub(super) fn unavailable(what: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, what)
    }

    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().extend(self.headers.iter().cloned());
        self.keep(&mut response);
        // The guard turns it into a page for those who asked for one.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<Unreachable> for Problem {
    fn from(error: Unreachable) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, error.to_string())
    }
}

/// Whether the client asks for JSON rather than a page: whichever of the two it names first.
pub(super) fn wants_json(headers: &HeaderMap, otherwise: bool) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let first = accept.split(',').map(|part| part.split(';').next().unwrap_or("").trim()).find_map(|kind| match kind {
        "application/json" | "application/problem+json" => Some(true),
        "text/html" | "application/xhtml+xml" => Some(false),
        _ => None,
    });
    first.unwrap_or(otherwise)
}
