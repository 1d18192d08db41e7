//! What of how alerts are answered stays though a revision deletes it.

use super::response::{CHANNELS, PLAYBOOK, ROUTE};
use super::*;

const LOOK: (&str, &str) = ("scripts/diagnose.sh", "#!/bin/sh\n");

/// All of a repository, and what its settings say.
fn whole(fallback: Option<&str>) -> (Vec<(String, String)>, Context) {
    let repository = REPOSITORY.replace("spec: {", "spec: {resolveDelay: 30s, ");
    let all = [
        ("codeops.yaml", repository.as_str()),
        ("team.yaml", TEAM),
        ("shop.yaml", &app("shop", "  run: {command: [x]}\n")),
    ];
    let more = [("people.yaml", CHANNELS), ("route.yaml", ROUTE), ("playbook.yaml", PLAYBOOK), LOOK];
    let files = all.iter().chain(&more).map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    (files, Context { fallback: fallback.map(name), ..Context::default() })
}

fn compiled(compiler: &mut Compiler, all: &[(String, String)], context: &Context) -> Compiled {
    let pairs: Vec<(&str, &str)> = all.iter().map(|(path, text)| (&**path, &**text)).collect();
    compiler.compile(&files(&pairs), context)
}

fn of(compiled: &Compiled) -> [usize; 5] {
    let response = &compiled.desired.response;
    let [policies, people] = [response.policies.len(), response.on_calls.len()];
    [response.playbooks.len(), response.routes.len(), response.receivers.len(), policies, people]
}

#[test]
fn whom_the_fallback_tells_stays_and_that_is_said() {
    let (mut files, context) = whole(Some("payments-oncall"));
    let mut compiler = Compiler::default();
    assert_eq!(of(&compiled(&mut compiler, &files, &context)), [1, 1, 3, 1, 1]);
    files.retain(|(path, _)| path == "codeops.yaml" || path == "team.yaml");
    let emptied = compiled(&mut compiler, &files, &context);
    assert_eq!(of(&emptied), [0, 0, 3, 1, 1], "the policy, who is on call, and how each is told");
    let shown = rendered(&emptied);
    assert!(shown.contains("EscalationPolicy `payments-oncall` is deleted and stays as it was"), "{shown}");
    assert!(emptied.desired.response.deleted.contains_key("Receiver/pager") && !emptied.has_errors(), "{shown}");
    assert_eq!(compiler.keeps_deleted_of().count(), 0, "whatever is held");
    // Once the settings name another, nothing needs it.
    let elsewhere = compiled(&mut compiler, &files, &Context { fallback: Some(name("other")), ..context.clone() });
    assert_eq!(of(&elsewhere), [0; 5]);
    assert_eq!(of(&compiled(&mut Compiler::default(), &files, &context)), [0; 5], "who never had it has none");
}

#[test]
fn who_is_called_for_a_team_stays_with_what_is_left_of_it() {
    let (mut files, context) = whole(None);
    let context = Context { deletions_wait: true, ..context };
    let mut compiler = Compiler::default();
    files[1].1 = TEAM.replace("spec: {", "spec: {escalation: payments-oncall, ");
    let before = compiled(&mut compiler, &files, &context);
    let payments = before.desired.teams[&name("payments")].clone();
    assert!(payments.escalation.is_some());
    // All of it, or the Team and its apps alone.
    for keep in [&["codeops.yaml"][..], &["codeops.yaml", "people.yaml", "route.yaml"]] {
        let (mut compiler, all) = (Compiler::default(), files.clone());
        compiled(&mut compiler, &all, &context);
        files.retain(|(path, _)| keep.contains(&&**path));
        let mut emptied = compiled(&mut compiler, &files, &context);
        files = all;
        assert_eq!(emptied.desired.teams.get(&name("payments")), Some(&payments), "{keep:?}");
        compiler.let_go(&mut emptied, |_, _| true);
        assert!(emptied.desired.teams.is_empty(), "{keep:?}: and not for longer");
    }
}

#[test]
fn what_is_deleted_stays_until_it_is_let_go() {
    let (mut files, context) = whole(None);
    let context = Context { deletions_wait: true, ..context };
    let mut compiler = Compiler::default();
    compiled(&mut compiler, &files, &context);
    let all = files.clone();
    files.retain(|(path, _)| path == "codeops.yaml" || path == "team.yaml");
    let mut emptied = compiled(&mut compiler, &files, &context);
    assert_eq!((of(&emptied), compiler.keeps_deleted_of().count()), ([1, 1, 3, 1, 1], 7));
    assert_eq!(emptied.desired.response.deleted.len(), 7);
    compiler.let_go(&mut emptied, |_, team| team.as_str() != "payments");
    assert_eq!((of(&emptied), compiler.keeps_deleted_of().count()), ([1, 1, 3, 1, 1], 7), "another team's alone");
    compiler.let_go(&mut emptied, |_, team| team.as_str() == "payments");
    assert_eq!((of(&emptied), compiler.keeps_deleted_of().count()), ([0; 5], 0));
    assert!(emptied.desired.response.deleted.is_empty());
    assert_eq!(of(&compiled(&mut compiler, &files, &context)), [0; 5], "and does not come back");
    assert_eq!(of(&compiled(&mut compiler, &all, &context)), [1, 1, 3, 1, 1]);
    // Of two trees that take every alert only one counts: the one that is declared.
    let mut renamed = all.clone();
    renamed[4].1 = ROUTE.replace("name: main", "name: other");
    let routes = compiled(&mut compiler, &renamed, &context).desired.response.routes;
    assert_eq!(routes.keys().map(Name::as_str).collect::<Vec<_>>(), ["other"]);
}
