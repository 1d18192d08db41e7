//! Runs: what follows, from the log so far and the facts of this moment. Pure; the same for live, recovered, tested and
//! replayed runs.
//!
//! [`open`] decides what becomes of an alert or a due time, [`pin`] completes a playbook to the program that a run keeps for
//! its life, [`judged`] asks again for one that waits for its turn, and [`next`] says what such a run does now. A run's state is the fold of its log ([`Run::take`]); nothing else
//! is remembered of it. Nothing here does anything.

mod answer;
mod busy;
mod counted;
mod ends;
mod facts;
mod group;
mod latch;
mod may;
mod muted;
mod next;
mod open;
mod order;
mod page;
mod pin;
mod queued;
mod simulate;
#[cfg(test)]
mod tests;
mod times;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::model::{
    Action, AlertId, AlertMemory, Channel, DocumentName, Health, HttpCall, Name, PageId, Period, Progress, ResourceId,
    Revision, RunEvent, RunState, StepRef, Sync,
};

pub use crate::schedule::{due, next_time};
pub use answer::{Answer, Answering, SUSPENDED, UNANSWERED, World, is_built_in, pages, seen};
pub use busy::ahead;
pub use ends::still_fires;
pub use facts::facts;
pub use latch::{says_latched, unlatches_at, words as latched_words};
pub use may::{Hold, NOTHING, OVER};
pub use next::{NO_VALUE, next};
pub use open::{Asked, Opening, STORM_ALL, STORM_RUNS, STORM_WITHIN, Still, in_storm, open};
pub use order::{target_for, target_of};
pub use page::{PageNext, Told, about, evidence, first_that_leads, next_send, told, told_in_turn};
pub use pin::pin;
pub use queued::{Judged, judged};
pub use simulate::{Begun, Preview, Scene, Simulated, preview, simulate};

/// What a run's next step rests on, beside its log.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Now.
    pub now: Timestamp,
    /// Alerts by id: those of the run are looked up.
    pub alerts: &'a BTreeMap<AlertId, Arc<AlertMemory>>,
    /// Its target, if it has one.
    pub target: Option<TargetFacts>,
    /// Why no step may begin now that acts: a freeze, a suspension, maintenance, an earlier run's turn, a commit on its way.
    /// Waits, messages and pages go on.
    pub hold: Option<Hold>,
    /// Why it must end: its playbook, target or permission is gone.
    pub cancelled: Option<String>,
    /// Whether the step that is on is being done by this very process. After a restart it is not.
    pub in_hand: bool,
    /// Since when this very process looks: what was before, nobody saw go on.
    pub looks_since: Timestamp,
    /// How the action that is on is getting on.
    pub progress: Option<Progress>,
    /// How the run that the step that is on called is, if it was opened.
    pub called: Option<RunState>,
    /// How this run's page is, if one was opened.
    pub page: Option<PageFacts>,
    /// Whether the sources of its alerts can be asked how they are.
    pub asks: bool,
    /// The revision in force and since when; none where that plays no part.
    pub revision: Option<(Revision, Timestamp)>,
}

/// A run's target at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetFacts {
    /// Its id.
    pub id: ResourceId,
    /// Whether it works.
    pub health: Health,
    /// Whether it is as declared.
    pub sync: Sync,
    /// Since when health is what it is.
    pub since: Timestamp,
    /// How many instances are declared.
    pub replicas: u32,
    /// How many pass their check.
    pub healthy: u32,
    /// Whether all it depends on works.
    pub dependencies_healthy: bool,
    /// Whether there is a last good version to go back to that is not what is declared.
    pub can_roll_back: bool,
    /// Whether what is declared is live and has not finished its bake.
    pub unproven: bool,
    /// Whether it is on its way back to the template of its last good version. A check alone that goes back mends nothing.
    pub rolling_back: bool,
}

/// How a run's page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageFacts {
    /// The page.
    pub page: PageId,
    /// Whether a channel accepted it.
    pub accepted: bool,
    /// Whether there is nobody it could be sent to.
    pub nobody: bool,
}

/// What a run does now.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// These are written down, and it is asked again.
    Record(Vec<RunEvent>),
    /// This attempt is begun: written down first, then done.
    Begin {
        /// The step.
        step: StepRef,
        /// From 1.
        attempt: u32,
        /// When its time is up.
        deadline: Timestamp,
        /// What is done.
        order: Box<Order>,
    },
    /// The sources of these alerts are asked how they are.
    Ask(Vec<AlertId>),
    /// Nothing until something changes, or until this time.
    Wait {
        /// When to look again at the latest.
        until: Option<Timestamp>,
        /// For what.
        why: String,
    },
    /// It is over.
    Over,
}

/// What a step does, every template filled in.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Nothing is done but waiting.
    Wait,
    /// An action on a resource.
    Act {
        /// Which.
        action: Action,
        /// On what.
        target: ResourceId,
        /// With what.
        with: BTreeMap<String, Value>,
    },
    /// A script.
    Script {
        /// Its path in the repository, below the configured path.
        file: String,
        /// JSON on its standard input.
        input: Value,
    },
    /// A request.
    Http {
        /// The call it was written as.
        call: HttpCall,
        /// The URL.
        url: String,
        /// Headers.
        headers: BTreeMap<String, String>,
        /// The body.
        body: Option<String>,
    },
    /// A message.
    Notify {
        /// Where.
        channel: Channel,
        /// In one line.
        title: String,
        /// The text.
        body: String,
    },
    /// A page.
    Page {
        /// Who is told; the run's own policy without.
        policy: Option<Name>,
    },
    /// A commit that reverts the newest one on the target.
    Revert {
        /// The target.
        target: ResourceId,
        /// How old that one may be.
        within: Option<Period>,
    },
    /// A commit that sets one value.
    Set {
        /// The file.
        file: String,
        /// Which of its documents; the only one without.
        document: Option<DocumentName>,
        /// Dotted path.
        path: String,
        /// The value.
        value: Value,
    },
    /// Another playbook.
    Call {
        /// Its name.
        playbook: Name,
    },
}
