//! `plan`: reads everything the daemon would read, decides what it would decide, changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use codeops_core::alert;
use codeops_core::config::{Freeze, Mode, TeamSettings};
use codeops_core::desired::{Compiled, Compiler, Context, Desired, without_overlays};
use codeops_core::model::{AsDeclared, Memory, Owner, ResourceId, Revision, Scope, Secret, Snapshot, TeamName, Why};
use codeops_core::plan::Plan;
use codeops_core::policy::{self, Facts, Judged};
use jiff::Timestamp;
use tempfile::TempDir;

use super::Options;
use super::outcome::PlanOutcome;
use crate::journal::{Entry, Seq, fold};
use crate::port::{Clock as _, Commit, Source as _, SystemClock, Vault as _};
use crate::provider::{self, Environment};
use crate::reconcile::acceptance;
use crate::secret::SettingsVault;
use crate::source::Mirror;
use crate::store::{Sqlite, StoreError};

/// Plans the newest revision against what lives. Works beside a running daemon.
///
/// # Errors
/// The repository cannot be read, the store is damaged, or the manifests name no repository.
pub async fn plan(options: &Options) -> anyhow::Result<PlanOutcome> {
    let options = &options.clone().with_own_branch();
    let past = Past::read(options)?;
    let place = Place::of(options, &past)?;
    let own = place.path().to_owned();
    let lock = lock(own.clone()).await.with_context(|| format!("{} cannot be locked", own.display()))?;
    let mirror = Mirror::open(&options.settings.repository, &own, &options.variables, &options.settings.teams).await?;
    let tip = mirror.fetch(past.memory.revision.accepted.as_ref()).await?;
    let files = mirror.files(&tip.revision).await?;
    let since = past.memory.revision.accepted.clone().filter(|since| *since != tip.revision);
    // A store of another repository remembers commits that this one does not have: then the tip alone counts.
    let commits = mirror.commits(since.as_ref(), &tip.revision).await;
    let commits = match commits {
        Ok(commits) => commits,
        Err(_) => mirror.commits(None, &tip.revision).await?,
    };
    drop(lock);
    let newest = commits.last().cloned().ok_or_else(|| anyhow::anyhow!("{} has no commit", mirror.url()))?;

    let environment = Environment {
        // Where there is no state folder nothing lives in it, and a look would make one.
        state: if options.state.is_dir() { options.state.clone() } else { place.path().to_owned() },
        binary: options.binary.clone(),
        teams: options.settings.teams.clone(),
        clock: Arc::new(SystemClock),
        vault: None,
        memory: None,
        epoch: past.epoch,
    };
    let observers = provider::build_observers(&options.settings.providers, &environment).map_err(anyhow::Error::msg)?;
    let vault = SettingsVault::new(options.settings.secrets.clone(), *past.tag_key.reveal(), options.variables.clone());
    let context = Context {
        environment: options.settings.environment.clone(),
        providers: Some(acceptance::provider_facts(&observers)),
        secrets: Some(vault.facts()),
        teams: options.settings.teams.clone(),
        unset: None,
        fallback: options.settings.fallback.clone(),
        fallback_team: options.settings.fallback_team.clone(),
        declared: acceptance::declared(&past.memory),
        claims: acceptance::claims(&past.memory),
        holders: past.memory.revision.holders.clone(),
        files: past.memory.revision.files.clone(),
        looks_back: None,
        deletions_wait: true,
        reserved: options.settings.reserved(),
    };
    let mut notes: Vec<String> = tip.held.iter().cloned().collect();
    if options.settings.mode == Mode::Observe {
        notes.push("the settings say `mode: observe`: the daemon shows this plan and changes nothing".to_owned());
    }
    let mut snapshot = Snapshot::default();
    for (name, observer) in &observers {
        let listing = observer.observe(&Scope::All).await.map_err(|error| Why(error.0));
        notes.extend(listing.as_ref().err().map(|why| format!("provider {name} is silent: {why}")));
        snapshot.providers.insert(name.clone(), listing);
    }
    // What was in force until now: what the newest one deletes of how alerts are answered is known by that, and may stay.
    let mut compiler = Compiler::default();
    let remembered = &past.memory.revision.kept;
    let kept: BTreeSet<&Revision> = remembered.values().flatten().collect();
    for revision in kept {
        if let Ok(files) = mirror.files(revision).await {
            let good = remembered.iter().filter(|(_, good)| good.as_ref() == Some(revision)).map(|(id, _)| id.clone());
            compiler.compile(&files, &Context { looks_back: Some(good.collect()), ..context.clone() });
        }
    }
    let mut until_now = None;
    if let Some(since) = &since
        && let Ok(files) = mirror.files(since).await
    {
        until_now = Some((since.clone(), compiler.compile(&files, &context).desired));
    }
    let compiled = compiler.compile(&files, &context);
    let mut diagnostics = compiled.diagnostics.clone();
    diagnostics.extend(without_overlays(&files, &context));
    // As the daemon sees it: an alert that may freeze everything outranks the settings' own.
    let may_freeze = super::assembly::may_freeze(&options.settings);
    let freeze = alert::freeze(&past.memory.response.alerts, &may_freeze, options.settings.freeze.as_ref());
    let (freeze, teams) = (freeze.as_ref(), &options.settings.teams);
    let world = World { snapshot: &snapshot, freeze, teams, now: SystemClock.now(), until_now: until_now.as_ref() };
    let no_store = past.is_missing.then(|| options.state.clone());
    let (owner, plan, judged) = foresee(compiled, &tip.revision, &commits, past.memory, &world);
    Ok(PlanOutcome { owner, revision: newest, plan, judged, diagnostics, notes, no_store })
}

/// Waits until no other `plan` uses the mirror of plans.
async fn lock(folder: PathBuf) -> std::io::Result<File> {
    let wait = move || {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(folder.join("lock"))?;
        file.lock()?;
        Ok(file)
    };
    tokio::task::spawn_blocking(wait).await?
}

/// What a revision meets.
struct World<'a> {
    snapshot: &'a Snapshot,
    freeze: Option<&'a Freeze>,
    teams: &'a BTreeMap<TeamName, TeamSettings>,
    now: Timestamp,
    /// The revision in force until now, and what it declares; for what the new one cannot describe.
    until_now: Option<&'a (Revision, Desired)>,
}

impl World<'_> {
    fn declared(&self, id: &ResourceId) -> Option<AsDeclared> {
        let (revision, desired) = self.until_now?;
        let resource = Arc::clone(desired.resources.get(id)?);
        Some(AsDeclared { resource, revision: revision.clone() })
    }
}

/// What the daemon decides once it has accepted this revision: with the very records it would write folded in.
fn foresee(
    compiled: Compiled,
    revision: &Revision,
    commits: &[Commit],
    mut memory: Memory,
    world: &World<'_>,
) -> (Option<Owner>, Plan, Judged) {
    let mut records = acceptance::records(revision, &compiled, commits, world.teams, &memory);
    records.extend(acceptance::stays(&compiled.desired, &memory, |id| world.declared(id)));
    for record in records {
        fold(&mut memory, &Entry { seq: Seq(0), at: world.now, record });
    }
    let (desired, kept) = acceptance::keep_as_declared(compiled.desired, &memory);
    let Some(owner) = acceptance::owner(Some(&desired), &memory) else {
        return (None, Plan::default(), Judged::default());
    };
    let mut plan = codeops_core::plan::plan(&desired, revision, &owner, world.snapshot, &memory);
    let facts = Facts { now: world.now, memory: &memory, snapshot: world.snapshot, revision, freeze: world.freeze };
    let judged = policy::judge(&plan, &desired, &facts);
    // What stays as it was is kept as well, for whoever reads the plan.
    plan.kept.extend(kept);
    (Some(owner), plan, judged)
}

/// What a store on disk remembers, without opening it to write.
struct Past {
    memory: Memory,
    tag_key: Secret<[u8; 32]>,
    epoch: u64,
    /// Nothing has run on this state folder yet.
    is_missing: bool,
}

/// Where the mirror that a plan reads lies.
enum Place {
    /// In the state folder of a daemon, beside its own: the next plan fetches only what is new.
    Kept(PathBuf),
    /// In a folder that goes with the plan: where no daemon has run, or this user may not write, nothing is left behind.
    Passing(TempDir),
}

impl Place {
    fn of(options: &Options, past: &Past) -> anyhow::Result<Self> {
        let kept = options.state.join("plan");
        if !past.is_missing && DirBuilder::new().recursive(true).mode(0o700).create(&kept).is_ok() {
            return Ok(Self::Kept(kept));
        }
        let folder = options.variables.get("TMPDIR").map_or(Path::new("/tmp"), Path::new);
        let made = tempfile::Builder::new().prefix("codeops-plan-").tempdir_in(folder);
        let made = made.with_context(|| {
            format!("the repository cannot be fetched into {}; name another folder in TMPDIR", folder.display())
        })?;
        Ok(Self::Passing(made))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Passing(folder) => folder.path(),
        }
    }
}

impl Past {
    fn read(options: &Options) -> anyhow::Result<Self> {
        let nothing = || Self { memory: Memory::default(), tag_key: Secret::new([0; 32]), epoch: 0, is_missing: true };
        let archive = match Sqlite::open_read(&options.state) {
            Ok(archive) => archive,
            Err(StoreError::Missing { .. }) => return Ok(nothing()),
            Err(error) => return Err(error.into()),
        };
        let (memory, _) = archive.memory()?;
        let tag_key = archive.tag_key()?.unwrap_or_else(|| Secret::new([0; 32]));
        Ok(Self { memory, tag_key, epoch: archive.identity()?.1, is_missing: false })
    }
}

#[cfg(test)]
mod tests {
    use codeops_core::desired::{File, Files};
    use codeops_core::model::{Listing, Live, Stamp, SystemId};
    use codeops_core::policy::Decision;

    use super::*;

    const TEAM: &str = "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: t}\nspec: {}\n";

    fn repository(percent: u8) -> String {
        format!(
            "apiVersion: codeops/v1\nkind: Repository\nmetadata: {{name: ops}}\nspec: {{defaults: {{provider: local}}, blastRadius: {{percent: {percent}}}}}\n"
        )
    }

    fn app(n: usize) -> (String, String) {
        let text = format!(
            "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: app-{n}, team: t}}\nspec: {{run: {{command: [sleep, \"9\"]}}}}\n"
        );
        (format!("apps/{n}.yaml"), text)
    }

    fn compiled(files: &[(String, String)], memory: &Memory) -> Compiled {
        let file = |(path, text): &(String, String)| {
            let content = File::new(text.as_str(), text.as_bytes());
            (Arc::from(path.as_str()), content)
        };
        let files: Files = files.iter().map(file).collect();
        let (declared, claims) = (acceptance::declared(memory), acceptance::claims(memory));
        let context = Context { declared, claims, ..Context::default() };
        Compiler::default().compile(&files, &context)
    }

    fn revision(n: u8) -> Revision {
        format!("{n:040x}").parse().expect("a revision")
    }

    /// Twenty apps in force under a limit of ten percent, and live.
    fn past() -> (Memory, Snapshot) {
        let mut files = vec![("codeops.yaml".to_owned(), repository(10)), ("t.yaml".to_owned(), TEAM.to_owned())];
        files.extend((0..20).map(app));
        let mut memory = Memory::default();
        let before = compiled(&files, &memory);
        for record in acceptance::records(&revision(1), &before, &[], &BTreeMap::new(), &memory) {
            fold(&mut memory, &Entry { seq: Seq(1), at: Timestamp::UNIX_EPOCH, record });
        }
        let owner = before.desired.owner.clone().expect("a repository");
        let live = before.desired.resources.values().map(|resource| {
            let stamp = Stamp {
                owner: owner.clone(),
                id: resource.id.clone(),
                team: resource.team.clone(),
                spec: resource.spec_digest.clone(),
                template: resource.template_digest.clone(),
                key: codeops_core::model::Key("k".to_owned()),
            };
            let live = Live {
                stamp: Some(stamp),
                spec: Some(resource.spec.clone()),
                drift: Vec::new(),
                released: None,
                leaves: false,
                renews: Vec::new(),
                instances: Vec::new(),
                address: None,
                notes: Vec::new(),
            };
            (resource.id.clone(), live)
        });
        let listing = Listing {
            system: SystemId("one".to_owned()),
            at: Timestamp::UNIX_EPOCH,
            scope: Scope::All,
            epoch: 0,
            objects: live.collect(),
            unknown: BTreeMap::new(),
        };
        let providers = [("local".parse().expect("a name"), Ok(listing))].into();
        (memory, Snapshot { providers })
    }

    fn planned(files: &[(String, String)]) -> (Plan, Judged) {
        let (memory, snapshot) = past();
        let next = compiled(files, &memory);
        let world = World {
            snapshot: &snapshot,
            freeze: None,
            teams: &BTreeMap::new(),
            now: Timestamp::UNIX_EPOCH,
            until_now: None,
        };
        let (owner, plan, judged) = foresee(next, &revision(2), &[], memory, &world);
        assert!(owner.is_some());
        (plan, judged)
    }

    #[test]
    fn a_commit_that_raises_its_own_limit_is_planned_as_held() {
        let mut files = vec![("codeops.yaml".to_owned(), repository(50)), ("t.yaml".to_owned(), TEAM.to_owned())];
        files.extend((0..14).map(app));
        let (_, judged) = planned(&files);
        let held = judged.decisions.values().filter(|decision| matches!(decision, Decision::Held { .. })).count();
        assert_eq!((held, judged.holds.len()), (6, 1), "the limit before this commit counts");
    }

    #[test]
    fn a_template_that_failed_is_planned_as_kept_also_under_a_newer_commit() {
        let (mut memory, snapshot) = past();
        let mut files = vec![("codeops.yaml".to_owned(), repository(10)), ("t.yaml".to_owned(), TEAM.to_owned())];
        files.extend((0..20).map(app));
        let id = "app/app-3".parse().expect("an id");
        let good = Arc::clone(&compiled(&files, &memory).desired.resources[&id]);
        files[5].1 = files[5].1.replace("\"9\"", "\"8\"");
        let next = compiled(&files, &memory);
        let failed = next.desired.resources[&id].template_digest.clone();
        assert_ne!(failed, good.template_digest);
        let at = Timestamp::UNIX_EPOCH;
        let pin =
            codeops_core::model::Pin { at, revision: None, why: "it ended".to_owned(), tried: None, check_only: false };
        let good = codeops_core::model::LastGood { resource: good, revision: None, at };
        let pinned = crate::journal::Record::Pinned { resource: id.clone(), template: failed, pin };
        for record in [crate::journal::Record::Baked { resource: id.clone(), good, again: false }, pinned] {
            fold(&mut memory, &Entry { seq: Seq(2), at, record });
        }
        let world = World { snapshot: &snapshot, freeze: None, teams: &BTreeMap::new(), now: at, until_now: None };
        let (_, plan, _) = foresee(next, &revision(2), &[], memory, &world);
        assert!(plan.kept.get(&id).is_some_and(|why| why.contains("it ended")), "{:?}", plan.kept);
        let change = plan.changes.iter().find(|change| change.id == id).expect("instances are missing here");
        assert!(
            change.differences.iter().all(|difference| difference.field == "instances"),
            "{:?}",
            change.differences
        );
    }

    #[test]
    fn a_file_that_became_unreadable_holds_what_it_declared_and_nothing_else() {
        let mut files = vec![("codeops.yaml".to_owned(), repository(10)), ("t.yaml".to_owned(), TEAM.to_owned())];
        files.extend((0..19).map(app));
        files.push(("apps/19.yaml".to_owned(), "{{{".to_owned()));
        files.retain(|(path, _)| path != "apps/3.yaml");
        let (_, judged) = planned(&files);
        let deleted = "app/app-3".parse().expect("an id");
        assert_eq!(judged.decisions.get(&deleted), Some(&Decision::Go), "it is known what cannot be read");
    }
}
