//! Routes, channels and people as they are written, as types: only their JSON Schema is used.
#![expect(dead_code, reason = "only the schema of these types is used")]

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::forms::{From, Instant, Mailbox, Matching, Month, MonthDay, To, WebUrl, Weekday, one_of};
use super::syntax::{OwnedMetadata, Text};
use crate::model::{Name, Period};

/// Where alerts go: a tree of routes, and what keeps alerts quiet.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AlertRoute {
    api_version: String,
    kind: String,
    metadata: OwnedMetadata,
    spec: AlertRouteSpec,
}

/// The tree and what keeps alerts quiet.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct AlertRouteSpec {
    /// The top of the tree.
    route: Route,
    /// Alerts that keep others quiet.
    inhibit: Option<Vec<Inhibition>>,
    /// Recurring times that routes name in `mute`.
    mute_times: Option<BTreeMap<String, Vec<TimeSpan>>>,
    /// Planned times in which matching alerts start nothing and page nobody.
    maintenance: Option<Vec<Maintenance>>,
}

/// What it leaves out it takes from its parent.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Route {
    /// Matchers in Alertmanager's syntax, all of which must hold. Exactly one tree has none at its top.
    r#match: Option<Vec<Matching>>,
    /// The escalation policy that is paged.
    policy: Option<Name>,
    /// A playbook beside those whose own `on` matches.
    playbook: Option<Name>,
    /// Alerts that agree on these labels share a run where they have no target, and one page.
    group_by: Option<Vec<String>>,
    /// Mute times: in them it starts no run and pages nobody.
    mute: Option<Vec<Name>>,
    /// Whether the next sibling is tried too.
    r#continue: Option<bool>,
    /// Children, in order.
    routes: Option<Vec<Route>>,
}

/// While an alert matches `source`, those that match `target` and agree with it on `equal` start nothing.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Inhibition {
    /// Matchers of the alerts that keep others quiet, all of which must hold.
    #[schemars(length(min = 1))]
    source: Vec<Matching>,
    /// Matchers of those that are kept quiet, all of which must hold.
    #[schemars(length(min = 1))]
    target: Vec<Matching>,
    /// Labels that both must have alike.
    equal: Option<Vec<String>>,
}

/// A recurring time: all that is given must hold.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct TimeSpan {
    /// Times of day.
    times: Option<Vec<Clock>>,
    /// mon to sun, or ranges such as mon:fri.
    weekdays: Option<Vec<Weekday>>,
    /// 1 to 31, -1 for the last, or ranges such as 1:7.
    days_of_month: Option<Vec<MonthDay>>,
    /// jan to dec or 1 to 12, or ranges such as jun:aug.
    months: Option<Vec<Month>>,
    /// An IANA time zone; UTC when left out.
    timezone: Option<String>,
}

/// HH:MM to HH:MM, at most 24:00.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Clock {
    from: From,
    to: To,
}

/// A planned time.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Maintenance {
    /// Matchers, all of which must hold.
    #[schemars(length(min = 1))]
    r#match: Vec<Matching>,
    /// When it begins, RFC 3339.
    from: Instant,
    /// When it ends, RFC 3339.
    until: Instant,
    /// Shown beside what it keeps quiet.
    reason: Text,
}

/// A channel to people.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Receiver {
    api_version: String,
    kind: String,
    metadata: OwnedMetadata,
    spec: Channel,
}

/// Exactly one channel.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("oneOf" = one_of(&["pagerduty", "slack", "webhook", "email"])))]
struct Channel {
    /// PagerDuty, Events v2.
    pagerduty: Option<PagerDuty>,
    /// A Slack-compatible incoming webhook.
    slack: Option<UrlOrSecret>,
    /// A webhook that takes our JSON.
    webhook: Option<Webhook>,
    /// Mail.
    email: Option<Email>,
}

/// An integration of PagerDuty.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct PagerDuty {
    /// The secret that holds the routing key.
    routing_key: Name,
    /// Another address than the public one.
    url: Option<WebUrl>,
}

/// A URL, or the name of the secret that holds it.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum UrlOrSecret {
    Url(WebUrl),
    Full(FullUrl),
}

/// Exactly one of both.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("oneOf" = one_of(&["url", "urlSecret"])))]
pub(super) struct FullUrl {
    /// As it is.
    url: Option<WebUrl>,
    /// The secret that holds it.
    url_secret: Option<Name>,
}

/// A URL, or the name of the secret that holds it, and what signs the body.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Webhook {
    Url(WebUrl),
    Full(FullWebhook),
}

/// Exactly one of `url` and `urlSecret`.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, extend("oneOf" = one_of(&["url", "urlSecret"])))]
pub(super) struct FullWebhook {
    /// As it is.
    url: Option<WebUrl>,
    /// The secret that holds it.
    url_secret: Option<Name>,
    /// The secret that signs the body.
    secret: Option<Name>,
}

/// Mail over SMTP.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Email {
    /// Addresses.
    #[schemars(length(min = 1))]
    to: Vec<Mailbox>,
    /// The sender's address.
    from: Mailbox,
    /// `smtp://HOST:PORT` or `smtps://HOST:PORT`.
    #[schemars(regex(pattern = "^smtps?://.+:[0-9]+$"))]
    server: String,
    /// Who signs in.
    login: Option<Login>,
}

/// Who signs in.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Login {
    /// The name to sign in with.
    user: String,
    /// The secret that holds the password.
    password: Name,
}

/// Who is told of a page, and who next.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EscalationPolicy {
    api_version: String,
    kind: String,
    metadata: OwnedMetadata,
    spec: EscalationPolicySpec,
}

/// From the first told to the last.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct EscalationPolicySpec {
    /// One after the other, while nobody has accepted the page.
    #[schemars(length(min = 1))]
    levels: Vec<Level>,
}

/// All told at once.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Level {
    /// `receiver/NAME` or `oncall/NAME`.
    #[schemars(length(min = 1), inner(regex(pattern = "^(receiver|oncall)/[a-z0-9]([a-z0-9-]*[a-z0-9])?$")))]
    notify: Vec<String>,
    /// How long after the level before; 60s when left out, and at once for the first; 1d at most.
    after: Option<Period>,
}

/// Whose turn it is.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OnCall {
    api_version: String,
    kind: String,
    metadata: OwnedMetadata,
    spec: OnCallSpec,
}

/// Members take turns.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct OnCallSpec {
    /// The receivers of the members, in turn.
    #[schemars(length(min = 1))]
    members: Vec<Name>,
    /// When the first turn begins, RFC 3339.
    start: Instant,
    /// How long a turn is; 7d when left out.
    every: Option<Period>,
    /// An IANA time zone; UTC when left out.
    timezone: Option<String>,
    /// Turns taken over; later ones count before earlier ones.
    overrides: Option<Vec<Override>>,
}

/// A turn taken over.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Override {
    /// The receiver of who takes it.
    member: Name,
    /// When it begins, RFC 3339.
    from: Instant,
    /// When it ends, RFC 3339.
    until: Instant,
}
