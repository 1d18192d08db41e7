//! Where alerts go, and what keeps them quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Quiet, Routed, Router, expired, expires, freeze, next_expiry, quiet, silent};
use crate::model::{
    Alert, AlertId, AlertMemory, AlertRouteSpec, AlertState, Concurrency, Disposition, Fingerprint, Inhibition, Labels,
    Limits, Maintenance, Matcher, Name, Owned, Period, Place, Playbook, Response, Route, TimeSpan, Trigger, Whose,
};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn matchers(texts: &[&str]) -> Vec<Matcher> {
    texts.iter().map(|text| text.parse().expect("a matcher")).collect()
}

fn route(texts: &[&str], policy: Option<&str>, routes: Vec<Route>) -> Route {
    Route { matchers: matchers(texts), policy: policy.map(name), routes, ..Route::default() }
}

fn owned(spec: AlertRouteSpec) -> Arc<Owned<AlertRouteSpec>> {
    let place = Place { file: "alerts.yaml".into(), line: 1, column: 1 };
    Arc::new(Owned { team: name("shop"), place, spec })
}

fn response(route: Route) -> Arc<Response> {
    let spec = AlertRouteSpec { route, ..AlertRouteSpec::default() };
    Arc::new(Response { routes: BTreeMap::from([(name("main"), owned(spec))]), ..Response::default() })
}

fn playbook(text: &str, on: &[&str]) -> Arc<Playbook> {
    Arc::new(Playbook {
        name: name(text),
        team: name("shop"),
        folder: String::new(),
        on: Trigger::Alert(matchers(on)),
        target: None,
        concurrency: Concurrency::default(),
        limits: Limits { timeout: Period::from_secs(60), runs: None },
        steps: Vec::new(),
        otherwise: None,
    })
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_585_600 + second).expect("a time")
}

fn memory(pairs: &[(&str, &str)], state: AlertState) -> Arc<AlertMemory> {
    let labels = labels(pairs);
    let id = AlertId { source: name("main"), fingerprint: Fingerprint::of(&labels), starts_at: at(0) };
    let (receiver, annotations) = (name("main"), Labels::new());
    let alert = Arc::new(Alert { id, receiver, labels, annotations, url: None, expires_at: Some(at(60)) });
    let disposition = Disposition::Received;
    Arc::new(AlertMemory { alert, state, since: at(0), received_at: at(0), disposition, asked: false })
}

fn all(memories: &[Arc<AlertMemory>]) -> BTreeMap<AlertId, Arc<AlertMemory>> {
    memories.iter().map(|it| (it.alert.id.clone(), Arc::clone(it))).collect()
}

#[test]
fn the_first_child_that_matches_takes_it_and_continue_goes_on() {
    let mut first = route(&["team=\"pay\""], Some("pay"), vec![]);
    first.go_on = true;
    let second = route(&["severity=\"page\""], None, vec![route(&["app=\"shop\""], Some("shop"), vec![])]);
    let third = route(&["severity=\"page\""], Some("never"), vec![]);
    let mut top = route(&[], Some("all"), vec![first, second, third]);
    top.group_by = Some(vec!["alertname".to_owned()]);
    let router = Router::new(&response(top), None, Whose::default());
    let of = |pairs: &[(&str, &str)]| router.route(&labels(pairs));
    assert_eq!(of(&[("team", "pay"), ("severity", "page")]).taken, ["main > 1", "main > 2"]);
    assert_eq!(of(&[("team", "pay"), ("severity", "page")]).policy, Some(name("pay")));
    let inherited = of(&[("severity", "page")]);
    assert_eq!((inherited.policy, inherited.taken), (Some(name("all")), vec!["main > 2".to_owned()]));
    assert_eq!(inherited.group_by, ["alertname"]);
    assert_eq!(of(&[("severity", "page"), ("app", "shop")]).taken, ["main > 2 > 1"]);
    assert_eq!(of(&[]).taken, ["main"]);
}

#[test]
fn one_alert_pages_one_policy_which_a_route_names_before_its_manifest() {
    let mut muted = route(&["severity=\"info\""], None, vec![]);
    muted.go_on = true;
    let mut pay = route(&["team=\"pay\""], Some("pay"), vec![]);
    pay.go_on = true;
    let shop = route(&["app=\"shop\""], Some("shop"), vec![]);
    let top = route(&[], Some("all"), vec![muted, pay, shop]);
    let router = Router::new(&response(top), None, Whose::default());
    let of = |pairs: &[(&str, &str)]| router.route(&labels(pairs)).policy.map(|policy| policy.to_string());
    assert_eq!(of(&[("severity", "info")]).as_deref(), Some("all"));
    assert_eq!(of(&[("severity", "info"), ("team", "pay")]).as_deref(), Some("pay"));
    assert_eq!(of(&[("severity", "info"), ("team", "pay"), ("app", "shop")]).as_deref(), Some("pay"));
}

#[test]
fn regular_expressions_are_anchored_and_a_missing_label_is_empty() {
    let holds = |matcher: &str, pairs: &[(&str, &str)]| matchers(&[matcher])[0].holds(&labels(pairs));
    assert!(holds("app=~\"sh.*\"", &[("app", "shop")]) && !holds("app=~\"ho\"", &[("app", "shop")]));
    assert!(!holds("app=~\"shop|a\"", &[("app", "shopping")]), "both sides of a choice are anchored");
    assert!(holds("app=~\".*\"", &[]) && holds("app=\"\"", &[]) && !holds("app!=\"\"", &[]));
    assert!(holds("app!~\"x\"", &[]) && holds("app=~\"a.b\"", &[("app", "a\nb")]));
}

#[test]
fn own_triggers_come_first_and_the_fallback_last() {
    let mut answering = Response::clone(&response(Route { playbook: Some(name("routed")), ..Route::default() }));
    answering.playbooks.insert(name("routed"), playbook("routed", &["alertname=\"none\""]));
    answering.playbooks.insert(name("own"), playbook("own", &["alertname=\"Down\"", "app!=\"\""]));
    let router = Router::new(&Arc::new(answering), Some(&name("fallback")), Whose::default());
    let routed = router.route(&labels(&[("alertname", "Down"), ("app", "shop")]));
    assert_eq!(routed.playbooks, [name("own"), name("routed")]);
    assert_eq!((routed.policy, routed.by_fallback), (Some(name("fallback")), true));
    assert_eq!(router.route(&labels(&[("alertname", "Down")])).playbooks, [name("routed")]);
}

#[test]
fn a_receiver_of_some_teams_hushes_nothing_of_others() {
    let rule = Inhibition {
        source: matchers(&["alertname=\"HostDown\""]),
        target: matchers(&["alertname!=\"HostDown\""]),
        equal: vec!["host".to_owned()],
    };
    let main =
        AlertRouteSpec { route: route(&[], Some("all"), vec![]), inhibit: vec![rule], ..AlertRouteSpec::default() };
    let response =
        Response { routes: BTreeMap::from([(name("main"), of_team("platform", main))]), ..Response::default() };
    let resources = [("app/shop", "shop"), ("app/evil", "evil")];
    let resources = resources.into_iter().map(|(id, team)| (id.parse().expect("an id"), name(team)));
    let reach = ["shop", "evil", "platform"].into_iter().map(|team| (name(team), BTreeSet::new())).collect();
    let whose =
        Whose::new(resources, ["shop", "evil", "platform"].into_iter().map(name), &reach, &[name("platform")].into());
    let router = Router::new(&Arc::new(response), None, whose);
    let beside = all(&[memory(&[("alertname", "HostDown"), ("host", "h1")], AlertState::Firing)]);
    let by = beside.values().next().expect("one").alert.receiver.clone();
    let is_hushed = |receivers: &BTreeMap<Name, BTreeSet<Name>>, pairs: &[(&str, &str)]| {
        let alert = memory(pairs, AlertState::Firing);
        let routed = router.route(&alert.alert.labels);
        quiet(&alert.alert, &routed, &Quiet::new(&router, &beside, receivers), at(0)).is_some()
    };
    let shops = [("alertname", "AppDown"), ("app", "shop"), ("host", "h1")];
    let evils = [("alertname", "AppDown"), ("app", "evil"), ("host", "h1")];
    let nobodys = [("alertname", "Disk"), ("host", "h1")];
    let (everybody, only) = (BTreeMap::new(), BTreeMap::from([(by, [name("evil")].into())]));
    assert!([&shops[..], &evils, &nobodys].iter().all(|pairs| is_hushed(&everybody, pairs)));
    assert!(is_hushed(&only, &evils) && !is_hushed(&only, &shops) && !is_hushed(&only, &nobodys));
}

/// What a receiver of some teams brings is hushed by theirs and by who writes for everybody, whatever team its labels name.
#[test]
fn what_a_receiver_of_some_teams_brings_no_other_team_hushes() {
    let all_day = BTreeMap::from([(name("always"), vec![TimeSpan::default()])]);
    let still = |team: &str| Maintenance {
        matchers: matchers(&["alertname=\"Down\""]),
        from: at(0),
        until: at(3_600),
        reason: format!("{team} rests"),
    };
    let of = |team: &str, muted: bool| {
        let mut top = route(&["team=\"b\""], Some("all"), vec![]);
        top.mute.extend(muted.then(|| name("always")));
        let maintenance = if muted { vec![] } else { vec![still(team)] };
        of_team(
            team,
            AlertRouteSpec { route: top, mute_times: all_day.clone(), maintenance, ..AlertRouteSpec::default() },
        )
    };
    let reach = ["a", "b", "platform"].into_iter().map(|team| (name(team), BTreeSet::new())).collect();
    let teams = || ["a", "b", "platform"].into_iter().map(name);
    let whose = Whose::new(std::iter::empty(), teams(), &reach, &[name("platform")].into());
    let alert = memory(&[("alertname", "Down"), ("team", "b")], AlertState::Firing);
    let by = |teams: &[&str]| -> BTreeMap<Name, BTreeSet<Name>> {
        [(alert.alert.receiver.clone(), teams.iter().map(|team| name(team)).collect())].into()
    };
    let everybodys = of_team(
        "platform",
        AlertRouteSpec {
            route: route(&[], Some("all"), vec![]),
            maintenance: vec![still("platform")],
            ..AlertRouteSpec::default()
        },
    );
    for muted in [false, true] {
        let routes = BTreeMap::from([(name("bs"), of("b", muted))]);
        let is_hushed = |routes: &BTreeMap<Name, _>, receivers: &BTreeMap<Name, BTreeSet<Name>>| {
            let response = Response { routes: routes.clone(), ..Response::default() };
            let router = Router::new(&Arc::new(response), None, whose.clone());
            let routed = router.route(&alert.alert.labels);
            quiet(&alert.alert, &routed, &Quiet::new(&router, &BTreeMap::new(), receivers), at(60)).is_some()
        };
        for (receivers, expected) in
            [(BTreeMap::new(), true), (by(&["b"]), true), (by(&["a", "b"]), true), (by(&["a"]), false)]
        {
            assert_eq!(is_hushed(&routes, &receivers), expected, "{receivers:?}, muted: {muted}");
        }
        let mut with_all = routes.clone();
        with_all.insert(name("main"), everybodys.clone());
        assert!(is_hushed(&with_all, &by(&["a"])), "who writes for everybody hushes all");
    }
}

fn hushed(
    spec: AlertRouteSpec,
    mute: &[&str],
    alert: &Arc<AlertMemory>,
    beside: &[Arc<AlertMemory>],
    now: Timestamp,
) -> Option<String> {
    let response = Response { routes: BTreeMap::from([(name("main"), owned(spec))]), ..Response::default() };
    let routed = Routed { mute: mute.iter().map(|text| (name("main"), name(text))).collect(), ..Routed::default() };
    let router = Router::new(&Arc::new(response), None, Whose::default());
    quiet(&alert.alert, &routed, &Quiet::new(&router, &all(beside), &BTreeMap::new()), now)
}

#[test]
fn an_alert_inhibits_others_that_agree_with_it_and_never_itself() {
    let rule = Inhibition {
        source: matchers(&["severity=\"page\""]),
        target: matchers(&["severity=~\"page|warn\""]),
        equal: vec!["app".to_owned(), "zone".to_owned()],
    };
    let spec = AlertRouteSpec { inhibit: vec![rule], ..AlertRouteSpec::default() };
    let source = memory(&[("severity", "page"), ("app", "shop")], AlertState::Firing);
    let target = memory(&[("severity", "warn"), ("app", "shop")], AlertState::Firing);
    let of = |alert: &Arc<AlertMemory>, beside: &[Arc<AlertMemory>]| hushed(spec.clone(), &[], alert, beside, at(0));
    assert!(
        of(&target, &[Arc::clone(&source)]).expect("quiet").contains("(app=shop), which fires"),
        "a missing `zone` is equal"
    );
    assert_eq!(of(&source, &[Arc::clone(&source)]), None);
    let other = memory(&[("severity", "warn"), ("app", "front")], AlertState::Firing);
    assert_eq!(of(&other, &[Arc::clone(&source)]), None);
    let over = memory(&[("severity", "page"), ("app", "shop")], AlertState::Resolved);
    assert_eq!(of(&target, &[over]), None);
}

#[test]
fn mute_times_follow_the_local_clock_over_its_changes() {
    let night = TimeSpan {
        times: vec![(jiff::civil::time(2, 0, 0, 0), Some(jiff::civil::time(4, 0, 0, 0)))],
        timezone: Some("Europe/Berlin".to_owned()),
        ..TimeSpan::default()
    };
    let spec =
        AlertRouteSpec { mute_times: BTreeMap::from([(name("night"), vec![night])]), ..AlertRouteSpec::default() };
    let alert = memory(&[("app", "shop")], AlertState::Firing);
    let muted = |time: &str| hushed(spec.clone(), &["night"], &alert, &[], time.parse().expect("a time")).is_some();
    // Winter, summer, the day that has no 02:00 to 03:00, and the one that has it twice.
    assert!(muted("2026-01-05T01:00:00Z") && !muted("2026-01-05T03:00:00Z"));
    assert!(muted("2026-07-05T00:00:00Z") && !muted("2026-07-05T02:00:00Z"));
    assert!(!muted("2026-03-29T00:59:59Z") && muted("2026-03-29T01:00:00Z") && !muted("2026-03-29T02:00:00Z"));
    assert!(muted("2026-10-25T00:30:00Z") && muted("2026-10-25T01:30:00Z") && !muted("2026-10-25T03:00:00Z"));
    assert_eq!(hushed(spec, &[], &alert, &[], "2026-01-05T01:00:00Z".parse().expect("a time")), None);
}

#[test]
fn days_count_from_either_end_of_the_month() {
    let span = |days| TimeSpan { days_of_month: vec![days], ..TimeSpan::default() };
    let alert = memory(&[("app", "shop")], AlertState::Firing);
    let muted = |days, time: &str| {
        let mute_times = BTreeMap::from([(name("m"), vec![span(days)])]);
        let spec = AlertRouteSpec { mute_times, ..AlertRouteSpec::default() };
        hushed(spec, &["m"], &alert, &[], time.parse().expect("a time")).is_some()
    };
    assert!(muted((-1, -1), "2026-02-28T12:00:00Z") && !muted((-1, -1), "2026-02-27T12:00:00Z"));
    assert!(muted((28, 31), "2026-02-28T12:00:00Z") && muted((-3, -1), "2026-04-28T00:00:00Z"));
}

#[test]
fn maintenance_holds_from_its_begin_until_before_its_end() {
    let (from, until, reason) = (at(0), at(60), "moving".to_owned());
    let maintenance = Maintenance { matchers: matchers(&["app=\"shop\""]), from, until, reason };
    let spec = AlertRouteSpec { maintenance: vec![maintenance], ..AlertRouteSpec::default() };
    let of = |app: &str, now| hushed(spec.clone(), &[], &memory(&[("app", app)], AlertState::Firing), &[], now);
    assert!(of("shop", at(0)).expect("quiet").contains("moving") && of("shop", at(59)).is_some());
    assert!(of("shop", at(60)).is_none() && of("shop", at(-1)).is_none() && of("front", at(0)).is_none());
}

#[test]
fn what_is_not_told_of_again_expires_and_a_silent_watchdog_is_named() {
    let fires = memory(&[("app", "shop")], AlertState::Firing);
    let over = memory(&[("app", "front")], AlertState::Resolved);
    let known = all(&[Arc::clone(&fires), over]);
    let says = |memory: &AlertMemory| memory.alert.expires_at;
    assert_eq!((next_expiry(&known, says), expired(&known, says, at(59)).len()), (Some(at(60)), 0));
    assert_eq!(expired(&known, says, at(60)), vec![fires.alert.id.clone()]);
    let watched = [(&name("main"), Period::from_secs(60))];
    let heard = BTreeMap::from([(name("main"), at(10))]);
    assert!(silent(watched, &heard, at(0), at(70)).is_empty());
    assert_eq!(silent(watched, &heard, at(0), at(71)), [(name("main"), at(10), Period::from_secs(60))]);
    assert!(silent(watched, &heard, at(30), at(71)).is_empty(), "counts from when the daemon began to listen");
}

#[test]
fn what_was_known_before_the_daemon_began_may_be_told_of_again_before_it_expires() {
    let fires = memory(&[("app", "shop")], AlertState::Firing);
    let of = |since: i64| expires(&fires, Some(Period::from_secs(7)), at(since), at(since));
    assert_eq!(of(0), Some(at(60)), "it came while somebody listened");
    assert_eq!(of(1_000), Some(at(1_300)), "its source tells of it again within that time, if it fires");
    // Without a word of its source, its receiver's time counts.
    let mut by_rule = AlertMemory::clone(&fires);
    Arc::make_mut(&mut by_rule.alert).expires_at = None;
    assert_eq!(expires(&by_rule, Some(Period::from_secs(7)), at(1_000), at(900)), Some(at(1_007)));
    assert_eq!(expires(&by_rule, None, at(1_000), at(900)), None);
}

#[test]
fn only_a_receiver_that_may_freezes() {
    let alert = memory(&[("alertname", super::FREEZE)], AlertState::Firing);
    let known = all(&[alert]);
    assert!(freeze(&known, &[name("main")].into(), None).is_some());
    assert!(freeze(&known, &[name("other")].into(), None).is_none() && freeze(&known, &[].into(), None).is_none());
    let over = all(&[memory(&[("alertname", super::FREEZE)], AlertState::Resolved)]);
    assert!(freeze(&over, &[name("main")].into(), None).is_none());
}

/// An AlertRoute of a team.
fn of_team(team: &str, spec: AlertRouteSpec) -> Arc<Owned<AlertRouteSpec>> {
    Arc::new(Owned { team: name(team), ..Owned::clone(&owned(spec)) })
}

#[test]
fn what_a_teams_routes_say_counts_only_for_its_own_alerts() {
    let everything = || matchers(&["alertname=~\".+\""]);
    let always = TimeSpan { weekdays: (1..=7).collect(), ..TimeSpan::default() };
    let mut taking = route(&["alertname=~\".+\""], Some("evil"), vec![]);
    taking.mute = vec![name("nights")];
    let hush = AlertRouteSpec {
        route: taking,
        mute_times: BTreeMap::from([(name("nights"), vec![always])]),
        maintenance: vec![Maintenance {
            matchers: everything(),
            from: at(0),
            until: at(60),
            reason: "ours".to_owned(),
        }],
        inhibit: vec![Inhibition { source: matchers(&["alertname=\"Heart\""]), target: everything(), equal: vec![] }],
    };
    let mut below = route(&["app=\"shop\""], Some("shop"), vec![]);
    below.mute = vec![name("nights")];
    let own = AlertRouteSpec {
        // The same name of a mute time, another time.
        mute_times: BTreeMap::from([(name("nights"), vec![TimeSpan { months: [6].into(), ..TimeSpan::default() }])]),
        ..AlertRouteSpec { route: route(&[], Some("all"), vec![below]), ..AlertRouteSpec::default() }
    };
    let routes = [("aaa", of_team("evil", hush)), ("main", of_team("platform", own))];
    let routes = routes.into_iter().map(|(text, route)| (name(text), route)).collect();
    let response = Arc::new(Response { routes, ..Response::default() });
    let whose = |shop_lets: &[&str]| {
        let resources = [("app/shop", "shop"), ("app/evil", "evil")];
        let resources = resources.into_iter().map(|(id, team)| (id.parse().expect("an id"), name(team)));
        let reach = [("shop", shop_lets), ("evil", &[]), ("platform", &[])];
        let reach = reach.into_iter().map(|(team, lets)| (name(team), lets.iter().map(|it| name(it)).collect()));
        let everybodys = [name("platform")].into();
        Whose::new(resources, ["shop", "evil", "platform"].into_iter().map(name), &reach.collect(), &everybodys)
    };
    let beside = all(&[memory(&[("alertname", "Heart")], AlertState::Firing)]);
    let of = |pairs: &[(&str, &str)], whose: Whose| {
        let router = Router::new(&response, None, whose);
        let alert = memory(pairs, AlertState::Firing);
        let routed = router.route(&alert.alert.labels);
        let receivers = BTreeMap::new();
        let rules = Quiet::new(&router, &beside, &receivers);
        let hushed = [0, 60].map(|second| quiet(&alert.alert, &routed, &rules, at(second)));
        (routed.policy.expect("a policy").to_string(), hushed.iter().filter(|why| why.is_some()).count())
    };
    let shop = [("alertname", "Down"), ("app", "shop")];
    assert_eq!(of(&shop, whose(&[])), ("shop".to_owned(), 0), "neither taken nor hushed");
    assert_eq!(of(&[("alertname", "Down"), ("host", "db1")], whose(&[])), ("all".to_owned(), 0), "nobody's");
    assert_eq!(of(&[("alertname", "Down"), ("app", "evil")], whose(&[])), ("evil".to_owned(), 2));
    assert_eq!(of(&[("alertname", "Down"), ("team", "evil")], whose(&[])), ("evil".to_owned(), 2));
    assert_eq!(of(&shop, whose(&["evil"])), ("evil".to_owned(), 2), "shop lets it");
    assert_eq!(of(&shop, Whose::default()), ("evil".to_owned(), 2), "no teams, no question");
}

/// What a tree says without any index: the definition, written down plainly; of each policy, whether it is not the top's.
fn plainly(
    node: &Route,
    labels: &Labels,
    from: Option<Said<'_>>,
    path: &str,
    taken: &mut Vec<(String, Option<(Name, bool)>)>,
) {
    let is_top = !path.contains('>');
    let own = node.policy.as_ref().map(|policy| (policy, !is_top)).or(from);
    let before = taken.len();
    for (at, child) in node.routes.iter().enumerate() {
        if child.matchers.iter().all(|matcher| matcher.holds(labels)) {
            plainly(child, labels, own, &format!("{path} > {}", at + 1), taken);
            if !child.go_on {
                break;
            }
        }
    }
    if taken.len() == before {
        taken.push((path.to_owned(), own.map(|(policy, named)| (policy.clone(), named))));
    }
}

type Said<'r> = (&'r Name, bool);

fn some_matcher() -> impl Strategy<Value = Matcher> {
    (0..4_usize, 0..4_usize, 0..4_usize).prop_map(|(label, operator, value)| {
        let label = ["a", "b", "c", "d"][label];
        let operator = ["=", "!=", "=~", "!~"][operator];
        let value = ["", "x", "y", "x|y"][value];
        format!("{label}{operator}\"{value}\"").parse().expect("a matcher")
    })
}

fn some_route() -> impl Strategy<Value = Route> {
    let own = || (prop::collection::vec(some_matcher(), 0..3), prop::option::of(0..3_usize), any::<bool>());
    let build = |((matchers, policy, go_on), routes): ((Vec<Matcher>, Option<usize>, bool), Vec<Route>)| Route {
        matchers,
        policy: policy.map(|at| name(["p", "q", "r"][at])),
        go_on,
        routes,
        ..Route::default()
    };
    let leaf = (own(), Just(Vec::new())).prop_map(build);
    leaf.prop_recursive(3, 24, 6, move |inner| (own(), prop::collection::vec(inner, 0..6)).prop_map(build))
}

proptest! {
    #[test]
    fn the_index_says_what_a_plain_walk_says(
        mut top in some_route(),
        alerts in prop::collection::vec(prop::collection::btree_map("[a-d]", "[xyz]?", 0..4), 1..8),
        triggers in prop::collection::vec(prop::collection::vec(some_matcher(), 1..3), 0..6),
    ) {
        top.matchers.clear();
        let mut answering = Response::clone(&response(top.clone()));
        for (at, on) in triggers.iter().enumerate() {
            let text = format!("t{at}");
            let mut it = Playbook::clone(&playbook(&text, &[]));
            it.on = Trigger::Alert(on.clone());
            answering.playbooks.insert(name(&text), Arc::new(it));
        }
        let router = Router::new(&Arc::new(answering), None, Whose::default());
        for labels in alerts {
            let routed = router.route(&labels);
            let mut taken = Vec::new();
            plainly(&top, &labels, None, "main", &mut taken);
            let paths: Vec<String> = taken.iter().map(|(path, _)| path.clone()).collect();
            prop_assert_eq!(&routed.taken, &paths);
            let said: Vec<(Name, bool)> = taken.into_iter().filter_map(|(_, policy)| policy).collect();
            let named = said.iter().find(|(_, named)| *named).or(said.first());
            prop_assert_eq!(routed.policy, named.map(|(policy, _)| policy.clone()));
            let holds = |on: &[Matcher]| on.iter().all(|matcher| matcher.holds(&labels));
            let answering: Vec<Name> =
                triggers.iter().enumerate().filter(|(_, on)| holds(on)).map(|(at, _)| name(&format!("t{at}"))).collect();
            prop_assert_eq!(routed.playbooks, answering);
        }
    }
}

/// Each rule was compared with all that fires at each look: these took minutes.
#[test]
fn a_teams_many_rules_and_all_that_fires_are_not_compared_each_with_each() {
    let rule = |of: usize| Inhibition {
        source: vec![format!("alertname=Host{of}").parse().expect("a matcher")],
        target: vec![format!("alertname=App{of}").parse().expect("a matcher")],
        equal: vec!["host".to_owned()],
    };
    let spec = AlertRouteSpec { inhibit: (0..10_000).map(rule).collect(), ..AlertRouteSpec::default() };
    let response = Response { routes: BTreeMap::from([(name("main"), owned(spec))]), ..Response::default() };
    let router = Router::new(&Arc::new(response), None, Whose::default());
    let fires = |of: usize| {
        let (alert, host) = (format!("Host{}", of % 1_000), format!("h{of}"));
        memory(&[("alertname", &alert), ("host", &host)], AlertState::Firing)
    };
    let (beside, receivers) = (all(&(0..20_000).map(fires).collect::<Vec<_>>()), BTreeMap::new());
    let rules = Quiet::new(&router, &beside, &receivers);
    let hushed = |of: usize| {
        let (alert, host) = (format!("App{of}"), format!("h{of}"));
        let alert = memory(&[("alertname", &alert), ("host", &host)], AlertState::Firing);
        quiet(&alert.alert, &Routed::default(), &rules, at(0)).is_some()
    };
    let most = AlertRouteSpec::MOST_INHIBITIONS;
    assert!((0..most).all(hushed), "as many as one team may have");
    assert!(!(most..10_000).any(hushed), "what is in force beyond is not looked at");
}
