//! The kinds `Receiver`, `EscalationPolicy` and `OnCall` as they are written, and channels wherever they stand.

use crate::model::{
    Address, Channel, EscalationLevel, EscalationPolicySpec, Name, Notified, OnCallOverride, OnCallSpec, Period,
    SecretName,
};

use super::app_parts::{at_most, positive};
use super::people::timestamp;
use super::playbook::LONGEST;
use super::playbook_http::url;
use super::response::{Body, Refers};
use super::routing::timezone;
use super::texts::fixed;
use crate::desired::text::read::{Fields, list};
use crate::desired::text::tree::{Node, Value, cut};

/// The kinds of channel.
pub(crate) const CHANNELS: [&str; 4] = ["pagerduty", "slack", "webhook", "email"];
/// How long after the level before, where nothing says.
const AFTER: Period = Period::from_secs(60);
/// How long a turn is, where nothing says.
const TURN: Period = Period::from_secs(7 * 86_400);
/// The shortest turn.
const SHORTEST_TURN: Period = Period::from_secs(3_600);
/// The most levels, members and addresses of one list.
const MOST: usize = 100;

/// The spec of a Receiver: exactly one channel.
pub(crate) fn receiver(node: &Node, body: &mut Body<'_, '_>) -> Option<Channel> {
    let mut fields = body.reader.fields(node, "spec of a Receiver")?;
    let channel = channel(&mut fields, &CHANNELS, body);
    fields.finish(body.reader, &[]);
    channel
}

/// The one channel among these fields.
pub(crate) fn channel(fields: &mut Fields<'_>, words: &[&'static str], body: &mut Body<'_, '_>) -> Option<Channel> {
    let written: Vec<(&str, &Node)> = words.iter().filter_map(|word| Some((*word, fields.get(word)?))).collect();
    match &written[..] {
        [(word, node)] => match *word {
            "pagerduty" => pagerduty(node, body),
            "slack" => address(node, "slack", body).map(|(url, _)| Channel::Slack { url }),
            "webhook" => address(node, "webhook", body).map(|(url, secret)| Channel::Webhook { url, secret }),
            _ => email(node, body),
        },
        [] => {
            body.reader.error(fields.span, "there is no channel", Some(format!("give one of {}", list(words))));
            None
        }
        [_, (second, node), ..] => {
            let help = "one manifest of kind Receiver is one channel".to_owned();
            body.reader.error(node.span, format!("`{second}` is a second channel"), Some(help));
            None
        }
    }
}

fn pagerduty(node: &Node, body: &mut Body<'_, '_>) -> Option<Channel> {
    let mut fields = body.reader.fields(node, "pagerduty")?;
    let key = fields.require(body.reader, "routingKey").and_then(|node| body.secret(node));
    let address = fields.get("url").map(|node| url(node, body));
    fields.finish(body.reader, &[]);
    let url = match address {
        Some(url) => Some(url?),
        None => None,
    };
    Some(Channel::PagerDuty { routing_key: key?, url })
}

/// A URL, written out or kept as a secret, and for a webhook what signs the body. A text alone is the URL.
fn address(node: &Node, what: &'static str, body: &mut Body<'_, '_>) -> Option<(Address, Option<SecretName>)> {
    if let Value::Scalar { .. } = node.value {
        return url(node, body).map(|url| (Address::Plain(url), None));
    }
    let mut fields = body.reader.fields(node, what)?;
    let plain = fields.get("url").map(|node| url(node, body));
    let kept = fields.get("urlSecret").map(|node| body.secret(node));
    let secret = match what {
        "webhook" => fields.get("secret").map(|node| body.secret(node)),
        _ => None,
    };
    let span = fields.span;
    fields.finish(body.reader, &[]);
    let address = match (plain, kept) {
        (Some(plain), None) => Address::Plain(plain?),
        (None, Some(kept)) => Address::Secret(kept?),
        _ => {
            body.reader.error(span, format!("{what} needs one of `url` and `urlSecret`"), None);
            return None;
        }
    };
    let secret = match secret {
        Some(secret) => Some(secret?),
        None => None,
    };
    Some((address, secret))
}

fn email(node: &Node, body: &mut Body<'_, '_>) -> Option<Channel> {
    let mut fields = body.reader.fields(node, "email")?;
    let to = fields.require(body.reader, "to").and_then(|node| addresses(node, body));
    let from = fields.require(body.reader, "from").and_then(|node| mailbox(node, body));
    let server = fields.require(body.reader, "server").and_then(|node| server(node, body));
    let login = fields.get("login").map(|node| login(node, body));
    fields.finish(body.reader, &[]);
    let login = match login {
        Some(login) => Some(login?),
        None => None,
    };
    Some(Channel::Email { to: to?, from: from?, server: server?, login })
}

fn addresses(node: &Node, body: &mut Body<'_, '_>) -> Option<Vec<String>> {
    let items = body.reader.items(node, "addresses");
    if !few(node, items, "addresses", body) {
        return None;
    }
    let good: Vec<String> = items.iter().filter_map(|item| mailbox(item, body)).collect();
    (good.len() == items.len()).then_some(good)
}

/// A bare address: what stands in a header and an envelope alike.
fn mailbox(node: &Node, body: &mut Body<'_, '_>) -> Option<String> {
    let text = fixed(node, "an address", body.reader)?;
    let letter = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\"".contains(c);
    let good = text.value.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && !host.is_empty() && !host.contains('@') && text.value.len() <= 254
    });
    if !good || !text.value.chars().all(letter) {
        let message = format!("`{}` is not a mail address", cut(&text.value, 60));
        body.reader.error(node.span, message, Some("such as oncall@acme.example".to_owned()));
        return None;
    }
    Some(text.value)
}

fn server(node: &Node, body: &mut Body<'_, '_>) -> Option<String> {
    let text = fixed(node, "an address", body.reader)?;
    let good = text.value.split_once("://").is_some_and(|(scheme, rest)| {
        let (host, port) = rest.rsplit_once(':').unwrap_or(("", ""));
        let letter = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
        matches!(scheme, "smtp" | "smtps")
            && !host.is_empty()
            && host.chars().all(letter)
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !good {
        let message = format!("`{}` is not a mail server", cut(&text.value, 60));
        body.reader.error(node.span, message, Some("smtp://HOST:PORT or smtps://HOST:PORT".to_owned()));
        return None;
    }
    body.refer(node, Refers::Address(text.value.clone()));
    Some(text.value)
}

fn login(node: &Node, body: &mut Body<'_, '_>) -> Option<(String, SecretName)> {
    let mut fields = body.reader.fields(node, "login")?;
    let user = fields.require(body.reader, "user").and_then(|node| fixed(node, "a user name", body.reader));
    let password = fields.require(body.reader, "password").and_then(|node| body.secret(node));
    fields.finish(body.reader, &[]);
    Some((user?.value, password?))
}

/// Whether a list has one to [`MOST`] items.
fn few(node: &Node, items: &[Node], what: &str, body: &mut Body<'_, '_>) -> bool {
    let good = (1..=MOST).contains(&items.len());
    if !good && matches!(node.value, Value::List(_)) {
        body.reader.error(node.span, format!("expected 1 to {MOST} {what}, found {}", items.len()), None);
    }
    good
}

/// The spec of an EscalationPolicy.
pub(crate) fn policy(node: &Node, body: &mut Body<'_, '_>) -> Option<EscalationPolicySpec> {
    let mut fields = body.reader.fields(node, "spec of an EscalationPolicy")?;
    let levels = fields.require(body.reader, "levels");
    fields.finish(body.reader, &[]);
    let levels = levels?;
    let items = body.reader.items(levels, "levels");
    if !few(levels, items, "levels", body) {
        return None;
    }
    let levels = items.iter().enumerate().filter_map(|(at, item)| level(item, at == 0, body)).collect();
    Some(EscalationPolicySpec { levels })
}

fn level(node: &Node, first: bool, body: &mut Body<'_, '_>) -> Option<EscalationLevel> {
    let mut fields = body.reader.fields(node, "a level")?;
    let notify = fields.require(body.reader, "notify");
    let after = fields.get("after").map(|node| at_most(node, LONGEST, body.reader));
    fields.finish(body.reader, &[]);
    let after = match after {
        Some(after) => after?,
        None if first => Period::default(),
        None => AFTER,
    };
    let notify = notify?;
    let items = body.reader.items(notify, "whom to tell, such as receiver/sms");
    if !few(notify, items, "to tell", body) {
        return None;
    }
    let notify = items.iter().filter_map(|item| notified(item, body)).collect();
    Some(EscalationLevel { notify, after })
}

/// `receiver/NAME` or `oncall/NAME`.
fn notified(node: &Node, body: &mut Body<'_, '_>) -> Option<Notified> {
    let text = body.reader.text(node)?;
    let found = text.value.split_once('/').and_then(|(kind, name)| {
        let name: Name = name.parse().ok()?;
        match kind {
            "receiver" => Some((Notified::Receiver(name.clone()), Refers::Receiver(name))),
            "oncall" => Some((Notified::OnCall(name.clone()), Refers::OnCall(name))),
            _ => None,
        }
    });
    let Some((notified, refers)) = found else {
        let message = format!("`{}` is nobody to tell", cut(&text.value, 60));
        body.reader.error(node.span, message, Some("receiver/NAME or oncall/NAME".to_owned()));
        return None;
    };
    body.refer(node, refers);
    Some(notified)
}

/// The spec of an OnCall.
pub(crate) fn on_call(node: &Node, body: &mut Body<'_, '_>) -> Option<OnCallSpec> {
    let mut fields = body.reader.fields(node, "spec of an OnCall")?;
    let members = fields.require(body.reader, "members").map(|node| {
        let items = body.reader.items(node, "receivers");
        few(node, items, "members", body);
        items.iter().filter_map(|item| body.name(item, Refers::Receiver)).collect::<Vec<_>>()
    });
    let start = fields.require(body.reader, "start").and_then(|node| timestamp(node, body.reader));
    let every = fields.get("every").map(|node| turn(node, body));
    let timezone = fields.get("timezone").map(|node| timezone(node, body));
    let overrides = fields.get("overrides").map(|node| {
        let items = body.reader.items(node, "turns taken over");
        items.iter().filter_map(|item| taken_over(item, body)).collect()
    });
    fields.finish(body.reader, &[]);
    Some(OnCallSpec {
        members: members?,
        start: start?,
        every: match every {
            Some(every) => every?,
            None => TURN,
        },
        timezone: match timezone {
            Some(timezone) => Some(timezone?),
            None => None,
        },
        overrides: overrides.unwrap_or_default(),
    })
}

fn turn(node: &Node, body: &mut Body<'_, '_>) -> Option<Period> {
    let every = positive(node, body.reader)?;
    if every < SHORTEST_TURN {
        body.reader.error(node.span, "a turn takes at least 1h", None);
        return None;
    }
    Some(every)
}

fn taken_over(node: &Node, body: &mut Body<'_, '_>) -> Option<OnCallOverride> {
    let mut fields = body.reader.fields(node, "an override")?;
    let member = fields.require(body.reader, "member").and_then(|node| body.name(node, Refers::Receiver));
    let from = fields.require(body.reader, "from").and_then(|node| timestamp(node, body.reader));
    let until_node = fields.require(body.reader, "until");
    let until = until_node.and_then(|node| timestamp(node, body.reader));
    fields.finish(body.reader, &[]);
    let (from, until) = (from?, until?);
    if let Some(node) = until_node.filter(|_| from >= until) {
        body.reader.error(node.span, "it ends before it begins", None);
    }
    Some(OnCallOverride { member: member?, from, until })
}
