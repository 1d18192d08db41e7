//! What accepting a revision means, as pure pieces: what it is compiled with, what is written down, and what stands in for
//! what it cannot describe. The flow and `plan` share them, so that a plan says what the daemon will do. It reads and writes
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::config::TeamSettings;
use codeops_core::desired::{Compiled, Declared, Desired, ProviderFacts, TOP};
use codeops_core::model::{
    AsDeclared, ChangedBy, Claims, Commit, Memory, Owner, ProviderName, Resource, ResourceId, ResourceMemory, Revision,
    TeamName,
};

use super::asked::asked;
use super::trailers;
use crate::journal::{AsBefore, Record};
use crate::port::{Abilities, Observer};

/// The ids each file last declared, as remembered.
pub fn declared(memory: &Memory) -> Declared {
    let mut declared: BTreeMap<&Arc<str>, BTreeSet<ResourceId>> = BTreeMap::new();
    for (id, resource) in &memory.resources {
        if let Some(file) = &resource.file {
            declared.entry(file).or_default().insert(id.clone());
        }
    }
    declared.into_iter().map(|(file, ids)| (Arc::clone(file), Arc::new(ids))).collect()
}

/// The apps that were there, as remembered, with what each has: its ports, its former names, and whose it is.
pub fn claims(memory: &Memory) -> BTreeMap<ResourceId, Claims> {
    let having = memory.resources.iter().filter(|(_, resource)| resource.was_there());
    having.map(|(id, resource)| (id.clone(), resource.has())).collect()
}

/// What each provider can do.
pub fn provider_facts(observers: &BTreeMap<ProviderName, Arc<dyn Observer>>) -> BTreeMap<ProviderName, ProviderFacts> {
    let facts = observers.iter().map(|(name, observer)| {
        let &Abilities { word, commands, images, host_ports, .. } = observer.abilities();
        let facts = ProviderFacts { word, commands, images, host_ports };
        (name.clone(), facts)
    });
    facts.collect()
}

/// Who declares: the revision's own word, else the remembered one.
pub fn owner(desired: Option<&Desired>, memory: &Memory) -> Option<Owner> {
    desired.and_then(|desired| desired.owner.clone()).or_else(|| memory.revision.owner.clone())
}

/// What is written when a revision is accepted: the revision, and what the trailers of its commits release. Nothing for the
/// revision in force, and nothing where nobody is known to declare anything. `teams` are those of the settings.
pub fn records(
    revision: &Revision,
    compiled: &Compiled,
    commits: &[Commit],
    teams: &BTreeMap<TeamName, TeamSettings>,
    memory: &Memory,
) -> Vec<Record> {
    let commits = &trailers::with_teams(commits.to_vec(), teams);
    let Some(accepted) = accepted(revision, compiled, commits, memory) else { return Vec::new() };
    let released = trailers::released(commits, &compiled.desired, teams, &remembered(memory));
    [accepted].into_iter().chain(released).collect()
}

/// The resources that memory knows.
pub(super) fn remembered(memory: &Memory) -> BTreeSet<ResourceId> {
    memory.resources.keys().cloned().collect()
}

/// As [`records`], without what trailers release; of commits that say whose files they change.
pub(super) fn accepted(
    revision: &Revision,
    compiled: &Compiled,
    commits: &[Commit],
    memory: &Memory,
) -> Option<Record> {
    if memory.revision.accepted.as_ref() == Some(revision) {
        return None;
    }
    let owner = owner(Some(&compiled.desired), memory)?;
    let (by_file, gone) = moved(compiled, memory);
    let claims = claimed(compiled, memory);
    let asked = asked(compiled, &gone, memory);
    let changed = changed(compiled, commits, memory);
    Some(Record::RevisionAccepted {
        revision: revision.clone(),
        owner,
        commits: trailers::written(commits),
        blast_percent: limit(&compiled.desired, memory),
        files: BTreeMap::new(),
        by_file,
        gone,
        claims,
        changed,
        asked,
    })
}

/// Whose file differs from the remembered one, and what no file declares any more. While a file cannot be read, what it
/// declared stays its own.
fn moved(compiled: &Compiled, memory: &Memory) -> (BTreeMap<Arc<str>, BTreeSet<ResourceId>>, BTreeSet<ResourceId>) {
    let remembered = |id: &ResourceId| memory.resources.get(id).and_then(|resource| resource.file.as_deref());
    let each = compiled.declared.iter().flat_map(|(file, ids)| ids.iter().map(move |id| (id, file)));
    let now: BTreeMap<&ResourceId, &Arc<str>> = each.collect();
    let mut by_file: BTreeMap<Arc<str>, BTreeSet<ResourceId>> = BTreeMap::new();
    for (id, file) in now.iter().filter(|(id, file)| remembered(id) != Some(&***file)) {
        by_file.entry(Arc::clone(file)).or_default().insert((*id).clone());
    }
    let gone = memory.resources.iter().filter(|(id, resource)| {
        resource.file.is_some() && !now.contains_key(id) && !compiled.desired.held.contains_key(*id)
    });
    (by_file, gone.map(|(id, _)| id.clone()).collect())
}

/// Whose port, former names or team differ from the remembered ones. What this revision cannot describe keeps what it had.
/// A former name is had only of what was there: so nobody keeps a name from others by saying so.
fn claimed(compiled: &Compiled, memory: &Memory) -> BTreeMap<ResourceId, Claims> {
    let apart = compiled.desired.keeps_teams_apart();
    let each = compiled.desired.resources.iter().map(|(id, resource)| {
        let had = |old: &ResourceId| memory.resources.get(id).is_some_and(|it| it.claims.was.contains(old));
        let was = |old: &ResourceId| memory.resources.get(old).is_some_and(ResourceMemory::was_there);
        let claims = Claims::of(resource, apart).of_what_was(|old| had(old) || was(old));
        (id, claims.with_names(id, |id| memory.resources.get(id).map(|it| &it.claims)))
    });
    let differs = |id: &ResourceId, claims: &Claims| match memory.resources.get(id) {
        Some(remembered) => remembered.claims != *claims,
        None => !claims.is_empty(),
    };
    each.filter(|(id, claims)| differs(id, claims)).map(|(id, claims)| (id.clone(), claims)).collect()
}

/// Whose commits changed each resource, the last of them, where teams are kept apart. What a commit over several teams' manifests
/// changes, or one of what all of them take, is of somebody who writes for all; what only the latter can have changed is what is not
/// as it last was good and no team has changed since. A change that was taken back is nobody's.
fn changed(compiled: &Compiled, commits: &[Commit], memory: &Memory) -> BTreeMap<ResourceId, ChangedBy> {
    let desired = &compiled.desired;
    let mut changed = BTreeMap::new();
    for commit in commits.iter().filter(|_| desired.keeps_teams_apart()) {
        let files = commit.brings.iter().filter_map(|path| compiled.declared.get(path.as_str()));
        let more = compiled.declared.iter().filter(|(path, _)| is_beyond(commit, path)).map(|(_, ids)| ids);
        let ids: BTreeSet<&ResourceId> = files.chain(more).flat_map(|ids| ids.iter()).collect();
        let declared = ids.iter().filter_map(|id| desired.resources.get(*id));
        let teams: BTreeSet<&TeamName> = declared.map(|resource| &resource.team).collect();
        let of_all = commit.brings.contains(TOP) || is_beyond(commit, TOP);
        let by = if of_all || teams.len() > 1 { ChangedBy::Several } else { ChangedBy::Team };
        changed.extend(ids.into_iter().map(|id| (id.clone(), by)));
        for (id, resource) in desired.resources.iter().filter(|_| of_all) {
            let remembered = memory.resources.get(id).filter(|remembered| remembered.changed_by.is_none());
            let good = remembered.and_then(|remembered| remembered.last_good.as_ref());
            if good.is_some_and(|good| good.resource.spec_digest != resource.spec_digest) {
                changed.entry(id.clone()).or_insert(ChangedBy::Several);
            }
        }
    }
    changed
}

/// Whether a commit may have brought a change of a file, for that was too much to be looked at.
fn is_beyond(commit: &Commit, path: &str) -> bool {
    let holds = |it: &String| if it.is_empty() || it.ends_with('/') { path.starts_with(it) } else { path == it };
    commit.beyond.iter().any(holds)
}

/// The limit of a revision: its own, or where its Repository has a mistake that of the one before, so that neither the mistake
/// nor what mends it counts as a limit that somebody declared.
fn limit(desired: &Desired, memory: &Memory) -> u8 {
    let before = memory.revision.blast_declared.filter(|_| desired.keeps_limit);
    before.unwrap_or(desired.repository.blast_radius.percent)
}

/// What is written of resources that a revision cannot describe, each once: what they were declared as last without a mistake,
/// as the revision in force `until_now` says; and which are described again. What the journal has already is not written again.
pub fn stays(desired: &Desired, memory: &Memory, until_now: impl Fn(&ResourceId) -> Option<AsDeclared>) -> Vec<Record> {
    let stays = |id: &ResourceId| memory.resources.get(id).is_some_and(|known| known.stays.is_some());
    let begin = desired.held.keys().filter(|id| !stays(id)).filter_map(|id| {
        let declared = until_now(id)?;
        let is = |known: Option<&Arc<Resource>>| known.is_some_and(|known| known.same_as(&declared.resource));
        let known = memory.resources.get(id);
        let good = is(known.and_then(|it| it.last_good.as_ref()).map(|good| &good.resource));
        let before = good || is(known.and_then(|it| it.stayed.as_ref()).map(|stayed| &stayed.resource));
        let before = before.then(|| AsBefore { revision: declared.revision.clone(), good });
        Some(Record::Stays { resource: id.clone(), declared: before.is_none().then_some(declared), before })
    });
    let end = memory.resources.keys().filter(|id| stays(id) && !desired.held.contains_key(*id));
    begin.chain(end.map(|id| Record::Stays { resource: id.clone(), declared: None, before: None })).collect()
}

/// What a revision cannot describe stays as it was declared last without a mistake, or where nobody remembers that, as it last
/// was good; with why, for each resource that it cannot describe. `memory` knows what [`records`] and [`stays`] say of it.
pub fn keep_as_declared(mut desired: Desired, memory: &Memory) -> (Desired, BTreeMap<ResourceId, String>) {
    desired.repository.blast_radius.percent = limit(&desired, memory);
    let kept = desired.held.clone();
    let known = kept.keys().filter_map(|id| {
        let known = memory.resources.get(id)?;
        let declared = known.stays.as_ref().map(|stays| &stays.resource);
        let resource = declared.or_else(|| known.last_good.as_ref().map(|good| &good.resource))?;
        Some((id.clone(), Arc::clone(resource)))
    });
    let known: Vec<_> = known.collect();
    for (id, resource) in known {
        desired.held.remove(&id);
        desired.resources.insert(id, resource);
    }
    (desired, kept)
}

#[cfg(test)]
mod tests {
    use codeops_core::desired::{Compiler, Context, File, Files};

    use super::*;

    fn id(text: &str) -> ResourceId {
        text.parse().expect("an id")
    }

    /// Two teams with an app each, and a commit that changes these files, after memory says this of the apps.
    fn by_whom(changes: &[&str], memory: &Memory) -> BTreeMap<ResourceId, ChangedBy> {
        by_whom_with(changes, &[], memory)
    }

    /// The same, where it changes more of these folders than is looked at.
    fn by_whom_with(changes: &[&str], beyond: &[&str], memory: &Memory) -> BTreeMap<ResourceId, ChangedBy> {
        let head = "apiVersion: codeops/v1\n";
        let file = |text: String| File::new(text.as_str(), text.as_bytes());
        let team = |name: &str| format!("{head}kind: Team\nmetadata: {{name: {name}}}\nspec: {{}}\n");
        let app = |name: &str| {
            format!(
                "{head}kind: App\nmetadata: {{name: {name}, team: {name}}}\nspec: {{provider: local, run: {{command: [./x]}}}}\n"
            )
        };
        let top = format!(
            "{head}kind: Repository\nmetadata: {{name: ops}}\nspec: {{}}\n---\n{}---\n{}",
            team("a"),
            team("b")
        );
        let files: Files = [("codeops.yaml", top), ("a/x.yaml", app("a")), ("b/x.yaml", app("b"))]
            .map(|(path, text)| (Arc::from(path), file(text)))
            .into();
        let paths = |name: &str| TeamSettings { paths: vec![format!("{name}/**")], ..TeamSettings::default() };
        let name = |text: &str| text.parse().expect("a name");
        let teams: BTreeMap<_, _> = ["a", "b"].map(|text| (name(text), paths(text))).into();
        let compiled = Compiler::default().compile(&files, &Context { teams, ..Context::default() });
        let commit = Commit {
            revision: "1".repeat(40).parse().expect("a revision"),
            author: String::new(),
            at: jiff::Timestamp::UNIX_EPOCH,
            subject: String::new(),
            trailers: Vec::new(),
            signer: None,
            changed: BTreeSet::new(),
            stands: BTreeSet::new(),
            brings: changes.iter().map(|path| (*path).to_owned()).collect(),
            beyond: beyond.iter().map(|path| (*path).to_owned()).collect(),
            brought: Vec::new(),
            later: Default::default(),
            teams: BTreeSet::new(),
        };
        changed(&compiled, &[commit], memory)
    }

    #[test]
    fn a_commit_over_several_teams_is_told_from_a_teams_own() {
        let memory = Memory::default();
        let (a, b) = (id("app/a"), id("app/b"));
        assert_eq!(by_whom(&["a/x.yaml", "notes.txt"], &memory), [(a.clone(), ChangedBy::Team)].into());
        let several = [(a.clone(), ChangedBy::Several), (b.clone(), ChangedBy::Several)];
        assert_eq!(by_whom(&["a/x.yaml", "b/x.yaml"], &memory), several.clone().into());
        assert_eq!(by_whom_with(&["a/x.yaml"], &["b/y/", "bb"], &memory), [(a.clone(), ChangedBy::Team)].into());
        assert_eq!(by_whom_with(&["a/x.yaml"], &["b/"], &memory), several.clone().into());
        assert_eq!(by_whom_with(&[], &["a/x.yaml"], &memory), [(a, ChangedBy::Team)].into());
        assert_eq!(by_whom_with(&[], &[""], &memory), several.into());
        assert_eq!(
            by_whom(&["codeops.yaml"], &memory),
            BTreeMap::new(),
            "nothing that it changed is another than before"
        );
    }

    #[test]
    fn an_acceptance_says_what_moved_and_not_what_stayed() {
        let mut memory = Memory::default();
        for (name, file) in
            [("app/stays", "a.yaml"), ("app/moves", "b.yaml"), ("app/goes", "b.yaml"), ("app/kept", "c.yaml")]
        {
            memory.resources.entry(id(name)).or_default().file = Some(file.into());
        }
        memory.resources.entry(id("app/loose")).or_default().failures = 1;
        let mut compiled = Compiled::default();
        compiled.desired.held.insert(id("app/kept"), "c.yaml cannot be read".to_owned());
        let declares =
            |file: &str, ids: &[&str]| (Arc::from(file), Arc::new(ids.iter().map(|text| id(text)).collect()));
        compiled.declared =
            Arc::new([declares("a.yaml", &["app/stays"]), declares("d.yaml", &["app/moves", "app/new"])].into());
        let (files, gone) = moved(&compiled, &memory);
        assert_eq!(
            files,
            [("d.yaml".into(), [id("app/moves"), id("app/new")].into())].into(),
            "each file is named once"
        );
        assert_eq!(gone, [id("app/goes")].into());
    }

    /// What was not good yet is written once, and then named, as often as it comes and goes; another declaration is new.
    #[test]
    fn what_stays_as_it_stayed_before_is_named_and_not_written() {
        let record = |name: &str| -> Record {
            let path = format!("{}/tests/golden/records/{name}.json", env!("CARGO_MANIFEST_DIR"));
            serde_json::from_str(&std::fs::read_to_string(path).expect("it is there")).expect("a record")
        };
        let Record::Stays { declared: Some(declared), .. } = record("stays") else { panic!("it stays") };
        let mut memory = Memory::default();
        let mut broken = Desired::default();
        broken.held.insert(id("app/shop"), "it has a mistake".to_owned());
        let mut moved = declared.clone();
        Arc::make_mut(&mut moved.resource).place.line = 7;
        let mut other = moved.clone();
        Arc::make_mut(&mut other.resource).spec.replicas = 3;
        let mut wrote = Vec::new();
        for until_now in [&declared, &moved, &other, &other] {
            for desired in [&broken, &Desired::default()] {
                let records = stays(desired, &memory, |_| Some(until_now.clone()));
                assert_eq!(records.len(), 1);
                for record in records {
                    wrote.push(matches!(&record, Record::Stays { declared: Some(_), .. }));
                    let (seq, at) = (crate::journal::Seq(1), jiff::Timestamp::UNIX_EPOCH);
                    crate::journal::fold(&mut memory, &crate::journal::Entry { seq, at, record });
                }
                let stays = memory.resources[&id("app/shop")].stays.as_ref().map(|it| it.resource.spec.replicas);
                assert_eq!(stays, (!desired.held.is_empty()).then_some(until_now.resource.spec.replicas));
            }
        }
        assert_eq!(wrote, [true, false, false, false, true, false, false, false]);
    }
}
