//! What lives, from what keepers have pushed. A keeper that does not answer makes its own app unknown and no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeops_core::model::{FieldDrift, Kind, Listing, Live, Name, ResourceId, Scope, Why};
use futures_util::future::join_all;
use serde_json::Value;

use super::link::{App, View};
use super::{Shared, held, kept, off_thread};
use crate::keeper::wire::{Done, Request, State};
use crate::port::{LogQuery, LogStream, Stat, Unreachable};

/// A listing of `scope`. `Ids` asks the keepers anew; `All` asks only those that were silent for a while.
pub(super) async fn observe(shared: &Arc<Shared>, scope: &Scope) -> Result<Listing, Unreachable> {
    shared.refresh(scope).await?;
    shared.reap();
    let again = matches!(scope, Scope::Ids(_));
    let apps = covered(shared, scope).await;
    let views = join_all(apps.iter().map(|app| app.look(again))).await;
    let mut objects = foreign(shared, scope);
    let mut unknown = BTreeMap::new();
    let mut silent = Vec::new();
    let known = |view: &View| if let View::Known(state) = view { state.epoch } else { 0 };
    let epoch = views.iter().map(known).max().unwrap_or_default();
    for (app, view) in apps.iter().zip(views) {
        match view {
            // A folder whose keeper was never told what it is: a create that was cut off. Nothing lives in it.
            View::Known(state) if state.stamp.is_none() && state.instances.is_empty() => {}
            View::Known(state) => {
                let id = state.stamp.as_ref().map_or_else(|| app.id(), |stamp| stamp.id.clone());
                objects.insert(id, live(shared, app, &state));
            }
            View::Looking => silent.push((app, format!("the keeper of {} is starting", app.folder))),
            View::Unknown(why) => silent.push((app, why)),
            View::Gone => {}
        }
    }
    objects.retain(|id, _| scope.covers(id));
    let home = shared.home.clone();
    let kept = off_thread(move || Ok(home.kept_anywhere())).await.unwrap_or_default();
    objects.iter_mut().for_each(|(id, live)| kept::tell(&kept, id, live));
    for (app, why) in silent {
        let (ids, newest) = (app.ids(), app.id());
        // One that is being renamed may bear either id; an older one may be another app's by now, which answers.
        let open = ids.into_iter().filter(|id| scope.covers(id) && (*id == newest || !objects.contains_key(id)));
        unknown.extend(open.map(|id| (id, Why(why.clone()))));
    }
    Ok(Listing { system: shared.system.clone(), at: shared.clock.now(), scope: scope.clone(), epoch, objects, unknown })
}

/// The apps that may bear an id in `scope`.
async fn covered(shared: &Arc<Shared>, scope: &Scope) -> Vec<Arc<App>> {
    shared.all_tell_their_ids().await;
    shared.apps().into_iter().filter(|app| app.ids().iter().any(|id| scope.covers(id))).collect()
}

fn live(shared: &Shared, app: &App, state: &State) -> Live {
    let mut live = state.live();
    app.judge(state, &mut live);
    shared.tell_users(app, state, &mut live);
    if shared.has_lost_release(app, state) {
        let (expected, found) = (Value::from("unpacked on the disk"), Value::from("removed from it"));
        live.drift.push(FieldDrift { field: "run.artifact".to_owned(), expected, found, waits: None });
    }
    if let Some(stamp) = &state.stamp {
        for template in &state.secrets_missing {
            let what = "lost with the keeper that held them; a restart needs them again";
            if *template == stamp.template {
                live.drift.push(FieldDrift {
                    field: "secrets".to_owned(),
                    expected: Value::from("held by the keeper"),
                    found: Value::from(what),
                    waits: app.refused(template),
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
                leaves: false,
                renews: Vec::new(),
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
    shared.refresh(scope).await?;
    let apps = covered(shared, scope).await;
    join_all(apps.iter().map(|app| app.answers())).await;
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
    shared.refresh(&Scope::Ids([id.clone()].into())).await?;
    shared.all_tell_their_ids().await;
    let app = shared.app(id).ok_or_else(|| Unreachable(format!("{id} is not there, so it has no log")))?;
    Ok(crate::keeper::logs::read(&shared.home.app(&app.folder), query))
}
