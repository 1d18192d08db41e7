//! The settings of what alerts are answered with: receivers of alerts, the sign of life, the bot, scripts, and who is paged when
//! nothing else says.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use crate::config::{
    AuthSettings, BotSettings, HeartbeatSettings, MappingSettings, ReceiverFormat, ReceiverSettings, ScriptsMode,
    Settings, WatchdogSettings,
};
use crate::expression;
use crate::model::{Name, TeamName, web_url};

use super::{absolute, source};
use crate::desired::kinds::app_parts;
use crate::desired::text::read::{Fields, Reader, near};
use crate::desired::text::tree::{Node, Span, cut};

const FORMATS: [(&str, ReceiverFormat); 7] = [
    ("alertmanager", ReceiverFormat::Alertmanager),
    ("prometheus", ReceiverFormat::Prometheus),
    ("grafana", ReceiverFormat::Grafana),
    ("pagerduty", ReceiverFormat::PagerDuty),
    ("cloudevents", ReceiverFormat::CloudEvents),
    ("datadog", ReceiverFormat::Datadog),
    ("generic", ReceiverFormat::Generic),
];

/// Formats whose senders sign.
const SIGN: [ReceiverFormat; 4] =
    [ReceiverFormat::Grafana, ReceiverFormat::PagerDuty, ReceiverFormat::CloudEvents, ReceiverFormat::Generic];
/// Formats that have no shape of their own.
const MAPPED: [ReceiverFormat; 2] = [ReceiverFormat::CloudEvents, ReceiverFormat::Generic];
/// Formats whose senders have Alertmanager's API.
const ASKED: [ReceiverFormat; 3] = [ReceiverFormat::Alertmanager, ReceiverFormat::Prometheus, ReceiverFormat::Grafana];

/// Reads them.
pub(super) fn read(fields: &mut Fields<'_>, reader: &mut Reader<'_>, out: &mut Settings) {
    if let Some(node) = fields.get("receivers") {
        out.receivers = receivers(node, reader);
    }
    out.heartbeat = fields.get("heartbeat").and_then(|node| heartbeat(node, reader));
    out.bot = fields.get("bot").map(|node| bot(node, reader)).unwrap_or_default();
    let modes = [("confined", ScriptsMode::Confined), ("unconfined", ScriptsMode::Unconfined)];
    out.scripts = fields.get("scripts").and_then(|node| reader.word(node, &modes)).unwrap_or_default();
    out.fallback = fields.get("fallback").and_then(|node| reader.parse::<Name>(node)).map(|at| at.value);
    out.fallback_team = fields.get("fallbackTeam").and_then(|node| fallback_team(node, reader, out));
    let self_test = fields.get("selfTest");
    out.self_test = self_test.and_then(|node| cron(node, reader));
    if let (Some(node), None) = (self_test, &out.fallback) {
        let help = Some("fallback: NAME, an escalation policy".to_owned());
        reader.error(node.span, "`selfTest` pages the `fallback`, and there is none", help);
    }
}

/// Whose the `fallback` is: one of the teams.
fn fallback_team(node: &Node, reader: &mut Reader<'_>, out: &Settings) -> Option<TeamName> {
    let team = reader.parse::<TeamName>(node)?.value;
    if out.fallback.is_none() {
        let help = Some("fallback: NAME, an escalation policy of that team".to_owned());
        reader.error(node.span, "`fallbackTeam` says whose the `fallback` is, and there is none", help);
    } else if !out.teams.contains_key(&team) {
        let near = near(team.as_str(), out.teams.keys().map(|name| name.as_str()));
        let help = near.map_or_else(|| "declare it under `teams`".to_owned(), |near| format!("did you mean `{near}`?"));
        reader.error(node.span, format!("there is no team `{team}` in these settings"), Some(help));
    }
    Some(team)
}

fn receivers(node: &Node, reader: &mut Reader<'_>) -> BTreeMap<Name, ReceiverSettings> {
    let mut prometheus = None;
    let receivers: BTreeMap<Name, ReceiverSettings> = reader.named(node, "receivers by name", |reader, node| {
        let (settings, format) = receiver(reader, node)?;
        if settings.format == ReceiverFormat::Prometheus && prometheus.replace(format).is_some() {
            reader.error(format, "there is one address for `prometheus`, and another receiver has it", None);
        }
        Some(settings)
    });
    let mut of_source: BTreeMap<&Name, &Name> = BTreeMap::new();
    for (name, settings) in &receivers {
        let source = settings.source.as_ref().unwrap_or(name);
        let first = *of_source.entry(source).or_insert(name);
        if receivers[first].teams != settings.teams {
            let entry = node.entries().unwrap_or_default().iter().find(|entry| &*entry.key == name.as_str());
            let span = entry.map_or(node.span, |entry| entry.key_span);
            let message = format!(
                "receiver `{name}` shares source `{source}` with receiver `{first}` and is for other teams: what one says \
                 would hush and end what the other says"
            );
            let help = format!("give each a `source` of its own, or both the same `teams`: `source: {name}` here");
            reader.error(span, message, Some(help));
        }
    }
    receivers
}

/// One receiver, and where its format stands.
fn receiver(reader: &mut Reader<'_>, node: &Node) -> Option<(ReceiverSettings, Span)> {
    let mut fields = reader.fields(node, "a receiver")?;
    let said = fields.require(reader, "format");
    let format = said.and_then(|node| reader.word(node, &FORMATS));
    let own = fields.get("source").and_then(|node| reader.parse::<Name>(node)).map(|at| at.value);
    let auth = fields.require(reader, "auth").and_then(|node| auth(node, reader, format));
    let api = fields.get("api").and_then(|node| api(node, reader, format));
    let api_auth = fields.get("apiAuth").and_then(|node| auth_of_api(node, reader));
    let mapping = fields.get("mapping").and_then(|node| mapping(node, reader, format));
    let watchdog = fields.get("watchdog").and_then(|node| {
        let mut fields = reader.fields(node, "watchdog")?;
        let alertname = fields.get("alertname").and_then(|node| reader.text(node)).map(|at| at.value);
        let within = fields.require(reader, "within").and_then(|node| app_parts::positive(node, reader));
        fields.finish(reader, &[]);
        Some(WatchdogSettings { alertname, within: within? })
    });
    let expire = fields.get("expire").and_then(|node| app_parts::positive(node, reader));
    let may_freeze = fields.get("mayFreeze").and_then(|node| reader.boolean(node)).unwrap_or_default();
    let teams = fields.get("teams").map(|node| {
        let teams = reader.list::<Name>(node, "teams");
        teams.into_iter().map(|at| at.value).collect()
    });
    fields.finish(reader, &[]);
    let settings = ReceiverSettings {
        format: format?,
        source: own,
        auth: auth?,
        api,
        api_auth,
        mapping,
        watchdog,
        expire,
        may_freeze,
        teams,
    };
    Some((settings, said?.span))
}

/// What an Alertmanager's API wants to see.
fn auth_of_api(node: &Node, reader: &mut Reader<'_>) -> Option<AuthSettings> {
    let auth = auth(node, reader, None)?;
    if matches!(auth, AuthSettings::Hmac { .. }) {
        reader.error(node.span, "an API is asked with `bearer` or `basic`", None);
        return None;
    }
    Some(auth)
}

/// What a sender proves itself with; `format` is its own, where it is a sender.
fn auth(node: &Node, reader: &mut Reader<'_>, format: Option<ReceiverFormat>) -> Option<AuthSettings> {
    let mut fields = reader.fields(node, "auth")?;
    let (bearer, basic, hmac) = (fields.get("bearer"), fields.get("basic"), fields.get("hmac"));
    let auth = match (bearer, basic, hmac) {
        (Some(node), None, None) => source(node, reader).map(AuthSettings::Bearer),
        (None, Some(node), None) => basic_auth(node, reader),
        (None, None, Some(node)) => {
            if let Some(format) = format.filter(|format| !SIGN.contains(format)) {
                let name = FORMATS.iter().find(|(_, known)| *known == format).map_or("", |(name, _)| name);
                let help = Some("use `bearer` or `basic`".to_owned());
                reader.error(node.span, format!("what sends `{name}` does not sign"), help);
            }
            let mut fields = reader.fields(node, "hmac")?;
            let secret = fields.require(reader, "secret").and_then(|node| source(node, reader));
            fields.finish(reader, &[]);
            secret.map(|secret| AuthSettings::Hmac { secret })
        }
        _ => {
            let help = Some("such as {bearer: {file: /run/secrets/NAME}}".to_owned());
            reader.error(fields.span, "it is proven by exactly one of `bearer`, `basic` and `hmac`", help);
            None
        }
    };
    fields.finish(reader, &[]);
    auth
}

fn basic_auth(node: &Node, reader: &mut Reader<'_>) -> Option<AuthSettings> {
    let mut fields = reader.fields(node, "basic")?;
    let user = fields.require(reader, "user").and_then(|node| {
        let user = reader.text(node)?.value;
        if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
            reader.error(node.span, "a user's name is not empty and has no colon", None);
            return None;
        }
        Some(user)
    });
    let password = fields.require(reader, "password").and_then(|node| source(node, reader));
    fields.finish(reader, &[]);
    Some(AuthSettings::Basic { user: user?, password: password? })
}

/// The base URL of an Alertmanager.
fn api(node: &Node, reader: &mut Reader<'_>, format: Option<ReceiverFormat>) -> Option<String> {
    let text = reader.text(node)?.value;
    if format.is_some_and(|format| !ASKED.contains(&format)) {
        reader.error(node.span, "what sends this format has no Alertmanager's API to ask", None);
    }
    if web_url(&text).is_none() || text.contains(['?', '#']) {
        let help = "the base URL of an Alertmanager, such as http://127.0.0.1:9093; a password stands in `apiAuth`";
        reader.error(node.span, "this is not such a URL", Some(help.to_owned()));
        return None;
    }
    Some(text)
}

fn mapping(node: &Node, reader: &mut Reader<'_>, format: Option<ReceiverFormat>) -> Option<MappingSettings> {
    if format.is_some_and(|format| !MAPPED.contains(&format)) {
        reader.error(
            node.span,
            "`mapping` is for `generic` and `cloudevents`: other formats have a shape of their own",
            None,
        );
    }
    let mut fields = reader.fields(node, "mapping")?;
    let items = fields.get("items").and_then(|node| cel(node, reader, &["body"]));
    let over: &[&str] = if items.is_some() { &["body", "item"] } else { &["body"] };
    let labels = fields.require(reader, "labels").map(|node| cels(node, reader, over));
    let out = MappingSettings {
        labels: labels.unwrap_or_default(),
        annotations: fields.get("annotations").map(|node| cels(node, reader, over)).unwrap_or_default(),
        resolved: fields.get("resolved").and_then(|node| cel(node, reader, over)),
        starts_at: fields.get("startsAt").and_then(|node| cel(node, reader, over)),
        id: fields.get("id").and_then(|node| cel(node, reader, &["body"])),
        items,
    };
    fields.finish(reader, &[]);
    Some(out)
}

/// Expressions by the name of a label.
fn cels(node: &Node, reader: &mut Reader<'_>, over: &[&str]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let entries = reader.pairs(node, "expressions by name");
    if entries.is_empty() {
        reader.error(node.span, "there is nothing in it", None);
    }
    for entry in entries {
        if entry.key.is_empty() || entry.key.len() > 128 || entry.key.chars().any(char::is_control) {
            reader.error(entry.key_span, "such a name no label can have: 1 to 128 bytes", None);
        }
        out.extend(cel(&entry.value, reader, over).map(|source| (entry.key.to_string(), source)));
    }
    out
}

/// An expression that reads nothing but what it is given.
fn cel(node: &Node, reader: &mut Reader<'_>, over: &[&str]) -> Option<String> {
    let text = reader.text(node)?.value;
    let expression = match expression::Expression::try_from(text.clone()) {
        Ok(expression) => expression,
        Err(error) => {
            reader.error(node.span, format!("`{}`: {error}", cut(&text, 60)), None);
            return None;
        }
    };
    let reads_item = expression::paths(&expression).iter().any(|path| path.first().is_some_and(|root| root == "item"));
    if reads_item && !over.contains(&"item") {
        let help = "`item` is one of `items`; here an expression sees `body`".to_owned();
        reader.error(node.span, "there is no `item`", Some(help));
    }
    Some(text)
}

fn heartbeat(node: &Node, reader: &mut Reader<'_>) -> Option<HeartbeatSettings> {
    let mut fields = reader.fields(node, "heartbeat")?;
    let url = fields.require(reader, "url").and_then(|node| source(node, reader));
    let every = fields.require(reader, "every").and_then(|node| app_parts::positive(node, reader));
    fields.finish(reader, &[]);
    Some(HeartbeatSettings { url: url?, every: every? })
}

fn bot(node: &Node, reader: &mut Reader<'_>) -> BotSettings {
    let default = BotSettings::default();
    let Some(mut fields) = reader.fields(node, "bot") else { return default };
    let mut plain = |name: &'static str, reader: &mut Reader<'_>| {
        let node = fields.get(name)?;
        let text = reader.text(node)?.value;
        if text.trim().is_empty() || text.contains(['<', '>']) || text.chars().any(char::is_control) {
            reader.error(node.span, "git cannot name an author so", None);
            return None;
        }
        Some(text)
    };
    let out = BotSettings {
        name: plain("name", reader).unwrap_or(default.name),
        email: plain("email", reader).unwrap_or(default.email),
        signing_key: fields.get("signingKey").and_then(|node| absolute(node, reader)),
    };
    fields.finish(reader, &[]);
    out
}

/// Five fields of cron.
fn cron(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(node)?.value;
    if text.split_whitespace().count() != 5 || croner::Cron::from_str(&text).is_err() {
        let help = "five fields, in UTC: minute, hour, day of month, month, day of week, such as \"0 9 * * 1\"";
        reader.error(node.span, format!("`{}` is no time of cron", cut(&text, 60)), Some(help.to_owned()));
        return None;
    }
    Some(text)
}
