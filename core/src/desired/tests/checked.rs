//! The part of JSON Schema that our schemas use, checked: a word of it that is not known here fails the test that meets it.

use regex::Regex;
use serde_json::Value;

/// Words that say nothing of a value.
const SILENT: [&str; 7] = ["$schema", "$defs", "title", "description", "format", "default", "items"];

/// Where a value breaks its schema, and how; `None` where it does not.
pub(super) fn violation(schema: &Value, value: &Value, at: &str) -> Option<String> {
    below(schema, schema, value, at)
}

fn below(root: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    let broken = |rule: &str| Some(format!("{at}: {rule}"));
    let fits = |schema: &Value| below(root, schema, value, at).is_none();
    let list = |rule: &Value| rule.as_array().cloned().unwrap_or_default();
    let has = |name: &Value| name.as_str().is_some_and(|name| value.get(name).is_some());
    let length = value.as_str().map(|text| text.chars().count());
    let count = |least: bool, size: Option<usize>, rule: &Value| {
        let bound = rule.as_u64().and_then(|bound| usize::try_from(bound).ok());
        size.zip(bound).is_some_and(|(size, bound)| if least { size < bound } else { size > bound })
    };
    let number = value.as_f64();
    for (word, rule) in schema.as_object().into_iter().flatten() {
        let bad = match word.as_str() {
            "type" => !kinds(rule).any(|kind| is(kind, value)),
            "const" => rule != value,
            "enum" => !list(rule).contains(value),
            "anyOf" => !list(rule).iter().any(fits),
            "oneOf" => list(rule).iter().filter(|one| fits(one)).count() != 1,
            "not" => fits(rule),
            "$ref" => {
                !fits(root.pointer(rule.as_str().unwrap_or_default().trim_start_matches('#')).expect("it is there"))
            }
            "required" => value.is_object() && !list(rule).iter().all(has),
            "dependentRequired" => {
                let mut pairs = rule.as_object().into_iter().flatten();
                pairs.any(|(field, needs)| value.get(field).is_some() && !list(needs).iter().all(has))
            }
            "pattern" => {
                let pattern = Regex::new(rule.as_str().expect("a text")).expect("a regular expression");
                value.as_str().is_some_and(|text| !pattern.is_match(text))
            }
            "minLength" => count(true, length, rule),
            "maxLength" => count(false, length, rule),
            "minItems" => count(true, value.as_array().map(Vec::len), rule),
            "maxItems" => count(false, value.as_array().map(Vec::len), rule),
            "minProperties" => count(true, value.as_object().map(serde_json::Map::len), rule),
            "minimum" => number < rule.as_f64() && number.is_some(),
            "maximum" => number > rule.as_f64(),
            "exclusiveMinimum" => number <= rule.as_f64() && number.is_some(),
            "properties" | "additionalProperties" => false,
            silent => {
                assert!(SILENT.contains(&silent), "{at}: `{silent}` is not checked here");
                false
            }
        };
        if bad {
            return broken(word);
        }
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let place = format!("{at}/{name}");
        let found = match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => Some(format!("{place}: unknown")),
            (Value::Null, additional) => below(root, additional, inner, &place),
            (known, _) => below(root, known, inner, &place),
        };
        if found.is_some() {
            return found;
        }
    }
    value.as_array().into_iter().flatten().find_map(|item| below(root, &schema["items"], item, &format!("{at}/-")))
}

fn kinds(rule: &Value) -> impl Iterator<Item = &str> {
    let one = rule.as_str().into_iter();
    one.chain(rule.as_array().into_iter().flatten().filter_map(Value::as_str))
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    }
}
