//! The AlertRoutes without `match`: which is for all alerts, and which only for those of its own team.

use crate::alert::{Router, maintained};
use crate::config::TeamSettings;

use super::response::{PLAYBOOK, ROUTE, answered};
use super::*;

/// A tree for all that another team writes, wherever it stands, neither puts the one in force out of force nor takes or
/// hushes what is not that team's.
#[test]
fn a_tree_of_all_is_everybodys_only_where_its_team_may_claim_the_top_file() {
    let team = |paths: &[&str]| TeamSettings {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        ..TeamSettings::default()
    };
    let guarded = |top: &[&str]| Context {
        teams: BTreeMap::from([(name("evil"), team(&["aaa/"])), (name("payments"), team(top))]),
        ..Context::default()
    };
    let another = ROUTE
        .replace("name: main, team: payments", "name: aaa, team: evil")
        .replace("[app=shop], playbook: shop-down", "[app=shop]")
        .replace("[app=shop], from", "['alertname=~\".*\"'], from")
        .replace("payments-oncall", "evil-oncall");
    let people = "apiVersion: codeops/v1\nkind: EscalationPolicy\nmetadata: {name: evil-oncall, team: evil}\nspec: {levels: [{notify: [receiver/evil, receiver/more]}]}\n\
                  ---\napiVersion: codeops/v1\nkind: Receiver\nmetadata: {name: evil, team: evil}\nspec: {webhook: {url: https://evil.example}}\n\
                  ---\napiVersion: codeops/v1\nkind: Receiver\nmetadata: {name: more, team: evil}\nspec: {webhook: {url: https://more.example}}\n";
    let (other, pairs) = (TEAM.replace("payments", "evil"), answered(&[]));
    let mut pairs: Vec<(&str, &str)> = pairs.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    pairs.push(("aaa/team.yaml", &other));
    pairs.push(("aaa/route.yaml", &another));
    pairs.push(("aaa/people.yaml", people));
    // What becomes of an alert: the routes it takes, and what keeps it quiet.
    let of = |compiled: &Compiled, labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let router = Router::new(&Arc::new(compiled.desired.response.clone()), None, compiled.desired.whose());
        let routed = router.route(&labels);
        let now = "2026-11-21T08:00:00Z".parse().expect("a time");
        (routed.taken, maintained(&router, &labels, routed.owner.as_ref(), now).is_some())
    };
    let taken = |routes: &[&str], hushed| (routes.iter().map(|route| (*route).to_owned()).collect::<Vec<_>>(), hushed);
    let all = ["apps/", "alerts/", "playbooks/**", "teams/"];

    // Nobody writes for everybody: each tree is for its own team's.
    let compiled = Compiler::default().compile(&files(&pairs), &guarded(&all));
    assert!(!compiled.has_errors(), "{}", rendered(&compiled));
    assert_eq!(of(&compiled, &[("team", "payments")]), taken(&["main"], false));
    assert_eq!(of(&compiled, &[("team", "evil")]), taken(&["aaa"], true));
    assert_eq!(of(&compiled, &[("host", "db1")]), taken(&[], false), "nobody's");
    let text = rendered(&compiled);
    assert!(text.contains("`aaa` has no `match` at its top and counts only for alerts of the team `evil`"), "{text}");
    assert!(text.contains("--> aaa/route.yaml:3:18") && text.contains("--> alerts/routing.yaml:3:18"), "{text}");
    assert!(text.contains("no AlertRoute takes the alerts that no playbook is on"), "{text}");
    let lost = "no team may claim `codeops.yaml`, and there is no `fallback`, so that they reach nobody";
    assert!(text.contains(lost) && text.contains("grant a team `codeops.yaml`"), "{text}");
    let without: Vec<_> = pairs.iter().copied().filter(|(_, text)| !text.contains("kind: Playbook")).collect();
    let routes: Vec<_> =
        without.iter().map(|(path, text)| (*path, text.replace(", playbook: shop-down", ""))).collect();
    let routes: Vec<_> = routes.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let text = rendered(&Compiler::default().compile(&files(&routes), &guarded(&all)));
    assert!(text.contains(lost), "also where no playbook is there: {text}");
    let fallback = Some(name("payments-oncall"));
    let fallback = Context { fallback, fallback_team: Some(name("payments")), ..guarded(&all) };
    let compiled = Compiler::default().compile(&files(&pairs), &fallback);
    assert!(!compiled.has_errors() && !rendered(&compiled).contains(lost), "{}", rendered(&compiled));

    // One does: the other's tree is still for its own alerts, before the one for all.
    let compiled = Compiler::default().compile(&files(&pairs), &guarded(&[&all[..], &["codeops.yaml"]].concat()));
    assert!(!compiled.has_errors(), "{}", rendered(&compiled));
    assert_eq!(of(&compiled, &[("host", "db1")]), taken(&["main"], false));
    assert_eq!(of(&compiled, &[("team", "payments")]), taken(&["main"], false));
    assert_eq!(of(&compiled, &[("team", "evil")]), taken(&["aaa"], true));
    let text = rendered(&compiled);
    assert!(text.contains("aaa/route.yaml:3:18") && !text.contains("alerts/routing.yaml"), "{text}");

    // Without teams in the settings there is one, and it is whose it was.
    let mut compiler = Compiler::default();
    let before: Vec<_> = pairs.iter().copied().filter(|(path, _)| *path != "aaa/route.yaml").collect();
    assert_eq!(rendered(&compiler.compile(&files(&before), &Context::default())), "");
    let compiled = compiler.compile(&files(&pairs), &Context::default());
    assert!(rendered(&compiled).contains("a second AlertRoute without `match` at its top, `aaa`"));
    assert_eq!(of(&compiled, &[("team", "evil")]), taken(&["main"], false));
}

/// What fires is compared with each inhibition, so that those of a team are bounded for all its files together.
#[test]
fn the_inhibitions_of_a_teams_alert_routes_are_bounded_together() {
    let route = |name: &str, many: usize| {
        let rule = |of: usize| format!("    - {{source: [alertname=H{of}], target: [alertname=A{of}]}}\n");
        let rules: String = (0..many).map(rule).collect();
        format!(
            "apiVersion: codeops/v1\nkind: AlertRoute\nmetadata: {{name: {name}, team: payments}}\nspec:\n  \
             route: {{match: [host={name}], policy: payments-oncall}}\n  inhibit:\n{rules}"
        )
    };
    let compile = |first: usize, second: usize| {
        let (first, second, pairs) = (route("more-a", first), route("more-b", second), answered(&[]));
        let mut pairs: Vec<(&str, &str)> = pairs.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        pairs.extend([("alerts/a.yaml", first.as_str()), ("alerts/b.yaml", second.as_str())]);
        Compiler::default().compile(&files(&pairs), &Context::default())
    };
    let within = compile(100, 99);
    assert!(!within.has_errors(), "{}", rendered(&within));
    let compiled = compile(100, 101);
    let text = rendered(&compiled);
    assert!(compiled.has_errors() && text.contains("have 202 inhibitions: 200 are the most"), "{text}");
    assert!(text.contains("--> alerts/b.yaml:3:18"), "the place of the one with which there are more: {text}");
    let many: String = (0..600).map(|of| format!("l{of}=~x, ")).collect();
    let wide = route("more-a", 1).replace("[alertname=H0]", &format!("[{many}alertname=H0]"));
    let with = |first: &str| {
        let pairs = answered(&[("alerts/a.yaml", first), ("alerts/b.yaml", &wide.replace("more-a", "more-b"))]);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        rendered(&Compiler::default().compile(&files(&pairs), &Context::default()))
    };
    assert!(with(&wide).contains("have 1206 matchers of inhibitions: 1000 are the most"), "{}", with(&wide));
    let names: Vec<&str> = compiled.desired.response.routes.keys().map(Name::as_str).collect();
    assert!(names.contains(&"more-a") && !names.contains(&"more-b"), "{names:?}");
}

/// They are kept with each alert.
#[test]
fn labels_to_group_by_or_to_agree_on_are_no_more_than_an_alert_may_have() {
    let told = |group: usize, equal: usize| {
        let list = |many: usize| (0..many).map(|n| format!("l{n}")).collect::<Vec<_>>().join(", ");
        let route = ROUTE.replace("groupBy: [alertname]", &format!("groupBy: [{}]", list(group)));
        let route = route.replace("equal: [host]", &format!("equal: [{}]", list(equal)));
        let pairs = answered(&[("alerts/routing.yaml", &route)]);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        rendered(&Compiler::default().compile(&files(&pairs), &Context::default()))
    };
    assert_eq!(told(64, 64), told(1, 1));
    for (group, equal) in [(65, 1), (1, 65)] {
        let text = told(group, equal);
        assert!(text.contains("65 labels are named, and an alert has at most 64"), "{text}");
    }
}

/// Whatever is compared with all that fires, or kept with each run, has a bound.
#[test]
fn mute_times_maintenance_and_playbooks_are_bounded() {
    let told = |path: &'static str, text: &str| {
        let pairs = answered(&[(path, text)]);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        rendered(&Compiler::default().compile(&files(&pairs), &Context::default()))
    };
    let spans = |many: usize| {
        let times = vec!["{from: 00:00, to: 06:00}"; many].join(", ");
        ROUTE.replace("{from: \"22:00\", to: \"24:00\"}, {from: 00:00, to: 06:00}", &times)
    };
    let matchers = |many: usize| {
        let all: Vec<String> = (0..many).map(|n| format!("l{n}=x")).collect();
        ROUTE.replace("maintenance: [{match: [app=shop]", &format!("maintenance: [{{match: [{}]", all.join(", ")))
    };
    let playbook = |many: usize| PLAYBOOK.replace("steps:", &format!("# {}\n  steps:", "x".repeat(many)));
    for (path, good, bad, why) in [
        ("alerts/routing.yaml", spans(990), spans(1_001), "times in mute times: 1000 are the most"),
        (
            "alerts/routing.yaml",
            matchers(5_000),
            matchers(5_001),
            "have 5001 matchers of maintenance: 5000 are the most",
        ),
    ] {
        assert!(!told(path, &good).contains("are the most"), "{}", told(path, &good));
        assert!(told(path, &bad).contains(why), "{}", told(path, &bad));
    }
    let long =
        PLAYBOOK.replacen("name: look,", &format!("name: look, if: 'true || \"{}\" == \"\"',", "x".repeat(140_000)), 1);
    assert_ne!(long, PLAYBOOK);
    assert!(!told("playbooks/shop-down.yaml", &playbook(140_000)).contains("keeps it whole"), "comments are not kept");
    assert!(
        told("playbooks/shop-down.yaml", &long).contains("for each run keeps it whole"),
        "{}",
        told("playbooks/shop-down.yaml", &long)
    );
}
