//! The commands as a user runs them: what they print, where, and how they end.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use tempfile::TempDir;

use crate::support::flow::{REPOSITORY, TEAM};
use crate::support::git::TempRepo;
use crate::support::port::free_port;

/// Where git is, on every machine that the tests run on.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// codeops in an environment that holds nothing of this machine's but the path.
fn codeops() -> Command {
    let mut command = Command::cargo_bin("codeops").expect("the binary");
    command.env_clear().env("PATH", PATH).env("HOME", "/nonexistent").timeout(Duration::from_secs(30));
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let done = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (done.status.code().unwrap_or(-1), text(done.stdout), text(done.stderr))
}

fn example() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/repo-layout"))
}

fn repository(apps: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).expect("written");
    write("codeops.yaml", "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme}\nspec: {}\n");
    write("team.yaml", "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: shop}\nspec: {}\n");
    write("apps.yaml", apps);
    folder
}

const APP: &str = "apiVersion: codeops/v1\nkind: App\nmetadata: {name: shop, team: shop}\nspec:\n  provider: local\n  run: {command: [/bin/shop]}\n";

#[test]
fn the_example_is_valid_as_it_is_and_in_production() {
    let (code, out, err) = run(codeops().arg("validate").arg(example()));
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("valid") && out.contains("2 resources"), "{out}");
    let (code, out, err) = run(codeops().args(["validate", "--environment", "prod"]).arg(example()));
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn where_no_alert_reaches_a_person_validate_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ops = folder.path().join("ops");
    assert_eq!(run(codeops().arg("init").arg(&ops)).0, 0);
    let (code, out, _) = run(codeops().arg("validate").arg(&ops));
    assert!(code == 0 && out.contains("no alert reaches a person") && out.contains("valid, 1 warning"), "{out}");
    assert!(out.contains("codeops.yaml:1:1"), "{out}");
    let settings = folder.path().join("settings.yaml");
    fs::write(&settings, "fallback: people\n").expect("written");
    let (_, out, _) = run(codeops().arg("validate").arg(&ops).arg("--settings").arg(&settings));
    assert!(!out.contains("no alert reaches a person"), "{out}");
    let (_, out, _) = run(codeops().arg("validate").arg(example()));
    assert!(!out.contains("no alert reaches a person"), "{out}");
}

#[test]
fn a_mistake_is_shown_with_its_line_and_ends_with_1() {
    let folder = repository(&APP.replace("provider: local", "provider: local\n  replica: 2"));
    let (code, out, _) = run(codeops().arg("validate").arg(folder.path()));
    assert_eq!(code, 1, "{out}");
    for part in ["apps.yaml:6:3", "replica: 2", "replicas", "1 error"] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    assert!(!out.contains('\u{1b}'), "colour where there is no terminal\n{out}");
}

#[test]
fn a_bad_name_hides_no_other_mistake() {
    let folder = repository(&APP.replace("name: shop", "name: Shop_1").replace("provider: local", "replica: 2"));
    let (code, out, _) = run(codeops().arg("validate").arg(folder.path()));
    assert_eq!(code, 1, "{out}");
    for part in ["`Shop_1` is not a valid name", "replica: 2", "`replicas`"] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    assert_eq!(out.matches("apps.yaml:").count(), 2, "each is told once\n{out}");
}

#[test]
fn a_name_without_its_kind_is_asked_back() {
    let (code, _, err) = run(codeops().args(["get", "hello"]));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("did you mean app/hello?"), "{err}");
}

#[test]
fn a_team_that_nobody_knows_is_no_gap_in_the_table() {
    let body = r#"{"resources":[{"id":"app/broken","team":null,"provider":"local","sync":"Held","health":"Missing",
        "revision":"0123456789012345678901234567890123456789","since":"2026-11-20T16:00:00Z","why":"x","digest":null}]}"#;
    let (address, _asked) = page("200 OK", body);
    let (code, out, err) = run(codeops().args(["get", "--server", &address]));
    assert_eq!(code, 0, "{err}");
    let row: Vec<&str> = out.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[..4], ["app/broken", "-", "Held", "Missing"], "{out}");
}

#[test]
fn a_provider_that_only_settings_can_have_is_said_not_to_be_checked() {
    let folder = repository(&APP.replace("provider: local", "provider: nosuch"));
    let (code, told, _) = run(codeops().arg("validate").arg(folder.path()));
    assert!(
        code == 0 && told.contains("the provider `nosuch` is not checked") && told.contains("2 warnings"),
        "{told}"
    );
    for part in ["apps.yaml:5:13", "  provider: nosuch"] {
        assert!(told.contains(part), "it stands where it is written ({part}): {told}");
    }
    let folder = repository(&APP.replace("provider: local", "provider: loacl"));
    let (_, told, _) = run(codeops().arg("validate").arg(folder.path()));
    assert!(told.contains("did you mean `local`?"), "{told}");
}

#[test]
fn validate_answers_as_json() {
    let folder = repository(&APP.replace("team: shop", "team: shops"));
    let (code, out, _) = run(codeops().args(["validate", "-o", "json"]).arg(folder.path()));
    assert_eq!(code, 1);
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(answer["valid"], false);
    assert_eq!(answer["diagnostics"][0]["place"]["file"], "apps.yaml");
}

#[test]
fn a_folder_that_is_not_there_ends_with_2() {
    let (code, out, err) = run(codeops().args(["validate", "/nonexistent/ops"]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("/nonexistent/ops"), "{err}");
}

#[test]
fn validate_takes_and_refuses_what_the_daemon_does() {
    let folder = repository(APP);
    fs::create_dir(folder.path().join(".ci")).expect("made");
    fs::write(folder.path().join(".ci/job.yaml"), "not: a manifest").expect("written");
    let validate = || run(codeops().arg("validate").arg(folder.path()));
    assert_eq!(validate().0, 0, "what is hidden is not read");
    fs::write(folder.path().join("big.yaml"), vec![b' '; (1 << 20) + 1]).expect("written");
    let (code, out, err) = validate();
    assert!(code == 1 && (out.clone() + &err).contains("big.yaml"), "{out}{err}");
    fs::create_dir_all(folder.path().join("d/".repeat(40))).expect("made");
    let (code, out, err) = validate();
    assert!(code == 1 && (out.clone() + &err).contains("nested too deep"), "{out}{err}");
}

#[test]
fn validate_of_a_part_says_first_of_what_it_is_one() {
    let folder = repository(APP);
    let whole = run(codeops().arg("validate").arg(folder.path()));
    assert!(!whole.2.contains("is a part of"), "{}", whole.2);
    let apps = folder.path().join("apps");
    fs::create_dir_all(&apps).expect("made");
    let (_, _, err) = run(codeops().arg("validate").arg(&apps));
    assert!(err.contains("is a part of the config repository") && err.contains("instead"), "{err}");
    let beside = tempfile::tempdir().expect("a folder");
    let (_, _, err) =
        run(codeops().current_dir(folder.path()).arg("validate").arg(up_to(folder.path(), beside.path())));
    assert!(!err.contains("is a part of"), "{err}");
}

/// One folder, seen from another beside it.
fn up_to(from: &Path, to: &Path) -> PathBuf {
    Path::new("..").join(to.strip_prefix(from.parent().expect("a folder")).expect("beside it"))
}

/// What there is without settings runs no images: whoever asks for one reads so, and where.
#[test]
fn validate_without_settings_warns_of_an_image() {
    let folder = repository(&APP.replace("{command: [/bin/shop]}", "{image: 'nginx:1'}"));
    let (code, out, _) = run(codeops().arg("validate").arg(folder.path()));
    assert!(code == 0 && out.contains("runs no images") && out.contains("warning"), "{out}");
}

#[test]
fn validate_follows_no_link_out_of_the_folder() {
    let folder = repository(APP);
    std::os::unix::fs::symlink("/etc", folder.path().join("more")).expect("a link");
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("other.yaml")).expect("a link");
    let (code, out, err) = run(codeops().arg("validate").arg(folder.path()));
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn init_makes_a_repository_that_is_valid_and_committed() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("my-ops");
    let (code, out, err) = run(codeops().arg("init").arg(&target));
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = run(codeops().arg("validate").arg(&target));
    assert_eq!(code, 0, "{out}{err}");
    assert!(fs::read_to_string(target.join("codeops.yaml")).expect("a file").contains("name: my-ops"));
    let log = Command::new("git").arg("-C").arg(&target).args(["log", "--oneline"]).output().expect("git");
    assert_eq!(String::from_utf8_lossy(&log.stdout).lines().count(), 1);
}

#[test]
fn init_leaves_a_folder_with_something_in_it_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("notes.txt"), "mine").expect("written");
    let (code, _, err) = run(codeops().args(["init", "--name", "ops"]).arg(folder.path()));
    assert_eq!(code, 2);
    assert!(err.contains("notes.txt"), "{err}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn no_daemon_is_said_with_how_to_start_one() {
    let port = free_port();
    for command in [vec!["status"], vec!["get"], vec!["logs", "app/shop"], vec!["events"], vec!["runs"], vec!["alerts"]]
    {
        let (code, out, err) = run(codeops().args(&command).args(["--server", &format!("http://127.0.0.1:{port}")]));
        assert_eq!((code, out.as_str()), (4, ""), "{command:?}: {err}");
        assert!(err.contains("codeops run --repo") && err.contains(&port.to_string()), "{err}");
    }
}

#[test]
fn run_without_a_repository_says_what_is_missing() {
    for command in ["run", "plan", "apply"] {
        let (code, _, err) = run(codeops().arg(command));
        assert_eq!(code, 2, "{err}");
        assert!(err.contains("--repo") && err.contains("CODEOPS_REPO"), "{err}");
    }
}

#[test]
fn a_folder_that_is_no_repository_ends_the_command_with_what_to_do() {
    let (folder, state) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    fs::write(folder.path().join("codeops.yaml"), REPOSITORY).expect("written");
    for command in ["run", "plan", "apply"] {
        let (code, _, err) =
            run(codeops().args([command, "--repo"]).arg(folder.path()).arg("--state").arg(state.path()));
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("is no Git repository: make it one with `git init"), "{err}");
    }
}

#[test]
fn a_broken_git_configuration_of_the_user_is_told_and_damages_no_mirror() {
    let repository = TempRepo::with(&[("codeops.yaml", REPOSITORY), ("team.yaml", TEAM)]);
    let (state, home) = (passable(), tempfile::tempdir().expect("a folder"));
    let at_home = |command: &str| {
        let state = state.path().display().to_string();
        run(codeops().env("HOME", home.path()).args([command, "--repo", &repository.url(), "--state", &state]))
    };
    let (code, out, err) = at_home("apply");
    assert_eq!(code, 0, "{out}{err}");
    let mirrors = || {
        let source = fs::read_dir(state.path().join("source")).expect("mirrors");
        let mirrors = source.map(|entry| entry.expect("an entry").path()).filter(|path| path.join("HEAD").exists());
        mirrors.map(|path| (std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).expect("there")), path)).collect()
    };
    let before: Vec<(u64, PathBuf)> = mirrors();
    assert!(!before.is_empty());
    fs::write(home.path().join(".gitconfig"), "[user\n\tname = x").expect("written");
    for command in ["apply", "plan"] {
        let (code, out, err) = at_home(command);
        assert_ne!(code, 0, "{out}{err}");
        assert!(err.contains("Git's configuration") && err.contains(".gitconfig") && err.contains("HOME"), "{err}");
        assert!(!err.contains("damaged"), "{err}");
    }
    assert_eq!(mirrors(), before, "neither removed nor made anew");
    fs::remove_file(home.path().join(".gitconfig")).expect("mended");
    let (code, out, err) = at_home("apply");
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn plans_at_once_do_not_disturb_each_other() {
    let repository = TempRepo::with(&[("codeops.yaml", REPOSITORY), ("team.yaml", TEAM)]);
    let state = passable();
    let plan = || {
        let mut command = codeops();
        command.args(["plan", "--repo", &repository.url(), "--state", &state.path().display().to_string()]);
        command
    };
    // A state folder where a daemon has been: the mirror of plans is kept there.
    let (code, out, err) =
        run(codeops().args(["apply", "--repo", &repository.url(), "--state", &state.path().display().to_string()]));
    assert_eq!(code, 0, "{out}{err}");
    for number in 0..3 {
        repository.commit_file("notes.md", &number.to_string(), "More");
        let all = std::thread::scope(|scope| {
            let plans: Vec<_> = (0..6).map(|_| scope.spawn(|| run(&mut plan()))).collect();
            plans.into_iter().map(|plan| plan.join().expect("it ran")).collect::<Vec<_>>()
        });
        let alone = run(&mut plan());
        assert!(all.iter().all(|one| *one == alone), "{alone:?} {all:?}");
    }
}

#[test]
fn apply_ends_as_held_under_a_freeze_and_calls_suspended_what_is() {
    let frozen = "apiVersion: codeops/v1\nkind: Repository\nmetadata: {name: acme}\nspec: {freeze: {what: all, reason: a bad night}}\n";
    let team = "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: shop}\nspec: {}\n";
    let off = APP.replace("name: shop, ", "name: off, ") + "  suspend: true\n";
    let apps = format!("{APP}---\n{off}");
    let repository = TempRepo::with(&[("codeops.yaml", frozen), ("team.yaml", team), ("apps.yaml", &apps)]);
    let state = passable();
    let mut apply = codeops();
    apply.args(["apply", "-o", "json", "--repo"]).arg(repository.path()).arg("--state").arg(state.path().join("state"));
    let (code, out, err) = run(&mut apply);
    assert_eq!(code, 3, "{out}{err}");
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let verdicts: Vec<_> =
        told["resources"].as_array().expect("a list").iter().map(|it| (&it["id"], &it["verdict"])).collect();
    assert_eq!(verdicts, [(&"app/off".into(), &"suspended".into()), (&"app/shop".into(), &"held".into())]);
    assert_eq!(told["verdict"], "held");
}

#[test]
fn settings_with_a_mistake_are_refused_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("daemon.yaml");
    fs::write(&file, "repository: {url: https://git.example/ops.git}\nlisten: 127.0.0.1:1\nhoks: {}\n")
        .expect("written");
    let (code, _, err) = run(codeops().arg("run").arg("--settings").arg(&file));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("daemon.yaml:3:1") && err.contains("hooks"), "{err}");
}

#[test]
fn help_lists_the_exit_codes_and_hides_the_helpers() {
    let (code, out, _) = run(codeops().arg("--help"));
    assert_eq!(code, 0);
    assert!(out.contains("Exit codes") && out.contains("validate"), "{out}");
    assert!(!out.contains("demo-app") && !out.contains("keeper"), "{out}");
}

#[test]
fn schemas_and_completions_are_printed() {
    let (code, out, _) = run(codeops().args(["schema", "app"]));
    assert_eq!(code, 0);
    let schema: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(schema["properties"]["spec"].is_object(), "{out}");
    let (code, out, _) = run(codeops().args(["schema", "--overlay", "app"]));
    let schema: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(code == 0 && schema["properties"]["spec"]["required"].is_null(), "{out}");
    let (code, out, _) = run(codeops().args(["schema", "app", "-o", "yaml"]));
    assert!(code == 0 && out.lines().any(|line| line == "properties:"), "{out}");
    let (code, _, err) = run(codeops().args(["schema", "Pod"]));
    assert!(code == 2 && err.contains("App"), "{err}");
    let (code, out, _) = run(codeops().args(["completions", "bash"]));
    assert!(code == 0 && out.contains("codeops"), "{out}");
}

/// A daemon's page that gives one answer to everything, and what it was asked.
fn page(status: &str, body: &str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a request");
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).expect("a request");
        stream.write_all(answer.as_bytes()).expect("an answer");
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    (address, asked)
}

#[test]
fn get_prints_a_table_and_shows_a_token_only_in_the_header() {
    let body = r#"{"revision":null,"fresh_at":null,"resources":[{"id":"app/shop","team":"payments","provider":"local",
        "sync":"Held","health":"Healthy","revision":"0123456789012345678901234567890123456789",
        "since":"2026-11-20T16:00:00Z","why":"not \u001b[2Jours","digest":"v1:ab"}]}"#;
    let (address, asked) = page("200 OK", body);
    let (code, out, err) = run(codeops().args(["get", "apps", "--server", &address]).env("CODEOPS_TOKEN", "s3cret"));
    assert_eq!(code, 0, "{err}");
    assert!(asked.join().expect("asked").contains("authorization: Bearer s3cret"));
    for part in ["app/shop", "payments", "Held", "0123456", "2026-11-20 16:00:00"] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    assert!(!out.contains('\u{1b}') && !out.contains("s3cret"), "{out}");
}

/// A daemon's page that gives these answers, one a connection, and is gone.
fn streams(answers: Vec<(&'static str, String)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = std::thread::spawn(move || {
        let answer = |(kind, body): (&str, String)| {
            let (mut stream, _) = listener.accept().expect("a request");
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).expect("a request");
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
            stream.write_all((head + &body).as_bytes()).expect("an answer");
            let request = String::from_utf8_lossy(&request[..length]);
            request.lines().next().unwrap_or_default().to_owned()
        };
        answers.into_iter().map(answer).collect()
    });
    (address, asked)
}

#[test]
fn events_go_on_with_the_next_daemon_and_leave_none_out() {
    let event = |id: u64| serde_json::json!({"id": id, "at": "2026-11-20T16:00:00Z", "category": "step", "resource": "app/shop", "text": format!("number {id}")});
    let stream = |ids: &[u64]| {
        let sent = ids.iter().map(|id| format!("event: event\nid: {id}\ndata: {}\n\n", event(*id)));
        ("text/event-stream", sent.collect::<String>())
    };
    let page = |ids: &[u64], next: Option<&str>| {
        let items: Vec<_> = ids.iter().map(|id| event(*id)).collect();
        ("application/json", serde_json::json!({"items": items, "next": next}).to_string())
    };
    // The daemon ends after its fifth; the next one has written more than one page of others before it is asked again.
    let (address, asked) = streams(vec![
        stream(&[4, 5]),
        page(&[4, 3], None),
        stream(&[9]),
        page(&[9, 8], Some("8")),
        page(&[7, 6, 5], Some("5")),
    ]);
    #[expect(clippy::disallowed_methods, reason = "a command that goes on is read while it runs")]
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_codeops"));
    command.args(["events", "-f", "--limit", "2", "--server", &address]).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let out = std::io::BufReader::new(child.stdout.take().expect("its output"));
    let told: Vec<String> = std::io::BufRead::lines(out).map(|line| line.expect("text")).take(7).collect();
    child.kill().and_then(|()| child.wait()).expect("it goes on until then");
    let numbers: Vec<&str> = told.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(numbers, ["3", "4", "5", "6", "7", "8", "9"]);
    assert!(asked.join().expect("asked")[4].contains("after=8"), "page by page");
}

#[test]
fn a_problem_document_is_told_in_its_own_words() {
    let body =
        r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"app/shop is neither declared nor alive"}"#;
    let (address, asked) = page("404 Not Found", body);
    let (code, _, err) = run(codeops().args(["get", "app/shop", "--server", &address]));
    assert_eq!(code, 1);
    assert!(err.contains("neither declared nor alive"), "{err}");
    assert!(asked.join().expect("asked").starts_with("GET /api/v1/resources/app/shop "));
}

/// The status and the body of one answer.
type Answer<'a> = (&'a str, &'a str);

/// A daemon that gives these answers, one after the other.
fn pages(answers: &[Answer]) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let answers: Vec<String> = answers
        .iter()
        .map(|(status, body)| {
            let length = body.len();
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        })
        .collect();
    let asked = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a request");
            let _ = stream.read(&mut [0; 4096]).expect("a request");
            stream.write_all(answer.as_bytes()).expect("an answer");
        }
    });
    (address, asked)
}

/// Silence would read as: it has written nothing, and nothing happened to it.
#[test]
fn what_is_not_there_is_told_with_what_is() {
    let none = ("200 OK", r#"{"items":[],"next":null}"#);
    let missing = ("404 Not Found", r#"{"detail":"it is neither declared nor alive"}"#);
    let all = ("200 OK", r#"{"resources":[{"id":"app/shop"},{"id":"app/till"}]}"#);
    let one = ("200 OK", r#"{"id":"app/shop","instances":[{"id":"9f86d081-1"}]}"#);
    let cases: [(&[&str], &[Answer], &str); 5] = [
        (&["events", "--resource", "app/shpo"], &[none, missing, all], "nor alive; did you mean app/shop?"),
        (&["events", "--resource", "app/mail"], &[none, missing, all], "nor alive; there is app/shop, app/till"),
        (&["get", "app/tll"], &[missing, all], "nor alive; did you mean app/till?"),
        (&["logs", "app/shpo"], &[missing, all], "nor alive; did you mean app/shop?"),
        (
            &["logs", "app/shop", "--instance", "9f86d081-2"],
            &[missing, all, one],
            "nor alive; did you mean 9f86d081-1?",
        ),
    ];
    for (words, answers, told) in cases {
        let (address, asked) = pages(answers);
        let (code, out, err) = run(codeops().args(words).args(["--server", &address]));
        asked.join().expect("asked");
        assert!(code == 1 && out.is_empty() && err.contains(told), "{words:?}: {code} {out}{err}");
    }
    // What is there, and of which nothing happened, is no mistake.
    let (address, asked) = pages(&[none, one]);
    let (code, _, err) = run(codeops().args(["events", "--resource", "app/shop", "--server", &address]));
    asked.join().expect("asked");
    assert_eq!(code, 0, "{err}");
}

#[test]
fn runs_and_alerts_are_printed_and_cannot_steer_the_terminal() {
    let body = r#"{"items":[{"id":"r7","playbook":"app-down","target":"app/shop","state":"paged","cause":"alert",
        "alert":{"labels":{"alertname":"App\u001b[2JDown"}},"started_at":"2026-11-20T16:00:00Z","ended_at":null,
        "why":"receiver/chat accepted page p1"}],"next":null}"#;
    let (address, asked) = page("200 OK", body);
    let flags = ["--state", "paged", "--playbook", "app-down", "--target", "app/shop", "--limit", "3"];
    let (code, out, err) = run(codeops().args(["runs", "--server", &address]).args(flags));
    assert_eq!(code, 0, "{err}");
    let asked = asked.join().expect("asked");
    assert!(asked.starts_with("GET /api/v1/runs?limit=3&state=paged&playbook=app-down&target=app%2Fshop "), "{asked}");
    assert!(out.contains("r7") && out.contains("paged") && out.contains("Down") && !out.contains('\u{1b}'), "{out}");

    let body = r#"{"id":"r7","playbook":"app-down","state":"resolved","cause":"schedule","policy":"people","steps":[{"name":"look",
        "part":"steps","does":"script","what":"look.sh","state":"done","attempts":2,"begun_at":"2026-11-20T16:00:01Z",
        "ended_at":null,"error":null,"output":{"free":12},"evidence":"42 %\n\u001b[2J"}]}"#;
    let (address, asked) = page("200 OK", body);
    let (code, out, err) = run(codeops().args(["runs", "r7", "--server", &address]));
    assert_eq!(code, 0, "{err}");
    assert!(asked.join().expect("asked").starts_with("GET /api/v1/runs/r7 "));
    assert!(!out.contains("paged"), "nobody was:\n{out}");
    for part in ["script look.sh", "output of look", "{\"free\":12}", "evidence of look", "42 %"] {
        assert!(out.contains(part) && !out.contains('\u{1b}'), "{part} is not in\n{out}");
    }

    // One that was cut off called without a step of its own.
    let body = r#"{"id":"r79","playbook":"app-down","state":"cancelled","cause":"alert","steps":[],
        "pages":[{"id":"p4","state":"open"},{"id":"p3","state":"accepted"}]}"#;
    let (address, asked) = page("200 OK", body);
    let (code, out, err) = run(codeops().args(["runs", "r79", "--server", &address]));
    assert_eq!(code, 0, "{err}");
    drop(asked.join());
    assert!(out.contains("paged     p3\n") && out.contains("page      p4, open\n"), "{out}");

    let body = r#"{"items":[{"name":"AppDown","state":"firing","source":"main","starts_at":"2026-11-20T16:00:00Z",
        "disposition":"quiet","run":null,"why":"muted by the mute time nights",
        "labels":{"alertname":"AppDown","app":"shop"},"annotations":{}}],"next":null}"#;
    let (address, asked) = page("200 OK", body);
    let (code, out, err) = run(codeops().args(["alerts", "--state", "firing", "--server", &address, "-o", "table"]));
    assert_eq!(code, 0, "{err}");
    assert!(asked.join().expect("asked").starts_with("GET /api/v1/alerts?limit=50&state=firing "));
    assert!(out.contains("app=shop") && out.contains("muted by the mute time nights"), "{out}");
    let (code, _, err) = run(codeops().args(["runs", "--state", "firing"]));
    assert!(code == 2 && err.contains("resolved"), "{err}");
}

const ANSWERS: &str = "apiVersion: codeops/v1
kind: Playbook
metadata: {name: app-down, team: shop}
spec:
  on: {alert: {alertname: AppDown}}
  target: app/{{ alert.labels.app }}
  steps:
    - {name: restart, action: app.restart}
    - {name: proof, wait: resolved, timeout: 10m}
---
apiVersion: codeops/v1
kind: AlertRoute
metadata: {name: main, team: shop}
spec:
  route:
    routes:
      - {match: [severity=critical], policy: first}
      - {match: [team=search]}
---
apiVersion: codeops/v1
kind: EscalationPolicy
metadata: {name: first, team: shop}
spec: {levels: [{notify: [receiver/chat]}]}
---
apiVersion: codeops/v1
kind: Receiver
metadata: {name: chat, team: shop}
spec: {webhook: {url: \"https://chat.example/in\"}}
";

#[test]
fn a_route_is_shown_without_a_daemon() {
    let folder = repository(&format!("{APP}---\n{ANSWERS}"));
    let route = |labels: &[&str]| run(codeops().args(["alerts", "route"]).args(labels).arg(folder.path()));
    let (code, out, err) = route(&["alertname=AppDown", "app=shop", "severity=critical"]);
    assert_eq!(code, 0, "{out}{err}");
    for part in [
        "main > 1",
        "app-down on app/shop: restart (action), proof (wait)",
        "policy    first",
        "chat (webhook, at once)",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    let (code, out, _) = route(&["alertname=AppDown", "app=gone"]);
    assert!(
        code == 1 && out.contains("app/gone is not declared") && out.contains("no playbook and no person"),
        "{out}"
    );
    assert!(!out.contains("app-down on app/gone") && out.contains("none, a person is called at once: "), "{out}");
    let team = "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: shop}\nspec: {escalation: first}\n";
    fs::write(folder.path().join("team.yaml"), team).expect("written");
    let (code, out, _) = route(&["alertname=AppDown", "app=shop"]);
    assert!(
        code == 0 && out.contains("chat (webhook") && !out.contains("nobody is told"),
        "the playbook's team is told: {out}"
    );
    let (code, out, _) = route(&["alertname=Other", "team=search"]);
    assert!(code == 1 && out.contains("reaches no playbook and no person"), "{out}");
    // Which of two was there before is known to a daemon alone.
    let again = "apiVersion: codeops/v1\nkind: EscalationPolicy\nmetadata: {name: first, team: shop}\n\
                 spec: {levels: [{notify: [receiver/chat]}]}\n";
    fs::write(folder.path().join("zz.yaml"), again).expect("written");
    let (_, out, _) = route(&["alertname=AppDown", "app=shop", "severity=critical"]);
    let says = "its policy first tells nobody by this folder alone, and a daemon goes on with the one it had: \
                EscalationPolicy `first` is declared at apps.yaml";
    assert!(out.contains(says), "{out}");
    fs::remove_file(folder.path().join("zz.yaml")).expect("removed");
    let json = ["-o", "json", "--repo"];
    let (code, out, err) =
        run(codeops().args(["alerts", "route", "alertname=AppDown", "app=shop"]).args(json).arg(folder.path()));
    assert_eq!(code, 0, "{err}");
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(answer["playbooks"][0]["target"], "app/shop");
    assert_eq!(answer["told"][0]["channel"], "webhook");
    for bad in [&["shop"] as &[&str], &["1a=b"], &["a=b", "x", "y"]] {
        let (code, _, err) = run(codeops().args(["alerts", "route"]).args(bad));
        assert_eq!(code, 2, "{err}");
    }
}

#[test]
fn a_receiver_that_its_team_may_not_reach_is_told_with_its_place() {
    let folder =
        repository(&format!("{APP}---\n{}", ANSWERS.replace("https://chat.example/in", "http://127.0.0.1:9/in")));
    let settings = folder.path().join("settings");
    let words = ["alertname=AppDown", "app=shop", "severity=critical"];
    for (egress, warned) in [("[]", true), ("[127.0.0.1]", false)] {
        let own = format!("teams: {{shop: {{paths: ['*.yaml'], egress: {egress}}}}}\n");
        fs::write(&settings, own).expect("written");
        for command in [["alerts", "route"], ["playbook", "explain"]] {
            let (_, out, err) =
                run(codeops().args(command).args(words).arg(folder.path()).arg("--settings").arg(&settings));
            let told = "receiver chat cannot be told: the `egress` of team shop does not name 127.0.0.1";
            assert_eq!(out.contains(told), warned, "{out}{err}");
            assert_eq!(out.contains("apps.yaml:32:1: receiver chat"), warned, "{out}");
        }
        for command in [["alerts", "route"], ["playbook", "explain"]] {
            let only = ["alertname=Other", "team=shop", "severity=critical"];
            let (code, out, _) =
                run(codeops().args(command).args(only).arg(folder.path()).arg("--settings").arg(&settings));
            assert_eq!(
                (code, out.contains("it reaches nobody: `egress` forbids every channel")),
                (i32::from(warned), warned),
                "{out}"
            );
        }
        let (code, out, _) = run(codeops().arg("validate").arg(folder.path()).arg("--settings").arg(&settings));
        assert_eq!((code, out.contains("apps.yaml:35:23")), (0, warned), "{out}");
    }
}

/// Whom a step of the playbook pages, where it names others than its route does.
#[test]
fn a_steps_own_policy_is_told_with_the_routes() {
    let own = "timeout: 10m}\n  otherwise: [{name: desk, page: {policy: second}}]\n";
    let second = "---\napiVersion: codeops/v1\nkind: EscalationPolicy\nmetadata: {name: second, team: shop}\nspec: {levels: [{notify: [receiver/desk]}]}\n---\napiVersion: codeops/v1\nkind: Receiver\nmetadata: {name: desk, team: shop}\nspec: {webhook: {url: \"https://desk.example/in\"}}\n";
    let folder = repository(&format!("{APP}---\n{}{second}", ANSWERS.replace("timeout: 10m}\n", own)));
    let told = |words: [&str; 2]| {
        let labels = ["alertname=AppDown", "app=shop", "severity=critical"];
        let (code, out, err) = run(codeops().args(words).args(labels).arg(folder.path()));
        assert_eq!(code, 0, "{out}{err}");
        out
    };
    let out = told(["alerts", "route"]);
    for part in [
        "policy    second, by the step desk of playbook app-down\ntold      desk (webhook, at once)",
        "policy    first, where its steps are not tried\ntold      chat (webhook, at once)",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    let out = told(["playbook", "explain"]);
    for part in [
        "paged     second, by the step desk\n",
        "paged     first, where its steps are not tried\n",
        "desk)\n",
        "chat)\n",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
}

/// Who may answer can depend on the receiver that brings an alert.
#[test]
fn what_depends_on_the_receiver_is_told_by_it() {
    let answers = ANSWERS.replace("app/{{ alert.labels.app }}", "app/shop");
    let folder = repository(&format!("{APP}---\n{answers}"));
    let settings = folder.path().join("settings");
    let auth = "auth: {bearer: {file: /run/secrets/x}}";
    let text = format!(
        "teams: {{shop: {{paths: [apps.yaml, team.yaml]}}, platform: {{paths: [codeops.yaml]}}}}\nreceivers:\n  pay: {{format: generic, teams: [shop], {auth}}}\n  all: {{format: generic, {auth}}}\n"
    );
    fs::write(&settings, text).expect("written");
    for words in [["alerts", "route"], ["playbook", "explain"]] {
        let told = |more: &[&str]| {
            let mut command = codeops();
            command.args(words).arg("alertname=AppDown").arg(folder.path()).arg("--settings").arg(&settings);
            run(command.args(more).args(["-o", "json"]))
        };
        let (_, out, _) = told(&[]);
        let unknown = "who answers depends on the receiver, and --receiver names none: by pay playbook app-down runs";
        assert!(out.contains(unknown), "{out}");
        let (_, out, _) = told(&["--receiver", "all"]);
        assert!(!out.contains("depends on the receiver") && out.contains("the alert names no team"), "{out}");
        let (_, out, _) = told(&["--receiver", "pay"]);
        let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        let playbook = [&answer["playbook"], &answer["playbooks"][0]["playbook"]].map(|it| it.as_str());
        assert!(playbook.contains(&Some("app-down")), "{out}");
        assert!(!out.contains("the alert names no team"), "{out}");
        let (code, _, err) = told(&["--receiver", "al"]);
        assert!(code == 2 && err.contains("no receiver `al`: did you mean `all`?"), "{err}");
    }
}

/// Two commands that tell where an alert goes tell the same, in the same words.
#[test]
fn a_route_and_its_explanation_say_the_same_of_whom_an_alert_reaches() {
    let folder = repository(&format!("{APP}---\n{ANSWERS}"));
    let team = "apiVersion: codeops/v1\nkind: Team\nmetadata: {name: search}\nspec: {}\n";
    fs::write(folder.path().join("search.yaml"), team).expect("written");
    let settings = folder.path().join("settings");
    let paths =
        "shop: {paths: [apps.yaml, team.yaml]}, search: {paths: [search.yaml]}, platform: {paths: [codeops.yaml]}";
    fs::write(&settings, format!("teams: {{{paths}}}\n")).expect("written");
    let told = |labels: &[&str], guarded: bool| {
        let mut both = Vec::new();
        for words in [["alerts", "route"], ["playbook", "explain"]] {
            let mut command = codeops();
            command.args(words).args(["-o", "json"]).args(labels).arg(folder.path());
            if guarded {
                command.arg("--settings").arg(&settings);
            }
            let (code, out, err) = run(&mut command);
            let answer: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
            let warnings = answer["warnings"].as_array().expect("warnings").iter().map(|it| it.as_str().expect("text"));
            let reaches: Vec<String> =
                warnings.filter(|it| !it.starts_with("the manifests have")).map(str::to_owned).collect();
            let lost = reaches.iter().any(|it| it.starts_with("it reaches no playbook and no person"));
            assert_eq!(code, i32::from(lost), "{words:?} {labels:?}: {out}");
            both.push((reaches, answer["policy"].clone()));
        }
        assert_eq!(both[0], both[1], "{labels:?}");
        both.remove(0).0
    };
    assert_eq!(told(&["alertname=Other", "severity=critical"], false), Vec::<String>::new());
    let nobody = "it reaches no playbook and no person: no route that counts for it and no `fallback` says who is told";
    assert_eq!(told(&["alertname=Other"], false), [nobody]);
    let helpless = told(&["alertname=AppDown", "app=shop"], false);
    assert!(
        helpless.len() == 1 && helpless[0].starts_with("nobody is told when its playbooks cannot help"),
        "{helpless:?}"
    );
    // The only tree without `match` is of a team that does not write for everybody.
    assert_eq!(told(&["alertname=Other", "team=search", "severity=critical"], true), [nobody]);
    assert_eq!(told(&["alertname=Other", "team=shop", "severity=critical"], true), Vec::<String>::new());
}

/// A folder for temporary folders that apps with users of their own can pass through.
fn passable() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    folder
}

/// Whether any process runs from below `folder`.
fn anything_runs_from(folder: &Path) -> bool {
    fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .any(|entry| fs::read_link(entry.path().join("exe")).is_ok_and(|binary| binary.starts_with(folder)))
}

#[test]
fn the_demo_proves_every_act_and_leaves_nothing() {
    let folder = passable();
    let mut demo = codeops();
    demo.args(["demo", "--exit", "-o", "json"]).env("TMPDIR", folder.path()).timeout(Duration::from_secs(110));
    let (code, out, err) = run(&mut demo);
    assert_eq!(code, 0, "{err}\n{out}");
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(answer["proven"], true);
    assert_eq!(answer["acts"].as_array().map(Vec::len), Some(10));
    assert!(!anything_runs_from(folder.path()), "something still runs");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let folder = passable();
    #[expect(clippy::disallowed_methods, reason = "the program under test is started as its users start it")]
    let mut demo = std::process::Command::new(env!("CARGO_BIN_EXE_codeops"))
        .arg("demo")
        .env_clear()
        .env("PATH", PATH)
        .env("TMPDIR", folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the demo starts");
    let mut story = std::io::BufReader::new(demo.stdout.take().expect("its story"));
    let mut line = String::new();
    while !line.contains("both have baked") {
        line.clear();
        let read = std::io::BufRead::read_line(&mut story, &mut line).expect("a line");
        assert_ne!(read, 0, "the demo ended by itself");
    }
    let pid = i32::try_from(demo.id()).ok().and_then(rustix::process::Pid::from_raw).expect("its pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("asked to end");
    let mut rest = String::new();
    story.read_to_string(&mut rest).expect("the rest of its story");
    assert_eq!(demo.wait().expect("it ends").code(), Some(1), "{rest}");
    assert!(!anything_runs_from(folder.path()), "something still runs\n{rest}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "{rest}");
}

fn library() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks"))
}

#[test]
fn the_library_of_playbooks_is_in_the_example_and_passes_its_own_tests() {
    for folder in ["", "scripts", "tests"] {
        for entry in fs::read_dir(library().join(folder)).expect("the library") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name");
            if path.is_dir() || name == "README.md" {
                continue;
            }
            let copy = example().join("playbooks").join(folder).join(name);
            assert_eq!(fs::read(&path).ok(), fs::read(&copy).ok(), "{} is not {}", copy.display(), path.display());
            let mode = |path: &Path| fs::metadata(path).map(|it| it.permissions().mode() & 0o111 != 0).ok();
            assert_eq!(mode(&path), Some(folder == "scripts"), "{}", path.display());
            assert_eq!(mode(&copy), mode(&path), "{}", copy.display());
        }
    }
    let (code, out, err) = run(codeops().args(["playbook", "test"]).arg(example()));
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("ok  app-down: a restart helps") && !out.contains("no PlaybookTest"), "{out}");
}

#[test]
fn the_librarys_scripts_read_facts_and_write_json() {
    let facts = r#"{"alert":{"labels":{"alertname":"X","days":"12"}},"target":{"id":"app/front","name":"front"}}"#;
    for (script, field) in [
        ("look", "memoryFreeMiB"),
        ("disk", "usedPercent"),
        ("days-left", "days"),
        ("pack", "files"),
        ("updates", "libraries"),
    ] {
        let mut command = Command::new(library().join(format!("scripts/{script}.sh")));
        let (code, out, err) = run(command.env("PATH", PATH).write_stdin(facts));
        assert_eq!(code, 0, "{script}: {out}{err}");
        let answer: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{script}: {out}"));
        assert!(answer[field].is_number(), "{script}: {out}");
    }
}

#[test]
fn a_case_that_fails_says_what_came_instead() {
    let folder = repository(APP);
    let text = "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {name: down, team: shop}\nspec:\n  on: {alert: {alertname: Down}}\n  target: app/shop\n  steps: [{name: restart, action: app.restart}]\n---\napiVersion: codeops/v1\nkind: PlaybookTest\nmetadata: {name: down, team: shop}\nspec:\n  playbook: down\n  cases:\n    - {name: helps, given: {alert: {labels: {alertname: Down}}}, expect: {steps: [restart], state: resolved}}\n";
    fs::write(folder.path().join("down.yaml"), text).expect("written");
    let (code, out, err) = run(codeops().args(["playbook", "test"]).arg(folder.path()));
    assert_eq!(code, 1, "{out}{err}");
    for part in ["FAILED  down: helps", "restart → resolved", "restart, proof, replace, proof, call → paged"] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    let (code, out, err) =
        run(codeops().args(["playbook", "explain", "-o", "json", "alertname=Down"]).arg(folder.path()));
    assert_eq!(code, 0, "{out}{err}");
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((answer["playbook"].as_str(), answer["target"].as_str()), (Some("down"), Some("app/shop")));
    assert_eq!(answer["steps"][0]["does"], "app.restart on app/shop");
}

/// Inside a bake the version goes back and the run only proves; where a check alone bakes, nothing of the instances goes back.
#[test]
fn a_case_says_whether_a_check_alone_bakes() {
    let folder = repository(APP);
    let case = |name: &str, target: &str| {
        format!(
            "    - {{name: {name}, given: {{alert: {{labels: {{alertname: Down}}}}, target: {{{target}}}, resolvedAfter: restart}}, expect: {{steps: [restart, proof], state: resolved}}}}\n"
        )
    };
    let text = "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {name: down, team: shop}\nspec:\n  on: {alert: {alertname: Down}}\n  target: app/shop\n  steps: [{name: restart, action: app.restart}]\n---\napiVersion: codeops/v1\nkind: PlaybookTest\nmetadata: {name: down, team: shop}\nspec:\n  playbook: down\n  cases:\n";
    let cases = case("version", "unproven: true") + &case("check", "unproven: true, checkOnly: true");
    fs::write(folder.path().join("down.yaml"), format!("{text}{cases}")).expect("written");
    let (code, out, err) = run(codeops().args(["playbook", "test"]).arg(folder.path()));
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("FAILED  down: version") && out.contains("ok  down: check"), "{out}");
}

/// A misspelt label has no value: the case says so, what was asked, and where.
#[test]
fn a_case_whose_if_has_no_value_says_so_with_its_place() {
    let folder = repository(APP);
    let text = "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {name: down, team: shop}\nspec:\n  on: {alert: {alertname: Down}}\n  target: app/shop\n  steps:\n    - name: restart\n      action: app.restart\n      if: alert.labels.zone == 'a'\n---\napiVersion: codeops/v1\nkind: PlaybookTest\nmetadata: {name: down, team: shop}\nspec:\n  playbook: down\n  cases:\n    - {name: helps, given: {alert: {labels: {alertname: Down}}, resolvedAfter: restart}, expect: {steps: [restart, proof], state: resolved}}\n    - {name: pages, given: {alert: {labels: {alertname: Down}}}, expect: {steps: [restart], state: resolved}}\n";
    fs::write(folder.path().join("down.yaml"), text).expect("written");
    let (code, out, _) = run(codeops().args(["playbook", "test"]).arg(folder.path()));
    assert_eq!((code, out.matches("has no value").count()), (1, 2), "also where it comes out as expected: {out}");
    for part in ["failed    restart: its `if` has no value: ", "`alert.labels.zone == 'a'`, at down.yaml:10:11"] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
}
