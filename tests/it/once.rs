//! `plan` and `apply` as a user runs them, on real repositories and real processes: what they say, leave and end with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::git::TempRepo;
use crate::support::process_harness::end_all;
use crate::support::site::codeops;

const REPOSITORY: &str =
    "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme}\nspec: {defaults: {provider: local}}\n";
const TEAM: &str = "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: shop}\nspec: {}\n";

/// A config repository and the state folder of the commands that look at it.
struct Place {
    repository: TempRepo,
    folder: TempDir,
}

/// How a command ended, and what it printed.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn new(apps: &[&str]) -> Self {
        let repository = TempRepo::with(&[("codeops.yaml", REPOSITORY), ("team.yaml", TEAM)]);
        for app in apps {
            repository.write(&format!("{app}.yaml"), &sleeper(app));
        }
        repository.commit("Add apps");
        let folder = tempfile::tempdir().expect("a folder");
        // Under root apps have users of their own, who have to reach their folders.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        Self { repository, folder }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn run(&self, command: &[&str]) -> Ended {
        let mut run = codeops();
        run.args(command).env("TMPDIR", self.folder.path());
        run.arg("--repo").arg(self.repository.path()).arg("--state").arg(self.state());
        let ended = run.output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Ended { code: ended.status.code().unwrap_or(-1), out: text(ended.stdout), err: text(ended.stderr) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        end_all(&self.state());
    }
}

fn sleeper(name: &str) -> String {
    format!(
        "apiVersion: codeops/v1\nkind: App\nmetadata: {{name: {name}, team: shop}}\nspec: {{run: {{command: [sleep, \"900\"]}}, rollout: {{bake: 0s}}}}\n"
    )
}

#[test]
fn apply_tells_of_every_step_and_logs_nothing() {
    let place = Place::new(&["a"]);
    let applied = place.run(&["apply"]);
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    let said = |end: &str| applied.err.lines().any(|line| line.starts_with("create app/a …") && line.ends_with(end));
    assert!(said("…") && said(" s)"), "begun and done are not in\n{}", applied.err);
    assert!(applied.err.contains("app/a is Synced, Healthy"), "{}", applied.err);
    assert!(!applied.err.contains("INFO") && !applied.err.contains("WARN"), "a log\n{}", applied.err);
    assert!(!applied.out.contains('…'), "progress is no part of the answer\n{}", applied.out);
    assert_eq!(place.run(&["apply"]).err, "", "where nothing is done, nothing is told");
}

#[test]
fn a_plan_without_a_store_says_so_and_leaves_nothing() {
    let place = Place::new(&["a"]);
    let files = || fs::read_dir(place.folder.path()).expect("a folder").count();
    let planned = place.run(&["plan"]);
    assert_eq!(planned.code, 0, "{}", planned.err);
    assert!(planned.out.contains("app/a create"), "{}", planned.out);
    let note = format!("no store at {}: planned as if codeops had never run here", place.state().display());
    assert!(planned.err.contains(&note), "{}", planned.err);
    assert_eq!(files(), 0, "neither a state folder nor what was fetched");
    place.run(&["apply"]);
    let planned = place.run(&["plan"]);
    assert_eq!((planned.code, planned.err.as_str()), (0, ""), "{}", planned.out);
}

#[test]
fn a_rewritten_history_that_is_accepted_and_all_held_ends_with_held() {
    let place = Place::new(&["a", "b", "c"]);
    let first = place.run(&["apply"]);
    assert_eq!(first.code, 0, "{}{}", first.out, first.err);
    // The old history is gone for good, over there and in the mirror.
    let git = |arguments: &[&str]| place.repository.git(arguments);
    git(&["checkout", "--quiet", "--orphan", "other"]);
    for app in ["a.yaml", "b.yaml", "c.yaml"] {
        place.repository.remove(app);
    }
    let tip = place.repository.commit("Begin anew");
    git(&["branch", "--quiet", "-M", "main"]);
    git(&["reflog", "expire", "--expire=now", "--all"]);
    git(&["gc", "--quiet", "--prune=now"]);
    fs::remove_dir_all(place.state().join("source")).expect("the mirror");
    let settings = place.folder.path().join("daemon.yaml");
    fs::write(&settings, format!("repository: {{accept: {tip}}}\n")).expect("written");
    let settings = settings.display().to_string();
    for time in ["right after", "again"] {
        let held = place.run(&["apply", "--settings", &settings]);
        assert_eq!(held.code, 3, "{time}: {}{}", held.out, held.err);
        assert!(held.out.contains("Codeops-Allow:") && !held.out.contains("failed"), "{time}: {}", held.out);
    }
}
