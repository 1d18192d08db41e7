//! The settings' mapping: CEL expressions that say where in a body things are. They were checked when the settings were read;
//! here they are evaluated, within bounds on the work that one body may cause.

use codeops_core::config::MappingSettings;
use codeops_core::expression::{Budget, NoValue, Path, evaluate, paths, value};
use codeops_core::model::{Expression, bounded_annotations, bounded_labels};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::told::{State, Told};
use super::wire::{is_meant, time};
use super::{Malformed, Parsed};

/// How many bytes expressions may be given to read of one body, all together.
const WORK: usize = 64 << 20;
/// How much work all expressions may do over one body, in looks.
const LOOKS: u64 = 100;

/// A mapping, ready.
#[derive(Debug)]
pub struct Mapping {
    items: Option<Expression>,
    id: Option<Expression>,
    labels: Vec<(String, Part)>,
    annotations: Vec<(String, Part)>,
    resolved: Option<Part>,
    starts_at: Option<Part>,
}

/// An expression over one item, what it reads, and whether that is also of the whole body, which costs.
#[derive(Debug)]
struct Part {
    expression: Expression,
    paths: Vec<Path>,
    whole: bool,
}

/// What expressions see.
struct Facts<'b> {
    body: Value,
    item: Value,
    budget: &'b Budget,
}

impl Mapping {
    /// Makes one of the settings.
    ///
    /// # Errors
    /// In one sentence, which expression is none.
    pub fn new(settings: &MappingSettings) -> Result<Self, String> {
        let all = |parts: &std::collections::BTreeMap<String, String>| {
            parts
                .iter()
                .map(|(name, source)| Ok((name.clone(), Part::new(source)?)))
                .collect::<Result<Vec<_>, String>>()
        };
        Ok(Self {
            items: settings.items.as_deref().map(expression).transpose()?,
            id: settings.id.as_deref().map(expression).transpose()?,
            labels: all(&settings.labels)?,
            annotations: all(&settings.annotations)?,
            resolved: settings.resolved.as_deref().map(Part::new).transpose()?,
            starts_at: settings.starts_at.as_deref().map(Part::new).transpose()?,
        })
    }

    /// Reads a body.
    pub(super) fn read(&self, body: &Value) -> Result<Parsed, Malformed> {
        let whole = object([("body", body.clone())]);
        let budget = Budget::of_looks(LOOKS);
        let items = match self.items.as_ref().map(|items| evaluate(items, &whole, &budget)) {
            None => vec![Value::Null],
            Some(Ok(Value::Array(items))) => items,
            Some(_) => return Err(Malformed("the mapping's `items` gives no list of at most 1,000 items here")),
        };
        if self.work(&items, body) > WORK {
            return Err(Malformed("the body is too big for its mapping: use `item` rather than `body` in it"));
        }
        let mut parsed = Parsed::default();
        for item in items {
            let facts = Facts {
                body: object([("body", body.clone()), ("item", item.clone())]),
                item: object([("item", item)]),
                budget: &budget,
            };
            parsed.take(self.tell(&facts));
        }
        let id = self.id.as_ref().and_then(|id| evaluate(id, &whole, &budget).ok());
        parsed.ids.extend(id.as_ref().and_then(text).filter(|id| !id.is_empty()));
        Ok(parsed)
    }

    /// How many bytes all expressions are given, about.
    fn work(&self, items: &[Value], body: &Value) -> usize {
        let parts = || {
            let named = self.labels.iter().chain(&self.annotations).map(|(_, part)| part);
            named.chain(&self.resolved).chain(&self.starts_at)
        };
        let whole = parts().filter(|part| part.whole).count();
        let of_items: usize = items.iter().map(size).sum();
        of_items.saturating_mul(parts().count()).saturating_add(items.len() * (whole + 1) * size(body))
    }

    fn tell(&self, facts: &Facts<'_>) -> Result<Told, &'static str> {
        let mut labels = Vec::new();
        for (name, part) in &self.labels {
            match part.evaluate(facts).map_err(|_| "a label of the mapping has no value in it")? {
                Value::Null => {}
                value => labels.push((name.clone(), text(&value).ok_or("a label of the mapping is no text")?)),
            }
        }
        let prose = |(name, part): &(String, Part)| Some((name.clone(), text(&part.evaluate(facts).ok()?)?));
        let over = self.resolved.as_ref().map(|part| part.evaluate(facts));
        let over = match over.transpose().map_err(|_| "the mapping's `resolved` has no value in it")? {
            None | Some(Value::Null) => false,
            Some(value) => value.as_bool().ok_or("the mapping's `resolved` is neither true nor false for it")?,
        };
        // It need not be there: without, the alert began when it came.
        let starts_at = self.starts_at.as_ref().and_then(|part| moment(&part.evaluate(facts).ok()?));
        Ok(Told {
            labels: bounded_labels(labels)?,
            annotations: bounded_annotations(self.annotations.iter().filter_map(prose)),
            url: None,
            identity: None,
            said_at: None,
            starts_at,
            state: match over {
                true => State::Resolved { ended_at: None },
                false => State::Firing { expires_at: None },
            },
        })
    }
}

impl Part {
    fn new(source: &str) -> Result<Self, String> {
        let expression = expression(source)?;
        let paths = paths(&expression);
        let whole = paths.iter().any(|path| path.first().is_some_and(|root| root == "body"));
        Ok(Self { expression, paths, whole })
    }

    fn facts<'f>(&self, facts: &'f Facts<'_>) -> &'f Value {
        if self.whole { &facts.body } else { &facts.item }
    }

    /// Its value; null where it came to a field that is not there, and it says nothing of that.
    ///
    /// # Errors
    /// When it has no value for another reason, whatever is not there beside.
    fn evaluate(&self, facts: &Facts<'_>) -> Result<Value, String> {
        let facts_of = self.facts(facts);
        value(&self.expression, facts_of, facts.budget).or_else(|why| match why {
            NoValue::Absent(_) if self.lacks(facts_of) => Ok(Value::Null),
            NoValue::Absent(error) | NoValue::Wrong(error) => Err(error),
        })
    }

    /// Whether a field that it reads is not there, or lies within what is none.
    fn lacks(&self, facts: &Value) -> bool {
        let is_there = |path: &Path| path.iter().try_fold(facts, |at, name| at.get(name)).is_some();
        !self.paths.iter().all(is_there)
    }
}

fn expression(source: &str) -> Result<Expression, String> {
    Expression::try_from(source.to_owned()).map_err(|error| error.to_string())
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

/// A value as the text of a label or an id.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// RFC 3339, or seconds since 1970; none where it is neither.
fn moment(value: &Value) -> Option<Timestamp> {
    let seconds = |seconds: f64| Timestamp::from_millisecond((seconds * 1e3) as i64).ok().filter(is_meant);
    match value {
        Value::Number(number) => seconds(number.as_f64()?),
        Value::String(text) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => seconds(number),
            _ => time(text).ok()?,
        },
        _ => None,
    }
}

/// How big a value is, in bytes, about.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => 8 + text.len(),
        Value::Array(items) => 8 + items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => 8 + fields.iter().map(|(name, value)| name.len() + size(value)).sum::<usize>(),
    }
}
