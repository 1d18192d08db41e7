//! The secrets of one app, which its keeper holds in memory alone: kept here for a keeper that was replaced, and fetched
//! from the vault by a daemon that never gave them, after a reboot say. Only what was given before is given again: that
//! changes nothing, so it waits for no gate, and a freeze keeps no app down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use codeops_core::model::Digest;
use tokio::time::timeout;

use super::{App, View, held};
use crate::keeper::wire::{Confidential, Lost, Request, State};
use crate::port::Vault;
use crate::provider::process::{Shared, off_thread};

/// When a value that could not be had is asked for again.
const AGAIN: Duration = Duration::from_secs(30);

/// Secrets by template.
#[derive(Debug, Default)]
pub(super) struct Kept {
    all: BTreeMap<Digest, Confidential>,
    /// What a step brought last: its keeper need not show it yet.
    newest: Option<Digest>,
    /// Why those of a template are not given again.
    refused: BTreeMap<Digest, String>,
}

impl Kept {
    fn bring(&mut self, template: &Digest, secrets: Confidential) {
        self.all.insert(template.clone(), secrets);
        self.newest = Some(template.clone());
    }

    /// Drops what nothing runs from any more, as keepers do.
    fn follow(&mut self, state: &State) {
        self.all.retain(|template, _| {
            self.newest.as_ref() == Some(template)
                || state.stamp.as_ref().is_some_and(|stamp| stamp.template == *template)
                || state.instances.iter().any(|instance| instance.template == *template)
                || state.secrets_missing.contains(template)
        });
    }

    /// What a keeper misses and is to be had here.
    fn wanted(&self, state: &State) -> Vec<Request> {
        let wanted = state.secrets_missing.iter().filter_map(|template| {
            let secrets = self.all.get(template)?.clone();
            Some(Request::Secrets { template: template.clone(), secrets })
        });
        wanted.collect()
    }

    fn lacks(&self, view: &View) -> Vec<Lost> {
        let View::Known(state) = view else { return Vec::new() };
        state.lost.iter().filter(|lost| !self.all.contains_key(&lost.template)).cloned().collect()
    }
}

impl App {
    /// Keeps the secrets of a template, and hands them to a keeper that misses them.
    pub(in super::super) fn remember(&self, template: &Digest, secrets: Confidential) {
        held(&self.secrets).bring(template, secrets);
        if let View::Known(state) = self.view() {
            self.give_secrets(&state);
        }
    }

    /// Hands a keeper what it misses, and lets go of what it needs no more.
    pub(super) fn give_secrets(&self, state: &State) {
        let mut kept = held(&self.secrets);
        kept.follow(state);
        kept.wanted(state).into_iter().for_each(|request| self.post(request));
    }

    /// Why the secrets of a template that its keeper lost are not given to it again, if they are not.
    pub(in super::super) fn refused(&self, template: &Digest) -> Option<String> {
        held(&self.secrets).refused.get(template).cloned()
    }

    /// Fetches what a keeper misses and was never given by this daemon. It never ends by itself.
    pub(super) async fn restore(&self, shared: &Shared) -> String {
        let Some(vault) = &shared.vault else { return std::future::pending().await };
        let mut view = self.view.subscribe();
        loop {
            let lost = held(&self.secrets).lacks(&view.borrow_and_update());
            let mut refused = BTreeMap::new();
            for lost in lost {
                match fetch(Arc::clone(vault), lost.clone()).await {
                    Ok(secrets) => {
                        held(&self.secrets).all.insert(lost.template, secrets);
                    }
                    Err(why) => drop(refused.insert(lost.template, why)),
                }
            }
            if let View::Known(state) = self.view() {
                self.give_secrets(&state);
            }
            let again = if refused.is_empty() { Duration::MAX } else { AGAIN };
            let before = std::mem::replace(&mut held(&self.secrets).refused, refused.clone());
            if before != refused {
                for why in refused.values() {
                    tracing::warn!(resource = %self.id(), why, "what it runs with is not given to its keeper again");
                }
                shared.hint(self.id());
            }
            let _ = timeout(again, view.changed()).await;
        }
    }
}

/// The values as they were given before.
async fn fetch(vault: Arc<dyn Vault>, lost: Lost) -> Result<Confidential, String> {
    let read = move || Ok(vault.given_before(&lost.team, &lost.secrets, &lost.tags));
    let values = off_thread(read).await.map_err(|error| error.to_string())??;
    Ok(Confidential(values))
}

#[cfg(test)]
mod tests {
    use codeops_core::model::{Instance, InstanceHealth, InstanceId, InstanceState};
    use serde_json::json;

    use super::*;

    fn running(template: &Digest) -> Instance {
        Instance {
            id: InstanceId::new(template, 1).unwrap(),
            template: template.clone(),
            state: InstanceState::Running,
            health: InstanceHealth::Healthy,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            health_since: jiff::Timestamp::UNIX_EPOCH,
            on_trial: false,
            started_at: None,
            restarts: 0,
            losses: 0,
            pid: None,
            port: None,
            why: None,
        }
    }

    #[test]
    fn secrets_of_what_runs_no_more_are_dropped_and_those_a_step_has_just_brought_are_not() {
        let [old, running_one, newest] = [1, 2, 3].map(|n| Digest::of(&json!(n)));
        let mut kept = Kept::default();
        for template in [&old, &running_one, &newest] {
            kept.bring(template, Confidential::default());
        }
        kept.follow(&State { instances: vec![running(&old), running(&running_one)], ..State::default() });
        assert_eq!(kept.all.len(), 3);
        kept.follow(&State { instances: vec![running(&running_one)], ..State::default() });
        assert_eq!(kept.all.keys().collect::<Vec<_>>().len(), 2);
        assert!(!kept.all.contains_key(&old));
    }
}
