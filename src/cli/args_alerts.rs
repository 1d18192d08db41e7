//! The flags of `runs` and `alerts`, as clap reads them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use codeops_core::model::{Environment, Name, ResourceId, RunId};

use super::args::ServerArgs;

#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// One run, such as `r42`; nothing for the newest.
    pub(crate) id: Option<RunId>,
    /// Only those that are so.
    #[arg(long, env = "CODEOPS_RUN_STATE", value_name = "STATE", value_parser = ["running", "waiting", "resolved", "replaced", "paged", "failed", "skipped", "cancelled"])]
    pub(crate) state: Option<String>,
    /// Only those of this playbook.
    #[arg(long, env = "CODEOPS_PLAYBOOK", value_name = "NAME")]
    pub(crate) playbook: Option<Name>,
    /// Only those on this resource, such as `app/shop`.
    #[arg(long, env = "CODEOPS_TARGET", value_name = "ID")]
    pub(crate) target: Option<ResourceId>,
    /// How many of the newest.
    #[arg(long, env = "CODEOPS_LIMIT", default_value_t = 50, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: u16,
    /// Only those before this place: what the list before ended with.
    #[arg(long, env = "CODEOPS_AFTER", value_name = "CURSOR")]
    pub(crate) after: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AlertsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<AlertsCommand>,
    #[command(flatten)]
    pub(crate) list: AlertListArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AlertListArgs {
    /// Only those that are so.
    #[arg(long, env = "CODEOPS_ALERT_STATE", value_name = "STATE", value_parser = ["firing", "resolved", "expired", "silenced", "unknown"])]
    pub(crate) state: Option<String>,
    /// Only those that a run on this resource answered, such as `app/shop`.
    #[arg(long, env = "CODEOPS_TARGET", value_name = "ID")]
    pub(crate) target: Option<ResourceId>,
    /// Only those of this monitoring system.
    #[arg(long, env = "CODEOPS_SOURCE", value_name = "NAME")]
    pub(crate) source: Option<Name>,
    /// How many of the newest.
    #[arg(long, env = "CODEOPS_LIMIT", default_value_t = 50, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: u16,
    /// Only those before this place: what the list before ended with.
    #[arg(long, env = "CODEOPS_AFTER", value_name = "CURSOR")]
    pub(crate) after: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// Show where an alert with these labels would go, by the manifests of a folder. Runs no program, opens no connection.
    ///
    /// The routes it takes, the playbooks that answer it and on what, who would be told now and by what channel, and what
    /// would keep it quiet now. Ends with 1 where it reaches no playbook and no person.
    Route(RouteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// Labels as NAME=VALUE, and at most one folder that holds the manifests; by default `--repo`, or this one.
    #[arg(required = true, value_name = "LABEL=VALUE|DIR")]
    pub(crate) labels: Vec<String>,
    /// The folder that holds the manifests, where none stands among the labels.
    #[arg(long, env = "CODEOPS_REPO", value_name = "DIR")]
    pub(crate) repo: Option<String>,
    /// The receiver that brings it, of those in the settings: which playbooks may answer can depend on it.
    #[arg(long, env = "CODEOPS_RECEIVER", value_name = "NAME")]
    pub(crate) receiver: Option<Name>,
    /// The environment whose overlays apply.
    #[arg(long, env = "CODEOPS_ENVIRONMENT", value_name = "NAME")]
    pub(crate) environment: Option<Environment>,
    /// Settings: their `fallback` is told where no route says who.
    #[arg(long, env = "CODEOPS_SETTINGS", value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
}
