//! No file of one team stops or takes what is everybody's or another team's.

use super::*;

const RUN: &str = "  run: {command: [./shop]}\n";
const FREEZE: &str =
    "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme-ops}\nspec: {freeze: {what: all, reason: no}}\n";

fn guarded() -> Context {
    let team = |paths: &[&str]| TeamSettings {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        ..TeamSettings::default()
    };
    let teams = BTreeMap::from([(name("payments"), team(&["apps/pay/"])), (name("platform"), team(&["apps/plat/"]))]);
    Context { teams, environment: Some(name("prod")), ..Context::default() }
}

fn both(extra: &[(&str, &str)], context: &Context) -> Compiled {
    let platform = TEAM.replace("payments", "platform");
    let shop = app("m1", RUN);
    let mut pairs = vec![("teams/platform.yaml", platform.as_str()), ("apps/pay/m1.yaml", shop.as_str())];
    pairs.extend_from_slice(extra);
    compile_in(&pairs, context)
}

#[test]
fn a_repository_elsewhere_than_at_the_top_is_a_mistake_without_effect() {
    for path in ["apps/plat/repo2.yaml", "repo.yaml", "apps/codeops.yaml"] {
        for text in [FREEZE.to_owned(), FREEZE.replace("acme-ops", "other")] {
            for context in [Context::default(), guarded()] {
                let compiled = both(&[(path, &text)], &context);
                assert!(rendered(&compiled).contains("counts only in codeops.yaml"), "{}", rendered(&compiled));
                assert_eq!(compiled.desired.repository.freeze, None, "{path}");
                assert!(compiled.desired.owner.is_some() && compiled.desired.held.is_empty());
                assert!(compiled.desired.resources.contains_key(&id("m1")));
            }
        }
    }
    let overlay = both(&[("environments/prod/plat.yaml", FREEZE)], &guarded());
    assert!(overlay.has_errors() && overlay.desired.repository.freeze.is_none());
    let overlay = both(&[("environments/prod/codeops.yaml", FREEZE)], &guarded());
    assert!(!overlay.has_errors() && overlay.desired.repository.freeze.is_some(), "{}", rendered(&overlay));
}

#[test]
fn a_duplicate_outside_its_teams_paths_does_not_hold_the_rightful_one() {
    let foreign = app("m1", RUN);
    let own = app("m1", "  run: {command: [./steal]}\n").replace("payments", "platform");
    // Whoever had it before keeps it, whatever the order of the files.
    let had = |path: &str| Arc::from(path);
    let ids = Arc::new(BTreeSet::from([id("m1")]));
    let past = Context { declared: BTreeMap::from([(had("apps/pay/m1.yaml"), ids)]), ..guarded() };
    for (text, context) in [(&foreign, guarded()), (&foreign, past.clone()), (&own, past)] {
        for path in ["apps/plat/m1.yaml", "apps/plat/a.yaml"] {
            let compiled = both(&[(path, text)], &context);
            let errors: Vec<_> = compiled.diagnostics.iter().map(|d| &*d.place.file).collect();
            assert_eq!(errors, [path], "{}", rendered(&compiled));
            assert!(compiled.desired.held.is_empty());
            assert_eq!(compiled.desired.resources[&id("m1")].team, name("payments"));
            assert!(compiled.declared[path].is_empty(), "it is not remembered as the one that had it");
        }
    }
    // Which of two rightful ones is meant cannot be known without a past.
    assert!(both(&[("apps/plat/m1.yaml", &own)], &guarded()).desired.held.contains_key(&id("m1")));
    // On a laptop both count, as before.
    assert!(both(&[("apps/plat/m1.yaml", &own)], &Context::default()).desired.held.contains_key(&id("m1")));
}

/// Whoever had an app keeps it, in whatever file it is now, as far as its team or its file is remembered.
#[test]
fn an_app_that_moves_to_another_file_stays_its_teams() {
    let intruder = app("m2", RUN).replace("payments", "platform");
    let file: Arc<str> = Arc::from("apps/pay/old.yaml");
    let declared = BTreeMap::from([(file, Arc::new(BTreeSet::from([id("m2")])))]);
    let claims = Claims { team: Some(name("payments")), ..Claims::default() };
    let by_file = Context { declared, ..guarded() };
    // Both may write where it was: then only the team's name tells.
    let mut both_may = Context { claims: BTreeMap::from([(id("m2"), claims)]), ..by_file.clone() };
    both_may.teams.get_mut(&name("platform")).expect("a team").paths.push("apps/pay/".to_owned());
    for context in [by_file, both_may] {
        let moved = app("m2", "  run: {command: [./shop, new]}\n");
        let compiled = both(&[("apps/plat/m2.yaml", &intruder), ("apps/pay/new.yaml", &moved)], &context);
        let errors: Vec<_> = compiled.diagnostics.iter().map(|d| &*d.place.file).collect();
        assert_eq!(errors, ["apps/plat/m2.yaml"], "{}", rendered(&compiled));
        assert_eq!(compiled.desired.resources[&id("m2")].team, name("payments"));
        // Nor does it lose the app by a mistake in the line that says whose it is.
        let mistaken = moved.replace("team: payments", "team: Payments!");
        let compiled = both(&[("apps/plat/m2.yaml", &intruder), ("apps/pay/new.yaml", &mistaken)], &context);
        assert!(rendered(&compiled).contains("`m2` is another manifest's"), "{}", rendered(&compiled));
        assert!(compiled.desired.held.contains_key(&id("m2")));
    }
}

#[test]
fn a_team_is_declared_only_where_it_may_be() {
    let second = TEAM.replace("payments@", "mallory@");
    for path in ["apps/plat/team.yaml", "environments/prod/plat.yaml"] {
        let compiled = both(&[(path, &second)], &guarded());
        assert!(compiled.has_errors() && compiled.desired.held.is_empty(), "{}", rendered(&compiled));
        assert_eq!(compiled.desired.teams[&name("payments")].members, ["payments@acme.example"]);
    }
    // Its own paths are as good as `teams/`.
    let own = TEAM.to_owned();
    let compiled = both(&[("teams/payments.yaml", "# moved\n"), ("apps/pay/team.yaml", &own)], &guarded());
    assert!(!compiled.has_errors(), "{}", rendered(&compiled));
}

#[test]
fn an_app_listens_only_where_the_daemon_does_not_and_its_team_may() {
    let with = |team: TeamSettings| Context {
        teams: BTreeMap::from([(name("payments"), TeamSettings { paths: vec!["**".to_owned()], ..team })]),
        reserved: vec![("the page", "127.0.0.1:8080".to_owned()), ("hooks", "[::]:18081".to_owned())],
        ..Context::default()
    };
    let none = with(TeamSettings::default());
    let granted = with(TeamSettings {
        ports: vec![25],
        bind: vec!["0.0.0.0".parse().expect("an address")],
        ..TeamSettings::default()
    });
    let laptop = Context { teams: BTreeMap::new(), ..none.clone() };
    for (context, port, bind, said) in [
        (&none, 8080, "127.0.0.1", Some("the daemon's own: the page on 127.0.0.1:8080")),
        (&laptop, 8080, "0.0.0.0", Some("the daemon's own")),
        (&laptop, 8080, "::ffff:127.0.0.1", Some("the daemon's own")),
        (&laptop, 18081, "127.0.0.7", Some("the daemon's own: hooks on")),
        (&laptop, 8080, "127.0.0.2", None),
        (&none, 8080, "127.0.0.2", Some("the daemon's own: the page on 127.0.0.1:8080")),
        (&none, 8080, "::1", Some("the daemon's own: the page on 127.0.0.1:8080")),
        (&none, 25, "127.0.0.1", Some("`teams.payments.ports`")),
        (&none, 9000, "0.0.0.0", Some("`teams.payments.bind`")),
        (&none, 9000, "::", Some("`teams.payments.bind`")),
        (&none, 9000, "::1", None),
        (&granted, 25, "0.0.0.0", None),
        (&granted, 26, "127.0.0.1", Some("privileged port 26")),
        (&laptop, 25, "0.0.0.0", None),
    ] {
        let text = app("shop", &format!("{RUN}  port: {port}\n  bind: \"{bind}\"\n"));
        let compiled = compile_in(&[("apps/shop.yaml", &text)], context);
        match said {
            Some(said) => {
                assert!(rendered(&compiled).contains(said), "{port} on {bind}: {}", rendered(&compiled));
                assert!(compiled.desired.held.contains_key(&id("shop")));
            }
            None => assert!(!compiled.has_errors(), "{port} on {bind}: {}", rendered(&compiled)),
        }
    }
}

#[test]
fn a_refused_artifact_url_is_shown_without_its_password() {
    let long = format!("sesame{}", "x".repeat(100));
    for password in ["sesame", "se@same@sesame", &long] {
        let run = format!(
            "  run: {{command: [x], artifact: {{url: \"http://bot:{password}@h.example/x\", sha256: 9f86}}}}\n"
        );
        let compiled = compile(&[("apps/shop.yaml", &app("shop", &run))]);
        let json = serde_json::to_string(&compiled.diagnostics).expect("JSON");
        let held = format!("{:?}", compiled.desired.held);
        for shown in [rendered(&compiled), json, held] {
            assert!(shown.contains("is not a URL for an artifact") && !shown.contains("sesame"), "{shown}");
        }
    }
}

/// What masks are taken of: whoever guesses at another's secret in a file of its own is not told that it is one.
#[test]
fn a_mistake_is_told_as_the_text_of_whose_file_it_stands_in() {
    let mut context = guarded();
    for (team, path) in [("platform", "**"), ("platform", "codeops.yaml"), ("search", "apps/search/")] {
        context.teams.entry(name(team)).or_default().paths.push(path.to_owned());
    }
    let wrong = app("w", &format!("{RUN}  guess: a\n"));
    for (path, of) in [("apps/pay/w.yaml", "payments"), ("apps/search/w.yaml", "search"), ("else/w.yaml", "platform")] {
        let compiled = both(&[(path, &wrong)], &context);
        let mistake = compiled.diagnostics.iter().find(|mistake| mistake.message.contains("guess"));
        assert_eq!(mistake.and_then(|mistake| mistake.team.clone()), Some(name(of)), "{path}: {}", rendered(&compiled));
    }
    let alone = both(&[("apps/pay/w.yaml", &wrong)], &Context::default());
    assert!(alone.diagnostics.iter().all(|mistake| mistake.team.is_none()), "{}", rendered(&alone));
}

#[test]
fn a_file_that_cannot_be_read_keeps_only_what_its_writers_could_declare_in_it() {
    let (payments, platform) = (name("payments"), name("platform"));
    let deep = format!("apps/plat/{}", "d/".repeat(33));
    for (path, text) in [("apps/plat/x.yaml", "\u{0}"), (&*deep, ""), ("apps/plat/\u{fffd}.yaml", "")] {
        let compiled = both(&[(path, text)], &guarded());
        let undeletable = &compiled.desired.undeletable;
        assert!(undeletable.why(&platform).is_some_and(|why| why.starts_with(path)), "{path}: {undeletable:?}");
        assert_eq!(undeletable.why(&payments), None, "{path}");
        let everything = both(&[(path, text)], &Context::default()).desired.undeletable;
        assert!(everything.why(&payments).is_some(), "{path}: no teams are set");
    }
    // A team that lets those of the file take over what is its own.
    let mut context = guarded();
    context.teams.get_mut(&payments).unwrap().allow = vec![platform.clone()];
    let compiled = both(&[("apps/plat/x.yaml", "\u{0}")], &context);
    assert!(compiled.desired.undeletable.why(&payments).is_some());
}
