//! What an app is kept from: the daemon's files and other apps', more memory and processor time than it declares. And the
//! daemon as process 1 of a container. Each needs root; without it, it is skipped and says so.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::support::process_harness::binary;
use crate::support::site::{Site, codeops, pids};
use crate::support::skip::skip;

const PATIENCE: Duration = Duration::from_secs(30);

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("it needs root");
    }
    root
}

fn app(name: &str, script: &str, extra: &str) -> String {
    // A manifest would expand it; the shell is to.
    let script = serde_json::Value::from(script.replace('$', "$$"));
    format!(
        "---\napiVersion: codeops/v1\nkind: App\nmetadata: {{name: {name}, team: shop}}\nspec:\n  provider: local\n  \
         run: {{command: [/bin/sh, -c, {script}]}}\n{extra}"
    )
}

fn until(what: &str, seen: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !seen() {
        assert!(Instant::now() < deadline, "never {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("listed").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() && !path.is_symlink() { below(&path) } else { vec![path] }).collect()
}

#[test]
fn an_app_reaches_no_file_and_no_socket_but_its_own() {
    if !is_root() {
        return;
    }
    // It knows every path there is, and tries them all.
    let script = r#"
        cd "$STATE_DIRECTORY"; echo mine > mine
        while [ ! -e "$LIST" ]; do sleep 0.1; done
        while read -r file; do
            if [ -r "$file" ] || [ -w "$file" ] || [ -S "$file" ]; then echo "$file" >> reached.new; fi
        done < "$LIST"
        echo end >> reached.new; mv reached.new reached; exec sleep 600"#;
    let mut site = Site::new("");
    let list = site.folder.path().join("list");
    let other = app("other", "echo started; echo private > $STATE_DIRECTORY/kept; exec sleep 600", "");
    let shop = app("shop", script, &format!("  env: {{LIST: {}}}\n", list.display()));
    site.repository.commit_file("shop.yaml", &format!("{shop}{other}"), "Begin");
    site.start();
    let data = site.state().join("local/data");
    let log = site.state().join("local/apps/other/logs/app.log");
    until("running", || data.join("other/kept").exists() && data.join("shop/mine").exists() && log.exists());
    let own = data.join("shop");
    let files: Vec<PathBuf> = below(&site.state()).into_iter().filter(|path| !path.starts_with(&own)).collect();
    for name in ["journal.db", "keeper.sock", "keeper.json", "kept", "app.log"] {
        assert!(files.iter().any(|path| path.ends_with(name)), "no {name} in {files:?}");
    }
    let mut text: String = files.iter().map(|path| format!("{}\n", path.display())).collect();
    text.push_str(&format!("{}\n", own.join("mine").display()));
    let next = list.with_extension("new");
    fs::File::create(&next).and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
    fs::rename(&next, &list).expect("renamed");
    until("tried", || own.join("reached").exists());
    let reached = fs::read_to_string(own.join("reached")).expect("read");
    assert_eq!(reached, format!("{}\nend\n", own.join("mine").display()));
}

#[test]
fn more_memory_than_declared_is_the_end_of_it_and_the_processor_is_shared_out() {
    if !is_root() {
        return;
    }
    let hungry = "sleep 0.2; x=$(head -c 300000000 /dev/zero | tr '\\0' a); exec sleep 600";
    let busy = "while :; do :; done";
    let limits = "  resources: {cpu: \"0.1\", memory: 32MiB}\n";
    let mut site = Site::new("");
    site.repository.commit_file("shop.yaml", &(app("shop", hungry, limits) + &app("busy", busy, limits)), "Begin");
    site.start();
    let noted = |app: &serde_json::Value| {
        app["notes"].as_array().is_some_and(|notes| notes.iter().any(|note| note.to_string().contains("not enforced")))
    };
    let shop = site.until("ended or noted", |_, shop| {
        let why = shop["instances"][0]["why"].as_str().unwrap_or_default();
        noted(shop) || why.contains("KILL") || why.contains("137") || why.contains("memory")
    });
    if noted(&shop) {
        return skip(&shop["notes"].to_string());
    }
    let why = shop["instances"][0]["why"].as_str().unwrap_or_default();
    assert!(why.contains("its memory limit of 32MiB"), "{why}");
    let busy = || pids(&site.ask(&["get", "app/busy"])).first().copied();
    until("busy", || busy().and_then(used).is_some_and(|used| used > 0.05));
    let pid = busy().expect("it runs");
    // The kernel itself says that it was kept from running, in a good many of its periods of a tenth of a second.
    let (begun, before, held_up) = (Instant::now(), used(pid).expect("it runs"), throttled(pid).unwrap_or(0));
    until("held up by its limit", || throttled(pid).is_some_and(|times| times >= held_up + 10));
    let share = (used(pid).expect("it runs") - before) / begun.elapsed().as_secs_f64();
    // Any amount of other load only makes it less.
    assert!(share < 0.3, "it was given {share} of a processor and declares 0.1");
}

/// The processor time a process has used, in seconds.
fn used(pid: u64) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // In hundredths of a second, as everywhere on Linux.
    Some(fields[11].parse::<f64>().ok()? / 100.0 + fields[12].parse::<f64>().ok()? / 100.0)
}

/// How often the limit of its control group, of either version, kept a process from running.
fn throttled(pid: u64) -> Option<u64> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let files = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let counts = controllers.is_empty() || controllers.split(',').any(|one| one == "cpu");
        counts.then(|| Path::new("/sys/fs/cgroup").join(controllers).join(&path[1..]).join("cpu.stat"))
    });
    let told = files.filter_map(|file| fs::read_to_string(file).ok()).collect::<String>();
    let times = told.lines().filter_map(|line| line.strip_prefix("nr_throttled ")?.trim().parse().ok());
    times.max()
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn zombies(pid: u32) -> Vec<u32> {
    let is_zombie = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
    };
    children(pid).into_iter().filter(is_zombie).collect()
}

#[test]
fn as_process_1_it_reaps_orphans_and_passes_the_end_on() {
    #[expect(clippy::disallowed_methods, reason = "a pid namespace for the binary under test")]
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
        command
    };
    if !unshare().arg("true").output().is_ok_and(|done| done.status.success()) {
        return skip("no pid namespace may be made here");
    }
    let orphan = "( ( sleep 0.2; : > \"$STATE_DIRECTORY/ended\" ) & ); \
                  trap ': > \"$STATE_DIRECTORY/asked\"; exit' TERM; while :; do sleep 0.1; done";
    let mut site = Site::new(&app("shop", orphan, ""));
    let mut command = unshare();
    command.arg(binary()).env_clear().envs(codeops().get_envs().filter_map(|(name, value)| Some((name, value?))));
    site.start_under(command);
    let namespace = site.daemon.as_ref().expect("it runs").id();
    until("an orphan ended", || site.state().join("local/data/shop/ended").exists());
    let init = children(namespace)[0];
    until("all reaped", || children(init).len() <= 3 && zombies(init).is_empty());
    site.until("healthy", |_, shop| shop["health"] == "Healthy");
    kill_process(Pid::from_raw(init.cast_signed()).expect("a process"), Signal::TERM).expect("asked to end");
    let ended = site.daemon.take().expect("it runs").wait().expect("it ends");
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(site.state().join("local/data/shop/asked").exists(), "the app may end by itself");
}
