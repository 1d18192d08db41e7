//! `audit`: the chain of the journal in a state folder, checked or exported. Reads only, also beside a daemon.

use serde_json::json;

use super::args::{AuditArgs, AuditCommand, StateArgs};
use super::environment::Variables;
use super::exit::{Coded, Exit};
use super::options;
use super::output::{Output, Style};
use crate::store::audit;

/// Verifies the chain, or prints its end.
pub(crate) fn audit(args: &AuditArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        AuditCommand::Verify { state, head } => {
            let exported: Option<audit::Head> =
                head.as_deref().map(str::parse).transpose().map_err(|error| Coded::usage(format!("{error}")))?;
            let verified = audit::verify(&folder(state, variables)?, exported)?;
            let against = if verified.against_export { ", and the exported head is in it" } else { "" };
            let answer = json!({
                "entries": verified.entries,
                "first": verified.first.map(|seq| seq.0),
                "head": verified.head.to_string(),
                "against_export": verified.against_export,
            });
            output.value(&answer, || {
                let intact = output.paint(Style::Good, "intact");
                format!("{intact}: {} entries{against}\nhead {}\n", verified.entries, verified.head)
            })?;
        }
        AuditCommand::Head { state } => {
            let head = audit::head(&folder(state, variables)?)?;
            output.value(&json!({"head": head.to_string()}), || format!("{head}\n"))?;
        }
    }
    Ok(Exit::Fine)
}

fn folder(args: &StateArgs, variables: &Variables) -> anyhow::Result<std::path::PathBuf> {
    let flag = args.state.as_ref().map(|folder| folder.to_string_lossy().into_owned());
    let configured = match flag {
        Some(folder) => Some(folder),
        None => options::read_settings(args.settings.as_deref())?.state,
    };
    options::state_folder(configured.as_deref(), variables)
}
