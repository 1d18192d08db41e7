//! A bad night: the freeze of `codeops.yaml` counts even when nothing else in that file can be read.

use std::sync::Arc;

use crate::config::{Freeze, FreezeWhat, RepositorySpec};

use super::file::ParsedFile;
use crate::desired::kinds::people;
use crate::desired::resolve::Resolved;
use crate::desired::text::read::Reader;
use crate::desired::text::yaml;

/// Looks for a freeze in the bare lines of `codeops.yaml` when its Repository manifest is broken and gave none.
pub(crate) fn rescue(files: &[Arc<ParsedFile>], resolved: &mut Resolved) {
    let broken = resolved.owner.is_none() || resolved.repository_broken.is_some();
    if !broken || resolved.repository.freeze.is_some() {
        return;
    }
    let file = files.iter().find(|file| &*file.source.path == "codeops.yaml");
    if let Some(freeze) = file.and_then(|file| written(&String::from_utf8_lossy(&file.source.bytes))) {
        let spec = RepositorySpec::clone(&resolved.repository);
        resolved.repository = Arc::new(RepositorySpec { freeze: Some(freeze), ..spec });
    }
}

/// The first line that begins a freeze, with all that is indented below it, read on its own. One that cannot be read
/// freezes everything: it was meant to.
fn written(text: &str) -> Option<Freeze> {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let mut lines = text.lines().skip_while(|line| !line.trim_start().starts_with("freeze:"));
    let first = lines.next()?;
    let below = lines.take_while(|line| line.trim().is_empty() || indent(line) > indent(first));
    let block: String = std::iter::once(first).chain(below).take(100).flat_map(|line| [line, "\n"]).collect();
    let documents = yaml::documents(&block);
    let node = documents.first()?.root.as_ref()?.get("freeze")?;
    if matches!(node.value, crate::desired::text::tree::Value::Null) {
        return None;
    }
    Some(people::freeze(node, &mut Reader::new(Vec::new())).unwrap_or_else(|| Freeze {
        what: FreezeWhat::All,
        reason: "the freeze in codeops.yaml cannot be read".to_owned(),
        until: None,
    }))
}
