//! A folder that an archive is written into: the one place that decides which entries are safe, whatever the format.
//!
//! Knows no archive format and no network.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use super::ArtifactError;
use super::bounded::ended;

/// How much an archive may become; beyond it is a bomb.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Entries of any kind, with the folders that they lie in and that are no entries of their own.
    pub entries: u64,
    /// Bytes unpacked for each byte packed, once more than 64 MiB are unpacked.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 4 << 30, entries: 100_000, ratio: 200 }
    }
}

impl Limits {
    /// How many bytes the files of an archive of `packed` bytes may have together.
    fn of_files(&self, packed: u64) -> u64 {
        self.bytes.min(packed.saturating_mul(self.ratio).max(FREE_OF_RATIO.max(packed)))
    }

    /// How many bytes it may unpack to, with what is beside the files.
    pub(super) fn unpacked(&self, packed: u64) -> u64 {
        self.of_files(packed).saturating_add(self.entries.saturating_mul(BESIDE_A_FILE))
    }
}

/// A tar's header, a full pax header with its own, and the padding of each.
const BESIDE_A_FILE: u64 = 4 << 10;
const FREE_OF_RATIO: u64 = 64 << 20;
const DEEPEST: usize = 64;
const LONGEST: usize = 4_096;

/// A folder being filled. All paths are judged before anything is made.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    bytes_left: u64,
    entries_left: u64,
    folders: Folders,
}

/// The folders that were made, each by the number of the one that it lies in and its name there: whole paths, up to 4 KiB each,
/// would say the same names again and again.
#[derive(Debug, Default)]
struct Folders(HashMap<(usize, OsString), usize>);

impl Folders {
    /// The folder that is filled.
    const TOP: usize = 0;

    fn within(&self, folder: usize, name: &OsStr) -> Option<usize> {
        self.0.get(&(folder, name.to_owned())).copied()
    }

    fn add(&mut self, folder: usize, name: &OsStr) -> usize {
        let number = self.0.len() + 1;
        self.0.insert((folder, name.to_owned()), number);
        number
    }

    fn contains(&self, path: &Path) -> bool {
        let found = path.components().try_fold(Self::TOP, |folder, part| self.within(folder, part.as_os_str()));
        found.is_some()
    }

    /// All of them, each after those that lie in it: a folder is made after the one that it lies in.
    fn inside_out(&self) -> impl Iterator<Item = PathBuf> {
        let mut places = vec![(Self::TOP, OsStr::new("")); self.0.len() + 1];
        for ((within, name), number) in &self.0 {
            places[*number] = (*within, name);
        }
        (1..places.len()).rev().map(move |number| {
            let (mut names, mut at) = (Vec::new(), number);
            while at != Self::TOP {
                let (within, name) = places[at];
                names.push(name);
                at = within;
            }
            names.into_iter().rev().collect()
        })
    }
}

impl Tree {
    /// A tree below `root`, which exists and is empty; `packed` is the archive's size in bytes.
    pub fn new(root: &Path, packed: u64, limits: &Limits) -> Self {
        let bytes_left = limits.of_files(packed);
        Self { root: root.to_owned(), bytes_left, entries_left: limits.entries, folders: Folders::default() }
    }

    /// Makes a folder and its parents.
    pub fn folder(&mut self, name: &[u8]) -> Result<(), ArtifactError> {
        let path = relative(name)?;
        // One that is made is counted as it is made.
        if self.folders_down_to(&path, name)? == 0 {
            self.count(name)?;
        }
        Ok(())
    }

    /// Writes a regular file, executable or not, replacing a regular file of the same name.
    pub fn file(&mut self, name: &[u8], executable: bool, from: &mut dyn Read) -> Result<(), ArtifactError> {
        self.count(name)?;
        let path = self.new_place(name)?;
        match fs::symlink_metadata(&path) {
            Ok(there) if there.is_file() => {
                fs::remove_file(&path).map_err(|e| ArtifactError::disk("replace", &path, &e))?;
            }
            Ok(_) => return Err(refused(name, "it stands in the place of a folder or link of the same archive")),
            Err(_) => {}
        }
        let mode = if executable { 0o555 } else { 0o444 };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| ArtifactError::disk("make", &path, &e))?;
        self.copy(name, from, &mut file, &path)?;
        file.set_permissions(Permissions::from_mode(mode)).map_err(|e| ArtifactError::disk("seal", &path, &e))
    }

    /// Makes a symbolic link that stays inside the tree.
    ///
    /// A target is `..`s, at most as many as the link's own folder is deep, then plain names. As no entry is ever written
    /// through a link, the link's folder is where its name says, so by induction no chain of links leaves the tree.
    pub fn symlink(&mut self, name: &[u8], target: &[u8]) -> Result<(), ArtifactError> {
        self.count(name)?;
        let path = self.new_place(name)?;
        let depth = relative(name)?.components().count() - 1;
        let target = Path::new(OsStr::from_bytes(target));
        if !stays_inside(target, depth) {
            return Err(refused(name, &format!("its link to {} leads out", shown(target.as_os_str().as_bytes()))));
        }
        if fs::symlink_metadata(&path).is_ok() {
            return Err(refused(name, "it is in the archive twice"));
        }
        symlink(target, &path).map_err(|e| ArtifactError::disk("make", &path, &e))
    }

    /// Makes another name for a regular file that the archive brought before.
    pub fn hard_link(&mut self, name: &[u8], target: &[u8]) -> Result<(), ArtifactError> {
        self.count(name)?;
        let path = self.new_place(name)?;
        let target = self.root.join(self.without_links(target)?);
        if !fs::symlink_metadata(&target).is_ok_and(|there| there.is_file()) {
            return Err(refused(name, "its hard link is to something that is not a file of the same archive"));
        }
        if fs::symlink_metadata(&path).is_ok() {
            return Err(refused(name, "it is in the archive twice"));
        }
        fs::hard_link(&target, &path).map_err(|e| ArtifactError::disk("link", &path, &e))
    }

    /// Refuses an entry of a kind that has no place in a release.
    pub fn refuse(&self, name: &[u8], why: &str) -> ArtifactError {
        refused(name, why)
    }

    /// Makes all folders read-only; nothing can be added any more.
    pub fn seal(self) -> Result<(), ArtifactError> {
        for folder in self.folders.inside_out().map(|f| self.root.join(f)).chain([self.root.clone()]) {
            fs::set_permissions(&folder, Permissions::from_mode(0o555))
                .map_err(|e| ArtifactError::disk("seal", &folder, &e))?;
        }
        Ok(())
    }

    fn count(&mut self, name: &[u8]) -> Result<(), ArtifactError> {
        self.entries_left = self
            .entries_left
            .checked_sub(1)
            .ok_or_else(|| refused(name, "the archive has too many entries, with the folders that they lie in"))?;
        Ok(())
    }

    /// The place of a new entry, its parents made.
    fn new_place(&mut self, name: &[u8]) -> Result<PathBuf, ArtifactError> {
        let path = relative(name)?;
        let parent = path.parent().ok_or_else(|| refused(name, "it has no name"))?.to_owned();
        if path.as_os_str().is_empty() {
            return Err(refused(name, "it has no name"));
        }
        self.folders_down_to(&parent, name)?;
        Ok(self.root.join(path))
    }

    /// Makes the folders of a path that are not there; answers how many. Each counts: few entries may lie in many.
    fn folders_down_to(&mut self, path: &Path, name: &[u8]) -> Result<usize, ArtifactError> {
        let (mut folder, mut full, mut made) = (Folders::TOP, self.root.clone(), 0);
        for part in path.components() {
            let part = part.as_os_str();
            full.push(part);
            if let Some(there) = self.folders.within(folder, part) {
                folder = there;
                continue;
            }
            self.count(name)?;
            match fs::create_dir(&full) {
                Ok(()) => {
                    folder = self.folders.add(folder, part);
                    made += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(refused(name, "a part of its path is a link or file"));
                }
                Err(error) => return Err(ArtifactError::disk("make", &full, &error)),
            }
        }
        Ok(made)
    }

    /// A path whose parents are all folders made here.
    fn without_links(&self, name: &[u8]) -> Result<PathBuf, ArtifactError> {
        let path = relative(name)?;
        match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() || self.folders.contains(parent) => Ok(path),
            _ => Err(refused(name, "it is not in the same archive")),
        }
    }

    fn copy(&mut self, name: &[u8], from: &mut dyn Read, to: &mut File, path: &Path) -> Result<(), ArtifactError> {
        let mut buffer = vec![0_u8; 64 << 10];
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let broken = || refused(name, &format!("it cannot be unpacked: {error}"));
                    return Err(ended(&error).unwrap_or_else(broken));
                }
            };
            self.bytes_left = self
                .bytes_left
                .checked_sub(count as u64)
                .ok_or_else(|| refused(name, "the archive unpacks to far more than it may"))?;
            to.write_all(&buffer[..count]).map_err(|e| ArtifactError::disk("write", path, &e))?;
        }
    }
}

/// The path an entry's name means below the root; `.` parts are dropped.
fn relative(name: &[u8]) -> Result<PathBuf, ArtifactError> {
    if name.len() > LONGEST || name.contains(&0) {
        return Err(refused(name, "its name is too long or holds a zero byte"));
    }
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) if part.len() <= 255 => path.push(part),
            Component::Normal(_) => return Err(refused(name, "a part of its name is too long")),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(refused(name, "its name leads out of the archive"));
            }
        }
    }
    if path.components().count() > DEEPEST {
        return Err(refused(name, "it lies too deep"));
    }
    Ok(path)
}

fn stays_inside(target: &Path, depth: usize) -> bool {
    let bytes = target.as_os_str().as_bytes();
    if bytes.is_empty() || bytes.len() > LONGEST || bytes.contains(&0) {
        return false;
    }
    let mut up = 0;
    let mut down = false;
    for part in target.components() {
        match part {
            Component::ParentDir if !down => up += 1,
            Component::Normal(_) => down = true,
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    up <= depth
}

fn refused(name: &[u8], why: &str) -> ArtifactError {
    ArtifactError::Refused(format!("the artifact's entry `{}` is refused: {why}", shown(name)))
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(120).flat_map(char::escape_debug).collect()
}
