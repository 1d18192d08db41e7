//! The process provider beyond the suite: keepers that die or are replaced, secrets, artifacts, releases, users.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use codeops::journal::Outcome;
use codeops::port::{ApplyError, Hint, LogQuery, Secrets};
use codeops_core::model::{
    AppSpec, InstanceId, Live, Observed, Op, Period, Release, Resource, ResourceId, RunSpec, Scope, Secret,
};
use futures_util::StreamExt as _;
use rustix::process::{Signal, kill_process};
use sha2::{Digest as _, Sha256};

use crate::conformance::{Bench, Harness as _, healthy, id, instance_of, owner, resource};
use crate::support::process_harness::{ProcessHarness, binary};

fn bench() -> Bench<ProcessHarness> {
    Bench::new(ProcessHarness::new())
}

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

fn spec(bench: &Bench<ProcessHarness>, script: &str) -> AppSpec {
    AppSpec { run: RunSpec::Command { command: shell(script), artifact: None }, ..bench.harness.spec(1) }
}

/// Applies one op with secrets at hand.
async fn act_with(bench: &Bench<ProcessHarness>, resource: &ResourceId, op: Op, secrets: &Secrets) {
    let started = bench.intend(resource, op).await;
    bench.harness.provider().apply(&started, secrets).await.expect("applied");
    bench.journal.settle(&started, Outcome::Done { note: None }, Vec::new()).await.expect("a result");
}

/// The first line an instance has written.
async fn first_line(bench: &Bench<ProcessHarness>, id: &ResourceId, instance: &InstanceId) -> String {
    let query = LogQuery { instance: Some(instance.clone()), tail: 10, follow: true };
    let mut lines = bench.harness.provider().logs(id, query).await.expect("a log");
    let line = tokio::time::timeout(Duration::from_secs(20), lines.next()).await.expect("in time");
    line.expect("a line").line
}

fn kill_keepers(bench: &Bench<ProcessHarness>, id: &ResourceId) {
    let keepers = bench.harness.keepers(Some(id));
    assert_eq!(keepers.len(), 1, "{keepers:?}");
    kill_process(keepers[0], Signal::KILL).expect("killed");
}

/// A keeper that has removed its files ends a moment later.
async fn no_keeper_is_left(bench: &Bench<ProcessHarness>) {
    let ended = async {
        while !bench.harness.keepers(None).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("keepers end when their apps are gone");
}

async fn run(bench: &Bench<ProcessHarness>, desired: &Arc<Resource>) -> (InstanceId, Live) {
    bench.act(&desired.id, Op::Create { desired: Arc::clone(desired) }).await;
    let instance = bench.start(desired, 1).await;
    let live = bench.until_live(&desired.id, "healthy", |live| healthy(live, &instance)).await;
    (instance, live)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_keeper_is_replaced_and_its_instances_live_on() {
    let bench = bench();
    let shop = id("app/shop");
    let (_, instance) = bench.running(&shop).await;
    let before = bench.live(&shop).await;
    let old = bench.harness.keepers(Some(&shop));
    let mut hints = bench.harness.provider().hints();
    kill_keepers(&bench, &shop);
    let told = async {
        loop {
            match hints.next().await {
                Some(Hint::Befell(befell, what)) if befell == shop => return what,
                other => assert!(other.is_some(), "nothing is told"),
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), told).await.expect("it is told");
    assert!(told.starts_with(&format!("its keeper, process {}, had ended and was started again", old[0])), "{told}");
    let live = bench
        .until_live(&shop, "kept by another keeper", |live| {
            healthy(live, &instance) && bench.harness.keepers(Some(&shop)) != old
        })
        .await;
    assert_eq!(live.instances[0].pid, before.instances[0].pid);
    assert_eq!(live.instances[0].restarts, 0);
    bench.delete(&shop).await;
    assert!(bench.harness.keepers(Some(&shop)).is_empty(), "what is deleted has no keeper left");
    assert!(!bench.harness.folder(&shop).exists());
    assert!(!bench.harness.folder(&shop).exists());
    no_keeper_is_left(&bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_binary_takes_over_at_the_next_step() {
    let bench = bench();
    let shop = id("app/shop");
    let (desired, instance) = bench.running(&shop).await;
    let before = bench.live(&shop).await;
    let next = tempfile::tempdir().expect("a temporary folder");
    let upgraded = next.path().join("codeops");
    fs::copy(binary(), &upgraded).expect("copied");
    bench.harness.restart_as(&upgraded);
    let exe = || {
        let keepers = bench.harness.keepers(Some(&shop));
        keepers.first().and_then(|pid| fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).ok())
    };
    assert_eq!(bench.live(&shop).await.instances, before.instances, "an upgrade alone changes nothing");
    assert_eq!(exe(), Some(binary().canonicalize().expect("a path")));
    bench.act(&shop, Op::Configure { desired }).await;
    assert_eq!(exe(), Some(upgraded.canonicalize().expect("a path")));
    let live = bench.until_live(&shop, "healthy", |live| healthy(live, &instance)).await;
    assert_eq!(live.instances[0].pid, before.instances[0].pid);
    bench.delete(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_of_a_newer_file_than_the_daemons_is_not_asked_to_hand_over() {
    let bench = bench();
    let shop = id("app/shop");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (installed, next) = (folder.path().join("codeops"), folder.path().join("next"));
    fs::copy(binary(), &installed).expect("copied");
    bench.harness.restart_as(&installed);
    // A package upgrade, and no restart of the daemon.
    fs::copy(binary(), &next).expect("copied");
    fs::rename(&next, &installed).expect("replaced");
    let desired = bench.create(&shop, 1).await;
    // Within less than a handover that cannot succeed is waited for.
    let started = tokio::time::timeout(Duration::from_secs(14), bench.start(&desired, 1)).await;
    let instance = started.expect("no wait for a handover");
    bench.until_live(&shop, "healthy", |live| healthy(live, &instance)).await;
    bench.delete(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_come_again_when_a_keeper_is_replaced() {
    let bench = bench();
    let shop = id("app/shop");
    let mut spec = spec(&bench, "printenv API_KEY; exec sleep 600");
    spec.secrets.insert("API_KEY".to_owned(), "shop-key".parse().expect("a name"));
    let mut desired = Resource::clone(&resource(&shop, spec));
    desired.secret_tags.insert("API_KEY".to_owned(), bench.harness.secret_tag());
    let desired = Arc::new(desired);
    let secrets = Secrets::from([("shop-key".parse().expect("a name"), Secret::new("hunter2".to_owned()))]);
    let missing = bench.try_act(&shop, Op::Create { desired: Arc::clone(&desired) }).await;
    assert!(matches!(&missing, Err(ApplyError::Retry(why)) if why.contains("shop-key")), "{missing:?}");
    act_with(&bench, &shop, Op::Create { desired: Arc::clone(&desired) }, &secrets).await;
    let instance = instance_of(&desired, 1);
    let start = Op::Start { instance: instance.clone(), desired: Arc::clone(&desired) };
    act_with(&bench, &shop, start, &secrets).await;
    bench.until_live(&shop, "healthy", |live| healthy(live, &instance)).await;
    assert_eq!(first_line(&bench, &shop, &instance).await, "***", "what the app prints of it is masked");
    // The same daemon gives them again by itself.
    kill_keepers(&bench, &shop);
    bench.until_live(&shop, "healthy", |live| healthy(live, &instance) && live.drift.is_empty()).await;
    // So does the next one, as after a reboot: what was given before is no change that any gate would have to let through.
    bench.harness.end_daemon();
    kill_keepers(&bench, &shop);
    bench.harness.restart().await;
    bench.until_live(&shop, "given its secrets", |live| healthy(live, &instance) && live.drift.is_empty()).await;
    // Another value is one; then only a step brings any.
    bench.harness.set_secret("hunter3");
    bench.harness.restart().await;
    bench.live(&shop).await;
    kill_keepers(&bench, &shop);
    let lost = |live: &Live| live.drift.iter().any(|drift| drift.field == "secrets");
    bench.until_live(&shop, "without its secrets", lost).await;
    act_with(&bench, &shop, Op::Configure { desired: Arc::clone(&desired) }, &secrets).await;
    let live = bench.until_live(&shop, "given its secrets", |live| live.drift.is_empty()).await;
    bench.harness.kill(&shop, &live.instances[0]).await;
    let again = |live: &Live| healthy(live, &instance) && live.instances[0].starts_again() > 0;
    bench.until_live(&shop, "restarted", again).await;
    let folder = bench.harness.folder(&shop);
    let entries = [folder.clone(), folder.join("logs")].map(|folder| fs::read_dir(folder).expect("listed"));
    for entry in entries.into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let text = fs::read(&path).unwrap_or_default();
        assert!(!text.windows(7).any(|w| w == b"hunter2"), "{}", path.display());
    }
    bench.delete(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_goes_on_after_daemon_and_keeper_are_killed() {
    let mut bench = bench();
    let shop = id("app/shop");
    let mut spec = spec(&bench, "trap '' TERM; while :; do sleep 1; done");
    spec.stop.grace = Period::from_secs(3);
    let desired = resource(&shop, spec);
    let (_, live) = run(&bench, &desired).await;
    let ours = live.ours(&owner()).expect("our stamp");
    bench.act(&shop, Op::Delete { ours, moved_to: None }).await;
    assert!(matches!(bench.observed(&shop).await, Observed::Present(_)), "it ends within its grace");
    kill_keepers(&bench, &shop);
    bench.harness.restart().await;
    bench.reopen();
    bench.until(&shop, "absent", |observed| matches!(observed, Observed::Absent(_))).await;
    assert!(!bench.harness.folder(&shop).exists());
    no_keeper_is_left(&bench).await;
}

/// What the record of an app says of a delete.
fn recorded_delete(bench: &Bench<ProcessHarness>, id: &ResourceId) -> serde_json::Value {
    let record = fs::read_to_string(bench.harness.folder(id).join("app.json")).unwrap_or_default();
    serde_json::from_str::<serde_json::Value>(&record).unwrap_or_default()["deleting"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_that_its_keeper_did_not_take_is_asked_again_by_a_step_alone() {
    let bench = bench();
    let shop = id("app/shop");
    let (_, instance) = bench.running(&shop).await;
    let before = bench.live(&shop).await;
    // Its keeper cannot write it down.
    let in_the_way = bench.harness.folder(&shop).join("keeper.json.new");
    drop(fs::remove_file(&in_the_way));
    fs::create_dir(&in_the_way).expect("made");
    let ours = before.ours(&owner()).expect("our stamp");
    let refused = bench.try_act(&shop, Op::Delete { ours, moved_to: None }).await;
    fs::remove_dir(&in_the_way).expect("removed");
    assert!(matches!(&refused, Err(ApplyError::Retry(why)) if why.contains("keeper.json")), "{refused:?}");
    assert_eq!(recorded_delete(&bench, &shop), serde_json::Value::Null);
    // A daemon that ended before its keeper heard of it.
    bench.harness.end_daemon();
    let path = bench.harness.folder(&shop).join("app.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
    record["deleting"] = "store:1:9".into();
    fs::write(&path, record.to_string()).expect("written");
    kill_keepers(&bench, &shop);
    bench.harness.restart().await;
    let there = |live: &Live| healthy(live, &instance) && recorded_delete(&bench, &shop).is_null();
    bench.until_live(&shop, "there", there).await;
    bench.delete(&shop).await;
    assert!(!bench.harness.folder(&shop).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_does_not_answer_is_waited_for_once() {
    let bench = bench();
    let (shop, other) = (id("app/shop"), id("app/other"));
    bench.running(&shop).await;
    bench.running(&other).await;
    bench.harness.cut(&shop, true).await;
    // However often it was looked at before.
    for _ in 0..2 {
        assert!(matches!(bench.observed(&shop).await, Observed::Unknown(_)));
    }
    let mut hints = bench.harness.provider().hints();
    // Less than one look may take.
    let all = tokio::time::timeout(Duration::from_secs(2), bench.all()).await;
    bench.harness.cut(&shop, false).await;
    let all = all.expect("nobody waits for it again");
    assert!(
        matches!(all.observed(&shop), Observed::Unknown(_)) && matches!(all.observed(&other), Observed::Present(_))
    );
    let hinted = async { while hints.next().await.is_some_and(|hint| hint != Hint::Changed(shop.clone())) {} };
    tokio::time::timeout(Duration::from_secs(20), hinted).await.expect("its answer hints at it");
    bench.until_live(&shop, "known again", |live| live.instances.len() == 1).await;
    bench.delete(&shop).await;
    bench.delete(&other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_was_cut_off_is_absent_and_made_whole() {
    let bench = bench();
    let shop = id("app/shop");
    bench.all().await;
    let folder = bench.harness.folder(&shop);
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("app.json"), r#"{"madeAs":"app/shop"}"#).expect("written");
    assert!(matches!(bench.observed(&shop).await, Observed::Absent(_)));
    bench.running(&shop).await;
    assert_eq!(fs::read_dir(bench.harness.home().join("apps")).expect("listed").count(), 1);
    bench.delete(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_that_are_made_at_once_have_users_of_their_own() {
    let bench = bench();
    let mut steps = tokio::task::JoinSet::new();
    for number in 0..16 {
        let shop = id(&format!("app/shop-{number}"));
        let started = bench.intend(&shop, Op::Create { desired: bench.resource(&shop, 1) }).await;
        let provider = bench.harness.provider();
        steps.spawn(async move { provider.apply(&started, &Secrets::default()).await });
    }
    steps.join_all().await;
    let mut uids = Vec::new();
    for number in 0..16 {
        let record = bench.harness.folder(&id(&format!("app/shop-{number}"))).join("app.json");
        let record: serde_json::Value = serde_json::from_slice(&fs::read(record).expect("a record")).expect("JSON");
        uids.extend(record["uid"].as_u64());
    }
    let distinct: std::collections::BTreeSet<_> = uids.iter().collect();
    assert_eq!(distinct.len(), uids.len(), "{uids:?}");
    assert_eq!(uids.len(), if rustix::process::geteuid().is_root() { 16 } else { 0 });
}

fn archive(home: &Path, files: &[(&str, &str)]) -> codeops_core::model::Artifact {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, name, text.as_bytes()).expect("appended");
    }
    let bytes = tar.into_inner().and_then(flate2::write::GzEncoder::finish).expect("packed");
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let path = home.join(format!("{sha256}.tar.gz"));
    fs::File::create(&path).and_then(|mut file| file.write_all(&bytes)).expect("written");
    codeops_core::model::Artifact { url: format!("file://{}", path.display()), sha256 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_is_the_working_directory_and_old_ones_are_pruned() {
    let bench = bench();
    let shop = id("app/shop");
    let builds = tempfile::tempdir().expect("a temporary folder");
    let release = |version: u32| {
        let script =
            format!("#!/bin/sh\necho version {version} in $(pwd) as $(id -u)\necho x > $STATE_DIRECTORY/kept\n");
        let script = format!("{script}touch ./spoiled 2>/dev/null && echo spoiled\nexec sleep 600\n");
        let artifact = archive(builds.path(), &[("shop", &script)]);
        let run = RunSpec::Command { command: vec!["./shop".to_owned()], artifact: Some(artifact) };
        resource(&shop, AppSpec { run, ..bench.harness.spec(1) })
    };
    let first = release(0);
    let (mut old, _) = run(&bench, &first).await;
    let line = first_line(&bench, &shop, &old).await;
    let releases = bench.harness.home().join("releases");
    assert!(line.starts_with("version 0 in") && line.contains(releases.to_str().expect("text")), "{line}");
    if rustix::process::geteuid().is_root() {
        let uid: u32 = line.rsplit(' ').next().and_then(|uid| uid.parse().ok()).expect("a uid");
        assert!((64_000..=65_500).contains(&uid), "{line}");
    } else {
        assert!(bench.live(&shop).await.notes.iter().any(|note| note.starts_with("not isolated")));
    }
    for version in 1..9 {
        let next = release(version);
        bench.act(&shop, Op::Configure { desired: Arc::clone(&next) }).await;
        let new = bench.start(&next, 1).await;
        bench.act(&shop, Op::Stop { instance: old }).await;
        old = new;
    }
    bench.until_live(&shop, "healthy", |live| healthy(live, &old)).await;
    assert!(first_line(&bench, &shop, &old).await.starts_with("version 8"));
    assert_eq!(fs::read_to_string(bench.harness.home().join("data/shop/kept")).expect("kept"), "x\n");
    let left = fs::read_dir(&releases).expect("listed").count();
    assert!(left <= 6, "{left} releases are left: the last four, the last good one, and what runs");
    bench.delete(&shop).await;
    assert!(!bench.harness.home().join("data/shop").exists());
}

/// An app whose every version is an artifact of its own.
fn version(bench: &Bench<ProcessHarness>, builds: &Path, id: &ResourceId, script: &str) -> Arc<Resource> {
    let artifact = archive(builds, &[("shop", &format!("#!/bin/sh\n{script}\n"))]);
    let run = RunSpec::Command { command: vec!["./shop".to_owned()], artifact: Some(artifact) };
    resource(id, AppSpec { run, ..bench.harness.spec(1) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_release_under_a_running_app_outlives_any_number_of_bad_versions() {
    let bench = bench();
    let shop = id("app/shop");
    let builds = tempfile::tempdir().expect("a temporary folder");
    let (good, _) = run(&bench, &version(&bench, builds.path(), &shop, "exec sleep 600")).await;
    for number in 0..9 {
        let bad = version(&bench, builds.path(), &shop, &format!("exit {number}"));
        bench.act(&shop, Op::Configure { desired: Arc::clone(&bad) }).await;
        let instance = bench.start(&bad, 1).await;
        bench.act(&shop, Op::Stop { instance }).await;
    }
    let live = bench.live(&shop).await;
    let running = live.instances.iter().find(|instance| instance.id == good).expect("the good one runs");
    bench.harness.kill(&shop, running).await;
    bench
        .until_live(&shop, "started again", |live| {
            healthy(live, &good) && live.instances.iter().any(|i| i.id == good && i.starts_again() > 0)
        })
        .await;
    bench.delete(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_release_outlives_bad_ones_and_a_daemon_also_when_nothing_runs() {
    let bench = bench();
    let shop = id("app/shop");
    let builds = tempfile::tempdir().expect("a temporary folder");
    let desired = version(&bench, builds.path(), &shop, "exec sleep 600");
    let (good, _) = run(&bench, &desired).await;
    bench.act(&shop, Op::Stop { instance: good.clone() }).await;
    bench.until_live(&shop, "stopped", |live| live.instances.is_empty()).await;
    for number in 0..9 {
        if number == 4 {
            bench.harness.restart().await;
        }
        let bad = version(&bench, builds.path(), &shop, &format!("exit {number}"));
        bench.act(&shop, Op::Configure { desired: Arc::clone(&bad) }).await;
        let instance = bench.start(&bad, 1).await;
        bench.act(&shop, Op::Stop { instance }).await;
    }
    // Where it came from is gone as well.
    drop(builds);
    bench.act(&shop, Op::Configure { desired: Arc::clone(&desired) }).await;
    let back = bench.start(&desired, 2).await;
    bench.until_live(&shop, "healthy again", |live| healthy(live, &back)).await;
    bench.delete(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_releases_of_the_app_that_was_deleted_last_are_pruned() {
    let bench = bench();
    let shop = id("app/shop");
    let builds = tempfile::tempdir().expect("a temporary folder");
    let first = version(&bench, builds.path(), &shop, "exec sleep 600");
    bench.act(&shop, Op::Create { desired: Arc::clone(&first) }).await;
    let mut old = bench.start(&first, 1).await;
    for number in 0..6 {
        let next = version(&bench, builds.path(), &shop, &format!("exec sleep 70{number}"));
        let new = bench.start(&next, 1).await;
        bench.act(&shop, Op::Stop { instance: old }).await;
        old = new;
    }
    bench.delete(&shop).await;
    let left = || fs::read_dir(bench.harness.home().join("releases")).expect("listed").count();
    let none = async {
        while left() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), none)
        .await
        .unwrap_or_else(|_| panic!("{} releases are left", left()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_command_runs_once_a_key_and_its_failure_is_told() {
    let bench = bench();
    let shop = id("app/shop");
    let with = |script: &str| {
        let release = Release { command: shell(script), timeout: Period::from_secs(10) };
        resource(&shop, AppSpec { release: Some(release), ..bench.harness.spec(1) })
    };
    let good = with("echo ran >> $STATE_DIRECTORY/runs");
    bench.act(&shop, Op::Create { desired: Arc::clone(&good) }).await;
    let started = bench.intend(&shop, Op::Release { desired: Arc::clone(&good) }).await;
    for _ in 0..2 {
        bench.harness.provider().apply(&started, &Secrets::default()).await.expect("released");
    }
    bench.journal.settle(&started, Outcome::Done { note: None }, Vec::new()).await.expect("a result");
    assert_eq!(fs::read_to_string(bench.harness.home().join("data/shop/runs")).expect("ran"), "ran\n");
    assert_eq!(bench.live(&shop).await.released, Some(good.template_digest.clone()));
    let bad = with("exit 3");
    let error = bench.try_act(&shop, Op::Release { desired: bad }).await.expect_err("it fails");
    assert!(matches!(&error, ApplyError::Reject(why) if why.contains("code 3")), "{error:?}");
    bench.delete(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_command_whose_keeper_is_killed_goes_on_and_its_end_is_not_known() {
    let bench = bench();
    let shop = id("app/shop");
    let script = "cd $STATE_DIRECTORY; echo begun >> runs; while ! test -e go; do sleep 0.05; done; echo ended >> runs";
    let release = Release { command: shell(&script.replace('$', "$$")), timeout: Period::from_secs(60) };
    let desired = resource(&shop, AppSpec { release: Some(release), ..bench.harness.spec(1) });
    bench.act(&shop, Op::Create { desired: Arc::clone(&desired) }).await;
    let data = bench.harness.home().join("data/shop");
    let runs = || fs::read_to_string(data.join("runs")).unwrap_or_default();
    let started = bench.intend(&shop, Op::Release { desired: Arc::clone(&desired) }).await;
    let (provider, secrets) = (bench.harness.provider(), Secrets::default());
    let cut = async {
        while runs().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let old = bench.harness.keepers(Some(&shop));
        kill_keepers(&bench, &shop);
        bench.until_live(&shop, "kept by another", |_| bench.harness.keepers(Some(&shop)) != old).await;
        fs::write(data.join("go"), "").expect("written");
    };
    let (released, ()) = tokio::join!(provider.apply(&started, &secrets), cut);
    assert!(
        matches!(&released, Err(ApplyError::Reject(why)) if why.contains("how it ended is not known")),
        "{released:?}"
    );
    assert_eq!(runs(), "begun\nended\n", "it was not cut off");
    // Under its key it is told the same, and does not run again.
    assert_eq!(provider.apply(&started, &secrets).await, released);
    assert_eq!(runs(), "begun\nended\n");
    bench.journal.settle(&started, Outcome::Done { note: None }, Vec::new()).await.expect("a result");
    bench.delete(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_refused_before_anything_is_made() {
    let bench = bench();
    let shop = id("app/shop");
    let spec = AppSpec { run: RunSpec::Image("registry/shop:1".to_owned()), ..bench.harness.spec(1) };
    let error = bench.try_act(&shop, Op::Create { desired: resource(&shop, spec) }).await.expect_err("refused");
    assert!(matches!(&error, ApplyError::Reject(why) if why.contains("image")), "{error:?}");
    assert!(bench.all().await.objects.is_empty() && !bench.harness.folder(&shop).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mere_look_starts_nothing() {
    let bench = bench();
    let shop = id("app/shop");
    bench.running(&shop).await;
    let observer = bench.harness.observer();
    let seen = observer.observe(&Scope::All).await.expect("a listing");
    assert!(matches!(seen.observed(&shop), Observed::Present(_)));
    drop(observer);
    bench.harness.end_daemon();
    kill_keepers(&bench, &shop);
    let observer = bench.harness.observer();
    let seen = observer.observe(&Scope::All).await.expect("a listing");
    assert!(matches!(seen.observed(&shop), Observed::Unknown(_)), "{seen:?}");
    assert!(bench.harness.keepers(None).is_empty());
    bench.harness.restart().await;
    bench.until_live(&shop, "there", |live| live.instances.len() == 1).await;
    bench.delete(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_somebody_removed_is_fetched_again() {
    let (bench, shop) = (bench(), id("app/shop"));
    let builds = tempfile::tempdir().expect("a temporary folder");
    let desired = version(&bench, builds.path(), &shop, "exec sleep 600");
    let (instance, live) = run(&bench, &desired).await;
    let releases = bench.harness.home().join("releases");
    let all: Vec<_> = fs::read_dir(&releases).expect("listed").flatten().map(|entry| entry.path()).collect();
    assert_eq!(all.len(), 1);
    // As nobody here does: it is read-only.
    let aside = builds.path().join("gone");
    fs::rename(&all[0], &aside).expect("taken away");
    bench.harness.kill(&shop, &live.instances[0]).await;
    let lost = |live: &Live| live.drift.iter().any(|drift| drift.field == "run.artifact" && drift.waits.is_none());
    bench.until_live(&shop, "without its release", lost).await;
    bench.act(&shop, Op::Configure { desired: Arc::clone(&desired) }).await;
    bench.until_live(&shop, "up again", |live| healthy(live, &instance) && live.drift.is_empty()).await;
    bench.delete(&shop).await;
}
