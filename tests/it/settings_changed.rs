//! What the settings take away or give otherwise while apps run: their secrets, their user. And ports that a commit exchanges. With
//! real daemons, keepers and processes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::port::free_port;
use crate::support::process_harness::{end_all, processes};
use crate::support::site::{Site, codeops, pids};
use crate::support::skip::skip;

/// An app that writes down its starts.
fn app(extra: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: shop, team: shop}}\nspec:\n  provider: local\n  replicas: 2\n  \
         run: {{command: [/bin/sh, -c, 'echo $$TOKEN >> $STATE_DIRECTORY/starts; exec sleep 600']}}\n  rollout: {{bake: 1s}}\n{extra}"
    )
}

fn settings(site: &Site, text: &str) -> PathBuf {
    let file = site.folder.path().join("daemon.yaml");
    fs::write(&file, text).expect("written");
    file
}

fn start(site: &mut Site, settings: &PathBuf) {
    let mut command = codeops();
    command.env("CODEOPS_SETTINGS", settings);
    site.start_under(command);
}

fn kill(pid: u64) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::KILL).expect("killed");
}

fn starts(site: &Site) -> Vec<String> {
    let text = fs::read_to_string(site.state().join("local/data/shop/starts")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// How many instances say this of themselves.
fn say(shop: &Value, what: &str) -> usize {
    let instances = shop["instances"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    instances.iter().filter(|it| it["why"].as_str().is_some_and(|why| why.contains(what))).count()
}

#[test]
fn a_secret_that_is_granted_no_more_is_given_to_nothing_that_starts() {
    let mut site = Site::new(&app("  secrets: {TOKEN: tok}\n"));
    let value = site.folder.path().join("tok");
    fs::write(&value, "first-value").expect("written");
    let granted_to = |team: &str| format!("secrets: {{tok: {{file: {}, teams: [{team}]}}}}\n", value.display());
    let file = settings(&site, &granted_to("shop"));
    start(&mut site, &file);
    let before = site.until_applied();
    settings(&site, &granted_to("other"));
    fs::write(&value, "second-value").expect("written");
    let held = |_: &Value, shop: &Value| shop["sync"] == "Held" && pids(shop) == before;
    site.until("held, and what runs goes on", held);
    // Its keeper has the value still.
    kill(before[0]);
    let why = "the secret `tok` is not granted to team shop";
    site.until("told why it is not started", |_, shop| say(shop, why) == 1 && pids(shop) == [before[1]]);
    // No keeper has, and the next daemon asks anew.
    site.stop();
    end_all(&site.state());
    start(&mut site, &file);
    let shop = site.until("told why none is started", |_, shop| say(shop, why) == 2 && pids(shop).is_empty());
    assert!(shop["why"].as_str().is_some_and(|why| why.contains("not granted")), "{shop:#}");
    assert_eq!(starts(&site), ["first-value", "first-value"]);
    settings(&site, &granted_to("shop"));
    site.until("up again", |_, shop| shop["health"] == "Healthy" && shop["sync"] == "Synced" && pids(shop).len() == 2);
    assert!(starts(&site)[2..].iter().all(|value| value == "second-value"), "{:?}", starts(&site));
}

fn uid(pid: u64) -> u32 {
    fs::metadata(format!("/proc/{pid}")).map_or(u32::MAX, |meta| meta.uid())
}

#[test]
fn another_user_in_the_settings_is_another_instance_and_the_former_starts_none() {
    if !rustix::process::geteuid().is_root() {
        skip("it needs root");
        return;
    }
    let mut site = Site::new(&app(""));
    let file = settings(&site, "providers: {local: {process: {runAs: root}}}\n");
    start(&mut site, &file);
    let before = site.until_applied();
    assert!(before.iter().all(|pid| uid(*pid) == 0));
    let frozen = "freeze: {what: all, reason: a look first}\n";
    settings(&site, &format!("providers: {{local: {{process: {{}}}}}}\n{frozen}"));
    let user = |shop: &Value| {
        let differences = shop["diff"].as_array().cloned().unwrap_or_default();
        differences.iter().any(|it| it["field"] == "user" && it["from"] == 0)
    };
    site.until("shown as a difference", |_, shop| shop["sync"] != "Synced" && user(shop) && pids(shop) == before);
    kill(before[0]);
    site.until("not started as root", |_, shop| say(shop, "not started as uid 0") == 1);
    assert_eq!(starts(&site).len(), 2);
    // Nor by a keeper that is started anew.
    site.stop();
    end_all(&site.state());
    start(&mut site, &file);
    site.until("not started as root", |_, shop| say(shop, "not started as uid 0") == 2);
    assert_eq!(starts(&site).len(), 2);
    settings(&site, "providers: {local: {process: {}}}\n");
    let own = |pid: &u64| (64_000..=65_500).contains(&uid(*pid));
    let replaced =
        |_: &Value, shop: &Value| shop["sync"] == "Synced" && pids(shop).len() == 2 && pids(shop).iter().all(own);
    let shop = site.until("replaced", replaced);
    assert!(!user(&shop), "{shop:#}");
    let data = site.state().join("local/data/shop/starts");
    assert_eq!(fs::metadata(data).expect("there").uid(), uid(pids(&shop)[0]), "what it wrote went along");
    assert_eq!(starts(&site).len(), 4);
}

#[test]
fn apps_exchange_their_ports_in_one_commit() {
    let ports = [free_port(), free_port(), free_port()];
    let apps = |turn: usize| -> String {
        let one = |(at, name): (usize, &str)| {
            format!(
                "---\napiVersion: codeops/v1\nkind: App\nmetadata: {{name: {name}, team: shop}}\nspec:\n  provider: local\n  \
                 replicas: 2\n  run: {{command: [sleep, '600']}}\n  port: {{number: {}, protocol: tcp}}\n  \
                 rollout: {{bake: 1s}}\n  health: {{command: ['true']}}\n",
                ports[(at + turn) % 3]
            )
        };
        ["shop", "store", "shed"].into_iter().enumerate().map(one).collect()
    };
    let mut site = Site::new(&apps(0));
    site.start();
    site.until_applied();
    for (turn, port) in ports.iter().enumerate().skip(1) {
        site.repository.commit_file("shop.yaml", &apps(turn), "Exchange them");
        let head = site.repository.head().to_string();
        site.until("exchanged", |status, shop| {
            let all = ["app/store", "app/shed"].map(|id| site.ask(&["get", id]));
            let settled = |it: &Value| it["sync"] == "Synced" && it["health"] == "Healthy";
            let revision = status.pointer("/revision/id").or(shop.get("revision")).and_then(Value::as_str);
            revision == Some(&head) && settled(shop) && all.iter().all(settled)
        });
        assert!(std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok());
    }
}

#[test]
fn a_folder_that_is_gone_is_named() {
    let mut site = Site::new(&app(""));
    site.start();
    site.until_applied();
    let folder = site.state().join("local/apps/shop");
    let lock = folder.join("keeper.lock");
    let holds = |path: &PathBuf| {
        let entries = fs::read_dir(path.join("fd")).into_iter().flatten().flatten();
        entries.filter_map(|it| fs::read_link(it.path()).ok()).any(|file| file == lock)
    };
    let (keeper, _) = processes().into_iter().find(|(_, path)| holds(path)).expect("its keeper");
    fs::remove_dir_all(&folder).expect("removed");
    kill_process(keeper, Signal::KILL).expect("killed");
    let why = format!("its folder {} is gone", folder.display());
    site.until("named", |_, shop| shop["why"].as_str().is_some_and(|told| told.contains(&why)));
}
