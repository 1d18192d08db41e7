//! The hooks address over real connections: requests as the forges send them, and as attackers would.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use codeops::hooks::{HookLimits, Hooks, Meaning, authenticate, serve};
use codeops::port::{Clock, SystemClock};
use codeops_core::model::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[path = "../../fuzz/fuzz_targets/hook_request.rs"]
mod hook_request;
#[path = "../../fuzz/fuzz_targets/signature.rs"]
mod signature;

const SECRET: &str = "It's a Secret to Everybody";

/// A running hooks address that counts the looks it asked for.
struct Edge {
    address: SocketAddr,
    looks: Arc<AtomicUsize>,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

impl Edge {
    async fn start(limits: HookLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let looks = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&looks);
        let hooks = Hooks {
            git_secret: Secret::new(SECRET.to_owned()),
            fetch_now: Box::new(move || {
                counter.fetch_add(1, Ordering::SeqCst);
            }),
            alerts: None,
            clock: Arc::new(SystemClock),
            limits,
        };
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, hooks, cancel.clone()));
        Self { address, looks, cancel, tasks }
    }

    fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    /// Posts a push hook and gives status and whole answer.
    async fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut request = format!("POST /hooks/git HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        self.raw(&[request.as_bytes(), body].concat()).await
    }

    /// A real push, told from others by its number.
    async fn push(&self, number: u32) -> (u16, String) {
        let body = format!("{{\"push\": {number}}}").into_bytes();
        let signature = format!("sha256={}", sign(&[&body]));
        self.post(&[("X-GitHub-Event", "push"), ("X-Hub-Signature-256", &signature)], &body).await
    }

    /// A real push of so many bytes by a sender that waits for its answer, as forges do.
    async fn patient(&self, number: u32, size: usize) -> (u16, String) {
        let body = format!("{{\"push\": {number}, \"commits\": \"{}\"}}", "c".repeat(size)).into_bytes();
        let signature = sign(&[&body]);
        let head = format!(
            "POST /hooks/git HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: push\r\nX-Hub-Signature-256: sha256={signature}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default(), answer)
    }

    /// Sends bytes, then nothing more, and gives what comes back.
    async fn raw(&self, bytes: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        // A server that refuses early may stop reading.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        (status, answer)
    }

    /// Ends it; everything must drain.
    async fn stop(mut self) {
        self.cancel.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it drains");
    }
}

/// Whoever tries a hook by hand is told first whether the secret is right.
#[tokio::test]
async fn a_secret_is_checked_before_the_event_is_missed() {
    let edge = Edge::start(HookLimits::default()).await;
    let hub = format!("sha256={}", sign(&[b"{}"]));
    let cases: [(&str, &str, u16, &str); 6] = [
        ("X-Gitlab-Token", "wrong", 401, "X-Gitlab-Token is not the secret"),
        ("X-Gitlab-Token", SECRET, 400, "no header says what happened"),
        ("X-Hub-Signature-256", "sha256=00", 401, "the signature is not 64 hex digits"),
        ("X-Hub-Signature-256", &hub, 400, "no header says what happened"),
        ("X-Hub-Signature", &hub, 400, "no header says what happened"),
        ("X-Other", "x", 401, "no header of a known forge"),
    ];
    for (header, value, status, told) in cases {
        let (answered, text) = edge.post(&[(header, value)], b"{}").await;
        assert!(answered == status && text.contains(told), "{header}: {text}");
    }
    assert_eq!(edge.looks(), 0);
    edge.stop().await;
}

fn sign(parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    parts.iter().for_each(|part| mac.update(part));
    hex::encode(mac.finalize().into_bytes())
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hooks").join(name)).expect("a fixture")
}

/// A forge's name, its headers and its body.
type Sent = (&'static str, Vec<(&'static str, String)>, Vec<u8>);

/// Headers and body as each forge sends them.
fn forges() -> Vec<Sent> {
    let github = fixture("github-push.json");
    let gitea = fixture("gitea-push.json");
    let gitlab = fixture("gitlab-push.json");
    let bitbucket = fixture("bitbucket-push.json");
    let text = str::to_owned;
    let hub = |body: &[u8]| format!("sha256={}", sign(&[body]));
    vec![
        (
            "GitHub",
            vec![
                ("User-Agent", text("GitHub-Hookshot/b5f6e1f")),
                ("Content-Type", text("application/json")),
                ("X-GitHub-Delivery", text("72d3162e-cc78-11e3-81ab-4c9367dc0958")),
                ("X-GitHub-Event", text("push")),
                ("X-GitHub-Hook-ID", text("292430182")),
                ("X-Hub-Signature", text("sha1=7d38cdd689735b008b3c702edd92eea23791c5f6")),
                ("X-Hub-Signature-256", hub(&github)),
            ],
            github,
        ),
        (
            "Gitea",
            vec![
                ("X-Gitea-Delivery", text("f6266f16-1bf3-46a5-9ea4-602e06ead473")),
                ("X-Gitea-Event", text("push")),
                ("X-Gitea-Signature", sign(&[&gitea])),
                ("X-GitHub-Delivery", text("f6266f16-1bf3-46a5-9ea4-602e06ead473")),
                ("X-GitHub-Event", text("push")),
                ("X-Gogs-Event", text("push")),
                ("X-Gogs-Signature", sign(&[&gitea])),
                ("X-Hub-Signature-256", hub(&gitea)),
            ],
            gitea,
        ),
        (
            "GitLab",
            vec![
                ("User-Agent", text("GitLab/17.5.0")),
                ("Idempotency-Key", text("f5e5f430-f57b-4e6e-9fac-d9128cd7232f")),
                ("X-Gitlab-Event", text("Push Hook")),
                ("X-Gitlab-Webhook-UUID", text("1368aa37-fd3f-4d5a-8b8a-0b1d5f7a2b0e")),
                ("X-Gitlab-Event-UUID", text("13792a34-cac6-4fda-95a8-c58e00a3954e")),
                ("X-Gitlab-Token", text(SECRET)),
            ],
            gitlab,
        ),
        (
            "Bitbucket Cloud",
            vec![
                ("X-Event-Key", text("repo:push")),
                ("X-Hook-UUID", text("{1a9a2ec3-6bd1-4f7c-9e7f-2d6d2a0f1f4f}")),
                ("X-Request-UUID", text("9a6e7e2f-2a3f-4bb0-9a1e-6e0f5a1c0a11")),
                ("X-Hub-Signature", hub(&bitbucket)),
            ],
            bitbucket.clone(),
        ),
        (
            "Bitbucket Data Center",
            vec![
                ("X-Event-Key", text("repo:refs_changed")),
                ("X-Request-Id", text("0a1b2c3d")),
                ("X-Hub-Signature", hub(&[&bitbucket[..], b" "].concat())),
            ],
            [&bitbucket[..], b" "].concat(),
        ),
    ]
}

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[tokio::test]
async fn every_forge_is_understood_once_per_delivery() {
    let edge = Edge::start(HookLimits::default()).await;
    for (number, (forge, headers, body)) in forges().iter().enumerate() {
        let (status, answer) = edge.post(&borrowed(headers), body).await;
        assert_eq!((status, edge.looks()), (202, number + 1), "{forge}: {answer}");
        let (status, answer) = edge.post(&borrowed(headers), body).await;
        assert_eq!((status, edge.looks()), (200, number + 1), "{forge}, replayed: {answer}");
        assert!(answer.contains("duplicate"), "{forge}: {answer}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_replay_under_another_delivery_id_is_a_duplicate_too() {
    let edge = Edge::start(HookLimits::default()).await;
    let (_, headers, body) = &forges()[0];
    let mut headers = borrowed(headers);
    edge.post(&headers, body).await;
    for header in &mut headers {
        if header.0 == "X-GitHub-Delivery" {
            header.1 = "another";
        }
    }
    assert!(edge.post(&headers, body).await.1.contains("duplicate"));
    assert_eq!(edge.looks(), 1);
    edge.stop().await;
}

#[tokio::test]
async fn forged_requests_are_refused_whoever_they_claim_to_be() {
    let edge = Edge::start(HookLimits::default()).await;
    for (forge, headers, body) in &forges() {
        // Another body under the same signature; a token proves no body, so for GitLab the token is changed below.
        if *forge != "GitLab" {
            let (status, answer) = edge.post(&borrowed(headers), &[&body[..], b"x"].concat()).await;
            assert_eq!(status, 401, "{forge}: {answer}");
            assert!(answer.contains("application/problem+json") && !answer.contains(SECRET), "{answer}");
        }
        let proof = |name: &str| name.contains("Signature") || name.contains("Token");
        for change in ["", "x", &"0".repeat(64), &format!("sha256={}", "0".repeat(64)), "sha1=00"] {
            let changed: Vec<_> =
                borrowed(headers).into_iter().map(|(n, v)| (n, if proof(n) { change } else { v })).collect();
            assert_eq!(edge.post(&changed, body).await.0, 401, "{forge} with `{change}`");
        }
        let bare: Vec<_> = borrowed(headers).into_iter().filter(|(name, _)| !proof(name)).collect();
        assert_eq!(edge.post(&bare, body).await.0, 401, "{forge} without a proof");
        let twice: Vec<_> =
            borrowed(headers).into_iter().flat_map(|h| if proof(h.0) { vec![h, h] } else { vec![h] }).collect();
        assert_eq!(edge.post(&twice, body).await.0, 401, "{forge} with two proofs");
    }
    assert_eq!(edge.post(&[], b"{}").await.0, 401);
    assert_eq!(edge.looks(), 0);
    edge.stop().await;
}

#[tokio::test]
async fn gitea_is_not_taken_for_github() {
    let edge = Edge::start(HookLimits::default()).await;
    let body = fixture("gitea-push.json");
    let hub = format!("sha256={}", sign(&[&body]));
    // Without a secret Gitea sends an empty signature; GitHub's header beside it proves nothing about it.
    let headers = [
        ("X-Gitea-Event", "push"),
        ("X-Gitea-Signature", ""),
        ("X-GitHub-Event", "push"),
        ("X-Hub-Signature-256", hub.as_str()),
    ];
    assert_eq!(edge.post(&headers, &body).await.0, 401);
    edge.stop().await;
}

#[tokio::test]
async fn pings_and_other_events_are_answered_and_ask_for_nothing() {
    let edge = Edge::start(HookLimits::default()).await;
    let body = fixture("github-ping.json");
    let hub = format!("sha256={}", sign(&[&body]));
    let ping = [("X-GitHub-Event", "ping"), ("X-Hub-Signature-256", hub.as_str())];
    let (status, answer) = edge.post(&ping, &body).await;
    assert!(status == 200 && answer.contains("pong"), "{answer}");
    let hub = format!("sha256={}", sign(&[b"{}"]));
    let (status, answer) = edge.post(&[("X-GitHub-Event", "issues"), ("X-Hub-Signature-256", &hub)], b"{}").await;
    assert!(status == 200 && answer.contains("ignored"), "{answer}");
    assert_eq!(edge.looks(), 0);
    edge.stop().await;
}

#[tokio::test]
async fn a_generic_hook_is_signed_with_its_time() {
    let edge = Edge::start(HookLimits::default()).await;
    let post = async |seconds: i64, body: &[u8]| {
        let timestamp = (SystemClock.now().as_second() + seconds).to_string();
        let signature = format!("sha256={}", sign(&[timestamp.as_bytes(), b".", body]));
        edge.post(&[("X-Codeops-Timestamp", &timestamp), ("X-Codeops-Signature", &signature)], body).await.0
    };
    assert_eq!(post(0, b"").await, 202);
    assert_eq!(post(-290, b"any body").await, 202);
    assert_eq!((post(-310, b"").await, post(310, b"").await), (401, 401));
    let signature = format!("sha256={}", sign(&[b"", b".", b""]));
    assert_eq!(edge.post(&[("X-Codeops-Signature", &signature)], b"").await.0, 401, "the time is not optional");
    assert_eq!(edge.looks(), 2);
    edge.stop().await;
}

#[tokio::test]
async fn what_is_too_big_cut_short_or_odd_is_refused_before_it_is_read() {
    let edge = Edge::start(HookLimits { body_time: Duration::from_millis(200), ..HookLimits::default() }).await;
    let github = ("X-GitHub-Event", "push");
    let (status, answer) = edge.post(&[github], &vec![b'x'; (1 << 20) + 1]).await;
    assert_eq!(status, 413, "{answer}");
    let mut chunked =
        b"POST /hooks/git HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: push\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..17 {
        chunked.extend(b"10000\r\n");
        chunked.extend(vec![b'x'; 0x10000]);
        chunked.extend(b"\r\n");
    }
    assert_eq!(edge.raw(&chunked).await.0, 413, "a length that is not told");

    let head = "POST /hooks/git HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: push\r\nContent-Length: 100\r\n\r\nshort";
    let mut stream = TcpStream::connect(edge.address).await.expect("it listens");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answered");
    assert!(answer.starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&answer));

    for (request, status) in [
        ("GET /hooks/git", 405),
        ("OPTIONS /hooks/git", 405),
        ("DELETE /hooks/git", 405),
        ("GET /", 404),
        ("POST /hooks/git/../x", 404),
        ("GET /healthz", 200),
    ] {
        let (got, answer) = edge.raw(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        assert_eq!(got, status, "{request}: {answer}");
        assert!(status == 200 || answer.contains("application/problem+json"), "{answer}");
    }
    assert_ne!(edge.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.0, 200);
    assert_eq!(edge.looks(), 0);
    edge.stop().await;
}

#[tokio::test]
async fn slow_bodies_of_strangers_keep_no_real_hook_out() {
    let limits = HookLimits { body_time: Duration::from_secs(60), ..HookLimits::default() };
    let edge = Edge::start(limits).await;
    let head = "POST /hooks/git HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: push\r\nContent-Length: 100\r\n\r\nslow";
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(edge.address).await.expect("it listens");
        stream.write_all(head.as_bytes()).await.expect("sent");
        slow.push(stream);
    }
    // Answered one after the other: whatever was sent before has been taken in.
    for number in 0..3 {
        let (status, answer) = edge.push(number).await;
        assert_eq!(status, 202, "{answer}");
    }
    assert_eq!(edge.looks(), 3);
    drop(slow);
    edge.stop().await;
}

/// Who has sent half a body and makes room for a newer connection of the same address is told to come again, and a delivery that
/// is whole is answered whatever else that address has open.
#[tokio::test]
async fn a_half_sent_body_that_makes_room_is_told_to_come_again() {
    let edge = Edge::start(HookLimits { body_time: Duration::from_secs(600), ..HookLimits::default() }).await;
    let half = b"POST /hooks/git HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: push\r\nContent-Length: 4096\r\n\r\n{\"a\":";
    let mut stalled = Vec::new();
    for _ in 0..65 {
        let mut stream = TcpStream::connect(edge.address).await.expect("it listens");
        stream.write_all(half).await.expect("sent");
        stalled.push(stream);
    }
    assert_eq!(edge.patient(1, 10).await.0, 202, "a newer one gets through");
    let mut answer = String::new();
    stalled[0].read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.to_lowercase().contains("retry-after: 1"), "{answer}");
    drop(stalled);
    edge.stop().await;
}

/// Half of a body of 1 MiB each, more than there is room for: a real hook finds room, a small one and a big one.
#[tokio::test]
async fn big_bodies_of_strangers_keep_no_real_hook_out() {
    let limits = HookLimits { body_time: Duration::from_secs(60), ..HookLimits::default() };
    let edge = Edge::start(limits).await;
    let head = "POST /hooks/git HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: push\r\nContent-Length: 1048576\r\n\r\n";
    let half = [head.as_bytes(), &[b'x'; 700 << 10]].concat();
    let mut strangers = Vec::new();
    for number in 0..30 {
        let mut stream = TcpStream::connect(edge.address).await.expect("it listens");
        // One that has to make room for the next is told so, and may be closed before it has sent all.
        let _ = stream.write_all(&half).await;
        strangers.push(stream);
        let (status, answer) = edge.patient(number, 1 << 10).await;
        assert_eq!(status, 202, "small, beside {} strangers: {answer}", strangers.len());
    }
    let (status, answer) = edge.patient(30, 900 << 10).await;
    assert_eq!(status, 202, "big: {answer}");
    drop(strangers);
    edge.stop().await;
}

#[tokio::test]
async fn overload_is_503_with_a_time_to_come_again() {
    let edge = Edge::start(HookLimits { burst: 2, per_second: 0, ..HookLimits::default() }).await;
    let mut answers = Vec::new();
    for number in 0..3 {
        answers.push(edge.push(number).await);
    }
    assert_eq!(answers.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [202, 202, 503]);
    let (_, answer) = answers.pop().expect("three");
    assert!(answer.to_ascii_lowercase().contains("retry-after: 1"), "{answer}");
    assert_eq!(edge.push(2).await.0, 503, "and it was not called a duplicate when it was not taken");
    assert_eq!(edge.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.0, 200);
    edge.stop().await;
}

/// Nothing comes back of the rate here, so each turn that a stranger could take would be missed.
#[tokio::test]
async fn a_flood_of_strangers_and_replays_keeps_no_real_hook_out() {
    let edge = Edge::start(HookLimits { burst: 2, per_second: 0, ..HookLimits::default() }).await;
    let guess = format!("sha256={}", "0".repeat(64));
    for _ in 0..50 {
        let (status, answer) = edge.post(&[("X-GitHub-Event", "push"), ("X-Hub-Signature-256", &guess)], b"{}").await;
        assert_eq!(status, 401, "{answer}");
    }
    assert_eq!(edge.push(0).await.0, 202);
    for _ in 0..50 {
        let (status, answer) = edge.push(0).await;
        assert!(status == 200 && answer.contains("duplicate"), "{answer}");
    }
    assert_eq!(edge.push(1).await.0, 202);
    assert_eq!(edge.looks(), 2);
    edge.stop().await;
}

#[test]
fn the_published_examples_verify() {
    let headers = |pairs: &[(&'static str, &str)]| {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        pairs.iter().map(pair).collect::<HeaderMap>()
    };
    let now = Timestamp::from_second(1_614_265_330).expect("a time");
    let check = |pairs: &[(&'static str, &str)], body: &[u8], secret: &str| {
        authenticate(&headers(pairs), body, secret, now).expect("authentic").meaning
    };
    let github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let push = [("x-github-event", "push"), ("x-hub-signature-256", github)];
    assert_eq!(check(&push, b"Hello, World!", SECRET), Meaning::Push);
    let bitbucket = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9";
    let push = [("x-event-key", "repo:push"), ("x-hub-signature", bitbucket)];
    assert_eq!(check(&push, b"Hello World!", SECRET), Meaning::Push);
    let standard = [
        ("x-gitlab-event", "Push Hook"),
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    assert_eq!(check(&standard, br#"{"test": 2432232314}"#, secret), Meaning::Push);
    let later = Timestamp::from_second(1_614_265_330 + 301).expect("a time");
    assert!(authenticate(&headers(&standard), br#"{"test": 2432232314}"#, secret, later).is_err());
}

#[test]
fn the_fuzz_corpora_hold() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, check) in
        [("hook_requests", hook_request::never_authentic as fn(&[u8])), ("signatures", signature::never_signed)]
    {
        let inputs: Vec<_> = fs::read_dir(corpus.join(name)).expect("a corpus").flatten().collect();
        assert!(inputs.len() > 5, "{name}");
        for input in inputs {
            let bytes = fs::read(input.path()).expect("readable");
            (0..=bytes.len()).for_each(|end| check(&bytes[..end]));
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_request_without_the_secret_is_authentic(
        name in "(X-GitHub-Event|X-Gitea-Event|X-Gitlab-Event|X-Event-Key|X-Codeops-Timestamp)",
        proof in "(X-Hub-Signature-256|X-Gitea-Signature|X-Gitlab-Token|X-Hub-Signature|webhook-signature|X-Codeops-Signature)",
        value in "(sha256=|v1,|)[ -~]{0,80}",
        body in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
    ) {
        let head = format!("{name}: push\n{proof}: {value}\nwebhook-id: 1\nwebhook-timestamp: 0\n\n");
        hook_request::never_authentic(&[head.as_bytes(), &body].concat());
    }
}
