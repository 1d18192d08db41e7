//! The keeper that holds an app's stable port is killed: until the next one answers there again, with the same instance.

use std::time::Duration;

use tokio::time::Instant;

use super::daemon::{self, Place};
use super::restart::{manifest, until_answering};
use super::table::Row;

/// One kill an app, as `restart` does it: none of them waits for what came before.
const APPS: usize = 20;

pub(crate) fn measure() -> Vec<Row> {
    let name = |i: usize| format!("k{i}");
    let ports: Vec<u16> = (0..APPS).map(|_| daemon::free_port()).collect();
    let apps = (0..APPS).map(|i| (format!("apps/k{i}.yaml"), manifest(&name(i), ports[i], 0)));
    let place = Place::with(&apps.collect::<Vec<_>>());
    let running = place.start();
    running.until_fine(APPS);
    let mut away = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let (instance, _) = running.instance(&name(i)).unwrap();
        let keeper = daemon::parent(instance);
        assert!(running.keepers().contains(&keeper), "instance {instance} is a child of its keeper");
        let begun = Instant::now();
        daemon::kill(keeper);
        // Until it is dead its port still answers.
        while std::fs::read_link(format!("/proc/{keeper}/exe")).is_ok() {
            std::hint::spin_loop();
        }
        until_answering(*port);
        away.push(begun.elapsed());
        daemon::until(|| running.instance(&name(i)).is_some_and(|(pid, _)| pid == instance), "the instance lived on");
    }
    let what = "killed keeper: its stable port answers again, by the same instance";
    vec![Row::time("keeper", what, Duration::from_millis(100), &away)]
}
