//! From the start of the program to a page that listens and answers.

use std::time::Duration;

use tokio::time::Instant;

use super::daemon::Place;
use super::table::Row;

const TIMES: usize = 11;

pub(crate) fn measure() -> Vec<Row> {
    let apps = (0..50).map(|i| (format!("apps/a{i}.yaml"), sleeper(&format!("a{i}"))));
    let place = Place::with(&apps.collect::<Vec<_>>());
    let mut all = Vec::new();
    for round in 0..=TIMES {
        let begun = Instant::now();
        let daemon = place.start();
        // A bound port takes connections before anybody serves them: what counts is an answer.
        daemon.answer("healthz").unwrap();
        let took = begun.elapsed();
        // The first one makes the store and the mirror; the others find them.
        if round == 0 {
            daemon.until_fine(50);
        } else {
            all.push(took);
        }
    }
    vec![Row::time("start", "start to listening, 50 apps in the store", Duration::from_millis(100), &all)]
}

/// An app that does nothing, without a port.
pub(crate) fn sleeper(name: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: {name}, team: payments}}\nspec:\n  run: {{command: [/bin/sleep, \"86400\"]}}\n"
    )
}
