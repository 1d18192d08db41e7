//! What every answer passes on its way out: values of secrets are taken out of lines, reasons, differences and events alike,
//! whoever wrote them. In JSON only texts are touched, so that it stays JSON.

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::header;
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde_json::Value;

use super::Redact;

#[derive(Clone, Copy)]
enum Form {
    Text,
    Json,
    Events,
}

/// The answer without what must not be shown. A stream's frames are whole lines and events, and are cleaned one by one.
pub(super) async fn answer(response: Response, redact: &Redact) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let form = match kind {
        kind if kind.starts_with("text/event-stream") => Form::Events,
        kind if kind.contains("json") => Form::Json,
        _ => Form::Text,
    };
    let (mut parts, body) = response.into_parts();
    if body.size_hint().exact().is_none() {
        let redact = Redact::clone(redact);
        let clean = move |frame: Frame<Bytes>| frame.map_data(|data| cleaned(data, form, &redact));
        return Response::from_parts(parts, Body::new(body.map_frame(clean)));
    }
    // An answer that has its length is in memory already.
    let Ok(whole) = body.collect().await else { return Response::from_parts(parts, Body::empty()) };
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(cleaned(whole.to_bytes(), form, redact)))
}

fn cleaned(data: Bytes, form: Form, redact: &Redact) -> Bytes {
    let Ok(text) = std::str::from_utf8(&data) else { return data };
    let plain = redact(text);
    if plain == text {
        return data;
    }
    match form {
        Form::Text => plain.into(),
        Form::Json => json(text, redact).into(),
        Form::Events => {
            let lines = text.split_inclusive('\n').map(|line| match line.split_once(": ") {
                Some(("data", value)) => format!("data: {}", json(value, redact)),
                _ => redact(line),
            });
            lines.collect::<String>().into()
        }
    }
}

fn json(text: &str, redact: &Redact) -> String {
    let end = &text[text.trim_end().len()..];
    match serde_json::from_str::<Value>(text) {
        Ok(mut value) => {
            texts(&mut value, redact);
            format!("{value}{end}")
        }
        Err(_) => redact(text),
    }
}

fn texts(value: &mut Value, redact: &Redact) {
    match value {
        Value::String(text) => *text = redact(text),
        Value::Array(items) => items.iter_mut().for_each(|item| texts(item, redact)),
        Value::Object(fields) => fields.values_mut().for_each(|field| texts(field, redact)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
