//! What holds for any bytes: no panic, one outcome for each id, nobody else touched; and manifests survive printing.

use proptest::prelude::*;

use super::*;

const GOOD: &str = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: shop, team: payments, was: [old], adopt: true}\nspec:\n  provider: local\n  run:\n    command: [./shop, --port, $PORT]\n    artifact: {url: https://builds.example/shop.tar.gz, sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}\n  release: {command: [./shop, migrate], timeout: 5m}\n  replicas: 2\n  port: {number: 8080, protocol: http}\n  env: &e {LOG: info}\n  secrets: {API_KEY: shop-api-key}\n  after: [app/auth]\n  resources: {cpu: \"0.5\", memory: 256MiB}\n  health: {http: /healthz, interval: 2s}\n  rollout: {strategy: rolling, surge: 1, bake: 2m}\n";

/// Compiles one odd file beside good ones and checks what must hold whatever it is.
fn check(bytes: &[u8]) {
    let lone = app("lone", "  run: {command: [x]}\n");
    let mut all = files(&[("codeops.yaml", REPOSITORY), ("teams/payments.yaml", TEAM), ("z.yaml", &lone)]);
    let before = Compiler::default().compile(&all, &Context::default());
    let content = crate::model::Digest::of(&serde_json::json!(bytes)).to_string();
    all.insert(Arc::from("odd.yaml"), File::new(content, bytes));
    let after = Compiler::default().compile(&all, &Context::default());
    for diagnostic in &after.diagnostics {
        let shown = diagnostic.render(false);
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    }
    let both = after.desired.resources.keys().find(|id| after.desired.held.contains_key(id));
    assert_eq!(both, None, "an id is either resolved or held");
    let declared = String::from_utf8_lossy(bytes);
    if !declared.contains("lone") && !declared.contains("Team") && !declared.contains("Repository") {
        assert_eq!(after.desired.resources.get(&id("lone")), before.desired.resources.get(&id("lone")));
        assert_eq!(after.desired.owner, before.desired.owner);
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = parse_settings("daemon.yaml", &text);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes);
    }

    #[test]
    fn any_yaml_like_text_is_survived(text in "[-:{}\\[\\],&*!|>'\"%@`#?~<a-z0-9 \n\t]{0,300}") {
        check(text.as_bytes());
    }

    #[test]
    fn mutated_manifests_are_survived(edits in proptest::collection::vec((0..GOOD.len(), any::<u8>(), 0..3u8), 1..6)) {
        let mut bytes = GOOD.as_bytes().to_vec();
        for (at, byte, how) in edits {
            let at = at.min(bytes.len() - 1);
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.drain(at..(at + usize::from(byte % 20)).min(bytes.len() - 1))),
            }
        }
        check(&bytes);
    }

    #[test]
    fn a_spec_survives_printing(
        replicas in 0..50u32,
        port in proptest::option::of(1..=65_535u16),
        words in proptest::collection::vec("[ -#%-~]{1,12}", 1..4),
        env in proptest::collection::btree_map("[A-EG-Z][A-Z]{5,9}", "[ -#%-~é漢]{0,12}", 0..4),
        interval in 1..100_000u64,
        memory in 1..1u64 << 40,
    ) {
        let mut spec = serde_json::json!({
            "run": {"command": words}, "replicas": replicas, "env": env,
            "health": {"command": ["x"], "interval": crate::model::Period::from_millis(interval).to_string()},
            "resources": {"memory": crate::model::Bytes(memory).to_string()},
        });
        if let Some(port) = port {
            spec["port"] = port.into();
        }
        // JSON is YAML; keys come out sorted, which must not matter.
        let compiled = compile(&[("a.yaml", &app("shop", &format!("  {spec}\n")))]);
        prop_assert!(!compiled.has_errors(), "{}", rendered(&compiled));
        let resource = &compiled.desired.resources[&id("shop")];
        prop_assert_eq!(resource.spec.replicas, replicas);
        prop_assert_eq!(&resource.spec.env, &env);
        prop_assert_eq!(&resource.spec.resources.memory, &Some(crate::model::Bytes(memory)));
        let json = serde_json::to_string(&**resource).expect("prints");
        let back: Resource = serde_json::from_str(&json).expect("reads back");
        prop_assert_eq!(&back, &**resource);
    }
}

#[test]
fn the_fuzz_corpus_is_survived() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/manifest");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus is there") {
        check(&std::fs::read(entry.expect("an entry").path()).expect("a file"));
        count += 1;
    }
    assert!(count >= 5, "only {count} seeds");
}
