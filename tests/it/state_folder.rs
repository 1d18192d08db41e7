//! A state folder that is copied or moved, and what is mounted in one: with real daemons, keepers and processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use codeops::keeper::client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::process_harness::{binary, end_all, processes};
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

/// The keepers that work below this folder.
fn keepers(folder: &Path) -> Vec<u64> {
    let all = processes().into_iter().filter(|(_, path)| {
        let is_keeper = fs::read(path.join("cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == b"keeper"));
        is_keeper && fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    });
    all.map(|(pid, _)| pid.as_raw_nonzero().get().unsigned_abs().into()).collect()
}

/// The one keeper of `site`, once it is none of `before`.
fn next_keeper(site: &Site, before: &[u64]) -> u64 {
    let now = || keepers(&site.state());
    site.until("kept again", |_, shop| {
        shop["sync"] == "Synced" && matches!(now()[..], [now] if !before.contains(&now))
    });
    now()[0]
}

/// A folder that was moved while its app ran, and accepted where it lies; where it was; and what runs.
fn moved() -> (Site, Site, Vec<u64>) {
    let mut site = Site::new(APP);
    site.start();
    let before = site.until_applied();
    site.stop();
    let mut moved = beside(&site);
    fs::rename(site.state(), moved.state()).expect("moved");
    moved.start();
    let trailer = moved.until_held();
    moved.repository.commit_file("note.txt", "moved", &format!("Move it\n\n{trailer}"));
    moved.until("accepted", |status, _| status["holds"] == 0);
    assert_eq!(moved.until_applied(), before, "it serves on");
    (moved, site, before)
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
    let held = |_: &Value, shop: &Value| shop["sync"] == "Held" && told(shop, "it was moved or is a copy");
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
    let held = |_: &Value, shop: &Value| shop["sync"] == "Held" && told(shop, "it was moved or is a copy");
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
fn a_folder_that_is_moved_under_what_runs_waits_for_its_word_and_needs_no_other() {
    let (mut moved, _site, before) = moved();
    // The keeper that came along, and one that was started where the folder lies now.
    let mut keeper = next_keeper(&moved, &[]);
    for _ in 0..2 {
        kill(keeper);
        keeper = next_keeper(&moved, &[keeper]);
        assert_eq!(moved.until_applied(), before, "the next one goes on with what runs");
    }
    kill(before[0]);
    moved.until("started again", |_, shop| anew(shop, &before));
    moved.until("started in the folder's new place", |_, _| starts(&moved) == 3);
    // As after a reboot.
    kill_daemon(&mut moved);
    end_all(&moved.state());
    moved.start();
    moved.until("both started in their new folder", |_, _| starts(&moved) == 5);
}

#[test]
fn what_comes_where_a_folder_was_before_it_was_moved_is_nothing_to_it() {
    let (moved, mut site, before) = moved();
    site.start();
    let others = site.until_applied();
    let keeper = next_keeper(&moved, &[]);
    kill(keeper);
    next_keeper(&moved, &[keeper]);
    assert_eq!(moved.until_applied(), before);
    kill(before[0]);
    moved.until("started again", |_, shop| anew(shop, &before));
    assert_eq!((site.until_applied(), starts(&site)), (others, 2));
}

#[test]
fn a_copy_of_a_folder_that_was_moved_starts_nothing_beside_the_keepers_there() {
    let (mut moved, _site, before) = moved();
    let mut copied = beside(&moved);
    assert!(copy(&moved.state(), &copied.state()));
    // What the copy tells of it is not so any more.
    let keeper = next_keeper(&moved, &[]);
    kill(keeper);
    next_keeper(&moved, &[keeper]);
    let is_barred = |site: &Site, by: &Site| {
        let by = by.state().display().to_string();
        site.until("told where it runs", |_, shop| {
            shop["sync"] == "Unknown" && told(shop, "still runs") && told(shop, &by)
        })
    };
    copied.start();
    let trailer = trailer(&copied.until("held", |_, shop| shop["sync"] == "Held"));
    copied.repository.commit_file("note.txt", "ours", &format!("Take it over\n\n{trailer}"));
    is_barred(&copied, &moved);
    kill(before[0]);
    moved.until("started again", |_, shop| anew(shop, &before));
    moved.until("started by the original's keeper alone", |_, _| (starts(&moved), starts(&copied)) == (3, 2));
    assert!(keepers(&copied.state()).is_empty());
    // The original is moved once more.
    kill_daemon(&mut moved);
    let mut moved_on = beside(&moved);
    fs::rename(moved.state(), moved_on.state()).expect("moved");
    is_barred(&copied, &moved_on);
    assert!(keepers(&copied.state()).is_empty());
    keepers(&moved_on.state()).into_iter().for_each(kill);
    next_keeper(&copied, &[]);
    assert!(copied.until_applied().contains(&before[1]), "what is left of what it tells of is taken over");
    // Nor does the original take anything back from its copy.
    moved_on.start();
    let trailer = self::trailer(&moved_on.until("held", |_, shop| shop["sync"] == "Held"));
    moved_on.repository.commit_file("note.txt", "back", &format!("Take it back\n\n{trailer}"));
    is_barred(&moved_on, &copied);
    assert!(keepers(&moved_on.state()).is_empty());
}

#[test]
fn a_copy_in_the_place_of_a_folder_that_was_put_away_waits_for_the_keepers_in_that() {
    let mut site = Site::new(APP);
    site.start();
    let before = site.until_applied();
    site.stop();
    let away = beside(&site);
    fs::rename(site.state(), away.state()).expect("moved");
    assert!(copy(&away.state(), &site.state()));
    site.start();
    let by = away.state().display().to_string();
    site.until("told where it runs", |_, shop| told(shop, "still runs") && told(shop, &by));
    assert!(keepers(&site.state()).is_empty());
    keepers(&away.state()).into_iter().for_each(kill);
    assert_eq!(site.until_applied(), before, "what is left is taken over");
}

#[test]
fn a_copy_starts_nothing_beside_the_keepers_of_a_folder_that_is_removed() {
    let mut site = Site::new(APP);
    site.start();
    let before = site.until_applied();
    site.stop();
    // As a move to another disk leaves it.
    let mut other = beside(&site);
    assert!(copy(&site.state(), &other.state()));
    fs::remove_dir_all(site.state()).expect("removed");
    other.start();
    let trailer = trailer(&other.until("held", |_, shop| shop["sync"] == "Held"));
    other.repository.commit_file("note.txt", "moved", &format!("Move it\n\n{trailer}"));
    let keeper = keepers(&site.state());
    assert_eq!(keeper.len(), 1);
    let process = format!("process {},", keeper[0]);
    other.until("told what runs", |_, shop| told(shop, "still runs") && told(shop, &process));
    assert!(keepers(&other.state()).is_empty());
    kill(keeper[0]);
    assert_eq!(other.until_applied(), before, "what is left is taken over");
    other.until("nothing was started", |_, _| starts(&other) == 2);
}

#[test]
fn of_two_keepers_of_an_app_in_two_folders_of_a_system_never_both_stay() {
    let homes = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let folders = homes.each_ref().map(|home| home.path().join("apps/shop"));
    let make = |at: usize, id: &str| {
        fs::create_dir_all(&folders[at]).expect("made");
        fs::write(homes[at].path().join("identity.json"), format!(r#"{{"id":"{id}"}}"#)).expect("written");
    };
    let start = |folder: &PathBuf| client::start(&binary(), folder, None).expect("it starts");
    // Whether it stays, once that is seen.
    let stays = |keeper: &mut Child, folder: &PathBuf| loop {
        if keeper.try_wait().expect("a child").is_some() {
            return false;
        }
        if folder.join("keeper.sock").exists() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let end = |mut keeper: Child, folder: &PathBuf| {
        keeper.kill().and_then(|()| keeper.wait()).expect("ended");
        drop(fs::remove_file(folder.join("keeper.sock")));
    };
    for at in 0..2 {
        make(at, "one");
    }
    for _ in 0..5 {
        let mut keepers = folders.each_ref().map(start);
        let stay = [0, 1].map(|at| stays(&mut keepers[at], &folders[at]));
        assert_ne!(stay, [true, true]);
        keepers.into_iter().zip(&folders).for_each(|(keeper, folder)| end(keeper, folder));
    }
    let mut first = start(&folders[0]);
    assert!(stays(&mut first, &folders[0]));
    let mut second = start(&folders[1]);
    assert!(!stays(&mut second, &folders[1]));
    let log = fs::read_to_string(folders[1].join("keeper.log")).expect("a log");
    assert!(log.contains(&format!("process {}, runs the same app", first.id())), "{log}");
    // One of another system is nothing to it.
    make(1, "another");
    let mut other = start(&folders[1]);
    assert!(stays(&mut other, &folders[1]));
    end(first, &folders[0]);
    end(other, &folders[1]);
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

/// Whether a file of this name takes all the room there is.
fn fill(folder: &Path) {
    let mut file = fs::File::create(folder.join("fill")).expect("made");
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
}

#[test]
fn a_daemon_that_is_started_on_a_full_disk_waits_for_room_and_says_so() {
    let mut site = Site::new(APP);
    fs::create_dir(site.state()).expect("made");
    let Some(_disk) = SmallDisk::new(&site.state(), "128k") else { return skip("no file system can be mounted here") };
    fs::set_permissions(site.state(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).expect("its mode");
    fill(&site.state());
    site.start();
    site.until_logged("it waits and tries again");
    let answer = site.read("/readyz");
    let why = answer["detail"].as_str().unwrap_or_default();
    assert!(answer["status"] == 503 && why.contains("full") && why.contains("free disk space"), "{answer}");
    let (alive, log) = (site.told(&["status", "--live"]), site.until_logged("free disk space"));
    assert!(alive.contains("alive") && log.matches("it waits and tries again").count() == 1, "{alive}\n{log}");
    SmallDisk::resize(&site.state(), "64m");
    site.until_applied();
    assert!(site.told(&["events"]).contains("started") && !site.told(&["events"]).contains("settings taken over"));
}
