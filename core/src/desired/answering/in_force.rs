//! Which manifests of how alerts are answered are in force: those without a mistake in themselves and in what they name. One
//! with a mistake keeps its last good version in force, as far as this compiler has seen one; what stays of what is deleted
//! says [`super::deleted`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Name, Response, TeamName};

use super::named::{self, Named};
use super::{bereft, calls, coverage, deleted, rivals, telling};
use crate::desired::Context;
use crate::desired::apps::unit::source;
use crate::desired::files::file::ParsedFile;
use crate::desired::kinds::header::ManifestKind;
use crate::desired::kinds::response::{Declares, ResponseManifest};
use crate::desired::missing::lost::cut_off;
use crate::desired::resolve::Resolved;
use crate::desired::teams::given;
use crate::desired::teams::grants::Note;
use crate::desired::text::diagnostic::{Diagnostic, Severity};
use crate::desired::text::mistakes::Mistakes;
use crate::desired::text::tree::Span;

/// What a manifest is about.
pub(crate) type Key = (ManifestKind, Name);

/// One manifest on its way into force, its overlay merged in.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub key: Key,
    /// Where its name stands.
    pub name: Span,
    pub manifest: Arc<ResponseManifest>,
    pub base: Arc<ParsedFile>,
    /// The overlay's file.
    pub overlay: Option<Arc<ParsedFile>>,
    /// Why it is not put in force; `None` while all is well.
    pub broken: Option<String>,
}

impl Candidate {
    /// Notes a mistake; it is not put in force.
    pub(crate) fn error(&mut self, found: &mut Mistakes, (span, message, help): Note) {
        let diagnostic = Diagnostic::error(source(&self.base, self.overlay.as_deref(), span), span, message, help);
        self.broken.get_or_insert(diagnostic.why());
        found.push(diagnostic);
    }

    /// Notes what is probably not meant.
    pub(crate) fn warning(&self, found: &mut Mistakes, (span, message, help): Note) {
        let diagnostic = Diagnostic::error(source(&self.base, self.overlay.as_deref(), span), span, message, help);
        found.push(Diagnostic { severity: Severity::Warning, ..diagnostic });
    }
}

pub(crate) fn id((kind, name): &Key) -> String {
    format!("{}/{name}", kind.word())
}

/// The teams that ask for a name in vain.
pub(crate) type Asked = BTreeSet<(ManifestKind, Name, TeamName)>;

/// What was in force last, and the file it stood in.
pub(crate) type InForce = BTreeMap<Key, (Declares, Arc<str>)>;

/// Of these manifests, as `Kind/name`, the file of each that is in force.
pub(crate) fn files(in_force: &InForce, of: &BTreeMap<String, TeamName>) -> BTreeMap<String, Arc<str>> {
    if of.is_empty() {
        return BTreeMap::new();
    }
    let all = in_force.iter().map(|(key, (_, path))| (id(key), Arc::clone(path)));
    all.filter(|(id, _)| of.contains_key(id)).collect()
}

/// Checks all candidates against everything else, and gives what is in force now; with what of it waits only for what is held.
pub(crate) fn settle(
    resolved: &mut Resolved,
    files: &[Arc<ParsedFile>],
    context: &Context,
    before: &mut InForce,
) -> (Response, BTreeSet<Key>) {
    let good = context.looks_back.as_ref().map(|good| (good, before.keys().cloned().collect::<BTreeSet<Key>>()));
    let mut candidates = std::mem::take(&mut resolved.candidates);
    let mut found = std::mem::take(&mut resolved.found);
    given::guard(&mut candidates, before, context, &mut found);
    let bereft = bereft::of(before, &candidates, context);
    let named = Named::of(&candidates, resolved, files, context, &bereft);
    for candidate in &mut candidates {
        if let Some(why) = &resolved.all_held {
            candidate.broken.get_or_insert(why.clone());
        }
        named::check(candidate, &named, &mut found);
    }
    calls::check(&mut candidates, &mut found);
    rivals::check(&candidates, &named, &mut found);
    coverage::check(&mut candidates, &named, before, &mut found);
    coverage::teams(resolved, &named, &mut found);
    resolved.found = found;
    let still_named = bereft::still_named(&candidates, &resolved.teams, before, context);
    resolved.holders.extend(still_named);
    let mut response = Response::default();
    let mut now = InForce::new();
    for candidate in candidates {
        match (candidate.broken, &candidate.manifest.declares) {
            (None, Some(declares)) => {
                let path = Arc::clone(&candidate.base.source.path);
                now.insert(candidate.key, (declares.clone(), path));
            }
            (why, _) => {
                let why = why.unwrap_or_else(|| "its manifest is not complete".to_owned());
                response.broken.insert(id(&candidate.key), why);
                now.extend(before.remove_entry(&candidate.key));
            }
        }
    }
    let of_nobody: Arc<str> = Arc::from("");
    for (name, spec) in &resolved.teams {
        let declares = Declares::Team(name.clone(), Arc::clone(spec));
        now.insert((ManifestKind::Team, name.clone()), (declares, Arc::clone(&of_nobody)));
    }
    let mut gone = InForce::new();
    for (key, kept) in std::mem::take(before).into_iter().filter(|(key, _)| !now.contains_key(key)).collect::<Vec<_>>()
    {
        // What a file said that cannot be read to its end, and nobody says now, is still meant.
        let why = unreadable(&kept.1, files).cloned();
        match why.or_else(|| Some(bereft::told(&key, &kept, bereft.get(&key)?, &mut resolved.found))) {
            Some(why) => {
                response.broken.insert(id(&key), why);
                now.insert(key, kept);
            }
            None => drop(gone.insert(key, kept)),
        }
    }
    let stays = deleted::keep(&mut now, gone, context, &mut resolved.found);
    response.deleted = stays.why;
    for ((kind, name), (declares, _)) in &now {
        if let Declares::Team(name, spec) = declares {
            resolved.teams.insert(name.clone(), Arc::clone(spec));
            continue;
        }
        match telling::mistrusted(declares, &now, context) {
            Some((called, theirs)) => {
                let why = format!("it calls `Playbook/{called}`, which is the team `{theirs}`'s by now");
                response.broken.entry(format!("{}/{name}", kind.word())).or_insert(why);
            }
            None => put(&mut response, name.clone(), &telling::within_reach(declares, &now, context)),
        }
    }
    // What else there is in a revision that is looked back at was in force in another world, or in none.
    if let Some((good, had)) = good {
        now.retain(|key, _| good.contains(&id(key)) || had.contains(key));
    }
    *before = now;
    (response, stays.wait)
}

/// Why more may stand in a file than could be read.
fn unreadable<'f>(path: &Arc<str>, files: &'f [Arc<ParsedFile>]) -> Option<&'f String> {
    let at = files.binary_search_by(|file| file.source.path.cmp(path)).ok()?;
    files[at].lost.first().or_else(|| cut_off(&files[at]))
}

fn put(response: &mut Response, name: Name, declares: &Declares) {
    match declares {
        Declares::Playbook(playbook) => drop(response.playbooks.insert(name, Arc::clone(playbook))),
        Declares::Test(test) => drop(response.tests.insert(name, Arc::clone(test))),
        Declares::Route(route) => drop(response.routes.insert(name, Arc::clone(route))),
        Declares::Receiver(receiver) => drop(response.receivers.insert(name, Arc::clone(receiver))),
        Declares::Policy(policy) => drop(response.policies.insert(name, Arc::clone(policy))),
        Declares::OnCall(on_call) => drop(response.on_calls.insert(name, Arc::clone(on_call))),
        // It says more than who is called.
        Declares::Team(..) => {}
    }
}
