//! How much of expressions is read: what takes too long is refused before it is parsed, whichever files were read before.

use proptest::prelude::*;

use super::*;

/// Weighs 18,000 and is parsed at once.
fn heavy() -> String {
    format!("'{}' != ''", "-".repeat(900))
}

/// A playbook that asks these, each on a line of its own from the seventh on.
fn asking(name: &str, expressions: &[String]) -> String {
    let steps = expressions.iter().enumerate().map(|(at, expression)| {
        format!("    - {{name: s{at}, wait: {{for: 1s}}, if: '{}'}}\n", expression.replace('\'', "''"))
    });
    format!(
        "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: {name}, team: payments}}\nspec:\n  on: {{alert: {{alertname: \
         {name}}}}}\n  steps:\n{}",
        steps.collect::<String>()
    )
}

fn heavies(name: &str, times: usize) -> String {
    asking(name, &vec![heavy(); times])
}

/// Where expressions are not read.
fn refused(compiled: &Compiled) -> Vec<String> {
    let refused = compiled.diagnostics.iter().filter(|found| found.message.contains("this expression is not read"));
    refused.map(|found| found.place.to_string()).collect()
}

fn in_force(compiled: &Compiled) -> Vec<&str> {
    compiled.desired.response.playbooks.keys().map(Name::as_str).collect()
}

#[test]
fn one_file_asks_for_so_much_and_others_go_on() {
    let two = format!("{}---\n{}", heavies("big", 7), heavies("next", 1));
    let compiled = compile(&[("b.yaml", &two), ("c.yaml", &heavies("small", 1))]);
    assert_eq!(refused(&compiled), ["b.yaml:12:39", "b.yaml:21:39"], "once a playbook: {}", rendered(&compiled));
    let shown = rendered(&compiled);
    assert!(shown.contains("those of a file have 100000 words and signs at most"), "{shown}");
    assert!(shown.contains("split the file"), "{shown}");
    assert_eq!(in_force(&compiled), ["small"]);
}

#[test]
fn all_files_together_ask_for_so_much_in_the_order_of_their_paths() {
    let files: Vec<(String, String)> =
        ["f", "b", "e", "a", "d", "c"].map(|name| (format!("{name}.yaml"), heavies(name, 5))).to_vec();
    let pairs: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
    let compiled = compile(&pairs);
    assert_eq!(refused(&compiled), ["f.yaml:9:39"]);
    let shown = rendered(&compiled);
    assert!(shown.contains("those of all files that the same teams may write have 500000 words"), "{shown}");
    assert_eq!(in_force(&compiled), ["a", "b", "c", "d", "e"]);
}

/// The slowest that were found, 512 of each: they took 11 s, and more.
#[test]
fn the_slowest_expressions_are_not_parsed_by_the_hundred() {
    let signs = format!("{}1", "-1<".repeat(340));
    let classes = vec![r"alert.a.matches('\\w{5}')"; 36].join("||");
    let folded = format!(r"alert.a.matches(r'(?i){}')", r"[\w]".repeat(240));
    for (slow, at_most) in [(signs, 14), (classes, 6), (folded, 8)] {
        let compiled = compile(&[("a.yaml", &asking("slow", &vec![slow.clone(); 64]))]);
        let at = refused(&compiled).first().and_then(|place| place.split(':').nth(1)?.parse::<usize>().ok());
        assert!(at.is_some_and(|line| line - 7 <= at_most), "{slow}: refused from {at:?} on");
    }
}

/// Regular expressions of matchers are made as well: 1,900 such took 24 s, though each was refused as too big.
#[test]
fn the_slowest_matchers_are_not_made_by_the_thousand() {
    let route = |pattern: &str| {
        let head = "apiVersion: codeops/v1\nkind: AlertRoute\nmetadata: {name: main, team: payments}\nspec:\n  route:\n    routes:\n";
        let routes = (0..1_900).map(|n| format!("      - {{match: ['a{n}=~\"{pattern}\"']}}\n"));
        format!("{head}{}", routes.collect::<String>())
    };
    for (slow, at_most) in
        [(r"[\\w]".repeat(60), 32), (format!("(?i){}", r"[\\D]".repeat(90)), 1), (r"\\w{50}".repeat(4), 50)]
    {
        let compiled = compile(&[("a.yaml", &route(&slow))]);
        let at = refused(&compiled).first().and_then(|place| place.split(':').nth(1)?.parse::<usize>().ok());
        assert!(
            at.is_some_and(|line| line - 7 <= at_most),
            "{slow}: refused from {at:?} on: {:.900}",
            rendered(&compiled)
        );
    }
    let honest = compile(&[("a.yaml", &route("db-[0-9]+|cache-main|web.*"))]);
    assert_eq!(refused(&honest), Vec::<String>::new());
}

#[test]
fn what_ships_and_what_is_written_by_many_is_read() {
    let honest = [
        "target.health != 'Healthy' && alert.labels.app == 'shop'",
        "has(steps.s0.output) && steps.s0.output.free < 5",
        "alert.labels.app.matches('^shop-[0-9]+$')",
        "run.rung > 0 && alerts.firing > 3",
    ];
    let honest: Vec<String> = honest.map(str::to_owned).to_vec();
    let mut files: Vec<(String, String)> =
        (0..300).map(|n| (format!("playbooks/p{n}.yaml"), asking(&format!("p{n}"), &honest))).collect();
    let library = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../playbooks");
    for entry in std::fs::read_dir(library).expect("the library is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            files.push((format!("library/{name}"), std::fs::read_to_string(&path).expect("a text")));
        }
    }
    let pairs: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
    let compiled = compile(&pairs);
    assert_eq!(refused(&compiled), Vec::<String>::new());
    assert!(in_force(&compiled).len() >= 300, "{}", rendered(&compiled));
}

/// So many files are parsed on two threads, each as if the other had nothing to read.
#[test]
fn it_does_not_matter_which_thread_reads_what() {
    let text = |name: &str| heavies(name, 1);
    let files: Vec<(String, String)> =
        (0..300).map(|n| (format!("p{n:03}.yaml"), text(&format!("p{n:03}")).replace(&"-".repeat(800), ""))).collect();
    let pairs: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
    let compiled = compile(&pairs);
    let first = pairs.len() - refused(&compiled).len();
    assert!((200..299).contains(&first), "{first}");
    let expected: Vec<String> = (first..300).map(|n| format!("p{n:03}.yaml:7:39")).collect();
    assert_eq!(refused(&compiled), expected);
}

/// However much a team asks for, others have theirs.
#[test]
fn nobody_takes_what_is_for_the_files_of_another_team() {
    let mut files: Vec<(String, String)> =
        (0..8).map(|n| (format!("a/p{n}.yaml"), heavies(&format!("a{n}"), 5))).collect();
    files.push(("b/p.yaml".to_owned(), heavies("b", 5).replace("payments", "search")));
    let pairs: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
    let team = |path: &str| TeamSettings { paths: vec![path.to_owned()], ..TeamSettings::default() };
    let teams = [(name("payments"), team("a/**")), (name("search"), team("b/**"))].into();
    let compiled = Compiler::default().compile(&self::files(&pairs), &Context { teams, ..Context::default() });
    assert_eq!(refused(&compiled), ["a/p5.yaml:9:39", "a/p6.yaml:7:39", "a/p7.yaml:7:39"]);
}

/// Each overlay makes another manifest of the same expressions.
#[test]
fn what_overlays_make_counts_too_whichever_environment_is_selected() {
    let base = heavies("big", 5);
    let overlay = |name: &str| {
        let patch = "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {name: big}\nspec: {limits: {timeout: 5m}}\n";
        (format!("environments/{name}/big.yaml"), patch.to_owned())
    };
    let mut all = vec![("big.yaml".to_owned(), base)];
    all.extend(["e1", "e2", "e3", "e4", "e5", "e6"].map(overlay));
    let mut pairs: Vec<(&str, &str)> = all.iter().map(|(path, text)| (&**path, &**text)).collect();
    pairs.extend([("codeops.yaml", REPOSITORY), ("teams/payments.yaml", TEAM)]);
    let files = files(&pairs);
    let mut compiler = Compiler::default();
    for (environment, is_read) in [("e1", true), ("e6", false), ("e4", true), ("e5", false), ("e1", true)] {
        let context = Context { environment: environment.parse().ok(), ..Context::default() };
        for compiled in [compiler.compile(&files, &context), Compiler::default().compile(&files, &context)] {
            assert_eq!(refused(&compiled).is_empty(), is_read, "{environment}: {}", rendered(&compiled));
        }
    }
}

/// Comparing targets evaluates them, in pairs.
#[test]
fn rivals_are_looked_for_only_so_long() {
    let on_one = |name: &str, target: &str| {
        format!(
            "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: {name}, team: payments}}\nspec:\n  on: {{alert: {{alertname: \
             Down, app: shop}}}}\n  target: \"{target}\"\n  steps: [{{name: s0, wait: {{for: 1s}}}}]\n"
        )
    };
    let same = format!("{}---\n{}", on_one("y", "app/shop"), on_one("z", "app/{{ alert.labels.app }}"));
    let shop = app("shop", "  run: {command: [x]}\n");
    let compiled = compile(&[("shop.yaml", &shop), ("z.yaml", &same)]);
    assert!(rendered(&compiled).contains("answer the same alerts"), "{}", rendered(&compiled));

    let mut many = String::new();
    for n in 0..5 {
        many += &on_one(&format!("a{n}"), &format!("app/{{{{ {} ? 'a{n}' : 'b' }}}}", heavy()));
        many += "---\n";
    }
    let compiled = compile(&[("a.yaml", &many), ("shop.yaml", &shop), ("z.yaml", &same)]);
    assert_eq!(in_force(&compiled).len(), 7, "{}", rendered(&compiled));
    assert!(!rendered(&compiled).contains("answer the same alerts"), "{}", rendered(&compiled));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// What was read before says nothing: files come, go and change, and each is allowed what it is in a fresh look.
    #[test]
    fn a_revision_is_read_alike_after_any_other(
        revisions in proptest::collection::vec(proptest::collection::btree_map("[a-h]", 0_usize..7, 0..8), 1..5),
        patched in proptest::collection::btree_set("[a-h]", 0..3),
    ) {
        let mut compiler = Compiler::default();
        for revision in revisions {
            let mut all: Vec<(String, String)> =
                vec![("codeops.yaml".to_owned(), REPOSITORY.to_owned()), ("teams/payments.yaml".to_owned(), TEAM.to_owned())];
            for (name, times) in &revision {
                let mut text = heavies(name, *times);
                if *times == 0 {
                    text = asking(name, &["1 < 2".to_owned()]);
                }
                all.push((format!("{name}.yaml"), text));
            }
            all.extend(patched.iter().map(|name| {
                let patch = format!(
                    "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: {name}}}\nspec: {{limits: {{timeout: 5m}}}}\n"
                );
                (format!("environments/e/{name}.yaml"), patch)
            }));
            let pairs: Vec<(&str, &str)> = all.iter().map(|(path, text)| (&**path, &**text)).collect();
            let files = files(&pairs);
            for environment in [None, "e".parse().ok()] {
                let context = Context { environment, ..Context::default() };
                let fresh = Compiler::default().compile(&files, &context);
                prop_assert_eq!(&compiler.compile(&files, &context).diagnostics, &fresh.diagnostics);
            }
        }
    }
}
