//! A store that was lost or restored from a backup, with real daemons, keepers and processes.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::site::{Site, pids};

fn app(version: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: shop, team: shop}}\nspec:\n  provider: local\n  replicas: 2\n  \
         env: {{VERSION: {version}}}\n  run: {{command: [/bin/sleep, \"600\"]}}\n  rollout: {{bake: 1s}}\n"
    )
}

/// The store's files, as in a backup: taken while no daemon runs.
fn store(site: &Site) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(site.state()).expect("listed").flatten().map(|entry| entry.path());
    let store = files.filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("journal.db")));
    store.map(|path| (path.clone(), fs::read(path).expect("read"))).collect()
}

fn lose_store(site: &Site) {
    let store = store(site);
    assert!(!store.is_empty(), "no store in {}", site.state().display());
    for (path, _) in store {
        fs::remove_file(path).expect("removed");
    }
}

#[test]
fn a_lost_store_is_rebuilt_from_stamps() {
    let mut site = Site::new(&app("1"));
    site.start();
    let before = site.until_applied();
    // A second daemon makes the keepers expect even later ones.
    site.stop();
    site.start();
    assert_eq!(site.until_applied(), before);
    site.stop();
    lose_store(&site);
    site.start();
    assert_eq!(site.until_applied(), before, "everything is adopted as it runs");
    // And it is obeyed.
    site.repository.commit_file("shop.yaml", &app("2"), "Change the version");
    site.until("changed", |_, shop| {
        let now = pids(shop);
        shop["sync"] == "Synced" && now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
    });
}

#[test]
fn a_restored_store_changes_nothing_until_a_commit() {
    let mut site = Site::new(&app("1"));
    site.start();
    site.until_applied();
    site.stop();
    let backup = store(&site);
    site.start();
    site.repository.commit_file("shop.yaml", &app("2"), "Change the version");
    let second = site.until_applied();
    site.stop();
    lose_store(&site);
    for (path, bytes) in backup {
        fs::write(path, bytes).expect("restored");
    }
    site.start();
    let shop = site.until("observing only", |status, shop| {
        status["observe_only"].as_str().is_some_and(|why| why.contains("backup")) && !pids(shop).is_empty()
    });
    assert_eq!(pids(&shop), second, "what lives goes on");
    site.repository.commit_file("shop.yaml", &app("3"), "Change the version again");
    let third = site.until_applied();
    assert!(third.iter().all(|pid| !second.contains(pid)), "a commit ends it: {second:?} {third:?}");
    assert_eq!(site.ask(&["status"])["observe_only"], Value::Null);
}
