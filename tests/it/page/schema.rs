//! Checks a real answer against `docs/openapi.yaml`: the part of JSON Schema that the document uses, nothing assumed.

use serde_json::Value;

/// The document.
pub(crate) fn openapi() -> Value {
    let text = include_str!("../../../docs/openapi.yaml");
    serde_saphyr::from_str(text).expect("docs/openapi.yaml is YAML")
}

/// The schema of a path's answer.
pub(crate) fn of_answer<'a>(document: &'a Value, path: &str, status: &str, kind: &str) -> &'a Value {
    let answer = resolve(document, &document["paths"][path]["get"]["responses"][status]);
    let schema = &answer["content"][kind]["schema"];
    assert!(schema.is_object(), "{path} {status} {kind} is not documented");
    schema
}

/// Every way in which `value` is not what `schema` says.
pub(crate) fn mistakes(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let schema = resolve(document, schema);
    let mut found = Vec::new();
    if !is_of_type(&schema["type"], value) {
        return vec![format!("{at}: {value} is not {}", schema["type"])];
    }
    if let Some(options) = schema["enum"].as_array()
        && !options.contains(value)
    {
        found.push(format!("{at}: {value} is none of {options:?}"));
    }
    if schema["format"] == "date-time"
        && let Some(text) = value.as_str()
        && (text.parse::<jiff::Timestamp>().is_err() || !text.ends_with('Z'))
    {
        found.push(format!("{at}: {text} is not a time in UTC"));
    }
    if let Some(items) = value.as_array() {
        for (i, item) in items.iter().enumerate() {
            found.extend(mistakes(document, &schema["items"], item, &format!("{at}[{i}]")));
        }
    }
    found.extend(fields(document, schema, value, at));
    found
}

fn fields(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let Some(object) = value.as_object() else { return Vec::new() };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let missing = required.filter(|name| !object.contains_key(*name)).map(|name| format!("{at}.{name} is missing"));
    let mut found: Vec<String> = missing.collect();
    for (name, value) in object {
        let (named, others) = (&schema["properties"][name], &schema["additionalProperties"]);
        match (named.is_null(), others) {
            (false, _) => found.extend(mistakes(document, named, value, &format!("{at}.{name}"))),
            (true, Value::Bool(false)) => found.push(format!("{at}.{name} is not documented")),
            (true, others) if others.is_object() => {
                found.extend(mistakes(document, others, value, &format!("{at}.{name}")));
            }
            _ => {}
        }
    }
    found
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).expect("a reference leads somewhere"),
        None => schema,
    }
}

fn is_of_type(expected: &Value, value: &Value) -> bool {
    let one = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("the document uses an unknown type: {other}"),
    };
    match expected {
        Value::Null => true,
        Value::String(name) => one(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(one),
        other => panic!("not a type: {other}"),
    }
}
