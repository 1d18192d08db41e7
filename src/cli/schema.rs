//! `schema` and `completions`: what editors and shells ask for.

use std::io::Write;

use clap::CommandFactory;
use codeops_core::desired;

use super::args::{Cli, CompletionsArgs, SchemaArgs};
use super::exit::{Coded, Exit};
use super::output::Output;

/// Prints the JSON Schema of one kind, or of any manifest.
pub(crate) fn schema(args: &SchemaArgs, output: &Output) -> anyhow::Result<Exit> {
    let schema = desired::schema(args.kind.as_deref());
    if schema.is_null() {
        let kinds: Vec<&str> = desired::schema_kinds().collect();
        let kind = args.kind.as_deref().unwrap_or_default();
        return Err(Coded::usage(format!("there is no kind `{kind}`: the kinds are {}", kinds.join(", "))));
    }
    output.text(&(serde_json::to_string_pretty(&schema)? + "\n"))?;
    Ok(Exit::Fine)
}

/// Prints the completion script of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "codeops", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Exit::Fine)
}
