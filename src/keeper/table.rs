//! All that a keeper knows, in one place: the durable part, written to `keeper.json` by an atomic rename, and the part that
//! lives in memory. Every change is pushed to whoever watches. It decides nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use codeops_core::model::{Digest, FieldDrift, Instance, InstanceId, Key, Resource, Stamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::process::Identity;
use super::wire::{Confidential, Done, Failure, ReleaseRun, Setting, State};

/// The file in the app's folder, which is the keeper's working directory.
pub(super) const FILE: &str = "keeper.json";
const NEW_FILE: &str = "keeper.json.new";
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
    /// Whether all is being removed.
    pub(super) deleting: bool,
}

/// One instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// As it is shown.
    pub(super) instance: Instance,
    /// What it was started as.
    pub(super) resource: Resource,
    /// Where and as whom it runs.
    pub(super) setting: Setting,
    /// Whether it was given secrets.
    pub(super) needs_secrets: bool,
    /// Its present process.
    pub(super) process: Option<Identity>,
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
}

impl Table {
    /// What the folder's file says; empty without one.
    ///
    /// # Errors
    /// When the file is there and cannot be read: starting without it would forget instances that run.
    pub(super) fn load() -> io::Result<Self> {
        let durable = match fs::read(FILE) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Durable::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { all: Mutex::new(All { durable, ..All::default() }), serial: watch::Sender::new(0) })
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

    /// Changes what is observed. It is written at once and not forced to the disk: after a power cut no process lives that
    /// it could be about.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut All) -> T) -> T {
        let mut all = self.lock();
        let out = change(&mut all);
        // A full disk must not stop supervision; the next change writes it all again.
        drop(save(&all.durable, false));
        self.changed(&mut all);
        out
    }

    /// Changes only what lives in memory.
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut Volatile) -> T) -> T {
        let mut all = self.lock();
        let out = change(&mut all.volatile);
        self.changed(&mut all);
        out
    }

    /// Does what a request asks, once per key: durable before it shows, or not at all.
    pub(super) fn once(
        &self,
        key: &Key,
        change: impl FnOnce(&mut Durable) -> Result<Done, Failure>,
    ) -> Result<(Done, bool), Failure> {
        let mut all = self.lock();
        if let Some((_, done)) = all.durable.keys.iter().find(|(known, _)| known == key) {
            return Ok((done.clone(), false));
        }
        let mut next = all.durable.clone();
        let done = change(&mut next)?;
        next.keys.push_back((key.clone(), done.clone()));
        while next.keys.len() > KEYS {
            next.keys.pop_front();
        }
        save(&next, true).map_err(|error| Failure::Retry(format!("the keeper cannot write its {FILE}: {error}")))?;
        all.durable = next;
        self.changed(&mut all);
        Ok((done, true))
    }

    /// Remembers the epoch of a daemon; `Err` is the higher one that was told before.
    pub(super) fn admit(&self, epoch: u64) -> Result<(), u64> {
        let mut all = self.lock();
        if epoch < all.durable.epoch {
            return Err(all.durable.epoch);
        }
        if epoch > all.durable.epoch {
            all.durable.epoch = epoch;
            drop(save(&all.durable, true));
            self.changed(&mut all);
        }
        Ok(())
    }

    fn changed(&self, all: &mut All) {
        all.volatile.serial += 1;
        self.serial.send_replace(all.volatile.serial);
    }

    /// All of it, as daemons are told.
    pub(super) fn state(&self) -> State {
        let all = self.lock();
        let (durable, volatile) = (&all.durable, &all.volatile);
        let missing: BTreeSet<&Digest> = durable
            .instances
            .values()
            .filter(|record| record.needs_secrets && !volatile.secrets.contains_key(&record.instance.template))
            .map(|record| &record.instance.template)
            .collect();
        let notes: BTreeSet<&String> = volatile.notes.values().flatten().collect();
        State {
            serial: volatile.serial,
            stamp: durable.stamp.clone(),
            resource: durable.resource.clone(),
            instances: durable.instances.values().map(|record| record.instance.clone()).collect(),
            address: volatile.address.clone(),
            drift: volatile.drift.clone(),
            notes: notes.into_iter().cloned().collect(),
            released: durable.released.clone(),
            release: durable.release.clone(),
            secrets_missing: missing.into_iter().cloned().collect(),
            deleting: durable.deleting,
            epoch: durable.epoch,
        }
    }
}

fn save(durable: &Durable, force: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(NEW_FILE)?;
    file.write_all(&serde_json::to_vec(durable)?)?;
    if force {
        file.sync_data()?;
    }
    fs::rename(NEW_FILE, FILE)?;
    if force {
        File::open(".")?.sync_all()?;
    }
    Ok(())
}
