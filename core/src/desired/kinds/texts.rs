//! Expressions and templates where manifests hold them: parsed, and every name in them checked, before anything runs.
//!
//! It knows what expressions can see; it does not know which field it reads for.

use serde_json::{Number, Value as Json};

use crate::expression::Path;
use crate::model::{Expression, Name, Template};

use crate::desired::text::read::{Reader, list};
use crate::desired::text::tree::{At, Node, Span, Value, cut, is_bool};

/// What an expression can see at its place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// Steps that may have ended by then.
    pub steps: Vec<Name>,
    /// Steps of the same playbook that come only later, or are the one itself.
    pub later: Vec<Name>,
    /// Whether there is nothing yet but the alert: the run is only about to begin.
    pub only_alert: bool,
}

const VARIABLES: [&str; 5] = ["alert", "alerts", "run", "steps", "target"];
/// The fields of each variable that has fixed ones, as [`crate::playbook::facts`] gives them.
const FIELDS: [(&str, &[&str]); 4] = [
    // What `crate::playbook::seen` gives.
    ("alert", &["labels", "annotations", "startsAt", "source", "receiver", "fingerprint", "url"]),
    ("alerts", &["firing", "total"]),
    ("run", &["id", "playbook", "rung", "turned"]),
    (
        "target",
        &[
            "id",
            "name",
            "health",
            "sync",
            "since",
            "replicas",
            "healthy",
            "dependenciesHealthy",
            "canRollBack",
            "unproven",
            "rollingBack",
        ],
    ),
];
const OF_STEP: [&str; 4] = ["state", "output", "error", "attempts"];

/// An expression.
pub(crate) fn expression(node: &Node, scope: &Scope, reader: &mut Reader<'_>) -> Option<Expression> {
    let text = reader.text(node)?;
    if text.value.trim().is_empty() {
        let help = "such as `target.health != 'Healthy'`; leave it out where nothing is asked".to_owned();
        reader.error(node.span, "expected an expression that is true or false, found nothing", Some(help));
        return None;
    }
    if !reader.allowance.takes(&text.value) {
        reader.refuse(node.span);
        return None;
    }
    match Expression::read(text.value) {
        Ok((expression, paths)) => {
            check(&paths, node.span, scope, reader);
            Some(expression)
        }
        Err(why) => {
            let help = "such as `target.health != 'Healthy'`".to_owned();
            reader.error(node.span, format!("this is not an expression: {}", cut(&why, 300)), Some(help));
            None
        }
    }
}

/// A text with templates in it.
pub(crate) fn template(node: &Node, scope: &Scope, reader: &mut Reader<'_>) -> Option<At<Template>> {
    let text = reader.text(node)?;
    filled(&text.value, node.span, scope, reader).map(|value| At { value, span: node.span })
}

fn filled(text: &str, span: Span, scope: &Scope, reader: &mut Reader<'_>) -> Option<Template> {
    if !reader.allowance.takes_template(text) {
        reader.refuse(span);
        return None;
    }
    match Template::read(text.to_owned()) {
        Ok((template, paths)) => {
            check(&paths, span, scope, reader);
            Some(template)
        }
        Err(why) => {
            let help = "such as `app/{{ alert.labels.app }}`".to_owned();
            reader.error(span, format!("this is not a template: {}", cut(&why, 300)), Some(help));
            None
        }
    }
}

/// A text in which a template would mean something else each time, and never may.
pub(crate) fn fixed(node: &Node, what: &str, reader: &mut Reader<'_>) -> Option<At<String>> {
    let text = reader.text(node)?;
    if text.value.contains("{{") {
        reader.error(node.span, format!("a template never stands in {what}"), None);
        return None;
    }
    Some(text)
}

/// Any YAML as JSON, templates in its texts checked.
pub(crate) fn value(node: &Node, scope: &Scope, reader: &mut Reader<'_>) -> Option<Json> {
    let before = reader.found.len();
    texts(node, scope, reader);
    (reader.found.len() == before).then(|| data(node))
}

fn texts(node: &Node, scope: &Scope, reader: &mut Reader<'_>) {
    match &node.value {
        Value::Null => {}
        Value::Scalar { text, .. } => drop(filled(text, node.span, scope, reader)),
        Value::List(items) => items.iter().for_each(|item| texts(item, scope, reader)),
        Value::Map(entries) => {
            for entry in entries {
                if entry.key.contains("{{") {
                    reader.error(entry.key_span, "a template never stands in a name", None);
                }
                texts(&entry.value, scope, reader);
            }
        }
    }
}

/// Any YAML as JSON, as it is.
pub(crate) fn data(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Scalar { text, plain: true } if is_bool(text) => text.eq_ignore_ascii_case("true").into(),
        Value::Scalar { text, plain } => match text.parse::<Number>() {
            Ok(number) if *plain => Json::Number(number),
            _ => text.to_string().into(),
        },
        Value::List(items) => items.iter().map(data).collect(),
        Value::Map(entries) => {
            let pairs = entries.iter().map(|entry| (entry.key.to_string(), data(&entry.value)));
            Json::Object(pairs.collect())
        }
    }
}

/// Checks every name that expressions read.
fn check(paths: &[Path], span: Span, scope: &Scope, reader: &mut Reader<'_>) {
    for path in paths {
        let Some((variable, rest)) = path.split_first() else { continue };
        let first = rest.first().map(String::as_str);
        match variable.as_str() {
            other if other != "alert" && scope.only_alert && VARIABLES.contains(&other) => {
                let message = format!("`{variable}` is not known yet: the run is only about to begin");
                reader.error(span, message, Some("what begins it is `alert`".to_owned()));
            }
            "steps" => step(first, rest.get(1).map(String::as_str), span, scope, reader),
            known => match FIELDS.iter().find(|(name, _)| *name == known) {
                Some((_, fields)) => field(first, &format!("`{known}`"), fields, span, reader),
                None => unknown(known, span, reader),
            },
        }
    }
}

fn unknown(variable: &str, span: Span, reader: &mut Reader<'_>) {
    let help = match reader.near(variable, VARIABLES.into_iter()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("expressions can see {}; a name with a hyphen is written steps['a-b']", list(&VARIABLES)),
    };
    reader.error(span, format!("there is nothing called `{}` here", cut(variable, 60)), Some(help));
}

fn field(name: Option<&str>, of: &str, fields: &[&str], span: Span, reader: &mut Reader<'_>) {
    let Some(name) = name.filter(|name| !fields.contains(name)) else { return };
    let help = match reader.near(name, fields.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has {}", list(fields)),
    };
    reader.error(span, format!("{of} has no `{}`", cut(name, 60)), Some(help));
}

fn step(name: Option<&str>, part: Option<&str>, span: Span, scope: &Scope, reader: &mut Reader<'_>) {
    let Some(name) = name else { return };
    if scope.steps.iter().any(|known| known.as_str() == name) {
        return field(part, "a step", &OF_STEP, span, reader);
    }
    if scope.later.iter().any(|known| known.as_str() == name) {
        let message = format!("the step `{name}` has given nothing yet when this is read");
        return reader.error(span, message, Some("only earlier steps can be read".to_owned()));
    }
    let help = match reader.near(name, scope.steps.iter().map(Name::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "only earlier steps of the same playbook can be read".to_owned(),
    };
    reader.error(span, format!("there is no earlier step `{}`", cut(name, 60)), Some(help));
}
