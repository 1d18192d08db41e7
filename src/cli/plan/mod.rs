//! `plan` and `apply`: asks the daemon's flow once and prints what it says.

mod progress;
mod text;

use tokio_util::sync::CancellationToken;

use super::args::{PlanArgs, RepositoryArgs};
use super::block_on;
use super::environment::Variables;
use super::exit::Exit;
use super::options;
use super::output::{Output, Style};
use super::run::interruptible;
use crate::daemon;
use crate::daemon::outcome::Verdict;

/// Shows what would change. With `--detailed-exitcode` ends with 2 where something would.
pub(crate) fn plan(args: &PlanArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    let options = options::once(&args.repository, variables)?;
    // Interrupted, it still takes with it what it fetched.
    let planned = async |cancel: CancellationToken| {
        let done = cancel.run_until_cancelled(daemon::plan(&options)).await;
        done.unwrap_or_else(|| Err(anyhow::anyhow!("interrupted")))
    };
    let outcome = block_on(interruptible(planned))?;
    if let Some(state) = &outcome.no_store {
        let note = output.paint_note(Style::Busy, "note:");
        output.note(format!("{note} no store at {}: planned as if codeops had never run here", state.display()));
    }
    output.value(&outcome, || text::plan(&outcome, output))?;
    Ok(match outcome.plan.changes.is_empty() {
        false if args.detailed_exitcode => Exit::Changes,
        _ if outcome.diagnostics.iter().any(is_error) => Exit::Failed,
        _ => Exit::Fine,
    })
}

/// Makes one pass. Ends with 1 where something failed, with 3 where something is held.
pub(crate) fn apply(args: &RepositoryArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    let options = options::once(args, variables)?;
    let printer = *output;
    let listener = Box::new(move |now: &_| printer.note(progress::line(now, &printer)));
    let outcome = block_on(interruptible(|cancel| daemon::apply(options, listener, cancel)))?;
    output.value(&outcome, || text::applied(&outcome, output))?;
    Ok(match outcome.verdict {
        Verdict::Applied | Verdict::Suspended => Exit::Fine,
        Verdict::Partial | Verdict::Failed => Exit::Failed,
        Verdict::Held => Exit::Held,
    })
}

fn is_error(diagnostic: &codeops_core::desired::Diagnostic) -> bool {
    diagnostic.severity == codeops_core::desired::Severity::Error
}
