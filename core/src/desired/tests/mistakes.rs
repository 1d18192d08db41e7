//! Every kind of mistake as it is shown: place, line, what was expected, nearest name.

use std::fmt::Write as _;

use super::*;

const RUN: &str = "  run: {command: [./shop]}\n";

/// A spec with a good `run` and these lines beside it.
fn with(lines: &str) -> String {
    app("shop", &format!("{RUN}{lines}"))
}

#[test]
fn an_encrypted_file_is_refused_by_name_and_variables_are_named_once() {
    let shop = |more: &str| app("shop", &format!("  run: {{command: [x, $HOME]}}\n{more}"));
    let file = rendered(&compile(&[("a.yaml", &shop("  secrets: {KEY: {file: x.enc}}\n"))]));
    assert!(file.contains("encrypted files are not built in this version"), "{file}");
    let known = rendered(&compile(&[("a.yaml", &shop("  env: {PATH: /bin}\n"))]));
    assert!(known.contains("the app has `PATH`, `APP`, `INSTANCE` and `STATE_DIRECTORY`;"), "{known}");
    let known = rendered(&compile(&[("a.yaml", &shop("  port: 8080\n"))]));
    assert!(known.contains("the app has `APP`, `HOST`, `INSTANCE`, `PORT`, `PATH` and `STATE_DIRECTORY`;"), "{known}");
}

#[test]
fn a_secret_in_the_place_of_its_name_is_not_shown() {
    let header =
        |value: &str| answered_with(&format!("http: {{url: 'https://h/', secretHeaders: {{Authorization: {value}}}}}"));
    for told in [
        rendered(&compile(&[("a.yaml", &with("  secrets: {KEY: Bearer HUNTER}\n"))])),
        rendered(&compile(&[("a.yaml", &with("  secrets: {KEY: {value: HUNTER}}\n"))])),
        rendered(&compile(&[("a.yaml", &with("  secrets:\n    KEY: {value: HUNTER}\n"))])),
        header("Bearer HUNTER"),
        header("{value: HUNTER}"),
    ] {
        assert!(told.contains("expected the name of a secret, found a "), "{told}");
        assert!(told.contains(": ") && !told.contains("HUNTER"), "{told}");
    }
}

/// What is told of a playbook with this step.
fn answered_with(step: &str) -> String {
    let playbook = answering::step(step);
    rendered(&response::compile_answered(&[("playbooks/shop-down.yaml", &playbook)], &Context::default()))
}

#[test]
fn mistakes_in_one_app_are_shown_where_they_stand() {
    let cases = [
        ("unknown field", with("  replicsa: 2\n")),
        ("unknown field, nothing near", with("  colour: red\n")),
        ("unknown nested field", with("  health: {http: /, intervall: 2s}\n  port: 80\n")),
        ("duplicate key", with("  replicas: 1\n  replicas: 2\n")),
        ("quoted number", with("  replicas: \"2\"\n")),
        ("bad duration", with("  rollout: {bake: 2 minutes}\n")),
        ("zero duration", with("  release: {command: [x], timeout: 0s}\n")),
        ("bad size", with("  resources: {memory: 256M, cpu: fast}\n")),
        ("bad port", with("  port: 70000\n")),
        ("bad port in a mapping", with("  port: {number: 0, protocol: htp}\n")),
        ("bad address", with("  bind: localhost\n")),
        ("bad path", with("  port: 80\n  health: {http: healthz}\n")),
        ("two probes", with("  port: 80\n  health: {http: /, command: [x]}\n")),
        ("probe without port", with("  health: {http: /healthz}\n")),
        ("command as text", app("shop", "  run: {command: ./shop --port 80}\n")),
        ("empty command", app("shop", "  run: {command: []}\n")),
        ("command and image", app("shop", "  run: {command: [x], image: y}\n")),
        ("no run", app("shop", "  replicas: 1\n")),
        ("bad artifact", app("shop", "  run: {command: [x], artifact: {url: ftp://x/y, sha256: 9f86}}\n")),
        ("boolean as text", with("  env: {DEBUG: true}\n")),
        ("bad variable name", with("  env: {a-b: x, PORT: 1}\n")),
        ("unknown variable", app("shop", "  run: {command: [x, $PROT, $5]}\n  port: 80\n")),
        ("port variable without port", app("shop", "  run: {command: [x, $PORT]}\n")),
        ("secret in an argument", app("shop", "  run: {command: [x, $KEY]}\n  secrets: {KEY: api-key}\n")),
        ("secret in a variable", with("  env: {URL: \"x:$KEY\"}\n  secrets: {KEY: api-key}\n")),
        ("nested variables", with("  env: {A: $B, B: $C, C: x}\n")),
        ("nothing could move", with("  rollout: {surge: 0}\n")),
        ("surge with recreate", with("  rollout: {strategy: recreate, surge: 2}\n")),
        ("unknown signal", with("  stop: {signal: KILL}\n")),
        ("service not built", with("  uses: [{service: shop-db, as: DATABASE}]\n  after: [service/shop-db]\n")),
        ("unknown dependency", with("  after: [app/shpo]\n")),
        ("itself", with("  after: [app/shop]\n")),
        ("tag", with("  env: {A: !!int 5, B: !foo x}\n")),
        ("map as key", with("  env: {? {a: b} : c}\n")),
        ("list instead of mapping", app("shop", "  - run\n")),
        ("unclosed", with("  env: {A: [x\n")),
        ("tab", with("\tenv: {}\n")),
        ("unknown alias", with("  env: *base\n")),
        (
            "team missing",
            "apiVersion: codeops/v1\nkind: App\nmetadata: {name: shop}\nspec:\n  run: {command: [x]}\n".into(),
        ),
        ("bad name", "apiVersion: codeops/v1\nkind: App\nmetadata: {name: Shop_1, team: payments}\nspec: {}\n".into()),
        ("unknown team", with("").replace("payments", "paymnets")),
        ("unknown kind", with("").replace("kind: App", "kind: Ap")),
        ("kind not built", with("").replace("kind: App", "kind: Service")),
        ("version", with("").replace("codeops/v1", "codeops/v2")),
        ("no version", "name: something else\n".into()),
        ("sops", with("").replace("spec:", "sops: {mac: x}\nspec:")),
        ("a long line", with(&format!("  env: {{A: {}, 9: x}}\n", "y".repeat(300)))),
        ("control characters", with("  env: {A: \"\u{9b}31m\", \u{202e}: x}\n")),
        ("binary", with("  env: {A: \u{0}}\n")),
        ("wide characters", with("  env: {A: 漢字, 漢: y}\n")),
    ];
    let mut text = String::new();
    for (what, manifest) in cases {
        let compiled = compile(&[("apps/shop.yaml", &manifest)]);
        assert!(compiled.has_errors(), "{what} is not found");
        assert!(compiled.desired.resources.is_empty(), "{what} is used all the same");
        writeln!(text, "## {what}\n\n{}\n", rendered(&compiled)).expect("writes");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn mistakes_between_manifests_name_both_places() {
    let three = |after: [&str; 3]| {
        ["a", "b", "c"]
            .iter()
            .zip(after)
            .map(|(n, after)| app(n, &format!("{RUN}  after: [app/{after}]\n---\n")))
            .collect()
    };
    let port = |name: &str, bind: &str| app(name, &format!("{RUN}  port: 8080\n  bind: {bind}\n"));
    let was = |n: &str, old: &str| with("").replace("name: shop", &format!("name: {n}, was: [{old}]"));
    let cases: [(&str, Vec<(&str, String)>); 9] = [
        ("duplicate id", vec![("a.yaml", with("")), ("b.yaml", with(""))]),
        ("cycle", vec![("all.yaml", three(["b", "c", "a"]))]),
        ("port taken", vec![("a.yaml", port("a", "127.0.0.1")), ("b.yaml", port("b", "0.0.0.0"))]),
        ("former name declared", vec![("a.yaml", app("old", RUN)), ("b.yaml", was("new", "old"))]),
        ("former name claimed twice", vec![("a.yaml", was("new", "old")), ("b.yaml", was("newer", "old"))]),
        ("no repository", vec![("codeops.yaml", String::new())]),
        ("two repositories", vec![("more.yaml", REPOSITORY.replace("acme-ops", "acme"))]),
        (
            "no provider",
            vec![("codeops.yaml", REPOSITORY.replace("{defaults: {provider: local}}", "{}")), ("a.yaml", with(""))],
        ),
        (
            "overlay",
            vec![
                ("a.yaml", with("")),
                ("environments/prod/shop.yaml", with("  replicsa: 3\n").replace("name: shop", "name: shopp")),
                ("environments/x.yaml", with("")),
            ],
        ),
    ];
    let mut text = String::new();
    for (what, manifests) in cases {
        let pairs: Vec<(&str, &str)> = manifests.iter().map(|(path, text)| (*path, text.as_str())).collect();
        writeln!(text, "## {what}\n\n{}\n", rendered(&compile(&pairs))).expect("writes");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn all_mistakes_of_a_file_are_found_in_one_run() {
    let text = with("  replicas: x\n  port: y\n  colour: z\n  after: [nonsense, app/gone]\n");
    let compiled =
        compile(&[("apps/shop.yaml", &text), ("other.yaml", "- 1\n---\nkind: App\n"), ("third.yaml", "\u{1}")]);
    let places: Vec<String> = compiled.diagnostics.iter().map(|d| d.place.to_string()).collect();
    let expected = [
        "apps/shop.yaml:6:13",
        "apps/shop.yaml:7:9",
        "apps/shop.yaml:8:3",
        "apps/shop.yaml:9:11",
        "apps/shop.yaml:9:21",
        "other.yaml:1:1",
        "other.yaml:3:1",
        "other.yaml:3:1",
        "other.yaml:3:1",
        "third.yaml:1:1",
    ];
    assert_eq!(places, expected);
    let line = compiled.diagnostics[0].to_string();
    assert_eq!(line, "apps/shop.yaml:6:13: error: expected a whole number from 0 to 1000, found the text `x`");
}

#[test]
fn why_something_is_held_says_what_to_do_as_well() {
    let route = "apiVersion: codeops/v1\nkind: AlertRoute\nmetadata: {name: main, team: payments}\n\
        spec: {route: {polici: x}}\n";
    let compiled = compile(&[("apps/shop.yaml", &with("  replicsa: 2\n")), ("a.yaml", route)]);
    let held = &compiled.desired.held[&"app/shop".parse().expect("an id")];
    assert!(held.contains("unknown field `replicsa`") && held.contains("did you mean `replicas`?"), "{held}");
    let broken = &compiled.desired.response.broken["AlertRoute/main"];
    assert!(broken.contains("did you mean `policy`?"), "{broken}");
}

#[test]
fn one_mistake_hides_no_other() {
    let twice = app("shop", "  run: {comand: [./shop]}\n  port: 70000\n  port: 80\n");
    let newer = app("auth", "  run: {comand: [./auth]}\n  port: 70000\n").replace("codeops/v1", "codeops/v9");
    let second = app("pay", "  run: {comand: [./pay]}\n  port: 70000\n");
    let headless = "apiVersion: codeops/v1\nkind: App\n";
    let pairs = [
        ("a.yaml", &twice),
        ("b.yaml", &newer),
        ("c.yaml", &app("pay", RUN)),
        ("d.yaml", &second),
        ("e.yaml", &headless.to_owned()),
    ];
    let pairs = pairs.map(|(path, text)| (path, text.as_str()));
    let compiled = compile(&pairs);
    let of = |file: &str| -> Vec<String> {
        let mine = compiled.diagnostics.iter().filter(|d| &*d.place.file == file);
        mine.map(|d| d.message.clone()).collect()
    };
    let wrong = ["unknown field `comand` in run", "expected a whole number from 1 to 65535, found the number `70000`"];
    for (file, first) in [
        ("a.yaml", "the key `port` is given twice"),
        ("b.yaml", "unknown apiVersion `codeops/v9`"),
        ("d.yaml", "App `pay` is declared twice"),
    ] {
        let found = of(file);
        for expected in [first].iter().chain(&wrong) {
            assert_eq!(found.iter().filter(|found| *found == *expected).count(), 1, "{file}: {expected} in {found:#?}");
        }
        assert_eq!(found.len(), 3, "{file}: {found:#?}");
    }
    assert_eq!(of("e.yaml"), ["a manifest needs `metadata`", "kind App needs `spec`"]);
}

#[test]
fn a_misspelt_command_hides_no_bad_artifact_and_two_probes_no_bad_path() {
    let run = "  run: {comand: [./shop], artifact: {url: \"ftp://x/y\", sha256: abc}}\n  port: 80\n";
    let told = rendered(&compile(&[("a.yaml", &app("shop", run))]));
    assert!(told.contains("`comand`") && told.contains("ftp://") && told.contains("sha256"), "{told}");
    assert!(!told.contains("run needs"), "{told}");
    let probes = format!("{RUN}  port: 80\n  health: {{http: healthz, tcp: true}}\n");
    let told = rendered(&compile(&[("a.yaml", &app("shop", &probes))]));
    assert!(told.contains("health has one probe") && told.contains("`healthz` is not a path to probe"), "{told}");
}

#[test]
fn what_every_instance_is_given_may_be_named_and_nothing_is_said_twice() {
    let run = "  run: {command: [./shop, --dir, $STATE_DIRECTORY]}\n  env: {WHERE: \"${STATE_DIRECTORY}:$PATH\"}\n";
    let compiled = compile(&[("a.yaml", &app("shop", run))]);
    assert!(!compiled.has_errors(), "{}", rendered(&compiled));
    let both = compile(&[("a.yaml", &app("shop", &format!("{RUN}  env: {{KEY: a}}\n  secrets: {{KEY: shop-key}}\n")))]);
    assert!(rendered(&both).contains("`KEY` is in `env` as well"), "{}", rendered(&both));
    assert!(both.desired.held.contains_key(&id("shop")));
}

#[test]
fn the_settings_limit_what_a_team_can_claim_and_use() {
    let other = TEAM.replace("payments", "platform");
    let auth = app("auth", RUN).replace("payments", "platform");
    let shop = app(
        "shop",
        "  provider: edge\n  run: {image: x}\n  secrets: {A: shop-key, B: api-key, C: shop-kye}\n  after: [app/auth]\n",
    );
    let patch = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: auth, team: payments}\nspec: {replicas: 2}\n";
    let pairs = [
        ("teams/platform.yaml", other.as_str()),
        ("apps/auth.yaml", &auth),
        ("apps/shop.yaml", &shop),
        ("apps/elsewhere.yaml", &app("elsewhere", "  provider: lcoal\n  run: {command: [x]}\n")),
        ("environments/prod/auth.yaml", patch),
    ];
    let facts = |images| ProviderFacts { word: "process", commands: true, images, host_ports: true };
    let granted = |team| SecretFacts { teams: BTreeSet::from([name(team)]), tag: Ok("t".to_owned()) };
    let team = |paths: &[&str], allow: &[&str]| TeamSettings {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        allow: allow.iter().map(|team| name(team)).collect(),
        ..TeamSettings::default()
    };
    let mut context = Context {
        environment: Some(name("prod")),
        providers: Some(BTreeMap::from([(name("local"), facts(false)), (name("edge"), facts(false))])),
        secrets: Some(BTreeMap::from([
            (name("shop-key"), granted("payments")),
            (name("api-key"), granted("platform")),
        ])),
        teams: BTreeMap::from([
            (name("payments"), team(&["apps/shop*", "environments/**"], &[])),
            (name("platform"), team(&["apps/auth.yaml", "environments/prod/*"], &[])),
        ]),
        ..Context::default()
    };
    let compiled = compile_in(&pairs, &context);
    insta::assert_snapshot!(rendered(&compiled));
    assert_eq!(compiled.desired.held.keys().cloned().collect::<Vec<_>>(), [id("elsewhere"), id("shop")]);
    assert_eq!(compiled.desired.resources[&id("auth")].spec.replicas, 1, "the overlay has no effect");

    context.teams.insert(name("platform"), team(&["apps/auth.yaml"], &["payments"]));
    let compiled = compile_in(&pairs, &context);
    assert_eq!(compiled.desired.resources[&id("auth")].spec.replicas, 2, "an allowed team may patch");
}
