//! `plan` and `apply`: asks the daemon's flow once and prints what it says.

mod text;

use super::args::{PlanArgs, RepositoryArgs};
use super::block_on;
use super::environment::Variables;
use super::exit::Exit;
use super::options;
use super::output::Output;
use super::run::interruptible;
use crate::daemon;
use crate::daemon::outcome::Verdict;

/// Shows what would change. With `--detailed-exitcode` ends with 2 where something would.
pub(crate) fn plan(args: &PlanArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    let options = options::once(&args.repository, variables)?;
    let outcome = block_on(daemon::plan(&options))?;
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
    let outcome = block_on(interruptible(|cancel| daemon::apply(options, cancel)))?;
    output.value(&outcome, || text::applied(&outcome, output))?;
    Ok(match outcome.verdict {
        Verdict::Applied => Exit::Fine,
        Verdict::Partial | Verdict::Failed => Exit::Failed,
        Verdict::Held => Exit::Held,
    })
}

fn is_error(diagnostic: &codeops_core::desired::Diagnostic) -> bool {
    diagnostic.severity == codeops_core::desired::Severity::Error
}
