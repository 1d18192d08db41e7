//! How alerts are answered is some team's as an app is: no file of another team takes it, changes it or stops it; and what
//! changes inside an app alone leaves it as it is.

use super::response::{PLAYBOOK, answered};
use super::*;

pub(super) fn guarded() -> Context {
    let team = |paths: &[&str]| TeamSettings {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        ..TeamSettings::default()
    };
    let payments = ["codeops.yaml", "apps/", "alerts/", "playbooks/", "environments/prod/pay/"];
    Context {
        teams: BTreeMap::from([
            (name("payments"), team(&payments)),
            (name("platform"), team(&["plat/", "environments/prod/plat/"])),
        ]),
        environment: Some(name("prod")),
        ..Context::default()
    }
}

pub(super) fn compile_with(compiler: &mut Compiler, pairs: &[(&str, &str)], context: &Context) -> (Compiled, bool) {
    let platform = TEAM.replace("payments", "platform");
    let pairs = answered(&[pairs, &[("teams/platform.yaml", &platform)]].concat());
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    compiler.compile_amending(&files(&pairs), context)
}

fn timeout(compiled: &Compiled) -> String {
    compiled.desired.response.playbooks[&name("shop-down")].limits.timeout.to_string()
}

#[test]
fn of_two_teams_playbooks_the_one_that_was_in_force_stays_so() {
    let theirs = PLAYBOOK.replace("team: payments", "team: platform").replace("10m", "11m");
    let intruder = [("plat/p.yaml", theirs.as_str()), ("plat/scripts/diagnose.sh", "#!/bin/sh\n")];
    let mut compiler = Compiler::default();
    let (first, _) = compile_with(&mut compiler, &[], &guarded());
    assert!(first.diagnostics.is_empty(), "{}", rendered(&first));
    let later = PLAYBOOK.replace("10m", "12m");
    for text in [PLAYBOOK, &later] {
        let pairs = [&intruder[..], &[("playbooks/shop-down.yaml", text)]].concat();
        let (compiled, _) = compile_with(&mut compiler, &pairs, &guarded());
        let text = rendered(&compiled);
        assert!(text.contains("Playbook `shop-down` is another manifest's and has no effect here"), "{text}");
        assert!(text.contains("--> plat/p.yaml") && !text.contains("--> playbooks/"), "{text}");
        assert!(compiled.desired.response.broken.is_empty());
    }
    let (compiled, _) =
        compile_with(&mut compiler, &[&intruder[..], &[("playbooks/shop-down.yaml", &later)]].concat(), &guarded());
    assert_eq!(timeout(&compiled), "12m", "its own team still changes it");
}

/// Wherever its team writes it down, and also by a compiler that has not seen who had it.
#[test]
fn what_its_team_moves_to_another_file_stays_its_own() {
    let theirs = PLAYBOOK.replace("team: payments", "team: platform").replace("10m", "11m");
    let intruder = [("plat/p.yaml", theirs.as_str()), ("plat/scripts/diagnose.sh", "#!/bin/sh\n")];
    let mut compiler = Compiler::default();
    compile_with(&mut compiler, &[], &guarded());
    let (before, _) = compile_with(&mut compiler, &intruder, &guarded());
    assert_eq!(before.holders, [("Playbook/shop-down".to_owned(), name("payments"))].into());
    let moved = PLAYBOOK.replace("10m", "12m");
    let gone = ("playbooks/shop-down.yaml", "# moved\n");
    let moves =
        [("playbooks/web/down.yaml", moved.as_str()), ("playbooks/web/scripts/diagnose.sh", "#!/bin/sh\n"), gone];
    let remembers = Context { holders: before.holders, ..guarded() };
    for (mut compiler, context) in [(compiler, guarded()), (Compiler::default(), remembers)] {
        let (compiled, _) = compile_with(&mut compiler, &[&intruder[..], &moves].concat(), &context);
        let text = rendered(&compiled);
        assert!(
            text.contains("is another manifest's and has no effect here") && !text.contains("--> playbooks/"),
            "{text}"
        );
        assert!(compiled.desired.response.broken.is_empty(), "{text}");
        assert_eq!(timeout(&compiled), "12m");
    }
}

#[test]
fn an_overlay_by_a_team_that_may_not_reach_a_playbook_has_no_effect() {
    let patch = |metadata: &str| {
        format!(
            "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: shop-down{metadata}}}\nspec: {{limits: {{timeout: 20m}}}}\n"
        )
    };
    let (plain, theirs) = (patch(""), patch(", team: platform"));
    let foreign = "`Playbook/shop-down` belongs to the team `payments`, which `platform` may not reach";
    for (path, text, why) in [
        ("environments/prod/plat/p.yaml", &plain, "the team `payments` may not claim `environments/prod/plat/p.yaml`"),
        ("environments/prod/plat/p.yaml", &theirs, foreign),
    ] {
        let (compiled, _) = compile_with(&mut Compiler::default(), &[(path, text)], &guarded());
        assert!(rendered(&compiled).contains(why), "{}", rendered(&compiled));
        assert!(compiled.desired.response.broken.is_empty(), "{}", rendered(&compiled));
        assert_eq!(timeout(&compiled), "10m");
    }
    let own = [("environments/prod/pay/p.yaml", plain.as_str())];
    let (compiled, _) = compile_with(&mut Compiler::default(), &own, &guarded());
    assert!(compiled.diagnostics.is_empty(), "{}", rendered(&compiled));
    assert_eq!(timeout(&compiled), "20m");
}

#[test]
fn an_overlay_that_cannot_be_read_stops_only_what_its_writers_may_reach() {
    for (path, reached) in [("environments/prod/plat/p.yaml", false), ("environments/prod/pay/p.yaml", true)] {
        let mut compiler = Compiler::default();
        compile_with(&mut compiler, &[], &guarded());
        let later = PLAYBOOK.replace("10m", "12m");
        let pairs = [(path, ": ["), ("playbooks/shop-down.yaml", later.as_str())];
        let (compiled, _) = compile_with(&mut compiler, &pairs, &guarded());
        assert!(compiled.has_errors());
        assert_eq!(compiled.desired.response.broken.contains_key("Playbook/shop-down"), reached, "{path}");
        assert_eq!(timeout(&compiled), if reached { "10m" } else { "12m" }, "{path}");
    }
}

#[test]
fn what_changes_inside_an_app_leaves_how_alerts_are_answered() {
    let spec = |replicas: u32| app("shop", &format!("  run: {{command: [./shop]}}\n  replicas: {replicas}\n"));
    let (one, two) = (spec(1), spec(2));
    let mut compiler = Compiler::default();
    let (before, _) = compile_with(&mut compiler, &[("apps/shop.yaml", &one)], &guarded());
    let (after, amended) = compile_with(&mut compiler, &[("apps/shop.yaml", &two)], &guarded());
    let (fresh, _) = compile_with(&mut Compiler::default(), &[("apps/shop.yaml", &two)], &guarded());
    assert!(amended && before.diagnostics.is_empty());
    assert_eq!(format!("{after:#?}"), format!("{fresh:#?}"));

    let fallback = Context { fallback: Some(name("somebody")), ..guarded() };
    let (_, amended) = compile_with(&mut compiler, &[("apps/shop.yaml", &one)], &fallback);
    assert!(!amended, "whether a route reaches somebody is asked again");
    let stuck = PLAYBOOK.replace("10m", "never");
    let broken = [("apps/shop.yaml", one.as_str()), ("playbooks/shop-down.yaml", stuck.as_str())];
    let (compiled, _) = compile_with(&mut compiler, &broken, &fallback);
    assert!(compiled.has_errors());
    assert_eq!(timeout(&compiled), "10m", "its last good version is known after amending as well");
    let (_, amended) = compile_with(&mut compiler, &[&broken[1..], &[("apps/shop.yaml", &two)]].concat(), &fallback);
    assert!(!amended, "nothing that is wrong is taken over");
}
