//! Resources as JSON: the short form of all of them, the whole of one.

use codeops_core::model::{Digest, Health, ProviderName, ResourceId, Revision, Sync, TeamName};
use codeops_core::plan::Difference;
use jiff::Timestamp;
use serde::Serialize;

use crate::port::{Board, ResourceView};
use crate::web::response::{AlertItem, Latch, RunItem};
use crate::web::shape::{InstanceShape, SpecShape};

/// `GET /api/v1/resources`.
#[derive(Serialize)]
pub(super) struct All<'a> {
    revision: Option<&'a Revision>,
    fresh_at: Option<Timestamp>,
    resources: Vec<Short<'a>>,
}

/// What every list says of a resource.
#[derive(Serialize)]
struct Short<'a> {
    id: &'a ResourceId,
    team: Option<&'a TeamName>,
    provider: &'a ProviderName,
    sync: Sync,
    health: Health,
    revision: Option<&'a Revision>,
    since: Timestamp,
    why: Option<&'a str>,
    digest: Option<&'a Digest>,
    stuck: bool,
}

impl<'a> Short<'a> {
    fn of(view: &'a ResourceView) -> Self {
        Self {
            id: &view.id,
            team: view.team.as_ref(),
            provider: &view.provider,
            sync: view.sync,
            health: view.health,
            revision: view.revision.as_ref(),
            since: view.since,
            why: view.why.as_deref(),
            digest: view.digest.as_ref(),
            stuck: view.stuck,
        }
    }
}

impl<'a> All<'a> {
    pub(super) fn of(board: &'a Board) -> Self {
        Self {
            revision: board.revision.as_ref().map(|revision| &revision.id),
            fresh_at: board.fresh_at,
            resources: board.resources.values().map(|view| Short::of(view)).collect(),
        }
    }
}

/// `GET /api/v1/resources/{kind}/{name}`.
#[derive(Serialize)]
pub(super) struct Detail<'a> {
    #[serde(flatten)]
    short: Short<'a>,
    next_at: Option<Timestamp>,
    spec: Option<SpecShape<'a>>,
    diff: &'a [Difference],
    instances: Vec<InstanceShape<'a>>,
    address: Option<&'a str>,
    notes: &'a [String],
    depends_on: &'a [ResourceId],
    used_by: &'a [ResourceId],
    last_good: Option<Good<'a>>,
    pins: Vec<Pinned<'a>>,
    /// It came back too often: no playbook tries anything on it.
    latch: Option<Latch>,
    /// Those that runs on it answered, the newest first.
    alerts: Vec<AlertItem>,
    /// The newest first.
    runs: Vec<RunItem>,
}

#[derive(Serialize)]
struct Good<'a> {
    template: &'a Digest,
    revision: Option<&'a Revision>,
    at: Timestamp,
}

#[derive(Serialize)]
struct Pinned<'a> {
    /// `template`, or `check` where only what judges a good one failed.
    what: &'static str,
    template: &'a Digest,
    revision: Option<&'a Revision>,
    at: Timestamp,
    why: &'a str,
}

impl<'a> Detail<'a> {
    pub(super) fn of(
        view: &'a ResourceView,
        latch: Option<Latch>,
        (alerts, runs): (Vec<AlertItem>, Vec<RunItem>),
    ) -> Self {
        let live = view.live.as_deref();
        Self {
            short: Short::of(view),
            next_at: view.next_at,
            spec: view.desired.as_ref().map(|desired| SpecShape::of(&desired.spec)),
            diff: &view.differences,
            instances: live.map(|live| live.instances.iter().map(InstanceShape::of).collect()).unwrap_or_default(),
            address: live.and_then(|live| live.address.as_deref()),
            notes: live.map_or(&[], |live| &live.notes),
            depends_on: &view.depends_on,
            used_by: &view.used_by,
            last_good: view.last_good.as_ref().map(|good| Good {
                template: &good.resource.template_digest,
                revision: good.revision.as_ref(),
                at: good.at,
            }),
            pins: view
                .pins
                .iter()
                .map(|(template, pin)| Pinned {
                    what: if pin.check_only { "check" } else { "template" },
                    template,
                    revision: pin.revision.as_ref(),
                    at: pin.at,
                    why: &pin.why,
                })
                .collect(),
            latch,
            alerts,
            runs,
        }
    }
}
