//! The provider's folders and the small files in them: who the system is, and one record an app. No keeper is talked to.
//!
//! ```text
//! STATE/PROVIDER/            0711, so that apps under uids of their own reach what is theirs
//!   identity.json            made once: a random id, and the last uid given out
//!   apps/FOLDER/             0700: one an app; its record and its keeper's files
//!   data/FOLDER/             0700, the app's own: what it may write; goes when the app is deleted
//!   kept/NAME/               what it wrote, once it has moved: see [`super::kept`]
//!   releases/SHA256.KEY/     what artifacts unpack to; under an app's own group where it has one
//! ```
//! A folder keeps the name it was made under when its app is renamed: what runs in it never sees its paths change.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use codeops_core::model::{Key, ResourceId, SystemId};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::kept::{Going, Kept};
use crate::base::{give_folder, random, remove_folder, write_private};
use crate::keeper::twins::IDENTITY;

/// The record in an app's folder: without it the folder is not ours.
pub(super) const RECORD: &str = "app.json";
/// What a keeper that was ever configured keeps in its app's folder until a delete is done.
pub(super) const KEEPER_STATE: &str = "keeper.json";
/// How many of an app's last releases stay beside the last good one and those that run.
const REMEMBERED: usize = 4;

/// What is remembered of one app beside what its keeper remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppRecord {
    /// The id it was made under.
    pub(super) made_as: ResourceId,
    /// The ids its stamp may bear, the newest last: two from just before a rename until it is certain, else one. What the
    /// keeper says outweighs it; this is what is known while no keeper answers. Empty in records of earlier versions.
    #[serde(default)]
    pub(super) ids: Vec<ResourceId>,
    /// The uid of its own that it was given, if any.
    #[serde(default)]
    pub(super) uid: Option<u32>,
    /// The releases it started last, newest first.
    #[serde(default)]
    pub(super) releases: Vec<String>,
    /// The release of an instance that was healthy, as last seen before a step.
    #[serde(default)]
    pub(super) good: Option<String>,
    /// The releases its instances ran in, as last seen before a step; `None` in records of earlier versions.
    #[serde(default)]
    pub(super) running: Option<BTreeSet<String>>,
    /// The key of the delete that is under way.
    #[serde(default)]
    pub(super) deleting: Option<Key>,
    /// What that delete is of. Empty in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) going: Option<Box<Going>>,
    /// Since when instances are judged as they are, where an earlier keeper was told so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) judged_since: Option<Timestamp>,
}

impl AppRecord {
    /// The record of an app that is new here.
    pub(super) fn new(id: ResourceId, uid: Option<u32>) -> Self {
        let running = Some(BTreeSet::new());
        Self {
            ids: vec![id.clone()],
            made_as: id,
            uid,
            releases: Vec::new(),
            good: None,
            running,
            deleting: None,
            going: None,
            judged_since: None,
        }
    }

    /// The ids it may bear, the newest last; never none.
    pub(super) fn ids(&self) -> &[ResourceId] {
        if self.ids.is_empty() { std::slice::from_ref(&self.made_as) } else { &self.ids }
    }

    /// From now on it may bear `id` too.
    pub(super) fn may_become(&mut self, id: &ResourceId) {
        let mut ids = self.ids().to_vec();
        ids.retain(|other| other != id);
        ids.push(id.clone());
        self.ids = ids;
    }

    /// Puts a release first.
    pub(super) fn uses(&mut self, release: &str) {
        self.releases.retain(|other| other != release);
        self.releases.insert(0, release.to_owned());
        self.releases.truncate(REMEMBERED);
    }

    /// The releases that must stay for it, as far as they were written down.
    pub(super) fn needs(&self) -> impl Iterator<Item = String> {
        self.releases.iter().chain(&self.good).chain(self.running.iter().flatten()).cloned()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    id: String,
    #[serde(default)]
    last_uid: Option<u32>,
    /// Where the folder lay when that was first written down.
    #[serde(default)]
    folder: Option<PathBuf>,
}

/// The folders of one provider.
#[derive(Debug, Clone)]
pub(super) struct Home {
    pub(super) root: PathBuf,
}

/// One folder below `apps/`.
#[derive(Debug)]
pub(super) enum Found {
    /// It has a record of ours.
    App(String, AppRecord),
    /// It has none: somebody else's.
    Foreign(String),
}

impl Home {
    /// Opens or makes the folders of the provider `name` in the daemon's state folder.
    pub(super) fn open(state: &Path, name: &str) -> io::Result<Self> {
        let home = Self { root: state.join(name) };
        for folder in [home.root.clone(), home.apps(), home.root.join("data")] {
            DirBuilder::new().recursive(true).mode(0o711).create(&folder)?;
            fs::set_permissions(&folder, Permissions::from_mode(0o711))?;
        }
        fs::set_permissions(home.apps(), Permissions::from_mode(0o700))?;
        let (file, folder) = (home.root.join(IDENTITY), Some(fs::canonicalize(&home.root)?));
        if !file.exists() {
            let id = hex::encode(random::<16>()?);
            write_json(&file, &Identity { id, last_uid: None, folder })?;
        } else {
            let identity: Identity = read_json(&file)?;
            if identity.folder.is_none() {
                write_json(&file, &Identity { folder, ..identity })?;
            }
        }
        Ok(home)
    }

    /// Throws away what an earlier daemon left half made. Only for the daemon that owns the state folder.
    pub(super) fn tidy(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.apps())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(".new-") {
                remove_folder(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The identity of this system: this folder, where it lies, on this machine. A copy is another system: what it knows of runs
    /// under the other one's daemon. So is one that was moved, for nobody can tell them apart.
    pub(super) fn system(&self) -> io::Result<SystemId> {
        let identity: Identity = read_json(&self.root.join(IDENTITY))?;
        let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let mut all = format!("{}\n{}", machine.trim(), identity.id);
        if self.made_in()?.is_some() {
            all = format!("{all}\n{}", fs::canonicalize(&self.root)?.display());
        }
        Ok(SystemId(format!("process:{}", hex::encode(&Sha256::digest(all)[..16]))))
    }

    /// Where it was made, if it lies elsewhere now: a copy of that one, or that one moved.
    pub(super) fn made_in(&self) -> io::Result<Option<PathBuf>> {
        let identity: Identity = read_json(&self.root.join(IDENTITY))?;
        let here = fs::canonicalize(&self.root)?;
        Ok(identity.folder.filter(|folder| *folder != here))
    }

    /// The uids that apps of the other providers beside this one have, and those of data that are kept: the range is one for the
    /// whole machine.
    pub(super) fn uids_beside(&self) -> BTreeSet<u32> {
        let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let providers = self.root.parent().into_iter().flat_map(folders).filter(|path| *path != self.root);
        let records = providers.flat_map(|provider| folders(&provider.join("apps")).collect::<Vec<_>>());
        let live = records.filter_map(|folder| read_json::<AppRecord>(&folder.join(RECORD)).ok()?.uid);
        live.chain(self.kept_anywhere().iter().filter_map(Kept::uid)).collect()
    }

    /// A uid for a new app: after the last one given out, so that a freed one rests as long as possible. One caller at a
    /// time: it reads, chooses and writes.
    pub(super) fn next_uid(&self, free: impl Fn(u32) -> bool) -> io::Result<u32> {
        let path = self.root.join(IDENTITY);
        let mut identity: Identity = read_json(&path)?;
        let (first, last) = super::users::RANGE;
        let begin = identity.last_uid.map_or(first, |uid| uid + 1).clamp(first, last);
        let uid = (begin..=last).chain(first..begin).find(|&uid| free(uid)).ok_or_else(|| {
            io::Error::other(format!("every uid from {first} to {last} is taken: set `runAs` for some apps"))
        })?;
        identity.last_uid = Some(uid);
        write_json(&path, &identity)?;
        Ok(uid)
    }

    pub(super) fn apps(&self) -> PathBuf {
        self.root.join("apps")
    }

    pub(super) fn app(&self, folder: &str) -> PathBuf {
        self.apps().join(folder)
    }

    pub(super) fn data(&self, folder: &str) -> PathBuf {
        self.root.join("data").join(folder)
    }

    pub(super) fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// Every folder below `apps/` but those in `known`, ours or not.
    pub(super) fn list(&self, known: &BTreeSet<String>) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.apps())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && !known.contains(&name) {
                found.extend(self.find(name)?);
            }
        }
        Ok(found)
    }

    /// What lies at `apps/NAME`, if anything does.
    pub(super) fn find(&self, name: String) -> io::Result<Option<Found>> {
        match self.record(&name) {
            Ok(record) => Ok(Some(Found::App(name, record))),
            Err(error) if is_no_record(&error) => Ok(self.app(&name).exists().then_some(Found::Foreign(name))),
            // Out of descriptors, an ailing disk: that says nothing of whose folder it is.
            Err(error) => Err(error),
        }
    }

    /// Makes the folder of a new app in one rename, under its name or, where that is taken, the name and a number.
    pub(super) fn make(&self, record: &AppRecord) -> io::Result<String> {
        let scratch = tempfile::Builder::new().prefix(".new-").tempdir_in(self.apps())?;
        write_json(&scratch.path().join(RECORD), record)?;
        let name = record.made_as.name.as_str();
        for number in 1..1_000_u32 {
            let folder = if number == 1 { name.to_owned() } else { format!("{name}.{number}") };
            let place = self.app(&folder);
            match rustix::fs::renameat_with(
                rustix::fs::CWD,
                scratch.path(),
                rustix::fs::CWD,
                &place,
                rustix::fs::RenameFlags::NOREPLACE,
            ) {
                Ok(()) => {
                    let _ = scratch.keep();
                    File::open(self.apps())?.sync_all()?;
                    return Ok(folder);
                }
                Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other(format!("{} has no name left for {name}", self.apps().display())))
    }

    /// Makes the app's own folder for what it writes, owned by `owner` if given; what it wrote as another user goes along.
    pub(super) fn make_data(&self, folder: &str, owner: Option<(u32, u32)>) -> io::Result<PathBuf> {
        let data = self.data(folder);
        DirBuilder::new().recursive(true).mode(0o700).create(&data)?;
        if let Some((uid, gid)) = owner {
            give_folder(&data, uid, gid)?;
        }
        Ok(data)
    }

    pub(super) fn record(&self, folder: &str) -> io::Result<AppRecord> {
        read_json(&self.app(folder).join(RECORD))
    }

    pub(super) fn write_record(&self, folder: &str, record: &AppRecord) -> io::Result<()> {
        write_json(&self.app(folder).join(RECORD), record)
    }

    /// Removes all of one app. The record goes last: a half-removed app is still known as ours.
    pub(super) fn remove(&self, folder: &str) -> io::Result<()> {
        let gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let data = self.data(folder);
        // A volume that is mounted there is emptied, and stays.
        remove_folder(&data).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", data.display())))?;
        let app = self.app(folder);
        match fs::read_dir(&app) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry?;
                    if entry.file_name() == RECORD {
                        continue;
                    }
                    let path = entry.path();
                    let is_folder = entry.file_type()?.is_dir();
                    gone(if is_folder { remove_folder(&path) } else { fs::remove_file(path) })?;
                }
            }
            Err(error) => return gone(Err(error)),
        }
        gone(fs::remove_file(app.join(RECORD)))?;
        gone(fs::remove_dir(app))
    }
}

/// There is none, or none that this provider wrote.
fn is_no_record(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::InvalidData
    )
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&fs::read(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))
}

pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    write_private(path, &serde_json::to_vec(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> AppRecord {
        AppRecord::new(id.parse().unwrap(), None)
    }

    #[test]
    fn the_system_is_this_folder_and_outlives_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let one = Home::open(state.path(), "local").unwrap().system().unwrap();
        assert_eq!(one, Home::open(state.path(), "local").unwrap().system().unwrap());
        assert_ne!(one, Home::open(state.path(), "other").unwrap().system().unwrap());
        // A copy, as somebody unpacks a backup beside what it is of.
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join("local")).unwrap();
        fs::copy(state.path().join("local").join(IDENTITY), copy.path().join("local").join(IDENTITY)).unwrap();
        let copied = Home::open(copy.path(), "local").unwrap().system().unwrap();
        assert_ne!(one, copied);
        assert_eq!(copied, Home::open(copy.path(), "local").unwrap().system().unwrap());
    }

    #[test]
    fn a_folder_is_never_made_over_another_and_goes_whole() {
        let state = tempfile::tempdir().unwrap();
        let home = Home::open(state.path(), "local").unwrap();
        fs::create_dir(home.app("shop")).unwrap();
        assert_eq!(home.make(&record("app/shop")).unwrap(), "shop.2");
        let listed = home.list(&BTreeSet::new()).unwrap();
        assert!(listed.iter().any(|found| matches!(found, Found::Foreign(name) if name == "shop")));
        assert!(listed.iter().any(|found| matches!(found, Found::App(name, _) if name == "shop.2")));
        fs::write(home.make_data("shop.2", None).unwrap().join("x"), "x").unwrap();
        home.remove("shop.2").unwrap();
        home.remove("shop.2").unwrap();
        assert_eq!(home.list(&BTreeSet::new()).unwrap().len(), 1);
        assert!(!home.data("shop.2").exists());
    }

    #[test]
    fn uids_rest_before_they_are_given_again() {
        let state = tempfile::tempdir().unwrap();
        let home = Home::open(state.path(), "local").unwrap();
        let first = home.next_uid(|_| true).unwrap();
        assert_eq!(home.next_uid(|_| true).unwrap(), first + 1);
        assert_eq!(home.next_uid(|uid| uid == first).unwrap(), first);
        assert!(home.next_uid(|_| false).is_err());
    }

    #[test]
    fn uids_of_other_providers_are_known() {
        let state = tempfile::tempdir().unwrap();
        let (one, two) = (Home::open(state.path(), "one").unwrap(), Home::open(state.path(), "two").unwrap());
        one.make(&AppRecord::new("app/shop".parse().unwrap(), Some(64_007))).unwrap();
        assert_eq!(two.uids_beside(), BTreeSet::from([64_007]));
        assert!(one.uids_beside().is_empty());
    }

    #[test]
    fn a_record_tells_every_id_that_the_app_may_bear() {
        let mut record: AppRecord = serde_json::from_str(r#"{"madeAs":"app/shop"}"#).unwrap();
        let ids = |record: &AppRecord| record.ids().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(ids(&record), ["app/shop"]);
        record.may_become(&"app/store".parse().unwrap());
        assert_eq!(ids(&record), ["app/shop", "app/store"]);
        record.may_become(&"app/shop".parse().unwrap());
        assert_eq!(ids(&record), ["app/store", "app/shop"]);
    }

    #[test]
    fn a_record_that_cannot_be_read_makes_no_folder_somebody_elses() {
        let state = tempfile::tempdir().unwrap();
        let home = Home::open(state.path(), "local").unwrap();
        fs::create_dir(home.app("shop")).unwrap();
        std::os::unix::fs::symlink(RECORD, home.app("shop").join(RECORD)).unwrap();
        assert!(home.list(&BTreeSet::new()).is_err());
        assert!(home.list(&BTreeSet::from(["shop".to_owned()])).unwrap().is_empty());
    }

    #[test]
    fn an_app_remembers_its_last_releases() {
        let mut record = record("app/shop");
        for name in ["a", "b", "c", "d", "e"] {
            record.uses(name);
        }
        record.uses("e");
        record.uses("c");
        assert_eq!(record.releases, ["c", "e", "d", "b"]);
        record.good = Some("a".to_owned());
        record.running = Some(BTreeSet::from(["older".to_owned()]));
        assert_eq!(record.needs().collect::<Vec<_>>(), ["c", "e", "d", "b", "a", "older"]);
    }
}
