//! Twins: keepers of the same app of the same system in another folder, which this one is a copy of, or which is a copy of it.
//! Both would start its instances, and take those over that either folder tells of.
//!
//! No path tells them, for folders are moved and others come where they were. A system is known by the id that its folder was
//! made with, which goes along with every copy; a folder by its device and inode; what runs there by where it works. The kernel says
//! that of every process that one could take over, and of others it need not be known. A twin whose folder was removed is told by
//! the copy's lock.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::lock::{copied_from, is_held, place};

/// The file in a system's folder that says what it is.
pub const IDENTITY: &str = "identity.json";

/// A keeper in another folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// Its process.
    pub pid: u32,
    /// Where it works, as the kernel calls that now.
    pub folder: PathBuf,
}

/// A system's folder.
struct System {
    id: String,
    place: (u64, u64),
}

fn place_of(folder: &Path) -> Option<(u64, u64)> {
    Some(place(&fs::metadata(folder).ok()?))
}

fn id_of(folder: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Identity {
        id: String,
    }
    let identity: Identity = serde_json::from_slice(&fs::read(folder.join(IDENTITY)).ok()?).ok()?;
    Some(identity.id)
}

impl System {
    fn of(home: &Path) -> Option<Self> {
        Some(Self { id: id_of(home)?, place: place_of(home)? })
    }

    /// The process, and which app it is a twin for, if it is one.
    fn twin(&self, pid: u32) -> Option<(OsString, Twin)> {
        let cwd = Path::new("/proc").join(pid.to_string()).join("cwd");
        let folder = fs::read_link(&cwd).ok()?;
        // Most processes are none, and are asked no more than this.
        let app = folder.parent()?.file_name().filter(|apps| *apps == "apps").and(folder.file_name())?.to_owned();
        // By now its path may be another's: asked is what it works in itself.
        let home = cwd.join("../..");
        let is_elsewhere = place_of(&home)? != self.place;
        let is_twin =
            is_elsewhere && id_of(&home)? == self.id && is_held(&cwd) && is_keeper(pid)? && is_of_this_machine(pid)?;
        is_twin.then_some((app, Twin { pid, folder }))
    }
}

/// Others may work there too.
fn is_keeper(pid: u32) -> Option<bool> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(words.split(|byte| *byte == 0).nth(1) == Some(b"keeper"))
}

/// What runs in a container is called by other process ids there, and takes nothing over from here.
fn is_of_this_machine(pid: u32) -> Option<bool> {
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/pid")).ok();
    Some(namespace(&pid.to_string())? == namespace("self")?)
}

impl Twin {
    /// The one that the lock in an app's `folder` tells of.
    #[must_use]
    pub fn copied_with(folder: &Path) -> Option<Self> {
        let pid = copied_from(folder)?;
        let cwd = PathBuf::from(format!("/proc/{pid}/cwd"));
        Some(Self { pid, folder: fs::read_link(&cwd).unwrap_or(cwd) })
    }

    /// The same as it is now, if it is still there for an app of the system whose folder is `home`.
    #[must_use]
    pub fn now(&self, home: &Path) -> Option<Self> {
        let (app, now) = System::of(home)?.twin(self.pid)?;
        (Some(&*app) == self.folder.file_name()).then_some(now)
    }
}

/// All of the system whose folder is `home`, by app: looks at every process.
#[must_use]
pub fn all(home: &Path) -> BTreeMap<OsString, Twin> {
    let Some(system) = System::of(home) else { return BTreeMap::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| system.twin(pid)).collect()
}

/// The one of the keeper whose folder is `folder`.
pub(super) fn of(folder: &Path) -> Option<Twin> {
    let (home, app) = (folder.parent()?.parent()?, folder.file_name()?);
    Twin::copied_with(folder).or_else(|| all(home).remove(app))
}
