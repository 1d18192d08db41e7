//! Whose the settings' `fallback` is, where they name teams.

use super::*;

const REFUSED: &str = "EscalationPolicy `everybody` has no effect here: it is the `fallback` of the daemon's settings";

/// A policy of this name, and the receiver that it tells.
fn people(team: &str, policy: &str, receiver: &str) -> String {
    let head = |kind: &str, name: &str| {
        format!("apiVersion: codeops/v1\nkind: {kind}\nmetadata: {{name: {name}, team: {team}}}\n")
    };
    format!(
        "{}spec: {{levels: [{{notify: [receiver/{receiver}]}}]}}\n---\n{}spec: {{webhook: {{url: \"https://{team}.example/\"}}}}\n",
        head("EscalationPolicy", policy),
        head("Receiver", receiver)
    )
}

fn guarded() -> Context {
    let team = |paths: &[&str]| TeamSettings {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        ..TeamSettings::default()
    };
    let teams = [("platform", team(&["codeops.yaml", "plat/"])), ("payments", team(&["pay/"]))];
    let teams = teams.map(|(team, settings)| (name(team), settings)).into();
    Context { teams, fallback: Some(name("everybody")), ..Context::default() }
}

fn compiled(compiler: &mut Compiler, pairs: &[(&str, &str)], context: &Context) -> Compiled {
    let platform = TEAM.replace("payments", "platform");
    let all = [("codeops.yaml", REPOSITORY), ("teams/a.yaml", TEAM), ("teams/b.yaml", &platform)];
    compiler.compile(&files(&[&all[..], pairs].concat()), context)
}

/// The team of the policy in force, and of the receiver `people`.
fn whose(compiled: &Compiled) -> [Option<&str>; 2] {
    let response = &compiled.desired.response;
    let policy = response.policies.get(&name("everybody")).map(|it| it.team.as_str());
    [policy, response.receivers.get(&name("people")).map(|it| it.team.as_str())]
}

#[test]
fn no_team_takes_the_fallback_but_who_writes_for_everybody() {
    let theirs = people("payments", "everybody", "hook");
    let ours = people("platform", "everybody", "people");
    let (theirs, ours) = (("pay/people.yaml", theirs.as_str()), ("plat/people.yaml", ours.as_str()));
    // Nobody gave it yet.
    let alone = compiled(&mut Compiler::default(), &[theirs], &guarded());
    assert!(
        rendered(&alone).contains(REFUSED) && rendered(&alone).contains("--> pay/people.yaml"),
        "{}",
        rendered(&alone)
    );
    assert_eq!(whose(&alone), [None, None]);
    assert!(alone.desired.response.receivers.contains_key(&name("hook")), "its other manifests count");

    // Whoever gives it does so beside another's, moves it, and keeps it though it is deleted.
    let mut compiler = Compiler::default();
    let moved = ("plat/moved.yaml", ours.1);
    for pairs in [&[theirs, ours][..], &[theirs, moved], &[theirs]] {
        let compiled = compiled(&mut compiler, pairs, &guarded());
        assert_eq!(whose(&compiled), [Some("platform"), Some("platform")], "{}", rendered(&compiled));
        assert!(rendered(&compiled).contains(REFUSED), "{}", rendered(&compiled));
        assert_eq!(compiled.desired.response.deleted.len(), if pairs.len() == 1 { 2 } else { 0 });
    }
}

#[test]
fn nobody_takes_the_place_of_whom_the_fallback_tells() {
    let ours = people("platform", "everybody", "people");
    let mut compiler = Compiler::default();
    compiled(&mut compiler, &[("plat/people.yaml", &ours)], &guarded());
    let theirs = people("payments", "other", "people");
    for _ in 0..2 {
        let taken = compiled(&mut compiler, &[("pay/people.yaml", &theirs)], &guarded());
        assert!(rendered(&taken).contains("Receiver `people` is the team `platform`'s"), "{}", rendered(&taken));
        assert_eq!(whose(&taken), [Some("platform"), Some("platform")]);
    }
}

#[test]
fn the_settings_may_name_whose_it_is() {
    let theirs = people("payments", "everybody", "hook");
    let ours = people("platform", "everybody", "people");
    let context = Context { fallback_team: Some(name("payments")), ..guarded() };
    let both = [("pay/people.yaml", theirs.as_str()), ("plat/people.yaml", ours.as_str())];
    let mut compiler = Compiler::default();
    let given = compiled(&mut compiler, &both, &context);
    assert_eq!(whose(&given)[0], Some("payments"), "{}", rendered(&given));
    assert!(rendered(&given).contains("--> plat/people.yaml"), "{}", rendered(&given));
    // Where they come to name another, what was its team's is not the fallback any more.
    assert_eq!(whose(&compiled(&mut compiler, &both[..1], &guarded()))[0], None);
    // Without teams everybody is trusted alike.
    let laptop = Context { teams: BTreeMap::new(), ..guarded() };
    assert_eq!(whose(&compiled(&mut Compiler::default(), &both[..1], &laptop))[0], Some("payments"));
}
