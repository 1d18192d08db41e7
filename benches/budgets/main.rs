//! Every budget of speed and memory against what is measured here and now, as one table.
//!
//! `cargo bench --profile perf --bench budgets` measures all; words after `--` choose rows by name, as the table's last
//! column shows. `thousand` (1,000 real processes) runs only when it is named. Ends with 1 where a budget is not met.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

mod alerts;
mod answer;
mod app;
mod daemon;
mod forward;
mod hook;
mod house;
mod idle;
mod intake;
mod keeper;
mod manifests;
#[path = "../../tests/support/memory_provider.rs"]
#[expect(dead_code, reason = "the provider can do more than benches need")]
mod memory_provider;
mod pass;
mod plain;
mod restart;
mod start;
mod table;

use std::process::ExitCode;

use table::Row;

/// A chapter: its name, and what measures it.
type Chapter = (&'static str, fn() -> Vec<Row>);

const CHAPTERS: [Chapter; 11] = [
    ("start", start::measure),
    ("manifests", manifests::measure),
    ("hook", hook::measure),
    ("alerts", alerts::measure),
    ("answer", answer::measure),
    ("pass", pass::measure),
    ("restart", restart::measure),
    ("keeper", keeper::measure),
    ("forward", forward::measure),
    ("intake", intake::measure),
    ("idle", idle::fifty),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if words.first().is_some_and(|word| word == app::WORD) {
        return app::serve(&words[1..]);
    }
    if words.first().is_some_and(|word| word == intake::WORD) {
        return intake::tell(&words[1..]);
    }
    let mut rows = Vec::new();
    for (name, measure) in CHAPTERS {
        if words.is_empty() || words.iter().any(|word| word == name) {
            codeops::base::complain(format_args!("measuring {name}"));
            rows.extend(measure());
        }
    }
    if words.iter().any(|word| word == "thousand") {
        codeops::base::complain(format_args!("measuring thousand"));
        rows.extend(idle::thousand());
    }
    table::print(&rows);
    if rows.iter().all(|row| row.met() != Some(false)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
