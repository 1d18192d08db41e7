//! Commits by the bot: turns an order into a change of one file that the team may claim. Making and pushing the commit is
//! the source's work.

use std::sync::Arc;

use codeops_core::desired::{self, Files};
use codeops_core::model::{Period, TeamName};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Parts, failed, text, unknown};
use crate::port::{CommitChange, CommitError, CommitOrder, EffectError, GitOrder, GitOrderChange, Performed};

/// Makes the commit that a step asks for.
pub(super) async fn perform(parts: &Parts, key: &str, order: &GitOrder) -> Result<Performed, EffectError> {
    let file = match &order.change {
        GitOrderChange::RevertLast { file, .. }
        | GitOrderChange::Set { file, .. }
        | GitOrderChange::Known { file, .. } => file,
    };
    granted(parts, &order.team, file)?;
    let now = parts.clock.now();
    let change = match &order.change {
        GitOrderChange::RevertLast { file, within, .. } => {
            let ago =
                |within: &Period| SignedDuration::from_millis(i64::try_from(within.as_millis()).unwrap_or(i64::MAX));
            let since = within.as_ref().map(|within| now.checked_sub(ago(within)).unwrap_or(Timestamp::MIN));
            CommitChange::RevertLast { file: file.clone(), since }
        }
        GitOrderChange::Set { file, .. } | GitOrderChange::Known { file, .. } => {
            let (file, change) = (file.clone(), order.change.clone());
            CommitChange::Edit { file, edit: Arc::new(move |bytes, files| edited(&change, bytes, files)) }
        }
    };
    let commit = CommitOrder {
        change,
        subject: text::line(&parts.veil(&order.team).redact(&order.subject), 72),
        trailers: vec![("Codeops-Run".to_owned(), order.run.to_string())],
        key: parts.seal.of(key),
        bot: &parts.bot,
    };
    let made = parts.committer.commit(&commit).await.map_err(|error| match error {
        // Where the branch could not be looked at, it may be there.
        CommitError::Failed(why) if order.again => unknown(why),
        CommitError::Failed(why) => failed(why),
        CommitError::Unknown(why) => unknown(why),
    })?;
    let already = if made.already { ", which was there already" } else { "" };
    let evidence = format!("commit {} ({}){already}", made.revision.short(), made.subject);
    Ok(Performed { output: json!({"revision": made.revision.as_str(), "subject": made.subject}), evidence })
}

/// What becomes of the file's bytes; nothing where that would bring a mistake.
fn edited(change: &GitOrderChange, bytes: &[u8], files: &Files) -> Result<Vec<u8>, String> {
    match change {
        GitOrderChange::Set { file, document, path, value, .. } => {
            let document = document.as_ref().map(|document| (document.kind.as_str(), document.name.as_str()));
            let edited = desired::edit(bytes, document, path, value).map_err(|why| format!("`{file}`: {why}"))?;
            match desired::spoils(files, file, &edited) {
                Some(why) => Err(format!("`{file}` would not be valid with {value} at `{path}`: {why}")),
                None => Ok(edited),
            }
        }
        GitOrderChange::Known { why, .. } => Err(why.clone()),
        GitOrderChange::RevertLast { .. } => Ok(bytes.to_vec()),
    }
}

/// The bot writes where the team itself may.
fn granted(parts: &Parts, team: &TeamName, file: &str) -> Result<(), EffectError> {
    let may = parts.teams.is_empty() || parts.teams.get(team).is_some_and(|settings| desired::claims(settings, file));
    if may {
        return Ok(());
    }
    Err(failed(format!(
        "the team `{team}` may not change `{file}`: add it to `teams.{team}.paths` in the daemon's settings"
    )))
}
