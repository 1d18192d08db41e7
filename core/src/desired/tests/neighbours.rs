//! Whatever a team writes in its own paths, what another team has compiles to the same.

use proptest::prelude::*;

use super::hidden::{Past, apart, repository, with as changed};
use super::*;

const SHOP: &str = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: shop, team: a, was: [oldshop]}\nspec:\n  run: {command: [./shop]}\n  port: 8080\n";

pub(super) fn team(name: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: Team\nmetadata: {{name: {name}}}\nspec: {{members: [{name}@acme.example]}}\n"
    )
}

pub(super) fn app_of(team: &str, name: &str, metadata: &str, spec: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: {name}, team: {team}{metadata}}}\nspec:\n  run: {{command: [./x]}}\n{spec}"
    )
}

/// Team a's files, and what b had beside them: an app that a's comes after.
pub(super) fn before() -> BTreeMap<String, String> {
    let back = app_of("a", "back", "", "  port: 8081\n  after: [app/shop, app/base]\n");
    [
        ("codeops.yaml", REPOSITORY.to_owned()),
        ("teams/a.yaml", team("a")),
        ("teams/b.yaml", team("b")),
        ("apps/a/shop.yaml", SHOP.to_owned()),
        ("apps/a/back.yaml", back),
        ("apps/b/base.yaml", app_of("b", "base", "", "  port: 9090\n")),
        ("environments/prod/apps/a/shop.yaml", overlay("shop", "", "2")),
    ]
    .map(|(path, text)| (path.to_owned(), text))
    .into()
}

fn overlay(name: &str, team: &str, replicas: &str) -> String {
    format!("apiVersion: codeops/v1\nkind: App\nmetadata: {{name: {name}{team}}}\nspec: {{replicas: {replicas}}}\n")
}

pub(super) fn settings() -> Context {
    let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    let a = paths(&["teams/a.yaml", "apps/a/**", "environments/prod/apps/a/**"]);
    let b = paths(&["teams/b.yaml", "apps/b/**", "environments/prod/apps/b/**"]);
    let team = |paths, allow: &[&str]| TeamSettings {
        paths,
        allow: allow.iter().map(|team| name(team)).collect(),
        ..TeamSettings::default()
    };
    let teams = [(name("a"), team(a, &[])), (name("b"), team(b, &["a"]))].into();
    Context { teams, environment: Some(name("prod")), ..Context::default() }
}

pub(super) fn run(all: &BTreeMap<String, String>, context: &Context) -> Compiled {
    let pairs: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    Compiler::default().compile(&files(&pairs), context)
}

/// What is remembered once a revision was accepted.
pub(super) fn accepted(compiled: &Compiled) -> Context {
    let claims = compiled.desired.resources.iter().map(|(id, resource)| (id.clone(), Claims::of(resource, true)));
    Context { declared: Declared::clone(&compiled.declared), claims: claims.collect(), ..settings() }
}

/// Compiles team b's files beside those that were there, twice, as the second revision remembers the first; and holds that
/// team a's are what they were.
fn with(extra: &[(&str, &str)]) -> Result<Compiled, TestCaseError> {
    let mut all = before();
    let first = run(&all, &settings());
    assert!(!first.has_errors(), "{}", rendered(&first));
    all.extend(extra.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
    let second = run(&all, &accepted(&first));
    let mut context = accepted(&second);
    // What a revision cannot describe keeps what it had.
    context.claims.extend(accepted(&first).claims.into_iter().filter(|(id, _)| second.desired.held.contains_key(id)));
    let third = run(&all, &context);
    for compiled in [&second, &third] {
        for id in [id("shop"), id("back")] {
            let (now, was) = (compiled.desired.resources.get(&id), first.desired.resources.get(&id));
            prop_assert_eq!(now, was, "{}: {:?}", rendered(compiled), compiled.desired.held);
        }
        prop_assert_eq!(&compiled.desired.teams[&name("a")], &first.desired.teams[&name("a")]);
        prop_assert_eq!(&compiled.desired.owner, &first.desired.owner);
        prop_assert_eq!(&compiled.desired.repository, &first.desired.repository);
        let blamed = compiled.diagnostics.iter().find(|d| {
            ["apps/a/", "teams/a", "environments/prod/apps/a/"].iter().any(|own| d.place.file.starts_with(own))
        });
        prop_assert!(blamed.is_none(), "{}", rendered(compiled));
    }
    Ok(second)
}

fn refused(extra: &[(&str, &str)], said: &str, held: &[&str]) {
    let compiled = with(extra).unwrap_or_else(|error| panic!("{extra:?}: {error}"));
    assert!(rendered(&compiled).contains(said), "{}", rendered(&compiled));
    assert_eq!(
        compiled.desired.held.keys().cloned().collect::<Vec<_>>(),
        held.iter().map(|it| id(it)).collect::<Vec<_>>()
    );
}

#[test]
fn a_port_stays_with_who_has_it() {
    let thief = app_of("b", "thief", "", "  port: 8080\n");
    refused(
        &[("apps/b/thief.yaml", &thief)],
        "port 8080 on 127.0.0.1 belongs to app/shop (apps/a/shop.yaml:6:9)",
        &["thief"],
    );
    let moved = app_of("b", "base", "", "  port: 8080\n");
    refused(&[("apps/b/base.yaml", &moved)], "belongs to app/shop", &["base"]);
    for address in ["127.0.0.2", "::1", "::ffff:127.0.0.1"] {
        let near = app_of("b", "thief", "", &format!("  port: 8080\n  bind: \"{address}\"\n"));
        refused(&[("apps/b/thief.yaml", &near)], "belongs to app/shop", &["thief"]);
    }
    for address in ["127.0.0.2", "::1"] {
        let own = app_of("b", "other", "", &format!("  port: 9090\n  bind: \"{address}\"\n"));
        refused(&[("apps/b/other.yaml", &own)], "", &[]);
    }
    let posing = app_of("a", "thief", "", "  port: 8080\n");
    refused(&[("apps/b/thief.yaml", &posing)], "may not claim `apps/b/thief.yaml`", &["thief"]);
}

#[test]
fn an_overlay_changes_only_what_its_writer_may_reach() {
    let path = "environments/prod/apps/b/x.yaml";
    refused(&[(path, &overlay("shop", ", team: b", "9"))], "`app/shop` belongs to the team `a`", &[]);
    refused(&[(path, &overlay("shop", "", "9"))], "the team `a` may not claim `environments/prod/apps/b/x.yaml`", &[]);
    refused(&[(path, &overlay("shop", ", team: {}", "[]"))], "expected a text", &[]);
    let own = with(&[(path, &overlay("base", "", "9"))]).expect("nobody is touched");
    assert_eq!(own.desired.resources[&id("base")].spec.replicas, 9);
}

#[test]
fn a_team_is_declared_only_in_a_path_granted_to_it() {
    let text = format!("{}---\n{}", team("b"), team("a").replace("a@", "mallory@"));
    refused(&[("teams/b.yaml", &text)], "the Team `a` has no effect here", &[]);
    // Whoever may write the top file writes for everybody.
    let mut context = settings();
    context.teams.insert(name("admins"), TeamSettings { paths: vec!["**".to_owned()], ..TeamSettings::default() });
    context.teams.get_mut(&name("a")).expect("it is there").paths.remove(0);
    let compiled = run(&before(), &context);
    assert!(!compiled.has_errors(), "{}", rendered(&compiled));
}

#[test]
fn a_former_name_stays_with_who_had_it() {
    let thief = app_of("b", "thief", ", was: [oldshop]", "");
    refused(&[("apps/b/thief.yaml", &thief)], "`app/oldshop` is the former name of app/shop", &["thief"]);
    // Nor can it be taken by declaring it again.
    let again = app_of("b", "oldshop", "", "");
    refused(&[("apps/b/oldshop.yaml", &again)], "`app/oldshop` is the former name of app/shop", &[]);
}

#[test]
fn who_had_an_app_may_name_it_as_a_former_one_before_others() {
    let mut all = before();
    all.insert(
        "apps/a/shop.yaml".to_owned(),
        SHOP.replace(", was: [oldshop]", "").replace("name: shop", "name: oldshop"),
    );
    all.retain(|path, _| path != "apps/a/back.yaml" && !path.starts_with("environments/"));
    let first = run(&all, &settings());
    assert!(!first.has_errors(), "{}", rendered(&first));
    all.insert("apps/a/shop.yaml".to_owned(), SHOP.to_owned());
    all.insert("apps/b/a.yaml".to_owned(), app_of("b", "a", ", was: [oldshop]", ""));
    let second = run(&all, &accepted(&first));
    assert_eq!(second.desired.held.keys().collect::<Vec<_>>(), [&id("a")], "{}", rendered(&second));
}

#[test]
fn an_overlay_that_cannot_be_read_holds_what_its_writers_may_reach() {
    refused(&[("environments/prod/apps/b/x.yaml", ": [")], "a key must be a text", &["base"]);
    let all: BTreeMap<_, _> =
        before().into_iter().chain([("environments/prod/x.yaml".to_owned(), ": [".to_owned())]).collect();
    assert_eq!(run(&all, &settings()).desired.held.len(), 3, "nobody's file may be everybody's");
}

#[test]
fn no_circle_goes_through_who_may_not_be_reached() {
    let base = app_of("b", "base", "", "  after: [app/back]\n");
    refused(&[("apps/b/base.yaml", &base)], "`app/back` belongs to the team `a`", &["base"]);
    // Nor through who names no team, and has a second manifest that does.
    let none = base.replace(", team: b", "");
    let own = app_of("b", "base", "", "");
    refused(&[("apps/b/base.yaml", &format!("{none}---\n{own}"))], "metadata of an App needs `team`", &["base"]);
}

/// Something team b could write: well-formed, broken, posing as another.
fn document() -> impl Strategy<Value = String> {
    let word = |words: &'static [&'static str]| proptest::sample::select(words);
    let names = word(&["shop", "back", "oldshop", "base", "other", "acme-ops", "a", "b"]);
    let metadata = word(&[
        "",
        ", team: a",
        ", team: b",
        ", team: {}",
        ", team: b, was: [shop]",
        ", team: b, was: [oldshop]",
        ", team: a, was: [back]",
    ]);
    let spec = word(&[
        "{}",
        "{run: {command: [./x]}}",
        "{run: {command: [./x]}, port: 8080}",
        "{run: {command: [./x]}, port: 8081, after: [app/back]}",
        "{run: {command: [./x]}, port: {number: 8080}, bind: 0.0.0.0}",
        "{run: {command: [./x]}, port: {number: 8080}, bind: 127.0.0.2}",
        "{replicas: 0}",
        "{members: [m@acme.example]}",
        "{freeze: {what: all, reason: no}}",
        "[",
        "{run: {command: [./x]}, run: 1}",
    ]);
    let kind = word(&["App", "App", "App", "Team", "Repository", "Playbook", "Nonsense"]);
    (kind, names, metadata, spec).prop_map(|(kind, name, metadata, spec)| {
        format!("apiVersion: codeops/v1\nkind: {kind}\nmetadata: {{name: {name}{metadata}}}\nspec: {spec}\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_team_writes_in_its_own_paths_others_compile_to_the_same(
        written in proptest::collection::vec(
            (proptest::sample::select(&["teams/b.yaml", "apps/b/x.yaml", "apps/b/a.yaml", "environments/prod/apps/b/x.yaml"][..]),
             proptest::collection::vec(document(), 1..4)),
            1..4,
        )
    ) {
        let texts: Vec<(&str, String)> = written.iter().map(|(path, documents)| (*path, documents.join("---\n"))).collect();
        let texts: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (*path, text.as_str())).collect();
        with(&texts)?;
    }
}

/// What a team's app has while its own manifest cannot say so stays its own, and is its own again once that is mended.
#[test]
fn a_port_stays_with_what_is_held_or_not_gone_yet() {
    let shop = |spec: &str| app_of("a", "shop", "", spec);
    let all = repository(&[
        ("apps/a/shop.yaml", &[shop("  port: 8080\n")]),
        ("apps/b/base.yaml", &[app_of("b", "base", "", "  port: 9090\n")]),
    ]);
    let thief = app_of("b", "thief", "", "  port: 8080\n");
    for meanwhile in [
        Some("name: [shop\n"),
        Some(&*shop("  port: x\n")),
        Some(&*shop("  port: 1\n  x: 1\n")),
        Some(&*shop("  port: 8080\n  provider: locl\n  x: 1\n")),
        Some(&*shop("  port: 8080\n  bind: 127.0.0.2\n  x: 1\n")),
        Some(&*shop("  port: 9090\n")),
        None,
    ] {
        let mut past = apart(&all);
        let mut broken = all.clone();
        match meanwhile {
            Some(text) => drop(broken.insert("apps/a/shop.yaml".to_owned(), text.to_owned())),
            None => drop(broken.remove("apps/a/shop.yaml")),
        }
        for asks in [false, true, true] {
            if asks {
                broken.insert("apps/b/thief.yaml".to_owned(), thief.clone());
            }
            let compiled = past.compile(&broken);
            assert_eq!(
                compiled.desired.held.contains_key(&id("thief")),
                asks,
                "{meanwhile:?}: {}",
                rendered(&compiled)
            );
            let why = "port 8080 on 127.0.0.1 belongs to app/shop, which has it still";
            let told = rendered(&compiled);
            let why =
                if meanwhile.is_some_and(|shop| shop.contains("bind")) { "also asked for by app/shop" } else { why };
            assert!(!asks || told.contains(why), "{meanwhile:?}: {told}");
            past.accept(&compiled);
        }
        broken.insert("apps/a/shop.yaml".to_owned(), shop("  port: 8080\n  replicas: 2\n"));
        let mended = past.compile(&broken);
        assert!(mended.desired.resources.contains_key(&id("shop")), "{meanwhile:?}: {}", rendered(&mended));
    }
    // Its own team may go on with it, and so may another once it is gone.
    let mut past = apart(&all);
    let mut next = all.clone();
    next.insert("apps/a/shop.yaml".to_owned(), app_of("a", "market", "", "  port: 8080\n"));
    assert!(!past.compile(&next).has_errors());
    next.insert("apps/a/shop.yaml".to_owned(), String::new());
    past.accept(&past.clone().compile(&next));
    next.insert("apps/b/thief.yaml".to_owned(), thief);
    assert!(past.compile(&next).has_errors());
    past.is_gone("shop");
    assert!(!past.compile(&next).has_errors());
}

/// What an app lives on while what it declares fails, is suspended, or cannot be resolved stays its own.
#[test]
fn a_port_stays_with_what_lives_on_it_whatever_is_declared() {
    let shop = |spec: &str| app_of("a", "shop", "", spec);
    let all = repository(&[
        ("apps/a/shop.yaml", &[shop("  port: 8080\n")]),
        ("apps/b/base.yaml", &[app_of("b", "base", "", "  port: 9090\n")]),
    ]);
    let thief = app_of("b", "thief", "", "  provider: local\n  port: 8080\n");
    let still = "port 8080 on 127.0.0.1 belongs to app/shop, which has it still";
    let local = || (name("local"), std::net::Ipv4Addr::LOCALHOST.into(), 8080);
    let compile = |past: &Past, all: &BTreeMap<String, String>, is_live: bool| {
        let mut context = past.context();
        context.claims.get_mut(&id("shop")).expect("it is there").live = is_live.then(local).into_iter().collect();
        run(all, &context)
    };
    // Its new version failed, or it is suspended with another port: in one commit with who asks, or later.
    for (spec, together) in [("  port: 8082\n", false), ("  port: 8082\n  suspend: true\n", true), ("", false)] {
        let mut past = apart(&all);
        let mut next = all.clone();
        next.insert("apps/a/shop.yaml".to_owned(), shop(spec));
        if together {
            next.insert("apps/b/thief.yaml".to_owned(), thief.clone());
            let compiled = compile(&past, &next, false);
            assert!(rendered(&compiled).contains(still), "{spec}: {}", rendered(&compiled));
            next.remove("apps/b/thief.yaml");
        }
        past.accept(&past.clone().compile(&next));
        next.insert("apps/b/thief.yaml".to_owned(), thief.clone());
        let compiled = compile(&past, &next, true);
        assert_eq!(compiled.desired.held.keys().collect::<Vec<_>>(), [&id("thief")], "{}", rendered(&compiled));
        assert!(rendered(&compiled).contains(still), "{spec}: {}", rendered(&compiled));
        // It goes back to where it lives.
        next.insert("apps/a/shop.yaml".to_owned(), shop("  port: 8080\n  replicas: 2\n"));
        let back = compile(&past, &next, true);
        assert_eq!(back.desired.held.keys().collect::<Vec<_>>(), [&id("thief")], "{}", rendered(&back));
        // Once it has arrived with its new one the old one is anybody's, and where nothing of it is to run not before.
        for spec in [spec, "  port: 8082\n  replicas: 0\n"] {
            let mut past = past.clone();
            next.insert("apps/a/shop.yaml".to_owned(), shop(&spec.replace("  suspend: true\n", "")));
            past.accept(&past.clone().compile(&changed(&next, &[("apps/b/thief.yaml", None)])));
            for is_live in [true, false] {
                let compiled = compile(&past, &next, is_live);
                assert_eq!(compiled.has_errors(), is_live, "{spec}: {}", rendered(&compiled));
            }
        }
    }
    // Who came to have it by right meanwhile keeps it.
    let mut past = apart(&all);
    let mut next = all.clone();
    next.insert("apps/a/shop.yaml".to_owned(), shop("  port: 8082\n"));
    next.insert("apps/b/thief.yaml".to_owned(), thief.clone());
    past.accept(&past.clone().compile(&next));
    assert!(!compile(&past, &next, true).has_errors());
    next.insert("apps/a/shop.yaml".to_owned(), shop("  port: 8080\n"));
    let compiled = compile(&past, &next, true);
    assert_eq!(compiled.desired.held.keys().collect::<Vec<_>>(), [&id("shop")], "{}", rendered(&compiled));
    // Held through the Repository, whose provider cannot be read.
    let mut broken = all.clone();
    broken.insert("apps/b/thief.yaml".to_owned(), thief);
    broken.insert("codeops.yaml".to_owned(), REPOSITORY.replace("provider: local", "provider: [local]"));
    let compiled = apart(&all).compile(&broken);
    assert!(compiled.desired.held.contains_key(&id("shop")), "{}", rendered(&compiled));
    assert!(rendered(&compiled).contains(still), "{}", rendered(&compiled));
}

/// Providers of one machine have its ports together, also one that the settings name no more; others have their own.
#[test]
fn a_port_of_the_machine_is_one_on_all_its_providers() {
    let shop = |spec: &str| app_of("a", "shop", "", spec);
    let all = repository(&[
        ("apps/a/shop.yaml", &[shop("  port: 8080\n")]),
        ("apps/b/base.yaml", &[app_of("b", "base", "", "  port: 9090\n")]),
    ]);
    let facts = |host_ports| ProviderFacts { word: "process", commands: true, images: false, host_ports };
    let providers = |all: &[(&str, bool)]| -> Option<BTreeMap<ProviderName, ProviderFacts>> {
        Some(all.iter().map(|(name_of, host_ports)| (name(name_of), facts(*host_ports))).collect())
    };
    let both = providers(&[("edge", true), ("far", false), ("local", true)]);
    let past = apart(&all);
    let compile = |past: &Past, all: &BTreeMap<String, String>, providers: &Option<_>| {
        run(all, &Context { providers: providers.clone(), ..past.context() })
    };
    let thief = |provider: &str| app_of("b", "thief", "", &format!("  provider: {provider}\n  port: 8080\n"));
    let held = |compiled: &Compiled| compiled.desired.held.keys().cloned().collect::<Vec<_>>();
    // Beside who has it, and beside who has it still.
    for (theirs, why) in [
        (shop("  port: 8080\n"), "port 8080 on 127.0.0.1 belongs to app/shop (apps/a/shop.yaml"),
        (shop("  port: 8080\n  provider: edge\n"), "port 8080 on 127.0.0.1 belongs to app/shop (apps/a/shop.yaml"),
        (shop("  port: 8082\n  suspend: true\n"), "belongs to app/shop, which has it still"),
        (String::new(), "belongs to app/shop, which has it still"),
    ] {
        for provider in ["local", "edge", "far"] {
            let mut next = all.clone();
            next.insert("apps/a/shop.yaml".to_owned(), theirs.clone());
            next.insert("apps/b/thief.yaml".to_owned(), thief(provider));
            let compiled = compile(&past, &next, &both);
            let told = rendered(&compiled);
            assert_eq!(held(&compiled).contains(&id("thief")), provider != "far", "{provider}: {told}");
            assert!(!held(&compiled).contains(&id("shop")) && (provider == "far" || told.contains(why)), "{told}");
        }
    }
    // The settings call it otherwise by now.
    let renamed = providers(&[("edge", true)]);
    let mut next = all.clone();
    next.insert("apps/a/shop.yaml".to_owned(), shop("  port: 8080\n  provider: local\n"));
    next.insert("apps/b/thief.yaml".to_owned(), thief("edge"));
    let compiled = compile(&past, &next, &renamed);
    assert!(held(&compiled).contains(&id("thief")), "{}", rendered(&compiled));
    next.insert("apps/a/shop.yaml".to_owned(), shop("  port: 8080\n  provider: edge\n"));
    let compiled = compile(&past, &next, &renamed);
    assert!(
        held(&compiled).contains(&id("thief")) && !held(&compiled).contains(&id("shop")),
        "{}",
        rendered(&compiled)
    );
}

/// Whoever declares a name that another's app says it had, and never had, holds nothing of it.
#[test]
fn a_former_name_that_never_was_holds_nobody() {
    let all = repository(&[
        ("apps/a/shop.yaml", &[app_of("a", "shop", ", was: [never, older]", "")]),
        ("apps/b/base.yaml", &[app_of("b", "base", "", "")]),
    ]);
    let mut past = apart(&all);
    let mut next = all.clone();
    next.insert("apps/b/never.yaml".to_owned(), app_of("b", "never", "", ""));
    for _ in 0..2 {
        let compiled = past.compile(&next);
        assert!(!compiled.has_errors(), "{}", rendered(&compiled));
        assert!(rendered(&compiled).contains("`app/never` is the team `b`'s, and was never this app's"));
        assert_eq!(compiled.desired.resources[&id("shop")].was, [id("older")]);
        past.accept(&compiled);
    }
    // What comes anew and says that it was another's is held, for that may be meant to be handed over.
    next.insert("apps/a/store.yaml".to_owned(), app_of("a", "store", ", was: [never]", ""));
    assert!(past.compile(&next).desired.held.contains_key(&id("store")));
}

#[test]
fn a_files_name_writes_nothing_to_a_terminal() {
    let path = "apps/e\nerror: forged line\n\u{1b}[2J.yaml";
    let compiled = run(&[(path.to_owned(), "kind: [".to_owned())].into(), &Context::default());
    for text in [rendered(&compiled), compiled.diagnostics.iter().map(|it| format!("{it}\n")).collect()] {
        assert!(text.contains("apps/e\u{240a}error: forged line\u{240a}\u{241b}[2J.yaml:1:"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.lines().any(|line| line.starts_with("error: forged")), "{text}");
    }
}
