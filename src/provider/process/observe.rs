//! What lives, from what keepers have pushed. A keeper that does not answer makes its own app unknown and no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeops_core::model::{FieldDrift, Kind, Listing, Live, Name, ResourceId, Scope, Why};
use futures_util::future::join_all;
use serde_json::Value;

use super::link::{App, View};
use super::{Shared, held};
use crate::keeper::wire::{Done, Request, State};
use crate::port::{LogQuery, LogStream, Stat, Unreachable};

/// A listing of `scope`. `Ids` asks the keepers anew; `All` asks only those that were silent for a while.
pub(super) async fn observe(shared: &Arc<Shared>, scope: &Scope) -> Result<Listing, Unreachable> {
    shared.refresh()?;
    shared.reap();
    shared.all_answer().await;
    let again = matches!(scope, Scope::Ids(_));
    let apps: Vec<Arc<App>> = shared.apps().into_iter().filter(|app| scope.covers(&app.id())).collect();
    let views = join_all(apps.iter().map(|app| app.look(again))).await;
    let mut objects = foreign(shared, scope);
    let mut unknown = BTreeMap::new();
    let known = |view: &View| if let View::Known(state) = view { state.epoch } else { 0 };
    let epoch = views.iter().map(known).max().unwrap_or_default();
    for (app, view) in apps.iter().zip(views) {
        match view {
            // A folder whose keeper was never told what it is: a create that was cut off. Nothing lives in it.
            View::Known(state) if state.stamp.is_none() && state.instances.is_empty() => {}
            View::Known(state) => {
                objects.insert(app.id(), live(shared, &state));
            }
            View::Looking => {
                unknown.insert(app.id(), Why(format!("the keeper of {} is starting", app.folder)));
            }
            View::Unknown(why) => {
                unknown.insert(app.id(), Why(why));
            }
            View::Gone => {}
        }
    }
    Ok(Listing { system: shared.system.clone(), at: shared.clock.now(), scope: scope.clone(), epoch, objects, unknown })
}

fn live(shared: &Shared, state: &State) -> Live {
    let mut live = state.live();
    if let Some(stamp) = &state.stamp {
        for template in &state.secrets_missing {
            let what = "lost with the keeper that held them; a restart needs them again";
            if *template == stamp.template {
                live.drift.push(FieldDrift {
                    field: "secrets".to_owned(),
                    expected: Value::from("held by the keeper"),
                    found: Value::from(what),
                });
            } else {
                live.notes.push(format!("the secrets of template {} are {what}", template.short()));
            }
        }
    }
    if state.deleting {
        live.notes.push("being deleted".to_owned());
    }
    live.notes.extend(shared.users.note().map(str::to_owned));
    live
}

/// Folders without our record: reported as they are, never touched.
fn foreign(shared: &Shared, scope: &Scope) -> BTreeMap<ResourceId, Live> {
    let folders = held(&shared.foreign).clone();
    let objects = folders.into_iter().filter_map(|folder| {
        let id = ResourceId { kind: Kind::App, name: Name::new(&folder).ok()? };
        let note = format!("{} was not made by this provider", shared.home.app(&folder).display());
        scope.covers(&id).then_some((
            id,
            Live {
                stamp: None,
                spec: None,
                drift: Vec::new(),
                released: None,
                instances: Vec::new(),
                address: None,
                notes: vec![note],
            },
        ))
    });
    objects.collect()
}

/// Use of resources, asked of every keeper in `scope` at once; one that does not answer is left out.
pub(super) async fn stats(shared: &Arc<Shared>, scope: &Scope) -> Result<Vec<Stat>, Unreachable> {
    shared.refresh()?;
    shared.all_answer().await;
    let apps: Vec<Arc<App>> = shared.apps().into_iter().filter(|app| scope.covers(&app.id())).collect();
    let asked = join_all(apps.iter().map(|app| async {
        match app.view() {
            View::Known(state) if !state.instances.is_empty() => app.call(Request::Stats).await.ok(),
            _ => None,
        }
    }))
    .await;
    let mut stats = Vec::new();
    for (app, done) in apps.iter().zip(asked) {
        let Some(Done::Stats(usages)) = done else { continue };
        let id = app.id();
        stats.extend(usages.into_iter().map(|usage| Stat {
            id: id.clone(),
            instance: usage.instance,
            at: usage.at,
            cpu_micros: usage.cpu_micros,
            memory_bytes: usage.memory_bytes,
            requests: usage.requests,
        }));
    }
    Ok(stats)
}

/// Log lines of one app, read from its files: they are there whether or not its keeper answers.
pub(super) async fn logs(shared: &Arc<Shared>, id: &ResourceId, query: LogQuery) -> Result<LogStream, Unreachable> {
    shared.refresh()?;
    shared.all_answer().await;
    let app = shared.app(id).ok_or_else(|| Unreachable(format!("{id} is not there, so it has no log")))?;
    Ok(crate::keeper::logs::read(&shared.home.app(&app.folder), query))
}
