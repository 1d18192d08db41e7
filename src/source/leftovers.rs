//! What a git that was killed, or this daemon, leaves behind in a mirror.

use std::fs;
use std::path::Path;

/// Removes what a killed git leaves behind: locks that would stop the next one, and packs that are not whole.
pub(super) fn sweep(folder: &Path) {
    let packs = folder.join("objects/pack");
    let mut folders = vec![folder.to_owned(), folder.join("refs"), packs.clone()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if at.starts_with(folder.join("refs")) {
                    folders.push(entry.path());
                }
            } else if name.ends_with(".lock")
                || name == "gc.pid"
                || (at == folder && name.starts_with(".next-"))
                || (at == packs && name.starts_with("tmp_"))
            {
                // What cannot be removed stops the next git, which says so.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
