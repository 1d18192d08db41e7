//! How much of a revision is kept: what is more is not read, with its place, and what others wrote counts.

use super::*;
use crate::desired::bounds::portion::{Left, Portion};
use crate::desired::bounds::space;
use crate::desired::text::mistakes::MOST_OF_FILE;

/// An app of 200,000 nodes and a few.
fn big(name: &str) -> String {
    sized(name, 200_000)
}

fn sized(name: &str, nodes: usize) -> String {
    app(name, &format!("  run: {{command: [{}]}}\n", vec!["a"; nodes].join(",")))
}

fn small(name: &str) -> String {
    app(name, "  run: {command: [x]}\n")
}

fn replicas(name: &str, replicas: u32) -> String {
    format!("apiVersion: codeops/v1\nkind: App\nmetadata: {{name: {name}}}\nspec: {{replicas: {replicas}}}\n")
}

fn pairs(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(path, text)| (&**path, &**text)).collect()
}

/// Where files or overlays are not read.
fn refused(compiled: &Compiled) -> Vec<&str> {
    let ends = |found: &&Diagnostic| {
        ["file is not read: ", "is not merged: what"].iter().any(|why| found.message.contains(why))
    };
    compiled.diagnostics.iter().filter(ends).map(|found| &*found.place.file).collect()
}

#[test]
fn what_is_more_than_is_kept_is_not_read_in_the_order_of_the_paths() {
    let mut all: Vec<(String, String)> =
        (0..12).rev().map(|n| (format!("a{n:02}.yaml"), big(&format!("a{n}")))).collect();
    all.extend([
        ("b.yaml".to_owned(), small("b")),
        ("codeops.yaml".to_owned(), REPOSITORY.to_owned()),
        ("teams/payments.yaml".to_owned(), TEAM.to_owned()),
    ]);
    let mut all = files(&pairs(&all));
    let mut compiler = Compiler::default();
    let compiled = compiler.compile(&all, &Context::default());
    let shown = rendered(&compiled);
    assert_eq!(refused(&compiled), ["a09.yaml", "a10.yaml", "a11.yaml"], "{shown}");
    assert_eq!(compiled.diagnostics.len(), 3, "{shown}");
    assert!(compiled.desired.resources.contains_key(&id("b")), "what fits after them is read: {shown}");
    assert!(compiled.desired.owner.is_some() && !compiled.desired.teams.is_empty(), "{shown}");
    assert!(shown.contains("all files that the same teams may write have 2000000 nodes at most together"), "{shown}");
    assert!(!compiled.desired.undeletable.is_empty(), "what they declared is not known");

    // Which were read before does not matter.
    all.insert("a005.yaml".into(), all["a11.yaml"].clone());
    let compiled = compiler.compile(&all, &Context::default());
    assert_eq!(refused(&compiled), ["a08.yaml", "a09.yaml", "a10.yaml", "a11.yaml"], "{}", rendered(&compiled));
    all.remove("a005.yaml");

    // Once others make room, those that did not change are read.
    all.retain(|path, _| !["a00.yaml", "a01.yaml", "a02.yaml"].contains(&&**path));
    let compiled = compiler.compile(&all, &Context::default());
    assert_eq!((refused(&compiled).len(), compiled.desired.resources.len()), (0, 10), "{}", rendered(&compiled));
}

/// However full it is, the Repository and the teams are read: what freezes and who is called stand there.
#[test]
fn no_app_is_in_the_way_of_the_repository_and_the_teams() {
    let mut all: Vec<(String, String)> = (0..9).map(|n| (format!("a{n}.yaml"), big(&format!("a{n}")))).collect();
    all.push(("a9.yaml".to_owned(), sized("a9", 130_000)));
    all.extend((0..1_000).map(|n| (format!("b{n:04}.yaml"), small(&format!("b{n}")))));
    let frozen = REPOSITORY.replace("local}", "local}, freeze: {what: all, reason: bad night}");
    all.extend([
        ("codeops.yaml".to_owned(), format!("{frozen}---\n{}", big("top"))),
        ("x/team.yaml".to_owned(), TEAM.to_owned()),
    ]);
    let compiled = Compiler::default().compile(&files(&pairs(&all)), &Context::default());
    let refused = refused(&compiled);
    assert!(refused.len() > 100 && refused.iter().all(|file| file.starts_with('b')), "{:?}", refused.last());
    assert!(compiled.desired.repository.freeze.is_some() && compiled.desired.teams.len() == 1);
    assert!(compiled.desired.resources.contains_key(&id("top")));
}

#[test]
fn nobody_takes_the_space_of_another_team() {
    let mut files: Vec<(String, String)> = (0..10).map(|n| (format!("a/{n:02}.yaml"), big(&format!("a{n}")))).collect();
    files.push(("b/app.yaml".to_owned(), app("b", "  run: {command: [x]}\n").replace("payments", "search")));
    files.push(("codeops.yaml".to_owned(), REPOSITORY.to_owned()));
    files.push(("teams/search.yaml".to_owned(), TEAM.replace("payments", "search")));
    let team = |path: &str| TeamSettings { paths: vec![path.to_owned()], ..TeamSettings::default() };
    let teams = [(name("payments"), team("a/**")), (name("search"), team("b/**"))].into();
    let compiled = Compiler::default().compile(&self::files(&pairs(&files)), &Context { teams, ..Context::default() });
    assert_eq!(refused(&compiled), ["a/09.yaml"]);
    assert!(compiled.desired.resources.contains_key(&id("b")), "{:?}", compiled.desired.held);
}

/// What does not fit is looked at so long and no longer, however many such files there are; what is small is read.
#[test]
fn looking_in_vain_has_an_end() {
    let mut left = Left::ALL;
    let room = left.room(false);
    let mut kept = Portion::of(room.offered());
    assert!(kept.takes(space::MOST - 200_000));
    room.take(&kept);
    let mut looked_at = 0;
    for _ in 0..100 {
        let mut refused = Portion::of(room.offered());
        assert!(!refused.takes(250_000));
        looked_at += refused.rest();
        room.take(&refused.given_back());
    }
    assert!(looked_at <= space::MOST_IN_VAIN + 100 * space::FEW, "{looked_at}");
    let mut small = Portion::of(room.offered());
    assert!(small.takes(space::FEW));
    room.take(&small);
    assert_eq!(room.offered(), space::FEW, "there is still room");
}

#[test]
fn teams_without_end_are_not_read_and_apps_are() {
    let team = |name: &str| {
        TEAM.replace("payments", name).replace("members:", &format!("x: [{}], members:", ["a"; 200_000].join(",")))
    };
    let mut files: Vec<(String, String)> = ["a", "b", "c"].map(|name| (format!("{name}.yaml"), team(name))).to_vec();
    files.push(("d.yaml".to_owned(), small("d")));
    let compiled = compile(&pairs(&files));
    let shown = rendered(&compiled);
    assert_eq!(refused(&compiled), ["c.yaml"], "{shown:.2000}");
    assert!(
        shown.contains("nothing but Repository and Team that the same teams may write have 500000"),
        "{shown:.2000}"
    );
    assert!(compiled.desired.resources.contains_key(&id("d")) && compiled.desired.owner.is_some());
    assert!(compiled.desired.teams.contains_key(&name("payments")), "what fits after it is read");
}

/// What an overlay changes counts with it, whichever environment is selected, and nothing merged for another is kept.
#[test]
fn overlays_without_end_are_not_merged() {
    let mut all = vec![("big.yaml".to_owned(), big("big"))];
    all.extend((0..50).map(|n| (format!("environments/e{n:02}/big.yaml"), replicas("big", n))));
    all.extend([
        ("small.yaml".to_owned(), small("small")),
        ("environments/e45/small.yaml".to_owned(), replicas("small", 3)),
        ("codeops.yaml".to_owned(), REPOSITORY.to_owned()),
        ("teams/payments.yaml".to_owned(), TEAM.to_owned()),
    ]);
    let files = files(&pairs(&all));
    let mut compiler = Compiler::default();
    for (environment, replicas) in [(None, Some(1)), (Some("e07"), Some(7)), (Some("e45"), None)] {
        let context = Context { environment: environment.and_then(|name| name.parse().ok()), ..Context::default() };
        let compiled = compiler.compile(&files, &context);
        let places: Vec<String> = (39..50).map(|n| format!("environments/e{n}/big.yaml")).collect();
        assert_eq!(refused(&compiled), places, "{environment:?}");
        let live = compiled.desired.resources.get(&id("big")).map(|resource| resource.spec.replicas);
        assert_eq!(live, replicas, "{environment:?}: {:?}", compiled.desired.held);
        assert_eq!(compiled.desired.held.contains_key(&id("big")), replicas.is_none(), "it keeps what it has");
        let small = compiled.desired.resources[&id("small")].spec.replicas;
        assert_eq!(small, if environment == Some("e45") { 3 } else { 1 }, "what fits after them is merged");
        let own = ["e07", "e45", "e45"].iter().filter(|name| environment == Some(*name)).count();
        assert_eq!(compiler.merged_bodies(), own, "{environment:?}");
    }
}

#[test]
fn ten_thousand_manifests_with_overlays_have_room() {
    let spec = "  provider: local\n  run:\n    command: [./shop, --port, $PORT]\n  port: {number: 8080, protocol: http}\n  env:\n    \
                LOG: info\n    NAME: shop\n  resources: {cpu: \"0.5\", memory: 256MiB}\n  health: {http: /healthz, interval: 2s, \
                timeout: 1s, startTimeout: 60s}\n  rollout: {strategy: rolling, surge: 1, unavailable: 0, bake: 2m}\n";
    let many = 1_000;
    let mut files: Vec<(String, String)> = (0..many)
        .map(|n| (format!("apps/a{n}.yaml"), app(&format!("a{n}"), &spec.replace("8080", &(2_000 + n).to_string()))))
        .collect();
    for environment in ["prod", "stage", "test"] {
        files.extend(
            (0..many).map(|n| (format!("environments/{environment}/a{n}.yaml"), replicas(&format!("a{n}"), 2))),
        );
    }
    let compiled = compile(&pairs(&files));
    assert_eq!(rendered(&compiled), "");
    let mut compiler = Compiler::default();
    compiler.compile(&self::files(&pairs(&files)), &Context::default());
    let [kept, merged] = compiler.space();
    assert!(kept * 10 * 3 / 2 < space::MOST && merged * 10 * 3 / 2 < space::MOST_MERGED, "{kept} {merged}");
}

/// So many mistakes that nobody reads them take no memory, and hide none of another file's.
#[test]
fn mistakes_of_a_file_are_told_up_to_a_number_and_each_document_is_held() {
    let wrong = (0..99).map(|n| format!("  x{n}: 1\n")).collect::<String>();
    let documents: Vec<String> =
        (0..200).map(|n| app(&format!("a{n}"), &format!("  run: {{command: [x]}}\n{wrong}"))).collect();
    let dangling = (0..200).map(|n| {
        app(
            &format!("d{n}"),
            &format!("  run: {{command: [x]}}\n  after: [{}]\n", {
                (0..99).map(|n| format!("app/z{n}")).collect::<Vec<_>>().join(", ")
            }),
        )
    });
    let files = [
        ("a.yaml".to_owned(), documents.join("---\n")),
        ("b.yaml".to_owned(), dangling.collect::<Vec<_>>().join("---\n")),
        ("c.yaml".to_owned(), app("c", "  run: {command: [x]}\n  wrong: 1\n")),
    ];
    let compiled = compile(&pairs(&files));
    let of = |file: &str| compiled.diagnostics.iter().filter(|found| &*found.place.file == file).count();
    assert!((MOST_OF_FILE - 100..=MOST_OF_FILE).contains(&of("a.yaml")), "{}", of("a.yaml"));
    assert_eq!((of("b.yaml"), of("c.yaml")), (MOST_OF_FILE, 1));
    assert_eq!(compiled.desired.held.len(), 401);
}
