//! Where alerts go: matchers, routes, mute times, and the people and channels of a page. Written in manifests, lowered here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use jiff::civil::Time;
use serde::{Deserialize, Serialize};

use super::{Labels, Name, Period, SecretName};

/// One matcher in Alertmanager's syntax: `severity="critical"`, `app!="shop"`, `team=~"pay.*"`, `env!~"dev|test"`.
/// A label that is not there counts as empty. Regular expressions are anchored at both ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Matcher {
    /// The label's name.
    pub label: String,
    /// How it is compared.
    pub operator: MatchOperator,
    /// With what.
    pub value: String,
    regex: Option<regex::Regex>,
}

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchOperator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    NotMatches,
}

impl MatchOperator {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            MatchOperator::Equal => "=",
            MatchOperator::NotEqual => "!=",
            MatchOperator::Matches => "=~",
            MatchOperator::NotMatches => "!~",
        }
    }
}

/// One alert route: `kind: AlertRoute`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertRouteSpec {
    /// The tree.
    pub route: Route,
    /// Alerts that keep others quiet.
    pub inhibit: Vec<Inhibition>,
    /// Times that routes name in `mute`.
    pub mute_times: BTreeMap<Name, Vec<TimeSpan>>,
    /// Times in which matching alerts start no run and page nobody.
    pub maintenance: Vec<Maintenance>,
}

impl AlertRouteSpec {
    /// The most inhibitions that the AlertRoutes of one team have together: each is looked up among all that fires.
    pub const MOST_INHIBITIONS: usize = 200;
    /// And of matchers of those.
    pub const MOST_MATCHERS: usize = 1_000;
}

/// One node of the tree. What it leaves out it takes from its parent. An alert takes the first child that matches, and goes on to the
/// next where that child says `continue`; where no child matches, the node itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// All must match; the root has none.
    #[serde(rename = "match")]
    pub matchers: Vec<Matcher>,
    /// Who is paged for it.
    pub policy: Option<Name>,
    /// A playbook beside those whose own `on:` matches.
    pub playbook: Option<Name>,
    /// Alerts with equal values of these labels share a run where they have no target, and one page.
    pub group_by: Option<Vec<String>>,
    /// Names of mute times: in them it starts no run and pages nobody.
    pub mute: Vec<Name>,
    /// Whether the next sibling is tried too.
    #[serde(rename = "continue")]
    pub go_on: bool,
    /// Children.
    pub routes: Vec<Route>,
}

/// While an alert matches `source`, others that match `target` and agree with it on the labels in `equal` start nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Inhibition {
    /// The alert that keeps others quiet.
    pub source: Vec<Matcher>,
    /// The alerts kept quiet.
    pub target: Vec<Matcher>,
    /// Labels on which both must agree.
    pub equal: Vec<String>,
}

/// A recurring time: all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TimeSpan {
    /// From and to, within a day; to 24:00 is written `24:00` and kept as `None`.
    pub times: Vec<(Time, Option<Time>)>,
    /// 1 (Monday) to 7 (Sunday).
    pub weekdays: BTreeSet<i8>,
    /// 1 to 31; negative ones count from the month's end.
    pub days_of_month: Vec<(i8, i8)>,
    /// 1 to 12.
    pub months: BTreeSet<i8>,
    /// An IANA time zone; UTC without.
    pub timezone: Option<String>,
}

/// A planned time in which matching alerts start nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Maintenance {
    /// All must match.
    #[serde(rename = "match")]
    pub matchers: Vec<Matcher>,
    /// From.
    pub from: Timestamp,
    /// Until.
    pub until: Timestamp,
    /// Shown beside what it keeps quiet.
    pub reason: String,
}

/// A channel to people: `kind: Receiver`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Channel {
    /// `PagerDuty` Events v2.
    PagerDuty {
        /// The secret that holds the integration's routing key.
        routing_key: SecretName,
        /// Another address than the public one, such as the EU's or a sink of one's own.
        url: Option<String>,
    },
    /// A Slack-compatible incoming webhook.
    Slack {
        /// Its address, or the secret that holds it.
        url: Address,
    },
    /// A webhook that takes our JSON.
    Webhook {
        /// Its address, or the secret that holds it.
        url: Address,
        /// The secret whose value signs the body: `X-Codeops-Signature: sha256=HEX` over `timestamp.body`, with
        /// `X-Codeops-Timestamp`.
        secret: Option<SecretName>,
    },
    /// Mail over SMTP.
    Email {
        /// Addresses.
        to: Vec<String>,
        /// The sender's address.
        from: String,
        /// `smtp://host:port` or `smtps://host:port`.
        server: String,
        /// User name and the secret that holds the password.
        login: Option<(String, SecretName)>,
    },
}

impl Channel {
    /// One word for people: `pagerduty`, `slack`, `webhook`, `email`.
    pub fn word(&self) -> &'static str {
        match self {
            Channel::PagerDuty { .. } => "pagerduty",
            Channel::Slack { .. } => "slack",
            Channel::Webhook { .. } => "webhook",
            Channel::Email { .. } => "email",
        }
    }

    /// The address it is reached at, where that is written out.
    pub fn address(&self) -> Option<&str> {
        match self {
            Channel::PagerDuty { url, .. } => url.as_deref(),
            Channel::Slack { url: Address::Plain(url) } | Channel::Webhook { url: Address::Plain(url), .. } => {
                Some(url)
            }
            Channel::Slack { .. } | Channel::Webhook { .. } => None,
            Channel::Email { server, .. } => Some(server),
        }
    }

    /// The secrets it needs.
    pub fn secrets(&self) -> BTreeSet<SecretName> {
        let of = |address: &Address| match address {
            Address::Secret(name) => Some(name.clone()),
            Address::Plain(_) => None,
        };
        match self {
            Channel::PagerDuty { routing_key, .. } => BTreeSet::from([routing_key.clone()]),
            Channel::Slack { url } => of(url).into_iter().collect(),
            Channel::Webhook { url, secret } => of(url).into_iter().chain(secret.clone()).collect(),
            Channel::Email { login, .. } => login.iter().map(|(_, secret)| secret.clone()).collect(),
        }
    }
}

/// A URL as written, or the name of the secret that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Address {
    /// As written.
    Plain(String),
    /// In a secret.
    Secret(SecretName),
}

/// Who is told, and who next: `kind: EscalationPolicy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EscalationPolicySpec {
    /// From the first told to the last.
    pub levels: Vec<EscalationLevel>,
}

/// One level of an escalation policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EscalationLevel {
    /// All told at this level, at once.
    pub notify: Vec<Notified>,
    /// How long after the level before, when no channel has accepted the page until then.
    pub after: Period,
}

/// One told by a level.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Notified {
    /// A `Receiver` by name.
    Receiver(Name),
    /// Whoever is on call, by the name of an `OnCall`.
    OnCall(Name),
}

impl fmt::Display for Notified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notified::Receiver(name) => write!(f, "receiver/{name}"),
            Notified::OnCall(name) => write!(f, "oncall/{name}"),
        }
    }
}

/// Whose turn it is: `kind: OnCall`. Members take turns of `every` from `start`, at the same local time over clock changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnCallSpec {
    /// The receivers of the members, in turn.
    pub members: Vec<Name>,
    /// When the first one's first turn begins.
    pub start: Timestamp,
    /// How long a turn is; whole days are days on the local calendar.
    pub every: Period,
    /// An IANA time zone; UTC without.
    pub timezone: Option<String>,
    /// Turns taken over, the later ones before the earlier.
    pub overrides: Vec<OnCallOverride>,
}

/// A turn taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnCallOverride {
    /// The receiver of who takes it.
    pub member: Name,
    /// From.
    pub from: Timestamp,
    /// Until.
    pub until: Timestamp,
}

impl Matcher {
    /// A matcher of its parts.
    ///
    /// # Errors
    /// What is wrong with the regular expression.
    pub fn new(label: &str, operator: MatchOperator, value: &str) -> Result<Self, String> {
        let regex = match operator {
            MatchOperator::Equal | MatchOperator::NotEqual => None,
            MatchOperator::Matches | MatchOperator::NotMatches => Some(
                regex::RegexBuilder::new(&format!("^(?s:{value})$"))
                    .size_limit(1 << 20)
                    .build()
                    .map_err(|error| format!("`{value}` is not a regular expression: {error}"))?,
            ),
        };
        Ok(Self { label: label.to_owned(), operator, value: value.to_owned(), regex })
    }

    /// Whether it holds for these labels.
    pub fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.label).map_or("", String::as_str);
        let matches = || self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.operator {
            MatchOperator::Equal => value == self.value,
            MatchOperator::NotEqual => value != self.value,
            MatchOperator::Matches => matches(),
            MatchOperator::NotMatches => !matches(),
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.label, self.operator, &self.value) == (&other.label, other.operator, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}\"", self.label, self.operator.symbol())?;
        for c in self.value.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => write!(f, "\\n")?,
                c => write!(f, "{c}")?,
            }
        }
        write!(f, "\"")
    }
}

impl From<Matcher> for String {
    fn from(matcher: Matcher) -> Self {
        matcher.to_string()
    }
}

impl std::str::FromStr for Matcher {
    type Err = String;

    /// Alertmanager's classic syntax, one matcher: `name OP value`, the value bare or in double quotes with `\"`, `\\`
    /// and `\n`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("`{}` is not a matcher: {why}", text.chars().take(80).collect::<String>());
        let text = text.trim();
        let end = text.find(['=', '!']).ok_or_else(|| bad("expected NAME=\"VALUE\", or `!=`, `=~`, `!~`"))?;
        let label = text[..end].trim();
        let first = label.bytes().next().ok_or_else(|| bad("it names no label"))?;
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if first.is_ascii_digit() || !label.bytes().all(word) || label.len() > 128 {
            return Err(bad("a label's name has letters, digits and `_`, and begins with no digit"));
        }
        let rest = &text[end..];
        let operators =
            [MatchOperator::NotEqual, MatchOperator::NotMatches, MatchOperator::Matches, MatchOperator::Equal];
        let operator = operators.into_iter().find(|operator| rest.starts_with(operator.symbol()));
        let operator = operator.ok_or_else(|| bad("the operators are `=`, `!=`, `=~` and `!~`"))?;
        let value = rest[operator.symbol().len()..].trim();
        let value = match value.strip_prefix('"') {
            Some(quoted) => {
                unquote(quoted).ok_or_else(|| bad("the value's quotes do not close, or close too early"))?
            }
            None if value.contains(['"', '{', '}', ',']) => return Err(bad("put the value in double quotes")),
            None => value.to_owned(),
        };
        if value.len() > 1_024 {
            return Err(bad("a value has at most 1,024 bytes"));
        }
        Self::new(label, operator, &value).map_err(|why| bad(&why))
    }
}

/// The text up to the closing quote, which must be the end.
fn unquote(quoted: &str) -> Option<String> {
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(value),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                c @ ('"' | '\\') => value.push(c),
                // As Alertmanager does: an unknown escape stands for itself, which regular expressions rely on.
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
}

impl TryFrom<String> for Matcher {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
