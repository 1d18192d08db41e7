//! A name of how alerts are answered stays its holder's while others refer to it, and is not inherited by who waited for it.

use super::*;
use crate::desired::answering::calls;
use crate::playbook::told_in_turn;

type All = BTreeMap<String, String>;

fn of(kind: &str, name: &str, team: &str, spec: &str) -> String {
    format!("apiVersion: codeops/v1\nkind: {kind}\nmetadata: {{name: {name}, team: {team}}}\nspec: {spec}\n")
}

fn receiver(name: &str, team: &str) -> String {
    of("Receiver", name, team, &format!("{{webhook: {{url: \"https://{team}.example/\"}}}}"))
}

fn policy(name: &str, team: &str, notifies: &str) -> String {
    of("EscalationPolicy", name, team, &format!("{{levels: [{{notify: [{notifies}]}}]}}"))
}

fn settings() -> Context {
    let team = |paths: &[&str]| TeamSettings {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        ..TeamSettings::default()
    };
    let teams = [("plat", team(&["codeops.yaml", "plat/"])), ("a", team(&["a/", "shared/"])), ("b", team(&["b/"]))];
    Context {
        teams: teams.map(|(team, settings)| (name(team), settings)).into(),
        fallback: Some(name("everybody")),
        ..Context::default()
    }
}

/// The settings that give what was shared to b.
fn handed() -> Context {
    let mut context = settings();
    context.teams.get_mut(&name("a")).expect("it is there").paths.pop();
    context.teams.get_mut(&name("b")).expect("it is there").paths.push("shared/".to_owned());
    context
}

fn first() -> All {
    let team = |name: &str| format!("apiVersion: codeops/v1\nkind: Team\nmetadata: {{name: {name}}}\nspec: {{}}\n");
    let routed =
        of("AlertRoute", "main", "plat", "{route: {policy: everybody, routes: [{match: [team=a], policy: a-oncall}]}}");
    let plat = [receiver("plat-hook", "plat"), policy("everybody", "plat", "receiver/plat-hook"), routed].join("---\n");
    let a = [receiver("a-hook", "a"), policy("a-oncall", "a", "receiver/a-hook")].join("---\n");
    let b = [receiver("b-hook", "b"), policy("b-oncall", "b", "receiver/b-hook")].join("---\n");
    let teams = ["plat", "a", "b"].map(team).join("---\n");
    let all = [
        ("codeops.yaml", REPOSITORY.to_owned()),
        ("teams/all.yaml", teams),
        ("plat/people.yaml", plat),
        ("a/people.yaml", a),
        ("b/people.yaml", b),
    ];
    all.map(|(path, text)| (path.to_owned(), text)).into()
}

/// What a daemon remembers, as [`crate::desired`] is used by it: restarts and settings included.
struct Daemon {
    compiler: Compiler,
    context: Context,
    /// Where what is broken was good last.
    kept: BTreeMap<String, Option<All>>,
    last: All,
}

impl Daemon {
    fn begin(all: &All) -> Self {
        let mut daemon =
            Self { compiler: Compiler::default(), context: settings(), kept: BTreeMap::new(), last: All::new() };
        let compiled = daemon.accept(all);
        assert!(!compiled.has_errors(), "{}", rendered(&compiled));
        daemon
    }

    fn compile(&mut self, all: &All, looks_back: Option<BTreeSet<String>>) -> Compiled {
        let pairs: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let context = Context { looks_back, deletions_wait: true, ..self.context.clone() };
        self.compiler.compile(&files(&pairs), &context)
    }

    fn accept(&mut self, all: &All) -> Compiled {
        let mut compiled = self.compile(all, None);
        self.compiler.let_go(&mut compiled, |_, _| true);
        self.remember(&compiled, &BTreeMap::new());
        self.last = all.clone();
        compiled
    }

    fn remember(&mut self, compiled: &Compiled, found: &BTreeMap<String, Option<All>>) {
        let before = std::mem::take(&mut self.kept);
        let last = |id: &String| before.get(id).or_else(|| found.get(id)).cloned();
        let last = |id: &String| last(id).unwrap_or_else(|| (!self.last.is_empty()).then(|| self.last.clone()));
        let response = &compiled.desired.response;
        let holders = compiled.next_holders();
        let nowhere = holders.keys().filter(|id| response.team_of(id).is_none()).map(|id| (id.clone(), None));
        self.kept = nowhere.chain(response.broken.keys().map(|id| (id.clone(), last(id)))).collect();
        self.context.holders = holders;
        self.context.files = compiled.next_files();
    }

    /// Begins again on what was accepted last, by these settings, as `as_before` of the reconciler does.
    fn restart(&mut self, settings: Context) -> Compiled {
        let (holders, files) = (std::mem::take(&mut self.context.holders), std::mem::take(&mut self.context.files));
        self.context = Context { holders, files, ..settings };
        let all = self.last.clone();
        self.compiler = Compiler::default();
        let first = self.compile(&all, None);
        let response = &first.desired.response;
        let has =
            |response: &Response, id: &String| !response.broken.contains_key(id) && response.team_of(id).is_some();
        let held = first.holders.keys().filter(|id| !has(response, id));
        let were = response.broken.keys().chain(held).filter(|id| !self.kept.contains_key(*id));
        let were: BTreeSet<String> = were.cloned().collect();
        self.compiler = Compiler::default();
        let then = self.compile(&all, Some(were.clone()));
        let mut found = self.kept.clone();
        found.extend(were.into_iter().filter(|id| has(&then.desired.response, id)).map(|id| (id, Some(all.clone()))));
        self.compiler = Compiler::default();
        let mut seen: Vec<All> = found.values().flatten().filter(|seen| **seen != all).cloned().collect();
        seen.dedup();
        for back in seen.into_iter().chain([all.clone()]) {
            let good =
                found.iter().filter(|(_, good)| good.as_ref() == Some(&back)).map(|(id, _)| id.clone()).collect();
            self.compile(&back, Some(good));
        }
        let mut compiled = self.compile(&all, None);
        self.compiler.let_go(&mut compiled, |id, _| !found.contains_key(id));
        self.compiler.let_go(&mut compiled, |_, _| true);
        self.remember(&compiled, &found);
        compiled
    }
}

/// Whom a's alerts may come to: by plat's route, by a's Team, and by a's playbooks.
fn told(compiled: &Compiled) -> BTreeSet<String> {
    let Desired { response, teams, .. } = &compiled.desired;
    let routed = response.routes.values().filter(|route| route.team == name("plat"));
    let routed = routed.flat_map(|route| route.spec.route.routes.iter().filter_map(|child| child.policy.clone()));
    let teams = teams.get(&name("a")).and_then(|team| team.escalation.clone());
    let playbooks = response.playbooks.values().filter(|playbook| playbook.team == name("a"));
    let paged = playbooks.flat_map(|playbook| calls::paged(playbook).cloned());
    let policies: BTreeSet<Name> = routed.chain(teams).chain(paged).collect();
    let fallback = name("everybody");
    let all = policies.iter().flat_map(|policy| {
        told_in_turn(Some(policy), Some(&fallback), response, jiff::Timestamp::UNIX_EPOCH).into_iter().filter(|told| {
            // The fallback comes later, where there is somebody else.
            told.receiver != name("plat-hook") || !response.policies.contains_key(policy)
        })
    });
    all.map(|told| told.team.to_string()).collect()
}

fn teams(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn renamed(all: &All) -> All {
    let mut all = all.clone();
    let text = [receiver("a-hook", "a"), policy("a-duty", "a", "receiver/a-hook")].join("---\n");
    all.insert("a/people.yaml".to_owned(), text);
    all
}

const SQUATS: &str = "EscalationPolicy `a-oncall` is the team `a`'s, and has no effect here";

/// Whether b waited for it or came later, over revisions and restarts: nobody of b is called for a's alerts, and a takes its
/// name back.
#[test]
fn a_name_that_others_refer_to_is_not_inherited() {
    let all = first();
    for (waits, restarts) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut daemon = Daemon::begin(&all);
        let squat = policy("a-oncall", "b", "receiver/b-hook");
        let with = |all: &All, squat: &str, note: &str| {
            let mut all = all.clone();
            all.insert("b/squat.yaml".to_owned(), format!("{squat}{note}"));
            all
        };
        if waits {
            let compiled = daemon.accept(&with(&all, &squat, ""));
            assert_eq!(told(&compiled), teams(&["a"]), "{}", rendered(&compiled));
        }
        let after = renamed(&all);
        if !waits {
            daemon.accept(&after);
        }
        for note in ["", "# 1\n", "# 2\n"] {
            if restarts {
                daemon.restart(settings());
            }
            let compiled = daemon.accept(&with(&after, &squat, note));
            let text = rendered(&compiled);
            assert_eq!(told(&compiled), teams(&["plat"]), "{text}");
            // Both sides are told.
            assert!(text.contains(SQUATS) && text.contains("there is no EscalationPolicy `a-oncall`"), "{text}");
        }
        let compiled = daemon.accept(&with(&all, &squat, "# 3\n"));
        assert_eq!(told(&compiled), teams(&["a"]), "{}", rendered(&compiled));
        assert_eq!(compiled.desired.response.policies[&name("a-oncall")].team, name("a"));
    }
}

/// What nobody refers to goes to who asks for it next, as does what only he refers to, or what its holder lets him have.
#[test]
fn a_name_that_nobody_else_refers_to_is_free() {
    let squat = policy("a-oncall", "b", "receiver/b-hook");
    let whose = |compiled: &Compiled| {
        compiled.desired.response.policies.get(&name("a-oncall")).map(|policy| policy.team.to_string())
    };
    let unnamed = |all: &All| {
        let mut all = all.clone();
        let plat = all["plat/people.yaml"].replace("policy: a-oncall", "policy: everybody");
        all.insert("plat/people.yaml".to_owned(), plat);
        all
    };
    let mut after = renamed(&first());
    let mut daemon = Daemon::begin(&first());
    daemon.accept(&after);
    after.insert("b/squat.yaml".to_owned(), squat.clone());
    assert_eq!(whose(&daemon.accept(&after)), None);
    // Who asked while it was another's does not come to have it by waiting.
    assert_eq!(whose(&daemon.accept(&unnamed(&after))), None);
    assert_eq!(whose(&daemon.restart(settings())), None);
    after.remove("b/squat.yaml");
    daemon.accept(&unnamed(&after));
    after.insert("b/squat.yaml".to_owned(), squat.clone());
    let mut all = unnamed(&after);
    let own = "{route: {match: [x=y], policy: a-oncall}}";
    all.insert("b/route.yaml".to_owned(), of("AlertRoute", "own", "b", own));
    let compiled = daemon.accept(&all);
    assert_eq!(whose(&compiled).as_deref(), Some("b"), "{}", rendered(&compiled));

    let mut daemon = Daemon::begin(&first());
    daemon.accept(&after);
    daemon.context.teams.get_mut(&name("a")).expect("it is there").allow.push(name("b"));
    let compiled = daemon.accept(&after);
    assert_eq!(whose(&compiled).as_deref(), Some("b"), "{}", rendered(&compiled));
}

/// Findings of a settings edit: what stood in a path that goes to another team stays in force as it was until its own team
/// declares it elsewhere, whatever the other makes of the file.
#[test]
fn what_stood_in_a_path_that_the_settings_take_stays_until_its_team_declares_it_elsewhere() {
    let mut all = first();
    let playbook = "{on: {alert: {alertname: Down}}, steps: [{name: call, page: {policy: a-oncall}}]}";
    all.insert("a/down.yaml".to_owned(), of("Playbook", "down", "a", playbook));
    let people = all.remove("a/people.yaml").expect("it is there");
    all.insert("shared/people.yaml".to_owned(), people.clone());
    let edits = [
        Some(people.replace("team: a", "team: b").replace("receiver/a-hook", "receiver/b-hook")),
        Some(people.replace("receiver/a-hook", "receiver/b-hook")),
        Some("{".to_owned()),
        None,
    ];
    for edit in edits {
        for restarts in [false, true] {
            let mut daemon = Daemon::begin(&all);
            let compiled = daemon.restart(handed());
            let text = rendered(&compiled);
            assert!(text.contains("the team `a` may not claim `shared/people.yaml`"), "{text}");
            assert_eq!(told(&compiled), teams(&["a"]), "{text}");
            let mut now = all.clone();
            match &edit {
                Some(text) => drop(now.insert("shared/people.yaml".to_owned(), text.clone())),
                None => drop(now.remove("shared/people.yaml")),
            }
            for note in ["# 1\n", "# 2\n"] {
                now.insert("b/note.yaml".to_owned(), note.to_owned());
                if restarts {
                    daemon.restart(handed());
                }
                let compiled = daemon.accept(&now);
                let text = rendered(&compiled);
                assert_eq!(told(&compiled), teams(&["a"]), "{text}");
                assert!(text.contains("shared/people.yaml") || edit.is_none(), "{text}");
                assert!(compiled.desired.response.broken.contains_key("EscalationPolicy/a-oncall"), "{text}");
                assert_eq!(compiled.desired.response.playbooks[&name("down")].team, name("a"));
            }
            now.insert("a/people.yaml".to_owned(), people.clone());
            let compiled = daemon.accept(&now);
            assert_eq!(told(&compiled), teams(&["a"]), "{}", rendered(&compiled));
            assert!(!compiled.desired.response.broken.contains_key("EscalationPolicy/a-oncall"));
        }
    }
}

/// A playbook that stays for a mistake pages nobody whom its team may not reach.
#[test]
fn what_a_playbook_pages_is_within_its_teams_reach() {
    let mut all = first();
    let playbook = "{on: {alert: {alertname: Down}}, steps: [{name: call, page: {policy: b-oncall}}]}";
    all.insert("a/down.yaml".to_owned(), of("Playbook", "down", "a", playbook));
    let mut trusting = settings();
    trusting.teams.get_mut(&name("b")).expect("it is there").allow.push(name("a"));
    let mut compiler = Compiler::default();
    let mut compile = |context: &Context| {
        let pairs: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        compiler.compile(&files(&pairs), context)
    };
    let trusted = compile(&trusting);
    assert!(!trusted.has_errors() && told(&trusted).contains("b"), "{}", rendered(&trusted));
    let compiled = compile(&settings());
    assert!(compiled.desired.response.playbooks.contains_key(&name("down")), "{}", rendered(&compiled));
    assert_eq!(told(&compiled), teams(&["a"]), "{}", rendered(&compiled));
}

/// A step of the history: what happens to the repository, the settings or the daemon.
#[derive(Debug, Clone)]
enum Happens {
    /// Team a declares its people here, under these names, or nowhere.
    A {
        shared: bool,
        oncall: bool,
        hook: bool,
        there: bool,
    },
    /// Team b writes these manifests in a file of its own, or in the shared one.
    B {
        kinds: u8,
        as_a: bool,
        shared: bool,
    },
    Settings(bool),
    Restart,
}

fn b_writes(kinds: u8, as_a: bool) -> String {
    let team = if as_a { "a" } else { "b" };
    let playbook = "{on: {alert: {alertname: Down}}, steps: [{name: call, page: {policy: b-oncall}}]}";
    let on_call = "{members: [b-hook], start: 2026-01-05T08:00:00Z, every: 7d, timezone: UTC}";
    let all = [
        policy("a-oncall", team, "receiver/b-hook"),
        of("Receiver", "a-hook", team, "{webhook: {url: \"https://b.example/\"}}"),
        of("OnCall", "a-people", team, on_call),
        of("Playbook", "down", team, playbook),
        policy("a-duty", team, "receiver/b-hook"),
    ];
    let chosen = all.iter().enumerate().filter(|(at, _)| kinds & (1 << at) != 0);
    chosen.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("---\n")
}

fn a_writes(oncall: bool, hook: bool) -> String {
    let on_call = "{members: [a-hook], start: 2026-01-05T08:00:00Z, every: 7d, timezone: UTC}";
    let playbook = "{on: {alert: {alertname: Down}}, steps: [{name: call, page: {policy: a-oncall}}]}";
    let all = [
        policy(if oncall { "a-oncall" } else { "a-other" }, "a", "receiver/a-hook, oncall/a-people"),
        receiver(if hook { "a-hook" } else { "a-chat" }, "a"),
        of("OnCall", "a-people", "a", on_call),
        of("Playbook", "down", "a", playbook),
        policy("a-duty", "a", "receiver/a-hook"),
    ];
    all.join("---\n")
}

fn step() -> impl proptest::strategy::Strategy<Value = Happens> {
    use proptest::prelude::*;
    let bits = any::<[bool; 4]>();
    prop_oneof![
        4 => bits.prop_map(|[shared, oncall, hook, there]| Happens::A { shared, oncall, hook, there }),
        4 => (0u8..32, any::<bool>(), any::<bool>()).prop_map(|(kinds, as_a, shared)| Happens::B { kinds, as_a, shared }),
        1 => any::<bool>().prop_map(Happens::Settings),
        1 => Just(Happens::Restart),
    ]
}

/// The first step of this history at which a page for an alert of a would come to b, with what is said there.
fn page_comes_to_b(steps: &[Happens]) -> Option<String> {
    let mut all = first();
    let teams = all["teams/all.yaml"].replace("{name: a}\nspec: {}", "{name: a}\nspec: {escalation: a-duty}");
    all.insert("teams/all.yaml".to_owned(), teams);
    all.insert("a/people.yaml".to_owned(), a_writes(true, true));
    let mut daemon = Daemon::begin(&all);
    let mut of_b = false;
    for happens in steps {
        let context = if of_b { handed() } else { settings() };
        let compiled = match happens {
            Happens::Settings(to_b) => {
                of_b = *to_b;
                daemon.restart(if of_b { handed() } else { settings() })
            }
            Happens::Restart => daemon.restart(context),
            Happens::A { shared, oncall, hook, there } => {
                all.remove("a/people.yaml");
                if !of_b {
                    all.remove("shared/people.yaml");
                }
                let path = if *shared && !of_b { "shared/people.yaml" } else { "a/people.yaml" };
                if *there {
                    all.insert(path.to_owned(), a_writes(*oncall, *hook));
                }
                daemon.accept(&all)
            }
            Happens::B { kinds, as_a, shared } => {
                let path = if *shared && of_b { "shared/people.yaml" } else { "b/squat.yaml" };
                all.insert(path.to_owned(), b_writes(*kinds, *as_a));
                daemon.accept(&all)
            }
        };
        let told = told(&compiled);
        if told.contains("b") {
            return Some(format!("after {happens:?}: {told:?}\n{}", rendered(&compiled)));
        }
    }
    None
}

/// Found by the property below.
#[test]
fn what_stays_through_settings_pages_nobody_of_another() {
    let steps = [
        Happens::A { shared: true, oncall: true, hook: true, there: true },
        Happens::B { kinds: 13, as_a: false, shared: false },
        Happens::Settings(true),
        Happens::B { kinds: 14, as_a: false, shared: false },
        Happens::Settings(true),
    ];
    let paged = page_comes_to_b(&steps);
    assert!(paged.is_none(), "{}", paged.unwrap_or_default());
    // What was asked for in vain in a revision that is looked back at for something else.
    let steps = [
        Happens::A { shared: true, oncall: true, hook: false, there: true },
        Happens::B { kinds: 16, as_a: false, shared: false },
        Happens::A { shared: true, oncall: false, hook: true, there: true },
        Happens::B { kinds: 10, as_a: true, shared: false },
        Happens::Settings(true),
    ];
    let paged = page_comes_to_b(&steps);
    assert!(paged.is_none(), "{}", paged.unwrap_or_default());
    // Who says that he is another does not make the other's own broken, where it stays for the settings.
    let steps = [
        Happens::B { kinds: 10, as_a: true, shared: false },
        Happens::A { shared: true, oncall: false, hook: true, there: true },
        Happens::Settings(true),
        Happens::B { kinds: 16, as_a: false, shared: false },
    ];
    let paged = page_comes_to_b(&steps);
    assert!(paged.is_none(), "{}", paged.unwrap_or_default());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 192, failure_persistence: None, ..Default::default() })]

    /// Whatever a and b commit and whatever paths the settings hand over: no page for an alert of a's is ever told to b.
    #[test]
    fn no_page_for_one_teams_alerts_comes_to_another(steps in proptest::collection::vec(step(), 1..9)) {
        let paged = page_comes_to_b(&steps);
        proptest::prop_assert!(paged.is_none(), "{}", paged.unwrap_or_default());
    }
}
