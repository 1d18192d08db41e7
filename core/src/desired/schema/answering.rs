//! Manifests of how alerts are answered, as they are written, as types: only their JSON Schema is used.
#![expect(dead_code, reason = "only the schema of these types is used")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::forms::{Matching, WebUrl, never_beside, one_of};
use super::people::{Email, UrlOrSecret, Webhook};
use super::syntax::{OwnedMetadata, Text};
use crate::model::{Name, Period};

/// A program of steps that answers alerts, runs at times, or is called by others.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Playbook {
    api_version: String,
    kind: String,
    metadata: OwnedMetadata,
    spec: PlaybookSpec,
}

/// What starts it, on what it acts, and its steps.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PlaybookSpec {
    /// What starts it; left out, others call it.
    on: Option<On>,
    /// A resource, or a template of one such as `app/{{ alert.labels.app }}`.
    target: Option<String>,
    /// What happens when its target is busy with another run.
    concurrency: Option<Concurrency>,
    /// How long and how often it may run. Paging is never limited.
    limits: Option<Limits>,
    /// What is done, in order. A run that answers an alert ends them with a `proof` of its own, a wait for `resolved`, where none of
    /// them is one.
    #[schemars(length(min = 1, max = 64))]
    steps: Vec<Step>,
    /// What is done when the steps do not prove the alert resolved.
    #[schemars(length(min = 1, max = 64))]
    otherwise: Option<Vec<Step>>,
}

/// An alert or a time.
#[derive(JsonSchema)]
#[schemars(
    rename_all = "camelCase",
    deny_unknown_fields,
    extend("oneOf" = one_of(&["alert", "schedule"]), "dependentRequired" = {
        "timezone": ["schedule"],
        "catchUp": ["schedule"]
    })
)]
struct On {
    /// Labels that must be equal; under `matchers` a list of matchers in Alertmanager's syntax.
    #[schemars(extend("minProperties" = 1))]
    alert: Option<BTreeMap<String, TextOrList>>,
    /// Five fields of cron: minute, hour, day of month, month, day of week.
    #[schemars(regex(pattern = "^\\s*\\S+(\\s+\\S+){4}\\s*$"))]
    schedule: Option<String>,
    /// An IANA time zone; UTC when left out.
    timezone: Option<String>,
    /// What becomes of times missed while the daemon was down; last when left out.
    catch_up: Option<CatchUp>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum TextOrList {
    Text(Text),
    List(Vec<Matching>),
}

/// What becomes of missed times.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum CatchUp {
    /// The last one missed is run.
    Last,
    /// None is.
    None,
}

/// What happens when its target is busy.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Concurrency {
    /// What at most one run is for; target when left out. A run that has not had its turn begins nothing but a call.
    per: Option<Per>,
    /// What then happens; join when left out.
    when_busy: Option<WhenBusy>,
}

/// What at most one run is for.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Per {
    Target,
    Playbook,
}

/// What happens to who comes later.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum WhenBusy {
    Join,
    Queue,
    Skip,
}

/// How long and how often it may run.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Limits {
    /// For all steps before `otherwise`; 15m when left out. What is on then is broken off.
    timeout: Option<Period>,
    /// Such as `3 per 1h`: runs on one target within a time of at most 1h.
    #[schemars(regex(
        pattern = "^\\s*\\+?0*[1-9][0-9]*\\s+per\\s+([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?\\s*$"
    ))]
    runs: Option<String>,
}

/// A name and exactly one of action, script, wait, http, notify, page, git and playbook.
#[derive(JsonSchema)]
#[schemars(
    rename_all = "camelCase",
    deny_unknown_fields,
    extend(
        "oneOf" = one_of(&["action", "script", "wait", "http", "notify", "page", "git", "playbook"]),
        "not" = never_beside("retry", &["wait", "page", "playbook"]),
        "dependentRequired" = {"target": ["action"], "with": ["action"], "quiet": ["wait"]}
    )
)]
struct Step {
    /// Unique in its list.
    name: Name,
    /// An action on the target.
    action: Option<Action>,
    /// Beside `action`: another resource than the playbook's target.
    target: Option<String>,
    /// Beside `action`: its arguments.
    with: Option<BTreeMap<String, Value>>,
    /// An executable of the repository, from the manifest's folder.
    script: Option<String>,
    /// For what it waits.
    wait: Option<Wait>,
    /// Beside `wait`: for how long it must have been so.
    quiet: Option<Period>,
    /// One HTTP request.
    http: Option<Http>,
    /// A message to people.
    notify: Option<Notify>,
    /// A page: the last resort.
    page: Option<Page>,
    /// A commit by the bot.
    git: Option<Git>,
    /// Another playbook.
    playbook: Option<Name>,
    /// A CEL expression: only if it is true.
    r#if: Option<String>,
    /// How long one attempt may take.
    timeout: Option<Period>,
    /// Further attempts after an error.
    retry: Option<Retry>,
    /// What follows a last error; otherwise when left out.
    on_error: Option<OnError>,
    /// Whether it may be done again when its outcome is not known: once, or as often as `retry` says in all.
    idempotent: Option<bool>,
}

/// What can be done to a resource.
#[derive(JsonSchema)]
enum Action {
    #[schemars(rename = "app.restart")]
    Restart,
    #[schemars(rename = "app.replace")]
    Replace,
    #[schemars(rename = "app.rollback")]
    Rollback,
    #[schemars(rename = "app.scale")]
    Scale,
    #[schemars(rename = "app.suspend")]
    Suspend,
    #[schemars(rename = "app.resume")]
    Resume,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Wait {
    Word(WaitWord),
    Full(WaitFull),
}

/// `resolved`: the alert is over. `healthy`: the target works.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum WaitWord {
    Resolved,
    Healthy,
}

/// A time, or a condition.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("oneOf" = one_of(&["for", "until"])))]
struct WaitFull {
    /// So long.
    r#for: Option<Period>,
    /// A CEL expression that must be true.
    until: Option<String>,
}

/// One HTTP request.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Http {
    /// GET when left out.
    method: Option<Method>,
    /// Templates stand after the host only, percent-encoded.
    url: WebUrl,
    /// Headers by name; values are templates.
    headers: Option<BTreeMap<String, Text>>,
    /// Headers whose values are secrets, by the secret's name.
    secret_headers: Option<BTreeMap<String, Name>>,
    /// The body, a template.
    body: Option<Text>,
    /// Status codes that count as done; 200 to 299 when left out.
    expect: Option<Statuses>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "UPPERCASE")]
enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Statuses {
    One(#[schemars(range(min = 100, max = 599))] u16),
    Many(#[schemars(inner(range(min = 100, max = 599)))] Vec<u16>),
}

/// A message: exactly one channel, a title and a text.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("oneOf" = one_of(&["slack", "webhook", "email"])))]
struct Notify {
    /// A Slack-compatible incoming webhook.
    slack: Option<UrlOrSecret>,
    /// A webhook that takes our JSON.
    webhook: Option<Webhook>,
    /// Mail.
    email: Option<Email>,
    /// A template.
    title: Option<Text>,
    /// A template.
    body: Option<Text>,
}

/// A page.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Page {
    /// An escalation policy; the team's own when left out.
    policy: Option<Name>,
}

/// Exactly one of `revert` and `set`.
#[derive(JsonSchema)]
#[schemars(
    deny_unknown_fields,
    extend("oneOf" = one_of(&["revert", "set"]), "dependentRequired" = {"within": ["revert"]})
)]
struct Git {
    /// Reverts the newest commit that touches only the target and is not the bot's.
    revert: Option<Revert>,
    /// How old a commit may be that is reverted; any age when left out.
    within: Option<Period>,
    /// Sets one value in one manifest.
    set: Option<Set>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Revert {
    Last,
}

/// One value in one manifest.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Set {
    /// The file, from the top.
    file: String,
    /// Which of its documents, by kind and name, such as `App/shop`; the only one when left out.
    #[schemars(regex(pattern = "^[A-Za-z]+/\\S+$"))]
    document: Option<String>,
    /// Such as `spec.replicas`.
    #[schemars(regex(pattern = "^spec\\.\\S+$"))]
    path: String,
    /// Anything; texts are templates.
    value: Value,
}

/// Further attempts.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Retry {
    /// All attempts, the first included.
    #[schemars(range(min = 1, max = 10))]
    attempts: u32,
    /// The wait before the second, doubled before each further one; 5s when left out.
    backoff: Option<Period>,
}

/// What follows a last error.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum OnError {
    Otherwise,
    Continue,
}
