//! How much of a revision is kept: no team's files take the memory of the daemon, nor that of others. It is counted in nodes,
//! as a document's tree has them; text and mistakes count as so many nodes as take about as much.

use crate::desired::text::diagnostic::Diagnostic;
use crate::desired::text::tree::Node;

/// The most of all files that the same teams may write.
pub(crate) const MOST: u64 = 2_000_000;
/// The same of the top file and of those that hold nothing but the Repository and teams: no app is in their way.
pub(crate) const MOST_OF_PEOPLE: u64 = MOST / 4;
/// The most that is looked at of files that do not fit. It bounds the time.
pub(crate) const MOST_IN_VAIN: u64 = MOST;
/// Files that have no more are looked at nevertheless.
pub(crate) const FEW: u64 = 1_000;
/// The most of what overlays in such files make. Only those of the environment selected are kept: it bounds the time.
pub(crate) const MOST_MERGED: u64 = 4 * MOST;
/// So many bytes of text count as a node.
const BYTES: u64 = 64;
/// The same of a mistake, which is kept with its line, and more than once.
const BYTES_OF_MISTAKE: u64 = 16;

/// What a text takes.
pub(crate) fn of_text(bytes: usize) -> u64 {
    bytes as u64 / BYTES
}

/// What a tree takes.
pub(crate) fn of_tree(tree: &Node) -> u64 {
    let (nodes, bytes) = tree.size();
    nodes as u64 + of_text(bytes)
}

/// What mistakes take.
pub(crate) fn of_mistakes<'d>(found: impl IntoIterator<Item = &'d Diagnostic>) -> u64 {
    found.into_iter().map(|mistake| mistake.bytes() as u64 / BYTES_OF_MISTAKE).sum()
}

/// Why a file is not read, and what to do.
pub(crate) fn refusal(of_people: bool) -> (String, String) {
    let (files, most) = match of_people {
        true => ("codeops.yaml and files of nothing but Repository and Team", MOST_OF_PEOPLE),
        false => ("all files", MOST),
    };
    let message = format!(
        "this file is not read: {files} that the same teams may write have {most} nodes at most together, and with this one \
         there are more"
    );
    (message, "make it shorter, or others fewer: files count in the order of their paths".to_owned())
}

/// Why an overlay is not merged, and what to do.
pub(crate) fn refusal_of_overlay() -> (String, String) {
    let message = format!(
        "this overlay is not merged: what overlays in files of the same teams make has {MOST_MERGED} nodes at most together, and \
         with this one there are more"
    );
    (message, "make the manifests that they change shorter, or the overlays fewer".to_owned())
}
