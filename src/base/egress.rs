//! Which files a team may name as artifacts: those below the folders that its `egress` names.

use std::fs;
use std::path::Path;

use codeops_core::config::Egress;

/// Whether the file or folder at `real`, a path without links, may be read.
pub fn allows_file(egress: &Egress, real: &Path) -> bool {
    let Egress::Guarded(entries) = egress else { return true };
    let folders = entries.iter().filter(|entry| entry.starts_with('/'));
    folders.filter_map(|folder| fs::canonicalize(folder).ok()).any(|folder| real.starts_with(folder))
}

/// For refusals of files: what to do.
pub fn file_refusal(path: &Path) -> String {
    let path = path.display();
    format!("{path} is not below a folder that the team's `egress` names: add its folder in the settings")
}
