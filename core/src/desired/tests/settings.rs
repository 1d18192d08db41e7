//! The daemon's settings: the design's example, the defaults, and mistakes with their places.

use crate::config::{
    AuthSettings, PageSettings, ProviderSettings, ReceiverFormat, ScriptsMode, SecretSource, Settings,
};

use super::*;

const EXAMPLE: &str = r"
repository:
  url: https://git.example/acme/ops.git
  branch: main
  path: .
  poll: 30s
  hook: {secret: {file: /run/secrets/git-hook}}
  signers: {file: /etc/codeops/allowed_signers}
  accept: null
environment: prod
mode: apply
listen: 127.0.0.1:8080
hooks: {listen: 127.0.0.1:8081}
state: /var/lib/codeops
store: sqlite
teams: {payments: {paths: [apps/shop.yaml, services/shop*], egress: [api.stripe.com], allow: [platform], ports: [443], bind: [0.0.0.0]}}
secrets: {shop-api-key: {file: /run/secrets/shop-api, teams: [payments]}}
receivers:
  alertmanager: {format: alertmanager, source: main, api: http://127.0.0.1:9093, auth: {bearer: {env: ALERT_TOKEN}}}
  grafana: {format: grafana, auth: {hmac: {secret: {file: /run/secrets/grafana}}}}
  prometheus: {format: prometheus, source: main, auth: {basic: {user: prometheus, password: {env: X}}}, watchdog: {within: 5m}}
  checks:
    format: generic
    auth: {bearer: {env: CHECKS}}
    mayFreeze: true
    teams: [payments]
    mapping: {items: body.checks, labels: {alertname: item.name}, resolved: item.ok, startsAt: item.since, id: body.id}
pageUrl: https://ops.acme.example/
heartbeat: {url: {file: /run/secrets/heartbeat}, every: 1m}
bot: {name: ops, email: ops@acme.example, signingKey: /etc/codeops/bot}
scripts: unconfined
fallback: everybody
fallbackTeam: payments
selfTest: 0 9 * * 1
providers:
  local: {process: {runAs: apps}}
";

#[test]
fn the_designs_example_is_read() {
    let settings = parse_settings("daemon.yaml", EXAMPLE).expect("reads");
    assert_eq!(settings.environment, Some(name("prod")));
    assert_eq!(settings.listen, Some(PageSettings::Address("127.0.0.1:8080".to_owned())));
    assert_eq!(settings.page_url(), "https://ops.acme.example", "not where it listens");
    assert_eq!(settings.teams[&name("payments")].allow, [name("platform")]);
    assert_eq!(settings.teams[&name("payments")].ports, [443]);
    assert_eq!(settings.teams[&name("payments")].bind[0].to_string(), "0.0.0.0");
    assert_eq!(settings.secrets[&name("shop-api-key")].source, SecretSource::File("/run/secrets/shop-api".to_owned()));
    let ProviderSettings::Process(process) = &settings.providers[&name("local")];
    assert_eq!(process.run_as.as_deref(), Some("apps"));
    let alertmanager = &settings.receivers[&name("alertmanager")];
    assert_eq!((alertmanager.format, &alertmanager.source), (ReceiverFormat::Alertmanager, &Some(name("main"))));
    assert_eq!(alertmanager.api.as_deref(), Some("http://127.0.0.1:9093"));
    assert!(matches!(settings.receivers[&name("grafana")].auth, AuthSettings::Hmac { .. }));
    let checks = &settings.receivers[&name("checks")];
    assert_eq!(checks.teams, Some([name("payments")].into()));
    assert_eq!(alertmanager.teams, None);
    assert!(checks.may_freeze && checks.mapping.as_ref().is_some_and(|mapping| mapping.items.is_some()));
    assert_eq!((settings.bot.name.as_str(), settings.scripts), ("ops", ScriptsMode::Unconfined));
    assert_eq!(settings.fallback_team, Some(name("payments")));
    assert_eq!((settings.fallback, settings.self_test.as_deref()), (Some(name("everybody")), Some("0 9 * * 1")));
    assert!(settings.heartbeat.is_some());
}

#[test]
fn one_user_for_the_apps_of_several_teams_is_told_of() {
    let told = |text: &str| parse_settings("daemon.yaml", text).expect("reads").one_user();
    let run_as = "providers: {local: {process: {runAs: apps}}}\n";
    let why = told(&format!("{run_as}teams: {{a: {{}}, b: {{}}}}")).expect("told");
    assert!(why.contains("providers.local.process.runAs: apps") && why.contains("leave `runAs` out"), "{why}");
    assert_eq!(told(run_as), None);
    assert_eq!(told(&format!("{run_as}teams: {{a: {{}}}}")), None, "one team's");
    assert_eq!(told("teams: {a: {}, b: {}}\nproviders: {local: {process: {}}}"), None);
}

#[test]
fn an_empty_file_gives_the_defaults() {
    for text in ["", "# nothing yet\n", "---\n", "{}"] {
        assert_eq!(parse_settings("daemon.yaml", text).expect("reads"), Settings::default());
    }
}

#[test]
fn receivers_of_one_source_are_for_the_same_teams() {
    let read = |receivers: &[(&str, &str)]| {
        let line = |(name, more): &(&str, &str)| {
            format!("  {name}: {{format: generic, auth: {{bearer: {{env: X}}}}{more}}}\n")
        };
        let text = receivers.iter().map(line).collect::<String>();
        parse_settings("daemon.yaml", &format!("receivers:\n{text}")).map_err(|found| found[0].render(false))
    };
    let (main, of_b) = (", source: main", ", source: main, teams: [b]");
    let why = read(&[("sb", of_b), ("sa", main)]).expect_err("b could end what sa tells");
    assert!(why.contains("daemon.yaml:2:3") && why.contains("`sb` shares source `main` with receiver `sa`"), "{why}");
    assert!(why.contains("`source: sb` here"), "{why}");
    // A receiver's own name is a source as well.
    assert!(read(&[("main", ""), ("sb", of_b)]).is_err());
    assert!(read(&[("sa", of_b), ("sb", of_b)]).is_ok() && read(&[("sa", main), ("main", "")]).is_ok());
    assert!(read(&[("sa", ""), ("sb", ", teams: [b]")]).is_ok());
}

#[test]
fn mistakes_are_all_shown_with_their_places() {
    let text = r#"
repository: {url: --upload-pack=x, branch: a b, path: ../x, poll: 0s, hook: {secret: {file: secret}}, accept: abc}
enviroment: prod
mode: aply
listen: 0.0.0.0:8080
hooks: {listen: nowhere}
state: ./state
store: {postgres: {url: {env: DATABASE_URL}}}
teams: {Payments: {path: [x]}}
secrets: {a: {file: /x, env: X}, b: {teams: [x]}, c: {env: 9X}}
receivers:
  Alertmanager: {format: alertmanger, auth: {bearer: {file: token}}}
  a: {format: alertmanager, auth: {hmac: {secret: {env: X}}}, api: "http://u:hunter2@x", mapping: {labels: {}}}
  b: {format: prometheus, auth: {}}
  c: {format: prometheus, auth: {basic: {user: "a:b", password: {env: X}}}, watchdog: {alertname: Dog}}
  d: {format: generic, auth: {bearer: {env: X}, hmac: {secret: {env: X}}}, source: Main, mayfreeze: true}
  e: {format: prometheus, auth: {bearer: {env: X}}}
  f: {format: prometheus, auth: {bearer: {env: X}}}
  g: {format: generic, auth: {bearer: {env: X}}, mapping: {labels: {alertname: 1 +, host: item.host}}}
  h: {format: datadog, auth: {bearer: {env: X}}, api: "http://x", apiAuth: {hmac: {secret: {env: X}}}}
heartbeat: {url: https://x, every: 0s}
bot: {name: "", email: <x>, signingKey: key}
scripts: free
selfTest: every monday
providers: {local: {proces: {}}, edge: {docker: {socket: /var/run/docker.sock}}, ok: {process: {runas: x}}}
freeze: {what: all}
"#;
    let found = parse_settings("daemon.yaml", text).expect_err("is wrong");
    let text: Vec<String> = found.iter().map(|diagnostic| diagnostic.render(false)).collect();
    insta::assert_snapshot!(text.join("\n\n"));
}

#[test]
fn paths_that_match_nothing_are_told() {
    for path in ["\"pay[ab]/\"", "\"pay/{a,b}/\""] {
        let text = format!("teams: {{a: {{paths: [{path}]}}}}\n");
        let found = parse_settings("daemon.yaml", &text).expect_err("is wrong")[0].render(false);
        assert!(found.contains("there are no sets") && found.contains("1:21"), "{found}");
    }
    for path in ["/payments/", "./payments/", "../payments/", "payments/../x"] {
        let found =
            parse_settings("daemon.yaml", &format!("teams: {{a: {{paths: [{path}]}}}}\n")).expect_err("is wrong");
        let text = found[0].render(false);
        assert!(
            text.contains("matches nothing: paths are from the repository's top") && text.contains("1:21"),
            "{text}"
        );
    }
}

#[test]
fn syntax_errors_and_second_documents_are_refused() {
    assert!(parse_settings("daemon.yaml", "a: [").is_err());
    assert!(parse_settings("daemon.yaml", "mode: apply\nmode: observe\n").is_err());
    assert!(parse_settings("daemon.yaml", "mode: apply\n---\nmode: observe\n").is_err());
    assert!(parse_settings("daemon.yaml", "- a\n").is_err());
}

#[test]
fn a_secret_in_the_wrong_place_is_told_to_nobody() {
    for text in [
        "receivers: {x: {format: generic, auth: {bearer: HUNTER}}}",
        "heartbeat: {url: 'https://ping.example/HUNTER', every: 1m}",
        "heartbeat:\n  url: https://ping.example/HUNTER\n  every: 1m",
        "secrets: {k: {value: HUNTER, teams: [a]}}",
        "secrets: {k: {file: HUNTER}}",
        "secrets: {k: {env: 1HUNTER}}",
        "receivers: {x: {format: generic, auth: {hmac: {secret: HUNTER}}}}",
        "receivers: {x: {format: alertmanager, api: 'http://127.0.0.1:9093/?t=HUNTER', auth: {bearer: {env: X}}}}",
        "receivers: {x: {format: generic, auth: {bearer: {env: X}}, zz: HUNTER}}",
        "listen: {address: 0.0.0.0:1, token: HUNTER}",
        "listen: {address: 0.0.0.0:1, token: !HUNTER}",
        "listen: {address: 0.0.0.0:1, token: *HUNTER}",
        "listen: {address: 0.0.0.0:1, token: @HUNTER}",
        "repository: {url: -HUNTER}",
        "pageUrl: https://a.example/?HUNTER",
        "secrets:\n  - HUNTER\n",
        "mode: aply # was HUNTER",
        "secrets: {k: {file: \"HUNTER}}",
    ] {
        let found = parse_settings("daemon.yaml", text).expect_err(text);
        assert!(!found.is_empty(), "{text}");
        for diagnostic in found {
            let told = diagnostic.render(false) + &serde_json::to_string(&diagnostic).expect("JSON");
            assert!(!told.contains("HUNTER"), "{text}: {told}");
        }
    }
}
