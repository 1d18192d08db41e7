//! JSON from anyone: as the settings' mapping says, or in our own shape, `{alerts: [{labels, annotations, status, startsAt,
//! endsAt, generatorURL}]}` or one such alert alone. Only `labels` must be there.

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::wire::{WireAlert, time};
use super::{Element, Malformed, Mapping, Parsed, header, shape};

#[derive(Deserialize)]
#[serde(untagged)]
enum Shape {
    Many { alerts: Vec<Element<WireAlert>> },
    One(WireAlert),
}

pub(super) fn parse(headers: &HeaderMap, body: &[u8], mapping: Option<&Mapping>) -> Result<Parsed, Malformed> {
    let body: Value = serde_json::from_slice(body).map_err(|error| shape(&error, "the body is not JSON"))?;
    let mut parsed = match mapping {
        Some(mapping) => mapping.read(&body)?,
        None => parse_own(body)?,
    };
    if parsed.ids.is_empty() {
        parsed.ids.extend(header(headers, "x-codeops-delivery").map(str::to_owned));
    }
    Ok(parsed)
}

/// Reads our own shape.
pub(super) fn parse_own(mut body: Value) -> Result<Parsed, Malformed> {
    match body.get_mut("alerts").and_then(Value::as_array_mut) {
        Some(alerts) => alerts.iter_mut().for_each(readable),
        None => readable(&mut body),
    }
    let otherwise = Malformed("the body is neither {\"alerts\": [{\"labels\": {…}, …}]} nor one such alert");
    let alerts = match serde_json::from_value(body).map_err(|_| otherwise)? {
        Shape::Many { alerts } => alerts,
        Shape::One(alert) => vec![Element::Good(alert)],
    };
    Ok(Parsed::of(alerts, WireAlert::tell_by_status))
}

/// Brings an alert into the shape that it is read in. Numbers and booleans in its labels and annotations are the text they
/// are written as, as in a mapping, and null is none. Of what need not be there, what cannot be read is left out: an alert
/// is not lost for it.
fn readable(alert: &mut Value) {
    let Some(alert) = alert.as_object_mut() else { return };
    for part in ["labels", "annotations"] {
        let Some(values) = alert.get_mut(part).and_then(Value::as_object_mut) else { continue };
        values.retain(|_, value| !value.is_null());
        for (_, value) in values.iter_mut().filter(|(_, value)| value.is_number() || value.is_boolean()) {
            *value = Value::from(value.to_string());
        }
    }
    match alert.get_mut("annotations").map(Value::as_object_mut) {
        Some(Some(annotations)) => annotations.retain(|_, value| value.is_string()),
        Some(None) => drop(alert.remove("annotations")),
        None => {}
    }
    alert.retain(|name, value| match name.as_str() {
        "startsAt" | "endsAt" => value.as_str().is_some_and(|text| time(text).is_ok()),
        "generatorURL" => value.is_string(),
        _ => true,
    });
}
