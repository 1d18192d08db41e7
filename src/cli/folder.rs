//! A plain folder as the files of a revision: for `validate`, which needs no Git. It follows no link and runs nothing.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use codeops_core::desired::{File, Files, is_wanted};
use sha2::{Digest, Sha256};

use super::exit::Coded;

/// No config repository is larger; a folder that is was named by mistake.
const MOST_FILES: usize = 200_000;

/// As much of a file as is read: more than a manifest may have, so that the compiler can say so of it.
const MOST_BYTES: u64 = 2 * 1024 * 1024;

/// Reads the manifests and scripts below `root`. Hidden folders, links and other files are left out.
///
/// # Errors
/// The folder cannot be read, or holds more than a config repository would.
pub(crate) fn read(root: &Path) -> anyhow::Result<Files> {
    let is_folder = fs::metadata(root).map_err(|error| Coded::usage(format!("{}: {error}", root.display())))?.is_dir();
    if !is_folder {
        return Err(Coded::usage(format!("{} is not a folder: name the one that holds codeops.yaml", root.display())));
    }
    let mut files = Files::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                if is_wanted(&name) {
                    files.insert(name.into(), file(&path)?);
                }
            }
            if files.len() > MOST_FILES {
                return Err(Coded::usage(format!("more than {MOST_FILES} files below {}", root.display())));
            }
        }
    }
    Ok(files)
}

fn file(path: &Path) -> anyhow::Result<File> {
    let mut bytes = Vec::new();
    let opened = fs::File::open(path).with_context(|| format!("{}", path.display()))?;
    opened.take(MOST_BYTES).read_to_end(&mut bytes).with_context(|| format!("{}", path.display()))?;
    Ok(File { content: hex::encode(Sha256::digest(&bytes)).into(), bytes: Arc::from(bytes) })
}
