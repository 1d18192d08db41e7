//! Limits of all files of a revision, shared by those who may write them: nobody's files keep out another's. Only where all
//! want more than there is, each has as much as the others that want as much, and those that want less have it all.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::TeamSettings;
use crate::desired::teams::rights::{self, TOP};
use crate::desired::text::read::list;
use crate::model::TeamName;

/// Who may write a file or in a folder. Nothing is in the way of the Repository and the teams: their files are apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Writers {
    teams: Vec<TeamName>,
    of_people: bool,
}

impl Writers {
    /// Those of a path, by what the settings grant; a folder's ends with `/`.
    pub fn of(path: &str, teams: &BTreeMap<TeamName, TeamSettings>) -> Self {
        let granted = teams.iter().filter(|(_, own)| rights::claims(own, path)).map(|(name, _)| name.clone());
        Self { teams: granted.collect(), of_people: is_of_people(path) }
    }

    /// Their files, in words.
    fn files(&self) -> String {
        let what = if self.of_people { "codeops.yaml and the files of teams" } else { "the files" };
        let names: Vec<&str> = self.teams.iter().map(|name| name.as_str()).collect();
        match &names[..] {
            [] => format!("{what} that no team of the settings is granted"),
            [name] => format!("{what} that the team `{name}` may write"),
            _ => format!("{what} that the teams {} may write", list(&names)),
        }
    }

    /// Why nothing of theirs is looked at from some place on, for they have more than `most` of `what`.
    pub fn refusal(&self, most: usize, what: &str) -> Arc<str> {
        format!("from here on, in the order of paths, {} are not read: they are more than {most} {what}", self.files())
            .into()
    }
}

/// Whether a path is where the Repository and teams stand, also in an environment.
fn is_of_people(path: &str) -> bool {
    let overlay = path.strip_prefix(crate::desired::files::file::OVERLAYS).and_then(|rest| rest.split_once('/'));
    let inner = overlay.map_or(path, |(_, inner)| inner);
    inner == TOP || inner.starts_with("teams/")
}

/// So many files, and the bytes of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Much {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is left for each.
#[derive(Debug)]
pub struct Levelled {
    /// What one may have at most; `None` where all have what they want.
    files: Option<u64>,
    bytes: Option<u64>,
    taken: BTreeMap<Writers, Much>,
}

impl Levelled {
    /// Shares out `most` among those that want so much each.
    pub fn new(wanted: impl Iterator<Item = Much> + Clone, most: Much) -> Self {
        Self {
            files: share(wanted.clone().map(|wanted| wanted.files), most.files),
            bytes: share(wanted.map(|wanted| wanted.bytes), most.bytes),
            taken: BTreeMap::new(),
        }
    }

    /// Takes a file of so many bytes out of its writers' share, in the order of paths; or says why it is beyond it. What does not fit
    /// takes nothing from those after it.
    ///
    /// # Errors
    /// The reason, with whose share it is and how much.
    pub fn take(&mut self, writers: &Writers, bytes: u64) -> Result<(), Arc<str>> {
        let taken = self.taken.get(writers).copied().unwrap_or_default();
        let after = Much { files: taken.files + 1, bytes: taken.bytes.saturating_add(bytes) };
        let refused = |what: &str, share: u64| {
            let files = writers.files();
            format!(
                "this file is not read: the revision has more {what} than all may have together, and {files} have a share of \
                 {share}, which this one is beyond"
            )
        };
        if let Some(share) = self.files.filter(|share| after.files > *share) {
            return Err(refused("files", share).into());
        }
        if let Some(share) = self.bytes.filter(|share| after.bytes > *share) {
            return Err(refused("bytes", share).into());
        }
        self.taken.insert(writers.clone(), after);
        Ok(())
    }
}

/// The most that one may have, where all want more than there is: whoever wants no more than others has it.
fn share(wanted: impl Iterator<Item = u64>, most: u64) -> Option<u64> {
    let mut wanted: Vec<u64> = wanted.collect();
    wanted.sort_unstable();
    let (mut left, mut others) = (most, wanted.len() as u64);
    for wanted in wanted {
        let share = left / others;
        if wanted > share {
            return Some(share);
        }
        left -= wanted;
        others -= 1;
    }
    None
}
