//! Nobody takes the place of another team's receiver, policy or playbook by its name, whatever mistake that team makes.

use super::contested::{compile_with, guarded};
use super::response::{CHANNELS, PLAYBOOK};
use super::*;

const THEIRS: &str = "apiVersion: codeops/v1\nkind: Receiver\nmetadata: {name: chat, team: platform}\nspec: {webhook: {url: https://platform.example}}\n";

fn whose(compiled: &Compiled, receiver: &str) -> Option<String> {
    compiled.desired.response.receivers.get(&name(receiver)).map(|it| it.team.to_string())
}

/// The same settings, where this team lets the other reach what is its own: what is taken back later.
fn letting(mut context: Context, team: &str, other: &str) -> Context {
    context.teams.get_mut(&name(team)).expect("it is there").allow.push(name(other));
    context
}

fn notifies(compiled: &Compiled) -> String {
    format!("{:?}", compiled.desired.response.policies[&name("payments-oncall")].spec.levels)
}

#[test]
fn a_mistake_in_ones_own_receiver_hands_it_to_nobody() {
    let typo = CHANNELS.replace("metadata: {name: chat, team: payments}", "metadata: {name: chat, team: paymentz}");
    let beside = ("plat/p.yaml", THEIRS);
    let mut compiler = Compiler::default();
    compile_with(&mut compiler, &[], &guarded());
    for text in [CHANNELS, &typo, CHANNELS] {
        let (compiled, _) = compile_with(&mut compiler, &[beside, ("alerts/people.yaml", text)], &guarded());
        let told = rendered(&compiled);
        assert_eq!(whose(&compiled, "chat").as_deref(), Some("payments"), "{told}");
        assert!(told.contains("Receiver `chat` is another manifest's and has no effect here"), "{told}");
        assert!(notifies(&compiled).contains("chat"), "{told}");
        let others = told.matches("--> alerts/").count();
        assert_eq!(others > 0, text == typo, "{told}");
    }
}

#[test]
fn what_stays_for_a_mistake_tells_nobody_who_has_come_to_be_called_so() {
    let (begin, end) =
        CHANNELS.split_once("---\napiVersion: codeops/v1\nkind: Receiver\nmetadata: {name: chat").expect("it has");
    let without = format!("{begin}{}", &end[end.find("---\n").expect("there is more")..]);
    let pairs = [("plat/p.yaml", THEIRS), ("alerts/people.yaml", without.as_str())];
    let mut compiler = Compiler::default();
    compile_with(&mut compiler, &[], &guarded());
    let mut context = guarded();
    for _ in 0..2 {
        let (kept, _) = compile_with(&mut compiler, &pairs, &context);
        context.holders.clone_from(&kept.holders);
        let told = rendered(&kept);
        assert_eq!(whose(&kept, "chat"), None, "{told}");
        assert!(told.contains("Receiver `chat` is the team `payments`'s, and has no effect here"), "{told}");
        assert!(told.contains("there is no Receiver `chat`"), "{told}");
    }
    let mut compiler = Compiler::default();
    let (first, _) = compile_with(&mut compiler, &pairs, &letting(guarded(), "platform", "payments"));
    assert!(first.desired.response.broken.is_empty() && notifies(&first).contains("chat"), "{}", rendered(&first));
    let (second, _) = compile_with(&mut compiler, &pairs, &guarded());
    assert_eq!(whose(&second, "chat").as_deref(), Some("platform"), "{}", rendered(&second));
    assert!(second.desired.response.broken.contains_key("EscalationPolicy/payments-oncall"));
    let levels = notifies(&second);
    assert!(!levels.contains("chat") && levels.contains("mail"), "{levels}");
}

#[test]
fn a_playbook_is_called_only_of_those_who_may_act_for_its_caller() {
    let calling = PLAYBOOK.replace("  steps:\n", "  steps:\n    - {name: helped, playbook: helper}\n");
    assert!(calling.contains("playbook: helper"), "{calling}");
    let helper = |team: &str| {
        format!(
            "apiVersion: codeops/v1\nkind: Playbook\nmetadata: {{name: helper, team: {team}}}\nspec:\n  on: {{alert: {{alertname: Never}}}}\n  steps:\n    - {{name: rest, http: {{url: https://x.example}}}}\n"
        )
    };
    let (own, theirs) = (helper("payments"), helper("platform"));
    let main = ("playbooks/shop-down.yaml", calling.as_str());
    let mut compiler = Compiler::default();
    let (good, _) = compile_with(&mut compiler, &[main, ("playbooks/helper.yaml", &own)], &guarded());
    assert!(good.desired.response.broken.is_empty(), "{}", rendered(&good));
    // Its own is gone, and another's has the name.
    let pairs = [main, ("plat/helper.yaml", theirs.as_str())];
    let mut context = guarded();
    for _ in 0..2 {
        let (kept, _) = compile_with(&mut compiler, &pairs, &context);
        context.holders.clone_from(&kept.holders);
        assert!(!kept.desired.response.playbooks.contains_key(&name("helper")), "{}", rendered(&kept));
    }
    let mut compiler = Compiler::default();
    let (first, _) = compile_with(&mut compiler, &pairs, &letting(guarded(), "payments", "platform"));
    assert!(first.desired.response.broken.is_empty(), "{}", rendered(&first));
    let (second, _) = compile_with(&mut compiler, &pairs, &guarded());
    let told = rendered(&second);
    assert!(
        told.contains("`Playbook/helper` is the team `platform`'s, and would act with the authority of `payments`"),
        "{told}"
    );
    assert!(second.desired.response.playbooks.contains_key(&name("helper")), "{told}");
    assert!(!second.desired.response.playbooks.contains_key(&name("shop-down")), "{told}");
    assert!(second.desired.response.broken.contains_key("Playbook/shop-down"));
    // Whom its team lets act, or who writes for everybody, may be called.
    let trusting = letting(guarded(), "payments", "platform");
    let mut everybodys = guarded();
    everybodys.teams.get_mut(&name("platform")).expect("it is there").paths.push("codeops.yaml".to_owned());
    for context in [trusting, everybodys] {
        let (compiled, _) = compile_with(&mut Compiler::default(), &pairs, &context);
        assert!(compiled.desired.response.broken.is_empty(), "{}", rendered(&compiled));
    }
}

/// The alerts of a team go to its own people, or nobody's whom it has not asked.
#[test]
fn a_route_calls_nobody_who_has_come_to_be_called_so() {
    let mut context = guarded();
    context.teams.get_mut(&name("payments")).expect("it is there").paths.remove(0);
    let policy = CHANNELS.split_once("---\n").expect("it has").0.replace("team: payments", "team: platform");
    let theirs =
        policy.replace("oncall/first, receiver/chat", "receiver/theirs").replace("receiver/mail", "receiver/theirs");
    let theirs = format!("{theirs}---\n{}", THEIRS.replace("name: chat", "name: theirs"));
    let own = CHANNELS.split_once("---\n").expect("it has").1;
    let pairs = [("plat/p.yaml", theirs.as_str()), ("alerts/people.yaml", own)];
    let mut compiler = Compiler::default();
    compile_with(&mut compiler, &pairs, &letting(context.clone(), "platform", "payments"));
    let (compiled, _) = compile_with(&mut compiler, &pairs, &context);
    let told = rendered(&compiled);
    assert_eq!(compiled.desired.response.policies[&name("payments-oncall")].team, name("platform"), "{told}");
    assert!(told.contains("`EscalationPolicy/payments-oncall` belongs to the team `platform`"), "{told}");
    for route in compiled.desired.response.routes.values() {
        assert!(!format!("{:?}", route.spec.route).contains("payments-oncall"), "{route:?}");
    }
}
