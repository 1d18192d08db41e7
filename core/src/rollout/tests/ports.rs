//! Which ports an app keeps beside the one that it is declared with, and how long.

use super::*;
use crate::model::{Claims, Port, Protocol};
use crate::plan::plan;
use crate::plan::sim::owner;
use crate::rollout::{Planned, Sight};

const NONE: [u16; 0] = [];

/// The port that an app had stays its own until it is where it is declared to be, and has baked there or has nothing to bake.
#[test]
fn a_port_is_left_once_the_app_has_arrived_at_another() {
    let at = |port: Option<u16>, change: &dyn Fn(&mut AppSpec)| {
        resource("shop", |spec| {
            spec.port = port.map(|number| Port { number, protocol: Protocol::Http });
            change(spec);
        })
    };
    let claim = |world: &mut World, shop: &Arc<Resource>| {
        let known = world.remembered(&app("shop"));
        known.places.insert(name("local"), None);
        known.claim(Claims::of(shop, false));
    };
    // As the daemon does after each pass.
    let look = |world: &mut World, shop: &Arc<Resource>| {
        let want = desired([Arc::clone(shop)]);
        world.pass(&want, &revision(2));
        let (snapshot, memory, owner) = (world.snapshot(), world.memory.clone(), owner());
        let cause = Cause::Revision { revision: revision(2) };
        let sight = Sight { owner: &owner, snapshot: &snapshot, memory: &memory, cause: &cause, now: world.now };
        let plan = plan(&want, &revision(2), &owner, &snapshot, &memory);
        let change = plan.changes.iter().find(|change| change.id == app("shop"));
        let next = sight.look(&app("shop"), Some(shop), Planned { change, unknown: None }).map(|look| look.next);
        if let Some(ports) = sight.ports(&app("shop"), Some(shop), next.as_ref()) {
            world.remembered(&app("shop")).ports = ports;
        }
        world.memory.resources[&app("shop")].ports.iter().map(|port| port.2).collect::<Vec<_>>()
    };
    let settled = |world: &mut World, shop: &Arc<Resource>| {
        world.settle(&desired([Arc::clone(shop)]), &revision(2));
        look(world, shop)
    };
    let first = at(Some(8080), &|_| {});
    let mut world = World::new();
    claim(&mut world, &first);
    world.settle(&desired([Arc::clone(&first)]), &revision(1));
    assert_eq!(look(&mut world, &first), NONE);

    // Baking it may come back; good it has left. In its first bake it is no other.
    let moved = at(Some(8081), &|spec| drop(spec.env.insert("LOG".to_owned(), "debug".to_owned())));
    let mut baking = world.clone();
    claim(&mut baking, &moved);
    assert_eq!(look(&mut baking, &moved), [8080]);
    baking.tick(1);
    assert_eq!(look(&mut baking, &moved), [8080]);
    assert_eq!(settled(&mut baking, &moved), NONE);

    // Suspended it stays, however long.
    let suspended = at(Some(8082), &|spec| spec.suspend = true);
    let mut stays = world.clone();
    claim(&mut stays, &suspended);
    assert_eq!(settled(&mut stays, &suspended), [8080]);
    claim(&mut stays, &first);
    assert_eq!(settled(&mut stays, &first), NONE);

    // What is scaled to nothing has left it once nothing keeps that from being done.
    for port in [Some(8081), None] {
        let nothing = at(port, &|spec| spec.replicas = 0);
        let mut world = world.clone();
        claim(&mut world, &nothing);
        assert_eq!(world.memory.resources[&app("shop")].ports.len(), 1);
        assert_eq!(settled(&mut world, &nothing), NONE);
    }

    // Failed, it lives where it was, and both are its own.
    let mut failed = world.clone();
    failed.bad.insert(moved.template_digest.clone(), InstanceHealth::CrashLoop);
    claim(&mut failed, &moved);
    assert_eq!(settled(&mut failed, &moved), [8080]);

    // What is found where nobody remembers it, as after a backup was restored, is its own there.
    failed.remembered(&app("shop")).ports.clear();
    assert_eq!(look(&mut failed, &moved), [8080]);
}
