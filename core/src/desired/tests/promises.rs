//! The promises of the nasty moments that compiling keeps: what is broken holds itself, all else moves on.

use super::*;

const RUN: &str = "  run: {command: [./shop]}\n";

fn declared(pairs: &[(&str, &[&str])]) -> Context {
    let ids = |names: &[&str]| names.iter().map(|name| id(name)).collect();
    let declared = pairs.iter().map(|(path, names)| (Arc::from(*path), Arc::new(ids(names)))).collect();
    Context { declared, ..Context::default() }
}

#[test]
fn one_bad_manifest_among_many_holds_only_itself() {
    let text =
        format!("{}---\n{}---\n{}", app("a", RUN), app("b", "  run: {command: [x]}\n  replicas: {\n"), app("c", RUN));
    let mut context = declared(&[("all.yaml", &["a", "b", "c"]), ("d.yaml", &["d"]), ("gone.yaml", &["gone"])]);
    context.claims = ["a", "b", "c", "d", "gone"].map(|name| (id(name), Claims::default())).into();
    let compiled = compile_in(&[("all.yaml", &text), ("d.yaml", &app("d", RUN))], &context);
    assert_eq!(compiled.desired.resources.keys().cloned().collect::<Vec<_>>(), [id("a"), id("c"), id("d")]);
    assert_eq!(compiled.desired.held.keys().cloned().collect::<Vec<_>>(), [id("b")]);
    assert!(compiled.desired.undeletable.is_empty());
    assert_eq!(*compiled.declared["all.yaml"], BTreeSet::from([id("a"), id("b"), id("c")]));
}

#[test]
fn an_unreadable_file_holds_what_it_last_declared_also_the_next_time() {
    let mut context = declared(&[("x.yaml", &["a", "b"])]);
    context.claims = ["a", "b"].map(|name| (id(name), Claims::default())).into();
    let text = app("a", RUN);
    let pairs = [("x.yaml", text.as_str().to_owned() + "---\n%&!: [\n")];
    let compiled = compile_in(&[("x.yaml", &pairs[0].1)], &context);
    assert!(compiled.desired.resources.contains_key(&id("a")));
    assert!(compiled.desired.held.contains_key(&id("b")), "{:?}", compiled.desired);
    assert_eq!(*compiled.declared["x.yaml"], BTreeSet::from([id("a"), id("b")]));
    assert!(compiled.desired.undeletable.is_empty());

    let binary = compile_in(&[("x.yaml", "\u{0}")], &context);
    assert_eq!(binary.desired.held.len(), 2);
    assert_eq!(binary.declared["x.yaml"].len(), 2);
}

#[test]
fn a_file_that_was_cut_off_anywhere_lets_nothing_go_that_it_declared() {
    let context = declared(&[("x.yaml", &["x1", "x2", "x3", "x4"])]);
    let all = ["x1", "x2", "x3", "x4"].map(|name| {
        format!("apiVersion: codeops/v1\nkind: App\nmetadata:\n  name: {name}\n  team: payments\nspec:\n{RUN}")
    });
    let whole = all.join("---\n");
    let boundary = all[..3].join("---\n").len() + 4;
    for end in all[..2].join("---\n").len() + 6..whole.len() {
        let compiled = compile_in(&[("x.yaml", &whole[..end])], &context);
        let desired = &compiled.desired;
        // Cut off between two documents it is a whole file, and no one can tell.
        let gone = |id: &ResourceId| !desired.resources.contains_key(id) && !desired.held.contains_key(id);
        let let_go: Vec<ResourceId> = ["x1", "x2", "x3", "x4"].map(id).into_iter().filter(gone).collect();
        let readable = !compiled.has_errors();
        assert!(
            let_go.is_empty() || !desired.undeletable.is_empty() || readable,
            "{end}: {let_go:?}\n{}",
            &whole[..end]
        );
        assert!(!readable || end.abs_diff(boundary) <= 8 || end + 8 > whole.len(), "{end}\n{}", &whole[..end]);
    }
    let cut = compile_in(&[("x.yaml", &whole[..whole.find("x3").unwrap() + 4])], &context);
    assert_eq!(cut.desired.held.keys().cloned().collect::<Vec<_>>(), [id("x3"), id("x4")]);
    assert_eq!(cut.declared["x.yaml"].len(), 4, "and the next time too");
}

#[test]
fn a_misspelt_environment_is_named_and_holds_everything() {
    let overlay = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: a}\nspec: {replicas: 2}\n";
    let (app, path) = (app("a", RUN), "environments/prod/a.yaml");
    let compiled = |environment: &str| {
        let context = Context { environment: Some(environment.parse().unwrap()), ..Context::default() };
        compile_in(&[("a.yaml", &app), (path, overlay)], &context)
    };
    let slip = compiled("prdo");
    assert!(rendered(&slip).contains("environments/prdo") && rendered(&slip).contains("did you mean `prod`?"));
    assert!(slip.has_errors() && slip.desired.held.contains_key(&id("a")) && slip.desired.resources.is_empty());
    assert!(!compiled("prod").has_errors());
    let far = compiled("staging");
    assert!(rendered(&far).contains("there is prod; where it has no overlays"), "{}", rendered(&far));
    assert!(!far.has_errors() && far.desired.resources.contains_key(&id("a")), "the base itself is an environment");
    let context = Context { environment: Some("staging".parse().unwrap()), ..Context::default() };
    let none = ("environments/staging/none.yaml", "# It is as the rest says.\n");
    let said = compile_in(&[("a.yaml", &app), (path, overlay), none], &context);
    assert!(said.diagnostics.is_empty(), "one without overlays: {}", rendered(&said));
    // Where nobody has any, nothing is held; whoever misspelt it reads so all the same.
    let pairs = [("codeops.yaml", REPOSITORY), ("teams/payments.yaml", TEAM), ("a.yaml", app.as_str())];
    let told = without_overlays(&files(&pairs), &context).expect("said");
    assert!(told.message.contains("no folder environments/staging"), "{}", told.message);
    let first = compile_in(&[("a.yaml", &app)], &context);
    assert!(!first.has_errors() && first.desired.resources.contains_key(&id("a")), "{}", rendered(&first));
    let some = files(&[("environments/prod/a.yaml", overlay)]);
    assert!(
        [&some, &files(&pairs)].map(|files| without_overlays(files, &Context::default())).iter().all(Option::is_none)
    );
}

#[test]
fn a_misspelt_environment_holds_those_whose_folder_it_is_and_nobody_else() {
    let team = |name: &str| format!("apiVersion: codeops/v1\nkind: Team\nmetadata: {{name: {name}}}\nspec: {{}}\n");
    let own = |name: &str| {
        let paths = vec![format!("{name}/**"), format!("environments/*/{name}/**")];
        (name.parse().unwrap(), TeamSettings { paths, ..TeamSettings::default() })
    };
    let of = |name: &str| app(name, RUN).replace("payments", name);
    let teams = [own("a"), own("b")].into();
    let context = Context { environment: Some("prod".parse().unwrap()), teams, ..Context::default() };
    let all = [
        ("codeops.yaml", format!("{REPOSITORY}---\n{}---\n{}", team("a"), team("b"))),
        ("a/a.yaml", of("a")),
        ("b/b.yaml", of("b")),
        ("environments/prd/b/x.yaml", "# nothing\n".to_owned()),
    ];
    let pairs = all.each_ref().map(|(path, text)| (*path, text.as_str()));
    let compiled = Compiler::default().compile(&files(&pairs), &context);
    let shown = rendered(&compiled);
    assert_eq!(compiled.desired.resources.keys().cloned().collect::<Vec<_>>(), [id("a")], "{shown}");
    let why = &compiled.desired.held[&id("b")];
    assert!(why.contains("and there is environments/prd/b/x.yaml: did you mean `prd`?"), "{why}");
    let mistakes: Vec<_> = compiled.diagnostics.iter().filter(|it| it.severity == Severity::Error).collect();
    assert!(matches!(&*mistakes, [it] if it.team == "b".parse().ok() && &*it.place.file == pairs[3].0), "{shown}");
    assert!(shown.contains("there is prd; where it has no overlays"), "said to the others: {shown}");
}

#[test]
fn what_follows_from_an_unreadable_codeops_yaml_does_not_drown_it() {
    let cut = |text: &str| text.replace("ops}", "ops").replace("payments}", "payments");
    let top = format!("{}---\n{}", cut(REPOSITORY), cut(TEAM));
    let broken = app("broken", "  run: {comand: [x]}\n");
    let (shop, playbook) = (app("shop", RUN), response::PLAYBOOK);
    let all = [
        ("codeops.yaml", &*top),
        ("apps/a.yaml", &shop),
        ("apps/b.yaml", &broken),
        ("playbooks/down.yaml", playbook),
        ("playbooks/scripts/diagnose.sh", "#!/bin/sh\n"),
    ];
    let compiled = Compiler::default().compile(&files(&all), &Context::default());
    let mut told: Vec<&str> = compiled.diagnostics.iter().map(|one| &*one.place.file).collect();
    told.dedup();
    assert_eq!(told, ["apps/b.yaml", "codeops.yaml"], "{}", rendered(&compiled));
    let why = &compiled.desired.held[&id("shop")];
    assert!(why.contains("codeops.yaml:"), "{why}");
}

#[test]
fn while_an_unreadable_files_ids_are_unknown_nothing_is_deleted() {
    let compiled = compile(&[("x.yaml", "\u{0}")]);
    assert!(!compiled.desired.undeletable.is_empty());
    // What it last declared has moved elsewhere, so what it is now about is not known either.
    let moved = compile_in(&[("x.yaml", "\u{0}"), ("y.yaml", &app("a", RUN))], &declared(&[("x.yaml", &["a"])]));
    assert!(!moved.desired.undeletable.is_empty());
    assert!(moved.desired.resources.contains_key(&id("a")));
}

#[test]
fn a_broken_repository_holds_what_resolves_through_it() {
    let own = app("own", "  provider: local\n  run: {command: [x]}\n");
    let broken = REPOSITORY.replace("defaults", "defualts");
    let compiled = compile(&[("codeops.yaml", &broken), ("a.yaml", &own), ("b.yaml", &app("through", RUN))]);
    assert!(compiled.desired.resources.contains_key(&id("own")));
    assert!(compiled.desired.held.contains_key(&id("through")));
    assert!(compiled.desired.owner.is_some());

    let nameless = REPOSITORY.replace("name:", "nmae:");
    let compiled = compile(&[("codeops.yaml", &nameless), ("a.yaml", &own)]);
    assert_eq!(compiled.desired.owner, None);
    assert!(compiled.desired.held.contains_key(&id("own")));
}

#[test]
fn a_broken_team_holds_what_it_owns() {
    let compiled =
        compile(&[("teams/payments.yaml", &TEAM.replace("members", "memmbers")), ("a.yaml", &app("a", RUN))]);
    assert!(compiled.desired.held[&id("a")].contains("payments"));
}

#[test]
fn a_freeze_counts_however_broken_the_rest_is() {
    let freeze = "spec:\n  freeze:\n    what: all\n    reason: bad night\n";
    for rest in ["metadata: {name: acme}\n", "metadata: {nam: x}\n", "metadata: [\n", "%$!\nkind: {\n"] {
        let text = format!("apiVersion: codeops/v1\nkind: Repository\n{rest}{freeze}");
        let compiled = compile(&[("codeops.yaml", &text)]);
        let freeze = compiled.desired.repository.freeze.unwrap_or_else(|| panic!("no freeze after {rest:?}"));
        assert_eq!(freeze.reason, "bad night");
    }
    let beside = REPOSITORY.replace("spec: {", "spec: {freeze: {what: all, reason: bad night}, ") + "---\n- [\n";
    assert!(compile(&[("codeops.yaml", &beside)]).desired.repository.freeze.is_some());
    let text = REPOSITORY.replace("spec: {", "spec: {freeze: {what: everything, reason: bad night}, ");
    let compiled = compile(&[("codeops.yaml", &text)]);
    assert_eq!(compiled.desired.repository.freeze.as_ref().map(|f| f.what), Some(crate::config::FreezeWhat::All));
    assert!(compiled.has_errors());
}

#[test]
fn an_overlay_patches_only_its_own_environment() {
    let base = app("shop", "  run: {command: [./shop]}\n  replicas: 2\n  env: {A: a, B: b}\n");
    let patch =
        "apiVersion: codeops/v1\nkind: App\nmetadata: {name: shop}\nspec: {replicas: 5, env: {A: null, C: c}}\n";
    let bad = patch.replace("replicas: 5", "replicas: many");
    let pairs = [
        ("apps/shop.yaml", base.as_str()),
        ("environments/prod/shop.yaml", patch),
        ("environments/test/shop.yaml", bad.as_str()),
    ];
    let in_environment =
        |environment: &str| compile_in(&pairs, &Context { environment: Some(name(environment)), ..Context::default() });
    let prod = in_environment("prod");
    assert!(!prod.has_errors(), "{}", rendered(&prod));
    assert_eq!(prod.diagnostics.len(), 1, "another environment's mistake is shown as a warning");
    let shop = &prod.desired.resources[&id("shop")];
    assert_eq!(shop.spec.replicas, 5);
    assert_eq!(shop.spec.env.keys().collect::<Vec<_>>(), ["B", "C"]);
    assert_eq!(prod.desired.owner.map(|owner| owner.to_string()).as_deref(), Some("acme-ops/prod"));

    let test = in_environment("test");
    assert!(test.desired.held.contains_key(&id("shop")));
    assert_eq!(test.diagnostics[0].place.to_string(), "environments/test/shop.yaml:4:18");

    let none = compile(&pairs);
    assert!(none.has_errors(), "validate without an environment finds mistakes of all");
    assert_eq!(none.desired.resources[&id("shop")].spec.replicas, 2);
}

#[test]
fn an_unreadable_overlay_holds_what_it_changes() {
    let pairs =
        [("a.yaml", app("a", RUN)), ("b.yaml", app("b", RUN)), ("environments/prod/x.yaml", "\u{0}".to_owned())];
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let prod = |context: Context| compile_in(&pairs, &Context { environment: Some(name("prod")), ..context });
    assert_eq!(prod(Context::default()).desired.held.len(), 2, "it might change any");
    let known = prod(declared(&[("environments/prod/x.yaml", &["a"])]));
    assert!(known.desired.held.contains_key(&id("a")) && known.desired.resources.contains_key(&id("b")));
}

#[test]
fn odd_but_good_files_are_read() {
    let crlf = app("crlf", RUN).replace('\n', "\r\n");
    let bom = format!("\u{feff}{}", app("bom", RUN));
    let empties = format!("---\n---\n# nothing\n---\n{}\n...\n---\n", app("empties", RUN));
    let merged = "x: &x {A: a, B: b}";
    let anchors = app("anchors", "  run: &run {command: [a]}\n  env: &env {A: a}\n");
    let compiled = compile(&[
        ("crlf.yaml", &crlf),
        ("bom.yml", &bom),
        ("empties.yaml", &empties),
        ("empty.yaml", ""),
        ("anchors.yaml", &anchors),
        (".hidden/x.yaml", merged),
        ("readme.md", "[\u{0}"),
    ]);
    assert!(!compiled.has_errors(), "{}", rendered(&compiled));
    assert_eq!(compiled.desired.resources.len(), 4);
    let place = &compiled.desired.resources[&id("empties")].place;
    assert_eq!((place.line, place.column), (5, 1));
}

#[test]
fn order_puts_dependencies_first() {
    let after = |n: &str, other: &str| app(n, &format!("{RUN}  after: [app/{other}]\n"));
    let compiled = compile(&[("1.yaml", &after("a", "b")), ("2.yaml", &after("b", "c")), ("3.yaml", &app("c", RUN))]);
    assert_eq!(order(&compiled.desired.resources), [id("c"), id("b"), id("a")]);
}

#[test]
fn bombs_are_refused_quickly() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..9 {
        let list = vec![format!("*a{}", i - 1); 9].join(", ");
        laughs.push_str(&format!("a{i}: &a{i} [{list}]\n"));
    }
    let deep = "[".repeat(100_000);
    let keys: String = (0..20_000).map(|i| format!("k{i}: v\n")).collect();
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a, ".repeat(1_000));
    let many = "---\na: b\n".repeat(5_000);
    for (what, text) in [
        ("laughs", laughs),
        ("deep", deep),
        ("keys", keys),
        ("long", long),
        ("many", many),
        ("big", "x".repeat(2 << 20)),
    ] {
        let compiled = compile(&[("bomb.yaml", &text)]);
        assert!(compiled.has_errors(), "{what}");
    }
}

#[test]
fn a_second_compile_reads_only_what_changed_and_gives_the_same() {
    let mut compiler = Compiler::default();
    let (a, b, b2) = (app("a", RUN), app("b", RUN), app("b", &format!("{RUN}  replicas: 3\n")));
    let pairs = |b| [("codeops.yaml", REPOSITORY), ("t.yaml", TEAM), ("a.yaml", a.as_str()), ("b.yaml", b)];
    let first = compiler.compile(&files(&pairs(&b)), &Context::default());
    let second = compiler.compile(&files(&pairs(&b2)), &Context::default());
    let fresh = Compiler::default().compile(&files(&pairs(&b2)), &Context::default());
    assert_eq!(second.desired.resources, fresh.desired.resources);
    assert!(Arc::ptr_eq(&first.desired.resources[&id("a")], &second.desired.resources[&id("a")]));
    assert_eq!(second.desired.resources[&id("b")].spec.replicas, 3);
}
