//! Read-only views of revisions, one folder each, shared by all scripts of that revision. Made when first needed; the
//! oldest that nobody uses go.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use codeops_core::model::Revision;

use crate::base::remove_folder;
use crate::port::Source;

/// How many views stay for the next script.
const KEPT: usize = 4;
/// What the folder of a view that is not whole yet begins with.
const NEW: &str = ".new-";
/// What the folder of a view that is being removed begins with.
const GONE: &str = ".gone-";

/// All views.
pub(super) struct Views {
    folder: PathBuf,
    /// How often each is in use.
    used: Arc<std::sync::Mutex<BTreeMap<PathBuf, usize>>>,
    /// Held while one is made or removed.
    making: tokio::sync::Mutex<()>,
}

/// A view in use; it stays while this lives.
pub(super) struct View {
    path: PathBuf,
    used: Arc<std::sync::Mutex<BTreeMap<PathBuf, usize>>>,
}

impl View {
    /// Its folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = used.get_mut(&self.path) {
            *count -= 1;
        }
        used.retain(|_, count| *count > 0);
    }
}

impl Views {
    /// Views below `folder`; what was not finished there is removed.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
        for entry in fs::read_dir(folder)?.flatten() {
            if is_unfinished(&entry) {
                remove_folder(&entry.path())?;
            }
        }
        Ok(Self { folder: folder.to_owned(), used: Arc::default(), making: tokio::sync::Mutex::default() })
    }

    /// The view of one revision.
    ///
    /// # Errors
    /// The revision cannot be read, or the view not written; one sentence.
    pub(super) async fn of(&self, revision: &Revision, source: &dyn Source) -> Result<View, String> {
        let _making = self.making.lock().await;
        let path = self.folder.join(revision.as_str());
        if !path.is_dir() {
            let fresh = self.folder.join(format!("{NEW}{revision}"));
            let unwritable = |error: io::Error| format!("the view of {} cannot be made: {error}", revision.short());
            let left = fresh.clone();
            beside(move || remove_folder(&left)).await.map_err(unwritable)?;
            source.export(revision, &fresh).await.map_err(|error| error.0)?;
            let whole = path.clone();
            beside(move || put(&fresh, &whole)).await.map_err(unwritable)?;
        }
        *self.used.lock().unwrap_or_else(PoisonError::into_inner).entry(path.clone()).or_default() += 1;
        let view = View { path, used: Arc::clone(&self.used) };
        let gone = self.put_aside();
        if !gone.is_empty() {
            let removed = beside(move || {
                gone.iter().for_each(|path| remove(path));
                Ok(())
            });
            // Nothing waits for how it went.
            let _ = removed.await;
        }
        Ok(view)
    }

    /// Takes the oldest that are not in use out of the way, and tells what is to be removed.
    fn put_aside(&self) -> Vec<PathBuf> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let idle = entries.filter(|entry| !is_unfinished(entry) && !used.contains_key(&entry.path()));
        let mut idle: Vec<_> =
            idle.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
        idle.sort();
        let old = idle.into_iter().rev().skip(KEPT).filter_map(|(_, path)| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            // One that is half removed would be taken for a whole one.
            let gone = self.folder.join(format!("{GONE}{name}"));
            match fs::rename(&path, &gone) {
                Ok(()) => Some(gone),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "an old view cannot be put aside");
                    // What is left of an earlier one may be in the way.
                    gone.is_dir().then_some(gone)
                }
            }
        });
        old.collect()
    }
}

/// Whether it is being made or removed, or was when a daemon ended.
fn is_unfinished(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    name.starts_with(NEW) || name.starts_with(GONE)
}

/// Files first, then the name: after a power cut there is a whole view or none.
fn put(fresh: &Path, path: &Path) -> io::Result<()> {
    rustix::fs::syncfs(fs::File::open(fresh)?)?;
    fs::rename(fresh, path)
}

fn remove(path: &Path) {
    if let Err(error) = remove_folder(path) {
        tracing::warn!(path = %path.display(), %error, "an old view cannot be removed");
    }
}

/// Does what may take long beside the tasks that answer others.
async fn beside(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
