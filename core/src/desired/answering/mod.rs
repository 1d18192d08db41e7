//! How alerts are answered: which of its manifests are in force, whom they name, and whether everybody is heard.

pub(super) mod bereft;
pub(super) mod calls;
pub(super) mod coverage;
pub(super) mod deleted;
pub(super) mod in_force;
pub(super) mod named;
pub(super) mod referred;
pub(super) mod rivals;
pub(super) mod route_limits;
pub(super) mod telling;
