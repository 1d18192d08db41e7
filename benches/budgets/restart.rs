//! A killed instance's replacement listens again: by how much later than the program itself needs to start.

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
    let apps = (0..APPS).map(|i| (format!("apps/a{i}.yaml"), manifest(&name(i), daemon::free_port(), 0)));
    let place = Place::with(&apps.collect::<Vec<_>>());
    let running = place.start();
    running.until_fine(APPS);
    let mut again = Vec::new();
    for i in 0..APPS {
        let (pid, port) = running.instance(&name(i)).unwrap();
        let begun = Instant::now();
        daemon::kill(pid);
        // Until the dead one's socket is gone a connection would still be taken, and then reset.
        while std::fs::read_link(format!("/proc/{pid}/exe")).is_ok() {
            std::hint::spin_loop();
        }
        until_listening(port);
        again.push(begun.elapsed());
    }
    let over: Vec<Duration> = again.iter().map(|took| took.saturating_sub(quantile(&own, 0.5))).collect();
    let what = "killed instance listens again, above the program's own start";
    vec![
        Row::time("restart", what, Duration::from_millis(10), &over),
        Row::told("restart", "… the program's own start", format!("{:.1} ms", quantile(&own, 0.5).as_secs_f64() * 1e3)),
    ]
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
