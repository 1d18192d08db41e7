//! What an expression costs, told before it is evaluated: a bound on the work over these very facts, found by one walk over its
//! tree. The evaluator itself knows no bound, and a short expression can ask for more than a machine does in a year.
//!
//! One unit is about one node visited, or 16 bytes of text. Everything counts for more rather than for less: where a value is
//! not known it is taken to be as big as all it could have been made of.

use std::cell::Cell;

use cel::common::ast::operators::{
    ADD, EQUALS, GREATER, GREATER_EQUALS, IN, INDEX, LESS, LESS_EQUALS, LOGICAL_AND, LOGICAL_NOT, LOGICAL_OR,
    NOT_EQUALS, NOT_STRICTLY_FALSE,
};
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue};
use serde_json::Value;

use super::ast::children;
use super::regular;

/// What all expressions of one look may cost together.
const LOOK: u64 = 100_000;
/// What one costs at least: it is parsed, and what it reads is handed over.
const BASE: u64 = 100;
/// The function that matches a regular expression.
const MATCHES: &str = "matches";

/// How much work expressions may still do. All that is evaluated in one look shares one.
#[derive(Debug)]
pub struct Budget(Cell<u64>);

impl Budget {
    /// For one look: a condition, or everything that one step is filled in with.
    pub fn of_a_look() -> Self {
        Self::of_looks(1)
    }

    /// For as much as so many looks.
    pub fn of_looks(looks: u64) -> Self {
        Self(Cell::new(LOOK.saturating_mul(looks)))
    }

    pub(super) fn left(&self) -> u64 {
        self.0.get()
    }

    pub(super) fn spend(&self, cost: u64) {
        self.0.set(self.0.get().saturating_sub(cost));
    }
}

/// Why an expression is not evaluated.
pub(super) const TOO_MUCH: &str = "it is too much work over what it reads: walk shorter lists, or let a script do it";

/// The most that an expression can cost over these facts.
///
/// # Errors
/// In one sentence, when that is more than `most`, or cannot be told.
pub(super) fn cost(root: &IdedExpr, facts: &Value, most: u64) -> Result<u64, String> {
    let mut walk = Walk { facts, bound: Vec::new(), most };
    let (cost, shape) = walk.of(root)?;
    // Its value is handed back.
    walk.within(cost.saturating_add(shape.weight(most)).saturating_add(BASE))
}

/// How big a value can be.
#[derive(Debug, Clone, Copy)]
enum Shape<'f> {
    /// A fact.
    Exact(&'f Value),
    /// Anything with at most this many units, no list or map in it longer than `widest`.
    Bound { weight: u64, widest: u64 },
}

const SCALAR: Shape<'static> = Shape::Bound { weight: 1, widest: 0 };

impl<'f> Shape<'f> {
    /// Its units; once they are more than `most`, only that they are.
    fn weight(self, most: u64) -> u64 {
        match self {
            Shape::Exact(value) => {
                let mut weight = 0;
                measure(value, most, &mut weight, &mut 0);
                weight
            }
            Shape::Bound { weight, .. } => weight,
        }
    }

    fn widest(self, most: u64) -> u64 {
        match self {
            Shape::Exact(value) => {
                let mut widest = 0;
                measure(value, most, &mut 0, &mut widest);
                widest
            }
            Shape::Bound { widest, .. } => widest,
        }
    }

    /// How often a macro over it goes round.
    fn items(self) -> u64 {
        match self {
            Shape::Exact(Value::Array(items)) => items.len() as u64,
            Shape::Exact(Value::Object(fields)) => fields.len() as u64,
            Shape::Exact(_) => 0,
            Shape::Bound { widest, .. } => widest,
        }
    }

    /// Any of its items.
    fn item(self, most: u64) -> Self {
        match self {
            Shape::Exact(Value::Array(items)) => {
                items.iter().fold(SCALAR, |all, item| all.or(Shape::Exact(item), most))
            }
            // A macro over a map goes over its keys.
            Shape::Exact(Value::Object(fields)) => {
                let longest = fields.keys().map(|key| of_text(key)).max().unwrap_or(1);
                Shape::Bound { weight: longest, widest: 0 }
            }
            Shape::Exact(_) => SCALAR,
            bound @ Shape::Bound { .. } => bound,
        }
    }

    /// One of its fields.
    fn field(self, name: &str) -> Self {
        match self {
            Shape::Exact(value) => value.get(name).map_or(SCALAR, Shape::Exact),
            bound @ Shape::Bound { .. } => bound,
        }
    }

    /// One or the other.
    fn or(self, other: Self, most: u64) -> Self {
        Shape::Bound {
            weight: self.weight(most).max(other.weight(most)),
            widest: self.widest(most).max(other.widest(most)),
        }
    }

    /// Something made of both.
    fn with(self, other: Self, most: u64) -> Self {
        Shape::Bound {
            weight: self.weight(most).saturating_add(other.weight(most)),
            widest: self.widest(most).saturating_add(other.widest(most)),
        }
    }
}

fn of_text(text: &str) -> u64 {
    1 + (text.len() as u64) / 16
}

/// Counts the units of a value and its longest list, as long as they are not more than `most`.
fn measure(value: &Value, most: u64, weight: &mut u64, widest: &mut u64) {
    if *weight > most || *widest > most {
        return;
    }
    *weight = weight.saturating_add(1);
    match value {
        Value::String(text) => *weight = weight.saturating_add(of_text(text)),
        Value::Array(items) => {
            *widest = (*widest).max(items.len() as u64);
            items.iter().for_each(|item| measure(item, most, weight, widest));
        }
        Value::Object(fields) => {
            *widest = (*widest).max(fields.len() as u64);
            for (name, field) in fields {
                *weight = weight.saturating_add(of_text(name));
                measure(field, most, weight, widest);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

struct Walk<'f> {
    facts: &'f Value,
    /// What macros name, the innermost last.
    bound: Vec<(String, Shape<'f>)>,
    most: u64,
}

impl<'f> Walk<'f> {
    fn within(&self, cost: u64) -> Result<u64, String> {
        if cost > self.most { Err(TOO_MUCH.to_owned()) } else { Ok(cost) }
    }

    /// What a node costs, and how big its value can be.
    fn of(&mut self, node: &IdedExpr) -> Result<(u64, Shape<'f>), String> {
        let (cost, shape) = match &node.expr {
            Expr::Unspecified => (1, SCALAR),
            Expr::Literal(literal) => (1, of_literal(literal)),
            Expr::Ident(name) => (1, self.named(name)),
            Expr::Select(select) => {
                let (cost, of) = self.of(&select.operand)?;
                let shape = if select.test { SCALAR } else { of.field(&select.field) };
                // A name of many parts is looked up whole, then without its last part, and so on.
                (cost.saturating_add(depth(node)), shape)
            }
            Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => self.made(node)?,
            Expr::Call(call) => self.call(call)?,
            Expr::Comprehension(macro_call) => self.goes_round(macro_call)?,
        };
        Ok((self.within(cost)?, shape))
    }

    fn named(&self, name: &str) -> Shape<'f> {
        let bound = self.bound.iter().rev().find(|(known, _)| known == name);
        bound.map_or_else(|| Shape::Exact(self.facts).field(name.trim_start_matches('.')), |(_, shape)| *shape)
    }

    /// A list or a map that is written out: copies of its parts.
    fn made(&mut self, node: &IdedExpr) -> Result<(u64, Shape<'f>), String> {
        let parts = children(&node.expr);
        let (mut cost, mut weight, mut widest) = (1_u64, 1_u64, parts.len() as u64);
        for part in parts {
            let (of_part, shape) = self.of(part)?;
            let copied = shape.weight(self.most);
            cost = cost.saturating_add(of_part).saturating_add(copied);
            weight = weight.saturating_add(copied);
            widest = widest.max(shape.widest(self.most));
            self.within(cost)?;
        }
        Ok((cost, Shape::Bound { weight, widest }))
    }

    fn call(&mut self, call: &CallExpr) -> Result<(u64, Shape<'f>), String> {
        let most = self.most;
        let mut cost = 1_u64;
        let mut given = Vec::new();
        for part in call.target.as_deref().into_iter().chain(&call.args) {
            let (of_part, shape) = self.of(part)?;
            cost = self.within(cost.saturating_add(of_part))?;
            given.push(shape);
        }
        let all = |given: &[Shape<'f>]| given.iter().fold(SCALAR, |all, shape| all.with(*shape, most));
        let (own, shape) = match (call.func_name.as_str(), &given[..]) {
            (LOGICAL_AND | LOGICAL_OR | LOGICAL_NOT | NOT_STRICTLY_FALSE, _) => (0, SCALAR),
            // Both are gone through side by side, so the smaller one says for how long.
            (EQUALS | NOT_EQUALS | LESS | LESS_EQUALS | GREATER | GREATER_EQUALS, [one, other]) => {
                let (one, other) = match (one, other) {
                    (bound @ Shape::Bound { .. }, other) | (other, bound) => (bound, other),
                };
                let least = one.weight(most);
                (least.min(other.weight(least)), SCALAR)
            }
            (IN, [item, list]) => (item.weight(most).saturating_add(list.weight(most)), SCALAR),
            (INDEX, [of, _]) => match &call.args[1].expr {
                Expr::Literal(LiteralValue::String(name)) => (0, of.field(name.inner())),
                Expr::Literal(LiteralValue::Int(at)) => (0, at_index(*of, *at.inner())),
                // What cannot be an index is told of with all that it was tried on.
                _ => (of.weight(most), of.item(most)),
            },
            // What is appended to in a macro is not copied.
            (ADD, [accumulated, added]) if accumulates(&call.args[0]) => {
                (added.weight(most), accumulated.with(*added, most))
            }
            (MATCHES, [text, pattern]) => (matching(call, *text, *pattern, most)?, SCALAR),
            // A number becomes a text of up to 400 bytes.
            ("string", _) => (32, Shape::Bound { weight: 32, widest: 0 }.with(all(&given), most)),
            _ => {
                let all = all(&given);
                (all.weight(most), all)
            }
        };
        Ok((cost.saturating_add(own), shape))
    }

    /// A macro that walks a list.
    fn goes_round(&mut self, walk: &ComprehensionExpr) -> Result<(u64, Shape<'f>), String> {
        let most = self.most;
        let (of_range, range) = self.of(&walk.iter_range)?;
        let (of_init, init) = self.of(&walk.accu_init)?;
        let rounds = range.items();
        let depth = self.bound.len();
        let item = range.item(most);
        self.bound.push((walk.iter_var.clone(), item));
        self.bound.extend(walk.iter_var2.clone().map(|name| (name, item)));
        self.bound.push((walk.accu_var.clone(), init));
        let of_round = self.of(&walk.loop_cond).and_then(|(of_cond, _)| {
            let (of_step, after) = self.of(&walk.loop_step)?;
            Ok((of_cond.saturating_add(of_step), after))
        });
        let ended = of_round.and_then(|(of_round, after)| {
            // Each round adds as much as the first.
            let grown = |before: u64, after: u64| {
                before.saturating_add(rounds.saturating_mul(after.saturating_sub(before))).max(after)
            };
            let weight = grown(init.weight(most), after.weight(most));
            let widest = grown(init.widest(most), after.widest(most)).max(rounds);
            if let Some(accumulated) = self.bound.last_mut() {
                accumulated.1 = Shape::Bound { weight, widest };
            }
            let (of_result, result) = self.of(&walk.result)?;
            Ok((of_round, of_result, result))
        });
        self.bound.truncate(depth);
        let (of_round, of_result, result) = ended?;
        let parts = [
            of_range,
            of_init,
            // Each item is copied once.
            range.weight(most),
            rounds.saturating_mul(of_round.saturating_add(2)),
            of_result,
            result.weight(most),
        ];
        Ok((parts.into_iter().fold(0, u64::saturating_add), result))
    }
}

fn of_literal(literal: &LiteralValue) -> Shape<'static> {
    let bytes = match literal {
        LiteralValue::String(text) => text.inner().len(),
        LiteralValue::Bytes(bytes) => bytes.inner().len(),
        _ => 0,
    };
    Shape::Bound { weight: 2 + (bytes as u64) / 16, widest: 0 }
}

fn at_index(of: Shape<'_>, at: i64) -> Shape<'_> {
    match of {
        Shape::Exact(value) => usize::try_from(at).ok().and_then(|at| value.get(at)).map_or(SCALAR, Shape::Exact),
        bound @ Shape::Bound { .. } => bound,
    }
}

/// How many fields deep a name is.
fn depth(mut node: &IdedExpr) -> u64 {
    let mut deep = 0;
    while let Expr::Select(select) = &node.expr {
        deep += 1;
        node = &select.operand;
    }
    deep
}

/// Whether this is what a macro gathers its result in: no source can spell its name.
fn accumulates(node: &IdedExpr) -> bool {
    matches!(&node.expr, Expr::Ident(name) if name.starts_with('@'))
}

/// What a match costs: the expression is made anew each time. So it must be known how big it becomes.
fn matching(call: &CallExpr, text: Shape<'_>, pattern: Shape<'_>, most: u64) -> Result<u64, String> {
    let written = call.args.last().map(|pattern| &pattern.expr);
    let Some(Expr::Literal(LiteralValue::String(source))) = written else {
        return Err("the regular expression of `matches` must be written out".to_owned());
    };
    let steps = text.weight(most).saturating_mul(pattern.weight(most)).saturating_mul(16);
    Ok(regular::cost(source.inner())?.saturating_add(steps))
}
