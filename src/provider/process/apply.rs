//! What each step does to an app and its keeper. Every op may be repeated under its key, and after a crash halfway.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::{
    Artifact, InstanceState, Key, Op, Ours, Owner, ProviderName, Release, Resource, ResourceId, Scope, Stamp,
};

use super::artifact::{ArtifactError, Egress};
use super::kept::Going;
use super::link::{App, CallError, View};
use super::{Shared, off_thread, setting};
use crate::journal::Started;
use crate::keeper::wire::{Done, Failure, ReleaseOutcome, Request, Setting, State};
use crate::port::{Applied, ApplyError, Secrets};

/// How long the pushed state may lag behind a reply.
const SEEN: Duration = Duration::from_secs(5);

type Result<T> = std::result::Result<T, ApplyError>;

/// Does one step.
pub(super) async fn apply(shared: &Arc<Shared>, started: &Started, secrets: &Secrets) -> Result<Applied> {
    let step = started.step();
    shared.saw_epoch(started.epoch());
    shared.tidy().await;
    let work = Work { shared, started, secrets };
    match &step.op {
        Op::Create { desired } => work.create(desired).await,
        Op::Adopt { desired } => work.adopt(desired).await,
        Op::Rename { from, ours, desired } => work.rename(from, ours, desired).await,
        Op::Configure { desired } => {
            let app = work.app(&step.resource).await?;
            app.hand_over(shared).await;
            work.configure(&app, desired).await
        }
        Op::Release { desired } => work.release(desired).await,
        Op::Start { instance, desired } => {
            let app = work.app(&step.resource).await?;
            app.hand_over(shared).await;
            let confidential = setting::confidential(&desired.spec, secrets)?;
            let setting = work.setting(&app, desired).await?;
            app.remember(&desired.template_digest, confidential.clone());
            let (key, resource) = (started.key().clone(), Box::new(Resource::clone(desired)));
            let request = Request::Start { key, instance: instance.clone(), resource, setting, secrets: confidential };
            work.call(&app, request, |state| state.instances.iter().any(|i| i.id == *instance)).await
        }
        Op::Stop { instance } => {
            let app = work.app(&step.resource).await?;
            work.note_uses(&app, None).await?;
            let request = Request::Stop { key: started.key().clone(), instance: instance.clone() };
            let stopping =
                |state: &State| state.instances.iter().all(|i| i.id != *instance || i.state == InstanceState::Stopping);
            let applied = work.call(&app, request, stopping).await?;
            shared.prune().await;
            Ok(applied)
        }
        Op::Delete { ours, moved_to } => work.delete(ours, moved_to.clone()).await,
    }
}

struct Work<'a> {
    shared: &'a Arc<Shared>,
    started: &'a Started,
    secrets: &'a Secrets,
}

impl Work<'_> {
    fn key(&self) -> &Key {
        self.started.key()
    }

    fn owner(&self) -> &Owner {
        &self.started.step().owner
    }

    /// The app called `id`; its keeper answers.
    async fn app(&self, id: &ResourceId) -> Result<Arc<App>> {
        self.find(id).await?.ok_or_else(|| ApplyError::Retry(format!("{id} is not there any more")))
    }

    async fn find(&self, id: &ResourceId) -> Result<Option<Arc<App>>> {
        let scope = Scope::Ids([id.clone()].into());
        self.shared.refresh(&scope).await.map_err(|e| ApplyError::Retry(e.0))?;
        self.shared.all_tell_their_ids().await;
        // What may bear the id need not: its keeper says so, and then there may be another.
        while let Some(app) = self.shared.app(id) {
            match app.look(false).await {
                View::Known(_) if app.ids().contains(id) => return Ok(Some(app)),
                View::Known(_) => {}
                View::Unknown(why) => return Err(ApplyError::Retry(why)),
                View::Looking => return Err(ApplyError::Retry(format!("the keeper of {id} is being looked for"))),
                View::Gone => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn create(&self, desired: &Arc<Resource>) -> Result<Applied> {
        setting::artifact(&desired.spec)?;
        let app = match self.find(&desired.id).await? {
            Some(app) => {
                self.must_be_free(&app)?;
                app
            }
            None if self.shared.is_foreign(&desired.id) => return Err(not_ours(&desired.id)),
            None => self.make(desired, false).await?,
        };
        self.configure(&app, desired).await
    }

    /// An app that is there may only be one that this owner made: by this key before a crash, or earlier.
    fn must_be_free(&self, app: &App) -> Result<()> {
        match app.view() {
            View::Known(state) if state.deleting => {
                Err(ApplyError::UnderWay(format!("{} is still being deleted", app.id())))
            }
            View::Known(state) if state.stamp.as_ref().is_some_and(|s| s.owner != *self.owner()) => {
                Err(not_ours(&app.id()))
            }
            _ => Ok(()),
        }
    }

    /// Makes the app's folder, or takes `over` one that is there.
    async fn make(&self, desired: &Resource, over: bool) -> Result<Arc<App>> {
        let (shared, id, owner) = (Arc::clone(self.shared), desired.id.clone(), self.owner().clone());
        let made = off_thread(move || shared.make(&id, &owner, over)).await;
        made.map_err(|error| {
            let what = if over { "taken over" } else { "made" };
            ApplyError::Retry(format!("the folder of {} cannot be {what}: {error}", desired.id))
        })
    }

    /// Takes over a folder of somebody else's, or an app of another owner's, with all that is in it.
    async fn adopt(&self, desired: &Arc<Resource>) -> Result<Applied> {
        setting::artifact(&desired.spec)?;
        let app = match self.find(&desired.id).await? {
            Some(app) => app,
            None => self.make(desired, self.shared.is_foreign(&desired.id)).await?,
        };
        self.configure(&app, desired).await
    }

    async fn rename(&self, from: &ResourceId, ours: &Ours, desired: &Arc<Resource>) -> Result<Applied> {
        let Some(app) = self.find(from).await? else {
            // Done before, if the object now carries the new id and our stamp.
            let app = self.app(&desired.id).await?;
            self.must_be_free(&app)?;
            return self.configure(&app, desired).await;
        };
        self.check(&app, ours)?;
        let (home, from, to, owner) =
            (self.shared.home.clone(), from.clone(), desired.id.clone(), self.owner().clone());
        let renamed = off_thread(move || home.kept_as(&from, &to, &owner)).await;
        renamed.map_err(|error| ApplyError::Retry(format!("what is kept of {}: {error}", desired.id)))?;
        self.configure(&app, desired).await
    }

    async fn configure(&self, app: &Arc<App>, desired: &Arc<Resource>) -> Result<Applied> {
        if !desired.spec.secrets.is_empty() {
            app.remember(&desired.template_digest, setting::confidential(&desired.spec, self.secrets)?);
        }
        let stamp = Stamp {
            owner: self.owner().clone(),
            id: desired.id.clone(),
            team: desired.team.clone(),
            spec: desired.spec_digest.clone(),
            template: desired.template_digest.clone(),
            key: self.key().clone(),
        };
        let trouble = |error: std::io::Error| ApplyError::Retry(format!("the record of {}: {error}", desired.id));
        let artifact = setting::artifact(&desired.spec)?;
        self.shared.releases.leave(&desired.id, artifact);
        self.note_uses(app, artifact).await?;
        if let (Some(artifact), View::Known(state)) = (artifact, app.view())
            && self.shared.has_lost_release(app, &state)
        {
            let team = &self.started.step().team;
            self.shared.release(app, artifact, team, &self.egress()).await.map_err(not_fetched)?;
        }
        // Before the keeper takes a new id, so that both count while it is silent; the old one is free once it is certain.
        let judged_since = app.is_judged_unseen(desired).then(|| self.shared.clock.now());
        let noted = app.change_record(self.shared, |record| {
            record.may_become(&desired.id);
            record.judged_since = judged_since.or(record.judged_since);
        });
        noted.await.map_err(trouble)?;
        let resource = Box::new(Resource::clone(desired));
        let request = Request::Configure { key: self.key().clone(), stamp: stamp.clone(), resource };
        let applied = self.call(app, request, |state| state.stamp.as_ref() == Some(&stamp)).await?;
        if let Err(error) = app.change_record(self.shared, |record| record.ids = vec![desired.id.clone()]).await {
            tracing::warn!(resource = %desired.id, %error, "its record cannot be written; it keeps its old id in reserve");
        }
        Ok(applied)
    }

    /// Runs the release command to its end: the one op that may take as long as its timeout says, in the keeper, so that a
    /// daemon that ends in the meantime changes nothing.
    async fn release(&self, desired: &Arc<Resource>) -> Result<Applied> {
        let Some(Release { timeout, .. }) = &desired.spec.release else { return Ok(Applied::default()) };
        let app = self.app(&self.started.step().resource).await?;
        app.hand_over(self.shared).await;
        let secrets = setting::confidential(&desired.spec, self.secrets)?;
        let setting = self.setting(&app, desired).await?;
        app.remember(&desired.template_digest, secrets.clone());
        let (key, resource) = (self.key().clone(), Box::new(Resource::clone(desired)));
        let request = Request::Release { key: key.clone(), resource, setting, secrets };
        self.call(&app, request, |state| state.release.as_ref().is_some_and(|run| run.key == key)).await?;
        let ended = |view: &View| match view {
            View::Known(state) => state
                .release
                .as_ref()
                .is_some_and(|r| r.key == key && !matches!(r.outcome, ReleaseOutcome::Running { .. })),
            View::Gone => true,
            View::Looking | View::Unknown(_) => false,
        };
        app.until(timeout.as_duration() + SEEN, ended).await;
        let outcome = match app.view() {
            View::Known(state) => state.release.clone().filter(|run| run.key == key).map(|run| run.outcome),
            _ => None,
        };
        match outcome {
            Some(ReleaseOutcome::Succeeded) => Ok(Applied { note: Some("the release command succeeded".to_owned()) }),
            Some(ReleaseOutcome::Failed { why, refused: true }) => Err(ApplyError::Retry(why)),
            Some(ReleaseOutcome::Failed { why, .. }) => Err(ApplyError::Reject(why)),
            // Whether it may run again is for whoever sees what it did to say, with `Codeops-Retry`.
            Some(ReleaseOutcome::Lost { why }) => Err(ApplyError::Reject(why)),
            _ => Err(ApplyError::OutcomeUnknown(format!("the release command of {} has not ended", desired.id))),
        }
    }

    async fn delete(&self, ours: &Ours, moved_to: Option<ProviderName>) -> Result<Applied> {
        let id = &self.started.step().resource;
        self.shared.releases.leave(id, None);
        let Some(app) = self.find(id).await? else { return Ok(Applied { note: Some("already gone".to_owned()) }) };
        self.check(&app, ours)?;
        let folder = app.folder.clone();
        let kept = match &moved_to {
            Some(_) => format!("; what it wrote is kept below {}", self.shared.home.kept().display()),
            None => String::new(),
        };
        let going = Going { id: id.clone(), owner: self.owner().clone(), moved_to };
        let asked = app.delete(self.shared, self.key(), going).await;
        let under_way = |view: &View| match view {
            View::Known(state) => state.deleting,
            View::Gone => true,
            View::Looking | View::Unknown(_) => false,
        };
        // An app without instances can be gone before its keeper has answered.
        if !app.until(SEEN, under_way).await {
            asked.map_err(failed)?;
        }
        Ok(Applied { note: Some(format!("ending its instances and removing {folder}{kept}")) })
    }

    /// The object still carries the very stamp that was looked at.
    fn check(&self, app: &App, ours: &Ours) -> Result<()> {
        match app.view() {
            View::Known(state) if state.stamp.as_ref() == Some(ours.stamp()) => Ok(()),
            View::Known(state) if state.stamp.as_ref().is_some_and(|s| s.owner == ours.stamp().owner) => {
                Err(ApplyError::Retry(format!("{} has changed since it was looked at", app.id())))
            }
            View::Known(_) => Err(not_ours(&app.id())),
            View::Looking | View::Unknown(_) | View::Gone => {
                Err(ApplyError::Retry(format!("{} cannot be looked at", app.id())))
            }
        }
    }

    /// Where an instance of `desired` runs, its artifact in place.
    async fn setting(&self, app: &App, desired: &Resource) -> Result<Setting> {
        let shared = self.shared;
        let trouble = |error: std::io::Error| ApplyError::Retry(format!("the folders of {}: {error}", desired.id));
        let user = shared.user(app).await.map_err(trouble)?;
        let (home, name, ids) =
            (shared.home.clone(), app.folder.clone(), user.as_ref().map(|user| (user.uid, user.gid)));
        let (id, owner) = (desired.id.clone(), self.owner().clone());
        let make = move || home.take_back(&name, &id, &owner).and_then(|()| home.make_data(&name, ids));
        let data = off_thread(make).await.map_err(trouble)?;
        let dir: PathBuf = match setting::artifact(&desired.spec)? {
            None => data.clone(),
            Some(artifact) => {
                shared.release(app, artifact, &self.started.step().team, &self.egress()).await.map_err(not_fetched)?
            }
        };
        let cgroup = setting::cgroup(&shared.system, &app.folder);
        Ok(setting::setting(&desired.spec, dir, &data, user, cgroup))
    }

    fn egress(&self) -> Egress {
        Egress::of(&self.started.step().team, &self.shared.teams)
    }

    /// Sends a request, then waits until the pushed state shows it: who observes next sees what was done.
    async fn call(&self, app: &App, request: Request, seen: impl Fn(&State) -> bool) -> Result<Applied> {
        let note = match app.call(request).await.map_err(failed)? {
            Done::Note(note) => note,
            Done::Stats(_) => None,
        };
        let shows = |view: &View| matches!(view, View::Known(state) if seen(state));
        if app.until(SEEN, shows).await {
            Ok(Applied { note })
        } else {
            Err(ApplyError::OutcomeUnknown(format!("the keeper of {} took the step and does not show it", app.folder)))
        }
    }

    /// Writes down what runs, before a step may change that, and that `artifact` is wanted.
    async fn note_uses(&self, app: &App, artifact: Option<&Artifact>) -> Result<()> {
        let noted = self.shared.note_uses(app, artifact, &self.started.step().team).await;
        noted.map_err(|error| ApplyError::Retry(format!("the record of {}: {error}", app.id())))
    }
}

fn not_fetched(error: ArtifactError) -> ApplyError {
    match error {
        ArtifactError::Transient(why) => ApplyError::Retry(why),
        ArtifactError::UnderWay(how) => ApplyError::UnderWay(how),
        ArtifactError::Refused(why) => ApplyError::Reject(why),
        ArtifactError::Barred(why) => ApplyError::Barred(why),
    }
}

fn not_ours(id: &ResourceId) -> ApplyError {
    ApplyError::Reject(format!("{id} is there and not ours: remove it, or take it over with `adopt: true`"))
}

fn failed(error: CallError) -> ApplyError {
    match error {
        CallError::Failed(Failure::Retry(why)) => ApplyError::Retry(why),
        CallError::Failed(Failure::Reject(why)) => ApplyError::Reject(why),
        CallError::Failed(Failure::Barred(why)) => ApplyError::Barred(why),
        CallError::Lost(why) => ApplyError::OutcomeUnknown(why),
    }
}
