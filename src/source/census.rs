//! What is in a revision or folder, before any of it is read: counted for each who may write it, so that whoever writes more than
//! all may have together keeps out nobody's files but their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::config::TeamSettings;
use codeops_core::desired::{File, Files, Levelled, Much, Writers, is_manifest};
use codeops_core::model::TeamName;

use super::Limits;

/// What the settings grant each team.
pub(super) type Teams = BTreeMap<TeamName, TeamSettings>;

/// What was found, in the order of the paths. `T` is what a file is read by.
pub(super) struct Census<'t, T> {
    limits: Limits,
    teams: &'t Teams,
    of: BTreeMap<Writers, Count>,
    found: Vec<Found<T>>,
    /// What stands for all that was not looked at.
    cut: Files,
}

/// One file that is wanted.
pub(super) struct Found<T> {
    pub(super) path: String,
    /// The bytes of it that are kept.
    pub(super) size: u64,
    pub(super) at: T,
}

#[derive(Default)]
struct Count {
    entries: usize,
    wanted: Much,
    /// The environments of whose overlays some are not looked at; `None` of manifests.
    cut: BTreeSet<Option<String>>,
}

impl<'t, T> Census<'t, T> {
    pub(super) fn new(limits: Limits, teams: &'t Teams) -> Self {
        Self { limits, teams, of: BTreeMap::new(), found: Vec::new(), cut: Files::new() }
    }

    /// One more entry, file or not, or a folder, whose path ends with `/`; whether it is looked at.
    pub(super) fn entry(&mut self, path: &str) -> bool {
        let writers = Writers::of(path, self.teams);
        let count = self.of.entry(writers.clone()).or_default();
        let looks = count.entries < self.limits.entries;
        if looks {
            count.entries += 1;
        } else {
            self.cut(path, &writers, self.limits.entries, "files and folders");
        }
        looks
    }

    /// A file that is wanted, of which so many bytes are kept.
    pub(super) fn wants(&mut self, path: String, size: u64, at: T) {
        let writers = Writers::of(&path, self.teams);
        let count = self.of.entry(writers.clone()).or_default();
        // More than there may be of all is nobody's share.
        if count.wanted.files >= self.limits.files as u64 {
            return self.cut(&path, &writers, self.limits.files, "manifests and scripts");
        }
        count.wanted.files += 1;
        count.wanted.bytes += size;
        self.found.push(Found { path, size, at });
    }

    /// Tells of the first that is not looked at: what is in it and after it is not known.
    fn cut(&mut self, path: &str, writers: &Writers, most: usize, what: &str) {
        if !path.ends_with('/') && !is_manifest(path) {
            return;
        }
        let environment = path.strip_prefix("environments/").and_then(|rest| rest.split_once('/'));
        let environment = environment.map(|(name, _)| name.to_owned());
        let told = &mut self.of.entry(writers.clone()).or_default().cut;
        if told.len() < self.limits.files.max(1) && told.insert(environment) {
            self.cut.insert(path.into(), File::left_out(writers.refusal(most, what)));
        }
    }

    /// Whether all that there is may be read.
    pub(super) fn fits(&self) -> bool {
        let entries: usize = self.of.values().map(|count| count.entries).sum();
        let files: u64 = self.of.values().map(|count| count.wanted.files).sum();
        let bytes: u64 = self.of.values().map(|count| count.wanted.bytes).sum();
        let is_within = entries <= self.limits.entries && bytes <= self.limits.total_bytes;
        self.cut.is_empty() && is_within && files <= self.limits.files as u64
    }

    /// Each file that was found, with why it is beyond its share, if it is; and what stands for those that were not.
    pub(super) fn level(self) -> (impl Iterator<Item = (Found<T>, Option<Arc<str>>)>, Files) {
        let most = Much { files: self.limits.files as u64, bytes: self.limits.total_bytes };
        let mut levelled = Levelled::new(self.of.values().map(|count| count.wanted), most);
        let teams = self.teams;
        let each = self.found.into_iter().map(move |found| {
            let beyond = levelled.take(&Writers::of(&found.path, teams), found.size).err();
            (found, beyond)
        });
        (each, self.cut)
    }
}
