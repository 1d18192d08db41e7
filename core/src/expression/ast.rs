//! The tree of an expression: what it reads, and how deep it walks.

use cel::common::ast::operators::INDEX;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

/// How deep macros that walk a list are nested.
pub(super) fn walks(node: &IdedExpr) -> usize {
    let here = usize::from(matches!(node.expr, Expr::Comprehension(_)));
    here + children(&node.expr).into_iter().map(walks).max().unwrap_or(0)
}

/// The paths that an expression reads, as far as they are spelt out.
pub(super) fn read(node: &IdedExpr, tail: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
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
        // `steps['name']` is `steps.name`.
        Expr::Call(CallExpr { func_name, target: None, args }) if func_name == INDEX => {
            if let [of, IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }] = &args[..] {
                tail.push(name.inner().to_owned());
                read(of, tail, found);
                tail.pop();
            } else {
                args.iter().for_each(|child| read(child, &mut Vec::new(), found));
            }
        }
        Expr::Comprehension(walk) => {
            read(&walk.iter_range, &mut Vec::new(), found);
            read(&walk.accu_init, &mut Vec::new(), found);
            let before = found.len();
            for child in [&walk.loop_cond, &walk.loop_step, &walk.result] {
                read(child, &mut Vec::new(), found);
            }
            // What the macro itself names is not read from outside.
            let own = [Some(&walk.iter_var), walk.iter_var2.as_ref(), Some(&walk.accu_var)];
            let inner = found.split_off(before);
            found.extend(inner.into_iter().filter(|path| !own.contains(&path.first())));
        }
        other => {
            for child in children(other) {
                read(child, &mut Vec::new(), found);
            }
        }
    }
}

/// What a node is made of.
pub(super) fn children(expr: &Expr) -> Vec<&IdedExpr> {
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
