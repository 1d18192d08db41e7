//! Values that can be read and make no sense: no version bakes for most of a year, nothing starts in no memory.

use super::*;

const RUN: &str = "  run: {command: [./shop]}\n";

fn said(spec: &str) -> String {
    rendered(&compile(&[("a.yaml", &app("shop", &format!("{RUN}{spec}")))]))
}

#[test]
fn times_of_an_app_have_a_longest() {
    for (spec, at_most) in [
        ("  rollout: {bake: TIME}\n", "7d"),
        ("  release: {command: [x], timeout: TIME}\n", "7d"),
        ("  health: {command: [x], startTimeout: TIME}\n", "1d"),
        ("  health: {command: [x], interval: TIME}\n", "1h"),
        ("  health: {command: [x], timeout: TIME}\n", "1h"),
        ("  stop: {grace: TIME}\n", "1d"),
    ] {
        assert_eq!(said(&spec.replace("TIME", at_most)), "", "{spec}");
        let text = said(&spec.replace("TIME", "300d"));
        assert!(text.contains(&format!("expected a duration of at most {at_most}, found 300d")), "{spec}: {text}");
        assert!(text.contains("--> a.yaml:6:"), "{text}");
    }
    let late = REPOSITORY.replace("local}", "local}, resolveDelay: 300d");
    let text = rendered(&compile(&[("codeops.yaml", &late)]));
    assert!(text.contains("expected a duration of at most 1d, found 300d"), "{text}");
}

#[test]
fn an_app_is_limited_to_no_less_memory_than_anything_needs() {
    for little in ["0MiB", "0B", "512KiB", "1MB"] {
        let text = said(&format!("  resources: {{memory: {little}}}\n"));
        assert!(text.contains("expected at least 1MiB of memory"), "{little}: {text}");
    }
    assert_eq!(said("  resources: {memory: 1MiB}\n"), "");
}

#[test]
fn an_environment_is_no_larger_than_can_be_given_to_a_program() {
    let value = |letter: &str, bytes: usize| letter.repeat(bytes);
    assert_eq!(said(&format!("  env: {{A: {}, B: {}}}\n", value("x", 131_069), value("x", 130_000))), "");
    let text = said(&format!("  env: {{A: b, LONG: {}}}\n", value("x", 131_072)));
    assert!(text.contains("the variable `LONG` has 131078 bytes, and 128 KiB is the most"), "{text:.300}");
    assert!(text.contains("--> a.yaml:6:21") && text.contains("from a file"), "{text}");
    for all in [
        format!("  env: {{A: {0}, B: {0}, C: {0}, D: d}}\n", value("x", 90_000)),
        // A character that JSON escapes is as long as it is sent.
        format!("  env: {{A: \"{0}\", C: c, D: d}}\n", value("\\n", 131_069)),
        format!("  env: {{A: \"{0}\", C: c, D: d}}\n", value("\\x01", 44_000)),
    ] {
        let text = said(&all);
        assert_eq!(text.matches("`env` has more than 256 KiB").count(), 1, "{text:.300}");
        assert!(text.contains("--> a.yaml:6:"), "{text:.300}");
    }
}

#[test]
fn an_empty_expression_is_told_what_it_should_be() {
    for empty in ["''", "' '"] {
        let playbook = format!(
            "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: p, team: payments}}\nspec:\n  on: {{alert: {{alertname: A}}}}\n  \
             steps:\n    - {{name: s, wait: {{for: 1s}}, if: {empty}}}\n"
        );
        let text = rendered(&compile(&[("p.yaml", &playbook)]));
        assert!(text.contains("expected an expression that is true or false, found nothing"), "{text}");
        assert!(text.contains("--> p.yaml:7:") && text.contains("such as `target.health"), "{text}");
    }
}

/// The steps of one environment are written in an overlay, those of another in another.
#[test]
fn a_condition_stands_where_the_environment_has_it() {
    let steps = |line: &str| {
        format!(
            "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: p}}\nspec:\n{line}  steps: [{{name: s, if: 'a'}}]\n"
        )
    };
    let files = files(&[
        ("environments/prod/p.yaml", &steps("  #\n")),
        ("environments/test/p.yaml", &steps("  #\n  #\n")),
        (
            "environments/zero/p.yaml",
            "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {name: p}\nspec: {limits: {timeout: 5m}}\n",
        ),
        ("p.yaml", &steps("")),
    ]);
    for (environment, place) in [
        (None, "p.yaml:5:25"),
        (Some("prod"), "environments/prod/p.yaml:6:25"),
        (Some("test"), "environments/test/p.yaml:7:25"),
        (Some("zero"), "p.yaml:5:25"),
        (Some("none"), "p.yaml:5:25"),
    ] {
        let environment = environment.and_then(|name| name.parse().ok());
        let found = condition_at(&files, environment.as_ref(), &name("p"), crate::model::Part::Steps, 0);
        assert_eq!(found.map(|place| place.to_string()).as_deref(), Some(place), "{environment:?}");
    }
}
