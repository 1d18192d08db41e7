//! What is written so as to cost much costs about as much as it is long. Each of the first took minutes before.

use super::*;

#[test]
fn a_long_value_is_read_once_however_often_it_is_named() {
    let mut spec =
        format!("  run: {{command: [x, \"{}\"]}}\n  env:\n    B: \"{}\"\n", "$B".repeat(20_000), "$$".repeat(30_000));
    for number in 0..5 {
        spec += &format!("    V{number}: \"{}\"\n", "$B".repeat(10_000));
    }
    let compiled = compile(&[("a.yaml", &app("shop", &spec))]);
    assert_eq!(rendered(&compiled), "");
    assert!(compiled.desired.resources.contains_key(&id("shop")));
}

#[test]
fn what_was_meant_is_looked_for_so_long_and_no_longer() {
    let told = |name: &str, variables: usize| {
        let known: String = (0..variables).map(|number| format!("    {name}{number:05}: x\n")).collect();
        let wrong: String = (0..5).map(|number| format!("    X{number}: ${name}_{number:05}\n")).collect();
        let found = compile(&[("a.yaml", &app("shop", &format!("  run: {{command: [x]}}\n  env:\n{known}{wrong}")))])
            .diagnostics;
        let hints = found.iter().filter(|found| found.help.as_ref().is_some_and(|help| help.contains("did you mean")));
        (found.len(), hints.count())
    };
    assert_eq!(told("A_VARIABLE", 100), (5, 5));
    let (all, hints) = told(&"A".repeat(90), 5_000);
    assert!(all == 6 && hints <= 1, "each is told, and that they are too large together: {all}, {hints}");
}

#[test]
fn of_references_to_nothing_only_some_are_told_with_what_was_meant() {
    let steps: String = (0..60).map(|step| format!("    - {{name: s{step}, page: {{policy: polcy-1}}}}\n")).collect();
    let playbook = |number: usize| {
        format!(
            "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: p{number}, team: payments}}\nspec:\n  on: {{alert: {{alertname: \
             A{number}}}}}\n  steps:\n{steps}"
        )
    };
    let policy = "apiVersion: codeops/v1\nkind: EscalationPolicy\nmetadata: {name: policy-1, team: payments}\nspec: {levels: [{notify: [receiver/r]}]}\n\
                  ---\napiVersion: codeops/v1\nkind: Receiver\nmetadata: {name: r, team: payments}\nspec: {webhook: {url: https://a.example}}\n";
    let (first, second, third) = (playbook(1), playbook(2), playbook(3));
    let compiled = compile(&[("p.yaml", policy), ("p1.yaml", &first), ("p2.yaml", &second), ("p3.yaml", &third)]);
    let missing: Vec<_> =
        compiled.diagnostics.iter().filter(|found| found.message.contains("no EscalationPolicy")).collect();
    let hints = missing.iter().filter(|found| found.help.as_ref().is_some_and(|help| help.contains("did you mean")));
    assert_eq!((missing.len(), hints.count()), (180, 100), "{:?}", compiled.diagnostics.first());
}
