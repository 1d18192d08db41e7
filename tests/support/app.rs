//! A small web server that the tests run as an app: the test binary itself, started again with `TEST_APP` set. It answers
//! on `$PORT` and does what its path says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// The command that starts it as an app.
pub(crate) fn command() -> Vec<String> {
    let this = std::env::current_exe().expect("the test binary has a path").display().to_string();
    [this.as_str(), "--exact", "keeper::the_app", "--nocapture"].map(str::to_owned).to_vec()
}

/// What a test binary started as [`command`] says does; nothing in an ordinary run.
pub(crate) fn main_if_asked() {
    #[expect(clippy::disallowed_methods, reason = "this is the app, and its environment is its input")]
    let variable = |name: &str| std::env::var(name).ok();
    match variable("TEST_APP").as_deref() {
        None => return,
        Some("crash") => std::process::abort(),
        Some(_) => {}
    }
    let port: u16 = variable("PORT").and_then(|port| port.parse().ok()).expect("an app has a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("its port is free");
    let raw = variable("TEST_APP").as_deref() == Some("raw");
    for stream in listener.incoming().flatten() {
        let variables = ["INSTANCE", "KEY", "COLOR", "FAULT"].map(|name| (name, variable(name)));
        std::thread::spawn(move || if raw { echo(stream) } else { serve(stream, &variables) });
    }
}

/// What an ill instance answers where its metrics are asked for.
const ILL: &str = "ill, as the file says\n";

/// One metric, unless the file that `FAULT` names says `all` or holds this process's id: what a restart heals, and what not.
fn metrics(variables: &[(&str, Option<String>)]) -> String {
    let file = variables.iter().find(|(name, _)| *name == "FAULT").and_then(|(_, file)| file.as_ref());
    let ill = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    let ill = ill == "all" || ill == std::process::id().to_string();
    if ill { ILL.to_owned() } else { "app_fine 1\n".to_owned() }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(read) = stream.read(&mut buffer) {
        if read == 0 || stream.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

fn serve(stream: TcpStream, variables: &[(&str, Option<String>)]) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        let mut forwarded = String::new();
        let mut upgrade = false;
        let (mut length, mut framing) = (0, Vec::new());
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 {
                return;
            }
            let lower = header.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("x-forwarded-for:") {
                forwarded = value.trim().to_owned();
            }
            upgrade |= lower.starts_with("upgrade:");
            if lower.starts_with("content-length:") || lower.starts_with("transfer-encoding:") {
                length =
                    lower.trim().strip_prefix("content-length:").and_then(|told| told.trim().parse().ok()).unwrap_or(0);
                framing.push(lower.trim().to_owned());
            }
            if header == "\r\n" {
                break;
            }
        }
        if upgrade {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
            drop(writer.write_all(head.as_bytes()));
            return echo(writer);
        }
        if path == "/framing" {
            // Its body stays unread, so the connection is no good afterwards.
            let body = framing.join(" and ");
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            drop(writer.write_all((head + &body).as_bytes()));
            return;
        }
        if path == "/upload" {
            println!("an upload begins");
            let took = std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink());
            if took.ok() != Some(length) {
                return;
            }
        }
        let body = match path.as_str() {
            "/pid" => std::process::id().to_string(),
            "/forwarded" => forwarded,
            "/crash" => std::process::abort(),
            "/work" => {
                // 200 microseconds of a request's work.
                std::thread::sleep(Duration::from_micros(200));
                "work".to_owned()
            }
            "/metrics" => metrics(variables),
            "/slow" => {
                println!("asked for what is slow");
                std::thread::sleep(Duration::from_millis(600));
                "slow".to_owned()
            }
            path => match path.strip_prefix("/print/") {
                Some(text) => {
                    println!("{text}");
                    "printed".to_owned()
                }
                None => {
                    let name = path.trim_start_matches('/');
                    let known = variables.iter().find(|(known, _)| *known == name);
                    known.and_then(|(_, value)| value.clone()).unwrap_or_else(|| "ok".to_owned())
                }
            },
        };
        let status = if body == ILL { "503 Service Unavailable" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
