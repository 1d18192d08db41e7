//! The head of every manifest: `apiVersion`, `kind` and `metadata.name`, read first so that the rest is read by kind and
//! a broken manifest still says which resource it is about.

use crate::model::{Name, ResourceId};

use crate::desired::text::read::{Fields, Reader, list, near};
use crate::desired::text::tree::{At, Node, cut};

/// The one version of the manifest language.
pub(crate) const API_VERSION: &str = "codeops/v1";

/// The kinds of manifest that are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ManifestKind {
    Repository,
    Team,
    App,
    Playbook,
    PlaybookTest,
    AlertRoute,
    Receiver,
    EscalationPolicy,
    OnCall,
}

/// Kinds that the language has and this version has not.
const NOT_BUILT: [&str; 1] = ["Service"];

impl ManifestKind {
    pub(crate) const ALL: [ManifestKind; 9] = [
        ManifestKind::Repository,
        ManifestKind::Team,
        ManifestKind::App,
        ManifestKind::Playbook,
        ManifestKind::PlaybookTest,
        ManifestKind::AlertRoute,
        ManifestKind::Receiver,
        ManifestKind::EscalationPolicy,
        ManifestKind::OnCall,
    ];

    /// The word after `kind:`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            ManifestKind::Repository => "Repository",
            ManifestKind::Team => "Team",
            ManifestKind::App => "App",
            ManifestKind::Playbook => "Playbook",
            ManifestKind::PlaybookTest => "PlaybookTest",
            ManifestKind::AlertRoute => "AlertRoute",
            ManifestKind::Receiver => "Receiver",
            ManifestKind::EscalationPolicy => "EscalationPolicy",
            ManifestKind::OnCall => "OnCall",
        }
    }

    /// The id of the resource a manifest of this kind declares, if it declares one.
    pub(crate) fn resource(self, name: &Name) -> Option<ResourceId> {
        (self == ManifestKind::App).then(|| ResourceId::app(name.clone()))
    }
}

/// What a manifest is about.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub kind: ManifestKind,
    pub name: At<Name>,
}

/// The outcome of looking at a document's head.
pub(crate) enum Head {
    /// Kind and name are known. `good` is false when something else in the head is wrong.
    Known { header: Header, good: bool },
    /// The kind is known and the name is not. The rest can still be read for its mistakes.
    Nameless { kind: ManifestKind },
    /// A kind that the language has and this version has not.
    NotBuilt,
    /// What it is about cannot be known.
    Unknown,
}

/// Reads the head and reports what is wrong with it.
pub(crate) fn head(root: &Node, reader: &mut Reader<'_>) -> Head {
    let Some(mut fields) = reader.fields(root, "a manifest") else { return Head::Unknown };
    if let Some(entry) = root.entries().and_then(|entries| entries.iter().find(|entry| &*entry.key == "sops")) {
        let help = "name a secret that the daemon's settings grant instead".to_owned();
        reader.error(entry.key_span, "encrypted files are not built in this version", Some(help));
        return known(root, &mut Reader::new(Vec::new()), false).unwrap_or(Head::Unknown);
    }
    let before = reader.found.len();
    version(&mut fields, reader);
    let good = reader.found.len() == before;
    known(root, reader, good).unwrap_or(Head::Unknown)
}

fn version(fields: &mut Fields<'_>, reader: &mut Reader<'_>) {
    let Some(node) = fields.get("apiVersion") else {
        let help = format!(
            "every .yaml and .yml file is a manifest and begins with `apiVersion: {API_VERSION}`; keep others in a hidden folder or under another extension"
        );
        reader.error(fields.span, "a manifest needs `apiVersion`", Some(help));
        return;
    };
    if let Some(text) = reader.text(node).filter(|text| text.value != API_VERSION) {
        let message = format!("unknown apiVersion `{}`", cut(&text.value, 40));
        reader.error(text.span, message, Some(format!("this version reads `{API_VERSION}`")));
    }
}

/// Kind and name, or what stands in their way.
fn known(root: &Node, reader: &mut Reader<'_>, good: bool) -> Option<Head> {
    let mut fields = reader.fields(root, "a manifest")?;
    let kind = fields.require(reader, "kind").and_then(|node| kind(node, reader));
    let name = fields.require(reader, "metadata").and_then(|node| {
        let mut metadata = reader.fields(node, "metadata")?;
        metadata.require(reader, "name").and_then(|node| reader.parse::<Name>(node))
    });
    match kind? {
        None => Some(Head::NotBuilt),
        Some(kind) => Some(match name {
            Some(name) => Head::Known { header: Header { kind, name }, good },
            None => Head::Nameless { kind },
        }),
    }
}

/// The kind; `Some(None)` for one that is not built.
fn kind(node: &Node, reader: &mut Reader<'_>) -> Option<Option<ManifestKind>> {
    let text = reader.text(node)?;
    if let Some(kind) = ManifestKind::ALL.into_iter().find(|kind| kind.word() == text.value) {
        return Some(Some(kind));
    }
    if NOT_BUILT.contains(&text.value.as_str()) {
        reader.error(node.span, format!("kind {} is not built in this version", text.value), None);
        return Some(None);
    }
    let words = ManifestKind::ALL.into_iter().map(ManifestKind::word).chain(NOT_BUILT);
    let help = match near(&text.value, words) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the kinds are {}", list(&ManifestKind::ALL.map(ManifestKind::word))),
    };
    reader.error(node.span, format!("unknown kind `{}`", cut(&text.value, 40)), Some(help));
    None
}
