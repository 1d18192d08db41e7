//! `schema` and `completions`: what editors and shells ask for.

use std::io::Write;

use clap::CommandFactory;
use codeops_core::desired;

use super::args::{Cli, CompletionsArgs, SchemaArgs};
use super::exit::{Coded, Exit};
use super::output::Output;

/// Prints the JSON Schema of one kind, or of any manifest; or of overlays.
pub(crate) fn schema(args: &SchemaArgs, output: &Output) -> anyhow::Result<Exit> {
    let kind = args.kind.as_deref().map(known).transpose()?;
    let schema = if args.overlay { desired::overlay_schema(kind) } else { desired::schema(kind) };
    let text = serde_json::to_string_pretty(&schema)? + "\n";
    output.value(&schema, || text)?;
    Ok(Exit::Fine)
}

/// The kind as the language spells it: `app` is as good as `App`, since a person asks.
fn known(word: &str) -> anyhow::Result<&'static str> {
    desired::schema_kinds().find(|kind| kind.eq_ignore_ascii_case(word)).ok_or_else(|| {
        let kinds: Vec<&str> = desired::schema_kinds().collect();
        Coded::usage(format!("there is no kind `{word}`: the kinds are {}", kinds.join(", ")))
    })
}

/// Prints the completion script of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "codeops", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Exit::Fine)
}
