//! CEL expressions (floor F0): checked when a manifest is read, evaluated over plain JSON. No loops but over lists that are
//! there, no state, no I/O.
//!
//! The library's parser and evaluator recurse, so both run on a thread with a large stack, over a source that is bounded. What an
//! expression may cost is told before it is evaluated ([`Budget`]): one that asks for more has no value.
//! Source of the language: the Common Expression Language specification.

mod ast;
mod cost;
mod regular;
#[cfg(test)]
mod tests;
mod weight;

use std::fmt;
use std::sync::Arc;

use cel::{Context, ExecutionError, Program};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use self::cost::Budget;
pub use self::weight::{weight, weight_of_pattern, weight_of_template};

/// The longest expression, in bytes.
pub const MAX_SOURCE: usize = 1_024;
/// The longest list that is evaluated over, and the deepest nesting of macros that walk one.
const MAX_LIST: usize = 1_000;
const MAX_WALKS: usize = 2;
const STACK: usize = 16 << 20;

/// A text with `{{ EXPRESSION }}` in it. Each is one CEL value, never evaluated twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Template {
    /// As written.
    pub source: Arc<str>,
    /// Its parts in order.
    pub parts: Vec<TemplatePart>,
}

/// A variable and the fields below it that an expression reads.
pub type Path = Vec<String>;

/// One part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePart {
    /// As written.
    Text(String),
    /// A value.
    Value(Expression),
}

/// A CEL expression that has been parsed once and found well; at most 1 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Expression(Arc<str>);

impl Expression {
    /// As written.
    pub fn source(&self) -> &str {
        &self.0
    }
}

impl Expression {
    /// Reads one; with the paths that it reads, as [`paths`] gives them, for parsing it is the work.
    ///
    /// # Errors
    /// As [`check`].
    pub fn read(text: String) -> Result<(Self, Vec<Path>), String> {
        let paths = parsed(&text, |program| {
            within_bounds(program)?;
            Ok(paths_of(program))
        })?;
        Ok((Self(text.into()), paths))
    }
}

impl Template {
    /// Reads one; with the paths that its expressions read.
    ///
    /// # Errors
    /// In one sentence, what is wrong with it.
    pub fn read(text: String) -> Result<(Self, Vec<Path>), String> {
        let mut all = Vec::new();
        let template = parts(text, |inside| {
            let (expression, mut paths) = Expression::read(inside)?;
            all.append(&mut paths);
            Ok(expression)
        })?;
        Ok((template, all))
    }
}

impl TryFrom<String> for Expression {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::read(text).map(|(expression, _)| expression)
    }
}

/// What was written down once is read back, also where an expression like it is refused by now: it then has no value.
impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        stored(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parts(String::deserialize(deserializer)?, stored).map_err(D::Error::custom)
    }
}

fn stored(text: String) -> Result<Expression, String> {
    syntax(&text)?;
    Ok(Expression(text.into()))
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
        Self::read(text).map(|(template, _)| template)
    }
}

fn parts(text: String, mut expression: impl FnMut(String) -> Result<Expression, String>) -> Result<Template, String> {
    let mut parts = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, tail) = after.split_once("}}").ok_or("`{{` has no `}}`")?;
        if !before.is_empty() {
            parts.push(TemplatePart::Text(before.to_owned()));
        }
        parts.push(TemplatePart::Value(expression(inside.trim().to_owned())?));
        rest = tail;
    }
    if rest.contains("}}") {
        return Err("`}}` has no `{{`".to_owned());
    }
    if !rest.is_empty() {
        parts.push(TemplatePart::Text(rest.to_owned()));
    }
    Ok(Template { source: text.into(), parts })
}

/// Checks that a text is an expression that can be evaluated within bounds.
///
/// # Errors
/// In one sentence, what is wrong with it.
pub fn check(source: &str) -> Result<(), String> {
    parsed(source, within_bounds)
}

fn within_bounds(program: &Program) -> Result<(), String> {
    // Over nothing at all: what is too much then is too much over any facts.
    cost::cost(program.expression(), &Value::Null, Budget::of_a_look().left()).map(|_| ())
}

/// Checks that a text is an expression at all.
fn syntax(source: &str) -> Result<(), String> {
    parsed(source, |_| Ok(()))
}

fn parsed<T: Send>(source: &str, more: impl FnOnce(&Program) -> Result<T, String> + Send) -> Result<T, String> {
    if source.len() > MAX_SOURCE {
        return Err(format!("an expression has at most {MAX_SOURCE} bytes"));
    }
    on_large_stack(|| {
        let program = compile(source)?;
        if ast::walks(program.expression()) > MAX_WALKS {
            return Err(format!("macros that walk a list are nested at most {MAX_WALKS} deep"));
        }
        more(&program)
    })
}

/// The paths that an expression reads, such as `["alert", "labels", "app"]`, as far as they are spelt out.
pub fn paths(expression: &Expression) -> Vec<Path> {
    on_large_stack(|| Ok(paths_of(&compile(expression.source())?))).unwrap_or_default()
}

fn paths_of(program: &Program) -> Vec<Path> {
    let mut found = Vec::new();
    ast::read(program.expression(), &mut Vec::new(), &mut found);
    found
}

/// The value of an expression over the fields of `facts`, an object. What it costs is taken from the budget first.
///
/// # Errors
/// In one sentence, why it has none.
pub fn evaluate(expression: &Expression, facts: &Value, budget: &Budget) -> Result<Value, String> {
    value(expression, facts, budget).map_err(|why| match why {
        NoValue::Absent(error) | NoValue::Wrong(error) => error,
    })
}

/// Why an expression has no value, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoValue {
    /// It came to a field that is not there, or that lies within null.
    Absent(String),
    /// Anything else: a value of another type than it takes, or more work than it may do.
    Wrong(String),
}

/// The same as [`evaluate`].
///
/// # Errors
/// Why it has none.
pub fn value(expression: &Expression, facts: &Value, budget: &Budget) -> Result<Value, NoValue> {
    let left = budget.left();
    let evaluated = on_large_stack(|| {
        let program = compile(expression.source())?;
        let facts = only(facts, &paths_of(&program));
        if !bounded(&facts) {
            return Err(format!("a list with more than {MAX_LIST} items is not evaluated over"));
        }
        let cost = cost::cost(program.expression(), &facts, left)?;
        let mut context = Context::default();
        for (name, value) in facts.as_object().into_iter().flatten() {
            let value = cel::to_value(value).map_err(|error| error.to_string())?;
            context.add_variable_from_value(name.clone(), value);
        }
        Ok((cost, executed(&program, &context)))
    });
    let value = evaluated.map_err(NoValue::Wrong).and_then(|(cost, value)| {
        budget.spend(cost);
        value
    });
    let said = |error: String| format!("`{}`: {error}", expression.source());
    value.map_err(|why| match why {
        NoValue::Absent(error) => NoValue::Absent(said(error)),
        NoValue::Wrong(error) => NoValue::Wrong(said(error)),
    })
}

/// Whether an expression is true; it is a look of its own.
///
/// # Errors
/// As [`evaluate`]; and when it is neither true nor false.
pub fn holds(expression: &Expression, facts: &Value) -> Result<bool, String> {
    is_true(expression, facts, &Budget::of_a_look())
}

/// Whether an expression is true.
///
/// # Errors
/// As [`evaluate`]; and when it is neither true nor false.
pub fn is_true(expression: &Expression, facts: &Value, budget: &Budget) -> Result<bool, String> {
    match evaluate(expression, facts, budget)? {
        Value::Bool(truth) => Ok(truth),
        other => Err(format!("`{}` is {other}, neither true nor false", expression.source())),
    }
}

/// A template filled in; `escape` is applied to each value, never to what is written. A text stands for itself, other values
/// as JSON.
///
/// # Errors
/// As [`evaluate`].
pub fn fill(
    template: &Template,
    facts: &Value,
    budget: &Budget,
    escape: impl Fn(&str) -> String,
) -> Result<String, String> {
    let mut text = String::new();
    for part in &template.parts {
        match part {
            TemplatePart::Text(written) => text.push_str(written),
            TemplatePart::Value(expression) => match evaluate(expression, facts, budget)? {
                Value::String(value) => text.push_str(&escape(&value)),
                value => text.push_str(&escape(&value.to_string())),
            },
        }
    }
    Ok(text)
}

fn executed(program: &Program, context: &Context<'_, '_>) -> Result<Value, NoValue> {
    let value = program.execute(context).map_err(|error| match is_absent(&error) {
        true => NoValue::Absent(error.to_string()),
        false => NoValue::Wrong(error.to_string()),
    })?;
    value.json().map_err(|_| NoValue::Wrong("it has no value that can be shown".to_owned()))
}

/// Whether it is a field that is not there, or the field of a null.
fn is_absent(error: &ExecutionError) -> bool {
    let of_null = |types: &[String]| types.first().is_some_and(|operand| operand.starts_with("null"));
    match error {
        ExecutionError::NoSuchKey(_) => true,
        ExecutionError::NoSuchOverload(error) => error.function() == "_._" && of_null(error.argument_types()),
        _ => false,
    }
}

/// The part of the facts that these paths lead to: no more than that is handed over and counted.
fn only(facts: &Value, paths: &[Path]) -> Value {
    let Some(fields) = facts.as_object() else { return Value::Null };
    let mut part = Map::new();
    for (name, field) in fields {
        let mut below = Vec::new();
        for path in paths {
            if let Some((first, rest)) = path.split_first()
                && first.trim_start_matches('.') == name
            {
                below.push(rest.to_vec());
            }
        }
        if below.is_empty() {
            continue;
        }
        let whole = !field.is_object() || below.iter().any(Vec::is_empty);
        part.insert(name.clone(), if whole { field.clone() } else { only(field, &below) });
    }
    Value::Object(part)
}

fn compile(source: &str) -> Result<Program, String> {
    Program::compile(source).map_err(|errors| {
        let text = errors.to_string();
        text.lines().next().unwrap_or("it is not CEL").to_owned()
    })
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
