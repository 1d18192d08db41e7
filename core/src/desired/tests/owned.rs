//! Whose a file is where who writes for everybody is granted all of them: what is in another team's is that team's alone.

use super::neighbours::{app_of, run, team};
use super::*;

fn platform_has_all() -> Context {
    let team = |paths: &str| TeamSettings { paths: vec![paths.to_owned()], ..TeamSettings::default() };
    let teams = [("a", team("apps/a/**")), ("b", team("apps/b/**")), ("platform", team("**"))];
    Context { teams: teams.map(|(text, team)| (name(text), team)).into(), ..Context::default() }
}

fn all() -> BTreeMap<String, String> {
    let of = |path: &str, text: String| (path.to_owned(), text);
    [
        of("codeops.yaml", REPOSITORY.to_owned()),
        of("teams/a.yaml", team("a")),
        of("teams/b.yaml", team("b")),
        of("teams/platform.yaml", team("platform")),
        of("apps/a/shop.yaml", app_of("a", "shop", "", "")),
        of("apps/b/base.yaml", app_of("b", "base", "", "")),
        of("apps/own.yaml", app_of("platform", "own", "", "")),
    ]
    .into()
}

#[test]
fn nobody_speaks_in_his_files_for_who_writes_for_everybody() {
    let mut all = all();
    let before = run(&all, &platform_has_all());
    assert!(!before.has_errors(), "{}", rendered(&before));
    all.insert("apps/b/posing.yaml".to_owned(), app_of("platform", "posing", "", "  secrets: {KEY: platform-key}\n"));
    all.insert("apps/b/team.yaml".to_owned(), team("platform").replace("platform@", "b@"));
    let compiled = run(&all, &platform_has_all());
    let told = rendered(&compiled);
    assert_eq!(compiled.desired.held.keys().collect::<Vec<_>>(), [&id("posing")], "{told}");
    assert!(told.contains("the team `platform` may not claim `apps/b/posing.yaml`"), "{told}");
    assert!(told.contains("it is the team `b`'s"), "{told}");
    assert!(told.contains("the Team `platform` has no effect here"), "{told}");
    assert_eq!(compiled.desired.teams, before.desired.teams);
}

#[test]
fn a_file_of_one_team_that_cannot_be_read_keeps_nothing_of_who_writes_for_everybody() {
    let mut all = all();
    all.remove("apps/own.yaml");
    for (path, kept) in [("apps/b/bad.yaml", "b"), ("apps/bad.yaml", "platform")] {
        all.insert(path.to_owned(), "\u{0}\u{1}: [".to_owned());
        let compiled = run(&all, &platform_has_all());
        for team in ["a", "b", "platform"] {
            let is_kept = compiled.desired.undeletable.why(&name(team)).is_some();
            assert_eq!(is_kept, team == kept, "{path}: {team}");
        }
        all.remove(path);
    }
}
