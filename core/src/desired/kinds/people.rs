//! `kind: Repository` and `kind: Team` as they are written.

use jiff::Timestamp;

use crate::config::{BlastRadius, Freeze, FreezeWhat, RepositoryDefaults, RepositorySpec, TeamSpec};

use super::app_parts::at_most;
use super::playbook::LONGEST;
use crate::desired::text::read::Reader;
use crate::desired::text::tree::{Node, Span, cut};

/// Reads a Repository; what is wrong is left at its default, but a broken freeze freezes everything: it was meant to.
pub(crate) fn repository(root: &Node, reader: &mut Reader<'_>) -> RepositorySpec {
    let mut spec = RepositorySpec::default();
    let Some(mut fields) = head(root, "kind Repository", reader) else { return spec };
    if let Some(mut inner) = fields.get("spec").and_then(|node| reader.fields(node, "spec of a Repository")) {
        if let Some(mut defaults) = inner.get("defaults").and_then(|node| reader.fields(node, "defaults")) {
            let provider = defaults.get("provider").and_then(|node| reader.parse(node)).map(|at| at.value);
            spec.defaults = RepositoryDefaults { provider };
            defaults.finish(reader, &[]);
        }
        spec.resolve_delay = inner.get("resolveDelay").and_then(|node| at_most(node, LONGEST, reader));
        if let Some(mut radius) = inner.get("blastRadius").and_then(|node| reader.fields(node, "blastRadius")) {
            let percent = radius.require(reader, "percent").and_then(|node| reader.number(node, 0, 100));
            // A broken limit is the strictest one.
            spec.blast_radius = BlastRadius { percent: percent.and_then(|n| u8::try_from(n).ok()).unwrap_or(0) };
            radius.finish(reader, &[]);
        }
        spec.freeze = inner.get("freeze").map(|node| {
            freeze(node, reader).unwrap_or_else(|| Freeze {
                what: FreezeWhat::All,
                reason: "the freeze in the Repository manifest cannot be read".to_owned(),
                until: None,
            })
        });
        inner.finish(reader, &[]);
    }
    fields.finish(reader, &[]);
    spec
}

/// A freeze, from a manifest or from the settings.
pub(crate) fn freeze(node: &Node, reader: &mut Reader<'_>) -> Option<Freeze> {
    let mut fields = reader.fields(node, "freeze")?;
    let words = [("all", FreezeWhat::All), ("playbooks", FreezeWhat::Playbooks)];
    let what = fields.require(reader, "what").and_then(|node| reader.word(node, &words));
    let reason = fields.require(reader, "reason").and_then(|node| reader.text(node));
    let until = fields.get("until").map(|node| timestamp(node, reader));
    fields.finish(reader, &[]);
    Some(Freeze {
        what: what?,
        reason: reason?.value,
        until: match until {
            Some(until) => Some(until?),
            None => None,
        },
    })
}

/// An instant.
pub(crate) fn timestamp(node: &Node, reader: &mut Reader<'_>) -> Option<Timestamp> {
    let text = reader.text(node)?;
    let parsed = text.value.parse().ok();
    if parsed.is_none() {
        let help = "RFC 3339 with a zone, such as 2026-11-21T08:00:00Z".to_owned();
        reader.error(node.span, format!("`{}` is not a time", cut(&text.value, 60)), Some(help));
    }
    parsed
}

/// Reads a Team; and where it names its escalation policy.
pub(crate) fn team(root: &Node, reader: &mut Reader<'_>) -> (TeamSpec, Option<Span>) {
    let mut spec = TeamSpec::default();
    let mut place = None;
    let Some(mut fields) = head(root, "kind Team", reader) else { return (spec, place) };
    if let Some(mut inner) = fields.get("spec").and_then(|node| reader.fields(node, "spec of a Team")) {
        if let Some(members) = inner.get("members") {
            let items = reader.items(members, "addresses");
            spec.members = items.iter().filter_map(|item| reader.text(item)).map(|at| at.value).collect();
        }
        let escalation = inner.get("escalation").and_then(|node| reader.parse(node));
        place = escalation.as_ref().map(|at| at.span);
        spec.escalation = escalation.map(|at| at.value);
        inner.finish(reader, &[]);
    }
    fields.finish(reader, &[]);
    (spec, place)
}

/// The fields of a manifest whose metadata holds nothing but its name.
fn head<'n>(
    root: &'n Node,
    what: &'static str,
    reader: &mut Reader<'_>,
) -> Option<crate::desired::text::read::Fields<'n>> {
    let mut fields = reader.fields(root, what)?;
    for name in ["apiVersion", "kind"] {
        fields.get(name);
    }
    if let Some(mut metadata) = fields.get("metadata").and_then(|node| reader.fields(node, "metadata")) {
        metadata.get("name");
        metadata.finish(reader, &[]);
    }
    Some(fields)
}
