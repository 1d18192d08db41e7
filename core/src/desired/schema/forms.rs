//! Forms that recur in manifests: texts of a closed grammar, and which fields exclude or need each other. Only their JSON
//! Schema is used. What they let through the readers may still refuse; what they refuse the readers refuse.
#![expect(dead_code, reason = "only the schema of these types is used")]

use schemars::JsonSchema;
use serde_json::{Value, json};

/// Exactly one of these fields: the `oneOf` of an object.
pub(super) fn one_of(words: &[&str]) -> Value {
    words.iter().map(|word| json!({"required": [word]})).collect()
}

/// No two of these fields: the `not` of an object.
pub(super) fn never_two(words: &[&str]) -> Value {
    let pair = |(at, one): (usize, &&str)| {
        let (one, others) = ((*one).to_owned(), words[at + 1..].to_vec());
        others.into_iter().map(move |other| json!({"required": [one, other]}))
    };
    // What is left out may also be null, which has no fields to be without.
    json!({"type": "object", "anyOf": words.iter().enumerate().flat_map(pair).collect::<Vec<_>>()})
}

/// This field beside none of these: the `not` of an object.
pub(super) fn never_beside(word: &str, others: &[&str]) -> Value {
    json!({"type": "object", "anyOf": others.iter().map(|other| json!({"required": [word, other]})).collect::<Vec<_>>()})
}

/// A time with its zone, RFC 3339, such as 2026-11-21T08:00:00Z.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^[-+]?[0-9]{4}"))]
pub(super) struct Instant(String);

/// A time of day, HH:MM.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
pub(super) struct From(String);

/// A time of day, HH:MM, at most 24:00.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"))]
pub(super) struct To(String);

/// A day of the week, or a range such as mon:fri.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^(mon|tue|wed|thu|fri|sat|sun)(:(mon|tue|wed|thu|fri|sat|sun))?$"))]
pub(super) struct Weekday(String);

/// A day of the month, -1 being the last, or a range such as 1:7.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum MonthDay {
    Range(#[schemars(regex(pattern = "^-?[0-9]{1,2}(:-?[0-9]{1,2})?$"))] String),
    One(#[schemars(range(min = -31, max = 31))] i8),
}

/// A month, or a range such as jun:aug.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Month {
    Range(#[schemars(regex(pattern = "^([0-9]{1,2}|[a-z]{3})(:([0-9]{1,2}|[a-z]{3}))?$"))] String),
    One(#[schemars(range(min = 1, max = 12))] i8),
}

/// An http or https URL.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^https?://[^/?#]"))]
pub(super) struct WebUrl(String);

/// A mail address.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^[^@\\s]+@[^@\\s]+$"))]
pub(super) struct Mailbox(String);

/// A matcher in Alertmanager's syntax, such as severity=~"critical|page".
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "[=!]"))]
pub(super) struct Matching(String);
