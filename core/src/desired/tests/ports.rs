//! A port is whose app lives on it, and whose accepted manifest says it; who asks for it beside him is told, and nobody else.

use proptest::prelude::*;

use super::hidden::{All, Past, alone, repository, with};
use super::neighbours::{app_of, settings};
use super::*;

fn facts(context: Context) -> Context {
    let facts = ProviderFacts { word: "process", commands: true, images: false, host_ports: true };
    Context { providers: Some([(name("local"), facts)].into()), ..context }
}

fn path(team: &str, app: &str) -> String {
    format!("apps/{team}/{app}.yaml")
}

/// Team a's `shop` and `back`, b's `base`, each on a port.
fn all() -> All {
    let (shop, back) = (app_of("a", "shop", "", "  port: 8080\n"), app_of("a", "back", "", "  port: 8081\n"));
    repository(&[
        ("apps/a/shop.yaml", &[shop]),
        ("apps/a/back.yaml", &[back]),
        ("apps/b/base.yaml", &[app_of("b", "base", "", "  port: 9090\n")]),
    ])
}

/// The same with these apps of these teams as said, or not at all.
fn changed(all: &All, apps: &[(&str, &str, Option<&str>)]) -> All {
    let texts = apps.iter().map(|(team, app, spec)| (path(team, app), spec.map(|spec| app_of(team, app, "", spec))));
    let texts: Vec<_> = texts.collect();
    let texts: Vec<_> = texts.iter().map(|(path, text)| (path.as_str(), text.as_deref())).collect();
    with(all, &texts)
}

/// Who is held in this revision, which is accepted.
#[track_caller]
fn accepted(past: &mut Past, all: &All) -> Vec<String> {
    let compiled = past.compile(all);
    past.accept(&compiled);
    compiled.desired.held.keys().map(|id| id.name.to_string()).collect()
}

const NOBODY: [&str; 0] = [];

/// Whatever keeps an app where it is, another team does not come to its port, and it comes back as it was.
#[test]
fn a_port_is_no_other_teams_while_an_app_lives_on_it() {
    // What a revision makes of it, and which port of those that it then may live on another asks for.
    let ways: &[(&[&str], u16)] = &[
        (&["  port: 8083\n  suspend: true\n"], 8080),
        (&["  port: 8082\n", "  port: 8083\n  suspend: true\n"], 8082),
        (&["  port: 8082\n", "  port: 8083\n  suspend: true\n"], 8080),
        (&["  port: 8082\n  replicas: 0\n"], 8080),
        (&["  port: 8083\n"], 8080),
        (&["  port: 8083\n", "  port: 8082\n", "  replicas: 0\n"], 8080),
        (&[""], 8080),
    ];
    for (way, port) in ways {
        let mut past = Past::of(&all(), facts(settings()));
        let mut next = all();
        for spec in *way {
            next = changed(&next, &[("a", "shop", Some(spec))]);
            assert_eq!(accepted(&mut past, &next), NOBODY);
        }
        next = changed(&next, &[("b", "thief", Some(&format!("  port: {port}\n")))]);
        let told = rendered(&past.compile(&next));
        let still = format!("port {port} on 127.0.0.1 belongs to app/shop, which has it still");
        assert!(told.contains(&still), "{way:?}: {told}");
        assert_eq!(accepted(&mut past, &next), ["thief"], "{way:?}");
        // Its own team may go on with it.
        let own = changed(&next, &[("a", "other", Some(&format!("  port: {port}\n"))), ("b", "thief", None)]);
        assert!(!past.compile(&own).has_errors(), "{way:?}: {}", rendered(&past.compile(&own)));
        // It goes back to where it lives, and where it has arrived elsewhere that is anybody's.
        let mut back = changed(&next, &[("a", "shop", Some(&format!("  port: {port}\n")))]);
        assert_eq!(accepted(&mut past.clone(), &back), ["thief"], "{way:?}");
        back = changed(&back, &[("a", "shop", None)]);
        assert_eq!(accepted(&mut past.clone(), &back), ["thief"], "{way:?}: it is not gone yet");
        past.has_arrived("shop");
        assert_eq!(accepted(&mut past, &next), NOBODY, "{way:?}");
    }
}

/// Who has a port keeps it while his manifest has a mistake, also where the settings name no teams, and against his own team.
#[test]
fn a_port_stays_with_what_is_held_whoever_asks() {
    for base in [alone(), settings()] {
        for broken in ["  port: 8080\n  provider: locl\n", "  port: x\n", "  port: 8081\n", "name: [shop\n"] {
            let mut past = Past::of(&all(), facts(base.clone()));
            let next = changed(&all(), &[("a", "shop", Some(broken))]);
            assert_eq!(accepted(&mut past, &next), ["shop"], "{broken}");
            let next = changed(&next, &[("a", "other", Some("  port: 8080\n"))]);
            let told = rendered(&past.compile(&next));
            assert!(told.contains("port 8080 on 127.0.0.1 belongs to app/shop"), "{broken}: {told}");
            assert_eq!(accepted(&mut past, &next), ["other", "shop"], "{broken}");
            // In the same revision, too.
            assert_eq!(accepted(&mut Past::of(&all(), facts(base.clone())), &next), ["other", "shop"], "{broken}");
            let mended = changed(&next, &[("a", "shop", Some("  port: 8080\n"))]);
            assert_eq!(accepted(&mut past, &mended), ["other"], "{broken}");
            // Another address is another port, and what is removed is not in the way of its own team.
            let elsewhere = changed(&next, &[("a", "other", Some("  port: 8080\n  bind: 127.0.0.2\n"))]);
            assert_eq!(accepted(&mut past.clone(), &elsewhere), ["shop"], "{broken}");
            let removed = changed(&next, &[("a", "shop", None)]);
            assert_eq!(accepted(&mut past, &removed), NOBODY, "{broken}");
        }
    }
}

/// What goes from hand to hand in one revision does, within a team, between teams, and where there are none.
#[test]
fn ports_are_handed_over_and_exchanged_in_one_revision() {
    for base in [alone(), settings()] {
        let past = Past::of(&all(), facts(base.clone()));
        let apart = !base.teams.is_empty();
        let good: &[&[(&str, &str, Option<&str>)]] = &[
            // Given up and taken.
            &[("a", "shop", Some("  port: 8082\n")), ("b", "new", Some("  port: 8080\n"))],
            &[("a", "shop", Some("")), ("b", "base", Some("  port: 8080\n"))],
            &[("a", "shop", Some("  port: 8082\n")), ("a", "new", Some("  port: 8080\n"))],
            // Exchanged, by two and by three.
            &[("a", "shop", Some("  port: 9090\n")), ("b", "base", Some("  port: 8080\n"))],
            &[("a", "shop", Some("  port: 8081\n")), ("a", "back", Some("  port: 8080\n"))],
            &[
                ("a", "shop", Some("  port: 8081\n")),
                ("a", "back", Some("  port: 9090\n")),
                ("b", "base", Some("  port: 8080\n")),
            ],
        ];
        for change in good {
            let (mut past, next) = (past.clone(), changed(&all(), change));
            // Looked at again before and after anything has moved, it is the same.
            for look in 0..4 {
                assert_eq!(accepted(&mut past, &next), NOBODY, "{look}: {change:?}");
                if look == 2 {
                    change.iter().for_each(|(_, app, _)| past.has_arrived(app));
                }
            }
            // And back.
            let back = changed(&all(), &[("b", "new", None), ("a", "new", None)]);
            assert_eq!(accepted(&mut past, &back), NOBODY, "{change:?}");
        }
        // Renamed with its port.
        let mut renamed = changed(&all(), &[("a", "shop", None)]);
        renamed.insert(path("a", "market"), app_of("a", "market", ", was: [shop]", "  port: 8080\n"));
        assert_eq!(accepted(&mut past.clone(), &renamed), NOBODY);
        // And on: a name with a port that another takes in that very revision is not gone yet.
        renamed.insert(path("a", "market"), app_of("a", "market", ", was: [shop]", "  port: 8082\n"));
        let taken = changed(&renamed, &[("b", "new", Some("  port: 8080\n"))]);
        let held: &[&str] = if apart { &["new"] } else { &[] };
        assert_eq!(accepted(&mut past.clone(), &taken), held);
        // Removed and taken: at once by who removed it, by another once it is gone.
        for team in ["a", "b"] {
            let (mut past, next) =
                (past.clone(), changed(&all(), &[("a", "shop", None), (team, "new", Some("  port: 8080\n"))]));
            let held: &[&str] = if apart && team == "b" { &["new"] } else { &[] };
            assert_eq!(accepted(&mut past, &next), held, "{team}");
            past.is_gone("shop");
            assert_eq!(accepted(&mut past, &next), NOBODY, "{team}");
        }
    }
}

/// What a repository and its daemon come to.
#[derive(Debug, Clone)]
enum Happens {
    Declared(usize, &'static str),
    Removed(usize),
    Accepted,
    Arrived(usize),
}

const APPS: [(&str, &str); 4] = [("a", "shop"), ("a", "back"), ("b", "base"), ("b", "other")];

const BROKEN: [&str; 3] = ["  port: 8080\n  provider: locl\n", "  port: 9090\n  x: 1\n", "  port: x\n"];

fn happens() -> impl Strategy<Value = Happens> {
    let specs = proptest::sample::select(
        &[
            "  port: 8080\n",
            "  port: 8081\n",
            "  port: 9090\n",
            "  port: 9090\n  suspend: true\n",
            "  port: 8080\n  suspend: true\n",
            "  port: 8081\n  replicas: 0\n",
            "  port: 8080\n  replicas: 0\n",
            "",
            BROKEN[0],
            BROKEN[1],
            BROKEN[2],
        ][..],
    );
    prop_oneof![
        6 => (0..APPS.len(), specs).prop_map(|(app, spec)| Happens::Declared(app, spec)),
        1 => (0..APPS.len()).prop_map(Happens::Removed),
        5 => Just(Happens::Accepted),
        2 => (0..APPS.len()).prop_map(Happens::Arrived),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of what is declared, also where it is held, no two ever have one port; who comes to one takes it from nobody that has it by
    /// what was accepted, nor from another team's app that lives on it, unless that gives it up in the same revision; and nobody
    /// that has a port is ever held for asking for it.
    #[test]
    fn no_two_ever_come_to_one_port(apart in any::<bool>(), all_of_it in proptest::collection::vec(happens(), 1..24)) {
        let mut next = all();
        let mut past = Past::of(&next, facts(if apart { settings() } else { alone() }));
        for happens in all_of_it {
            match happens {
                Happens::Declared(app, spec) => {
                    let (team, app) = APPS[app];
                    next = changed(&next, &[(team, app, Some(spec))]);
                    continue;
                }
                Happens::Arrived(app) => {
                    past.settle(APPS[app].1);
                    continue;
                }
                // A mistake beside it may hide what became of it.
                Happens::Removed(_) if next.values().any(|text| BROKEN.iter().any(|it| text.contains(it))) => continue,
                Happens::Removed(app) => {
                    let (team, app) = APPS[app];
                    next = changed(&next, &[(team, app, None)]);
                }
                Happens::Accepted => {}
            }
            let before = past.context().claims;
            let compiled = past.compile(&next);
            past.accept(&compiled);
            let after = past.context().claims;
            let (declared, held) = (&compiled.desired.resources, &compiled.desired.held);
            let has = |id: &ResourceId| after.get(id).and_then(|claims| claims.port.as_ref());
            let there: Vec<_> = declared.keys().chain(held.keys()).filter_map(|id| Some((id, has(id)?))).collect();
            for (id, port) in &there {
                let twice = there.iter().find(|(other, same)| other != id && same == port);
                prop_assert!(twice.is_none(), "{id} and {twice:?}: {}", rendered(&compiled));
                if before.get(*id).is_some_and(|it| it.port.as_ref() == Some(*port)) || held.contains_key(*id) {
                    continue;
                }
                for (other, had) in before.iter().filter(|(other, _)| other != id) {
                    let gives_up = had.port.as_ref() == Some(*port) && declared.get(other).is_some_and(|it| !it.spec.suspend);
                    // What is b's a may have.
                    let team = |claims: Option<&Claims>| claims.and_then(|it| it.team.clone());
                    let others = team(Some(had)) == Some(name("a")) && team(after.get(*id)) == Some(name("b"));
                    let lives = had.live.contains(*port) || had.port.as_ref() == Some(*port);
                    prop_assert!(!others || !lives || gives_up, "{id} takes {port:?} of {other}: {}", rendered(&compiled));
                }
            }
            for (id, why) in held {
                let asks = next.get(&path("a", id.name.as_str())).or(next.get(&path("b", id.name.as_str())));
                let had = before.get(id).and_then(|it| it.port.as_ref()).map(|port| format!("port: {}\n", port.2));
                let same = had.zip(asks).is_some_and(|(had, asks)| asks.contains(&had));
                prop_assert!(!same || !why.contains("belongs to") && !why.contains("also asked"), "{id}: {why}");
            }
        }
    }
}
