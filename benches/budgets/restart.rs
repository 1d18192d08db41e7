//! A killed instance's replacement listens again: by how much later than the program itself needs to start.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use tokio::time::Instant;

use super::app;
use super::daemon::{self, Place, until_listening};
use super::table::{Row, quantile};

/// One kill an app: the second exit within a minute waits on purpose.
const APPS: usize = 20;

pub(crate) fn measure() -> Vec<Row> {
    let own: Vec<Duration> = (0..APPS).map(|_| own_start()).collect();
    let name = |i: usize| format!("a{i}");
    let ports: Vec<u16> = (0..APPS).map(|_| daemon::free_port()).collect();
    let apps = (0..APPS).map(|i| (format!("apps/a{i}.yaml"), manifest(&name(i), ports[i], 0)));
    let place = Place::with(&apps.collect::<Vec<_>>());
    let running = place.start();
    running.until_fine(APPS);
    let mut again = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let (pid, _) = running.instance(&name(i)).unwrap();
        let begun = Instant::now();
        daemon::kill(pid);
        // Until the dead one's socket is gone a connection would still be taken, and then reset. The next one has another
        // port of its own: it is asked for at the stable one, as clients do.
        while std::fs::read_link(format!("/proc/{pid}/exe")).is_ok() {
            std::hint::spin_loop();
        }
        until_answering(*port);
        again.push(begun.elapsed());
    }
    let over: Vec<Duration> = again.iter().map(|took| took.saturating_sub(quantile(&own, 0.5))).collect();
    let what = "killed instance answers again at its stable port, above the program's own start";
    vec![
        Row::time("restart", what, Duration::from_millis(10), &over),
        Row::told("restart", "… the program's own start", format!("{:.1} ms", quantile(&own, 0.5).as_secs_f64() * 1e3)),
    ]
}

/// Waits until the stable port answers with an instance's own answer.
pub(crate) fn until_answering(port: u16) {
    let answered = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    while !answered().unwrap_or(false) {
        std::hint::spin_loop();
    }
}

fn own_start() -> Duration {
    let port = daemon::free_port();
    let begun = Instant::now();
    let mut command = daemon::program(std::env::current_exe().unwrap());
    let mut child = command.args([app::WORD, &port.to_string(), "0"]).stdin(Stdio::null()).spawn().unwrap();
    until_listening(port);
    let took = begun.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    took
}

/// The app of this binary, working so many microseconds a request.
pub(crate) fn manifest(name: &str, port: u16, micros: u32) -> String {
    let exe = std::env::current_exe().unwrap();
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: {name}, team: payments}}\nspec:\n  run: {{command: [\"{}\", {}, $PORT, \"{micros}\"]}}\n  port: {{number: {port}, protocol: http}}\n  health: {{tcp: true}}\n",
        exe.display(),
        app::WORD,
    )
}
