//! JSON Schema (2020-12) of every kind of manifest, for editors. The readers are the judge; this is the same fields said
//! in the editors' language, and a test holds the two together.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::header::{API_VERSION, ManifestKind};

mod syntax;

/// The kinds that have a schema.
pub fn schema_kinds() -> impl Iterator<Item = &'static str> {
    ManifestKind::ALL.into_iter().map(ManifestKind::word)
}

/// The JSON Schema of one kind, or of a manifest of any kind. `Value::Null` for a kind that there is not.
pub fn schema(kind: Option<&str>) -> Value {
    let Some(kind) = kind else {
        let all: Vec<Value> = ManifestKind::ALL.into_iter().map(one).collect();
        return json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "codeops manifest",
            "oneOf": all,
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
        _ => return Value::Null,
    };
    let mut value = schema.to_value();
    if let Some(properties) = value.get_mut("properties") {
        properties["apiVersion"] =
            json!({"const": API_VERSION, "description": "The version of the manifest language."});
        properties["kind"] = json!({"const": kind.word(), "description": "What this manifest declares."});
    }
    value
}
