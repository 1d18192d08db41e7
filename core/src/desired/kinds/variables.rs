//! Checks `$NAME` in commands and environment values: each must be declared, and no secret may reach an argument, where
//! everybody on the machine could read it.

use std::collections::BTreeSet;

use crate::model::{BUILT_IN, ExpandError, GIVEN, variables};

use super::app::AppManifest;
use crate::desired::text::read::{Reader, list};
use crate::desired::text::tree::{Node, cut};

/// Checks the whole `spec` of an app whose environment was read already.
pub(crate) fn check(spec: &Node, app: &AppManifest, reader: &mut Reader<'_>) {
    // Once for each, however often it is named.
    let names_others =
        |value: &str| variables(value).is_ok_and(|names| names.iter().any(|name| app.env.contains_key(*name)));
    let deep = app.env.iter().filter(|(_, value)| names_others(&value.value)).map(|(name, _)| name.as_str()).collect();
    let commands = [
        spec.get("run").and_then(|node| node.get("command")),
        spec.get("release").and_then(|node| node.get("command")),
        spec.get("health").and_then(|node| node.get("command")),
    ];
    for command in commands.into_iter().flatten() {
        if let crate::desired::text::tree::Value::List(items) = &command.value {
            for item in items {
                text(item, (app, &deep), reader, Where::Argument);
            }
        }
    }
    for entry in spec.get("env").and_then(Node::entries).unwrap_or_default() {
        text(&entry.value, (app, &deep), reader, Where::Value);
    }
}

/// The kernel gives a program no variable of more bytes, its name, the `=` and the end counted.
const VARIABLE: usize = 128 << 10;
/// All variables together, as JSON: a request to a keeper has them twice and at most 1 MiB.
const VARIABLES: usize = 256 << 10;

/// Checks that the `env` of an app is not too large to be given to it.
pub(crate) fn fit(env: &Node, reader: &mut Reader<'_>) {
    let mut all = 0_usize;
    for entry in env.entries().unwrap_or_default() {
        let Some(text) = entry.value.text() else { continue };
        let help = || Some("let the program read what is large from a file".to_owned());
        let bytes = entry.key.len() + text.len() + 2;
        if bytes > VARIABLE {
            let message = format!("the variable `{}` has {bytes} bytes, and 128 KiB is the most", cut(&entry.key, 60));
            reader.error(entry.value.span, message, help());
        }
        let before = all;
        all = all.saturating_add(entry.key.len() + escaped(text) + "\"\":\"\",".len());
        if before <= VARIABLES && all > VARIABLES {
            let message = "`env` has more than 256 KiB of names and values together, written as JSON";
            reader.error(entry.key_span, message, help());
        }
    }
}

/// How long a text is in JSON.
fn escaped(text: &str) -> usize {
    text.bytes().fold(0, |all, byte| {
        all + match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
            0..=31 => 6,
            _ => 1,
        }
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Argument,
    Value,
}

/// An app, and those of its variables that name others of them.
type Known<'a> = (&'a AppManifest, &'a BTreeSet<&'a str>);

fn text(node: &Node, known: Known<'_>, reader: &mut Reader<'_>, place: Where) {
    let Some(text) = node.text() else { return };
    match variables(text) {
        Err(error) => reader.error(node.span, error.to_string(), None),
        Ok(names) => {
            for name in names {
                if reader.full() {
                    return;
                }
                variable(name, node, known, reader, place);
            }
        }
    }
}

fn variable(name: &str, node: &Node, (app, deep): Known<'_>, reader: &mut Reader<'_>, place: Where) {
    if app.secrets.contains_key(name) {
        let (message, help) = match place {
            Where::Argument => (
                format!("the secret `{name}` would be seen in the process list"),
                "let the program read it from its environment; a dollar sign itself is written $$",
            ),
            Where::Value => (
                format!("the secret `{name}` cannot be part of another variable"),
                "let the program put the two together; a dollar sign itself is written $$",
            ),
        };
        reader.error(node.span, message, Some(help.to_owned()));
    } else if matches!(name, "PORT" | "HOST") {
        if !app.listens {
            let help = "give it one; a dollar sign itself is written $$".to_owned();
            reader.error(node.span, format!("`${name}` needs the app to have a `port`"), Some(help));
        }
    } else if app.env.contains_key(name) {
        if place == Where::Value && deep.contains(name) {
            let message = format!("`{name}` names other variables itself; only one step is followed");
            reader.error(node.span, message, Some("write its value out".to_owned()));
        }
    } else if !BUILT_IN.contains(&name) && !GIVEN.contains(&name) {
        let given = BUILT_IN.into_iter().filter(|name| app.listens || !matches!(*name, "PORT" | "HOST"));
        let given = given.chain(GIVEN).filter(|name| !app.env.contains_key(*name));
        let known = app.env.keys().map(String::as_str).chain(given);
        let help = match reader.near(name, known.clone()) {
            Some(near) => format!("did you mean `${near}`? A dollar sign itself is written $$"),
            None => {
                format!("the app has {}; a dollar sign itself is written $$", list(&known.take(12).collect::<Vec<_>>()))
            }
        };
        reader.error(node.span, ExpandError::Unknown(name.to_owned()).to_string(), Some(help));
    }
}
