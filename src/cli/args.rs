//! The flags of every command, as clap reads them. Each flag has a variable; flag over variable over settings file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use codeops_core::config::PAGE;
use codeops_core::model::{Environment, Period, ResourceId};

pub(crate) use super::args_alerts::{AlertListArgs, AlertsArgs, AlertsCommand, RouteArgs, RunsArgs};
use super::exit::HELP;

/// Operations as code: one daemon makes live state follow a Git repository.
#[derive(Debug, Parser)]
#[command(name = "codeops", version, propagate_version = true, max_term_width = 110, after_help = HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// How answers are printed; `events` and `logs` print one JSON document a line (JSON Lines), or one YAML document each.
    #[arg(short, long, global = true, env = "CODEOPS_OUTPUT", default_value = "table", value_name = "FORMAT")]
    pub(crate) output: Format,
    /// When to use colour; `auto` is on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, env = "CODEOPS_COLOR", default_value = "auto", value_name = "WHEN")]
    pub(crate) color: When,
    /// How the log on standard error looks; `auto` is for people on a terminal and JSON elsewhere.
    #[arg(long = "log", global = true, env = "CODEOPS_LOG_FORMAT", default_value = "auto", value_name = "FORMAT")]
    pub(crate) log: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document; of `events` and `logs` one a line.
    Json,
    /// One YAML document; of `events` and `logs` one each.
    Yaml,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Auto,
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new config repository that works.
    Init(InitArgs),
    /// Find every mistake in the manifests of a folder. Runs no program, opens no connection.
    Validate(ValidateArgs),
    /// Show what would change, and change nothing.
    Plan(PlanArgs),
    /// Make one pass, wait until it settles, and end. Refuses beside a running daemon.
    Apply(RepositoryArgs),
    /// Run the daemon: follow the repository and keep live state the same.
    Run(RunArgs),
    /// See all of it work on this machine, with proof, in a temporary folder.
    Demo(DemoArgs),
    /// Ask a running daemon whether everything is fine.
    Status(StatusArgs),
    /// List resources, or show one.
    Get(GetArgs),
    /// Print what an app writes.
    Logs(LogsArgs),
    /// Print what happened.
    Events(EventsArgs),
    /// Think playbooks through over a working tree: tests, explanations, replays. Runs no program, opens no connection.
    Playbook(PlaybookArgs),
    /// List what playbooks did, or show one run with its steps.
    Runs(RunsArgs),
    /// List alerts and what became of them; `alerts route` shows where one would go.
    Alerts(AlertsArgs),
    /// Print the JSON Schema of a kind of manifest, or of all of them.
    Schema(SchemaArgs),
    /// Check the audit trail in the state folder.
    Audit(AuditArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// The small web app that examples and `demo` deploy.
    #[command(hide = true)]
    DemoApp(DemoAppArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder to make; it must be empty or not exist.
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The repository's name, for good; by default the folder's.
    #[arg(long, env = "CODEOPS_NAME")]
    pub(crate) name: Option<codeops_core::model::Name>,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The folder that holds the manifests.
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The environment whose overlays apply; without it, each is checked in turn.
    #[arg(long, env = "CODEOPS_ENVIRONMENT", value_name = "NAME")]
    pub(crate) environment: Option<Environment>,
    /// Settings to check against: providers, secrets and what teams may claim.
    #[arg(long, env = "CODEOPS_SETTINGS", value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
}

/// Which repository, which part of it, and where state lies.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RepositoryArgs {
    /// The config repository: a URL, or a local folder, of which only what is committed counts.
    #[arg(long, env = "CODEOPS_REPO", value_name = "URL|DIR")]
    pub(crate) repo: Option<String>,
    /// The branch that is followed.
    #[arg(long, env = "CODEOPS_BRANCH", value_name = "NAME")]
    pub(crate) branch: Option<String>,
    /// The folder inside the repository that holds the manifests.
    #[arg(long, env = "CODEOPS_PATH", value_name = "SUBDIR")]
    pub(crate) path: Option<String>,
    /// The environment whose overlays apply.
    #[arg(long, env = "CODEOPS_ENVIRONMENT", value_name = "NAME")]
    pub(crate) environment: Option<Environment>,
    /// The state folder: /var/lib/codeops as root, else $XDG_STATE_HOME/codeops.
    #[arg(long, env = "CODEOPS_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// The settings file.
    #[arg(long, env = "CODEOPS_SETTINGS", value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// End with 2 when there are changes.
    #[arg(long, env = "CODEOPS_DETAILED_EXITCODE")]
    pub(crate) detailed_exitcode: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// The page's address.
    #[arg(long, env = "CODEOPS_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// The hooks' address.
    #[arg(long, env = "CODEOPS_HOOKS_LISTEN", value_name = "ADDR")]
    pub(crate) hooks_listen: Option<String>,
    /// The time between two looks at the repository.
    #[arg(long, env = "CODEOPS_POLL", value_name = "DURATION")]
    pub(crate) poll: Option<Period>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Clean up and end after the last act, with 1 if any was not proven.
    #[arg(long, env = "CODEOPS_DEMO_EXIT")]
    pub(crate) exit: bool,
}

/// Which daemon is asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The daemon's page.
    #[arg(long, env = "CODEOPS_SERVER", default_value_t = format!("http://{PAGE}"), value_name = "URL")]
    pub(crate) server: String,
    /// A file that holds the token the page asks for; CODEOPS_TOKEN may hold the token itself.
    #[arg(long, env = "CODEOPS_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Only ask whether the daemon is alive, as a container's health check does.
    #[arg(long, env = "CODEOPS_LIVE")]
    pub(crate) live: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// `kind/name` for one, `kind` for all of a kind, nothing for all.
    pub(crate) what: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The app, such as `app/shop`.
    pub(crate) id: ResourceId,
    /// Go on as new lines come.
    #[arg(short, long, env = "CODEOPS_FOLLOW")]
    pub(crate) follow: bool,
    /// How many of the newest lines to begin with.
    #[arg(long, env = "CODEOPS_TAIL", default_value_t = 100, value_name = "LINES")]
    pub(crate) tail: usize,
    /// Only this instance.
    #[arg(long, env = "CODEOPS_INSTANCE", value_name = "ID")]
    pub(crate) instance: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Go on as new ones come.
    #[arg(short, long, env = "CODEOPS_FOLLOW")]
    pub(crate) follow: bool,
    /// Only those of one resource, such as `app/shop`.
    #[arg(long, env = "CODEOPS_RESOURCE", value_name = "ID")]
    pub(crate) resource: Option<ResourceId>,
    /// How many of the newest to begin with.
    #[arg(long, env = "CODEOPS_LIMIT", default_value_t = 50, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: u16,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PlaybookArgs {
    #[command(subcommand)]
    pub(crate) command: PlaybookCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlaybookCommand {
    /// Run the cases of every PlaybookTest; ends with 1 where one does not come out as expected.
    Test {
        /// The folder that holds the manifests.
        #[arg(default_value = ".")]
        dir: PathBuf,
        #[command(flatten)]
        tree: TreeArgs,
    },
    /// Say what an alert would start, and why: routes, playbook, target, steps, who is paged.
    ///
    /// Ends with 1 where it reaches no playbook and no person, as `alerts route` does.
    Explain {
        /// The alert's labels as NAME=VALUE, and the folder that holds the manifests.
        #[arg(required = true, value_name = "LABEL|DIR")]
        what: Vec<String>,
        /// The receiver that brings it, of those in the settings: which playbooks may answer can depend on it.
        #[arg(long, env = "CODEOPS_RECEIVER", value_name = "NAME")]
        receiver: Option<codeops_core::model::Name>,
        #[command(flatten)]
        tree: TreeArgs,
    },
    /// Decide the alerts of a period again by a working tree, and show what differs from what was.
    Replay {
        /// The folder that holds the manifests.
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// How far back.
        #[arg(long, env = "CODEOPS_SINCE", default_value = "7d", value_name = "DURATION")]
        since: Period,
        /// The state folder whose journal is read; a daemon may run on it.
        #[arg(long, env = "CODEOPS_STATE", value_name = "DIR")]
        state: Option<PathBuf>,
        /// End with 2 when something differs.
        #[arg(long, env = "CODEOPS_DETAILED_EXITCODE")]
        detailed_exitcode: bool,
        #[command(flatten)]
        tree: TreeArgs,
    },
}

/// What a working tree is read with.
#[derive(Debug, Clone, Args)]
pub(crate) struct TreeArgs {
    /// The environment whose overlays apply.
    #[arg(long, env = "CODEOPS_ENVIRONMENT", value_name = "NAME")]
    pub(crate) environment: Option<Environment>,
    /// Settings to read it with: teams, receivers and the fallback policy.
    #[arg(long, env = "CODEOPS_SETTINGS", value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Such as `App`.
    pub(crate) kind: Option<String>,
    /// That of overlays, the files below `environments/`.
    #[arg(long, env = "CODEOPS_OVERLAY")]
    pub(crate) overlay: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Compute every link of the chain again; ends with 1 where one does not hold.
    Verify {
        #[command(flatten)]
        state: StateArgs,
        /// A head printed earlier by `audit head`: the chain must still pass through it.
        #[arg(long, env = "CODEOPS_AUDIT_HEAD", value_name = "SEQ:HEX")]
        head: Option<String>,
    },
    /// Print the newest link, to be kept somewhere else.
    Head {
        #[command(flatten)]
        state: StateArgs,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StateArgs {
    /// The state folder.
    #[arg(long, env = "CODEOPS_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// The settings file that names the state folder.
    #[arg(long, env = "CODEOPS_SETTINGS", value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct DemoAppArgs {
    /// The port to listen on.
    #[arg(long, env = "PORT")]
    pub(crate) port: u16,
    /// The address to listen on.
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub(crate) host: std::net::IpAddr,
    /// The page's colour, as CSS names it.
    #[arg(long, env = "COLOUR", default_value = "steelblue")]
    pub(crate) colour: String,
    /// What it says it is.
    #[arg(long, env = "VERSION", default_value = "1.0")]
    pub(crate) app_version: String,
    /// What it says.
    #[arg(long, env = "MESSAGE", default_value = "Hello")]
    pub(crate) message: String,
    /// Fail on purpose.
    #[arg(long, env = "FAIL")]
    pub(crate) fail: Option<Failing>,
    /// Which instance it is.
    #[arg(long, env = "INSTANCE", default_value = "")]
    pub(crate) instance: String,
}

/// How the demo app fails on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Failing {
    /// It runs, but its health check answers 503.
    Health,
    /// It ends at once with an error.
    Crash,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn each_command(command: &clap::Command, visit: &mut dyn FnMut(&clap::Command)) {
        visit(command);
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            each_command(sub, visit);
        }
    }

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable_and_a_help_line() {
        each_command(&Cli::command(), &mut |command| {
            for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
                let id = arg.get_id().as_str();
                if matches!(id, "help" | "version") {
                    continue;
                }
                let name = arg.get_env().and_then(|name| name.to_str()).unwrap_or_default();
                assert!(name.starts_with("CODEOPS_"), "{} --{id} has no variable", command.get_name());
                assert!(arg.get_help().is_some(), "{} --{id} has no help", command.get_name());
            }
        });
    }
}
