//! The words of codeops as types (floor F0): ids, digests, specs, steps, what was observed, what is remembered.
//!
//! Values only. No decision is made here and nothing from a higher floor is imported.

mod alert;
mod claims;
mod commit;
mod digest;
mod expand;
mod failure;
mod former_names;
mod group;
mod heard;
mod id;
mod kept;
mod label;
mod memory;
mod moment;
mod number;
mod observed;
mod page;
mod playbook;
mod playbook_test;
mod resource;
mod response;
mod routing;
mod run;
mod run_clock;
mod run_state;
mod run_step;
mod secret;
pub mod share;
mod silence;
mod spec;
mod spent;
mod status;
mod steers;
mod step;
mod unit;
mod whose;

pub use crate::expression::{Expression, Template, TemplatePart};
pub use alert::{Alert, AlertId, AlertMemory, AlertState, Disposition, Fingerprint, Labels, Signal};
pub use claims::{Asked, Claims, StablePort};
pub use commit::{Commit, Later};
pub use digest::{Digest, canonical};
pub use expand::{BUILT_IN, ExpandError, GIVEN, MAX_EXPANDED, expand, expand_env, is_variable, variables};
pub use failure::{Failing, ToldFailure};
pub use group::{Group, covers, degree, severity, worst};
pub use heard::Heard;
pub use id::{Environment, InvalidName, Kind, Name, Owner, ProviderName, ResourceId, Revision, SecretName, TeamName};
pub use kept::Kept;
pub use label::{MOST_LABELS, bounded_annotations, bounded_labels, visible, web_url};
pub use memory::{
    AsDeclared, ChangedBy, LastGood, Memory, Pin, Removal, Renewal, ResourceMemory, RevisionMemory, Waves,
};
pub use moment::{is_ahead, wait_ends};
pub use number::{PageId, RunId};
pub use observed::{
    Covered, FieldDrift, Instance, InstanceHealth, InstanceState, Listing, Live, Observed, Ours, STARTED_AGAIN, Scope,
    Snapshot, Stamp, SystemId, Why,
};
pub use page::{Call, Ending, Page, PageEvent, PageOpened, PageTry, SELF_TEST};
pub use playbook::{
    Action, CatchUp, Concurrency, DocumentName, Does, GitChange, HttpCall, Limits, OnError, Per, Playbook,
    PlaybookStep, Progress, Retry, Schedule, Trigger, WaitFor, WhenBusy,
};
pub use playbook_test::{Expected, Given, GivenAlert, GivenTarget, PlaybookTest, TestCase};
pub use resource::{Place, Resource};
pub use response::{Counted, Ledger, Owned, Response, ResponseMemory, RunEnd, Subject, Taken, UNSCHEDULED};
pub use routing::{
    Address, AlertRouteSpec, Channel, EscalationLevel, EscalationPolicySpec, Inhibition, Maintenance, MatchOperator,
    Matcher, Notified, OnCallOverride, OnCallSpec, Route, TimeSpan,
};
pub use run::{Part, Run, RunCause, RunEvent, Rung, StepOutcome, StepRef};
pub use run_clock::RunClock;
pub use run_state::RunState;
pub use run_step::{StepRecord, Trace};
pub use secret::Secret;
pub use spec::{
    AppSpec, Artifact, HealthCheck, OnFailure, Port, Probe, Protocol, Release, Resources, Rollout, RunSpec, StopPolicy,
    Strategy, Use,
};
pub use spent::Spent;
pub use status::{Health, HoldId, RevisionState, Sync, Tally, Verb};
pub use steers::steers;
pub use step::{Aim, Cause, CauseKind, InstanceId, Key, Op, Step};
pub use unit::{Bytes, InvalidUnit, MilliCpu, Period, due};
pub use whose::Whose;
