//! What the manual tells people to write into Alertmanager's and Prometheus's files is taken by their own checkers.

use std::fs;
use std::process::Stdio;

use super::world::{installed, program};
use crate::support::skip::skip;

const MANUAL: &str = include_str!("../../../docs/operations.md");

/// The block of the manual whose first line is `# NAME`.
fn block(name: &str) -> &'static str {
    let blocks = MANUAL.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let found: Vec<&str> = blocks.filter(|block| block.starts_with(&format!("# {name}"))).collect();
    assert_eq!(found.len(), 1, "docs/operations.md has one block for {name}");
    found[0]
}

/// Runs a checker; `FILE` in its words is where the block is.
fn is_taken(checker: &str, words: &[&str], name: &str) {
    if !installed(checker) {
        return skip(&format!(
            "{checker} is missing; install prometheus and prometheus-alertmanager to check the manual"
        ));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, said) = (folder.path().join(name), folder.path().join("said"));
    fs::write(&file, block(name)).expect("our own folder");
    let words: Vec<String> = words.iter().map(|word| word.replace("FILE", &file.display().to_string())).collect();
    let log = Stdio::from(fs::File::create(&said).expect("our own folder"));
    let ended = program(checker, &words, log).wait().expect("it runs");
    assert!(ended.success(), "{name}: {}", fs::read_to_string(&said).unwrap_or_default());
}

#[test]
fn the_manuals_alertmanager_route_is_taken_by_amtool() {
    is_taken("amtool", &["check-config", "FILE"], "alertmanager.yml");
    // codeops hears of everything; people hear from Alertmanager itself only of codeops.
    for (alert, receivers) in
        [("AppDown", "codeops"), ("Watchdog", "codeops,watchdog"), ("CodeopsDown", "codeops,people")]
    {
        let (receivers, alert) = (format!("--verify.receivers={receivers}"), format!("alertname={alert}"));
        let words = ["config", "routes", "test", "--config.file=FILE", &receivers, &alert];
        is_taken("amtool", &words, "alertmanager.yml");
    }
}

#[test]
fn the_manuals_rules_are_taken_by_promtool() {
    is_taken("promtool", &["check", "rules", "FILE"], "rules.yml");
}
