//! The lock of an app's folder: a keeper holds it for as long as it lives, and says in it who it is. In a copy of the folder it
//! says so still, of a keeper that holds another file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::process::Identity;

/// Its name in an app's folder.
pub const LOCK: &str = "keeper.lock";

/// How often, and how far apart, a folder that is held is tried.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(2);

/// What a keeper says in it; earlier versions said nothing.
#[derive(Serialize, Deserialize)]
struct Holder {
    #[serde(flatten)]
    process: Identity,
    /// Device and inode of the file it holds.
    file: (u64, u64),
}

/// A file or folder as the kernel knows it, whatever it is called.
pub(super) fn place(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// The lock in the working directory.
pub(super) fn open() -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(LOCK)
}

/// Takes the folder. A daemon that looks whether it is held holds it itself for an instant, so once is not enough.
pub(super) fn take(lock: &File) -> io::Result<()> {
    for _ in 0..LOOKS {
        match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOOK),
            taken => return Ok(taken?),
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "another keeper holds this folder"))
}

/// Says in it who holds it: this process.
pub(super) fn sign(mut lock: &File) -> io::Result<()> {
    let holder = Holder { process: Identity::of(std::process::id())?, file: place(&lock.metadata()?) };
    lock.set_len(0)?;
    lock.write_all(&serde_json::to_vec(&holder)?)
}

/// The process that the lock in `folder` tells of, where it runs and holds another file: this folder is a copy of its own.
pub(super) fn copied_from(folder: &Path) -> Option<u32> {
    let file = folder.join(LOCK);
    let holder: Holder = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
    (place(&fs::metadata(file).ok()?) != holder.file && holder.process.runs()).then_some(holder.process.pid)
}

/// Whether a keeper holds the folder, listening or not.
#[must_use]
pub fn is_held(folder: &Path) -> bool {
    File::open(folder.join(LOCK)).is_ok_and(|lock| is_locked(&lock))
}

/// Whether a process holds this lock.
#[must_use]
pub fn is_locked(lock: &File) -> bool {
    match rustix::fs::flock(lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => false,
        Err(error) => error == Errno::WOULDBLOCK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(folder: &Path) -> File {
        let lock = OpenOptions::new().create(true).append(true).open(folder.join(LOCK)).expect("made");
        sign(&lock).and_then(|()| sign(&lock)).expect("signed twice, as at a handover");
        lock
    }

    #[test]
    fn a_copied_lock_tells_of_its_keeper_for_as_long_as_that_runs() {
        let (own, copy) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        assert_eq!(copied_from(copy.path()), None);
        drop(signed(own.path()));
        fs::copy(own.path().join(LOCK), copy.path().join(LOCK)).expect("copied");
        assert_eq!(copied_from(own.path()), None, "its own is free once it is not held");
        assert_eq!(copied_from(copy.path()), Some(std::process::id()));
        fs::rename(own.path().join(LOCK), own.path().join("moved")).expect("moved");
        fs::rename(own.path().join("moved"), own.path().join(LOCK)).expect("moved");
        assert_eq!(copied_from(own.path()), None, "wherever it was moved");
        // As after a reboot, where the process id is another's.
        let told = fs::read_to_string(copy.path().join(LOCK)).expect("read");
        let mut told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        for (field, other) in [("boot", serde_json::json!("another")), ("start", serde_json::json!(1))] {
            let before = std::mem::replace(&mut told[field], other);
            fs::write(copy.path().join(LOCK), told.to_string()).expect("written");
            assert_eq!(copied_from(copy.path()), None, "{field}");
            told[field] = before;
        }
    }

    #[test]
    fn who_ended_and_was_not_waited_for_runs_no_more() {
        #[expect(clippy::disallowed_methods, reason = "a process that ends")]
        let mut child = std::process::Command::new("sleep").arg("300").spawn().expect("it starts");
        let identity = Identity::of(child.id()).expect("it lives");
        assert!(identity.runs());
        child.kill().expect("killed");
        let waited = rustix::process::waitid(
            rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child)),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        );
        waited.expect("it ends");
        assert!(!identity.runs());
        child.wait().expect("reaped");
    }
}
