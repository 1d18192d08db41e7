//! A state folder that is copied or moved, and what is mounted in one: with real daemons, keepers and processes.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::process_harness::{end_all, processes};
use crate::support::site::{Site, pids};
use crate::support::skip::skip;
use crate::support::small_disk::{SmallDisk, run};

/// An app that writes down where it starts.
const APP: &str = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: shop, team: shop}\nspec:\n  provider: local\n  replicas: 2\n  \
                   run: {command: [/bin/sh, -c, 'echo started >> $STATE_DIRECTORY/starts; exec sleep 600']}\n  rollout: {bake: 1s}\n";

/// A site with the same repository, and no state yet.
fn beside(site: &Site) -> Site {
    let other = Site::new(APP);
    fs::remove_dir_all(other.repository.path()).expect("removed");
    assert!(copy(site.repository.path(), other.repository.path()));
    other
}

fn copy(from: &Path, to: &Path) -> bool {
    run("cp", &["-a", from.to_str().expect("text"), to.to_str().expect("text")])
}

fn kill(pid: u64) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::KILL).expect("killed");
}

fn kill_daemon(site: &mut Site) {
    let mut daemon = site.daemon.take().expect("a daemon");
    daemon.kill().and_then(|()| daemon.wait()).expect("killed");
}

fn starts(site: &Site) -> usize {
    fs::read_to_string(site.state().join("local/data/shop/starts")).unwrap_or_default().lines().count()
}

/// Whether a process works below this folder: a keeper, or an instance.
fn works_in(folder: &Path) -> bool {
    processes().iter().any(|(_, path)| fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
}

/// The trailer that accepts the folder where it lies, as `get` says it.
fn trailer(shop: &Value) -> String {
    let why = shop["why"].as_str().unwrap_or_default();
    let trailer = why.split_once("Codeops-Allow: ").map(|(_, id)| id.chars().take(12).collect::<String>());
    format!("Codeops-Allow: {}", trailer.unwrap_or_else(|| panic!("a trailer in: {why}")))
}

fn told(shop: &Value, what: &str) -> bool {
    shop["why"].as_str().is_some_and(|why| why.contains(what))
}

/// Two healthy instances, none of `before`.
fn anew(shop: &Value, before: &[u64]) -> bool {
    let now = pids(shop);
    shop["health"] == "Healthy" && now.len() == 2 && now.iter().any(|pid| !before.contains(pid))
}

#[test]
fn a_copy_beside_the_original_touches_nothing_of_it() {
    let mut site = Site::new(APP);
    site.start();
    let before = site.until_applied();
    let mut other = beside(&site);
    assert!(copy(&site.state(), &other.state()));
    other.start();
    let held = |_: &Value, shop: &Value| shop["sync"] == "Held" && told(shop, "is a copy of");
    let shop = other.until("held", held);
    kill(before[0]);
    site.until("started again", |_, shop| anew(shop, &before));
    site.until("started by the original's keeper alone", |_, _| (starts(&site), starts(&other)) == (3, 2));
    assert!(!works_in(&other.state().join("local")));
    // Accepted, it still waits for the other's keeper to end.
    other.repository.commit_file("note.txt", "ours", &format!("Take it over\n\n{}", trailer(&shop)));
    other.until("told that the original runs", |_, shop| told(shop, "still runs"));
    let now = pids(&site.ask(&["get", "app/shop"]));
    kill(now[0]);
    site.until("started again", |_, shop| anew(shop, &now));
    site.until("started by the original's keeper", |_, _| (starts(&site), starts(&other)) == (4, 2));
    assert!(!works_in(&other.state().join("local")));
    site.stop();
    end_all(&site.state());
    let taken = other.until_applied();
    other.until("both started in their own folder", |_, _| (starts(&site), starts(&other)) == (4, 4));
    kill_daemon(&mut other);
    other.start();
    assert_eq!(other.until_applied(), taken, "what was accepted is accepted");
}

#[test]
fn a_folder_that_was_moved_goes_on_once_a_commit_says_so() {
    let mut site = Site::new(APP);
    site.start();
    let before = site.until_applied();
    site.stop();
    let mut moved = beside(&site);
    fs::rename(site.state(), moved.state()).expect("moved");
    moved.start();
    moved.until("found as it runs", |_, shop| pids(shop) == before && shop["health"] == "Healthy");
    // Its keeper came along.
    kill(before[0]);
    let shop = moved.until("started again", |_, shop| anew(shop, &before));
    moved.until("started in the folder's new place", |_, _| starts(&moved) == 3);
    let before = pids(&shop);
    // As after a reboot: nothing is left but the folder.
    moved.stop();
    end_all(&site.state());
    end_all(&moved.state());
    moved.start();
    let held = |_: &Value, shop: &Value| shop["sync"] == "Held" && told(shop, "was moved from there");
    let shop = moved.until("held", held);
    kill_daemon(&mut moved);
    moved.repository.commit_file("note.txt", "moved", &format!("Move it\n\n{}", trailer(&shop)));
    moved.start();
    let after = moved.until_applied();
    assert!(after.iter().all(|pid| !before.contains(pid)));
    moved.until("both started in their new folder", |_, _| starts(&moved) == 5);
    kill_daemon(&mut moved);
    end_all(&moved.state());
    moved.start();
    moved.until("both started again: what was accepted is accepted", |_, _| starts(&moved) == 7);
}

#[test]
fn what_is_mounted_in_the_folder_stops_no_start_and_is_named_where_it_is_in_the_way_of_a_delete() {
    let mut site = Site::new(APP);
    let tmp = site.state().join("effects/tmp/left");
    fs::create_dir_all(&tmp).expect("made");
    let Some(_tmp) = SmallDisk::new(&tmp, "64k") else { return skip("nothing can be mounted here") };
    site.start();
    site.until_applied();
    site.until_logged("effects/tmp");
    let data = site.state().join("local/data/shop");
    let volume = SmallDisk::new(&data, "64k").expect("mounted as before");
    fs::write(data.join("orders"), "1").expect("written");
    let other = APP.replace("name: shop,", "name: other,");
    site.repository.commit_file("shop.yaml", &other, "Have another shop");
    let log = site.until_logged("local/data/shop: ");
    site.until("told", |_, _| site.told(&["events"]).contains("local/data/shop: "));
    assert!(!log.contains("it is gone and forgotten"), "{log}");
    drop(volume);
    site.until_logged("it is gone and forgotten");
    assert!(!data.exists());
}
