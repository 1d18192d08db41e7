//! What the trailers of commits release: `Codeops-Retry: app/shop` and `Codeops-Allow: ID`.

use codeops_core::model::{HoldId, ResourceId};

use crate::journal::Record;
use crate::port::Commit;

/// The records that these commits' trailers make, in order. A value that names nothing is passed over: the page shows the
/// hold or pin as it was.
pub(super) fn released(commits: &[Commit]) -> Vec<Record> {
    let one = |commit: &Commit, key: &str, value: &str| {
        let revision = commit.revision.clone();
        if key.eq_ignore_ascii_case("Codeops-Retry") {
            let resource = value.trim().parse::<ResourceId>().ok()?;
            return Some(Record::Unpinned { resource, revision });
        }
        if key.eq_ignore_ascii_case("Codeops-Allow") {
            let hold = value.trim().parse::<HoldId>().ok()?;
            return Some(Record::Allowed { hold, revision });
        }
        None
    };
    let all = |commit: &Commit| -> Vec<Record> {
        commit.trailers.iter().filter_map(|(key, value)| one(commit, key, value)).collect()
    };
    commits.iter().flat_map(all).collect()
}
