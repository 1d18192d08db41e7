//! Scripts under the kernel's walls. On a machine that cannot confine, what is tested is the refusal, and it says so.

use std::fs;
use std::path::Path;

use codeops::effect::{UIDS, confinement};
use codeops::port::{Effect, EffectError, Performed, ScriptCall};
use codeops_core::config::ScriptsMode;
use codeops_core::model::Revision;
use serde_json::{Value, json};

use super::{Setting, Stage, TOKEN, failed, name, payments};
use crate::support::skip::skip;

/// Whether scripts can be confined here; where not, the refusal is all that can be tested.
pub(super) fn confined() -> bool {
    match confinement() {
        Ok(()) => true,
        Err(why) => {
            skip(&format!("scripts under walls, since {why}"));
            false
        }
    }
}

pub(super) fn call(revision: &Revision, file: &str) -> ScriptCall {
    ScriptCall {
        team: payments(),
        revision: revision.clone(),
        file: file.to_owned(),
        input: json!({"alert": {"labels": {"app": "shop; rm -rf /"}}, "steps": {}}),
        timeout_ms: 20_000,
    }
}

/// Runs one shell script.
async fn sh(stage: &Stage, text: &str) -> Result<Performed, EffectError> {
    let revision = stage.source.commit(&[("scripts/it.sh", &format!("#!/bin/sh\n{text}\n"))], &[]);
    stage.perform(Effect::Script(call(&revision, "scripts/it.sh"))).await
}

/// What a shell script printed.
async fn printed(stage: &Stage, text: &str) -> String {
    let done = sh(stage, text).await.expect("the script is done");
    match &done.output {
        Value::Object(output) => output["text"].as_str().expect("a text").trim().to_owned(),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn json_goes_in_and_json_or_text_comes_out() {
    if !confined() {
        return;
    }
    let stage = Stage::new();
    let python = "#!/usr/bin/env python3\nimport json, sys\ntold = json.load(sys.stdin)\n\
                  print(json.dumps({'app': told['alert']['labels']['app'], 'free': 7}))\n";
    let revision = stage.source.commit(&[("look.py", python)], &[]);
    let done = stage.perform(Effect::Script(call(&revision, "look.py"))).await.expect("done");
    assert_eq!(done.output, json!({"app": "shop; rm -rf /", "free": 7}));
    let done = sh(&stage, "echo fine; echo 'a complaint' >&2").await.expect("done");
    assert_eq!(done.output, json!({"text": "fine\n"}));
    assert!(done.evidence.contains("exited with code 0") && done.evidence.contains("a complaint"), "{}", done.evidence);
}

#[tokio::test]
async fn a_script_that_fails_says_why() {
    if !confined() {
        return;
    }
    let stage = Stage::new();
    let error = failed(sh(&stage, "echo the disk is full >&2; exit 3").await);
    assert!(error.contains("`scripts/it.sh` exited with code 3: the disk is full"), "{error}");
    for (signal, says) in [("KILL", "signal: 9"), ("TERM", "signal: 15"), ("SEGV", "signal: 11"), ("PIPE", "code 141")]
    {
        let error = failed(sh(&stage, &format!("kill -{signal} $$")).await);
        assert!(error.contains(says), "{signal}: {error}");
    }
    let revision = stage.source.commit(&[("plain.txt", "hello"), ("odd.sh", "#!/no/such/shell\n")], &[]);
    for (file, says) in [
        ("plain.txt", "cannot be run"),
        ("odd.sh", "cannot start"),
        ("nothing.sh", "no file"),
        ("../etc/passwd", "no file"),
        ("/bin/sh", "no file"),
        ("scripts", "no file"),
    ] {
        let error = failed(stage.perform(Effect::Script(call(&revision, file))).await);
        assert!(error.contains(says), "{file}: {error}");
    }
}

#[tokio::test]
async fn a_script_has_a_clean_environment_and_a_user_of_its_teams() {
    if !confined() {
        return;
    }
    let stage = Stage::new();
    let seen = printed(&stage, "env | cut -d= -f1 | sort | tr '\\n' ' '").await;
    let known =
        ["CODEOPS_KEY", "CODEOPS_REVISION", "CODEOPS_SCRIPT", "CODEOPS_TEAM", "HOME", "LANG", "PATH", "PWD", "TMPDIR"];
    assert_eq!(
        seen.split_whitespace().filter(|name| !["_", "OLDPWD", "SHLVL"].contains(name)).collect::<Vec<_>>(),
        known
    );
    // A number is JSON, and stays one.
    let uid: u32 = printed(&stage, "id -u").await.parse().expect("a uid");
    assert!(UIDS.contains(&uid), "{uid}");
    assert_eq!(printed(&stage, "id -G").await, uid.to_string());
    assert_eq!(printed(&stage, "ls /proc/self/fd | wc -l").await, "4", "the three streams, and the one `ls` reads");
    assert_eq!(printed(&stage, "grep NoNewPrivs /proc/self/status | tr -dc 0-9").await, "1");
    let revision = stage.source.commit(&[("id.sh", "#!/bin/sh\nid -u\n")], &[]);
    let other = ScriptCall { team: name("other"), ..call(&revision, "id.sh") };
    let done = stage.perform(Effect::Script(other)).await.expect("done");
    assert_ne!(done.output, json!(uid), "another team, another uid");
}

#[tokio::test]
async fn a_script_sees_its_revision_and_writes_in_its_own_folder_alone() {
    if !confined() {
        return;
    }
    let stage = Stage::new();
    stage.source.commit(&[("scripts/data.txt", "from the revision")], &[]);
    assert_eq!(printed(&stage, "cat scripts/data.txt").await, "from the revision");
    let tmp = printed(&stage, "echo x > $TMPDIR/a && cat $HOME/a >/dev/null && echo $TMPDIR").await;
    assert!(!Path::new(&tmp).exists(), "{tmp} is gone with the script");
    let open = stage.folder.join("open");
    fs::create_dir(&open).expect("made");
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("set");
    fs::write(open.join("theirs"), "of another team").expect("written");
    for attempt in [
        "echo x > scripts/data.txt".to_owned(),
        "echo x > new.txt".to_owned(),
        "chmod u+w scripts".to_owned(),
        "echo x > /tmp/codeops-was-here".to_owned(),
        "echo x > /var/tmp/codeops-was-here".to_owned(),
        "echo x > /dev/shm/codeops-was-here".to_owned(),
        format!("echo x > {}/new", open.display()),
        format!("cat {}/theirs", open.display()),
        format!("ls {}", open.display()),
        "cat /etc/shadow".to_owned(),
        "ls /root".to_owned(),
        "ls /var/lib".to_owned(),
    ] {
        let error = failed(sh(&stage, &attempt).await);
        assert!(
            error.contains("denied")
                || error.contains("Read-only")
                || error.contains("not permitted")
                || error.contains("cannot create"),
            "{attempt}: {error}"
        );
    }
    assert_eq!(fs::read_dir(&open).expect("there").count(), 1);
}

#[tokio::test]
async fn one_team_reaches_nothing_of_another_teams_script() {
    if !confined() {
        return;
    }
    let stage = Stage::new();
    let hold = "#!/bin/sh\necho private > $TMPDIR/mine; chmod 777 $TMPDIR $TMPDIR/mine; echo $TMPDIR $$ >&2; sleep 5\n";
    let all = stage.folder.join("effects/tmp");
    let peek = format!(
        "#!/bin/sh\nfor i in 1 2 3 4 5 6 7 8 9 10; do cat {0}/run-*/mine && exit 0; sleep 0.1; done; ls {0}; exit 1\n",
        all.display()
    );
    let revision = stage.source.commit(&[("hold.sh", hold), ("peek.sh", &peek)], &[]);
    let holding = ScriptCall { timeout_ms: 4_000, ..call(&revision, "hold.sh") };
    let peeking = ScriptCall { team: name("other"), ..call(&revision, "peek.sh") };
    let (held, peeked) =
        tokio::join!(stage.perform_as(1, Effect::Script(holding)), stage.perform_as(2, Effect::Script(peeking)));
    let _ = failed(held);
    let error = failed(peeked);
    assert!(!error.contains("private") && error.contains("denied"), "{error}");
}

#[tokio::test]
async fn a_script_ends_when_its_time_is_up_and_nothing_of_it_stays() {
    if !confined() {
        return;
    }
    let stage = Stage::new();
    let marker = "86399.25";
    let text = format!(
        "#!/bin/sh\ntrap '' TERM HUP INT\nsetsid -f sleep {marker}\n(setsid sleep {marker} &)\nnohup sleep {marker} &\necho begun >&2\nsleep {marker}\n"
    );
    let revision = stage.source.commit(&[("stay.sh", &text)], &[]);
    let long = ScriptCall { timeout_ms: 1_500, ..call(&revision, "stay.sh") };
    let error = failed(stage.perform(Effect::Script(long)).await);
    assert!(error.contains("took longer than 2 s") && error.contains("begun"), "{error}");
    assert_eq!(running(marker), 0, "all of its processes ended with it");
    // A child in the background does not keep a script that is done from being done.
    let done = sh(&stage, &format!("setsid -f sleep {marker}; sleep {marker} & echo done")).await.expect("done");
    assert_eq!(done.output, json!({"text": "done\n"}));
    assert_eq!(running(marker), 0);
    let left = fs::read_dir(stage.folder.join("effects/tmp")).expect("there").count();
    assert_eq!(left, 0, "no temporary folder stays");
}

/// How many living processes have this in their command line.
pub(super) fn running(marker: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    let of = |entry: &fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == marker.as_bytes())
    };
    entries.filter(of).count()
}

#[tokio::test]
async fn a_fork_bomb_and_a_flood_hurt_only_themselves() {
    if !confined() {
        return;
    }
    let stage = Stage::new();
    let bomb = "#!/usr/bin/env python3\nimport os, time\nmade = 0\ntry:\n    while True:\n        if os.fork() == 0:\n            time.sleep(60)\n        made += 1\nexcept OSError:\n    print(made)\n";
    let revision = stage.source.commit(&[("bomb.py", bomb)], &[]);
    let done = stage.perform(Effect::Script(call(&revision, "bomb.py"))).await.expect("it hit the limit");
    assert!(done.output.as_u64().is_some_and(|made| made < 256), "{done:?}");
    let done = sh(&stage, "yes hunter2 | head -c 5000000; yes error | head -c 3000000 >&2").await.expect("done");
    assert!(done.output.to_string().len() <= 64 << 10 && done.evidence.len() <= 16 << 10);
    assert!(done.evidence.contains("it printed 5000000 bytes"), "{}", &done.evidence[..200]);
    let error = failed(sh(&stage, "dd if=/dev/zero of=$TMPDIR/big bs=1M count=1 seek=300 2>&1 >/dev/null").await);
    assert!(error.contains("signal") || error.contains("too large") || error.contains("size limit"), "{error}");
    let hog = "#!/usr/bin/env python3\nx = bytearray(6 << 30)\nprint(len(x))\n";
    let revision = stage.source.commit(&[("hog.py", hog)], &[]);
    let _ = failed(stage.perform(Effect::Script(call(&revision, "hog.py"))).await);
}

#[tokio::test]
async fn secrets_that_a_script_prints_are_not_kept() {
    if !confined() {
        return;
    }
    let stage = Stage::new();
    assert_eq!(printed(&stage, &format!("echo it is {TOKEN}; echo {TOKEN} >&2")).await, "it is ***");
    let done = sh(&stage, &format!("echo '{{\"token\": \"{TOKEN}\"}}'")).await.expect("done");
    assert_eq!(done.output, json!({"token": "***"}));
    let error = failed(sh(&stage, &format!("echo bad {TOKEN} >&2; exit 1")).await);
    assert!(error.contains("bad ***"), "{error}");
}

#[tokio::test]
async fn a_script_listens_for_nobody() {
    if !confined() {
        return;
    }
    let stage = Stage::new();
    let listen = "#!/usr/bin/env python3\nimport socket\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()\n";
    let revision = stage.source.commit(&[("listen.py", listen)], &[]);
    let error = failed(stage.perform(Effect::Script(call(&revision, "listen.py"))).await);
    assert!(error.contains("denied"), "{error}");
}

#[tokio::test]
async fn where_scripts_cannot_be_confined_the_settings_decide() {
    let stage = Setting { scripts: ScriptsMode::Unconfined, ..Setting::default() }.stage();
    assert_eq!(printed(&stage, "echo it runs").await, "it runs");
    let Err(why) = confinement() else { return };
    let error = failed(sh(&Stage::new(), "echo it runs").await);
    assert!(error == why && error.contains("scripts: unconfined"), "{error}");
}

#[tokio::test]
async fn views_of_old_revisions_go() {
    if !confined() {
        return;
    }
    let stage = Stage::new();
    for number in 0..7 {
        assert_eq!(printed(&stage, &format!("echo n{number}")).await, format!("n{number}"));
    }
    let left = fs::read_dir(stage.folder.join("effects/views")).expect("there").count();
    assert!((1..=5).contains(&left), "{left}");
}
