//! Imports go one way only, as docs/ARCHITECTURE.md draws it: read from every path in the sources, tests aside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::paths::{Mention, mentions, test_modules, without_tests};

/// The rooms each room may import from, within its own crate. A room that is missing here fails the test.
const CORE: &[(&str, &[&str])] = &[
    ("expression", &[]),
    ("model", &["expression"]),
    ("config", &["model"]),
    ("schedule", &["model"]),
    ("desired", &["model", "config", "expression", "schedule"]),
    ("plan", &["model", "config", "desired"]),
    ("policy", &["model", "config", "desired", "plan"]),
    ("rollout", &["model", "config", "plan"]),
    ("action", &["model", "plan"]),
    ("alert", &["model", "config"]),
    ("playbook", &["model", "config", "expression", "schedule", "alert"]),
];

const ROOT: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("launch", &["base"]),
    ("journal", &[]),
    ("port", &["journal", "base"]),
    ("edge", &[]),
    ("source", &["port", "journal", "base", "launch"]),
    ("store", &["port", "journal", "base"]),
    ("secret", &["port", "journal", "base"]),
    ("effect", &["port", "journal", "base", "launch"]),
    ("keeper", &["port", "journal", "base", "launch"]),
    ("provider", &["port", "journal", "base", "keeper"]),
    ("gate", &["port", "journal"]),
    ("reconcile", &["port", "journal", "gate"]),
    ("respond", &["port", "journal", "gate"]),
    ("web", &["port", "journal", "edge"]),
    ("hooks", &["port", "journal", "base", "edge"]),
    ("daemon", &["*"]),
    ("cli", &["*"]),
];

/// What `codeops-core` may depend on: nothing that opens, waits, asks the time or rolls dice.
const CORE_DEPENDENCIES: &[&str] = &[
    "annotate-snippets",
    "cel",
    "croner",
    "granit-parser",
    "hex",
    "jiff",
    "regex",
    "schemars",
    "serde",
    "serde-saphyr",
    "serde_json",
    "sha2",
    "strsim",
    "thiserror",
];

/// Parts of the standard library that reach outside.
const IMPURE: &[&str] =
    &["std::fs", "std::env", "std::process", "std::thread::spawn", "std::thread::sleep", "std::os", "std::io::stdin"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder") {
            let path = entry.expect("a folder entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The sources below `folder` but those that are compiled for tests alone.
fn shipped(folder: &str) -> Vec<PathBuf> {
    let mut found = sources(folder);
    let for_tests: Vec<PathBuf> = found.iter().flat_map(|path| test_files(path)).collect();
    found.retain(|path| !for_tests.iter().any(|test| path.starts_with(test) || *path == test.with_extension("rs")));
    found
}

/// Where the modules lie that `path` declares for tests alone, without their endings.
fn test_files(path: &Path) -> Vec<PathBuf> {
    let own = path.file_stem().is_some_and(|stem| stem == "mod" || stem == "lib" || stem == "main");
    let folder = if own { path.parent().map(Path::to_path_buf) } else { Some(path.with_extension("")) };
    let folder = folder.unwrap_or_default();
    test_modules(&read(path)).iter().map(|name| folder.join(name)).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a source file")
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// `src/provider/process/mod.rs` below `src` is the module `provider::process`.
fn module_of(path: &Path, below: &str) -> Vec<String> {
    let relative = path.strip_prefix(root().join(below)).expect("a file below the folder");
    let mut module: Vec<String> =
        relative.with_extension("").components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// Breaches of `table` in the sources below `folder`.
fn breaches(folder: &str, table: &[(&str, &[&str])]) -> Vec<String> {
    let table: BTreeMap<&str, &[&str]> = table.iter().copied().collect();
    let mut found = Vec::new();
    for path in shipped(folder) {
        let module = module_of(&path, folder);
        let Some(room) = module.first() else { continue };
        let Some(allowed) = table.get(room.as_str()) else {
            found.push(format!("{}: the room `{room}` is on no floor; add it to the table", shown(&path)));
            continue;
        };
        for Mention { path: segments, line } in mentions(&without_tests(&read(&path)), &module) {
            let Some(target) = segments.first().filter(|t| table.contains_key(t.as_str())) else { continue };
            let at = format!("{}:{line}: `{room}` must not import `{}`", shown(&path), segments.join("::"));
            if target != room && !allowed.contains(&"*") && !allowed.contains(&target.as_str()) {
                found.push(at);
            } else if room == "provider" && target == "keeper" && module.get(1).is_none_or(|m| m != "process") {
                found.push(format!("{at}: only provider::process speaks to keepers"));
            } else if room == "provider" && is_sibling_provider(&module, &segments) {
                found.push(format!("{at}: providers do not know each other"));
            }
        }
    }
    found
}

fn is_sibling_provider(module: &[String], target: &[String]) -> bool {
    let provider = |path: &[String]| path.get(1).filter(|name| *name != "registry").cloned();
    match (provider(module), provider(target)) {
        (Some(from), Some(to)) if target.first().is_some_and(|t| t == "provider") => {
            from != to && root().join("src/provider").join(&to).is_dir()
        }
        _ => false,
    }
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn imports_in_the_core_go_down() {
    assert_none("core's floors", &breaches("core/src", CORE));
}

#[test]
fn imports_in_the_daemon_go_down() {
    assert_none("the daemon's floors", &breaches("src", ROOT));
}

#[test]
fn the_core_is_pure() {
    let manifest = read(&root().join("core/Cargo.toml"));
    let section = manifest.split("\n[dependencies]\n").nth(1).and_then(|s| s.split("\n[").next()).expect("a section");
    let declared: BTreeSet<&str> = section.lines().filter_map(|l| l.split(['.', ' ', '=']).next()).collect();
    let foreign: Vec<String> = declared
        .iter()
        .filter(|name| !name.is_empty() && !name.starts_with('#') && !CORE_DEPENDENCIES.contains(name))
        .map(|name| format!("core/Cargo.toml: {name}"))
        .collect();
    assert_none("dependencies that the core must not have", &foreign);

    let mut reaching = Vec::new();
    for path in shipped("core/src") {
        let text = without_tests(&read(&path));
        reaching
            .extend(IMPURE.iter().filter(|word| text.contains(**word)).map(|word| format!("{}: {word}", shown(&path))));
    }
    assert_none("the core reaches outside", &reaching);
}

#[test]
fn the_environment_is_read_in_one_place() {
    let mut found = Vec::new();
    for path in shipped("src") {
        let name = shown(&path);
        if name.starts_with("src/cli/") || name == "src/main.rs" {
            continue;
        }
        let text = without_tests(&read(&path));
        for word in ["env::var", "env::args", "env::set_var", "env::home_dir"] {
            if text.contains(word) {
                found.push(format!("{name}: {word}"));
            }
        }
    }
    assert_none("only cli and main read the environment", &found);
}

#[test]
fn features_are_chosen_in_the_registry_alone() {
    let elsewhere: Vec<String> = sources("src")
        .iter()
        .chain(&sources("core/src"))
        .filter(|path| shown(path) != "src/provider/registry.rs")
        .filter(|path| {
            let text = read(path);
            text.contains(concat!("cfg(", "feature")) || text.contains(concat!("cfg!(", "feature"))
        })
        .map(|path| shown(path))
        .collect();
    assert_none("cfg(feature) outside src/provider/registry.rs", &elsewhere);
}

#[test]
fn every_file_says_what_it_is_for_and_stays_readable() {
    let mut found = Vec::new();
    let shipped: Vec<PathBuf> = shipped("src").into_iter().chain(shipped("core/src")).collect();
    let tests = sources("tests");
    for path in sources("src").iter().chain(&sources("core/src")).chain(&tests) {
        let text = read(path);
        let name = shown(path);
        if !text.starts_with("//! ") {
            found.push(format!("{name}: does not begin with `//! ` and what it is for"));
        }
        let lines = without_tests(&text).trim_end().lines().count();
        if shipped.contains(path) && lines > 400 {
            found.push(format!("{name}: {lines} lines; split it by ideas (400 at most, tests aside)"));
        }
    }
    assert_none("files", &found);
}

#[test]
fn lints_are_waived_only_with_a_reason() {
    let clippy = read(&root().join("clippy.toml"));
    for ban in clippy.lines().filter(|line| line.contains("{ path =")) {
        assert!(ban.contains("reason = \""), "clippy.toml: a ban without its reason: {ban}");
    }
    let mut found = Vec::new();
    for path in sources("src").iter().chain(&sources("core/src")) {
        let text = read(path);
        if text.contains(concat!("#[", "allow(")) || text.contains(concat!("#![", "allow(")) {
            found.push(format!("{}: `allow` hides a lint for good; use `expect` with a reason", shown(path)));
        }
        if text.contains(concat!("unsafe", " {")) {
            found.push(format!("{}: unsafe code", shown(path)));
        }
    }
    assert_none("waivers", &found);
}
