//! The daemon's settings: the design's example, the defaults, and mistakes with their places.

use crate::config::{PageSettings, ProviderSettings, SecretSource, Settings};

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
providers:
  local: {process: {runAs: apps}}
";

#[test]
fn the_designs_example_is_read() {
    let settings = parse_settings("daemon.yaml", EXAMPLE).expect("reads");
    assert_eq!(settings.environment, Some(name("prod")));
    assert_eq!(settings.listen, Some(PageSettings::Address("127.0.0.1:8080".to_owned())));
    assert_eq!(settings.teams[&name("payments")].allow, [name("platform")]);
    assert_eq!(settings.teams[&name("payments")].ports, [443]);
    assert_eq!(settings.teams[&name("payments")].bind[0].to_string(), "0.0.0.0");
    assert_eq!(settings.secrets[&name("shop-api-key")].source, SecretSource::File("/run/secrets/shop-api".to_owned()));
    let ProviderSettings::Process(process) = &settings.providers[&name("local")];
    assert_eq!(process.run_as.as_deref(), Some("apps"));
}

#[test]
fn an_empty_file_gives_the_defaults() {
    for text in ["", "# nothing yet\n", "---\n", "{}"] {
        assert_eq!(parse_settings("daemon.yaml", text).expect("reads"), Settings::default());
    }
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
receivers: {alertmanager: {format: alertmanager}}
providers: {local: {proces: {}}, edge: {docker: {socket: /var/run/docker.sock}}, ok: {process: {runas: x}}}
freeze: {what: all}
"#;
    let found = parse_settings("daemon.yaml", text).expect_err("is wrong");
    let text: Vec<String> = found.iter().map(|diagnostic| diagnostic.render(false)).collect();
    insta::assert_snapshot!(text.join("\n\n"));
}

#[test]
fn syntax_errors_and_second_documents_are_refused() {
    assert!(parse_settings("daemon.yaml", "a: [").is_err());
    assert!(parse_settings("daemon.yaml", "mode: apply\nmode: observe\n").is_err());
    assert!(parse_settings("daemon.yaml", "mode: apply\n---\nmode: observe\n").is_err());
    assert!(parse_settings("daemon.yaml", "- a\n").is_err());
}
