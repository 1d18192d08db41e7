//! Overlays: `spec` of a manifest below `environments/` is an RFC 7396 merge patch on the manifest of the same kind and name.

use std::collections::{BTreeSet, HashMap};

use crate::model::Name;

use crate::desired::text::diagnostic::Diagnostic;
use crate::desired::text::read::Reader;
use crate::desired::text::tree::{Entry, Node, Source, Value};

/// Checks what an overlay may hold beside its head: a team and a spec.
pub(crate) fn check(source: &Source, tree: &Node) -> Vec<Diagnostic> {
    let mut reader = Reader::new(vec![source]);
    if let Some(mut fields) = reader.fields(tree, "an overlay") {
        for name in ["apiVersion", "kind"] {
            fields.get(name);
        }
        if let Some(mut metadata) =
            fields.get("metadata").and_then(|node| reader.fields(node, "metadata of an overlay"))
        {
            metadata.get("name");
            metadata.get("team").and_then(|node| reader.parse::<Name>(node));
            metadata.finish(&mut reader, &[]);
        }
        if let Some(spec) = fields.require(&mut reader, "spec") {
            reader.fields(spec, "spec");
        }
        fields.finish(&mut reader, &[]);
    }
    reader.found
}

/// The base with the overlay's `spec` merged in; nodes of the overlay are in layer 1.
pub(crate) fn merge(base: &Node, overlay: &Node) -> Node {
    let mut merged = base.clone();
    let Some(patch) = overlay.get("spec") else { return merged };
    if let Value::Map(entries) = &mut merged.value {
        match entries.iter_mut().find(|entry| &*entry.key == "spec") {
            Some(spec) => apply(&mut spec.value, patch),
            None => entries.extend(
                overlay.entries().unwrap_or_default().iter().filter(|entry| &*entry.key == "spec").map(lifted_entry),
            ),
        }
    }
    merged
}

/// RFC 7396. Both trees are at most [`crate::desired::text::yaml::MAX_DEPTH`] deep.
fn apply(target: &mut Node, patch: &Node) {
    let Value::Map(patches) = &patch.value else {
        *target = lifted(patch);
        return;
    };
    if !matches!(target.value, Value::Map(_)) {
        *target = Node { span: lifted(patch).span, value: Value::Map(Vec::new()) };
    }
    let Value::Map(entries) = &mut target.value else { return };
    // Both may have a hundred thousand keys.
    let mut places: HashMap<_, usize> = entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect();
    let mut gone = BTreeSet::new();
    for patch in patches {
        let at = places.get(&patch.key).copied().filter(|at| !gone.contains(at));
        match (&patch.value.value, at) {
            (Value::Null, Some(at)) => drop(gone.insert(at)),
            (Value::Null, None) => {}
            (_, Some(at)) => apply(&mut entries[at].value, &patch.value),
            (Value::Map(_), None) => {
                let empty = Node { span: patch.value.span, value: Value::Map(Vec::new()) };
                let mut entry = lifted_entry(&Entry { value: empty, key: patch.key.clone(), key_span: patch.key_span });
                apply(&mut entry.value, &patch.value);
                places.insert(patch.key.clone(), entries.len());
                entries.push(entry);
            }
            (_, None) => {
                places.insert(patch.key.clone(), entries.len());
                entries.push(lifted_entry(patch));
            }
        }
    }
    let mut at = 0..;
    entries.retain(|_| at.next().is_none_or(|at| !gone.contains(&at)));
}

/// A copy whose places are the overlay's.
fn lifted(node: &Node) -> Node {
    let value = match &node.value {
        Value::Null => Value::Null,
        Value::Scalar { text, plain } => Value::Scalar { text: text.clone(), plain: *plain },
        Value::List(items) => Value::List(items.iter().map(lifted).collect()),
        Value::Map(entries) => Value::Map(entries.iter().map(lifted_entry).collect()),
    };
    Node { span: crate::desired::text::tree::Span { layer: 1, ..node.span }, value }
}

fn lifted_entry(entry: &Entry) -> Entry {
    Entry {
        key: entry.key.clone(),
        key_span: crate::desired::text::tree::Span { layer: 1, ..entry.key_span },
        value: lifted(&entry.value),
    }
}
