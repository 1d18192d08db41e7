//! What the trailers of commits release: `Codeops-Retry: app/shop` and `Codeops-Allow: ID`. Where the settings name teams,
//! what a commit changes shows whose it is, and its trailers count for what those teams have.

use std::collections::{BTreeMap, BTreeSet};

use codeops_core::config::TeamSettings;
use codeops_core::desired::{Desired, TOP, may_release, near, owners};
use codeops_core::model::{HoldId, ResourceId, Revision, TeamName};

use crate::journal::Record;
use crate::port::Commit;

/// So many trailers of one commit are read, and so many of the commits that a merge brings are shown with it.
pub(super) const MOST_OF_COMMIT: usize = 100;
/// So many of what is accepted together are read for the same teams.
const MOST_TOGETHER: usize = 1_000;
/// So many bytes of trailers are written down of what is accepted together.
const WRITTEN: usize = 64 << 10;
/// So many that release nothing are told each with its reason; of the others, how many they are.
pub(super) const TOLD: usize = 10;

/// The records that these commits' trailers make, in order. A hold that there is none of is passed over; a resource that
/// there is none of is noted, for whoever misspelt it waits for it. `remembered` are the resources that memory knows: it is not
/// held meanwhile, for others write.
pub(super) fn released(
    commits: &[Commit],
    desired: &Desired,
    teams: &BTreeMap<TeamName, TeamSettings>,
    remembered: &BTreeSet<ResourceId>,
) -> Vec<Record> {
    let mut reading = Reading { desired, teams, remembered, ids: None, records: Vec::new(), in_vain: 0 };
    let mut unknown: Vec<(&Commit, &(String, String))> = Vec::new();
    let mut left: BTreeMap<Option<BTreeSet<TeamName>>, usize> = BTreeMap::new();
    let (mut unread, mut first) = (0, None);
    // What a merge brings was said first, by whoever said it.
    for commit in commits.iter().flat_map(|commit| commit.brought.iter().chain([commit])) {
        if commit.later.unknown {
            unknown.extend(commit.trailers.iter().map(|said| (commit, said)));
            continue;
        }
        let by = authority(commit, teams);
        let left = left.entry(by.clone()).or_insert(MOST_TOGETHER);
        let (read, rest) = commit.trailers.split_at(commit.trailers.len().min(MOST_OF_COMMIT).min(*left));
        *left -= read.len();
        for (key, value) in read {
            reading.one(commit, by.as_ref(), key, value.trim());
        }
        if !rest.is_empty() {
            unread += rest.len();
            first.get_or_insert(&commit.revision);
        }
    }
    let mut records = reading.ended();
    records.extend(may_have_counted(&unknown));
    if let Some(first) = first {
        let text = format!(
            "{unread} or more `Codeops-…` trailers of commit {} and what follows it are not read: of one commit {MOST_OF_COMMIT} are, and of \
             what comes together {MOST_TOGETHER} for the same teams; say what is missing in another commit",
            first.short()
        );
        tracing::warn!(text);
        records.push(Record::Note { resource: None, text });
    }
    records
}

/// Trailers as they are read one after the other.
struct Reading<'a> {
    desired: &'a Desired,
    teams: &'a BTreeMap<TeamName, TeamSettings>,
    remembered: &'a BTreeSet<ResourceId>,
    /// What a misspelt name may mean; made for the first one.
    ids: Option<Vec<String>>,
    records: Vec<Record>,
    /// How many release nothing.
    in_vain: usize,
}

impl Reading<'_> {
    fn one(&mut self, commit: &Commit, by: Option<&BTreeSet<TeamName>>, key: &str, value: &str) {
        let (desired, revision) = (self.desired, commit.revision.clone());
        if key.eq_ignore_ascii_case("Codeops-Allow") {
            let Ok(hold) = value.parse::<HoldId>() else { return };
            if let Some(path) = commit.later.unread.iter().find(|path| may_be(path, by, self.teams)) {
                let text = format!(
                    "`Codeops-Allow: {hold}` of commit {} does not count: a later commit changed what was in `{path}`, and it is not known \
                     what that declared; say it again in a new commit",
                    revision.short()
                );
                return self.vain(None, |_| text);
            }
            let overtaken = commit.later.declared.clone();
            self.records.push(Record::Allowed { hold, revision, teams: by.cloned(), overtaken });
        } else if key.eq_ignore_ascii_case("Codeops-Retry") {
            let known = |id: &ResourceId| {
                desired.resources.contains_key(id) || desired.held.contains_key(id) || self.remembered.contains(id)
            };
            let Some(resource) = value.parse::<ResourceId>().ok().filter(known) else {
                return self.vain(None, |this| this.names_nothing(value, &revision));
            };
            let declared = desired.resources.get(&resource).map(|resource| &resource.team);
            let team = declared.or_else(|| desired.held_teams.get(&resource));
            if by.is_some_and(|by| !team.is_some_and(|team| may_release(by, team, desired))) {
                let text = format!(
                    "`Codeops-Retry: {resource}` of commit {} does not count: it changes no file of that app's team",
                    revision.short()
                );
                return self.vain(Some(resource), |_| text);
            }
            self.records.push(Record::Unpinned { resource, revision });
        }
    }

    /// Tells of one that does nothing, while they are few.
    fn vain(&mut self, resource: Option<ResourceId>, why: impl FnOnce(&mut Self) -> String) {
        self.in_vain += 1;
        if self.in_vain <= TOLD {
            let text = why(self);
            tracing::warn!(text);
            self.records.push(Record::Note { resource, text });
        }
    }

    /// That a `Codeops-Retry` does nothing, with the nearest that it could mean.
    fn names_nothing(&mut self, value: &str, revision: &Revision) -> String {
        let desired = self.desired;
        let declared = || desired.resources.keys().chain(desired.held.keys()).map(ToString::to_string).collect();
        let ids = self.ids.get_or_insert_with(declared);
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

    fn ended(mut self) -> Vec<Record> {
        if let Some(more @ 1..) = self.in_vain.checked_sub(TOLD) {
            let text = format!("{more} more `Codeops-Allow` and `Codeops-Retry` trailers do nothing either");
            tracing::warn!(text);
            self.records.push(Record::Note { resource: None, text });
        }
        self.records
    }
}

/// Whether a file or folder may have declared something that a word of these counts for.
fn may_be(path: &str, by: Option<&BTreeSet<TeamName>>, teams: &BTreeMap<TeamName, TeamSettings>) -> bool {
    let mut owners = owners(path, teams).peekable();
    by.is_none_or(|by| owners.peek().is_none() || owners.any(|team| by.contains(team)))
}

/// Of what may have counted before, as nobody knows what came between, how much there is and the newest.
fn may_have_counted(said: &[(&Commit, &(String, String))]) -> Option<Record> {
    let (commit, (key, value)) = said.last()?;
    let text = format!(
        "{} `Codeops-…` trailers do not count, as they may have counted before: they come with a first revision, with a rewritten \
         history, or before more than is looked at; the newest is `{key}: {value}` of commit {}; say it again in a commit on top",
        said.len(),
        commit.revision.short()
    );
    tracing::warn!(text);
    Some(Record::Note { resource: None, text })
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

/// Commits as they are written down: with whose words they hold, what is said by those that they bring, and no files. Of their
/// trailers, which are told and count no more by then, the newest.
pub(super) fn written(commits: &[Commit]) -> Vec<Commit> {
    let mut left = WRITTEN;
    let mut written: Vec<Commit> = commits.iter().rev().map(|commit| one_written(commit, &mut left)).collect();
    written.reverse();
    written
}

fn one_written(commit: &Commit, left: &mut usize) -> Commit {
    let mut trailers: Vec<(String, String)> = Vec::new();
    let own = commit.trailers.iter().take(MOST_OF_COMMIT);
    for said in own.chain(commit.brought.iter().flat_map(|it| &it.trailers).take(MOST_OF_COMMIT)) {
        if !trailers.contains(said) {
            let Some(rest) = left.checked_sub(said.0.len() + said.1.len()) else { break };
            *left = rest;
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
        later: Default::default(),
        teams: commit.teams.clone(),
    }
}

/// These commits with the teams whose files they change.
pub(super) fn with_teams(mut commits: Vec<Commit>, teams: &BTreeMap<TeamName, TeamSettings>) -> Vec<Commit> {
    commits.iter_mut().for_each(|commit| commit.teams = written_by(commit, teams));
    commits
}

/// The teams whose files a commit changes.
fn written_by(commit: &Commit, teams: &BTreeMap<TeamName, TeamSettings>) -> BTreeSet<TeamName> {
    of(&commit.changed, teams)
}

/// The teams whose these files are.
fn of(files: &BTreeSet<String>, teams: &BTreeMap<TeamName, TeamSettings>) -> BTreeSet<TeamName> {
    files.iter().flat_map(|path| owners(path, teams)).cloned().collect()
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
        let mut commit = commit(changed, stands, Vec::new());
        commit.beyond = beyond.iter().map(|path| (*path).to_owned()).collect();
        authority(&commit, teams)
    }

    fn commit(changed: &[&str], stands: &[&str], trailers: Vec<(String, String)>) -> Commit {
        let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        Commit {
            revision: "1".repeat(40).parse().expect("a revision"),
            author: String::new(),
            at: jiff::Timestamp::UNIX_EPOCH,
            subject: String::new(),
            trailers,
            signer: None,
            changed: paths(changed),
            stands: paths(stands),
            brings: BTreeSet::new(),
            beyond: BTreeSet::new(),
            brought: Vec::new(),
            later: Default::default(),
            teams: BTreeSet::new(),
        }
    }

    fn retries(path: &str, count: usize) -> Commit {
        let trailers = (0..count).map(|n| ("Codeops-Retry".to_owned(), format!("app/shpo{n}")));
        commit(&[path], &[path], trailers.collect())
    }

    fn read(commits: &[Commit], teams: &BTreeMap<TeamName, TeamSettings>) -> Vec<Record> {
        let mut desired = Desired::default();
        desired.held.insert("app/shop".parse().expect("an id"), "its manifest is broken".to_owned());
        let remembered = ["app/shop", "app/mine"].map(|id| id.parse().expect("an id"));
        released(commits, &desired, teams, &remembered.into())
    }

    fn notes(records: &[Record]) -> Vec<&str> {
        let notes = records.iter().filter_map(|record| match record {
            Record::Note { text, .. } => Some(text.as_str()),
            _ => None,
        });
        notes.collect()
    }

    #[test]
    fn a_flood_of_misspelt_trailers_is_told_in_a_few_notes() {
        let commits: Vec<Commit> = (0..10).map(|_| retries("apps/a/x.yaml", 1_700)).collect();
        let records = read(&commits, &BTreeMap::new());
        let told = notes(&records);
        assert_eq!((records.len(), told.len()), (TOLD + 2, TOLD + 2), "{told:?}");
        assert!(
            told[0].contains("`Codeops-Retry: app/shpo0`") && told[0].contains("did you mean app/shop?"),
            "{told:?}"
        );
        assert!(told[TOLD].starts_with("990 more `Codeops-Allow` and `Codeops-Retry` trailers do nothing"), "{told:?}");
        let unread = "16000 or more `Codeops-…` trailers of commit 1111111 and what follows it are not read: of one commit 100 are";
        assert!(told[TOLD + 1].starts_with(unread), "{told:?}");
    }

    /// What is not known to be new, or to have had the last word, does not count, and that is told.
    #[test]
    fn a_word_that_something_may_have_come_after_does_not_count() {
        let allow = || vec![("Codeops-Allow".to_owned(), "0123456789ab".to_owned())];
        let word = |later: codeops_core::model::Later| Commit {
            later,
            ..commit(&["apps/a/x.yaml"], &["apps/a/x.yaml"], allow())
        };
        let later = codeops_core::model::Later::default;
        let counts = |records: &[Record]| records.iter().any(|it| matches!(it, Record::Allowed { .. }));
        let unread = |path: &str| codeops_core::model::Later { unread: [path.to_owned()].into(), ..later() };
        assert!(counts(&read(&[word(later())], &teams())));
        assert!(counts(&read(&[word(unread("apps/b/y.yaml"))], &teams())), "what is b's is none of a's");
        for (path, teams) in [("apps/a/y.yaml", teams()), ("", teams()), ("apps/b/y.yaml", BTreeMap::new())] {
            let records = read(&[word(unread(path))], &teams);
            assert!(!counts(&records) && notes(&records)[0].contains("say it again in a new commit"), "{records:?}");
        }
        let unknown = codeops_core::model::Later { unknown: true, ..later() };
        let records = read(&[word(unknown.clone()), word(unknown)], &teams());
        assert_eq!((records.len(), notes(&records).len()), (1, 1));
        assert!(notes(&records)[0].starts_with("2 `Codeops-…` trailers do not count"), "{records:?}");
        let declared = [("app/shop".parse().expect("an id"))].into();
        let records = read(&[word(codeops_core::model::Later { declared, ..later() })], &teams());
        assert!(matches!(&records[..], [Record::Allowed { overtaken, .. }] if overtaken.len() == 1), "{records:?}");
    }

    #[test]
    fn what_one_team_floods_leaves_anothers_trailers_to_be_read() {
        let allow = vec![("Codeops-Allow".to_owned(), "0123456789ab".to_owned())];
        let mut commits: Vec<Commit> = (0..20).map(|_| retries("apps/b/x.yaml", 500)).collect();
        commits.push(commit(&["apps/a/x.yaml"], &["apps/a/x.yaml"], allow));
        let records = read(&commits, &teams());
        let of_a = Some([name("a")].into());
        assert!(records.iter().any(|it| matches!(it, Record::Allowed { teams, .. } if *teams == of_a)), "{records:?}");
        assert_eq!(notes(&records).len(), TOLD + 2);
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
    fn who_writes_for_everybody_has_no_word_by_what_is_another_teams() {
        let mut teams = teams();
        let platform = TeamSettings { paths: vec!["**".to_owned()], ..TeamSettings::default() };
        teams.insert(name("platform"), platform);
        assert_eq!(by(&["apps/b/x.yaml"], &teams), Some([name("b")].into()));
        for own in ["apps/p.yaml", "codeops.yaml", "teams/b.yaml"] {
            assert_eq!(by(&[own], &teams), Some([name("platform")].into()), "{own}");
        }
        assert_eq!(by(&["apps/b/x.yaml", "apps/p.yaml"], &teams), Some([name("b"), name("platform")].into()));
        let written = with_teams(vec![commit(&["apps/b/x.yaml"], &[], Vec::new())], &teams);
        assert_eq!(written[0].teams, [name("b")].into(), "and whose secrets are masked in it");
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
