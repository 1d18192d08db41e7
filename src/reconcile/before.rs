//! What a compiler that has seen nothing takes over: what manifests that are broken now said when they last were good. A daemon
//! that starts again answers alerts as the one before it did.

use std::collections::BTreeSet;
use std::sync::Arc;

use codeops_core::desired::{Compiled, Compiler, Context};
use codeops_core::model::{Name, Response, Revision};

use crate::journal::{Category, Journal, Query, Record};
use crate::port::Source;

/// How many accepted revisions are looked back through.
const REVISIONS: usize = 50;
/// How many entries of the journal are looked through for them.
const ENTRIES: usize = 500;

/// A compiler that has seen the revisions in which what is broken in this one was good, and what it makes of this one; `None`
/// where none can be found.
pub(super) async fn as_before(
    source: &Arc<dyn Source>,
    journal: &Journal,
    context: &Context,
    revision: &Revision,
    compiled: &Compiled,
) -> Option<(Compiler, Compiled)> {
    let mut wanted: BTreeSet<String> = compiled.desired.response.broken.keys().cloned().collect();
    let mut seen: Vec<Revision> = Vec::new();
    for earlier in accepted(journal, revision).await {
        if wanted.is_empty() {
            break;
        }
        let Some((_, then)) = compile(source, context, std::slice::from_ref(&earlier)).await else { continue };
        let before = wanted.len();
        wanted.retain(|id| !is_good(&then.desired.response, id));
        if wanted.len() < before {
            seen.push(earlier);
        }
    }
    if seen.is_empty() {
        return None;
    }
    seen.reverse();
    seen.push(revision.clone());
    compile(source, context, &seen).await
}

/// The revisions accepted before this one, newest first, as far as the journal has them.
async fn accepted(journal: &Journal, revision: &Revision) -> Vec<Revision> {
    let query = Query { categories: vec![Category::Commit], limit: ENTRIES, ..Query::default() };
    let items = match journal.read(query).await {
        Ok(page) => page.items,
        Err(error) => {
            tracing::warn!(%error, "what was in force before cannot be read: what is broken now has no last good");
            return Vec::new();
        }
    };
    let accepted = items.into_iter().filter_map(|entry| match entry.record {
        Record::RevisionAccepted { revision, .. } => Some(revision),
        _ => None,
    });
    accepted.filter(|earlier| earlier != revision).take(REVISIONS).collect()
}

/// Compiles these one after the other; what the last one gives. One that cannot be read gives nothing.
async fn compile(source: &Arc<dyn Source>, context: &Context, revisions: &[Revision]) -> Option<(Compiler, Compiled)> {
    let mut all = Vec::with_capacity(revisions.len());
    for revision in revisions {
        all.push(source.files(revision).await.ok()?);
    }
    let context = context.clone();
    let compile = move || {
        let mut compiler = Compiler::default();
        let last = all.iter().map(|files| compiler.compile(files, &context)).last()?;
        Some((compiler, last))
    };
    tokio::task::spawn_blocking(compile).await.ok().flatten()
}

/// Whether a revision has a manifest of this kind and name, `Kind/name`, that is in force.
fn is_good(response: &Response, id: &str) -> bool {
    let Some((kind, name)) = id.split_once('/') else { return false };
    let Ok(name) = name.parse::<Name>() else { return false };
    if response.broken.contains_key(id) {
        return false;
    }
    match kind {
        "Playbook" => response.playbooks.contains_key(&name),
        "AlertRoute" => response.routes.contains_key(&name),
        "Receiver" => response.receivers.contains_key(&name),
        "EscalationPolicy" => response.policies.contains_key(&name),
        "OnCall" => response.on_calls.contains_key(&name),
        _ => false,
    }
}
