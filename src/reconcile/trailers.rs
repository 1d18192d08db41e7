//! What the trailers of commits release: `Codeops-Retry: app/shop` and `Codeops-Allow: ID`. Where the settings name teams,
//! what a commit changes shows whose it is, and its trailers count for what those teams have.

use std::collections::{BTreeMap, BTreeSet};

use codeops_core::config::TeamSettings;
use codeops_core::desired::{Desired, TOP, claims, may_release, near};
use codeops_core::model::{HoldId, Memory, ResourceId, Revision, TeamName};

use crate::journal::Record;
use crate::port::Commit;

/// So many trailers of the commits that a merge brings are shown with it.
const SHOWN: usize = 100;

/// The records that these commits' trailers make, in order. A hold that there is none of is passed over; a resource that
/// there is none of is noted, for whoever misspelt it waits for it.
pub(super) fn released(
    commits: &[Commit],
    desired: &Desired,
    teams: &BTreeMap<TeamName, TeamSettings>,
    memory: &Memory,
) -> Vec<Record> {
    let all = |commit: &Commit| -> Vec<Record> {
        let by = authority(commit, teams);
        let one = |(key, value): &(String, String)| one(commit, by.as_ref(), key, value, desired, memory);
        commit.trailers.iter().filter_map(one).collect()
    };
    commits.iter().flat_map(|commit| commit.brought.iter().chain([commit])).flat_map(all).collect()
}

fn one(
    commit: &Commit,
    by: Option<&BTreeSet<TeamName>>,
    key: &str,
    value: &str,
    desired: &Desired,
    memory: &Memory,
) -> Option<Record> {
    let revision = commit.revision.clone();
    if key.eq_ignore_ascii_case("Codeops-Retry") {
        let known = |id: &ResourceId| {
            desired.resources.contains_key(id) || desired.held.contains_key(id) || memory.resources.contains_key(id)
        };
        let Some(resource) = value.trim().parse::<ResourceId>().ok().filter(known) else {
            let text = names_nothing(value.trim(), &revision, desired);
            tracing::warn!(text);
            return Some(Record::Note { resource: None, text });
        };
        let declared = desired.resources.get(&resource).map(|resource| &resource.team);
        let team = declared.or_else(|| desired.held_teams.get(&resource));
        if by.is_some_and(|by| !team.is_some_and(|team| may_release(by, team, desired))) {
            let text = format!(
                "`Codeops-Retry: {resource}` of commit {} does not count: it changes no file of that app's team",
                revision.short()
            );
            tracing::warn!(text);
            return Some(Record::Note { resource: Some(resource), text });
        }
        return Some(Record::Unpinned { resource, revision });
    }
    if key.eq_ignore_ascii_case("Codeops-Allow") {
        let hold = value.trim().parse::<HoldId>().ok()?;
        return Some(Record::Allowed { hold, revision, teams: by.cloned() });
    }
    None
}

/// That a `Codeops-Retry` does nothing, with the nearest that it could mean.
fn names_nothing(value: &str, revision: &Revision, desired: &Desired) -> String {
    let ids: Vec<String> = desired.resources.keys().chain(desired.held.keys()).map(ToString::to_string).collect();
    let meant = near(value, ids.iter().map(String::as_str));
    let help =
        meant.map_or_else(|| "a resource is such as app/shop".to_owned(), |near| format!("did you mean {near}?"));
    let end = value.floor_char_boundary(80);
    format!(
        "`Codeops-Retry: {}` of commit {} names no resource and retries nothing; {help}",
        &value[..end],
        revision.short()
    )
}

/// Whose resources a commit's trailers count for; `None`: everybody's. That is where teams are not kept apart, and where it
/// changes the Repository's own file and nothing of a team's, as only those who run all of it may. A commit that changes nothing,
/// or files that are nobody's, proves nothing; nor does a change that was taken back by the time the revision is taken: who pushes
/// both together has changed nothing, whatever a server that judges the push as a whole lets pass. What is too much to be looked at
/// proves nothing, and may be any team's.
fn authority(commit: &Commit, teams: &BTreeMap<TeamName, TeamSettings>) -> Option<BTreeSet<TeamName>> {
    if teams.is_empty() {
        return None;
    }
    let of_teams = !commit.beyond.is_empty() || !written_by(commit, teams).is_empty();
    let everybodys = !of_teams && commit.stands.contains(TOP);
    (!everybodys).then(|| of(&commit.stands, teams))
}

/// A commit as it is written down: with whose words it holds, what is said by those that it brings, and no files.
pub(super) fn written(commit: &Commit, teams: &BTreeMap<TeamName, TeamSettings>) -> Commit {
    let mut trailers = commit.trailers.clone();
    for said in commit.brought.iter().flat_map(|it| &it.trailers).take(SHOWN) {
        if !trailers.contains(said) {
            trailers.push(said.clone());
        }
    }
    Commit {
        revision: commit.revision.clone(),
        author: commit.author.clone(),
        at: commit.at,
        subject: commit.subject.clone(),
        trailers,
        signer: commit.signer.clone(),
        changed: BTreeSet::new(),
        stands: BTreeSet::new(),
        brings: BTreeSet::new(),
        beyond: BTreeSet::new(),
        brought: Vec::new(),
        teams: written_by(commit, teams),
    }
}

/// The teams whose files a commit changes.
pub(super) fn written_by(commit: &Commit, teams: &BTreeMap<TeamName, TeamSettings>) -> BTreeSet<TeamName> {
    of(&commit.changed, teams)
}

/// The teams that may claim one of these files.
fn of(files: &BTreeSet<String>, teams: &BTreeMap<TeamName, TeamSettings>) -> BTreeSet<TeamName> {
    let claims_one = |own: &TeamSettings| files.iter().any(|path| claims(own, path));
    teams.iter().filter(|(_, own)| claims_one(own)).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use codeops_core::model::Name;

    use super::*;

    fn name(text: &str) -> TeamName {
        Name::new(text).expect("a name")
    }

    fn teams() -> BTreeMap<TeamName, TeamSettings> {
        let team = |text: &str| {
            (name(text), TeamSettings { paths: vec![format!("apps/{text}/**")], ..TeamSettings::default() })
        };
        [team("a"), team("b")].into()
    }

    fn by(changed: &[&str], teams: &BTreeMap<TeamName, TeamSettings>) -> Option<BTreeSet<TeamName>> {
        by_what_stands(changed, changed, &[], teams)
    }

    fn by_what_stands(
        changed: &[&str],
        stands: &[&str],
        beyond: &[&str],
        teams: &BTreeMap<TeamName, TeamSettings>,
    ) -> Option<BTreeSet<TeamName>> {
        let commit = Commit {
            revision: "1".repeat(40).parse().expect("a revision"),
            author: String::new(),
            at: jiff::Timestamp::UNIX_EPOCH,
            subject: String::new(),
            trailers: Vec::new(),
            signer: None,
            changed: changed.iter().map(|path| (*path).to_owned()).collect(),
            stands: stands.iter().map(|path| (*path).to_owned()).collect(),
            brings: BTreeSet::new(),
            beyond: beyond.iter().map(|path| (*path).to_owned()).collect(),
            brought: Vec::new(),
            teams: BTreeSet::new(),
        };
        authority(&commit, teams)
    }

    #[test]
    fn a_commit_has_the_authority_of_those_whose_files_it_changes() {
        let teams = teams();
        assert_eq!(by(&["apps/a/x.yaml"], &teams), Some([name("a")].into()));
        assert_eq!(by(&["apps/a/x.yaml", "apps/b/x.yaml"], &teams), Some([name("a"), name("b")].into()));
        assert_eq!(by(&["apps/a/x.yaml", "codeops.yaml"], &teams), Some([name("a")].into()));
        assert_eq!(by(&["codeops.yaml"], &teams), None, "everybody's");
        assert_eq!(by(&[], &teams), Some(BTreeSet::new()), "nobody's");
        assert_eq!(by(&["notes.txt"], &teams), Some(BTreeSet::new()), "nobody's: anybody may write there");
        assert_eq!(by(&[], &BTreeMap::new()), None, "on a laptop everybody's");
    }

    #[test]
    fn what_is_too_much_to_be_looked_at_gives_no_authority_and_takes_that_over_all() {
        let (teams, nobody) = (teams(), Some(BTreeSet::new()));
        assert_eq!(by_what_stands(&[], &[], &["apps/a/"], &teams), nobody);
        assert_eq!(by_what_stands(&["codeops.yaml"], &["codeops.yaml"], &["apps/"], &teams), nobody);
        let seen = ["apps/a/x.yaml"];
        assert_eq!(by_what_stands(&seen, &seen, &["apps/a/", "apps/b/"], &teams), Some([name("a")].into()));
    }

    #[test]
    fn what_was_changed_and_changed_back_proves_nothing() {
        let teams = teams();
        let nobody = Some(BTreeSet::new());
        assert_eq!(by_what_stands(&["apps/a/x.yaml"], &[], &[], &teams), nobody);
        assert_eq!(by_what_stands(&["codeops.yaml"], &[], &[], &teams), nobody);
        let both = ["apps/a/x.yaml", "apps/b/x.yaml"];
        assert_eq!(by_what_stands(&both, &["apps/b/x.yaml"], &[], &teams), Some([name("b")].into()));
        let top = ["apps/a/x.yaml", "codeops.yaml"];
        assert_eq!(
            by_what_stands(&top, &["codeops.yaml"], &[], &teams),
            nobody,
            "not everybody's for having undone the rest"
        );
    }
}
