//! Fetches that outlive the step that asked for them: a step has a deadline, a large artifact on a slow line has none. Who
//! asks again for the same thing joins the fetch that is under way. What is fetched and where it goes is not decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codeops_core::model::{Artifact, ResourceId};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::artifact::{ArtifactError, Egress, Progress, shown};
use super::held;
use super::releases::name_of;
use crate::port::Hint;

/// Fetches that go on at once; others wait for their turn.
const AT_ONCE: usize = 8;
/// How long an end that nobody asked for is kept, and what was fetched with it.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// What makes two fetches one: the same release, from the same address, with the same rights.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    release: PathBuf,
    url: String,
    egress: Egress,
}

type End = Result<PathBuf, ArtifactError>;

#[derive(Debug, Default)]
struct Fetch {
    progress: Arc<Progress>,
    end: watch::Sender<Option<(Instant, End)>>,
    /// The apps whose steps went away before the end: they come back for it at a hint.
    left: Mutex<BTreeSet<ResourceId>>,
}

/// The fetches under way, and the ends nobody has asked for yet. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Fetches {
    all: Mutex<BTreeMap<Wanted, Arc<Fetch>>>,
    tasks: Mutex<JoinSet<()>>,
    turns: Arc<Semaphore>,
    hints: broadcast::Sender<Hint>,
}

impl Fetches {
    /// None yet. Who left before an end is told of it by a hint.
    pub(super) fn new(hints: broadcast::Sender<Hint>) -> Self {
        Self { all: Mutex::default(), tasks: Mutex::default(), turns: Arc::new(Semaphore::new(AT_ONCE)), hints }
    }

    /// Begins `work` for the folder `release`, or joins what was begun for the same, and waits for its end as long as `patience`.
    ///
    /// # Errors
    /// What `work` says; [`ArtifactError::UnderWay`] with how far it is when it takes longer: `app` is hinted at at its end.
    pub(super) async fn join<W>(
        &self,
        app: &ResourceId,
        release: &Path,
        artifact: &Artifact,
        egress: &Egress,
        patience: Duration,
        work: impl FnOnce(Arc<Progress>) -> W,
    ) -> End
    where
        W: Future<Output = End> + Send + 'static,
    {
        let wanted = Wanted { release: release.to_owned(), url: artifact.url.clone(), egress: egress.clone() };
        let fetch = self.begun(&wanted, work);
        let mut end = fetch.end.subscribe();
        match timeout(patience, end.wait_for(Option::is_some)).await {
            Ok(ended) => {
                held(&self.all).retain(|_, other| !Arc::ptr_eq(other, &fetch));
                let ended = ended.ok().and_then(|end| end.clone());
                ended.map_or_else(|| Err(ended_early()), |(_, end)| end)
            }
            Err(_) => {
                held(&fetch.left).insert(app.clone());
                // It may have ended between the two: then nobody else says so.
                if fetch.end.borrow().is_some() {
                    fetch.tell(&self.hints);
                }
                Err(ArtifactError::UnderWay(format!("fetching {}: {}", shown(&wanted.url), fetch.progress)))
            }
        }
    }

    fn begun<W>(&self, wanted: &Wanted, work: impl FnOnce(Arc<Progress>) -> W) -> Arc<Fetch>
    where
        W: Future<Output = End> + Send + 'static,
    {
        let mut all = held(&self.all);
        all.retain(|_, fetch| !is_over(fetch, REMEMBERED));
        if let Some(fetch) = all.get(wanted) {
            return Arc::clone(fetch);
        }
        let fetch = Arc::new(Fetch::default());
        all.insert(wanted.clone(), Arc::clone(&fetch));
        let (work, turns) = (work(Arc::clone(&fetch.progress)), Arc::clone(&self.turns));
        let ending = Ending(Arc::clone(&fetch), self.hints.clone());
        let mut tasks = held(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let _turn = turns.acquire_owned().await;
            ending.say(work.await);
        });
        fetch
    }

    /// The releases that were fetched for steps that have not come back for them yet.
    pub(super) fn promised(&self) -> BTreeSet<String> {
        let all = held(&self.all);
        let folders = all.values().filter(|fetch| !is_over(fetch, REMEMBERED)).filter_map(|fetch| {
            let end = fetch.end.borrow();
            end.as_ref().and_then(|(_, end)| end.as_ref().ok()).map(|folder| name_of(folder))
        });
        folders.collect()
    }
}

impl Fetch {
    /// Hints at those who left before its end.
    fn tell(&self, hints: &broadcast::Sender<Hint>) {
        for app in std::mem::take(&mut *held(&self.left)) {
            // Nobody may be listening.
            let _ = hints.send(Hint::Changed(app));
        }
    }
}

fn is_over(fetch: &Fetch, since: Duration) -> bool {
    fetch.end.borrow().as_ref().is_some_and(|(at, _)| at.elapsed() > since)
}

/// Says how a fetch ended, also when its task panics: nobody waits for ever.
struct Ending(Arc<Fetch>, broadcast::Sender<Hint>);

impl Ending {
    fn say(&self, end: End) {
        self.0.end.send_if_modified(|said| {
            let first = said.is_none();
            if first {
                *said = Some((Instant::now(), end));
            }
            first
        });
        self.0.tell(&self.1);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.say(Err(ended_early()));
    }
}

fn ended_early() -> ArtifactError {
    ArtifactError::Transient("the fetch ended early".to_owned())
}
