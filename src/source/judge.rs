//! Whether a tip may be followed: fast-forward only, and signed where signers are set. Reads the mirror, writes nothing.

use git2::{Oid, Repository};

use super::signers::Signers;
use super::{ancestry, history, object};
use crate::port::Tip;

/// All that decides.
pub(super) struct Question<'a> {
    /// The branch's tip.
    pub(super) tip: Oid,
    /// The revision in force.
    pub(super) current: Option<Oid>,
    /// `repository.accept`.
    pub(super) accept: Option<Oid>,
    /// What was accepted before.
    pub(super) accepted: Option<Acceptance>,
    /// Who may sign, if anyone must.
    pub(super) signers: Option<Signers>,
    /// For messages.
    pub(super) branch: &'a str,
}

/// A rewritten history that was accepted. It counts for the one revision then in force: once another is, it is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acceptance {
    /// `repository.accept`.
    pub(super) accept: Oid,
    /// The revision then in force.
    pub(super) from: Oid,
}

/// The decision.
pub(super) enum Verdict {
    /// This may be followed.
    Follow(Tip),
    /// This may be followed once the acceptance is remembered.
    Accept(Tip, Acceptance),
    /// Nothing may be followed yet, and why.
    Nothing(String),
}

/// Decides.
pub(super) fn judge(repository: &Repository, question: &Question<'_>) -> Result<Verdict, git2::Error> {
    // Makes sure that the tip is whole enough to be read before anything is said about it.
    object::find(repository, question.tip)?.tree()?;
    let Some(current) = question.current else { return first(repository, question) };
    if current == question.tip {
        return follow(current, None);
    }
    if descends(repository, question.tip, current)? {
        return signed_part(repository, question, current);
    }
    if let Some(now) = accepts(repository, question, current)? {
        return accepted(repository, question, now);
    }
    follow(current, Some(rewritten(question, current)))
}

fn follow(revision: Oid, held: Option<String>) -> Result<Verdict, git2::Error> {
    Ok(Verdict::Follow(Tip { revision: history::revision(revision)?, held }))
}

/// A revision that is not in the mirror is nobody's ancestor, nor anybody's descendant.
fn descends(repository: &Repository, tip: Oid, base: Oid) -> Result<bool, git2::Error> {
    let odb = repository.odb()?;
    Ok(odb.exists(base) && odb.exists(tip) && ancestry::descends(repository, tip, base)?)
}

/// Nothing is in force: the tip itself must be signed, what came before it is taken on its word.
fn first(repository: &Repository, question: &Question<'_>) -> Result<Verdict, git2::Error> {
    let Some(signers) = &question.signers else { return follow(question.tip, None) };
    match history::signer(repository, question.tip, signers)? {
        Ok(_) => follow(question.tip, None),
        Err(why) => Ok(Verdict::Nothing(unsigned(question.tip, &why))),
    }
}

/// Follows as far as every first-parent commit is signed.
fn signed_part(repository: &Repository, question: &Question<'_>, base: Oid) -> Result<Verdict, git2::Error> {
    let Some(signers) = &question.signers else { return follow(question.tip, None) };
    let mut newest = base;
    for commit in history::first_parents(repository, base, question.tip)? {
        if let Err(why) = history::signer(repository, commit, signers)? {
            // Off the first-parent line of what is in force, a signed part would be a step aside, not forward.
            let newest = if ancestry::descends(repository, newest, base)? { newest } else { base };
            return follow(newest, Some(unsigned(commit, &why)));
        }
        newest = commit;
    }
    follow(question.tip, None)
}

fn unsigned(commit: Oid, why: &str) -> String {
    format!(
        "commit {} {why}: it and what follows it are not taken; sign it with a key that repository.signers names and push it \
         in its place, or reset the branch to the signed commit before it and push that: no commit on top of it helps",
        short(commit)
    )
}

/// The rewritten history that the settings accept from `current`, if the tip is or continues it.
fn accepts(repository: &Repository, question: &Question<'_>, current: Oid) -> Result<Option<Acceptance>, git2::Error> {
    let Some(accept) = question.accept else { return Ok(None) };
    // One that lags is no rewritten history: it would take back what was committed since. Whoever wants that names its tip.
    if accept != question.tip && descends(repository, current, question.tip)? {
        return Ok(None);
    }
    let now = Acceptance { accept, from: current };
    let spent = question.accepted.is_some_and(|before| before.accept == accept && before != now);
    Ok((!spent && descends(repository, question.tip, accept)?).then_some(now))
}

fn accepted(repository: &Repository, question: &Question<'_>, now: Acceptance) -> Result<Verdict, git2::Error> {
    if let Some(signers) = &question.signers
        && let Err(why) = history::signer(repository, now.accept, signers)?
    {
        return follow(now.from, Some(unsigned(now.accept, &why)));
    }
    Ok(match signed_part(repository, question, now.accept)? {
        Verdict::Follow(tip) => Verdict::Accept(tip, now),
        other => other,
    })
}

fn rewritten(question: &Question<'_>, current: Oid) -> String {
    format!(
        "history was rewritten: branch `{}` is at {}, which does not descend from {}, the revision in force; push a commit \
         that descends from {}, or set repository.accept to {} in the settings",
        question.branch,
        short(question.tip),
        short(current),
        short(current),
        question.tip
    )
}

fn short(oid: Oid) -> String {
    oid.to_string().chars().take(7).collect()
}
