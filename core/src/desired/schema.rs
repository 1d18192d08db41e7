//! JSON Schema (2020-12) of every kind of manifest, for editors. The readers are the judge; this is the same fields said
//! in the editors' language, and a test holds the two together.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::kinds::header::{API_VERSION, ManifestKind};

mod answering;
mod forms;
mod patch;
mod people;
mod syntax;
mod tested;

/// The kinds that have a schema.
pub fn schema_kinds() -> impl Iterator<Item = &'static str> {
    ManifestKind::ALL.into_iter().map(ManifestKind::word)
}

/// The JSON Schema of one kind, or of a manifest of any kind. `Value::Null` for a kind that there is not.
pub fn schema(kind: Option<&str>) -> Value {
    of(kind, "codeops manifest", one)
}

/// The same of overlays, which lie below `environments/`.
pub fn overlay_schema(kind: Option<&str>) -> Value {
    of(kind, "codeops overlay", |kind| patch::overlay(&one(kind)))
}

fn of(kind: Option<&str>, title: &str, one: impl Fn(ManifestKind) -> Value) -> Value {
    let Some(kind) = kind else {
        let mut all: Vec<Value> = ManifestKind::ALL.into_iter().map(&one).collect();
        // What refers to itself is defined once, and found from the top.
        let mut definitions = Map::new();
        for kind in all.iter_mut().filter_map(Value::as_object_mut) {
            if let Some(Value::Object(own)) = kind.remove("$defs") {
                definitions.extend(own);
            }
        }
        return json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": title,
            "oneOf": all,
            "$defs": definitions,
        });
    };
    ManifestKind::ALL.into_iter().find(|known| known.word() == kind).map(one).unwrap_or_default()
}

fn one(kind: ManifestKind) -> Value {
    let generator = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    let schema = match kind {
        ManifestKind::Repository => generator.into_root_schema_for::<syntax::Repository>(),
        ManifestKind::Team => generator.into_root_schema_for::<syntax::Team>(),
        ManifestKind::App => generator.into_root_schema_for::<syntax::App>(),
        ManifestKind::Playbook => generator.into_root_schema_for::<answering::Playbook>(),
        ManifestKind::PlaybookTest => generator.into_root_schema_for::<tested::PlaybookTest>(),
        ManifestKind::Receiver => generator.into_root_schema_for::<people::Receiver>(),
        ManifestKind::AlertRoute => generator.into_root_schema_for::<people::AlertRoute>(),
        ManifestKind::EscalationPolicy => generator.into_root_schema_for::<people::EscalationPolicy>(),
        ManifestKind::OnCall => generator.into_root_schema_for::<people::OnCall>(),
    };
    let mut value = schema.to_value();
    if let Some(properties) = value.get_mut("properties") {
        properties["apiVersion"] =
            json!({"const": API_VERSION, "description": "The version of the manifest language."});
        properties["kind"] = json!({"const": kind.word(), "description": "What this manifest declares."});
    }
    value
}
