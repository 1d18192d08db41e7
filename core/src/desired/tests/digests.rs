//! Golden digests. They are never edited: a daemon upgrade restarts nothing.

use super::*;

const SHOP: &str = "  run: {command: [./shop, --port, $PORT]}\n  port: 8080\n  env: {LOG: info, V: 1.10}\n  resources: {cpu: \"0.5\", memory: 256MiB}\n  health: {http: /healthz, interval: 60s}\n";

fn digests(spec: &str) -> (String, String) {
    digests_in(spec, &Context::default())
}

fn digests_in(spec: &str, context: &Context) -> (String, String) {
    let compiled = compile_in(&[("a.yaml", &app("shop", spec))], context);
    let resource = compiled.desired.resources.get(&id("shop")).unwrap_or_else(|| panic!("{}", rendered(&compiled)));
    (resource.spec_digest.to_string(), resource.template_digest.to_string())
}

fn secrets(tag: &str) -> Context {
    let facts = SecretFacts { teams: BTreeSet::from([name("payments")]), tag: Ok(tag.to_owned()) };
    Context { secrets: Some(BTreeMap::from([(name("api-key"), facts)])), ..Context::default() }
}

#[test]
fn an_unreadable_secret_holds_its_users_and_no_others() {
    let why = "the secret `api-key` cannot be read: no such file";
    let facts = SecretFacts { teams: BTreeSet::from([name("payments")]), tag: Err(why.to_owned()) };
    let context = Context { secrets: Some(BTreeMap::from([(name("api-key"), facts)])), ..Context::default() };
    let with = app("shop", "  run: {command: [x]}\n  secrets: {KEY: api-key}\n");
    let without = app("web", "  run: {command: [x]}\n");
    let desired = compile_in(&[("a.yaml", &with), ("b.yaml", &without)], &context).desired;
    assert_eq!(desired.held.get(&id("shop")).map(String::as_str), Some(why));
    assert_eq!(desired.resources.keys().collect::<Vec<_>>(), [&id("web")]);
}

#[test]
fn golden_digests_stay() {
    let cases = [
        ("least", digests("  run: {command: [sleep, 1000]}\n")),
        ("shop", digests(SHOP)),
        ("image", digests("  run: {image: registry.example/shop:1.4.2}\n  replicas: 3\n")),
        (
            "recreate",
            digests("  run: {command: [x]}\n  rollout: {strategy: recreate, bake: 2m}\n  stop: {signal: INT}\n"),
        ),
        (
            "release",
            digests(
                "  run: {command: [x]}\n  release: {command: [y], timeout: 7m}\n  after: [app/shop2]\n"
                    .replace("  after: [app/shop2]\n", "")
                    .as_str(),
            ),
        ),
        ("secret", digests_in("  run: {command: [x]}\n  secrets: {KEY: api-key}\n", &secrets("tag-1"))),
    ];
    let text: Vec<String> =
        cases.iter().map(|(what, (spec, template))| format!("{what}\n  {spec}\n  {template}")).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn the_same_meaning_gives_the_same_digests() {
    let spelled = "  suspend: true\n  health: {failures: 3, interval: 1m, http: /healthz, startTimeout: 60000ms, timeout: 1s}\n  stop: {grace: 10s, signal: TERM}\n  rollout: {unavailable: 0, surge: 1, bake: 30s, onFailure: rollback}\n  bind: 127.0.0.1\n  replicas: 1\n  provider: local\n  resources: {memory: 268435456B, cpu: 500m}\n  env: {V: \"1.10\", LOG: 'info'}\n  port: {protocol: http, number: 8080}\n  run:\n    command:\n      - ./shop\n      - --port\n      - $PORT\n";
    assert_eq!(digests(SHOP), digests(spelled));
}

#[test]
fn the_template_changes_only_with_what_makes_a_new_instance() {
    let (spec, template) = digests(SHOP);
    for (from, to) in [("port: 8080", "port: 8081"), ("interval: 60s", "interval: 5s"), ("env:", "replicas: 2\n  env:")]
    {
        let (other, same) = digests(&SHOP.replace(from, to));
        assert_ne!(other, spec, "{to}");
        assert_eq!(same, template, "{to}");
    }
    for (from, to) in [("info", "debug"), ("256MiB", "128MiB"), ("./shop", "./shop2"), ("  port: 8080\n", "")] {
        let text = SHOP.replace(from, to).replace(", $PORT", if to.is_empty() { "" } else { ", $PORT" });
        let text = if to.is_empty() { text.replace("http: /healthz", "command: [x]") } else { text };
        let (other, changed) = digests(&text);
        assert_ne!(other, spec, "{to}");
        assert_ne!(changed, template, "{to}");
    }
}

#[test]
fn a_secrets_new_value_changes_both_digests_and_tells_nothing() {
    let spec = "  run: {command: [x]}\n  secrets: {KEY: api-key}\n";
    let (first, second) = (digests_in(spec, &secrets("tag-1")), digests_in(spec, &secrets("tag-2")));
    assert_ne!(first.0, second.0);
    assert_ne!(first.1, second.1);
}
