//! Limits of all files together: what one team writes takes nothing from another, and what is beyond a share is held alone.

use crate::config::TeamSettings;
use crate::desired::{Levelled, Much, Writers};

use super::*;

fn teams() -> BTreeMap<TeamName, TeamSettings> {
    let team = |paths: &[&str]| TeamSettings {
        paths: paths.iter().map(ToString::to_string).collect(),
        ..TeamSettings::default()
    };
    [(name("a"), team(&["apps/a*", "a/**"])), (name("b"), team(&["apps/b*", "b/**", "teams/b*"]))].into()
}

/// The files that are beyond their share, of these with so many bytes each.
fn beyond(files: &[(&str, u64)], most: Much) -> Vec<(String, String)> {
    let teams = teams();
    let mut wanted: BTreeMap<Writers, Much> = BTreeMap::new();
    for (path, bytes) in files {
        let much = wanted.entry(Writers::of(path, &teams)).or_default();
        *much = Much { files: much.files + 1, bytes: much.bytes + bytes };
    }
    let mut levelled = Levelled::new(wanted.values().copied(), most);
    let mut sorted = files.to_vec();
    sorted.sort_unstable();
    let taken = sorted.iter().map(|(path, bytes)| (path, levelled.take(&Writers::of(path, &teams), *bytes)));
    taken.filter_map(|(path, taken)| Some(((*path).to_owned(), taken.err()?.to_string()))).collect()
}

#[test]
fn whoever_wants_no_more_than_a_share_has_it_whatever_others_write() {
    let files = [
        ("codeops.yaml", 2),
        ("apps/a1.yaml", 10),
        ("apps/a2.yaml", 10),
        ("b/1.yaml", 40),
        ("b/2.yaml", 40),
        ("b/3.yaml", 5),
        ("teams/b1.yaml", 3),
    ];
    assert_eq!(beyond(&files, Much { files: 7, bytes: 110 }), [], "all of it fits");
    let found = beyond(&files, Much { files: 100, bytes: 80 });
    let [(path, why)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(path, "b/2.yaml", "what is small and comes after it is read");
    assert!(why.contains("more bytes") && why.contains("the team `b` may write have a share of 55"), "{why}");
    let found = beyond(&files, Much { files: 6, bytes: 1_000 });
    let [(path, why)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(path, "b/3.yaml");
    assert!(why.contains("more files") && why.contains("a share of 2,"), "{why}");
}

#[test]
fn folders_are_of_all_who_may_write_in_them() {
    let of = |path: &str| Writers::of(path, &teams());
    assert_eq!(of("b/x/y/"), of("b/z.yaml"));
    assert_eq!(of("apps/"), Writers::of("x", &[(name("a"), all()), (name("b"), all())].into()));
    assert_ne!(of("apps/a1/"), of("apps/a1.yaml"), "a star stays in its folder");
    assert_ne!(of("teams/b.yaml"), of("b/z.yaml"), "the teams' own are apart");
}

fn all() -> TeamSettings {
    TeamSettings { paths: vec!["**".to_owned()], ..TeamSettings::default() }
}

#[test]
fn a_file_beyond_its_share_holds_what_it_declared_and_nothing_else() {
    const RUN: &str = "  run: {command: [x]}\n";
    let (one, two) = (app("one", RUN), app("two", RUN));
    let mut all = files(&[
        ("codeops.yaml", REPOSITORY),
        ("teams/payments.yaml", TEAM),
        ("b/one.yaml", &one),
        ("two.yaml", &two),
        ("playbooks/scripts/look.sh", "#!/bin/sh\n"),
    ]);
    let mut compiler = Compiler::default();
    let before = compiler.compile(&all, &Context::default());
    assert!(before.diagnostics.is_empty(), "{}", rendered(&before));
    for path in ["b/one.yaml", "playbooks/scripts/look.sh"] {
        all.insert(path.into(), File::left_out("it is beyond its share".into()));
    }
    let context = Context { declared: (*before.declared).clone(), ..Context::default() };
    let compiled = compiler.compile(&all, &context);
    let places: Vec<(&str, &str)> =
        compiled.diagnostics.iter().map(|found| (&*found.place.file, found.message.as_str())).collect();
    let why = "it is beyond its share";
    assert_eq!(places, [("b/one.yaml", why), ("playbooks/scripts/look.sh", why)]);
    assert!(rendered(&compiled).contains("files count in the order of their paths"), "{}", rendered(&compiled));
    assert_eq!(compiled.desired.held.keys().collect::<Vec<_>>(), [&id("one")]);
    assert_eq!(compiled.desired.resources.keys().collect::<Vec<_>>(), [&id("two")]);
    assert!(compiled.desired.undeletable.is_empty(), "what it declared is known");
    assert_eq!(compiled.declared["b/one.yaml"], before.declared["b/one.yaml"], "and stays known");
}
