//! Templates and expressions of any text over facts that are there: no panic, no overflow, no endless work.
#![no_main]

use codeops_core::expression::{Budget, fill, paths};
use codeops_core::model::{Template, TemplatePart};
use libfuzzer_sys::fuzz_target;

const FACTS: &str = r#"{"alert": {"labels": {"app": "{{ target.name }}"}, "annotations": {}}, "alerts": {"firing": 1, "total": 2},
  "target": {"name": "shop", "health": "Degraded", "healthy": 1}, "steps": {"look": {"output": [1, 2, 3]}}, "run": {"id": "r1"}}"#;

fuzz_target!(|text: &str| {
    let Ok(template) = Template::try_from(text.to_owned()) else { return };
    for part in &template.parts {
        if let TemplatePart::Value(expression) = part {
            paths(expression);
        }
    }
    let facts = serde_json::from_str(FACTS).expect("JSON");
    let _ = fill(&template, &facts, &Budget::of_a_look(), str::to_owned);
    assert_eq!(String::from(template), text);
});
