//! CEL expressions (floor F0): checked when a manifest is read, evaluated over plain JSON. No loops but over lists that are
//! there, no state, no I/O.
//!
//! The library's parser and evaluator recurse, so both run on a thread with a large stack, over a source that is bounded.
//! Source of the language: the Common Expression Language specification.

use std::fmt;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, Program};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest expression, in bytes.
pub const MAX_SOURCE: usize = 1_024;
/// The longest list that is evaluated over, and the deepest nesting of macros that walk one: together they bound the work.
const MAX_LIST: usize = 1_000;
const MAX_WALKS: usize = 2;
const STACK: usize = 16 << 20;

/// A text with `{{ EXPRESSION }}` in it. Each is one CEL value, never evaluated twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    /// As written.
    pub source: Arc<str>,
    /// Its parts in order.
    pub parts: Vec<TemplatePart>,
}

/// One part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePart {
    /// As written.
    Text(String),
    /// A value.
    Value(Expression),
}

/// A CEL expression that has been parsed once and found well; at most 1 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression(Arc<str>);

impl Expression {
    /// As written.
    pub fn source(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Expression {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        check(&text)?;
        Ok(Self(text.into()))
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> Self {
        expression.0.as_ref().to_owned()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.source.as_ref().to_owned()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.source)
    }
}

impl TryFrom<String> for Template {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, tail) = after.split_once("}}").ok_or("`{{` has no `}}`")?;
            if !before.is_empty() {
                parts.push(TemplatePart::Text(before.to_owned()));
            }
            parts.push(TemplatePart::Value(Expression::try_from(inside.trim().to_owned())?));
            rest = tail;
        }
        if rest.contains("}}") {
            return Err("`}}` has no `{{`".to_owned());
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Text(rest.to_owned()));
        }
        Ok(Self { source: text.into(), parts })
    }
}

/// Checks that a text is an expression that can be evaluated within bounds.
///
/// # Errors
/// In one sentence, what is wrong with it.
pub fn check(source: &str) -> Result<(), String> {
    if source.len() > MAX_SOURCE {
        return Err(format!("an expression has at most {MAX_SOURCE} bytes"));
    }
    on_large_stack(|| {
        let program = compile(source)?;
        if walks(program.expression()) > MAX_WALKS {
            return Err(format!("macros that walk a list are nested at most {MAX_WALKS} deep"));
        }
        Ok(())
    })
}

/// The paths that an expression reads, such as `["alert", "labels", "app"]`, as far as they are spelt out.
pub fn paths(expression: &Expression) -> Vec<Vec<String>> {
    on_large_stack(|| {
        let mut found = Vec::new();
        let program = compile(expression.source())?;
        read(program.expression(), &mut Vec::new(), &mut found);
        Ok(found)
    })
    .unwrap_or_default()
}

/// The value of an expression over the fields of `facts`, an object.
///
/// # Errors
/// In one sentence, why it has none.
pub fn evaluate(expression: &Expression, facts: &Value) -> Result<Value, String> {
    let what = |error: String| format!("`{}`: {error}", expression.source());
    if !bounded(facts) {
        return Err(what(format!("a list with more than {MAX_LIST} items is not evaluated over")));
    }
    on_large_stack(|| {
        let program = compile(expression.source())?;
        let mut context = Context::default();
        for (name, value) in facts.as_object().into_iter().flatten() {
            let value = cel::to_value(value).map_err(|error| error.to_string())?;
            context.add_variable_from_value(name.clone(), value);
        }
        let value = program.execute(&context).map_err(|error| error.to_string())?;
        value.json().map_err(|_| "it has no value that can be shown".to_owned())
    })
    .map_err(what)
}

/// Whether an expression is true.
///
/// # Errors
/// As [`evaluate`]; and when it is neither true nor false.
pub fn holds(expression: &Expression, facts: &Value) -> Result<bool, String> {
    match evaluate(expression, facts)? {
        Value::Bool(truth) => Ok(truth),
        other => Err(format!("`{}` is {other}, neither true nor false", expression.source())),
    }
}

/// A template filled in; `escape` is applied to each value, never to what is written. A text stands for itself, other values
/// as JSON.
///
/// # Errors
/// As [`evaluate`].
pub fn fill(template: &Template, facts: &Value, escape: impl Fn(&str) -> String) -> Result<String, String> {
    let mut text = String::new();
    for part in &template.parts {
        match part {
            TemplatePart::Text(written) => text.push_str(written),
            TemplatePart::Value(expression) => match evaluate(expression, facts)? {
                Value::String(value) => text.push_str(&escape(&value)),
                value => text.push_str(&escape(&value.to_string())),
            },
        }
    }
    Ok(text)
}

fn compile(source: &str) -> Result<Program, String> {
    Program::compile(source).map_err(|errors| {
        let text = errors.to_string();
        text.lines().next().unwrap_or("it is not CEL").to_owned()
    })
}

/// How deep macros that walk a list are nested.
fn walks(node: &IdedExpr) -> usize {
    let here = usize::from(matches!(node.expr, Expr::Comprehension(_)));
    here + children(&node.expr).into_iter().map(walks).max().unwrap_or(0)
}

fn read(node: &IdedExpr, tail: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match &node.expr {
        Expr::Select(select) => {
            tail.push(select.field.clone());
            read(&select.operand, tail, found);
            tail.pop();
        }
        Expr::Ident(name) => {
            let path = std::iter::once(name.clone()).chain(tail.iter().rev().cloned());
            found.push(path.collect());
        }
        other => {
            for child in children(other) {
                read(child, &mut Vec::new(), found);
            }
        }
    }
}

fn children(expr: &Expr) -> Vec<&IdedExpr> {
    match expr {
        Expr::Call(call) => call.target.iter().map(AsRef::as_ref).chain(&call.args).collect(),
        Expr::Comprehension(walk) => {
            vec![&walk.iter_range, &walk.accu_init, &walk.loop_cond, &walk.loop_step, &walk.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| of_entry(&entry.expr)).collect(),
        Expr::Struct(made) => made.entries.iter().flat_map(|entry| of_entry(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn of_entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(pair) => vec![&pair.key, &pair.value],
    }
}

fn bounded(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.len() <= MAX_LIST && items.iter().all(bounded),
        Value::Object(fields) => fields.len() <= MAX_LIST && fields.values().all(bounded),
        _ => true,
    }
}

fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| format!("no thread can be started to evaluate it: {error}"))?;
        thread.join().unwrap_or_else(|_| Err("it cannot be evaluated".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expression(source: &str) -> Expression {
        Expression::try_from(source.to_owned()).expect(source)
    }

    #[test]
    fn it_reads_facts() {
        let facts = json!({"alert": {"labels": {"app": "shop"}}, "steps": {"look": {"output": {"free": 3}}}});
        assert_eq!(evaluate(&expression("alert.labels.app"), &facts), Ok(json!("shop")));
        assert_eq!(holds(&expression("steps.look.output.free < 5 && alert.labels.app == 'shop'"), &facts), Ok(true));
        assert!(evaluate(&expression("alert.labels.none"), &facts).is_err());
        assert!(holds(&expression("alert.labels.app"), &facts).unwrap_err().contains("neither"));
    }

    #[test]
    fn paths_are_spelt_out() {
        let paths = paths(&expression("has(steps.look.output) && steps.look.output.free < size(alert.labels.app)"));
        assert!(paths.contains(&vec!["steps".into(), "look".into(), "output".into(), "free".into()]), "{paths:?}");
        assert!(paths.contains(&vec!["alert".into(), "labels".into(), "app".into()]), "{paths:?}");
    }

    #[test]
    fn deep_and_wide_sources_are_refused_or_survived() {
        for source in ["(".repeat(1_000), "1+".repeat(500) + "1", "[".repeat(512) + &"]".repeat(512), "x".repeat(2_000)]
        {
            let _ = check(&source);
        }
        assert!(check("[1].map(a, [1].map(b, [1].map(c, c)))").unwrap_err().contains("nested"));
        assert!(check("1 +").is_err());
    }

    #[test]
    fn a_value_is_never_evaluated_twice() {
        let facts = json!({"alert": {"labels": {"app": "{{ secret }}"}}});
        let template = Template::try_from("app/{{ alert.labels.app }}".to_owned()).unwrap();
        assert_eq!(fill(&template, &facts, str::to_owned), Ok("app/{{ secret }}".to_owned()));
        assert!(Template::try_from("a }} b".to_owned()).is_err());
        assert!(Template::try_from("a {{ b".to_owned()).is_err());
    }
}
