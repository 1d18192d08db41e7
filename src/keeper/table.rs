//! All that a keeper knows, in one place: the durable part, which `slots` keeps on the disk, and the part that lives in memory. Every change is pushed to whoever watches. It decides nothing.
//!
//! The disk is written on a thread of its own, one change after the other, so that no request waits for it that is being
//! forwarded. A change shows after it was written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use codeops_core::model::{Digest, FieldDrift, Instance, InstanceId, Key, Resource, Stamp, TeamName};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as Turns, OwnedMutexGuard, watch};
use tokio::task::spawn_blocking;

use super::process::Identity;
use super::slots::{FILE, Slots};
use super::wire::{Confidential, Done, Failure, Lost, ReleaseRun, Setting, State};
use crate::base::complain;
use crate::launch::cgroup::Group;

/// Keys that are remembered.
const KEYS: usize = 256;

/// What outlives the keeper. No secret is ever in it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Durable {
    /// The highest epoch of a daemon that was seen.
    pub(super) epoch: u64,
    /// As last configured.
    pub(super) stamp: Option<Stamp>,
    /// As last configured.
    pub(super) resource: Option<Resource>,
    /// By id.
    pub(super) instances: BTreeMap<InstanceId, Record>,
    /// Keys and what they were answered, oldest first.
    pub(super) keys: VecDeque<(Key, Done)>,
    /// The template whose release command last succeeded.
    pub(super) released: Option<Digest>,
    /// The newest release command.
    pub(super) release: Option<ReleaseRun>,
    /// The process of a release command that runs.
    pub(super) release_process: Option<Identity>,
    /// What it is the release command of.
    pub(super) releasing: Option<Resource>,
    /// Whether all is being removed.
    pub(super) deleting: bool,
    /// Where its folder lies; `None` in files of earlier versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) folder: Option<PathBuf>,
}

impl Durable {
    /// Whether the process is one that was written down, also if nobody has taken it over yet.
    pub(super) fn is_own(&self, pid: u32) -> bool {
        let processes = self.instances.values().filter_map(|record| record.process.as_ref());
        processes.chain(&self.release_process).any(|process| process.pid == pid)
    }

    /// What runs with secrets, by template.
    fn confidential(&self) -> BTreeMap<&Digest, &Resource> {
        let instances = self.instances.values().filter(|record| record.needs_secrets).map(|record| &record.resource);
        let releasing = self.releasing.iter().filter(|resource| !resource.spec.secrets.is_empty());
        instances.chain(releasing).map(|resource| (&resource.template_digest, resource)).collect()
    }

    /// Whose what runs as `resource` is now: an app comes to another team without a new instance.
    pub(super) fn team_of<'a>(&'a self, resource: &'a Resource) -> &'a TeamName {
        let stamp = self.stamp.as_ref().filter(|stamp| stamp.template == resource.template_digest);
        stamp.map_or(&resource.team, |stamp| &stamp.team)
    }

    /// Whether anything runs from this template.
    pub(super) fn uses(&self, template: &Digest) -> bool {
        let instances = self.instances.values().map(|record| &record.instance.template);
        instances.chain(self.releasing.iter().map(|resource| &resource.template_digest)).any(|used| used == template)
    }
}

/// One instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// As it is shown.
    pub(super) instance: Instance,
    /// What it was started as, judged as it last passed.
    pub(super) resource: Resource,
    /// Where and as whom it runs.
    pub(super) setting: Setting,
    /// Whether it was given secrets.
    pub(super) needs_secrets: bool,
    /// Its present process.
    pub(super) process: Option<Identity>,
    /// The control groups it was last started in.
    #[serde(default)]
    pub(super) group: Group,
}

/// What is gone with the keeper.
#[derive(Debug, Default)]
pub(super) struct Volatile {
    /// `host:port` clients reach the app at.
    pub(super) address: Option<String>,
    /// Found by the keeper.
    pub(super) drift: Vec<FieldDrift>,
    /// By what they are about, so that each part of the keeper replaces only its own.
    pub(super) notes: BTreeMap<String, Vec<String>>,
    /// By template.
    pub(super) secrets: BTreeMap<Digest, Confidential>,
    serial: u64,
}

/// Both.
#[derive(Debug, Default)]
pub(super) struct All {
    /// What outlives the keeper.
    pub(super) durable: Durable,
    /// What is gone with it.
    pub(super) volatile: Volatile,
}

/// The one copy of all of it.
#[derive(Debug)]
pub(super) struct Table {
    all: Mutex<All>,
    serial: watch::Sender<u64>,
    slots: Arc<Slots>,
    /// Held from the look at what is until what becomes of it is written and shown: changes come one after the other.
    turns: Arc<Turns<()>>,
}

impl Table {
    /// What the files in `dir` say; empty without one.
    ///
    /// # Errors
    /// When there is one and none can be read: starting without it would forget instances that run.
    pub(super) fn load(dir: &Path) -> io::Result<Self> {
        let (slots, durable) = Slots::open(dir)?;
        let all = Mutex::new(All { durable: durable.unwrap_or_default(), ..All::default() });
        Ok(Self { all, serial: watch::Sender::new(0), slots: Arc::new(slots), turns: Arc::default() })
    }

    /// Its folder is `here`; see [`Durable::lies_in`]. Written with the next change: until then it is found out again.
    pub(super) fn lies_in(&self, from: Option<&Path>, here: &Path) {
        let mut all = self.lock();
        if all.durable.folder.as_deref() != Some(here) {
            all.durable.lies_in(from, here);
        }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks.
    pub(super) fn read<T>(&self, look: impl FnOnce(&All) -> T) -> T {
        look(&self.lock())
    }

    /// Told of every change.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.serial.subscribe()
    }

    /// Changes what is observed. What cannot be written is known all the same.
    pub(super) async fn update(&self, change: impl FnOnce(&mut Durable)) {
        let (turn, mut next) = self.begin().await;
        change(&mut next);
        // A full disk must not stop supervision; the next change writes it all again.
        let (_turn, _written) = self.write(turn, &next, false).await;
        self.commit(next);
    }

    /// Changes what the next keeper must find before anything follows from it: written, and not waited for until it is on
    /// the disk, for what it tells of is gone after a power cut.
    ///
    /// # Errors
    /// When it cannot be written; then nothing is changed.
    pub(super) async fn record(&self, change: impl FnOnce(&mut Durable)) -> io::Result<()> {
        let (turn, mut next) = self.begin().await;
        change(&mut next);
        let (_turn, written) = self.write(turn, &next, false).await;
        written?;
        self.commit(next);
        Ok(())
    }

    /// Changes only what lives in memory.
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut Volatile) -> T) -> T {
        let mut all = self.lock();
        let out = change(&mut all.volatile);
        self.changed(&mut all);
        out
    }

    /// Does what a request asks, once per key: durable before it shows, or not at all.
    pub(super) async fn once(
        &self,
        key: &Key,
        change: impl FnOnce(&mut Durable) -> Result<Done, Failure>,
    ) -> Result<(Done, bool), Failure> {
        let (turn, mut next) = self.begin().await;
        if let Some((_, done)) = next.keys.iter().find(|(known, _)| known == key) {
            return Ok((done.clone(), false));
        }
        let done = change(&mut next)?;
        next.keys.push_back((key.clone(), done.clone()));
        while next.keys.len() > KEYS {
            next.keys.pop_front();
        }
        let (_turn, written) = self.write(turn, &next, true).await;
        written.map_err(|error| Failure::Retry(error.to_string()))?;
        self.commit(next);
        Ok((done, true))
    }

    /// Remembers the epoch of a daemon; `Err` is the higher one that was told before.
    pub(super) async fn admit(&self, epoch: u64) -> Result<(), u64> {
        if self.read(|all| all.durable.epoch) == epoch {
            return Ok(());
        }
        let (turn, mut next) = self.begin().await;
        if epoch < next.epoch {
            return Err(next.epoch);
        }
        if epoch > next.epoch {
            next.epoch = epoch;
            let (_turn, written) = self.write(turn, &next, true).await;
            if let Err(error) = written {
                // It counts all the same, and is written with the first step: none takes effect before that is on the disk.
                complain(format_args!("codeops keeper: the daemon's epoch {epoch} is known in memory alone: {error}"));
            }
            self.commit(next);
        }
        Ok(())
    }

    async fn begin(&self) -> (OwnedMutexGuard<()>, Durable) {
        let turn = self.turns.clone().lock_owned().await;
        let next = self.lock().durable.clone();
        (turn, next)
    }

    /// The turn goes along with the writing: whoever is dropped meanwhile gives it back only when that is over.
    async fn write(
        &self,
        turn: OwnedMutexGuard<()>,
        next: &Durable,
        durable: bool,
    ) -> (Option<OwnedMutexGuard<()>>, io::Result<()>) {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("the keeper cannot write its {FILE}: {error}"));
        let bytes = match serde_json::to_vec(next) {
            Ok(bytes) => bytes,
            Err(error) => return (Some(turn), Err(named(error.into()))),
        };
        let slots = self.slots.clone();
        match spawn_blocking(move || (turn, slots.write(&bytes, durable))).await {
            Ok((turn, written)) => (Some(turn), written.map_err(named)),
            Err(error) => (None, Err(named(io::Error::other(error)))),
        }
    }

    /// Shows what was written.
    fn commit(&self, next: Durable) {
        let mut all = self.lock();
        all.durable = next;
        self.changed(&mut all);
    }

    fn changed(&self, all: &mut All) {
        all.volatile.serial += 1;
        self.serial.send_replace(all.volatile.serial);
    }

    /// All of it, as daemons are told.
    pub(super) fn state(&self) -> State {
        let all = self.lock();
        let (durable, volatile) = (&all.durable, &all.volatile);
        let mut missing = durable.confidential();
        missing.retain(|template, _| !volatile.secrets.contains_key(*template));
        let notes: BTreeSet<&String> = volatile.notes.values().flatten().collect();
        State {
            serial: volatile.serial,
            stamp: durable.stamp.clone(),
            resource: durable.resource.clone(),
            instances: durable.instances.values().map(|record| record.instance.clone()).collect(),
            folders: durable.instances.iter().map(|(id, record)| (id.clone(), record.setting.dir.clone())).collect(),
            users: durable.instances.iter().map(|(id, record)| (id.clone(), record.setting.user.clone())).collect(),
            address: volatile.address.clone(),
            drift: volatile.drift.clone(),
            notes: notes.into_iter().cloned().collect(),
            released: durable.released.clone(),
            release: durable.release.clone(),
            secrets_missing: missing.keys().copied().cloned().collect(),
            lost: missing.into_values().map(|resource| Lost::of(resource, durable.team_of(resource))).collect(),
            deleting: durable.deleting,
            epoch: durable.epoch,
            trials: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn told(table: &Table, epoch: u64) {
        assert_eq!(table.admit(epoch).await, Ok(()));
    }

    fn epoch(dir: &Path) -> io::Result<u64> {
        Ok(Table::load(dir)?.read(|all| all.durable.epoch))
    }

    #[tokio::test]
    async fn a_broken_file_is_answered_with_the_one_before_and_two_with_an_error() {
        let dir = tempfile::tempdir().expect("a folder");
        let table = Table::load(dir.path()).expect("empty");
        for epoch in 1..=3 {
            told(&table, epoch).await;
        }
        assert_eq!(epoch(dir.path()).ok(), Some(3));
        // As after a power cut: what was not synced is empty, what was is whole.
        table.update(|durable| durable.epoch = 9).await;
        fs::write(dir.path().join(FILE), "").expect("written");
        assert_eq!(epoch(dir.path()).ok(), Some(3));
        // The broken one never takes the earlier one's place.
        told(&Table::load(dir.path()).expect("the earlier one"), 4).await;
        assert_eq!(epoch(dir.path()).ok(), Some(4));
        for file in [FILE, "keeper.json.bak"] {
            fs::write(dir.path().join(file), "{").expect("written");
        }
        let error = epoch(dir.path()).expect_err("instances would be forgotten");
        assert!(error.to_string().contains("keeper.json cannot be read"), "{error}");
    }

    #[tokio::test]
    async fn what_must_be_written_is_not_shown_when_it_cannot_be_and_what_is_observed_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let table = Table::load(dir.path()).expect("empty");
        fs::create_dir(dir.path().join("keeper.json.new")).expect("in the way");
        let error = table.record(|durable| durable.deleting = true).await.expect_err("it cannot be written");
        assert!(error.to_string().contains("cannot write its keeper.json"), "{error}");
        assert!(!table.read(|all| all.durable.deleting));
        table.update(|durable| durable.deleting = true).await;
        assert!(table.read(|all| all.durable.deleting));
    }

    #[tokio::test]
    async fn a_change_that_is_dropped_halfway_does_not_overtake_the_next() {
        let dir = tempfile::tempdir().expect("a folder");
        let table = Table::load(dir.path()).expect("empty");
        for epoch in 1..=50 {
            let dropped = table.update(|durable| durable.deleting = true);
            tokio::select! {
                biased;
                () = dropped => {}
                () = tokio::task::yield_now() => {}
            }
            told(&table, epoch).await;
            let on_disk = Table::load(dir.path()).expect("whole");
            assert_eq!(on_disk.read(|all| all.durable.epoch), epoch);
        }
    }
}
