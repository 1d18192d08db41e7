//! The words of codeops as types (floor F0): ids, digests, specs, steps, what was observed, what is remembered.
//!
//! Values only. No decision is made here and nothing from a higher floor is imported.

mod commit;
mod digest;
mod expand;
mod id;
mod memory;
mod observed;
mod resource;
mod secret;
mod spec;
mod status;
mod step;
mod unit;

pub use commit::Commit;
pub use digest::{Digest, canonical};
pub use expand::{BUILT_IN, ExpandError, GIVEN, MAX_EXPANDED, expand, expand_env, is_variable, variables};
pub use id::{Environment, InvalidName, Kind, Name, Owner, ProviderName, ResourceId, Revision, SecretName, TeamName};
pub use memory::{Claims, LastGood, Memory, Pin, Removal, ResourceMemory, RevisionMemory, Waves};
pub use observed::{
    Covered, FieldDrift, Instance, InstanceHealth, InstanceState, Listing, Live, Observed, Ours, STARTED_AGAIN, Scope,
    Snapshot, Stamp, SystemId, Why,
};
pub use resource::{Place, Resource};
pub use secret::Secret;
pub use spec::{
    AppSpec, Artifact, HealthCheck, OnFailure, Port, Probe, Protocol, Release, Resources, Rollout, Run, StopPolicy,
    Strategy, Use,
};
pub use status::{Health, HoldId, RevisionState, Sync, Verb};
pub use step::{Cause, CauseKind, InstanceId, Key, Op, Step};
pub use unit::{Bytes, InvalidUnit, MilliCpu, Period};
