//! Which releases are needed, and the removal of the others. A release stays while an instance lives that was started from
//! it, also one that only waits to be started again, and so do an app's last good one and its last few. What is needed is written in the
//! apps' records, so that it is known while a keeper is silent. Nothing is fetched here.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use codeops_core::model::{Artifact, Instance, InstanceHealth, TeamName};

use super::artifact::{ArtifactError, Egress};
use super::link::{App, View};
use super::releases::{Reader, name_of, remove};
use super::users::Users;
use super::{Shared, off_thread, setting};
use crate::keeper::wire::State;

impl Shared {
    /// The folder of `artifact` for `team`, and the use that `app` makes of it written down before anything can remove it.
    pub(super) async fn release(
        &self,
        app: &App,
        artifact: &Artifact,
        team: &TeamName,
        egress: &Egress,
    ) -> Result<PathBuf, ArtifactError> {
        loop {
            let folder = self.releases.ensure(artifact, egress, &self.reader(app, team)).await?;
            let _turn = self.pruning.read().await;
            // It may have been removed for another app since it was found.
            if folder.is_dir() {
                let noted = self.note(app, Some(name_of(&folder))).await;
                let trouble = |error| ArtifactError::Transient(format!("the record of {}: {error}", app.id()));
                return noted.map(|()| folder).map_err(trouble);
            }
        }
    }

    /// Writes down what runs of `app`, before a step changes that, and the release of `artifact`, if it is there.
    pub(super) async fn note_uses(&self, app: &App, artifact: Option<&Artifact>, team: &TeamName) -> io::Result<()> {
        let _turn = self.pruning.read().await;
        let release = artifact.and_then(|artifact| self.releases.found(artifact, &self.reader(app, team)));
        self.note(app, release.as_deref().map(name_of)).await
    }

    /// Whether the release that instances of the stamped template are to run in was removed from the disk: by nobody here, for it is
    /// needed.
    pub(super) fn has_lost_release(&self, app: &App, state: &State) -> bool {
        let (Some(resource), Some(stamp)) = (&state.resource, &state.stamp) else { return false };
        let Ok(Some(artifact)) = setting::artifact(&resource.spec) else { return false };
        let place = self.releases.place(artifact, &self.reader(app, &stamp.team));
        let fails = |it: &&Instance| it.template == stamp.template && it.health != InstanceHealth::Healthy;
        let mut failing = state.instances.iter().filter(fails);
        failing.any(|it| state.folders.get(&it.id) == Some(&place)) && !place.is_dir()
    }

    /// As whom `app` reads releases: its group is its own where its uid is, and no other app's files are then in reach.
    fn reader(&self, app: &App, team: &TeamName) -> Reader {
        let group = app.uid().filter(|_| self.users == Users::Own);
        Reader { app: app.id(), team: team.clone(), group }
    }

    async fn note(&self, app: &App, release: Option<String>) -> io::Result<()> {
        let (good, running) = match app.view() {
            View::Known(state) => (self.good(&state), self.running(&state)),
            View::Looking | View::Unknown(_) | View::Gone => (None, None),
        };
        app.change_record(self, |record| {
            record.good = good.or_else(|| record.good.take());
            record.running = running.or_else(|| record.running.take());
            release.iter().for_each(|release| record.uses(release));
        })
        .await
    }

    /// The release of the newest instance that is healthy.
    fn good(&self, state: &State) -> Option<String> {
        let healthy = state.instances.iter().filter(|instance| instance.health == InstanceHealth::Healthy);
        let newest = healthy.max_by_key(|instance| instance.created_at)?;
        self.releases.name_in(state.folders.get(&newest.id)?)
    }

    /// The releases of all instances; `None` where a keeper of an earlier version does not tell one.
    fn running(&self, state: &State) -> Option<BTreeSet<String>> {
        let folders = state.instances.iter().map(|instance| state.folders.get(&instance.id));
        let releases = folders.map(|folder| folder.map(|folder| self.releases.name_in(folder)));
        Some(releases.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// Removes releases that nothing needs. A failure costs disk, not the step.
    pub(super) async fn prune(&self) {
        let turn = self.pruning.write().await;
        let Some(needed) = self.needed() else { return };
        let releases = Arc::clone(&self.releases);
        let aside = off_thread(move || releases.set_aside(&needed)).await;
        drop(turn);
        let removed = match aside {
            Ok(aside) => off_thread(move || aside.iter().try_for_each(|path| remove(path))).await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, "old releases cannot be removed");
        }
    }

    /// All that some app needs; `None` while that is not known of one.
    fn needed(&self) -> Option<BTreeSet<String>> {
        self.listed.load(Ordering::Acquire).then_some(())?;
        let mut needed = BTreeSet::new();
        for app in self.apps() {
            let record = app.recorded();
            match app.view() {
                View::Known(state) => needed.extend(self.running(&state)?),
                // No step can have changed what runs while its keeper was silent.
                View::Looking | View::Unknown(_) => drop(record.running.as_ref()?),
                View::Gone => {}
            }
            needed.extend(record.needs());
        }
        Some(needed)
    }
}
