//! What the settings say of instances beside the manifest, and may say otherwise later: the user they run as. It is part of what
//! makes an instance; so one that runs as another is of another template, and is replaced as such. Until then keepers start
//! nothing that the settings do not allow any more.

use std::io;
use std::sync::{Arc, Mutex};

use codeops_core::model::{Digest, FieldDrift, Live};
use serde_json::{Value, json};

use super::link::App;
use super::users::{self, Users};
use super::{Shared, held, off_thread};
use crate::keeper::allowed::Allowed;
use crate::keeper::wire::{State, User};

/// Held from the choice of a uid until others see it taken: other providers choose from the same range.
pub(super) static CHOOSING: Mutex<()> = Mutex::new(());

impl Shared {
    /// Tells all keepers what the settings allow, before any of them is spoken to or started, and again where this daemon
    /// becomes a newer one.
    pub(super) async fn tell_allowed(&self) {
        let Some(vault) = self.vault.clone() else { return };
        let mut told = self.told.lock().await;
        let epoch = self.epoch();
        if *told == Some(epoch) {
            return;
        }
        let (users, root) = (self.users.range(), self.home.root.clone());
        let tell = move || {
            let secrets = vault.facts().into_iter().map(|(name, facts)| (name, facts.teams)).collect();
            Allowed { epoch, users, secrets }.tell(&root)
        };
        match off_thread(tell).await {
            Ok(()) => *told = Some(epoch),
            Err(error) => tracing::warn!(%error, "keepers cannot be told what the settings allow"),
        }
    }

    /// The user that an instance of `app` is started as. An app that was made while all of them ran as one has no uid of its own
    /// yet, and never goes on as the daemon's.
    pub(super) async fn user(self: &Arc<Self>, app: &App) -> io::Result<Option<User>> {
        if self.users == Users::Own && app.uid().is_none() {
            let shared = Arc::clone(self);
            let choose = move || {
                let _choosing = held(&CHOOSING);
                shared.new_uid()
            };
            let uid = off_thread(choose).await?;
            app.change_record(self, |record| record.uid = record.uid.or(Some(uid))).await?;
        }
        Ok(self.users.user(app.uid()))
    }

    /// A uid that nobody has.
    pub(super) fn new_uid(&self) -> io::Result<u32> {
        let mut taken = users::taken();
        taken.extend(self.apps().iter().filter_map(|app| app.uid()));
        taken.extend(self.home.uids_beside());
        // What an app left running when it was deleted is still itself.
        taken.extend(users::running());
        self.home.next_uid(|uid| !taken.contains(&uid) && self.claims.claim(uid))
    }

    /// Tells apart the instances of `live` that run as another user than they would now.
    pub(super) fn tell_users(&self, app: &App, state: &State, live: &mut Live) {
        let own = rustix::process::geteuid().as_raw();
        let wanted = match self.users.user(app.uid()) {
            Some(user) => user.uid.into(),
            None if self.users == Users::Own => Value::from("one of its own"),
            None => own.into(),
        };
        for instance in &mut live.instances {
            let Some(user) = state.users.get(&instance.id) else { continue };
            if self.users.fits(user.as_ref(), app.uid()) {
                continue;
            }
            let uid = user.as_ref().map_or(own, |user| user.uid);
            instance.template = Digest::of(&json!({"template": instance.template, "user": uid}));
            let renewal =
                FieldDrift { field: "user".to_owned(), expected: wanted.clone(), found: Value::from(uid), waits: None };
            if !live.renews.contains(&renewal) {
                live.renews.push(renewal);
            }
        }
    }
}
