//! Where the `if` of a playbook's step stands. Asked for only where one had no value: a playbook keeps no places.

use std::sync::Arc;

use crate::model::{Environment, Name, Part, Place};

use super::tree::{Node, Value};
use super::yaml::documents;
use crate::desired::Files;
use crate::desired::files::file::{Class, OVERLAYS, class};

/// The place of a step's `if`, counted from 0; that of the overlay of this environment where the steps are written there.
pub fn condition_at(
    files: &Files,
    environment: Option<&Environment>,
    playbook: &Name,
    part: Part,
    index: usize,
) -> Option<Place> {
    let list = match part {
        Part::Steps => "steps",
        Part::Otherwise => "otherwise",
    };
    let counts = |path: &str| match class(path) {
        Class::Manifest => true,
        Class::Overlay(of) => of.as_ref().is_some_and(|of| Some(of) == environment),
        Class::Ignored | Class::Script | Class::Stray => false,
    };
    let found = files.iter().filter(|(path, _)| counts(path)).flat_map(|(path, file)| {
        let roots = std::str::from_utf8(&file.bytes).map(documents).unwrap_or_default().into_iter();
        let of_it = roots.filter_map(|document| document.root).filter(|root| is(root, playbook));
        of_it.filter_map(move |root| {
            let Value::List(steps) = &root.get("spec")?.get(list)?.value else { return None };
            let span = steps.get(index)?.get("if")?.span;
            Some(Place { file: Arc::clone(path), line: span.line, column: span.column })
        })
    });
    // What is written twice is meant as the overlay has it.
    found.max_by_key(|place| place.file.starts_with(OVERLAYS))
}

fn is(root: &Node, playbook: &Name) -> bool {
    let named = root.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::text);
    root.get("kind").and_then(Node::text) == Some("Playbook") && named == Some(playbook.as_str())
}
