//! What the commits say: who made them, their trailers, whether they descend and who signed them. Reads the mirror only.

use std::collections::BTreeSet;

use codeops_core::model::{Later, Revision};
use git2::{Oid, Repository};
use jiff::Timestamp;

use super::changes::{Comparer, Pair};
use super::later::After;
use super::merges::Merges;
use super::signers::Signers;
use super::text::clean;
use super::{ancestry, object};
use crate::port::Commit;

/// So many of the newest commits are told of whatever they say; of older ones and of those that merges bring, what has trailers.
const COMMITS: usize = 1_000;
/// So many of those are looked at, the newest first.
const MERGED: usize = 10_000;
/// So many bytes of their trailers are kept, in all.
const SAID_BYTES: usize = 4 << 20;
/// So many branches that merges bring are held beside what was committed before them.
const BESIDE: usize = 32;
/// So many trailers of one message are kept: one more than are read, to tell that there are more.
const TRAILERS: usize = 101;
/// So much of what a trailer says is kept: ids are shorter.
const TRAILER: usize = 100;

/// The object id of a revision.
pub(super) fn oid(revision: &Revision) -> Result<Oid, git2::Error> {
    Oid::from_str(revision.as_str())
}

/// The revision of an object id.
pub(super) fn revision(oid: Oid) -> Result<Revision, git2::Error> {
    oid.to_string().parse().map_err(|error| git2::Error::from_str(&format!("{error}")))
}

/// The first-parent commits after `since` up to `until`, oldest first.
pub(super) fn first_parents(repository: &Repository, since: Oid, until: Oid) -> Result<Vec<Oid>, git2::Error> {
    line(repository, &ancestry::after(repository, since, until)?, until)
}

/// Those of the `new` commits that are on the first-parent line of `until`, oldest first.
fn line(repository: &Repository, new: &BTreeSet<Oid>, until: Oid) -> Result<Vec<Oid>, git2::Error> {
    let line = object::first_parents(repository, until);
    let mut found: Vec<Oid> =
        line.take_while(|id| id.as_ref().map_or(true, |id| new.contains(id))).collect::<Result<_, _>>()?;
    found.reverse();
    Ok(found)
}

/// The commits after `since` up to `until`, as the port promises them.
pub(super) fn commits(
    repository: &Repository,
    since: Option<Oid>,
    until: Oid,
    signers: Option<&Signers>,
    mut comparer: Comparer<'_>,
) -> Result<Vec<Commit>, git2::Error> {
    // The first revision of all stands alone.
    let new = since.map_or_else(|| Ok([until].into()), |since| ancestry::after(repository, since, until))?;
    let line = line(repository, &new, until)?;
    let merges = Merges::among(repository, (&new, until), &line)?;
    if merges.is_none() {
        let what = "there are more new commits than are looked at: trailers that merges bring do not count, nor those of who \
                    may not speak for all; repeat them in a commit";
        tracing::warn!(%until, "{what}");
    }
    let mut left = Left { commits: MERGED, bytes: SAID_BYTES };
    let mut found = Vec::new();
    let mut after = After::new(repository);
    let way: Vec<Pair> = since.map(|since| comparer.pair(since, until)).transpose()?.into_iter().collect();
    let mut beside: Vec<(Option<Oid>, Pair)> = Vec::new();
    for (place, oid) in line.into_iter().rev().enumerate() {
        beside.retain(|(base, _)| *base != Some(oid));
        let carried = merges.as_ref().map_or(Ok(Vec::new()), |merges| brought(repository, merges, oid, &mut left))?;
        let branches =
            merges.as_ref().map_or(Ok(Vec::new()), |it| branches(repository, &comparer, (it, oid), until))?;
        if place >= COMMITS && carried.is_empty() && !left.takes_one_of(repository, oid)? {
            beside.extend(branches);
            after.passes(oid);
            continue;
        }
        let mut commit = commit(repository, oid, signers)?;
        let first = comparer.first_parent(oid)?;
        let brings = comparer.differing(&[&[first], &way[..]].concat())?;
        let alone: Vec<Pair> = way.iter().copied().chain(beside.iter().take(BESIDE).map(|(_, pair)| *pair)).collect();
        own(&mut comparer, &mut commit, oid, &alone)?;
        commit.brings = brings.files;
        commit.beyond.extend(brings.beyond);
        // What is not looked at may be somebody else's.
        commit.beyond.extend((beside.len() > BESIDE || merges.is_none()).then(String::new));
        for (id, mut said) in carried {
            own(&mut comparer, &mut said, id, &[&[first], &alone[..]].concat())?;
            commit.brought.push(said);
        }
        after.tell(&mut comparer, &mut commit, merges.as_ref().map_or(&[], |merges| merges.brought(oid)))?;
        after.passes(oid);
        beside.extend(branches);
        found.push(commit);
    }
    found.reverse();
    if !since.map_or(Ok(false), |since| ancestry::descends(repository, until, since))? {
        // A rewritten history holds what was said, and counted, before, and so may a first revision: to say it again takes a
        // commit on top.
        let all = found
            .iter_mut()
            .flat_map(|commit| commit.brought.iter_mut().map(|it| &mut it.later).chain([&mut commit.later]));
        all.for_each(|later| later.unknown = true);
    }
    Ok(found)
}

/// What a merge brings beside its first parent, up to `until`, each with where it parted. What was made on it as well as before the
/// merge is nobody's alone: whoever makes another's change once more speaks for nothing by it.
fn branches(
    repository: &Repository,
    comparer: &Comparer<'_>,
    (merges, merge): (&Merges, Oid),
    until: Oid,
) -> Result<Vec<(Option<Oid>, Pair)>, git2::Error> {
    let merge = object::find(repository, merge)?;
    let branch = |other: Oid| Ok((merges.parted(other), comparer.pair(other, until)?));
    merge.parent_ids().skip(1).take(BESIDE + 1).map(branch).collect()
}

/// What a commit changes itself: what is another way than in every parent of it. What is as in one of them was made there, by
/// whomever: in a merge that somebody makes of a branch and of his own commits, the first parent is not the branch. What of it
/// stands differs on the `way` as well.
fn own(comparer: &mut Comparer<'_>, commit: &mut Commit, oid: Oid, way: &[Pair]) -> Result<(), git2::Error> {
    let Some(parents) = comparer.parents(oid)? else {
        commit.beyond.insert(String::new());
        return Ok(());
    };
    let changed = comparer.differing(&parents)?;
    let stands = comparer.differing(&[&parents, way].concat())?;
    commit.changed = changed.files;
    commit.stands = stands.files;
    commit.beyond = changed.beyond.into_iter().chain(stands.beyond).collect();
    Ok(())
}

/// How much is still looked at of what old commits say, and of what merges bring.
struct Left {
    commits: usize,
    /// Of what trailers say.
    bytes: usize,
}

impl Left {
    fn is_spent(&self) -> bool {
        self.commits == 0 || self.bytes == 0
    }

    fn take(&mut self, said: &[(String, String)]) {
        self.bytes = self.bytes.saturating_sub(said.iter().map(|(key, value)| key.len() + value.len()).sum());
    }

    /// Whether a commit has trailers that are still taken.
    fn takes_one_of(&mut self, repository: &Repository, oid: Oid) -> Result<bool, git2::Error> {
        if self.is_spent() {
            return Ok(false);
        }
        let said = trailers(&String::from_utf8_lossy(object::find(repository, oid)?.message_bytes()));
        if said.is_empty() {
            return Ok(false);
        }
        self.commits -= 1;
        self.take(&said);
        if self.is_spent() {
            tracing::warn!(commit = %oid, commits = MERGED, bytes = SAID_BYTES, "{TOO_MUCH}");
        }
        Ok(true)
    }
}

const TOO_MUCH: &str =
    "new commits have more trailers than are looked at: those of the oldest do not count; repeat them in a commit";

/// The commits with trailers that a merge brings beside its first parent, oldest first: a pull request's stand in its own
/// commits.
fn brought(
    repository: &Repository,
    merges: &Merges,
    merge: Oid,
    left: &mut Left,
) -> Result<Vec<(Oid, Commit)>, git2::Error> {
    let mut said = Vec::new();
    for oid in merges.brought(merge) {
        if left.is_spent() {
            tracing::warn!(%merge, commits = MERGED, bytes = SAID_BYTES, "{TOO_MUCH}");
            break;
        }
        left.commits -= 1;
        let commit = commit(repository, *oid, None)?;
        if !commit.trailers.is_empty() {
            left.take(&commit.trailers);
            said.push((*oid, commit));
        }
    }
    said.reverse();
    Ok(said)
}

fn commit(repository: &Repository, oid: Oid, signers: Option<&Signers>) -> Result<Commit, git2::Error> {
    let commit = object::find(repository, oid)?;
    let author = commit.author();
    let message = String::from_utf8_lossy(commit.message_bytes());
    let name = clean(&String::from_utf8_lossy(&author.name), 200);
    let email = clean(&String::from_utf8_lossy(&author.email), 200);
    Ok(Commit {
        revision: revision(oid)?,
        author: format!("{name} <{email}>"),
        at: committed_at(&commit),
        subject: clean(message.trim_start().lines().next().unwrap_or_default(), 200),
        trailers: trailers(&message),
        changed: BTreeSet::new(),
        stands: BTreeSet::new(),
        brings: BTreeSet::new(),
        beyond: BTreeSet::new(),
        brought: Vec::new(),
        later: Later::default(),
        teams: BTreeSet::new(),
        signer: signers.and_then(|signers| signer(repository, oid, signers).ok().and_then(Result::ok)),
    })
}

fn committed_at(commit: &object::Commit<'_>) -> Timestamp {
    Timestamp::from_second(commit.committer().at).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The `Codeops-…` trailers of a commit message, by the rules of `git interpret-trailers`. Keys as they are spelt in the
/// documentation: `codeops-allow` counts as `Codeops-Allow`.
pub fn trailers(message: &str) -> Vec<(String, String)> {
    let mut end = message.len().min(object::MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let text = message[..end].replace('\0', "");
    let Ok(found) = git2::message_trailers_strs(&text) else { return Vec::new() };
    let ours = |(key, value): (&str, &str)| {
        let rest = key.get(..8).filter(|start| start.eq_ignore_ascii_case("codeops-")).and_then(|_| key.get(8..))?;
        let mut word = rest.to_ascii_lowercase();
        word.get_mut(..1)?.make_ascii_uppercase();
        Some((format!("Codeops-{word}"), clean(value, TRAILER)))
    };
    found.iter().filter_map(ours).take(TRAILERS).collect()
}

/// Who signed this commit, or why its signature does not count.
pub(super) fn signer(
    repository: &Repository,
    oid: Oid,
    signers: &Signers,
) -> Result<Result<String, String>, git2::Error> {
    let at = committed_at(&object::find(repository, oid)?);
    match repository.extract_signature(&oid, None) {
        Ok((signature, signed)) => Ok(signers.verify(&signature, &signed, at)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(Err("is not signed".to_owned())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ancestry::tests::{history, made, reach};
    use super::*;

    #[test]
    fn only_the_last_paragraph_holds_trailers() {
        let message = "Drop the old shop\n\nCodeops-Allow: not-here is prose\n\nmore\n\nSigned-off-by: A <a@b>\ncodeops-allow: abc123\nCodeops-Retry: app/shop\u{1b}[0m\n";
        assert_eq!(
            trailers(message),
            [("Codeops-Allow".into(), "abc123".into()), ("Codeops-Retry".into(), "app/shop[0m".to_owned())]
        );
        assert!(trailers("Codeops-Allow: a subject is no trailer").is_empty());
    }

    proptest! {
        #[test]
        fn any_message_is_taken(message in ".{0,400}") {
            let _ = trailers(&message);
        }

        /// Whatever dates they claim, and wherever what is in force came in.
        #[test]
        fn the_line_ends_at_what_was_there(commits in history(), since in any::<prop::sample::Index>()) {
            let (_folder, repository, ids) = made(&commits);
            let (since, until) = (since.index(commits.len()), commits.len() - 1);
            let old = reach(&commits, since);
            let mut line: Vec<Oid> = std::iter::successors(Some(until), |at| commits[*at].0.first().copied())
                .take_while(|at| !old.contains(at))
                .map(|at| ids[at])
                .collect();
            line.reverse();
            prop_assert_eq!(first_parents(&repository, ids[since], ids[until]).expect("read"), line);
        }
    }
}
