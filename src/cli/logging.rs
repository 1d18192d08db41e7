//! The log on standard error: for people on a terminal, JSON elsewhere.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use super::args::{Cli, Command, LogFormat};
use super::environment::Variables;

/// Starts the log. The daemon logs what it does; commands that answer by themselves log only what the answer leaves out.
pub(crate) fn start(cli: &Cli, variables: &Variables) -> anyhow::Result<()> {
    let default = match cli.command {
        Command::Run(_) => "info",
        // It tells of every step, and its answer of all that is held or failed.
        Command::Apply(_) => "error",
        _ => "warn",
    };
    let filter = match variables.get("CODEOPS_LOG").or(variables.get("RUST_LOG")) {
        Some(chosen) => EnvFilter::try_new(chosen)
            .with_context(|| format!("CODEOPS_LOG is `{chosen}`: expected such as `info` or `codeops=debug,warn`"))?,
        None => EnvFilter::new(default),
    };
    let terminal = std::io::stderr().is_terminal();
    let json = match cli.global.log {
        LogFormat::Json => true,
        LogFormat::Human => false,
        // A command's own progress is for the person who called it, also through a pipe.
        LogFormat::Auto => !terminal && matches!(cli.command, Command::Run(_)),
    };
    // What cannot be logged is told nobody, and ends nothing: a full disk, a terminal that is closed.
    let base =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let started = if json {
        base.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        base.with_ansi(terminal && variables.get("NO_COLOR").is_none()).with_target(false).compact().try_init()
    };
    started.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}
