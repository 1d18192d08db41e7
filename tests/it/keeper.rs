//! The keeper as a real process.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use codeops::keeper::client::{self, Reader, Writer};
use codeops::keeper::wire::{Confidential, Done, Failure, FromKeeper, ReleaseOutcome, Request, Setting, State, User};
use codeops::keeper::{ConnectError, logs};
use codeops::port::LogQuery;
use codeops_core::model::{
    Digest, Instance, InstanceHealth, InstanceId, InstanceState, Key, Name, Owner, Place, Resource, ResourceId, Secret,
    Stamp,
};
use futures_util::StreamExt as _;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::support::app;
use crate::support::port::free_port;
use crate::support::skip::skip;
use crate::support::small_disk::SmallDisk;

#[test]
fn the_app() {
    app::main_if_asked();
}

const PATIENCE: Duration = Duration::from_secs(20);

/// One app folder with its keeper and a connection to it.
struct Bench {
    folder: TempDir,
    keeper: Child,
    writer: Writer,
    reader: Reader,
    state: State,
    port: u16,
    next: u64,
    epoch: u64,
}

fn binary() -> PathBuf {
    env!("CARGO_BIN_EXE_codeops").into()
}

async fn connect(dir: &Path, epoch: u64) -> (Writer, Reader, State) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client::connect(dir, epoch).await {
            Ok((writer, reader, welcome)) => return (writer, reader, welcome.state),
            Err(ConnectError::Absent(_)) if Instant::now() < deadline => sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("no keeper: {error}"),
        }
    }
}

/// An app on `port` whose template is `color`; `extra` is put over its spec.
fn resource(port: u16, color: &str, extra: &serde_json::Value) -> Resource {
    let mut spec = json!({
        "provider": "local",
        "run": {"command": {"command": app::command()}},
        "port": {"number": port, "protocol": "http"},
        "health": {"probe": {"http": "/healthz"}, "interval": "200ms", "timeout": "1s", "startTimeout": "20s", "failures": 2},
        "stop": {"signal": "TERM", "grace": "2s"},
    });
    for (field, value) in extra.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    if spec["health"].is_null() {
        spec.as_object_mut().expect("an object").remove("health");
    }
    if spec["port"].is_null() {
        spec.as_object_mut().expect("an object").remove("port");
    }
    Resource {
        id: ResourceId::app(Name::new("shop").expect("valid")),
        team: Name::new("payments").expect("valid"),
        spec_digest: Digest::of(&spec),
        template_digest: Digest::of(&json!(color)),
        spec: serde_json::from_value(spec).expect("a spec"),
        secret_tags: BTreeMap::new(),
        was: Vec::new(),
        adopt: false,
        place: Place { file: "apps/shop.yaml".into(), line: 1, column: 1 },
    }
}

fn instance(resource: &Resource, ordinal: u32) -> InstanceId {
    InstanceId::new(&resource.template_digest, ordinal).expect("valid")
}

impl Bench {
    async fn new() -> Self {
        Self::of(&binary()).await
    }

    /// With the keeper that `program` becomes.
    async fn of(program: &Path) -> Self {
        Self::within(program, tempfile::tempdir().expect("a folder")).await
    }

    /// In this folder.
    async fn within(program: &Path, folder: TempDir) -> Self {
        let keeper = client::start(program, folder.path(), None).expect("a keeper starts");
        let (writer, reader, state) = connect(folder.path(), 1).await;
        Self { folder, keeper, writer, reader, state, port: free_port(), next: 0, epoch: 1 }
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    async fn ask(&mut self, request: Request) -> Result<Done, Failure> {
        self.next += 1;
        self.writer.send(self.next, self.epoch, request).await.expect("it can be sent");
        loop {
            match timeout(PATIENCE, self.reader.next()).await.expect("in time").expect("well formed") {
                Some(FromKeeper::Reply { id, result }) if id == self.next => return result,
                Some(FromKeeper::State(state)) => self.state = *state,
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    fn key(&mut self) -> Key {
        self.next += 1;
        Key(format!("k-{}", self.next))
    }

    async fn until(&mut self, what: &str, is: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is(&self.state) {
            let next = tokio::time::timeout_at(deadline, self.reader.next()).await;
            match next {
                Ok(Ok(Some(FromKeeper::State(state)))) => self.state = *state,
                other => {
                    let log = std::fs::read_to_string(self.dir().join("keeper.log")).unwrap_or_default();
                    panic!("waiting until {what}: {other:?}\n{:#?}\n{log}", self.state)
                }
            }
        }
    }

    async fn configure(&mut self, resource: &Resource) {
        let key = self.key();
        let stamp = Stamp {
            owner: Owner { repository: Name::new("acme").expect("valid"), environment: None },
            id: resource.id.clone(),
            team: resource.team.clone(),
            spec: resource.spec_digest.clone(),
            template: resource.template_digest.clone(),
            key: key.clone(),
        };
        self.ask(Request::Configure { key, stamp, resource: Box::new(resource.clone()) }).await.expect("configured");
    }

    fn start_of(
        &mut self,
        resource: &Resource,
        ordinal: u32,
        env: &[(&str, &str)],
        secrets: &[(&str, &str)],
    ) -> Request {
        let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let mut env = text(env);
        env.entry("TEST_APP".to_owned()).or_insert_with(|| "1".to_owned());
        env.insert("PATH".to_owned(), "/usr/bin:/bin".to_owned());
        let secrets = text(secrets).into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
        Request::Start {
            key: self.key(),
            instance: instance(resource, ordinal),
            resource: Box::new(resource.clone()),
            setting: Setting { dir: self.dir().to_owned(), env, ..Setting::default() },
            secrets: Confidential(secrets),
        }
    }

    async fn start(&mut self, resource: &Resource, ordinal: u32, env: &[(&str, &str)]) {
        let request = self.start_of(resource, ordinal, env, &[]);
        self.ask(request).await.expect("started");
    }

    async fn stop(&mut self, instance: InstanceId) {
        let key = self.key();
        self.ask(Request::Stop { key, instance }).await.expect("stopping");
    }

    /// Configured with one healthy instance.
    async fn serving(&mut self, extra: serde_json::Value) -> Resource {
        let resource = resource(self.port, "blue", &extra);
        self.configure(&resource).await;
        self.start(&resource, 1, &[("COLOR", "blue")]).await;
        self.until("it is healthy", |state| healthy(state) == 1 && state.address.is_some()).await;
        resource
    }

    fn get(&self, path: &str) -> (u16, String) {
        get(&mut self.client(), path)
    }

    fn client(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the port is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream
    }

    fn kill_keeper(&mut self) {
        self.keeper.kill().expect("it can be killed");
        self.keeper.wait().expect("it ended");
    }

    async fn next_keeper(&mut self) {
        self.keeper = client::start(&binary(), self.dir(), None).expect("a keeper starts");
        (self.writer, self.reader, self.state) = connect(self.dir(), 1).await;
    }

    /// Until no process is the keeper's, a zombie neither.
    async fn until_childless(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !children(self.keeper.id()).is_empty() {
            assert!(Instant::now() < deadline, "left: {:?}", children(self.keeper.id()));
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn log(&self, tail: usize) -> Vec<String> {
        let lines = logs::read(self.dir(), LogQuery { instance: None, tail, follow: false });
        lines.map(|line| line.line).collect().await
    }

    /// What `find` finds in the output, as soon as it is there: an instance writes when it likes, on two streams.
    async fn until_log<T>(&self, what: &str, find: impl Fn(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.log(200).await;
            if let Some(found) = find(&lines) {
                return found;
            }
            assert!(Instant::now() < deadline, "it never came that {what}: {lines:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for pid in self.state.instances.iter().filter_map(|instance| instance.pid) {
            kill(pid, rustix::process::Signal::KILL);
        }
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process id");
    let _ = rustix::process::kill_process(pid, signal);
}

fn healthy(state: &State) -> usize {
    state.instances.iter().filter(|instance| instance.health == InstanceHealth::Healthy).count()
}

fn only(state: &State) -> &Instance {
    state.instances.first().expect("an instance")
}

fn get(stream: &mut TcpStream, path: &str) -> (u16, String) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n").as_bytes()).expect("it can be sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    (head[9..12].parse().expect("a status"), String::from_utf8(body).expect("text"))
}

#[tokio::test]
async fn an_instance_starts_becomes_healthy_and_is_forwarded_to() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    assert_eq!(bench.get("/COLOR"), (200, "blue".to_owned()));
    assert_eq!(bench.get("/INSTANCE").1, only(&bench.state).id.to_string());
    assert_eq!(bench.get("/forwarded").1, "127.0.0.1");
    assert_eq!(bench.get("/pid").1, only(&bench.state).pid.expect("it runs").to_string());
    assert_eq!(bench.state.address.as_deref(), Some(format!("127.0.0.1:{}", bench.port).as_str()));
}

/// The binary under test as a program that may hold so few descriptors: at first, and at most.
fn limited(folder: &Path, soft: u32, hard: u32) -> PathBuf {
    let program = folder.join("limited");
    let script = format!("#!/bin/sh\nulimit -Sn {soft}\nulimit -Hn {hard}\nexec '{}' \"$@\"\n", binary().display());
    std::fs::write(&program, script).expect("it can be written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
    program
}

#[tokio::test]
async fn idle_clients_however_many_take_nothing_from_the_app() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::of(&limited(folder.path(), 64, 256)).await;
    bench.serving(json!({})).await;
    let pid = only(&bench.state).pid.expect("it runs");
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["64", "256"], "as the keeper found it");

    // More than the keeper has descriptors; some are silent, some stop in the middle of a head.
    let mut clients: Vec<TcpStream> = (0..600).map(|_| bench.client()).collect();
    for client in clients.iter_mut().step_by(2) {
        // It may have had to make room.
        drop(client.write_all(b"GET / HTTP/1.1\r\nHost: sh"));
    }
    for _ in 0..5 {
        assert_eq!(bench.get("/pid"), (200, pid.to_string()));
        let unwell = bench.until("it is unwell", |state| healthy(state) == 0);
        // Its checks come every 200 ms and the second failure counts.
        assert!(timeout(Duration::from_millis(300), unwell).await.is_err(), "{:?}", bench.state);
    }
    drop(clients);
    assert_eq!(bench.get("/pid"), (200, pid.to_string()));
}

#[tokio::test]
async fn stalled_uploads_however_many_keep_no_other_client_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::of(&limited(folder.path(), 256, 256)).await;
    bench.serving(json!({})).await;
    let mut whole = bench.client();
    whole.write_all(b"POST /upload HTTP/1.1\r\nHost: shop\r\nContent-Length: 8\r\n\r\nfour").expect("sent");
    whole.write_all(b"more").expect("sent");
    let mut answer = [0; 12];
    whole.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200", "an upload that comes whole is taken");

    drop(whole);

    // As many as the keeper takes at once, each of which the app waits for; then more, who wait in the kernel's queue.
    let stalled = |bench: &Bench| {
        let mut client = bench.client();
        client.write_all(b"POST /upload HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\nhalf").expect("sent");
        client
    };
    let mut clients: Vec<TcpStream> = (0..96).map(|_| stalled(&bench)).collect();
    let uploads = |lines: &[String]| lines.iter().filter(|line| *line == "an upload begins").count();
    bench.until_log("the uploads reach the app", |lines| (uploads(lines) >= 90).then_some(())).await;
    clients.extend((0..54).map(|_| stalled(&bench)));
    for _ in 0..5 {
        assert_eq!(bench.get("/COLOR"), (200, "blue".to_owned()));
    }
    drop(clients);
}

/// A request that says twice how long it is says so to the app only once, and is the last on its connection: what follows is no
/// request, whatever somebody else would have made of it.
#[tokio::test]
async fn a_request_that_is_framed_twice_smuggles_nothing() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    for framing in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
    {
        let mut client = bench.client();
        let next = "GET /COLOR HTTP/1.1\r\nHost: shop\r\n\r\n";
        let both = format!("POST /framing HTTP/1.1\r\nHost: shop\r\n{framing}\r\n\r\n0\r\n\r\n{next}");
        client.write_all(both.as_bytes()).expect("sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("one answer, and the end");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.ends_with("\r\n\r\ntransfer-encoding: chunked"), "{answer}");
    }
}

#[tokio::test]
async fn a_request_of_two_hosts_is_refused() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    let mut client = bench.client();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn repeating_one_key_has_one_effect() {
    let mut bench = Bench::new().await;
    let resource = resource(bench.port, "blue", &json!({}));
    bench.configure(&resource).await;
    let request = bench.start_of(&resource, 1, &[], &[]);
    let first = bench.ask(request.clone()).await;
    assert_eq!(bench.ask(request).await, first);
    assert_eq!(bench.state.instances.len(), 1);
    let other = bench.start_of(&resource, 1, &[], &[]);
    assert!(matches!(bench.ask(other).await, Err(Failure::Retry(why)) if why.contains("already lives")));
}

#[tokio::test]
async fn a_killed_instance_comes_back_and_says_how_it_ended() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    kill(only(&bench.state).pid.expect("it runs"), rustix::process::Signal::KILL);
    bench.until("it is back", |state| only(state).restarts == 1 && healthy(state) == 1).await;
    let why = only(&bench.state).why.clone().unwrap_or_default();
    assert!(why.starts_with("was ended by signal KILL"), "{why}");
    assert_eq!(bench.get("/").0, 200);
}

#[tokio::test]
async fn what_it_wrote_last_is_told_with_how_it_ended_and_holds_no_secret() {
    let mut bench = Bench::new().await;
    let script = "exec 1>&2; for n in 1 2 3 4 5 6 7; do echo line $$n; done; echo \"no database at $$KEY\"; exit 3";
    let extra = json!({"run": {"command": {"command": ["/bin/sh", "-c", script]}}, "port": null, "health": null});
    let resource = resource(bench.port, "loud", &extra);
    bench.configure(&resource).await;
    let request = bench.start_of(&resource, 1, &[], &[("KEY", "hunter-22")]);
    bench.ask(request).await.expect("started");
    bench.until("it loops", |state| only(state).health == InstanceHealth::CrashLoop).await;
    let why = only(&bench.state).why.clone().unwrap_or_default();
    assert!(why.contains("3; it last wrote: ") && why.contains("no database at ***"), "{why}");
    assert!(why.contains("line 7") && !why.contains("line 1") && !why.contains("hunter"), "{why}");
    assert!(why.contains("; it is started again in "), "{why}");
}

#[tokio::test]
async fn a_last_line_without_its_newline_is_told_and_not_joined_to_the_next_processs_first() {
    let mut bench = Bench::new().await;
    let script = "echo begin; printf 'no database'; printf 'and no disk' >&2; exit 3";
    let extra = json!({"run": {"command": {"command": ["/bin/sh", "-c", script]}}, "port": null, "health": null});
    let resource = resource(bench.port, "cut", &extra);
    bench.configure(&resource).await;
    bench.start(&resource, 1, &[]).await;
    let loops = |state: &State| only(state).health == InstanceHealth::CrashLoop;
    bench.until("it loops", loops).await;
    let why = only(&bench.state).why.clone().unwrap_or_default();
    let told =
        why.split_once("it last wrote: ").expect("what it wrote").1.split("; it is started").next().unwrap_or_default();
    let mut lines: Vec<&str> = told.split(" / ").collect();
    lines.sort_unstable();
    assert_eq!(lines, ["and no disk", "begin", "no database"], "{why}");
}

#[tokio::test]
async fn ending_again_and_again_is_a_crash_loop_with_a_growing_wait() {
    let mut bench = Bench::new().await;
    let resource = resource(bench.port, "bad", &json!({}));
    bench.configure(&resource).await;
    bench.start(&resource, 1, &[("TEST_APP", "crash")]).await;
    bench.until("it loops", |state| only(state).health == InstanceHealth::CrashLoop).await;
    let instance = only(&bench.state);
    assert!(instance.restarts >= 3 && instance.state == InstanceState::Backoff, "{instance:?}");
    assert!(
        instance.why.as_ref().is_some_and(|why| why.contains("ABRT") && why.contains("again in 2 s")),
        "{instance:?}"
    );
    let (status, text) = bench.get("/");
    assert!(status == 503 && text.contains("no healthy instance"), "{status} {text}");
    bench.stop(instance_of(&bench.state)).await;
    bench.until("it is gone", |state| state.instances.is_empty()).await;
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let mut bench = Bench::new().await;
    let extra = json!({"run": {"command": {"command": ["./nowhere"]}}, "port": null, "health": null});
    let resource = resource(bench.port, "nowhere", &extra);
    bench.configure(&resource).await;
    bench.start(&resource, 1, &[]).await;
    let why = "cannot start ./nowhere: No such file or directory";
    let told = |state: &State| only(state).why.as_ref().is_some_and(|told| told.contains(why));
    bench.until("it says why", told).await;
}

fn instance_of(state: &State) -> InstanceId {
    only(state).id.clone()
}

#[tokio::test]
async fn a_stop_waits_for_requests_in_flight() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    let mut client = bench.client();
    let slow = std::thread::spawn(move || get(&mut client, "/slow"));
    let asked = "asked for what is slow".to_owned();
    bench.until_log("the request reaches the app", |lines| lines.contains(&asked).then_some(())).await;
    bench.stop(instance_of(&bench.state)).await;
    bench.until("it is gone", |state| state.instances.is_empty()).await;
    assert_eq!(slow.join().expect("it ended"), (200, "slow".to_owned()));
}

#[tokio::test]
async fn what_ignores_the_stop_signal_is_killed_with_its_children_after_its_grace() {
    let mut bench = Bench::new().await;
    let extra = json!({
        "run": {"command": {"command": ["sh", "-c", "trap '' TERM; sleep 300 & echo child $$!; wait; sleep 300"]}},
        "port": null, "health": null, "stop": {"signal": "TERM", "grace": "300ms"},
    });
    let resource = resource(bench.port, "stubborn", &extra);
    bench.configure(&resource).await;
    bench.start(&resource, 1, &[]).await;
    bench.until("it has settled", |state| healthy(state) == 1).await;
    let child = |lines: &[String]| lines.first()?.strip_prefix("child ")?.parse::<u32>().ok();
    let child = bench.until_log("its child is told", child).await;
    assert!(Path::new(&format!("/proc/{child}")).exists());
    bench.stop(instance(&resource, 1)).await;
    bench.until("it is gone", |state| state.instances.is_empty()).await;
    let deadline = Instant::now() + PATIENCE;
    while std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "the child lives");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_idle_connection_outlives_the_instance_behind_it() {
    let mut bench = Bench::new().await;
    let blue = bench.serving(json!({})).await;
    let mut client = bench.client();
    assert_eq!(get(&mut client, "/COLOR").1, "blue");
    let green = resource(bench.port, "green", &json!({}));
    bench.configure(&green).await;
    bench.start(&green, 1, &[("COLOR", "green")]).await;
    bench.until("both are healthy", |state| healthy(state) == 2).await;
    bench.stop(instance(&blue, 1)).await;
    bench.until("the old one is gone", |state| state.instances.len() == 1).await;
    assert_eq!(get(&mut client, "/COLOR"), (200, "green".to_owned()));
}

/// Where the descriptors of a process lead.
fn descriptors(pid: u32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
    entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect()
}

#[tokio::test]
async fn no_descriptor_of_the_daemon_reaches_a_keeper_and_none_of_a_keeper_an_app() {
    let private = tempfile::NamedTempFile::new().expect("a file");
    let inheritable =
        || rustix::io::fcntl_setfd(private.as_file(), rustix::io::FdFlags::empty()).expect("as in a shell");
    inheritable();
    let mut bench = Bench::new().await;
    assert!(!descriptors(bench.keeper.id()).contains(&private.path().to_owned()));
    bench.kill_keeper();
    inheritable();
    #[expect(clippy::disallowed_methods, reason = "a keeper of whoever does not close what it has")]
    let careless = std::process::Command::new(binary()).arg("keeper").arg(bench.dir()).spawn();
    bench.keeper = careless.expect("a keeper starts");
    (bench.writer, bench.reader, bench.state) = connect(bench.dir(), 1).await;
    assert!(descriptors(bench.keeper.id()).contains(&private.path().to_owned()), "the test tests something");
    bench.serving(json!({})).await;
    let of_app = descriptors(only(&bench.state).pid.expect("it runs"));
    assert!(!of_app.contains(&private.path().to_owned()), "{of_app:?}");
}

/// Listens on a port of another and answers whatever it is asked.
fn thief(port: u16) {
    let deadline = Duration::from_secs(5);
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(stream.set_read_timeout(Some(deadline)));
            drop(stream.read(&mut [0; 1024]));
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"));
        }
    });
}

#[tokio::test]
async fn who_takes_the_port_of_an_instance_gets_no_request() {
    let mut bench = Bench::new().await;
    let app = app::command().join(" ");
    let script = format!("if [ -e begun ]; then exec {app}; fi; touch begun; echo port $PORT; exec sleep 300");
    let extra = json!({"run": {"command": {"command": ["sh", "-c", script]}}});
    let resource = resource(bench.port, "blue", &extra);
    bench.configure(&resource).await;
    bench.start(&resource, 1, &[("COLOR", "blue")]).await;
    let port = |lines: &[String]| lines.first()?.strip_prefix("port ")?.parse::<u16>().ok();
    let first = bench.until_log("it begins", port).await;
    // It was faster than the instance.
    thief(first);
    let held = format!("port {first} is held by another process");
    bench.until("it is seen", |state| only(state).why.as_ref().is_some_and(|why| why.contains(&held))).await;
    assert_eq!(only(&bench.state).health, InstanceHealth::Starting, "another port is all that it needs");
    bench.until("it serves", |state| healthy(state) == 1).await;
    assert_eq!((only(&bench.state).restarts, only(&bench.state).losses), (0, 1), "it was not its own doing");
    assert_eq!(bench.get("/COLOR"), (200, "blue".to_owned()));
    // It waits for the port of one that ends.
    let (second, pid) = (only(&bench.state).port.expect("it has one"), only(&bench.state).pid.expect("it runs"));
    assert_ne!(second, first);
    kill(pid, rustix::process::Signal::KILL);
    bench.until("it ended", |state| only(state).pid.is_none_or(|now| now != pid)).await;
    thief(second);
    bench.until("it is back", |state| only(state).restarts == 1 && healthy(state) == 1).await;
    assert!(only(&bench.state).port.is_some_and(|third| third != second), "{:?}", bench.state);
    assert_eq!(bench.get("/COLOR"), (200, "blue".to_owned()));
}

#[tokio::test]
async fn a_port_that_somebody_else_has_time_and_again_is_no_failure_of_the_instance() {
    let mut bench = Bench::new().await;
    let app = app::command().join(" ");
    let script = format!("echo port $PORT; until [ -e go-$PORT ]; do sleep 0.01; done; exec {app}");
    let resource = resource(bench.port, "blue", &json!({"run": {"command": {"command": ["sh", "-c", script]}}}));
    bench.configure(&resource).await;
    bench.start(&resource, 1, &[("COLOR", "blue")]).await;
    for taken in 0..4 {
        let told = |lines: &[String]| Some(lines.iter().filter_map(|l| l.strip_prefix("port ")).nth(taken)?.to_owned());
        let port: String = bench.until_log("it begins", told).await;
        // One that asks for any port is given another one by the kernel; this one wants it.
        if taken < 3 {
            thief(port.parse().expect("a port"));
        }
        std::fs::write(bench.dir().join(format!("go-{port}")), "").expect("written");
        let ends = |state: &State| only(state).losses as usize > taken || healthy(state) == 1;
        let mut seen = Vec::new();
        while !ends(&bench.state) {
            seen.push((only(&bench.state).state, only(&bench.state).health));
            let next = timeout(PATIENCE, bench.reader.next()).await.expect("in time").expect("well formed");
            let Some(FromKeeper::State(state)) = next else { panic!("{next:?}") };
            bench.state = *state;
        }
        // What runs and is unwell, or ends again and again, is the version's failure.
        let fails = |(state, health): &(InstanceState, InstanceHealth)| match health {
            InstanceHealth::Unhealthy => *state == InstanceState::Running,
            health => *health == InstanceHealth::CrashLoop,
        };
        assert!(!seen.iter().any(fails), "{seen:?}");
        assert_eq!(only(&bench.state).restarts, 0, "{:?}", bench.state);
        if taken == 2 {
            let instance = only(&bench.state);
            assert_eq!((instance.state, instance.health), (InstanceState::Backoff, InstanceHealth::Unhealthy));
            assert!(instance.why.as_ref().is_some_and(|why| why.contains("by another process")), "{instance:?}");
        }
    }
    assert_eq!(bench.get("/COLOR"), (200, "blue".to_owned()));
}

#[tokio::test]
async fn an_app_that_floods_its_output_makes_nobody_wait_and_what_is_dropped_is_counted() {
    let mut bench = Bench::new().await;
    let app = app::command().join(" ");
    let extra = json!({"run": {"command": {"command": ["sh", "-c", format!("yes & yes >&2 & exec {app}")]}}});
    bench.serving(extra).await;
    let logs = ["app.log", "app.log.1"].map(|name| bench.dir().join("logs").join(name));
    let is_told = || logs.iter().flat_map(std::fs::read_to_string).any(|text| text.contains(" codeops: dropped "));
    let deadline = Instant::now() + PATIENCE;
    while !is_told() {
        assert!(Instant::now() < deadline, "nothing was dropped");
        assert_eq!(bench.get("/COLOR"), (200, "blue".to_owned()));
        let asked = timeout(Duration::from_secs(5), bench.ask(Request::Stats)).await;
        assert!(matches!(asked, Ok(Ok(Done::Stats(_)))), "it is deaf: {asked:?}");
    }
    bench.stop(instance_of(&bench.state)).await;
    bench.until("it is gone", |state| state.instances.is_empty()).await;
}

#[tokio::test]
async fn what_leaves_its_session_ends_with_its_instance_and_is_reaped_before() {
    let mut bench = Bench::new().await;
    let app = app::command().join(" ");
    // One is orphaned and ends, one is left by the app itself, one is orphaned and hides its name.
    let script = format!(
        "(setsid true &); setsid sh -c 'echo $$$$; exec sleep 300' & \
         (env -i /usr/bin/setsid sh -c 'echo $$$$; exec sleep 300' &); exec {app}"
    );
    bench.serving(json!({"run": {"command": {"command": ["sh", "-c", script]}}})).await;
    let deadline = Instant::now() + PATIENCE;
    let pids = loop {
        let pids: Vec<u32> = bench.log(9).await.iter().filter_map(|line| line.parse().ok()).collect();
        // The app and the one that hides: the one that ended is no zombie.
        if pids.len() == 2 && children(bench.keeper.id()).len() == 2 {
            break pids;
        }
        assert!(Instant::now() < deadline, "{pids:?} {:?}", children(bench.keeper.id()));
        sleep(Duration::from_millis(5)).await;
    };
    bench.stop(instance_of(&bench.state)).await;
    bench.until("it is gone", |state| state.instances.is_empty()).await;
    while pids.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
        assert!(Instant::now() < deadline, "left: {pids:?} {:?}", children(bench.keeper.id()));
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_upgraded_connection_is_passed_through() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    let mut client = bench.client();
    write!(client, "GET /ws HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    client.write_all(b"ping").expect("sent");
    let mut pong = [0; 4];
    client.read_exact(&mut pong).expect("echoed");
    assert_eq!(&pong, b"ping");
}

#[tokio::test]
async fn a_tcp_connection_is_cut_when_its_time_is_up_and_the_log_says_so() {
    let mut bench = Bench::new().await;
    let extra = json!({
        "port": {"number": bench.port, "protocol": "tcp"}, "health": null, "stop": {"signal": "TERM", "grace": "300ms"},
    });
    let resource = resource(bench.port, "raw", &extra);
    bench.configure(&resource).await;
    bench.start(&resource, 1, &[("TEST_APP", "raw")]).await;
    bench.until("it is healthy", |state| healthy(state) == 1).await;
    let mut client = bench.client();
    client.write_all(b"ping").expect("sent");
    let mut pong = [0; 4];
    client.read_exact(&mut pong).expect("echoed");
    bench.stop(instance(&resource, 1)).await;
    bench.until("it is gone", |state| state.instances.is_empty()).await;
    assert_eq!(client.read(&mut pong).unwrap_or(0), 0, "the connection is closed");
    assert!(bench.log(5).await.iter().any(|line| line.contains("connections") && line.contains("cut")));
}

#[tokio::test]
async fn a_killed_keeper_kills_nobody_and_the_next_one_adopts() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    let pid = only(&bench.state).pid;
    bench.kill_keeper();
    bench.next_keeper().await;
    bench.until("it serves", |state| healthy(state) == 1 && state.address.is_some()).await;
    assert_eq!((only(&bench.state).pid, only(&bench.state).restarts), (pid, 0));
    assert_eq!(bench.get("/pid").1, pid.expect("it runs").to_string());
    bench.get("/print/after-adoption");
    let printed = "after-adoption".to_owned();
    bench.until_log("its output is kept", |lines| lines.contains(&printed).then_some(())).await;
    kill(pid.expect("it runs"), rustix::process::Signal::KILL);
    bench.until("an adopted one is started again", |state| only(state).losses == 1 && healthy(state) == 1).await;
    assert_eq!(only(&bench.state).restarts, 0, "how it ended is not known");
}

#[tokio::test]
async fn what_ended_while_no_keeper_watched_is_started_again() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    bench.kill_keeper();
    kill(only(&bench.state).pid.expect("it runs"), rustix::process::Signal::KILL);
    bench.next_keeper().await;
    bench.until("it serves", |state| healthy(state) == 1 && only(state).losses == 1).await;
    assert_eq!(only(&bench.state).restarts, 0);
}

#[tokio::test]
async fn what_is_ended_together_with_its_keeper_is_lost_and_has_not_failed() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    let (pid, keeper) = (only(&bench.state).pid.expect("it runs"), bench.keeper.id());
    // As a machine that goes down: when the keeper gets to look, all of it has happened.
    kill(keeper, rustix::process::Signal::STOP);
    kill(pid, rustix::process::Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") Z ") {
        assert!(Instant::now() < deadline, "it does not end");
        sleep(Duration::from_millis(5)).await;
    }
    kill(keeper, rustix::process::Signal::TERM);
    kill(keeper, rustix::process::Signal::CONT);
    bench.keeper.wait().expect("it ended");
    bench.next_keeper().await;
    bench.until("it serves", |state| healthy(state) == 1 && only(state).starts_again() == 1).await;
    assert_eq!((only(&bench.state).restarts, only(&bench.state).losses), (0, 1));
}

#[tokio::test]
async fn a_handover_keeps_port_instances_and_secrets() {
    let mut bench = Bench::new().await;
    let resource = resource(bench.port, "blue", &json!({}));
    bench.configure(&resource).await;
    let request = bench.start_of(&resource, 1, &[], &[("KEY", "hunter2")]);
    bench.ask(request).await.expect("started");
    bench.until("it is healthy", |state| healthy(state) == 1 && state.address.is_some()).await;
    let (pid, keeper, mut client) = (only(&bench.state).pid, bench.keeper.id(), bench.client());
    assert_eq!(get(&mut client, "/KEY").1, "hunter2");
    bench.ask(Request::Handover { binary: binary() }).await.expect("it goes on");
    let gone = timeout(PATIENCE, async { while let Ok(Some(_)) = bench.reader.next().await {} }).await;
    assert!(gone.is_ok(), "the old one hangs up");
    // Until the new program is there, the old one's socket still takes connections, and drops them.
    let goes_on = || {
        let words = std::fs::read(format!("/proc/{keeper}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains("--continue")
    };
    let deadline = Instant::now() + PATIENCE;
    while !goes_on() {
        assert!(Instant::now() < deadline, "the keeper goes on as the new program");
        tokio::task::yield_now().await;
    }
    (bench.writer, bench.reader, bench.state) = connect(bench.dir(), 1).await;
    assert_eq!((bench.keeper.id(), only(&bench.state).pid), (keeper, pid));
    assert!(bench.state.secrets_missing.is_empty(), "{:?}", bench.state.secrets_missing);
    assert_eq!(bench.get("/KEY"), (200, "hunter2".to_owned()));
    kill(pid.expect("it runs"), rustix::process::Signal::KILL);
    bench.until("it is back", |state| only(state).restarts == 1 && healthy(state) == 1).await;
    assert_eq!(bench.get("/KEY"), (200, "hunter2".to_owned()));
}

#[tokio::test]
async fn secrets_are_never_on_disk_and_are_asked_for_again() {
    let mut bench = Bench::new().await;
    let resource = resource(bench.port, "blue", &json!({}));
    bench.configure(&resource).await;
    let request = bench.start_of(&resource, 1, &[], &[("KEY", "hunter2")]);
    bench.ask(request).await.expect("started");
    bench.until("it is healthy", |state| healthy(state) == 1).await;
    for file in ["keeper.json", "keeper.log", "logs/app.log"] {
        let text = std::fs::read_to_string(bench.dir().join(file)).unwrap_or_default();
        assert!(!text.contains("hunter2"), "{file} holds a secret");
    }
    bench.kill_keeper();
    kill(only(&bench.state).pid.expect("it runs"), rustix::process::Signal::KILL);
    bench.next_keeper().await;
    // What it tells before it has looked is what the last one knew.
    bench.until("it has looked", |state| only(state).losses == 1).await;
    bench.until("it asks", |state| state.secrets_missing == [resource.template_digest.clone()]).await;
    // What has no process is not shown as well meanwhile.
    bench.until("it waits", |state| only(state).state == InstanceState::Backoff).await;
    assert_eq!((healthy(&bench.state), only(&bench.state).pid), (0, None));
    let secrets = Confidential(BTreeMap::from([("KEY".to_owned(), Secret::new("hunter3".to_owned()))]));
    bench.ask(Request::Secrets { template: resource.template_digest.clone(), secrets }).await.expect("taken");
    bench.until("it is back", |state| healthy(state) == 1 && state.secrets_missing.is_empty()).await;
    assert_eq!(bench.get("/KEY").1, "hunter3");
}

#[tokio::test]
async fn what_waits_for_its_secrets_longer_than_a_start_may_take_is_not_well() {
    let mut bench = Bench::new().await;
    let health = json!({"probe": {"http": "/healthz"}, "interval": "200ms", "timeout": "1s", "startTimeout": "300ms", "failures": 2});
    let resource = resource(bench.port, "blue", &json!({"health": health, "secrets": {"KEY": "shop-key"}}));
    bench.configure(&resource).await;
    let request = bench.start_of(&resource, 1, &[], &[("KEY", "hunter2")]);
    bench.ask(request).await.expect("started");
    bench.until("it runs", |state| only(state).pid.is_some()).await;
    bench.kill_keeper();
    kill(only(&bench.state).pid.expect("it runs"), rustix::process::Signal::KILL);
    bench.next_keeper().await;
    let unwell = |state: &State| only(state).health == InstanceHealth::Unhealthy && only(state).pid.is_none();
    bench.until("it is not well", unwell).await;
    let why = only(&bench.state).why.clone().unwrap_or_default();
    assert!(why.contains("waits for its secrets") && only(&bench.state).state == InstanceState::Backoff, "{why}");
    let lost = bench.state.lost.first().map(|lost| lost.secrets.clone()).unwrap_or_default();
    assert_eq!(lost, resource.spec.secrets);
    let secrets = Confidential(BTreeMap::from([("KEY".to_owned(), Secret::new("hunter2".to_owned()))]));
    bench.ask(Request::Secrets { template: resource.template_digest.clone(), secrets }).await.expect("taken");
    bench.until("it starts", |state| only(state).pid.is_some() && state.lost.is_empty()).await;
}

#[tokio::test]
async fn a_port_that_is_held_is_reported_and_taken_when_it_is_free() {
    let mut bench = Bench::new().await;
    let holder = TcpListener::bind(("127.0.0.1", bench.port)).expect("it is free");
    let resource = resource(bench.port, "blue", &json!({}));
    bench.configure(&resource).await;
    let note = format!("port {} is held by another process", bench.port);
    bench.until("it says so", |state| state.notes.contains(&note) && !state.drift.is_empty()).await;
    drop(holder);
    bench.until("it has it", |state| state.notes.is_empty() && state.drift.is_empty() && state.address.is_some()).await;
}

#[tokio::test]
async fn a_changed_port_moves() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    let old = bench.port;
    bench.port = free_port();
    let moved = resource(bench.port, "blue", &json!({}));
    bench.configure(&moved).await;
    let address = format!("127.0.0.1:{}", bench.port);
    bench.until("it moved", |state| state.address.as_deref() == Some(address.as_str())).await;
    assert_eq!(bench.get("/").0, 200);
    assert!(TcpStream::connect(("127.0.0.1", old)).is_err());
}

#[tokio::test]
async fn a_ring_of_apps_exchanges_its_ports() {
    for many in [2, 3] {
        let colors = ["blue", "green", "red"];
        let (mut ring, mut ports) = (Vec::new(), Vec::new());
        for color in &colors[..many] {
            let mut bench = Bench::new().await;
            let resource = resource(bench.port, color, &json!({}));
            bench.configure(&resource).await;
            bench.start(&resource, 1, &[("COLOR", color)]).await;
            bench.until("it is healthy", |state| healthy(state) == 1 && state.address.is_some()).await;
            ports.push(bench.port);
            ring.push(bench);
        }
        ports.rotate_left(1);
        for ((bench, color), port) in ring.iter_mut().zip(colors).zip(&ports) {
            bench.port = *port;
            bench.configure(&resource(*port, color, &json!({}))).await;
        }
        for (bench, color) in ring.iter_mut().zip(colors) {
            let address = format!("127.0.0.1:{}", bench.port);
            let moved = |state: &State| state.address.as_deref() == Some(&address) && state.drift.is_empty();
            bench.until("it has its new port", moved).await;
            assert_eq!(bench.get("/COLOR"), (200, color.to_owned()));
        }
    }
}

#[tokio::test]
async fn a_port_that_an_app_is_to_have_no_longer_is_its_own_until_another_waits_for_it() {
    let (mut one, mut two) = (Bench::new().await, Bench::new().await);
    one.serving(json!({})).await;
    let (old, taken) = (one.port, TcpListener::bind(("127.0.0.1", 0)).expect("one is free"));
    let port = taken.local_addr().expect("bound").port();
    one.configure(&resource(port, "blue", &json!({}))).await;
    one.until("it waits", |state| !state.drift.is_empty()).await;
    assert_eq!(one.get("/").0, 200);
    two.port = old;
    two.serving(json!({})).await;
    one.until("it gave it up", |state| state.address.is_none()).await;
    drop(taken);
    one.port = port;
    one.until("it has its own", |state| state.address.is_some() && state.drift.is_empty()).await;
    assert_eq!((one.get("/").0, two.get("/").0), (200, 200));
    // What it is to have it keeps, whoever waits.
    two.configure(&resource(port, "blue", &json!({}))).await;
    two.until("it waits", |state| !state.drift.is_empty()).await;
    assert_eq!((one.get("/").0, two.get("/").0), (200, 200));
}

#[tokio::test]
async fn an_app_listens_on_another_address_with_the_same_port() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    bench.configure(&resource(bench.port, "blue", &json!({"bind": "0.0.0.0"}))).await;
    let address = format!("0.0.0.0:{}", bench.port);
    bench.until("it moved", |state| state.address.as_deref() == Some(&address) && state.drift.is_empty()).await;
    assert_eq!(bench.get("/").0, 200);
}

#[tokio::test]
async fn a_second_keeper_is_refused_and_an_older_daemon_only_looks() {
    let mut bench = Bench::new().await;
    let mut second = client::start(&binary(), bench.dir(), None).expect("it starts");
    assert!(!second.wait().expect("it ended").success());
    let log = std::fs::read_to_string(bench.dir().join("keeper.log")).expect("its errors");
    assert!(log.contains("another keeper holds this folder"), "{log}");
    drop(client::connect(bench.dir(), 5).await.expect("a newer daemon is welcome"));
    bench.until("it is told of the newer one", |state| state.epoch == 5).await;
    for _ in 0..2 {
        let refused = bench.ask(Request::Delete { key: Key("store:1:9".to_owned()) }).await;
        let Err(Failure::Barred(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("epoch 1 is lower than 5"), "{why}");
        assert_eq!(bench.ask(Request::Stats).await, Ok(Done::Stats(Vec::new())));
        // The next keeper remembers it.
        bench.kill_keeper();
        bench.next_keeper().await;
        assert_eq!(bench.state.epoch, 5);
    }
    // A daemon that becomes the newest says so with its next request, on the same connection.
    bench.epoch = 6;
    bench.configure(&resource(bench.port, "blue", &json!({}))).await;
    assert_eq!(bench.state.epoch, 6);
}

#[tokio::test]
async fn a_release_runs_once_and_its_failure_is_told() {
    let mut bench = Bench::new().await;
    for (script, succeeds, why) in [
        ("echo migrated; exit 0", true, ""),
        ("echo one; echo no table hunter2 >&2; exit 3", false, "exited with code 3: no table ***"),
        ("sleep 300", false, "did not end within"),
        ("exit 4", false, "exited with code 4"),
    ] {
        let extra = json!({"release": {"command": ["sh", "-c", script], "timeout": "500ms"}});
        let resource = resource(bench.port, script, &extra);
        let key = bench.key();
        let setting = Setting { dir: "/".into(), ..Setting::default() };
        let secrets = Confidential(BTreeMap::from([("KEY".to_owned(), Secret::new("hunter2".to_owned()))]));
        let request = Request::Release { key: key.clone(), resource: Box::new(resource.clone()), setting, secrets };
        bench.ask(request.clone()).await.expect("it runs");
        let over = |state: &State| {
            state
                .release
                .as_ref()
                .is_some_and(|release| release.key == key && !matches!(release.outcome, ReleaseOutcome::Running { .. }))
        };
        bench.until("it is over", over).await;
        bench.ask(request).await.expect("the same answer");
        assert!(over(&bench.state), "it did not run again");
        let outcome = bench.state.release.clone().map(|release| release.outcome);
        assert_eq!(outcome == Some(ReleaseOutcome::Succeeded), succeeds, "{outcome:?}");
        assert!(format!("{outcome:?}").contains(why), "{outcome:?}");
        assert_eq!(bench.state.released == Some(resource.template_digest), succeeds);
    }
    assert!(bench.log(9).await.contains(&"migrated".to_owned()));
}

#[tokio::test]
async fn a_release_that_its_keeper_left_goes_on_to_its_end_or_its_time_and_leaves_nothing() {
    for (end, time, lost) in [("test -e go", "300s", true), ("false", "2s", false)] {
        let mut bench = Bench::new().await;
        let script = format!("echo $$$$; until {end}; do sleep 0.05; done; echo over $$KEY");
        let extra =
            json!({"release": {"command": ["sh", "-c", script], "timeout": time}, "secrets": {"KEY": "shop-key"}});
        let resource = resource(bench.port, "blue", &extra);
        let (key, setting) = (bench.key(), Setting { dir: bench.dir().to_owned(), ..Setting::default() });
        let secrets = Confidential(BTreeMap::from([("KEY".to_owned(), Secret::new("hunter2".to_owned()))]));
        let template = resource.template_digest.clone();
        let request = Request::Release { key, resource: Box::new(resource), setting, secrets: secrets.clone() };
        bench.ask(request).await.expect("it runs");
        let pid = bench.until_log("it begins", |lines| lines.first().cloned()).await;
        bench.kill_keeper();
        bench.next_keeper().await;
        assert!(Path::new(&format!("/proc/{pid}")).exists(), "it goes on");
        // What it writes from now on is masked, too.
        bench.until("it asks", |state| state.secrets_missing == [template.clone()]).await;
        assert_eq!(bench.state.lost[0].secrets.keys().collect::<Vec<_>>(), ["KEY"]);
        bench.ask(Request::Secrets { template: template.clone(), secrets }).await.expect("taken");
        std::fs::write(bench.dir().join("go"), "").expect("written");
        let ended = |state: &State| {
            let outcome = state.release.as_ref().map(|release| &release.outcome);
            if lost {
                matches!(outcome, Some(ReleaseOutcome::Lost { .. }))
            } else {
                matches!(outcome, Some(ReleaseOutcome::Failed { why, .. }) if why.contains("did not end within 2s"))
            }
        };
        bench.until("it is settled", ended).await;
        assert_eq!(bench.log(1).await == ["over ***"], lost, "{:?}", bench.log(9).await);
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
        let pipes = std::fs::read_dir(bench.dir().join("fifo")).expect("the folder");
        assert_eq!((pipes.count(), bench.state.released.clone()), (0, None));
    }
}

#[tokio::test]
async fn a_delete_ends_all_and_leaves_nothing() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    let pid = only(&bench.state).pid.expect("it runs");
    let key = bench.key();
    bench.ask(Request::Delete { key }).await.expect("it goes");
    let deadline = Instant::now() + PATIENCE;
    while bench.dir().exists() {
        assert!(Instant::now() < deadline, "its folder is still there");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(bench.keeper.wait().expect("it ended").success());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(TcpStream::connect(("127.0.0.1", bench.port)).is_err());
}

#[tokio::test]
async fn its_folder_is_private_and_it_stays_small() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    for _ in 0..200 {
        bench.get("/");
    }
    let mode =
        |path: &str| std::fs::metadata(bench.dir().join(path)).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(["keeper.sock", "keeper.json", "logs/app.log", "logs"].map(mode), [0o600, 0o600, 0o600, 0o700]);
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", bench.keeper.id())).expect("it runs");
    // Not what is dirty of the binary's own file, which is but newly built.
    let private: u64 = rollup
        .lines()
        .filter(|line| line.starts_with("Anonymous:"))
        .filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    assert!(private <= 4096, "{private} KiB of private memory\n{rollup}");
}

#[tokio::test]
async fn what_it_uses_is_told_and_limits_that_do_not_hold_are_noted() {
    let mut bench = Bench::new().await;
    bench.serving(json!({"resources": {"memory": "256MiB"}})).await;
    assert!(bench.state.notes.iter().any(|note| note.contains("memory limit not enforced")), "{:?}", bench.state.notes);
    bench.get("/");
    let Ok(Done::Stats(stats)) = bench.ask(Request::Stats).await else { panic!("no stats") };
    assert!(stats.len() == 1 && stats[0].memory_bytes > 0 && stats[0].requests == Some(1), "{stats:?}");
}

#[test]
fn the_corpus_of_the_wire_is_heard_without_a_panic() {
    use codeops::keeper::frame::{decode, encode};
    use codeops::keeper::wire::ToKeeper;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/keeper_wire");
    let mut understood = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus") {
        let bytes = std::fs::read(entry.expect("readable").path()).expect("readable");
        if let Ok(Some((message, _))) = decode::<ToKeeper>(&bytes) {
            let again = decode::<ToKeeper>(&encode(&message).expect("short")).expect("well formed").expect("whole");
            assert_eq!(again.0, message);
            understood += 1;
        }
        drop(decode::<FromKeeper>(&bytes));
    }
    assert!(understood >= 5, "{understood} of the corpus are requests");
}

#[tokio::test]
async fn junk_on_the_socket_ends_that_connection_only() {
    let mut bench = Bench::new().await;
    let mut junk = std::os::unix::net::UnixStream::connect(bench.dir().join("keeper.sock")).expect("it listens");
    junk.write_all(b"\xff\xff\xff\xffjunk").expect("sent");
    let mut rest = Vec::new();
    drop(junk.read_to_end(&mut rest));
    assert!(rest.is_empty());
    assert_eq!(bench.ask(Request::Stats).await, Ok(Done::Stats(Vec::new())));
}

#[tokio::test]
async fn what_a_check_last_answered_is_told_while_an_instance_starts() {
    let mut bench = Bench::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let ready = folder.path().join("ready");
    let probe = json!({"command": ["/bin/sh", "-c", format!("test -e {}", ready.display())]});
    let health = json!({"probe": probe, "interval": "50ms", "timeout": "5s", "startTimeout": "60s", "failures": 2});
    let resource = resource(bench.port, "blue", &json!({"health": health}));
    bench.configure(&resource).await;
    bench.start(&resource, 1, &[]).await;
    let told = |state: &State| only(state).why.as_deref().is_some_and(|why| why.contains("/bin/sh exited with code 1"));
    bench.until("it says so", |state| only(state).health == InstanceHealth::Starting && told(state)).await;
    std::fs::write(&ready, "").expect("written");
    bench.until("it is over", |state| healthy(state) == 1).await;
    assert_eq!(only(&bench.state).why, None);
}

#[tokio::test]
async fn a_health_check_that_is_declared_later_is_run() {
    let mut bench = Bench::new().await;
    let resource_with =
        |bench: &Bench, health: serde_json::Value| resource(bench.port, "blue", &json!({"health": health}));
    bench.serving(json!({"health": null})).await;
    let failing = json!({
        "probe": {"command": ["false"]}, "interval": "100ms", "timeout": "1s", "startTimeout": "1s", "failures": 2,
    });
    let with_check = resource_with(&bench, failing);
    bench.configure(&with_check).await;
    bench.until("the check fails", |state| only(state).health == InstanceHealth::Unhealthy).await;
    let without = resource_with(&bench, json!(null));
    bench.configure(&without).await;
    bench.until("it is asked no more", |state| healthy(state) == 1).await;
}

#[tokio::test]
async fn a_check_that_an_instance_never_passed_keeps_no_request_from_it() {
    let mut bench = Bench::new().await;
    let good = bench.serving(json!({})).await;
    let pid = only(&bench.state).pid.expect("it runs");
    let failing = json!({
        "probe": {"command": ["false"]}, "interval": "50ms", "timeout": "1s", "startTimeout": "1s", "failures": 2,
    });
    let wrong = resource(bench.port, "blue", &json!({"health": failing}));
    bench.configure(&wrong).await;
    assert_ne!(only(&bench.state).health, InstanceHealth::Healthy, "what an earlier check found does not count");
    bench.until("it fails", |state| only(state).health == InstanceHealth::Unhealthy).await;
    assert_eq!((bench.get("/pid"), only(&bench.state).restarts), ((200, pid.to_string()), 0));
    bench.kill_keeper();
    bench.next_keeper().await;
    bench.until("it serves", |state| state.address.is_some()).await;
    assert_eq!(bench.get("/pid"), (200, pid.to_string()), "nor with the next keeper");

    // A newer template's check is not its own: it is judged as it last passed.
    bench.configure(&resource(bench.port, "green", &json!({"health": wrong.spec.health}))).await;
    bench.until("it passes again", |state| healthy(state) == 1 && !only(state).on_trial).await;
    // What goes back is asked at once, whatever the interval of the wrong one was.
    let mut slow = wrong.clone();
    slow.spec.health.as_mut().expect("a check").interval = codeops_core::model::Period::from_secs(3_600);
    bench.configure(&slow).await;
    bench.configure(&good).await;
    bench.until("it is as before", |state| healthy(state) == 1 && !only(state).on_trial).await;

    // What starts anew has to pass what is asked now.
    bench.configure(&wrong).await;
    kill(pid, rustix::process::Signal::KILL);
    bench.until("it is started again", |state| only(state).starts_again() == 1 && only(state).pid.is_some()).await;
    assert!(!only(&bench.state).on_trial);
    assert_eq!(bench.get("/pid").0, 503);
}

#[tokio::test]
async fn a_socket_that_somebody_removed_is_there_again() {
    let mut bench = Bench::new().await;
    let desired = bench.serving(json!({})).await;
    let (pid, port) = (only(&bench.state).pid, bench.get("/pid"));
    std::fs::remove_file(bench.dir().join("keeper.sock")).expect("removed");
    let (writer, reader, state) = connect(bench.dir(), 1).await;
    (bench.writer, bench.reader, bench.state) = (writer, reader, state);
    assert_eq!((only(&bench.state).pid, bench.get("/pid")), (pid, port), "the same keeper");
    bench.stop(instance(&desired, 1)).await;
    bench.until("it obeys", |state| state.instances.is_empty()).await;
}

#[tokio::test]
async fn what_a_health_command_writes_is_told_without_secrets() {
    let mut bench = Bench::new().await;
    let check = json!({"health": {"probe": {"command": ["sh", "-c", "echo no database; echo at $$(date +%N) with $$KEY >&2; exit 3"]}, "interval": "50ms", "timeout": "5s", "startTimeout": "1s", "failures": 2}});
    let resource = resource(bench.port, "blue", &check);
    bench.configure(&resource).await;
    let request = bench.start_of(&resource, 1, &[], &[("KEY", "hunter2secret")]);
    bench.ask(request).await.expect("started");
    bench.until("it fails", |state| only(state).health == InstanceHealth::Unhealthy).await;
    let why = only(&bench.state).why.clone().expect("a reason");
    let expected = "the health command sh exited with code 3; it last wrote: no database / at ";
    assert!(why.starts_with(expected) && why.ends_with("with ***"), "{why}");
}

#[tokio::test]
async fn an_instance_that_fails_what_it_had_passed_is_sent_no_requests_once_a_wrong_check_is_taken_back() {
    let mut bench = Bench::new().await;
    let hangs = bench.dir().join("hangs");
    let check = |command: serde_json::Value| json!({"health": {"probe": {"command": command}, "interval": "50ms", "timeout": "1s", "startTimeout": "20s", "failures": 2}});
    let good = bench.serving(check(json!(["sh", "-c", format!("! test -e '{}'", hangs.display())]))).await;
    let wrong = resource(bench.port, "blue", &check(json!(["false"])));
    let serves = (200, only(&bench.state).pid.expect("it runs").to_string());
    for dies in [false, true] {
        bench.configure(&wrong).await;
        bench.until("it fails", |state| only(state).health == InstanceHealth::Unhealthy).await;
        assert_eq!(bench.get("/pid"), serves);
        std::fs::write(&hangs, "").expect("it can be written");
        bench.configure(&good).await;
        if dies {
            bench.kill_keeper();
            bench.next_keeper().await;
            bench.until("it is reached", |state| state.address.is_some()).await;
        }
        bench
            .until("its trial ends", |state| only(state).health == InstanceHealth::Unhealthy && !only(state).on_trial)
            .await;
        assert_eq!(bench.get("/pid").0, 503);
        // Nor does another wrong check put it back.
        let since = only(&bench.state).health_since;
        bench.configure(&wrong).await;
        let fails = |state: &State| only(state).health == InstanceHealth::Unhealthy && only(state).health_since > since;
        bench.until("it fails again", fails).await;
        assert_eq!((only(&bench.state).on_trial, bench.get("/pid").0), (false, 503));
        std::fs::remove_file(&hangs).expect("it is there");
        bench.configure(&good).await;
        bench.until("it works again", |state| healthy(state) == 1).await;
        assert_eq!(bench.get("/pid"), serves);
    }
}

#[tokio::test]
async fn a_look_that_another_check_overtakes_shows_nothing_of_that() {
    for (worked, ends) in [(true, "true"), (true, "false"), (false, "true")] {
        let mut bench = Bench::new().await;
        let dir = bench.dir().to_owned();
        let hangs = dir.join("hangs");
        let check = |command: String, failures: u32| json!({"health": {"probe": {"command": ["sh", "-c", command]}, "interval": "50ms", "timeout": "20s", "startTimeout": "20s", "failures": failures}});
        // One that says that it is asked, waits to be let go, and ends so.
        let waits = |name: &str, ends: &str| {
            let file = dir.join(name).display().to_string();
            check(format!("touch '{file}.asked'; until test -e '{file}.go'; do sleep 0.01; done; {ends}"), 1)
        };
        let asked = async |name: &str| {
            let deadline = Instant::now() + PATIENCE;
            while !dir.join(format!("{name}.asked")).exists() {
                assert!(Instant::now() < deadline, "the {name} check is never asked");
                sleep(Duration::from_millis(5)).await;
            }
        };
        bench.serving(check(format!("! test -e '{}'", hangs.display()), 2)).await;
        if !worked {
            std::fs::write(&hangs, "").expect("it can be written");
            bench.until("it hangs", |state| only(state).health == InstanceHealth::Unhealthy).await;
        }
        let serves = if worked { 200 } else { 503 };
        bench.configure(&resource(bench.port, "blue", &waits("first", ends))).await;
        asked("first").await;
        bench.configure(&resource(bench.port, "blue", &waits("second", "true"))).await;
        std::fs::write(dir.join("first.go"), "").expect("it can be written");
        asked("second").await;
        bench.ask(Request::Stats).await.expect("answered");
        let it = only(&bench.state);
        assert_eq!((it.health, it.on_trial), (InstanceHealth::Starting, worked), "{ends}");
        assert_eq!(bench.get("/pid").0, serves, "{ends}");
        std::fs::write(dir.join("second.go"), "").expect("it can be written");
        bench.until("it passes", |state| healthy(state) == 1 && !only(state).on_trial).await;
        assert_eq!(bench.get("/pid").0, 200);
    }
}

#[tokio::test]
async fn a_mended_check_has_its_whole_start_timeout() {
    let mut bench = Bench::new().await;
    let asked = bench.dir().join("asked");
    let check = |command: serde_json::Value| json!({"health": {"probe": {"command": command}, "interval": "50ms", "timeout": "2s", "startTimeout": "2s", "failures": 2}});
    let wrong = resource(bench.port, "blue", &check(json!(["false"])));
    bench.configure(&wrong).await;
    bench.start(&wrong, 1, &[]).await;
    bench.until("it is late", |state| only(state).health == InstanceHealth::Unhealthy).await;
    let since = only(&bench.state).health_since;
    // Passes when it is asked again.
    let script = format!("test -e '{0}' || {{ touch '{0}'; false; }}", asked.display());
    bench.configure(&resource(bench.port, "blue", &check(json!(["sh", "-c", script])))).await;
    let judged = |state: &State| only(state).health != InstanceHealth::Starting && only(state).health_since > since;
    bench.until("it is judged", judged).await;
    assert_eq!(only(&bench.state).health, InstanceHealth::Healthy);
}

#[tokio::test]
async fn an_instance_with_nothing_to_ask_is_looked_at_until_it_is_up_after_a_change_too() {
    let mut bench = Bench::new().await;
    let silent = json!({"command": {"command": ["sleep", "300"]}});
    let passing = json!({
        "probe": {"command": ["true"]}, "interval": "50ms", "timeout": "1s", "startTimeout": "20s", "failures": 2,
    });
    bench.serving(json!({"run": silent, "health": passing})).await;
    bench.configure(&resource(bench.port, "blue", &json!({"run": silent, "health": null}))).await;
    // Not for ever as it was told to be before.
    bench.until("it is judged", |state| only(state).health == InstanceHealth::Unhealthy).await;
    assert!(only(&bench.state).why.as_deref().is_some_and(|why| why.starts_with("connecting to ")));
}

#[tokio::test]
async fn a_changed_protocol_is_a_trial_too() {
    let mut bench = Bench::new().await;
    bench.serving(json!({"health": null})).await;
    let since = only(&bench.state).health_since;
    let tcp = resource(bench.port, "blue", &json!({"health": null, "port": {"number": bench.port, "protocol": "tcp"}}));
    bench.configure(&tcp).await;
    bench.until("it is well again", |state| healthy(state) == 1 && only(state).health_since > since).await;
}

/// The children of a process, zombies too.
fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    text.split_ascii_whitespace().map(|pid| pid.parse().expect("a number")).collect()
}

#[tokio::test]
async fn a_health_command_that_hangs_ends_with_its_instance() {
    let mut bench = Bench::new().await;
    let health = json!({
        "probe": {"command": ["sleep", "300"]}, "interval": "10ms", "timeout": "200s", "startTimeout": "20s", "failures": 2,
    });
    let resource = resource(bench.port, "blue", &json!({"health": health}));
    bench.configure(&resource).await;
    bench.start(&resource, 1, &[]).await;
    for restarts in 0..2 {
        bench.until("it runs", |state| only(state).restarts == restarts && only(state).pid.is_some()).await;
        let deadline = Instant::now() + PATIENCE;
        while children(bench.keeper.id()).len() != 2 {
            assert!(Instant::now() < deadline, "an app and its check: {:?}", children(bench.keeper.id()));
            sleep(Duration::from_millis(5)).await;
        }
        kill(only(&bench.state).pid.expect("it runs"), rustix::process::Signal::KILL);
    }
    bench.stop(instance(&resource, 1)).await;
    bench.until("it is gone", |state| state.instances.is_empty()).await;
    bench.until_childless().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_written_down_is_not_started() {
    let mut bench = Bench::new().await;
    bench.serving(json!({})).await;
    // In the way of the file's next content, as a full disk is.
    let in_the_way = bench.dir().join("keeper.json.new");
    drop(std::fs::remove_file(&in_the_way));
    std::fs::create_dir(&in_the_way).expect("made");
    kill(only(&bench.state).pid.expect("it runs"), rustix::process::Signal::KILL);
    let says = |state: &State| only(state).why.as_ref().is_some_and(|why| why.contains("cannot write its keeper.json"));
    let waits =
        |state: &State| only(state).state == InstanceState::Backoff && only(state).health == InstanceHealth::Unhealthy;
    bench.until("it is told", |state| waits(state) && says(state)).await;
    // What does not run for want of room has not failed; its own end before that has.
    assert_eq!((only(&bench.state).pid, only(&bench.state).restarts), (None, 1));
    bench.until_childless().await;
    std::fs::remove_dir(&in_the_way).expect("removed");
    bench.until("it is back", |state| healthy(state) == 1).await;
}

#[tokio::test]
async fn on_a_full_disk_an_instance_that_ends_is_started_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(_disk) = SmallDisk::new(folder.path(), "4m") else { return skip("no file system can be mounted here") };
    let mut bench = Bench::within(&binary(), tempfile::tempdir_in(folder.path()).expect("a folder")).await;
    bench.serving(json!({})).await;
    // Until not a byte more goes in.
    let filler = std::fs::File::create(folder.path().join("filler")).expect("made");
    while (&filler).write(&[0; 4096]).is_ok_and(|written| written > 0) {}
    for ends in 1..=2 {
        kill(only(&bench.state).pid.expect("it runs"), rustix::process::Signal::KILL);
        bench.until("it is back", |state| only(state).restarts == ends && healthy(state) == 1).await;
    }
    // Also where the keeper ends with it.
    bench.kill_keeper();
    kill(only(&bench.state).pid.expect("it runs"), rustix::process::Signal::KILL);
    bench.next_keeper().await;
    bench.until("it is back", |state| only(state).losses == 1 && healthy(state) == 1).await;
    assert_eq!(bench.get("/COLOR"), (200, "blue".to_owned()));
}

#[tokio::test]
async fn a_disk_that_hangs_stalls_no_request() {
    let mut bench = Bench::new().await;
    let resource = bench.serving(json!({})).await;
    // Opening it to write waits until somebody reads: a disk that takes its time.
    let slow = bench.dir().join("keeper.json.new");
    drop(std::fs::remove_file(&slow));
    rustix::fs::mkfifoat(rustix::fs::CWD, &slow, rustix::fs::Mode::from_raw_mode(0o600)).expect("made");
    let request = bench.start_of(&resource, 2, &[], &[]);
    bench.next += 1;
    bench.writer.send(bench.next, bench.epoch, request.clone()).await.expect("sent");
    for _ in 0..20 {
        assert_eq!(bench.get("/COLOR"), (200, "blue".to_owned()));
    }
    let early = timeout(Duration::from_millis(50), bench.reader.next()).await;
    assert!(early.is_err(), "answered before it was written: {early:?}");
    drop(std::fs::File::open(&slow).expect("it is waited for"));
    let answer = timeout(PATIENCE, bench.reader.next()).await.expect("in time").expect("well formed");
    let Some(FromKeeper::Reply { result: Err(Failure::Retry(why)), .. }) = answer else { panic!("{answer:?}") };
    assert!(why.contains("cannot write its keeper.json"), "{why}");
    std::fs::remove_file(&slow).expect("removed");
    bench.ask(request).await.expect("started");
    bench.until("both serve", |state| healthy(state) == 2).await;
}

#[tokio::test]
async fn under_root_an_instance_has_its_own_user_and_limits() {
    if !rustix::process::geteuid().is_root() {
        return skip("it needs root");
    }
    let mut bench = Bench::new().await;
    let extra = json!({
        "run": {"command": {"command": ["sh", "-c", "id -u; id -g; echo to-dev > /dev/stdout; ulimit -n; exec sleep 300"]}},
        "port": null, "health": null, "resources": {"memory": "64MiB", "cpu": "0.5"},
    });
    let resource = resource(bench.port, "nobody", &extra);
    bench.configure(&resource).await;
    let mut request = bench.start_of(&resource, 1, &[], &[]);
    let group = format!("codeops-test-{}", std::process::id());
    if let Request::Start { setting, .. } = &mut request {
        setting.dir = "/".into();
        setting.user = Some(User { uid: 64_321, gid: 64_322, groups: Vec::new() });
        setting.files = Some(333);
        setting.cgroup = Some(format!("{group}/shop"));
    }
    bench.ask(request).await.expect("started");
    bench.until("it has settled", |state| healthy(state) == 1).await;
    let said = bench.until_log("it has said all", |lines| (lines.len() == 4).then(|| lines.to_vec())).await;
    assert_eq!(said, ["64321", "64322", "to-dev", "333"]);
    let pid = only(&bench.state).pid.expect("it runs");
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let of_processes = limits.lines().find(|line| line.starts_with("Max processes")).expect("it is told");
    assert!(of_processes.split_ascii_whitespace().nth(2).is_some_and(|most| most == "4096"), "{of_processes}");
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let inside = groups.lines().any(|line| line.contains("memory") && line.contains(&group))
        || groups.lines().any(|line| line.starts_with("0::") && line.contains(&group));
    let noted = bench.state.notes.iter().any(|note| note.starts_with("memory limit not enforced"));
    assert!(inside != noted, "in its group or noted, not both: {groups} {:?}", bench.state.notes);
    for (hierarchy, path) in groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')) {
        let limit = Path::new("/sys/fs/cgroup").join(hierarchy).join(&path[1..]).join("pids.max");
        if path.contains(&group) && limit.exists() {
            assert_eq!(std::fs::read_to_string(limit).expect("readable").trim(), "4096");
        }
    }
    assert!(!bench.state.notes.iter().any(|note| note.starts_with("process limit")), "{:?}", bench.state.notes);
    bench.stop(instance(&resource, 1)).await;
    bench.until("it is gone", |state| state.instances.is_empty()).await;
    for (hierarchy, path) in groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')) {
        if path.contains(&group) {
            let app = Path::new("/sys/fs/cgroup").join(hierarchy).join(&path[1..]);
            let app = app.parent().expect("the app's");
            assert!(!app.exists(), "its group is left");
            drop(std::fs::remove_dir(app.parent().expect("the test's")));
        }
    }
}

#[tokio::test]
async fn a_memory_limit_holds_or_is_noted() {
    let mut bench = Bench::new().await;
    let greedy = "head -c 200000000 /dev/zero | tail -c 200000000 > /dev/null; echo ended with $$?; exec sleep 300";
    let extra = json!({
        "run": {"command": {"command": ["sh", "-c", greedy]}},
        "port": null, "health": null, "resources": {"memory": "48MiB"},
    });
    let resource = resource(bench.port, "greedy", &extra);
    bench.configure(&resource).await;
    let mut request = bench.start_of(&resource, 1, &[], &[]);
    let group = format!("codeops-memory-{}", std::process::id());
    if let Request::Start { setting, .. } = &mut request {
        setting.cgroup = Some(format!("{group}/shop"));
    }
    bench.ask(request).await.expect("started");
    // The shell may say `Killed` on its other stream, before or after.
    let ended = |lines: &[String]| lines.iter().find(|line| line.starts_with("ended with")).cloned();
    let end = bench.until_log("it comes to an end", ended).await;
    let killed = end == "ended with 137";
    let noted = bench.state.notes.iter().any(|note| note.starts_with("memory limit not enforced"));
    assert!(killed != noted, "held or noted, not both: {end} {:?}", bench.state.notes);
    if noted {
        skip(&format!("no memory limit can be set here: {:?}", bench.state.notes));
    }
    bench.until("it runs", |state| only(state).pid.is_some()).await;
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", only(&bench.state).pid.expect("it runs")));
    bench.stop(instance(&resource, 1)).await;
    bench.until("it is gone", |state| state.instances.is_empty()).await;
    // What is left is empty.
    for (hierarchy, path) in
        groups.iter().flat_map(|text| text.lines()).filter_map(|l| l.split_once(':')?.1.split_once(':'))
    {
        if let Some((base, _)) = path.split_once(&group) {
            drop(std::fs::remove_dir(format!("/sys/fs/cgroup/{hierarchy}{base}{group}")));
        }
    }
}
