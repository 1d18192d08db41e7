//! Integration tests, one binary so that they link once. A module an area; helpers are in `tests/support`.

#[path = "../support/mod.rs"]
mod support;

mod alerts_intake;
mod alerts_real;
mod cli;
mod conformance;
mod effects;
mod floors;
mod git;
mod git_crowded;
mod git_merges;
mod git_moved;
mod git_owner;
mod git_remote;
mod git_shapes;
mod hooks;
mod intake_store;
mod isolation;
mod keeper;
mod keeper_before;
mod lost_store;
mod once;
mod page;
mod process;
mod promises;
mod settings_changed;
mod state_folder;
mod store;
