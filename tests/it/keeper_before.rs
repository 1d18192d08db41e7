//! A keeper of an earlier version that cannot hand over: the port stays with it, and a changed check bakes all the same.

use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;

use codeops::keeper::{client::SOCKET, frame, wire};
use codeops::port::{Clock as _, SystemClock};
use codeops_core::model::{Digest, Instance, InstanceHealth, InstanceState, Op, Probe, Resource, ResourceId, Stamp};
use jiff::Timestamp;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use wire::{Done, Failure, FromKeeper, Request, State, ToKeeper, Welcome};

use crate::conformance::{Bench, Harness as _, id, instance_of, owner};
use crate::support::process_harness::ProcessHarness;

/// As an earlier version tells it: without what it does not know.
fn told(state: &State) -> State {
    let mut told = serde_json::to_value(state).expect("JSON");
    told.as_object_mut().expect("an object").remove("trials");
    serde_json::from_value(told).expect("an earlier state")
}

/// Serves one conversation.
async fn talk(stream: UnixStream, state: &mut State) {
    let (mut read, mut write) = stream.into_split();
    while let Ok(Some(message)) = frame::read::<ToKeeper>(&mut read).await {
        let ToKeeper::Request { id, request, .. } = message else {
            let (release, binary) = ("0.0.9".to_owned(), "earlier".to_owned());
            let welcome = Welcome { version: wire::VERSION, release, binary, pid: 1, state: told(state) };
            frame::write(&mut write, &FromKeeper::Welcome(Box::new(welcome))).await.expect("greeted");
            continue;
        };
        let result = match *request {
            Request::Handover { .. } => Err(Failure::Barred("it cannot be run".to_owned())),
            Request::Configure { stamp, resource, .. } => {
                (state.stamp, state.resource, state.serial) = (Some(stamp), Some(*resource), state.serial + 1);
                let told = FromKeeper::State(Box::new(told(state)));
                frame::write(&mut write, &told).await.expect("told");
                Ok(Done::Note(None))
            }
            Request::Stats => Ok(Done::Stats(Vec::new())),
            _ => Ok(Done::Note(None)),
        };
        frame::write(&mut write, &FromKeeper::Reply { id, result }).await.expect("answered");
    }
}

/// One instance of it, well for a day.
fn well(resource: &Resource) -> Instance {
    let long_ago: Timestamp = "2026-11-20T10:00:00Z".parse().expect("a time");
    Instance {
        id: instance_of(resource, 1),
        template: resource.template_digest.clone(),
        state: InstanceState::Running,
        health: InstanceHealth::Healthy,
        created_at: long_ago,
        health_since: long_ago,
        on_trial: false,
        started_at: Some(long_ago),
        restarts: 0,
        losses: 0,
        pid: None,
        port: None,
        why: None,
    }
}

fn changed(resource: &Resource, change: impl FnOnce(&mut Resource)) -> Arc<Resource> {
    let mut changed = resource.clone();
    change(&mut changed);
    changed.spec_digest = Digest::of(&serde_json::to_value(&changed.spec).expect("JSON"));
    Arc::new(changed)
}

fn stamp(resource: &Resource) -> Stamp {
    let (spec, template) = (resource.spec_digest.clone(), resource.template_digest.clone());
    let key = codeops_core::model::Key("made".to_owned());
    Stamp { owner: owner(), id: resource.id.clone(), team: resource.team.clone(), spec, template, key }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_an_earlier_keeper_was_told_bakes_from_then_on() {
    let bench = Bench::new(ProcessHarness::new());
    let shop: ResourceId = id("app/shop");
    let resource = bench.resource(&shop, 1);
    let resource = changed(&resource, |it| it.spec.health = None);
    let folder = bench.harness.folder(&shop);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).expect("a folder");
    std::fs::write(folder.join("app.json"), r#"{"madeAs": "app/shop"}"#).expect("a record");
    let listener = UnixListener::bind(folder.join(SOCKET)).expect("a socket");
    let instances = vec![well(&resource)];
    let mut state = State {
        stamp: Some(stamp(&resource)),
        resource: Some(Resource::clone(&resource)),
        instances,
        ..State::default()
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            talk(stream, &mut state).await;
        }
    });
    let before = bench.live(&shop).await.instances[0].health_since;

    // What judges nothing otherwise changes nothing.
    let more = changed(&resource, |it| it.spec.replicas += 1);
    bench.act(&shop, Op::Configure { desired: Arc::clone(&more) }).await;
    assert_eq!(bench.live(&shop).await.instances[0].health_since, before);

    let check = serde_json::json!({"probe": Probe::Tcp, "interval": "1s", "timeout": "1s", "startTimeout": "9s", "failures": 3});
    let other = changed(&more, |it| it.spec.health = Some(serde_json::from_value(check).expect("a check")));
    let told_at = SystemClock.now();
    bench.act(&shop, Op::Configure { desired: Arc::clone(&other) }).await;
    let since = bench.live(&shop).await.instances[0].health_since;
    assert!(since >= told_at, "it passes a check that it was never asked: since {since}");

    // Neither another change nor the next daemon makes it older or younger.
    let less = changed(&other, |it| it.spec.replicas -= 1);
    bench.act(&shop, Op::Configure { desired: less }).await;
    bench.harness.restart().await;
    assert_eq!(bench.live(&shop).await.instances[0].health_since, since);
}
