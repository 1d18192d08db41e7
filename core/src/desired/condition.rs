//! Where the `if` of a playbook's step stands. Asked for only where one had no value: a playbook keeps no places.

use crate::model::{Name, Part, Place};

use super::Files;
use super::tree::{Node, Value};
use super::yaml::documents;

/// The place of a step's `if`, counted from 0; that of an overlay where that is where the steps are written.
pub fn condition_at(files: &Files, playbook: &Name, part: Part, index: usize) -> Option<Place> {
    let list = match part {
        Part::Steps => "steps",
        Part::Otherwise => "otherwise",
    };
    let found = files.iter().flat_map(|(path, file)| {
        let roots = std::str::from_utf8(&file.bytes).map(documents).unwrap_or_default().into_iter();
        let of_it = roots.filter_map(|document| document.root).filter(|root| is(root, playbook));
        of_it.filter_map(move |root| {
            let Value::List(steps) = &root.get("spec")?.get(list)?.value else { return None };
            let span = steps.get(index)?.get("if")?.span;
            Some(Place { file: path.to_string(), line: span.line, column: span.column })
        })
    });
    // In the order of the paths, overlays are after all but few: what is written twice is meant as the overlay has it.
    found.max_by_key(|place| place.file.starts_with("environments/"))
}

fn is(root: &Node, playbook: &Name) -> bool {
    let named = root.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::text);
    root.get("kind").and_then(Node::text) == Some("Playbook") && named == Some(playbook.as_str())
}
