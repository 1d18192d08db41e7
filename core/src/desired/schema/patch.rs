//! The schema of an overlay, made from that of the kind: a merge patch says some of the fields, and takes away by `null`. What
//! the schema refuses `validate` refuses; what only the whole can tell is left to it.

use serde_json::{Map, Value, json};

/// What fields need or exclude: of a patch nobody can tell, for the rest stands in the manifest.
const OF_THE_WHOLE: [&str; 5] = ["required", "dependentRequired", "not", "minProperties", "$defs"];

/// The schema of an overlay of manifests that `whole` describes.
pub(super) fn overlay(whole: &Value) -> Value {
    let of = |field: &str| whole.pointer(&format!("/properties/{field}")).cloned().unwrap_or_default();
    let mut team = of("metadata/properties/team");
    if team.is_null() {
        team = of("metadata/properties/name");
    }
    let metadata = json!({
        "type": "object",
        "description": "Which manifest it changes.",
        "properties": {"name": of("metadata/properties/name"), "team": team},
        "required": ["name"],
        "additionalProperties": false,
    });
    let mut spec = patch(&of("spec"));
    if let Some(fields) = spec.as_object_mut() {
        // The whole may do without; a patch without it would say nothing.
        fields.insert("type".to_owned(), json!("object"));
    }
    let mut made = json!({
        "title": whole["title"],
        "type": "object",
        "properties": {"apiVersion": of("apiVersion"), "kind": of("kind"), "metadata": metadata, "spec": spec},
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
    });
    if let Some(definitions) = whole["$defs"].as_object() {
        let patches = definitions.iter().map(|(name, one)| (patched(name), patch(one)));
        let all: Map<String, Value> =
            definitions.iter().map(|(name, one)| (name.clone(), one.clone())).chain(patches).collect();
        made["$defs"] = Value::Object(all);
    }
    made
}

/// What a definition's patch is called.
fn patched(name: &str) -> String {
    format!("{name}Patch")
}

/// What may change something that `whole` describes. A list is replaced as a whole, and so is anything in it.
fn patch(whole: &Value) -> Value {
    let Some(fields) = whole.as_object() else { return whole.clone() };
    let mut made = Map::new();
    for (key, value) in fields {
        match key.as_str() {
            key if OF_THE_WHOLE.contains(&key) => {}
            "properties" => {
                let each = value.as_object().into_iter().flatten();
                let each = each.map(|(name, one)| (name.clone(), or_null(patch(one))));
                made.insert(key.clone(), Value::Object(each.collect()));
            }
            "additionalProperties" if value.is_object() => drop(made.insert(key.clone(), or_null(patch(value)))),
            "oneOf" | "anyOf" => {
                let forms: Vec<Value> = value.as_array().into_iter().flatten().map(patch).collect();
                // Fields that are needed make no form of their own; and one patch may be that of several.
                if !forms.contains(&json!({})) {
                    made.insert("anyOf".to_owned(), Value::Array(forms));
                }
            }
            "allOf" => drop(made.insert(key.clone(), value.as_array().into_iter().flatten().map(patch).collect())),
            "$ref" => {
                let name = value.as_str().and_then(|path| path.strip_prefix("#/$defs/")).unwrap_or_default();
                made.insert(key.clone(), json!(format!("#/$defs/{}", patched(name))));
            }
            _ => drop(made.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(made)
}

fn or_null(schema: Value) -> Value {
    if schema["type"].as_array().is_some_and(|kinds| kinds.contains(&json!("null"))) {
        return schema;
    }
    let description = schema.get("description").cloned();
    let mut made = json!({"anyOf": [schema, {"type": "null"}]});
    if let Some(description) = description {
        made["description"] = description;
    }
    made
}
