//! What holds of any document of how alerts are answered: it is survived, touches no app, and a good one survives printing.

use proptest::prelude::*;

use super::response::{CHANNELS, PLAYBOOK, ROUTE, TEST, answered};
use super::*;
use crate::model::{Matcher, Playbook, Template};

/// Compiles one odd file in place of a good one, with a compiler that has seen the good one.
fn check(path: &str, bytes: &[u8]) {
    let all = answered(&[]);
    let pairs: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let mut all = files(&pairs);
    let mut compiler = Compiler::default();
    let before = compiler.compile(&all, &Context::default()).desired;
    let content = crate::model::Digest::of(&serde_json::json!(bytes)).to_string();
    all.insert(Arc::from(path), File::new(content, bytes));
    let after = compiler.compile(&all, &Context::default());
    for diagnostic in &after.diagnostics {
        let shown = diagnostic.render(false);
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    }
    assert!(after.has_errors() || after.desired.response.broken.is_empty(), "whatever is broken is said to be");
    let text = String::from_utf8_lossy(bytes);
    if !["App", "Team", "Repository"].iter().any(|kind| text.contains(kind)) {
        assert_eq!(after.desired.resources, before.resources);
    }
}

fn mutated(text: &str, edits: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, byte, how) in edits {
        let at = at % bytes.len();
        match how {
            0 => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            _ => drop(bytes.drain(at..(at + usize::from(byte % 20)).min(bytes.len() - 1).max(at))),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_documents_are_survived(
        which in 0..4usize,
        edits in proptest::collection::vec((any::<usize>(), any::<u8>(), 0..3u8), 1..5),
    ) {
        let (path, text) = [
            ("playbooks/shop-down.yaml", PLAYBOOK),
            ("alerts/people.yaml", CHANNELS),
            ("alerts/routing.yaml", ROUTE),
            ("playbooks/shop-down-test.yaml", TEST),
        ][which];
        check(path, &mutated(text, &edits));
    }

    #[test]
    fn any_matcher_and_template_is_survived(text in "[a-z_=!~\"\\\\{}\\[\\](). '+*|?0-9é]{0,60}") {
        if let Ok(matcher) = text.parse::<Matcher>() {
            prop_assert_eq!(matcher.to_string().parse::<Matcher>(), Ok(matcher));
        }
        if let Ok(template) = Template::try_from(text.clone()) {
            prop_assert_eq!(String::from(template), text);
        }
    }

    #[test]
    fn a_good_playbook_survives_printing(
        names in proptest::collection::btree_set("[a-z][a-z0-9]{0,8}", 1..6),
        labels in proptest::collection::btree_map("[a-z_][a-z0-9_]{0,8}", "[ -#%-z|}~é漢]{0,12}", 1..4),
        millis in 1..1_700_000u64,
        attempts in 1..=10u32,
        join in 0..3usize,
    ) {
        let actions = ["app.restart", "app.replace", "app.rollback", "app.suspend", "app.resume"];
        let steps: Vec<_> = names.iter().enumerate().map(|(at, name)| serde_json::json!({
            "name": name, "action": actions[at % actions.len()], "retry": {"attempts": attempts, "backoff": "1s"},
            "timeout": crate::model::Period::from_millis(millis).to_string(), "onError": "continue",
        })).collect();
        let busy = ["join", "queue", "skip"][join];
        let whole = serde_json::json!({
            "apiVersion": "codeops/v1", "kind": "Playbook", "metadata": {"name": "any", "team": "payments"},
            "spec": {"on": {"alert": labels}, "target": "app/shop", "steps": steps,
                "concurrency": {"whenBusy": busy}},
        });
        let shop = app("shop", "  run: {command: [x]}\n");
        let compiled = compile(&[("apps/shop.yaml", &shop), ("p.yaml", &whole.to_string())]);
        prop_assert!(!compiled.has_errors(), "{}", rendered(&compiled));
        let playbook = &compiled.desired.response.playbooks[&name("any")];
        prop_assert_eq!(playbook.steps.len(), names.len());
        prop_assert_eq!(playbook.steps[0].timeout, Some(crate::model::Period::from_millis(millis)));
        let json = serde_json::to_string(&**playbook).expect("prints");
        let back: Playbook = serde_json::from_str(&json).expect("reads back");
        prop_assert_eq!(&back, &**playbook);
    }
}

#[test]
fn the_fuzz_corpora_of_matchers_and_templates_are_survived() {
    for (corpus, least) in [("matcher", 6), ("template", 6)] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(corpus);
        let mut count = 0;
        for entry in std::fs::read_dir(folder).expect("the corpus is there") {
            let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Ok(matcher) = text.parse::<Matcher>() {
                assert_eq!(matcher.to_string().parse::<Matcher>(), Ok(matcher));
            }
            drop(Template::try_from(text));
            count += 1;
        }
        assert!(count >= least, "only {count} seeds of {corpus}");
    }
}
