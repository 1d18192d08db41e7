//! Manifests of how alerts are answered, as far as one document tells: their head, their body by kind, and all they name.
//!
//! A body without a mistake is already what is put in force. Whether what it names is there is asked in [`crate::desired::answering::in_force`].

use std::sync::Arc;

use crate::config::TeamSpec;
use crate::model::{
    AlertRouteSpec, Channel, DocumentName, EscalationPolicySpec, Name, OnCallSpec, Owned, Period, Playbook,
    PlaybookTest, ResourceId, SecretName, TeamName,
};

use super::header::ManifestKind;
use super::{people_channels, playbook, playbook_test, routing};
use crate::desired::text::read::{Fields, Reader};
use crate::desired::text::tree::{At, Node};

/// A manifest of how alerts are answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResponseManifest {
    pub team: Option<At<TeamName>>,
    /// What it declares; `None` where something in it is wrong.
    pub declares: Option<Declares>,
    /// What must be there for it, in the order it is written.
    pub names: Vec<At<Refers>>,
}

/// What one manifest declares, complete.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Declares {
    Playbook(Arc<Playbook>),
    Test(Arc<Owned<PlaybookTest>>),
    Route(Arc<Owned<AlertRouteSpec>>),
    Receiver(Arc<Owned<Channel>>),
    Policy(Arc<Owned<EscalationPolicySpec>>),
    OnCall(Arc<Owned<OnCallSpec>>),
    /// Who is called for what a team owns is its Team's word.
    Team(TeamName, Arc<TeamSpec>),
}

impl Declares {
    /// Whose it is.
    pub(crate) fn team(&self) -> &TeamName {
        match self {
            Declares::Playbook(it) => &it.team,
            Declares::Test(it) => &it.team,
            Declares::Route(it) => &it.team,
            Declares::Receiver(it) => &it.team,
            Declares::Policy(it) => &it.team,
            Declares::OnCall(it) => &it.team,
            Declares::Team(team, _) => team,
        }
    }
}

/// Something outside its document that a manifest needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refers {
    /// An escalation policy by name.
    Policy(Name),
    /// A receiver by name.
    Receiver(Name),
    /// A person on call by name.
    OnCall(Name),
    /// A playbook by name: a step that calls it, a route that starts it, a test of it.
    Playbook(Name),
    /// A secret of the settings.
    Secret(SecretName),
    /// A resource that is acted on.
    Target(ResourceId),
    /// A script, from the playbook's folder.
    Script(String),
    /// A manifest that a step changes: its file from the top, and which of the file's documents, where it says.
    Manifest(String, Option<DocumentName>),
    /// A wait for a resolved signal: its own timeout, the time of all steps together where it is one of them, and how long
    /// it must stay quiet.
    Proof { timeout: Option<Period>, within: Option<Period>, quiet: Period },
    /// A step that may take longer by itself than all steps together: what it says, and what they have.
    Longer { time: Period, within: Period },
    /// A step of the playbook tested.
    Step(Name),
    /// An address that its team's requests go to, as a URL or the beginning of one.
    Address(String),
}

/// What is read so far of a body: its fields, and what it names.
pub(crate) struct Body<'r, 's> {
    pub reader: &'r mut Reader<'s>,
    pub names: Vec<At<Refers>>,
}

impl Body<'_, '_> {
    /// Notes that something is named.
    pub(crate) fn refer(&mut self, node: &Node, refers: Refers) {
        self.names.push(At { value: refers, span: node.span });
    }

    /// The name of a secret, noted as one.
    pub(crate) fn secret(&mut self, node: &Node) -> Option<SecretName> {
        let name = self.reader.secret_name(node)?.value;
        self.refer(node, Refers::Secret(name.clone()));
        Some(name)
    }

    /// A name, noted as what it refers to.
    pub(crate) fn name(&mut self, node: &Node, refers: impl Fn(Name) -> Refers) -> Option<Name> {
        let name = self.reader.parse::<Name>(node)?.value;
        self.refer(node, refers(name.clone()));
        Some(name)
    }
}

/// Reads a manifest of one of these kinds. What is wrong is in the reader afterwards.
pub(crate) fn read(kind: ManifestKind, root: &Node, reader: &mut Reader<'_>) -> ResponseManifest {
    let mut manifest = ResponseManifest::default();
    let Some((name, mut fields)) = head(root, &mut manifest, reader) else { return manifest };
    let spec = fields.require(reader, "spec");
    fields.finish(reader, &[]);
    let Some(spec) = spec else { return manifest };
    let place = reader.place(root.entries().and_then(|entries| entries.first()).map_or(root.span, |e| e.key_span));
    let mut body = Body { reader, names: Vec::new() };
    let owner = name.zip(manifest.team.as_ref().map(|team| team.value.clone())).zip(place);
    macro_rules! owned {
        ($variant:ident, $read:expr) => {{
            let spec = $read(spec, &mut body);
            spec.zip(owner).map(|(spec, ((_, team), place))| Declares::$variant(Arc::new(Owned { team, place, spec })))
        }};
    }
    manifest.declares = match kind {
        ManifestKind::Playbook => {
            let draft = playbook::read(spec, &mut body);
            draft.zip(owner).map(|(draft, ((name, team), place))| {
                let folder = place.file.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
                Declares::Playbook(Arc::new(Playbook { name, team, folder, ..draft }))
            })
        }
        ManifestKind::PlaybookTest => owned!(Test, playbook_test::read),
        ManifestKind::AlertRoute => owned!(Route, routing::read),
        ManifestKind::Receiver => owned!(Receiver, people_channels::receiver),
        ManifestKind::EscalationPolicy => owned!(Policy, people_channels::policy),
        ManifestKind::OnCall => owned!(OnCall, people_channels::on_call),
        ManifestKind::Repository | ManifestKind::Team | ManifestKind::App => None,
    };
    manifest.names = body.names;
    if !reader.found.is_empty() {
        manifest.declares = None;
    }
    manifest
}

/// Name and team; all of these kinds have one.
fn head<'n>(
    root: &'n Node,
    manifest: &mut ResponseManifest,
    reader: &mut Reader<'_>,
) -> Option<(Option<Name>, Fields<'n>)> {
    let mut fields = reader.fields(root, "a manifest")?;
    for name in ["apiVersion", "kind"] {
        fields.get(name);
    }
    let mut name = None;
    if let Some(mut metadata) = fields.get("metadata").and_then(|node| reader.fields(node, "metadata")) {
        // Its own mistakes are the head's.
        name = metadata.get("name").and_then(Node::text).and_then(|text| text.parse().ok());
        manifest.team = metadata.require(reader, "team").and_then(|node| reader.parse(node));
        metadata.finish(reader, &[]);
    }
    Some((name, fields))
}
