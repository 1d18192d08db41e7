//! What each request does. Durable first, then done; one key, one effect.

use std::path::Path;
use std::sync::Arc;

use codeops_core::model::{Instance, InstanceHealth, InstanceId, InstanceState, Key, Resource, Stamp};

use super::forward::Stable;
use super::instance::{command, environment, orders, wants_port};
use super::run::{End, Keeper};
use super::table::{Durable, Record};
use super::wire::{Confidential, Done, Failure, ReleaseOutcome, ReleaseRun, Request, Setting};
use super::{release, stats};
use crate::launch::cgroup::Group;
use crate::port::{Clock as _, SystemClock};

/// Does what the daemon of `epoch` asks. It never waits for a process.
pub(super) async fn handle(keeper: &Arc<Keeper>, epoch: u64, request: Request) -> Result<Done, Failure> {
    if request != Request::Stats {
        keeper.table.admit(epoch).await.map_err(|newest| {
            Failure::Barred(format!(
                "a newer daemon was here: this one's epoch {epoch} is lower than {newest}, so it may only look until a new \
                 commit makes it the newest"
            ))
        })?;
    }
    match request {
        Request::Configure { key, stamp, resource } => configure(keeper, &key, stamp, *resource).await,
        Request::Start { key, instance, resource, setting, secrets } => {
            start(keeper, &key, &instance, &Start { resource: *resource, setting, secrets }).await
        }
        Request::Stop { key, instance } => stop(keeper, &key, &instance).await,
        Request::Release { key, resource, setting, secrets } => {
            release(keeper, &key, Start { resource: *resource, setting, secrets }).await
        }
        Request::Delete { key } => delete(keeper, &key).await,
        Request::Secrets { template, secrets } => {
            keeper.table.note(|volatile| volatile.secrets.insert(template, secrets));
            Ok(Done::Note(None))
        }
        Request::Stats => Ok(Done::Stats(stats::read(keeper))),
        Request::Handover { binary } => handover(keeper, &binary),
        Request::Shutdown => {
            keeper.end.send_replace(Some(End::Shutdown));
            Ok(Done::Note(None))
        }
    }
}

async fn configure(keeper: &Keeper, key: &Key, stamp: Stamp, resource: Resource) -> Result<Done, Failure> {
    let stable = Stable::of(resource.id.name.as_str(), &resource.spec);
    let (done, fresh) = keeper
        .table
        .once(key, |durable| {
            alive(durable.deleting)?;
            durable.configure(stamp, resource, SystemClock.now());
            Ok(Done::Note(None))
        })
        .await?;
    if fresh {
        keeper.port.send_if_modified(|wish| {
            let changed = *wish != stable;
            *wish = stable;
            changed
        });
    }
    Ok(done)
}

struct Start {
    resource: Resource,
    setting: Setting,
    secrets: Confidential,
}

async fn start(keeper: &Arc<Keeper>, key: &Key, id: &InstanceId, start: &Start) -> Result<Done, Failure> {
    let Start { resource, setting, secrets } = start;
    // Tried with a port of no meaning: what would fail at every start is refused at the first.
    let env = environment(id, resource, setting, wants_port(&resource.spec).then_some(1)).map_err(Failure::Reject)?;
    orders(command(&resource.spec).map_err(Failure::Reject)?, env, secrets, setting).map_err(Failure::Reject)?;
    let now = SystemClock.now();
    let record = Record {
        instance: Instance {
            id: id.clone(),
            template: resource.template_digest.clone(),
            state: InstanceState::Running,
            health: InstanceHealth::Starting,
            created_at: now,
            health_since: now,
            on_trial: false,
            started_at: None,
            restarts: 0,
            losses: 0,
            pid: None,
            port: None,
            why: None,
        },
        resource: resource.clone(),
        setting: setting.clone(),
        needs_secrets: !secrets.0.is_empty(),
        process: None,
        group: Group::default(),
    };
    let (done, fresh) = keeper
        .table
        .once(key, |durable| {
            alive(durable.deleting)?;
            if let Some(old) = durable.instances.get(id) {
                let why = format!("instance {id} already lives here");
                let ending = old.instance.state == InstanceState::Stopping;
                // Whoever asks has not seen it yet: the next look finds another number for the new one.
                return Err(Failure::Retry(if ending { format!("{why} and is stopping") } else { why }));
            }
            durable.instances.insert(id.clone(), record);
            Ok(Done::Note(None))
        })
        .await?;
    if !secrets.0.is_empty() {
        keeper.table.note(|volatile| volatile.secrets.insert(resource.template_digest.clone(), secrets.clone()));
    }
    if fresh {
        keeper.supervise(id.clone());
    }
    Ok(done)
}

async fn stop(keeper: &Keeper, key: &Key, id: &InstanceId) -> Result<Done, Failure> {
    let (done, fresh) = keeper
        .table
        .once(key, |durable| {
            let Some(record) = durable.instances.get_mut(id) else {
                return Ok(Done::Note(Some(format!("instance {id} was gone already"))));
            };
            record.instance.state = InstanceState::Stopping;
            Ok(Done::Note(None))
        })
        .await?;
    if fresh {
        keeper.stop(id);
    }
    Ok(done)
}

async fn release(keeper: &Arc<Keeper>, key: &Key, start: Start) -> Result<Done, Failure> {
    let Start { resource, setting, secrets } = start;
    let release = resource.spec.release.clone();
    let release = release.ok_or_else(|| Failure::Reject("the app has no release command".to_owned()))?;
    let (done, fresh) = keeper
        .table
        .once(key, |durable| {
            alive(durable.deleting)?;
            if is_releasing(durable) {
                return Err(Failure::Retry("another release command still runs".to_owned()));
            }
            durable.release = Some(ReleaseRun {
                key: key.clone(),
                template: resource.template_digest.clone(),
                at: SystemClock.now(),
                outcome: ReleaseOutcome::Running { timeout: release.timeout },
            });
            durable.releasing = Some(resource.clone());
            Ok(Done::Note(None))
        })
        .await?;
    if fresh {
        if !secrets.0.is_empty() {
            keeper.table.note(|volatile| volatile.secrets.insert(resource.template_digest.clone(), secrets.clone()));
        }
        keeper.tasks.spawn(release::run(keeper.clone(), resource, setting, secrets));
    }
    Ok(done)
}

async fn delete(keeper: &Keeper, key: &Key) -> Result<Done, Failure> {
    let (done, fresh) = keeper
        .table
        .once(key, |durable| {
            durable.deleting = true;
            for record in durable.instances.values_mut() {
                record.instance.state = InstanceState::Stopping;
            }
            Ok(Done::Note(None))
        })
        .await?;
    if fresh {
        keeper.stop_all();
    }
    Ok(done)
}

fn handover(keeper: &Keeper, binary: &Path) -> Result<Done, Failure> {
    rustix::fs::access(binary, rustix::fs::Access::EXEC_OK)
        .map_err(|error| Failure::Barred(format!("{} cannot be run: {error}", binary.display())))?;
    let busy = keeper.table.read(|all| is_releasing(&all.durable));
    if busy {
        return Err(Failure::Retry("a release command runs; its exit would be lost".to_owned()));
    }
    keeper.end.send_replace(Some(End::Handover(binary.to_owned())));
    Ok(Done::Note(None))
}

fn is_releasing(durable: &Durable) -> bool {
    durable.release.as_ref().is_some_and(|release| matches!(release.outcome, ReleaseOutcome::Running { .. }))
}

fn alive(deleting: bool) -> Result<(), Failure> {
    if deleting { Err(Failure::Retry("the app is being deleted".to_owned())) } else { Ok(()) }
}
