//! Servers on loopback that take what effects send: HTTP with answers of the test's own, and mail.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// `POST /path HTTP/1.1` and the header lines.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

impl Taken {
    /// The path with its query.
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }
}

/// What a server does with a request.
pub(crate) enum Reply {
    /// Answers: status and headers, then the body.
    Answer(String, Vec<u8>),
    /// Says nothing and keeps the connection open.
    Silence,
    /// Closes the connection without an answer.
    Cut,
}

impl Reply {
    /// An answer of this status with this body.
    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self::Answer(format!("{status} As-Told\r\n"), body.as_bytes().to_vec())
    }

    /// A redirect.
    pub(crate) fn redirect(status: u16, to: &str) -> Self {
        Self::Answer(format!("{status} Moved\r\nLocation: {to}\r\n"), Vec::new())
    }
}

/// An HTTP server; ends when it is dropped.
pub(crate) struct HttpSink {
    /// Where it listens on 127.0.0.1.
    pub(crate) port: u16,
    taken: Arc<Mutex<Vec<Taken>>>,
    _tasks: JoinSet<()>,
}

impl HttpSink {
    /// Serves what `reply` says.
    pub(crate) async fn serve(reply: impl Fn(&Taken) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let taken: Arc<Mutex<Vec<Taken>>> = Arc::default();
        let (log, reply) = (Arc::clone(&taken), Arc::new(reply));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, Arc::clone(&log), Arc::clone(&reply)));
            }
        });
        Self { port, taken, _tasks: tasks }
    }

    /// A URL of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// All requests so far.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(
    stream: TcpStream,
    log: Arc<Mutex<Vec<Taken>>>,
    reply: Arc<impl Fn(&Taken) -> Reply + Send + Sync + 'static>,
) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let mut taken = Taken { head, body: String::new() };
    let length = taken.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    taken.body = String::from_utf8_lossy(&body).into_owned();
    log.lock().unwrap_or_else(PoisonError::into_inner).push(taken.clone());
    match reply(&taken) {
        Reply::Answer(head, body) => {
            let head = format!("HTTP/1.1 {head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // Who asked may have heard enough.
            let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
        }
        Reply::Silence => std::future::pending().await,
        Reply::Cut => {}
    }
}

/// A mail server that knows enough SMTP for one message a connection; ends when it is dropped.
pub(crate) struct MailSink {
    /// Where it listens on 127.0.0.1.
    pub(crate) port: u16,
    taken: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl MailSink {
    /// Takes mail for all but `refused`; asks for `AUTH PLAIN` first when `login` says so.
    pub(crate) async fn serve(refused: &'static str, login: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let taken: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&taken);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                mail(stream, &log, refused, login).await;
            }
        });
        Self { port, taken, _tasks: tasks }
    }

    /// What each connection said, a line each.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn mail(stream: TcpStream, log: &Mutex<Vec<String>>, refused: &str, login: bool) {
    let mut stream = BufReader::new(stream);
    let mut said = String::new();
    let mut data = false;
    let _ = stream.write_all(b"220 sink\r\n").await;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            break;
        }
        said.push_str(&line);
        let word = line.split([' ', '\r']).next().unwrap_or_default().to_ascii_uppercase();
        let reply = match word.as_str() {
            "." if data => {
                data = false;
                "250 taken as 42"
            }
            _ if data => continue,
            "EHLO" if login => "250-sink\r\n250 AUTH PLAIN",
            "EHLO" => "250 sink",
            "AUTH" => "235 come in",
            "RCPT" if line.contains(refused) => "550 no such user",
            "DATA" => {
                data = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        if stream.write_all(format!("{reply}\r\n").as_bytes()).await.is_err() || word == "QUIT" {
            break;
        }
    }
    log.lock().unwrap_or_else(PoisonError::into_inner).push(said);
}
