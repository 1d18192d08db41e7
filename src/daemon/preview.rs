//! `plan`: reads everything the daemon would read, decides what it would decide, changes nothing.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;

use anyhow::Context as _;
use codeops_core::desired::{Compiled, Compiler, Context, ProviderFacts};
use codeops_core::model::{Memory, Scope, Secret, Snapshot, Why};
use codeops_core::plan::Plan;
use codeops_core::policy::{self, Facts, Judged};

use super::Options;
use super::outcome::PlanOutcome;
use crate::journal::{Entry, Seq, fold};
use crate::port::{Clock as _, Commit, Source as _, SystemClock, Vault as _};
use crate::provider::{self, Environment};
use crate::reconcile::trailers;
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
    // Where the mirror would be the first to make it, the folder would be private, and apps with users of their own
    // could not pass through it later.
    DirBuilder::new().recursive(true).mode(0o711).create(&options.state).with_context(|| {
        format!("the state folder {} cannot be made; name another with --state DIR", options.state.display())
    })?;
    let mirror = Mirror::open(&options.settings.repository, &options.state.join("plan"), &options.variables).await?;
    let tip = mirror.fetch(past.memory.revision.accepted.as_ref()).await?;
    let files = mirror.files(&tip.revision).await?;
    let since = past.memory.revision.accepted.clone().filter(|since| *since != tip.revision);
    // A store of another repository remembers commits that this one does not have: then the tip alone counts.
    let commits = mirror.commits(since.as_ref(), &tip.revision).await;
    let commits = match commits {
        Ok(commits) => commits,
        Err(_) => mirror.commits(None, &tip.revision).await?,
    };
    let newest = commits.last().cloned().ok_or_else(|| anyhow::anyhow!("{} has no commit", mirror.url()))?;

    let environment = Environment {
        state: options.state.clone(),
        binary: options.binary.clone(),
        teams: options.settings.teams.clone(),
        clock: Arc::new(SystemClock),
        epoch: past.epoch,
    };
    let observers = provider::build_observers(&options.settings.providers, &environment).map_err(anyhow::Error::msg)?;
    let facts = observers.iter().map(|(name, observer)| {
        let abilities = observer.abilities();
        let facts = ProviderFacts { word: abilities.word, commands: abilities.commands, images: abilities.images };
        (name.clone(), facts)
    });
    let vault = SettingsVault::new(options.settings.secrets.clone(), *past.tag_key.reveal(), options.variables.clone());
    let context = Context {
        environment: options.settings.environment.clone(),
        providers: Some(facts.collect()),
        secrets: Some(vault.facts()),
        teams: options.settings.teams.clone(),
        reserved: options.settings.reserved(),
        ..Context::default()
    };
    let mut notes: Vec<String> = tip.held.iter().cloned().collect();
    let mut snapshot = Snapshot::default();
    for (name, observer) in &observers {
        let listing = observer.observe(&Scope::All).await.map_err(|error| Why(error.0));
        notes.extend(listing.as_ref().err().map(|why| format!("provider {name} is silent: {why}")));
        snapshot.providers.insert(name.clone(), listing);
    }
    let Compiled { desired, diagnostics, .. } = Compiler::default().compile(&files, &context);
    let mut memory = past.memory;
    remember_trailers(&mut memory, &commits);
    let owner = desired.owner.clone().or_else(|| memory.revision.owner.clone());
    let (plan, judged) = match owner.clone() {
        None => (Plan::default(), Judged::default()),
        Some(owner) => {
            let plan = codeops_core::plan::plan(&desired, &tip.revision, &owner, &snapshot, &memory);
            let facts = Facts {
                now: SystemClock.now(),
                memory: &memory,
                snapshot: &snapshot,
                revision: &tip.revision,
                freeze: options.settings.freeze.as_ref(),
            };
            let judged = policy::judge(&plan, &desired, &facts);
            (plan, judged)
        }
    };
    Ok(PlanOutcome { owner, revision: newest, plan, judged, diagnostics, notes })
}

/// What the commits' trailers will release once the daemon accepts them.
fn remember_trailers(memory: &mut Memory, commits: &[Commit]) {
    for record in trailers::released(commits) {
        fold(memory, &Entry { seq: Seq(0), at: SystemClock.now(), record });
    }
}

/// What a store on disk remembers, without opening it to write.
struct Past {
    memory: Memory,
    tag_key: Secret<[u8; 32]>,
    epoch: u64,
}

impl Past {
    fn read(options: &Options) -> anyhow::Result<Self> {
        let nothing = || Self { memory: Memory::default(), tag_key: Secret::new([0; 32]), epoch: 0 };
        let archive = match Sqlite::open_read(&options.state) {
            Ok(archive) => archive,
            Err(StoreError::Missing { .. }) => return Ok(nothing()),
            Err(error) => return Err(error.into()),
        };
        let (memory, _) = archive.memory()?;
        let tag_key = archive.tag_key()?.unwrap_or_else(|| Secret::new([0; 32]));
        Ok(Self { memory, tag_key, epoch: archive.identity()?.1 })
    }
}
