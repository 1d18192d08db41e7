//! What a step that is on waits for, as far as others know it: whoever is to accept a page, and the target of an action.

use codeops_core::model::{ResponseMemory, Run, RunId};

use crate::port::Whose;
use crate::web::Web;
use crate::web::words::plural;

/// What a step that does this waits for.
pub(super) fn waits_for(web: &Web, run: &Run, does: &str) -> Option<String> {
    match does {
        "page" => web.page.journal.response(|response| unaccepted(response, run.id)),
        "action" => target(web, run),
        _ => None,
    }
}

/// How the target of an action is.
fn target(web: &Web, run: &Run) -> Option<String> {
    let id = run.target.as_ref()?;
    let board = web.board();
    let view = board.resources.get(id)?;
    let why = view.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let text = format!("waits for {id}, which is {}, {}{why}", view.sync, view.health);
    Some((web.page.redact)(Whose::Team(&run.authority), &text))
}

/// Why nobody has accepted a run's page yet, by each who was told; it is sent again until somebody does.
fn unaccepted(response: &ResponseMemory, run: RunId) -> Option<String> {
    let page = response.pages.values().find(|page| page.run == Some(run))?;
    let failed = page.tries.iter().filter_map(|(to, tried)| Some((to, tried.failures, tried.error.as_ref()?)));
    let each = failed.map(|(to, failures, error)| {
        format!("{to} has failed {}: {error}", plural(usize::try_from(failures).unwrap_or(usize::MAX), "time"))
    });
    let each: Vec<String> = each.collect();
    (!each.is_empty()).then(|| format!("not accepted yet: {}", each.join("; ")))
}
