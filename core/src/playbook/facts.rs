//! What expressions and scripts see: plain JSON, the same for both.

use serde_json::{Map, Value, json};

use super::Facts;
use crate::model::{Run, StepOutcome};

/// `alert`, `target`, `steps` and `run` as expressions and scripts see them.
pub fn facts(run: &Run, facts: &Facts<'_>) -> Value {
    let mut steps = Map::new();
    for record in &run.steps {
        let Some(step) = run.step(record.step) else { continue };
        let (state, output, error) = match (&record.outcome, &record.skipped) {
            (_, Some(_)) => ("skipped", Value::Null, Value::Null),
            (Some(StepOutcome::Done { output }), _) => ("done", output.clone(), Value::Null),
            (Some(StepOutcome::Failed { error }), _) => ("failed", Value::Null, Value::from(error.as_str())),
            (Some(StepOutcome::Unknown { error }), _) => ("unknown", Value::Null, Value::from(error.as_str())),
            (None, None) => ("on", Value::Null, Value::Null),
        };
        let record = json!({ "state": state, "output": output, "error": error, "attempts": record.attempts });
        steps.insert(step.name.to_string(), record);
    }
    let target = match (&facts.target, &run.target) {
        (Some(target), _) => {
            let mut target = serde_json::to_value(target).unwrap_or_default();
            target["name"] = run.target.as_ref().map_or(Value::Null, |id| id.name.as_str().into());
            target
        }
        (None, Some(id)) => json!({ "id": id.to_string(), "name": id.name.as_str() }),
        (None, None) => Value::Null,
    };
    let alert = match &run.alert {
        Value::Null => json!({ "labels": {}, "annotations": {} }),
        alert => alert.clone(),
    };
    let firing = run.alerts.iter().filter(|id| super::next::fires(id, facts)).count();
    json!({
        "alert": alert,
        "alerts": { "firing": firing, "total": run.alerts.len() },
        "target": target,
        "steps": steps,
        "run": {
            "id": run.id.to_string(),
            "playbook": run.playbook.name.as_str(),
            "rung": run.rung,
            "turned": run.turned.is_some(),
        },
    })
}
