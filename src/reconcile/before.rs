//! What a compiler that has seen nothing takes over: what manifests that are broken now, or deleted and stay all the same, said
//! when they last were good. A daemon that starts again answers alerts as the one before it did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::desired::{Compiled, Compiler, Context, Desired};
use codeops_core::model::{Name, Response, Revision, TeamName};

use crate::journal::{Category, Journal, Query, Record};
use crate::port::Source;

/// How many accepted revisions are looked back through.
const REVISIONS: usize = 50;
/// How many entries of the journal are looked through for them.
const ENTRIES: usize = 500;

/// Of each broken manifest, and each that is deleted and stays, as `Kind/name`, the revision that had it good last; `None` where it never was good.
pub(super) type Kept = BTreeMap<String, Option<Revision>>;

/// Whose is in force of what several teams have, and of what stays as it was; and in which file it stands, or stood.
#[derive(Default, PartialEq)]
pub(super) struct Holders {
    pub(super) teams: BTreeMap<String, TeamName>,
    pub(super) files: BTreeMap<String, Arc<str>>,
}

/// What was found out.
#[derive(Default)]
pub(super) struct Before {
    /// A compiler that has seen the revisions in which what is broken in this one was good, and what it makes of this one;
    /// `None` where there are none.
    pub(super) compiled: Option<(Compiler, Compiled)>,
    /// Where what is broken in this one was good.
    pub(super) found: Kept,
}

/// What was in force before of what is broken in a revision. Where each was good is `remembered`; only for what nobody has
/// looked for yet, as in the journal of an earlier version, are all revisions looked through: answering waits for this. Where the
/// revision is the accepted one (`is_known`), what is broken in it and was not is so by the settings: as it stands it was good.
pub(super) async fn as_before(
    source: &Arc<dyn Source>,
    journal: &Journal,
    context: &Context,
    revision: &Revision,
    compiled: &Compiled,
    remembered: &Kept,
    is_known: bool,
) -> Before {
    // Of what is remembered, what this revision deletes is in none of its files.
    let still = remembered.iter().filter(|(id, _)| !is_good(&compiled.desired, id));
    let mut found: Kept = still.map(|(id, good)| (id.clone(), good.clone())).collect();
    let mut wanted: BTreeSet<String> = broken(&compiled.desired.response).cloned().collect();
    wanted.retain(|id| !found.contains_key(id));
    if is_known {
        // What other teams have as well may be turned away altogether.
        let held =
            compiled.holders.keys().filter(|id| !is_good(&compiled.desired, id) && !remembered.contains_key(*id));
        let were: BTreeSet<String> = wanted.iter().chain(held).cloned().collect();
        let seen = Seen { revision: revision.clone(), good: Some(were.clone()) };
        if !were.is_empty()
            && let Some((_, then)) = compile(source, context, &[seen]).await
        {
            let good: Vec<String> = were.into_iter().filter(|id| is_good(&then.desired, id)).collect();
            wanted.retain(|id| !good.contains(id));
            found.extend(good.into_iter().map(|id| (id, Some(revision.clone()))));
        }
    }
    if wanted.is_empty() && found.values().all(Option::is_none) {
        return Before { compiled: None, found };
    }
    let earlier = accepted(journal, revision).await;
    // What could not be looked for is not known to be nowhere.
    let mut all_read = earlier.is_some();
    let earlier = earlier.unwrap_or_default();
    for earlier in &earlier {
        if wanted.is_empty() {
            break;
        }
        let seen = Seen { revision: earlier.clone(), good: Some(BTreeSet::new()) };
        let Some((_, then)) = compile(source, context, &[seen]).await else {
            all_read = false;
            continue;
        };
        let good: Vec<String> = wanted.iter().filter(|id| is_good(&then.desired, id)).cloned().collect();
        wanted.retain(|id| !good.contains(id));
        found.extend(good.into_iter().map(|id| (id, Some(earlier.clone()))));
    }
    if all_read {
        found.extend(wanted.into_iter().map(|id| (id, None)));
    }
    let mut good: BTreeSet<&Revision> = found.values().flatten().collect();
    if good.is_empty() {
        return Before { compiled: None, found };
    }
    let mut behind = BTreeMap::new();
    for forgotten in good.iter().filter(|good| **good != revision && !earlier.contains(good)) {
        // One that it does not descend from, as after a history was rewritten, is older than all that it does.
        let commits = source.commits(Some(forgotten), revision).await.map_or(usize::MAX, |commits| commits.len());
        behind.insert(*forgotten, commits);
    }
    // By other settings it may have been good itself: that is later than all before it.
    let was_good_itself = good.remove(revision).then_some(revision);
    let back = oldest_first(good, &earlier, &behind).into_iter().chain(was_good_itself).map(|back| {
        let good = found.iter().filter(|(_, good)| good.as_ref() == Some(back)).map(|(id, _)| id.clone());
        Seen { revision: back.clone(), good: Some(good.collect()) }
    });
    let seen: Vec<Seen> = back.chain([Seen { revision: revision.clone(), good: None }]).collect();
    let mut compiled = compile(source, context, &seen).await;
    if let Some((compiler, last)) = &mut compiled {
        // What else those revisions had was deleted, and had gone.
        compiler.let_go(last, |id, _| !found.contains_key(id));
    }
    Before { compiled, found }
}

/// Each once, the oldest first, for of two that say something of one manifest the later one counts. `earlier` is what the
/// journal has, newest first; what it has forgotten is older than that, and `behind` by so many commits.
fn oldest_first<'r>(
    good: BTreeSet<&'r Revision>,
    earlier: &[Revision],
    behind: &BTreeMap<&Revision, usize>,
) -> Vec<&'r Revision> {
    let age = |good: &Revision| match earlier.iter().position(|it| it == good) {
        Some(position) => (false, position),
        None => (true, behind.get(good).copied().unwrap_or(usize::MAX)),
    };
    let mut seen: Vec<&Revision> = good.into_iter().collect();
    seen.sort_by_key(|good| std::cmp::Reverse(age(good)));
    seen
}

/// Where what is broken now, or deleted and stays, was good last: as remembered or found out, else in the revision that was in force until now.
/// What is not there and still some team's by its name was good nowhere: what others wrote by that name never was in force.
pub(super) fn kept(now: &Compiled, remembered: &Kept, found: &Kept, until_now: Option<(&Revision, &Desired)>) -> Kept {
    let (desired, holders) = (&now.desired, &now.holders);
    let now = &desired.response;
    let until_now = |id: &String| until_now.map(|(revision, then)| is_good(then, id).then(|| revision.clone()));
    let last = |id: &String| remembered.get(id).or_else(|| found.get(id)).cloned().or_else(|| until_now(id));
    let nowhere = holders.keys().filter(|id| !is_good(desired, id)).map(|id| (id.clone(), None));
    let stays = broken(now).chain(now.deleted.keys()).filter_map(|id| Some((id.clone(), last(id)?)));
    nowhere.chain(stays).collect()
}

/// What is written of what is kept, and of whose is in force what several teams have: what is otherwise than before.
pub(super) fn written(before: (&Kept, &Holders), now: (&Kept, &Holders)) -> Option<Record> {
    if before == now {
        return None;
    }
    let ((kept_before, before), (kept, now)) = (before, now);
    let ids = kept_before.keys().chain(before.teams.keys());
    let others = !kept.is_empty() || !now.teams.is_empty();
    let differs = |id: &String| {
        let stands = (before.files.get(id), before.teams.get(id)) == (now.files.get(id), now.teams.get(id));
        kept_before.get(id) != kept.get(id) || !stands
    };
    // Of what was one and the other and is only one now, that is said again.
    let is_less = |id: &String| {
        kept_before.contains_key(id) && !kept.contains_key(id)
            || before.teams.contains_key(id) && !now.teams.contains_key(id)
    };
    // With no others they are all gone.
    let gone = ids.filter(|id| others && is_less(id)).cloned().collect();
    let manifests = kept.iter().filter(|(id, _)| differs(id)).map(|(id, good)| (id.clone(), good.clone())).collect();
    let holders = now.teams.iter().filter(|(id, _)| differs(id)).map(|(id, team)| (id.clone(), team.clone())).collect();
    let files =
        now.files.iter().filter(|(id, _)| differs(id)).map(|(id, file)| (id.clone(), Arc::clone(file))).collect();
    Some(Record::Kept { manifests, holders, files, others, gone })
}

/// The broken manifests that answer alerts: a test that is broken answers none.
fn broken(response: &Response) -> impl Iterator<Item = &String> {
    response.broken.keys().filter(|id| !id.starts_with("PlaybookTest/"))
}

/// The revisions accepted before this one, newest first, as far as the journal has them; `None` where it cannot be read.
async fn accepted(journal: &Journal, revision: &Revision) -> Option<Vec<Revision>> {
    let query = Query { categories: vec![Category::Commit], limit: ENTRIES, ..Query::default() };
    let items = match journal.read(query).await {
        Ok(page) => page.items,
        Err(error) => {
            tracing::warn!(%error, "what was in force before cannot be read: what is broken now has no last good");
            return None;
        }
    };
    let accepted = items.into_iter().filter_map(|entry| match entry.record {
        Record::RevisionAccepted { revision, .. } => Some(revision),
        _ => None,
    });
    Some(accepted.filter(|earlier| earlier != revision).take(REVISIONS).collect())
}

/// A revision to be compiled, and what is known to have been good in it, where it is looked back at.
struct Seen {
    revision: Revision,
    good: Option<BTreeSet<String>>,
}

/// Compiles these one after the other; what the last one gives, which must be readable. Of the others one that is not, as after
/// a history was rewritten, takes only its own with it.
async fn compile(source: &Arc<dyn Source>, context: &Context, seen: &[Seen]) -> Option<(Compiler, Compiled)> {
    let mut all = Vec::with_capacity(seen.len());
    let with = |good: &Option<BTreeSet<String>>| Context { looks_back: good.clone(), ..context.clone() };
    let (last, before) = seen.split_last()?;
    for Seen { revision, good } in before {
        match source.files(revision).await {
            Ok(files) => all.push((files, with(good))),
            Err(error) => tracing::warn!(%revision, %error, "what was good in it alone is in force no more"),
        }
    }
    all.push((source.files(&last.revision).await.ok()?, with(&last.good)));
    let compile = move || {
        let mut compiler = Compiler::default();
        let last = all.iter().map(|(files, context)| compiler.compile(files, context)).last()?;
        Some((compiler, last))
    };
    tokio::task::spawn_blocking(compile).await.ok().flatten()
}

/// Whether a revision has a manifest of this kind and name, `Kind/name`, that is in force.
fn is_good(desired: &Desired, id: &str) -> bool {
    let Some((kind, name)) = id.split_once('/') else { return false };
    let Ok(name) = name.parse::<Name>() else { return false };
    let response = &desired.response;
    if response.broken.contains_key(id) {
        return false;
    }
    match kind {
        "Playbook" => response.playbooks.contains_key(&name),
        "AlertRoute" => response.routes.contains_key(&name),
        "Receiver" => response.receivers.contains_key(&name),
        "EscalationPolicy" => response.policies.contains_key(&name),
        "OnCall" => response.on_calls.contains_key(&name),
        "Team" => desired.teams.contains_key(&name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_journal_has_forgotten_comes_before_all_it_has_and_by_its_age() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|digit| digit.repeat(40).parse::<Revision>().expect("a revision"));
        // `a` is newer than `c`, and both are forgotten; `b` was lost when the history was rewritten.
        let behind = BTreeMap::from([(&a, 600), (&c, 700), (&b, usize::MAX)]);
        let seen = oldest_first(BTreeSet::from([&a, &b, &c, &d]), std::slice::from_ref(&d), &behind);
        assert_eq!(seen, [&b, &c, &a, &d]);
    }
}
