//! Errors as problem documents (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// One error. Its `detail` is a fixed sentence: nothing of a request is sent back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Problem {
    status: StatusCode,
    detail: &'static str,
    retry_after: Option<u16>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: &'static str) -> Self {
        Self { status, detail, retry_after: None }
    }

    /// Too much at once. Always 503: some senders never come again after a 429.
    pub(super) fn overload() -> Self {
        let detail = "too many requests at once: send it again later";
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// It cannot be done now, for reasons of ours that may last.
    pub(super) fn unavailable(detail: &'static str) -> Self {
        Self { retry_after: Some(10), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = serde_json::json!({
            "type": "about:blank",
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
