//! Fetches that outlive the step that asked for them: a step has a deadline, a large artifact on a slow line has none. Who
//! asks again for the same thing joins the fetch that is under way, and what nobody wants any more ends. What is fetched and
//! where it goes is not decided here, nor whose turn it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codeops_core::model::{Artifact, ResourceId};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::artifact::{ArtifactError, Egress, Progress, shown};
use super::held;
use super::releases::{Reader, name_of};
use super::turns::Turns;
use crate::port::Hint;

/// How long a fetch goes on that nobody asks for again: whoever wants it does so far more often.
const ASKED_FOR: Duration = Duration::from_secs(300);
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

#[derive(Debug)]
struct Fetch {
    progress: Arc<Progress>,
    end: watch::Sender<Option<(Instant, End)>>,
    wanting: watch::Sender<Wanting>,
    /// The apps whose steps went away before the end: they come back for it at a hint.
    left: Mutex<BTreeSet<ResourceId>>,
}

/// Who wants a fetch.
#[derive(Debug)]
struct Wanting {
    apps: BTreeSet<ResourceId>,
    /// When one of them last asked.
    asked: Instant,
    /// Whether it was ended for want of them: whoever asks now needs another.
    given_up: bool,
}

/// The fetches under way, and the ends nobody has asked for yet. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Fetches {
    all: Mutex<BTreeMap<Wanted, Arc<Fetch>>>,
    tasks: Mutex<JoinSet<()>>,
    turns: Arc<Turns>,
    hints: broadcast::Sender<Hint>,
}

impl Fetches {
    /// None yet. Who left before an end is told of it by a hint.
    pub(super) fn new(hints: broadcast::Sender<Hint>) -> Self {
        Self { all: Mutex::default(), tasks: Mutex::default(), turns: Arc::default(), hints }
    }

    /// Begins `work` for the folder `release`, or joins what was begun for the same, and waits for its end as long as `patience`.
    ///
    /// # Errors
    /// What `work` says; [`ArtifactError::UnderWay`] with how far it is when it takes longer: the app that asks is hinted at at its end.
    pub(super) async fn join<W>(
        &self,
        reader: &Reader,
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
        self.leave(&reader.app, Some(artifact));
        let fetch = self.begun(&wanted, reader, work);
        let mut end = fetch.end.subscribe();
        match timeout(patience, end.wait_for(Option::is_some)).await {
            Ok(ended) => {
                held(&self.all).retain(|_, other| !Arc::ptr_eq(other, &fetch));
                let ended = ended.ok().and_then(|end| end.clone());
                ended.map_or_else(|| Err(ended_early()), |(_, end)| end)
            }
            Err(_) => {
                held(&fetch.left).insert(reader.app.clone());
                // It may have ended between the two: then nobody else says so.
                if fetch.end.borrow().is_some() {
                    fetch.tell(&self.hints);
                }
                Err(ArtifactError::UnderWay(format!("fetching {}: {}", shown(&wanted.url), fetch.progress)))
            }
        }
    }

    fn begun<W>(&self, wanted: &Wanted, reader: &Reader, work: impl FnOnce(Arc<Progress>) -> W) -> Arc<Fetch>
    where
        W: Future<Output = End> + Send + 'static,
    {
        let mut all = held(&self.all);
        all.retain(|_, fetch| !is_over(fetch, REMEMBERED));
        if let Some(fetch) = all.get(wanted).filter(|fetch| fetch.is_for(&reader.app)) {
            return Arc::clone(fetch);
        }
        let fetch = Arc::new(Fetch::of(&reader.app));
        all.insert(wanted.clone(), Arc::clone(&fetch));
        let (work, turns) = (work(Arc::clone(&fetch.progress)), Arc::clone(&self.turns));
        let (team, here) = (reader.team.clone(), wanted.url.starts_with("file://"));
        let (ending, progress) = (Ending(Arc::clone(&fetch), self.hints.clone()), Arc::clone(&fetch.progress));
        let mut tasks = held(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let work = async {
                let _turn = turns.take(&team, here).await;
                progress.begins();
                work.await
            };
            tokio::select! {
                end = work => ending.say(end),
                () = ending.0.unwanted() => ending.say(Err(ended_early())),
            }
        });
        fetch
    }

    /// From now on `app` wants no other artifact than this one: what nobody else wants ends.
    pub(super) fn leave(&self, app: &ResourceId, but: Option<&Artifact>) {
        let is_kept = |wanted: &Wanted| {
            but.is_some_and(|but| but.url == wanted.url && name_of(&wanted.release).starts_with(&but.sha256))
        };
        held(&self.all).retain(|wanted, fetch| is_kept(wanted) || fetch.is_wanted_without(app));
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
    fn of(app: &ResourceId) -> Self {
        let wanting = Wanting { apps: [app.clone()].into(), asked: Instant::now(), given_up: false };
        Self {
            progress: Arc::default(),
            end: watch::Sender::default(),
            wanting: watch::Sender::new(wanting),
            left: Mutex::default(),
        }
    }

    /// Counts `app` among those who want it, unless it was given up.
    fn is_for(&self, app: &ResourceId) -> bool {
        self.wanting.send_if_modified(|wanting| {
            if !wanting.given_up {
                wanting.apps.insert(app.clone());
                wanting.asked = Instant::now();
            }
            !wanting.given_up
        })
    }

    fn is_wanted_without(&self, app: &ResourceId) -> bool {
        self.wanting.send_if_modified(|wanting| wanting.apps.remove(app));
        !self.wanting.borrow().apps.is_empty()
    }

    /// Waits until nobody wants it, or asks for it any more; then it is given up.
    async fn unwanted(&self) {
        let mut changes = self.wanting.subscribe();
        loop {
            let mut until = Instant::now();
            self.wanting.send_if_modified(|wanting| {
                until = wanting.asked + ASKED_FOR;
                wanting.given_up = wanting.apps.is_empty() || until <= Instant::now();
                false
            });
            if self.wanting.borrow().given_up {
                return;
            }
            tokio::select! {
                // It ends with this value.
                _ = changes.changed() => {}
                () = sleep_until(until) => {}
            }
        }
    }

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
        // What cannot be ended from outside, such as unpacking, ends by itself.
        self.0.progress.give_up();
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
