//! CloudEvents 1.0: binary, structured, and structured in batches. An event's data may be alerts in our own shape, or is read as
//! the settings' mapping says; else the event itself is the alert, named by its type.

use axum::http::{HeaderMap, header::CONTENT_TYPE};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codeops_core::model::{bounded_annotations, bounded_labels, web_url};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::told::{State, Told};
use super::wire::time;
use super::{Malformed, Mapping, Parsed, generic, header, shape};
use crate::base::percent_decoded;

/// What a type ends with that says how its alert is.
const OVER: [&str; 2] = [".resolved", ".recovered"];
const FIRES: [&str; 2] = [".firing", ".triggered"];

/// How old an event may be whose time counts: a clock that is further off says nothing of when an alert began.
const OLDEST: SignedDuration = SignedDuration::from_hours(24);

type Event = Map<String, Value>;

pub(super) fn parse(
    headers: &HeaderMap,
    body: &[u8],
    mapping: Option<&Mapping>,
    now: Timestamp,
) -> Result<Parsed, Malformed> {
    let content = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content = content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = || serde_json::from_slice(body).map_err(|error| shape(&error, "the body is not JSON"));
    let (events, alone) = match content.as_str() {
        "application/cloudevents+json" => (vec![json()?], true),
        "application/cloudevents-batch+json" => match json()? {
            Value::Array(events) => (events, false),
            _ => return Err(Malformed("a batch of CloudEvents is a list")),
        },
        _ => (vec![binary(headers, body)?], true),
    };
    let mut parsed = Parsed::default();
    for event in events {
        match one(event, mapping, now) {
            Ok(one) => {
                parsed.told.extend(one.told);
                parsed.spoiled += one.spoiled;
                parsed.why = parsed.why.or(one.why);
                parsed.ids.extend(one.ids);
            }
            Err(error) if alone => return Err(error),
            Err(Malformed(why)) => parsed.take(Err(why)),
        }
    }
    Ok(parsed)
}

/// Puts together an event whose attributes are headers and whose data is the body.
fn binary(headers: &HeaderMap, body: &[u8]) -> Result<Value, Malformed> {
    let mut event = Event::new();
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let value = header(headers, name.as_str()).ok_or(Malformed("a `ce-` header is not short plain text"))?;
        let value = String::from_utf8(percent_decoded(value)).map_err(|_| Malformed("a `ce-` header is not UTF-8"))?;
        event.insert(attribute.to_owned(), Value::String(value));
    }
    if event.is_empty() {
        return Err(Malformed("no CloudEvent: neither `ce-` headers nor application/cloudevents+json"));
    }
    // Data that is not JSON is the sender's right; nothing is read from it.
    event.insert("data".to_owned(), serde_json::from_slice(body).unwrap_or_default());
    Ok(Value::Object(event))
}

fn one(event: Value, mapping: Option<&Mapping>, now: Timestamp) -> Result<Parsed, Malformed> {
    let Value::Object(mut event) = event else { return Err(Malformed("a CloudEvent is an object")) };
    let required = |name: &str| event.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (Some("1.0"), Some(id), Some(source), Some(_)) =
        (required("specversion"), required("id"), required("source"), required("type"))
    else {
        return Err(Malformed("a CloudEvent has `specversion` 1.0, `id`, `source` and `type`"));
    };
    let id = Value::from(vec![source, id]).to_string();
    let at = event.get("time").and_then(Value::as_str).map_or(Ok(None), time).map_err(Malformed)?;
    let at = at.map(|at| at.min(now)).filter(|at| now.duration_since(*at) <= OLDEST);
    if let Some(encoded) = event.remove("data_base64") {
        let bytes = encoded.as_str().and_then(|encoded| STANDARD.decode(encoded).ok());
        let bytes = bytes.ok_or(Malformed("`data_base64` is not base64"))?;
        event.insert("data".to_owned(), serde_json::from_slice(&bytes).unwrap_or_default());
    }
    let of_data = |data: &Value| data.get("alerts").is_some_and(Value::is_array) || data.get("labels").is_some();
    let mut parsed = match (mapping, event.get("data")) {
        (Some(mapping), _) => mapping.read(&Value::Object(event))?,
        (None, Some(data)) if of_data(data) => generic::parse_own(data.clone())?,
        _ => {
            let mut parsed = Parsed::default();
            parsed.take(itself(&event));
            parsed
        }
    };
    // An end has its own time: were it to count, what fires anew in the same second would be taken for late.
    for told in parsed.told.iter_mut().filter(|told| matches!(told.state, State::Firing { .. })) {
        told.said_at = told.said_at.or(at);
    }
    parsed.ids = vec![id];
    Ok(parsed)
}

/// The event as an alert.
fn itself(event: &Event) -> Result<Told, &'static str> {
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let data = |name: &str| event.get("data").and_then(|data| data.get(name)).and_then(Value::as_str);
    let kind = text("type").unwrap_or_default();
    let name = OVER.iter().chain(&FIRES).find_map(|ending| kind.strip_suffix(ending)).unwrap_or(kind);
    let over = OVER.iter().any(|ending| kind.ends_with(ending)) || data("status") == Some("resolved");
    let owned = |(name, value): (&str, Option<&str>)| Some((name.to_owned(), value?.to_owned()));
    let labels = [("alertname", Some(name)), ("source", text("source")), ("subject", text("subject"))];
    let prose = [("summary", data("summary")), ("description", data("description").or(data("message")))];
    Ok(Told {
        labels: bounded_labels(labels.into_iter().filter_map(owned))?,
        annotations: bounded_annotations(prose.into_iter().filter_map(owned)),
        url: data("url").and_then(web_url),
        identity: None,
        said_at: None,
        starts_at: None,
        state: if over { State::Resolved { ended_at: None } } else { State::Firing { expires_at: None } },
    })
}
