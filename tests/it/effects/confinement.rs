//! What the walls around scripts keep in: sockets that listen, what would stay behind, and processes that try to outlive
//! the daemon that began them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use codeops::port::{Effect, Performed, ScriptCall};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::scripts::{call, confined, running};
use super::{Setting, Stage};

/// Tells a child of these tests which folder is its daemon's.
const CHILD: &str = "CODEOPS_TEST_SCRIPTS";

/// What one Python program, which the prelude lets `attempt` things, answers as JSON.
async fn python(text: &str) -> Value {
    let prelude = "#!/usr/bin/env python3\nimport ctypes, errno, json, os, socket, subprocess, sys, threading\n\
                   libc = ctypes.CDLL(None, use_errno=True)\nseen = {}\n\
                   def attempt(name, what):\n    try:\n        what()\n        seen[name] = 'done'\n    \
                   except OSError as error:\n        seen[name] = errno.errorcode[error.errno]\n\
                   def ask(*arguments):\n    if libc.syscall(*arguments) < 0:\n        \
                   raise OSError(ctypes.get_errno(), 'refused')\n";
    let stage = Stage::new();
    let revision = stage.source.commit(&[("it.py", &format!("{prelude}{text}print(json.dumps(seen))\n"))], &[]);
    stage.perform(Effect::Script(call(&revision, "it.py"))).await.expect("the script is done").output
}

#[tokio::test]
async fn a_script_listens_on_no_socket_of_any_kind() {
    if !confined() {
        return;
    }
    let seen = python(
        "def listening(*kind):\n    s = socket.socket(*kind)\n    s.listen()\n\
         attempt('unbound', lambda: listening(socket.AF_INET, socket.SOCK_STREAM))\n\
         attempt('unbound6', lambda: listening(socket.AF_INET6, socket.SOCK_STREAM))\n\
         attempt('mptcp', lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262))\n\
         attempt('sctp', lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132))\n\
         attempt('vsock', lambda: socket.socket(40, socket.SOCK_STREAM))\n\
         attempt('packet', lambda: socket.socket(17, socket.SOCK_RAW))\n\
         attempt('netfilter', lambda: socket.socket(16, socket.SOCK_RAW, 12))\n\
         attempt('uring', lambda: ask(425, 1, ctypes.create_string_buffer(120)))\n",
    );
    let refused = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), json!("EPERM"))).collect();
    let all = ["unbound", "unbound6", "mptcp", "sctp", "vsock", "packet", "netfilter", "uring"];
    assert_eq!(seen.await, Value::Object(refused(&all)));
}

#[tokio::test]
async fn a_script_leaves_nothing_in_memory_behind() {
    if !confined() {
        return;
    }
    let seen = python(
        "attempt('shm', lambda: ask({'x86_64': 29, 'aarch64': 194}[os.uname().machine], 0x10de, 4096, 0o1666))\n\
         attempt('msg', lambda: ask({'x86_64': 68, 'aarch64': 186}[os.uname().machine], 0x10de, 0o1666))\n\
         attempt('sem', lambda: ask({'x86_64': 64, 'aarch64': 190}[os.uname().machine], 0x10de, 1, 0o1666))\n\
         attempt('queue', lambda: ask({'x86_64': 240, 'aarch64': 180}[os.uname().machine], b'codeops', 0o102, 0o666, 0))\n\
         attempt('posix shm', lambda: open('/dev/shm/codeops-test', 'w'))\n\
         attempt('key', lambda: ask({'x86_64': 248, 'aarch64': 217}[os.uname().machine], b'user', b'codeops', b'x', 1, -4))\n\
         attempt('namespace', lambda: ask({'x86_64': 272, 'aarch64': 97}[os.uname().machine], 0x10000000))\n\
         attempt('clone', lambda: ask({'x86_64': 56, 'aarch64': 220}[os.uname().machine], 0x10000011, 0, 0, 0, 0))\n\
         attempt('clone3', lambda: ask(435, ctypes.create_string_buffer(88), 88))\n\
         attempt('x32', lambda: ask(50 | 0x40000000, 0, 0))\n",
    );
    assert_eq!(
        seen.await,
        json!({
            "shm": "EPERM", "msg": "EPERM", "sem": "EPERM", "queue": "EPERM", "posix shm": "EACCES", "key": "EPERM",
            "namespace": "EPERM", "clone": "EPERM", "clone3": "ENOSYS", "x32": "ENOSYS",
        })
    );
}

#[tokio::test]
async fn a_script_does_inside_its_walls_what_programs_do() {
    if !confined() {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let text = format!(
        "def thread():\n    t = threading.Thread(target=lambda: None)\n    t.start()\n    t.join()\n\
         attempt('connect', lambda: socket.create_connection(('localhost', {port})))\n\
         attempt('udp', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9)))\n\
         attempt('any port', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('', 0)))\n\
         attempt('pair', lambda: socket.socketpair())\n\
         attempt('thread', thread)\n\
         attempt('program', lambda: subprocess.run(['/bin/sh', '-c', 'ls / | wc -l'], check=True, capture_output=True))\n"
    );
    assert_eq!(
        python(&text).await,
        json!({
            "connect": "done", "udp": "done", "any port": "done", "pair": "done", "thread": "done", "program": "done",
        }),
        "resolvers such as musl's bind the port they ask from"
    );
}

/// Takes every name by which daemons once claimed uids, and stays, a grandchild of nobody, with its marker.
const SQUATTER: &str = "#!/usr/bin/env python3\nimport os, socket, sys, time\n\
    if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        held = []\n        \
    for uid in range(63000, 64000):\n            s = socket.socket(socket.AF_UNIX)\n            \
    try:\n                s.bind('\\0codeops-script-uid-%d' % uid)\n            \
    except OSError:\n                pass\n            held.append(s)\n        \
    os.execv('/bin/sleep', ['sleep', '86398.75'])\n    os._exit(0)\n\
    print('begun', file=sys.stderr)\ntime.sleep(600)\n";

/// Both daemons follow the same revision.
fn calls(stage: &Stage, file: &str) -> ScriptCall {
    let revision = stage.source.commit(&[("stay.py", SQUATTER), ("id.sh", "#!/bin/sh\nid -u\n")], &[]);
    ScriptCall { timeout_ms: 600_000, ..call(&revision, file) }
}

#[expect(clippy::disallowed_methods, reason = "how a child of this test is told what to do")]
fn told() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Not a test by itself: a daemon that runs a script until it is killed.
#[tokio::test]
async fn child_that_runs_a_script() {
    let Some(folder) = told() else { return };
    let stage = Setting::default().stage_in(&folder);
    let waiting = async {
        while running("86398.75") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("\nit runs");
        std::future::pending::<()>().await;
    };
    let call = calls(&stage, "stay.py");
    tokio::select! {
        ended = stage.perform(Effect::Script(call)) => panic!("it ended: {ended:?}"),
        () = waiting => {}
    }
}

/// One of these tests as a process of its own, a daemon in this folder.
fn child(test: &str, folder: &Path) -> Command {
    #[expect(clippy::disallowed_methods, reason = "a test starts itself")]
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", &format!("effects::confinement::{test}"), "--nocapture", "--test-threads=1"]);
    command.env(CHILD, folder).stdout(Stdio::piped());
    command
}

/// Begins the script under a daemon in this folder, and kills that daemon.
fn killed_over_a_script(folder: &Path) {
    let mut child = child("child_that_runs_a_script", folder).spawn().expect("started");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "it runs"), "the child ended early");
    child.kill().expect("killed");
    child.wait().expect("reaped");
}

#[tokio::test]
async fn a_script_that_hides_does_not_outlive_its_killed_daemon_nor_take_uids_away() {
    if !confined() {
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    killed_over_a_script(home.path());
    let deadline = Instant::now() + Duration::from_secs(30);
    while running("86398.75") > 0 {
        assert!(Instant::now() < deadline, "it hid well enough to live on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stage = Setting::default().stage_in(home.path());
    let done = stage.perform(Effect::Script(calls(&stage, "id.sh"))).await.expect("scripts run");
    let uid = uid(&done);
    assert!(codeops::effect::UIDS.contains(&uid), "{uid}");
    let groups = groups_of(uid);
    assert!(groups.is_empty(), "{groups:?}");
}

fn uid(done: &Performed) -> u32 {
    done.output.as_u64().and_then(|uid| u32::try_from(uid).ok()).expect("a uid")
}

/// Not a test by itself: a daemon on a machine whose process 1 reaps nobody, as others do late.
#[tokio::test]
async fn child_that_reaps_nobody() {
    let Some(folder) = told() else { return };
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("orphans come here");
    let stage = Setting::default().stage_in(&folder);
    let leave =
        "#!/bin/sh\nfor n in 1 2 3; do setsid -f sleep 86397.25; (setsid sleep 86397.25 &); (sleep 0 &); done\nid -u\n";
    let stay = format!("{leave}sleep 600\n");
    let revision = stage.source.commit(&[("leave.sh", leave), ("stay.sh", &stay)], &[]);
    let done = stage.perform(Effect::Script(call(&revision, "leave.sh"))).await.expect("done");
    let uid = uid(&done);
    assert_eq!(of_user(uid), [""; 0], "after its end");
    let long = ScriptCall { timeout_ms: 1_000, ..call(&revision, "stay.sh") };
    assert!(stage.perform(Effect::Script(long)).await.is_err());
    assert_eq!(of_user(uid), [""; 0], "after the end of its time");
    println!("\nnothing is left");
}

/// What the kernel still says of the processes of a user, the dead included.
fn of_user(uid: u32) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    let statuses = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok());
    let of = |status: &String| status.lines().any(|line| line.starts_with(&format!("Uid:\t{uid}\t")));
    statuses.filter(of).map(|status| status.lines().take(3).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_script_leaves_no_process_behind_neither_living_nor_dead() {
    if !confined() {
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    let ended = child("child_that_reaps_nobody", home.path()).output().expect("started");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("nothing is left"), "{said}");
}

/// The control groups that are there for scripts of this uid.
fn groups_of(uid: u32) -> Vec<PathBuf> {
    let hierarchies = ["", "memory", "cpu", "pids"].map(|of| Path::new("/sys/fs/cgroup").join(of));
    let scripts = hierarchies.iter().filter_map(|of| std::fs::read_dir(of.join("codeops-scripts")).ok()).flatten();
    let of_uid =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{uid}-")));
    scripts.flatten().map(|entry| entry.path()).filter(of_uid).collect()
}

#[tokio::test]
async fn a_script_that_never_holds_still_is_ended_too() {
    if !confined() {
        return;
    }
    let stage = Stage::new();
    let hopper = "#!/usr/bin/perl\nuse POSIX;\nPOSIX::setsid();\n$0 = 'codeops-hopper';\n\
                  print STDERR \"begun\\n\";\nwhile (1) { my $pid = fork(); POSIX::_exit(0) if $pid; POSIX::setsid(); }\n";
    let revision = stage.source.commit(&[("hop.pl", hopper)], &[]);
    let hopping = ScriptCall { timeout_ms: 1_000, ..call(&revision, "hop.pl") };
    let _ = stage.perform(Effect::Script(hopping)).await;
    for _ in 0..20 {
        let left = running("codeops-hopper");
        assert_eq!(left, 0, "it hops on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
