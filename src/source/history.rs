//! What the commits say: who made them, their trailers, whether they descend and who signed them. Reads the mirror only.

use std::collections::BTreeSet;

use codeops_core::model::Revision;
use git2::{Oid, Repository};
use jiff::Timestamp;

use super::signers::Signers;
use super::text::clean;
use crate::port::Commit;

/// The most commits one answer holds.
const COMMITS: usize = 1_000;
/// So many commits that merges bring are looked at for trailers, the newest first.
const MERGED: usize = 10_000;
/// A first-parent line is followed so far for its other end.
const LINE: usize = 100_000;
/// A message longer than this is cut before its trailers are looked for.
const MESSAGE_BYTES: usize = 64 << 10;

/// The object id of a revision.
pub(super) fn oid(revision: &Revision) -> Result<Oid, git2::Error> {
    Oid::from_str(revision.as_str())
}

/// The revision of an object id.
pub(super) fn revision(oid: Oid) -> Result<Revision, git2::Error> {
    oid.to_string().parse().map_err(|error| git2::Error::from_str(&format!("{error}")))
}

/// Whether `tip` is `base` or descends from it.
pub(super) fn descends(repository: &Repository, tip: Oid, base: Oid) -> Result<bool, git2::Error> {
    Ok(tip == base || repository.graph_descendant_of(tip, base)?)
}

/// The first-parent commits after `since` up to `until`, oldest first, the newest `most` of them.
pub(super) fn first_parents(
    repository: &Repository,
    since: Option<Oid>,
    until: Oid,
    most: usize,
) -> Result<Vec<Oid>, git2::Error> {
    let Some(since) = since else { return Ok(vec![until]) };
    let mut found = match straight_line(repository, since, until)? {
        Some(line) => line,
        None => around(repository, since, until)?,
    };
    found.truncate(most);
    found.reverse();
    Ok(found)
}

/// The usual case, newest first: `since` is on the first-parent line. Looks at no dates, so wrong clocks do not matter.
fn straight_line(repository: &Repository, since: Oid, until: Oid) -> Result<Option<Vec<Oid>>, git2::Error> {
    let mut line = Vec::new();
    let mut at = until;
    while at != since {
        line.push(at);
        let commit = repository.find_commit(at)?;
        match commit.parent_ids().next() {
            Some(parent) if line.len() < LINE => at = parent,
            _ => return Ok(None),
        }
    }
    Ok(Some(line))
}

/// `since` came in by a merge, or not at all: the first parents that it does not reach, newest first.
fn around(repository: &Repository, since: Oid, until: Oid) -> Result<Vec<Oid>, git2::Error> {
    let mut walk = repository.revwalk()?;
    walk.simplify_first_parent()?;
    walk.push(until)?;
    walk.hide(since)?;
    walk.collect()
}

/// The commits after `since` up to `until`, as the port promises them.
pub(super) fn commits(
    repository: &Repository,
    since: Option<Oid>,
    until: Oid,
    signers: Option<&Signers>,
    path: &[String],
) -> Result<Vec<Commit>, git2::Error> {
    let mut left = MERGED;
    let mut found = Vec::new();
    let differ = since.map(|since| differ(repository, Some(since), until, path)).transpose()?;
    for oid in first_parents(repository, since, until, COMMITS)?.into_iter().rev() {
        let mut commit = commit(repository, oid, signers)?;
        let mut brought = brought(repository, since, oid, &mut left)?;
        brought.retain(|trailer| !commit.trailers.contains(trailer));
        commit.trailers.extend(brought);
        commit.changed = changed(repository, oid, path)?;
        commit.stands = match &differ {
            Some(differ) => commit.changed.intersection(differ).cloned().collect(),
            None => commit.changed.clone(),
        };
        found.push(commit);
    }
    found.reverse();
    Ok(found)
}

/// The files below the followed folder that a commit changes, against its first parent.
fn changed(repository: &Repository, oid: Oid, path: &[String]) -> Result<BTreeSet<String>, git2::Error> {
    // A shallow clone names parents that it has not.
    let parent = repository.find_commit(oid)?.parent(0).ok();
    differ(repository, parent.map(|parent| parent.id()), oid, path)
}

/// The files below the followed folder that differ between two commits, or that the second one has.
fn differ(
    repository: &Repository,
    before: Option<Oid>,
    after: Oid,
    path: &[String],
) -> Result<BTreeSet<String>, git2::Error> {
    let tree = |oid: Oid| repository.find_commit(oid)?.tree();
    let before = before.map(tree).transpose()?;
    let diff = repository.diff_tree_to_tree(before.as_ref(), Some(&tree(after)?), None)?;
    let folder: String = path.iter().flat_map(|segment| [segment, "/"]).collect();
    let files = diff.deltas().flat_map(|delta| {
        [delta.old_file().path(), delta.new_file().path()]
            .map(|path| path.map(|path| path.to_string_lossy().into_owned()))
    });
    Ok(files.flatten().filter_map(|file| Some(file.strip_prefix(&folder)?.to_owned())).collect())
}

/// What the commits say that a merge brings beside its first parent: a pull request's trailers stand in its own commits.
/// Who made or signed the merge answers for them. `left` is how many are still looked at.
fn brought(
    repository: &Repository,
    since: Option<Oid>,
    merge: Oid,
    left: &mut usize,
) -> Result<Vec<(String, String)>, git2::Error> {
    let parents: Vec<Oid> = repository.find_commit(merge)?.parent_ids().collect();
    let [first, others @ ..] = parents.as_slice() else { return Ok(Vec::new()) };
    // The first revision of all stands alone.
    let Some(since) = since.filter(|_| !others.is_empty()) else { return Ok(Vec::new()) };
    let mut walk = repository.revwalk()?;
    walk.set_sorting(git2::Sort::TOPOLOGICAL)?;
    for parent in others {
        walk.push(*parent)?;
    }
    walk.hide(*first)?;
    walk.hide(since)?;
    let mut said = Vec::new();
    for oid in walk {
        let oid = oid?;
        if *left == 0 {
            let what = "a merge brings more commits than are looked at: trailers of its oldest do not count; repeat them in \
                        a commit of the branch";
            tracing::warn!(%merge, most = MERGED, "{what}");
            break;
        }
        *left -= 1;
        let commit = repository.find_commit(oid)?;
        // The oldest first, as they were said.
        said.splice(0..0, trailers(&String::from_utf8_lossy(commit.message_bytes())));
    }
    said.dedup();
    Ok(said)
}

fn commit(repository: &Repository, oid: Oid, signers: Option<&Signers>) -> Result<Commit, git2::Error> {
    let commit = repository.find_commit(oid)?;
    let author = commit.author();
    let message = String::from_utf8_lossy(commit.message_bytes());
    let name = clean(&String::from_utf8_lossy(author.name_bytes()), 200);
    let email = clean(&String::from_utf8_lossy(author.email_bytes()), 200);
    Ok(Commit {
        revision: revision(oid)?,
        author: format!("{name} <{email}>"),
        at: committed_at(&commit),
        subject: clean(message.trim_start().lines().next().unwrap_or_default(), 200),
        trailers: trailers(&message),
        changed: BTreeSet::new(),
        stands: BTreeSet::new(),
        teams: BTreeSet::new(),
        signer: signers.and_then(|signers| signer(repository, oid, signers).ok().and_then(Result::ok)),
    })
}

fn committed_at(commit: &git2::Commit<'_>) -> Timestamp {
    Timestamp::from_second(commit.time().seconds()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The `Codeops-…` trailers of a commit message, by the rules of `git interpret-trailers`. Keys as they are spelt in the
/// documentation: `codeops-allow` counts as `Codeops-Allow`.
pub fn trailers(message: &str) -> Vec<(String, String)> {
    let mut end = message.len().min(MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let text = message[..end].replace('\0', "");
    let Ok(found) = git2::message_trailers_strs(&text) else { return Vec::new() };
    let ours = |(key, value): (&str, &str)| {
        let rest = key.get(..8).filter(|start| start.eq_ignore_ascii_case("codeops-")).and_then(|_| key.get(8..))?;
        let mut word = rest.to_ascii_lowercase();
        word.get_mut(..1)?.make_ascii_uppercase();
        Some((format!("Codeops-{word}"), clean(value, 1_000)))
    };
    found.iter().filter_map(ours).collect()
}

/// Who signed this commit, or why its signature does not count.
pub(super) fn signer(
    repository: &Repository,
    oid: Oid,
    signers: &Signers,
) -> Result<Result<String, String>, git2::Error> {
    let at = committed_at(&repository.find_commit(oid)?);
    match repository.extract_signature(&oid, None) {
        Ok((signature, signed)) => Ok(signers.verify(&signature, &signed, at)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(Err("is not signed".to_owned())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    }
}
