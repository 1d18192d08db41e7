//! The command line: reads flags, the environment and the settings file, calls one thing, prints the answer.
//!
//! Nothing is decided here. It is the only room that reads the environment, and the only one that knows a terminal.

mod args;
mod args_alerts;
mod audit;
mod client;
mod compile;
mod demo;
mod demo_app;
mod environment;
mod exit;
mod init;
mod logging;
pub mod options;

mod output;
mod plan;
mod playbook;
mod reached;
mod receivers;
mod route;
mod run;
mod schema;
mod table;
mod validate;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{AlertsArgs, AlertsCommand, Cli, Command};
use environment::Variables;
use exit::Exit;
use output::Output;

/// Runs the command that `args` (the program's name first) asks for and gives its exit code.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        // Help and version also arrive here; clap knows which stream and which code each deserves.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let variables = Variables::read();
    let output = Output::new(&cli.global, &variables);
    if let Err(error) = logging::start(&cli, &variables) {
        return output.fail(&error);
    }
    // Before the first TLS connection; the only other provider that could be set is one set already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match dispatch(cli, &variables, &output) {
        Ok(exit) => exit.into(),
        Err(error) => output.fail(&error),
    }
}

fn dispatch(cli: Cli, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Init(args) => init::init(&args, variables, output),
        Command::Validate(args) => validate::validate(&args, output),
        Command::Playbook(args) => playbook::playbook(&args, variables, output),
        Command::Schema(args) => schema::schema(&args, output),
        Command::Completions(args) => schema::completions(&args),
        Command::Plan(args) => plan::plan(&args, variables, output),
        Command::Apply(args) => plan::apply(&args, variables, output),
        Command::Run(args) => run::run(&args, variables),
        Command::Demo(args) => demo::demo(&args, variables, output),
        Command::DemoApp(args) => demo_app::serve(&args),
        Command::Audit(args) => audit::audit(&args, variables, output),
        Command::Status(args) => client::status(&args, variables, output),
        Command::Get(args) => client::get(&args, variables, output),
        Command::Logs(args) => client::logs(&args, variables, output),
        Command::Events(args) => client::events(&args, variables, output),
        Command::Runs(args) => client::runs(&args, variables, output),
        Command::Alerts(AlertsArgs { command: Some(AlertsCommand::Route(args)), .. }) => route::route(&args, output),
        Command::Alerts(args) => client::alerts(&args.list, variables, output),
    }
}

/// Runs one future to its end on this thread: enough for a command that asks and prints.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(future)
}
