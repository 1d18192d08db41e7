//! The nested parts of an App as they are written: run, release, port, health, rollout, stop.

use crate::model::{Artifact, OnFailure, Period, Probe, Protocol, RunSpec, Strategy};

use crate::desired::text::read::{Fields, Reader};
use crate::desired::text::tree::{At, Node, Span, Value, cut};

/// `release` as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReleaseText {
    pub command: Vec<String>,
    pub timeout: Option<Period>,
}

/// `port` as written, a number or a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortText {
    pub number: u16,
    pub protocol: Option<Protocol>,
}

/// `health` as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthText {
    /// `None` where it is left to the default, a connection to the port.
    pub probe: Option<Probe>,
    pub interval: Option<Period>,
    pub timeout: Option<Period>,
    pub start_timeout: Option<Period>,
    pub failures: Option<u32>,
}

/// `rollout` as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RolloutText {
    pub strategy: Option<Strategy>,
    pub surge: Option<u32>,
    pub unavailable: Option<u32>,
    pub bake: Option<Period>,
    pub on_failure: Option<OnFailure>,
}

/// `stop` as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StopText {
    pub signal: Option<String>,
    pub grace: Option<Period>,
}

/// The longest `rollout.bake`: until it has passed no version is the last good one.
const MOST_BAKE: Period = Period::from_secs(7 * DAY);
/// The longest `release.timeout`.
const MOST_RELEASE: Period = Period::from_secs(7 * DAY);
/// The longest `health.startTimeout`, and `stop.grace`.
const MOST_WAIT: Period = Period::from_secs(DAY);
/// The longest `health.interval`, and the longest that one check may take.
const MOST_BETWEEN_CHECKS: Period = Period::from_secs(3_600);
const DAY: u64 = 86_400;

/// The signals that may ask an instance to end.
pub(crate) const SIGNALS: [&str; 6] = ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2"];

/// `run`: a command or an image.
pub(crate) fn run(node: &Node, reader: &mut Reader<'_>) -> Option<At<RunSpec>> {
    let mut fields = reader.fields(node, "run")?;
    let before = reader.found.len();
    let command = fields.get("command");
    let image = fields.get("image");
    let artifact = fields.get("artifact");
    let span = fields.span;
    fields.finish(reader, &[]);
    let value = match (command, image) {
        (Some(command), None) => {
            let artifact = artifact.map(|node| self::artifact(node, reader));
            let command = self::command(command, reader)?;
            match artifact {
                Some(None) => return None,
                Some(artifact) => RunSpec::Command { command, artifact },
                None => RunSpec::Command { command, artifact: None },
            }
        }
        (None, Some(image)) => {
            if let Some(artifact) = artifact {
                reader.error(artifact.span, "an artifact belongs to a command, not to an image", None);
            }
            RunSpec::Image(self::image(image, reader)?)
        }
        (Some(command), Some(image)) => {
            reader.error(image.span, "run has a command or an image, not both", None);
            self::command(command, reader);
            self::image(image, reader);
            artifact.map(|node| self::artifact(node, reader));
            return None;
        }
        (None, None) => {
            // It may stand there misspelt, which has been told.
            if reader.found.len() == before {
                let help = "such as `run: {command: [./shop, --port, $PORT]}`".to_owned();
                reader.error(span, "run needs `command` or `image`", Some(help));
            }
            artifact.map(|node| self::artifact(node, reader));
            return None;
        }
    };
    Some(At { value, span })
}

/// A program and its arguments.
pub(crate) fn command(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<String>> {
    if let Value::Scalar { text, .. } = &node.value {
        let words: Vec<&str> = text.split_whitespace().take(6).collect();
        let help = format!("no shell splits it: write [{}]", cut(&words.join(", "), 80));
        reader.error(node.span, "expected a list of the program and its arguments, found a text", Some(help));
        return None;
    }
    let items = reader.items(node, "the program and its arguments");
    let words: Vec<String> = items.iter().filter_map(|item| reader.text(item)).map(|at| at.value).collect();
    if words.len() < items.len() {
        return None;
    }
    if words.first().is_none_or(String::is_empty) {
        if matches!(node.value, Value::List(_)) {
            reader.error(node.span, "a command needs a program", None);
        }
        return None;
    }
    Some(words)
}

fn image(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(node)?;
    let good =
        !text.value.is_empty() && !text.value.starts_with('-') && text.value.chars().all(|c| c.is_ascii_graphic());
    if !good {
        let help = "such as registry.example/shop:1.4.2".to_owned();
        reader.error(node.span, format!("`{}` is not an image", cut(&text.value, 60)), Some(help));
    }
    good.then_some(text.value)
}

fn artifact(node: &Node, reader: &mut Reader<'_>) -> Option<Artifact> {
    let mut fields = reader.fields(node, "artifact")?;
    let url = fields.require(reader, "url").and_then(|node| url(node, reader));
    let sha256 = fields.require(reader, "sha256").and_then(|node| sha256(node, reader));
    fields.finish(reader, &[]);
    Some(Artifact { url: url?, sha256: sha256? })
}

fn url(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(node)?;
    let rest = text.value.split_once("://").filter(|(scheme, rest)| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        match *scheme {
            "http" | "https" => !host.is_empty() && !host.contains('@'),
            "file" => rest.starts_with('/'),
            _ => false,
        }
    });
    if rest.is_none() || text.value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let help = "an http:, https: or file:/// URL without a user name or password".to_owned();
        reader.error(node.span, format!("`{}` is not a URL for an artifact", cut(&text.value, 80)), Some(help));
        return None;
    }
    Some(text.value)
}

fn sha256(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(node)?;
    if text.value.len() != 64 || !text.value.bytes().all(|b| b.is_ascii_hexdigit()) {
        let message = format!("expected a SHA-256 of 64 hex digits, found {} characters", text.value.chars().count());
        reader.error(node.span, message, Some("`sha256sum FILE` prints it".to_owned()));
        return None;
    }
    Some(text.value.to_ascii_lowercase())
}

/// `release`.
pub(crate) fn release(node: &Node, reader: &mut Reader<'_>) -> Option<ReleaseText> {
    let mut fields = reader.fields(node, "release")?;
    let command = fields.require(reader, "command").and_then(|node| command(node, reader));
    let timeout = fields.get("timeout").and_then(|node| above_zero(node, MOST_RELEASE, reader));
    fields.finish(reader, &[]);
    Some(ReleaseText { command: command?, timeout })
}

/// `port`: a number, or a mapping of number and protocol.
pub(crate) fn port(node: &Node, reader: &mut Reader<'_>) -> Option<At<PortText>> {
    let number = |node: &Node, reader: &mut Reader<'_>| {
        reader.number(node, 1, 65_535).and_then(|number| u16::try_from(number).ok())
    };
    let value = if node.entries().is_some() {
        let mut fields = reader.fields(node, "port")?;
        let number = fields.require(reader, "number").and_then(|node| number(node, reader));
        let words = [("http", Protocol::Http), ("tcp", Protocol::Tcp)];
        let protocol = fields.get("protocol").and_then(|node| reader.word(node, &words));
        fields.finish(reader, &[]);
        PortText { number: number?, protocol }
    } else {
        PortText { number: number(node, reader)?, protocol: None }
    };
    Some(At { value, span: node.span })
}

/// `health`: at most one probe, and its times.
pub(crate) fn health(node: &Node, has_port: bool, reader: &mut Reader<'_>) -> Option<HealthText> {
    let mut fields = reader.fields(node, "health")?;
    let span = fields.span;
    let before = reader.found.len();
    let probe = probe(&mut fields, has_port, reader);
    let health = HealthText {
        interval: fields.get("interval").and_then(|node| above_zero(node, MOST_BETWEEN_CHECKS, reader)),
        timeout: fields.get("timeout").and_then(|node| above_zero(node, MOST_BETWEEN_CHECKS, reader)),
        start_timeout: fields.get("startTimeout").and_then(|node| above_zero(node, MOST_WAIT, reader)),
        failures: fields.get("failures").and_then(|node| reader.number(node, 1, 1_000)),
        probe,
    };
    fields.finish(reader, &[]);
    if health.probe.is_none() && !has_port && reader.found.len() == before {
        let help = "add a `port`, or `command: […]` to health".to_owned();
        reader.error(span, "health has no probe and the app no port to connect to", Some(help));
    }
    Some(health)
}

fn probe(fields: &mut Fields<'_>, has_port: bool, reader: &mut Reader<'_>) -> Option<Probe> {
    let given = ["http", "tcp", "command"].map(|name| fields.get(name).map(|node| (name, node)));
    let given: Vec<(&str, &Node)> = given.into_iter().flatten().collect();
    if let Some((_, second)) = given.get(1) {
        reader.error(second.span, "health has one probe: `http`, `tcp` or `command`", None);
    }
    let mut probes: Vec<Option<Probe>> =
        given.iter().map(|(name, node)| one_probe(name, node, has_port, reader)).collect();
    probes.pop().filter(|_| probes.is_empty()).flatten()
}

fn one_probe(name: &str, node: &Node, has_port: bool, reader: &mut Reader<'_>) -> Option<Probe> {
    if name != "command" && !has_port {
        let help = "add a `port`, or use `command: […]`".to_owned();
        reader.error(node.span, format!("the probe `{name}` needs the app to have a port"), Some(help));
    }
    match name {
        "http" => {
            let path = reader.text(node)?;
            let good = path.value.starts_with('/') && path.value.chars().all(|c| c.is_ascii_graphic());
            if !good {
                let help = "a path that begins with `/`, such as /healthz".to_owned();
                reader.error(node.span, format!("`{}` is not a path to probe", cut(&path.value, 60)), Some(help));
            }
            good.then_some(Probe::Http(path.value))
        }
        "tcp" => match reader.boolean(node)? {
            true => Some(Probe::Tcp),
            false => {
                reader.error(node.span, "a tcp probe is `tcp: true`; leave it out otherwise", None);
                None
            }
        },
        _ => command(node, reader).map(Probe::Command),
    }
}

/// `rollout`.
pub(crate) fn rollout(node: &Node, reader: &mut Reader<'_>) -> RolloutText {
    let Some(mut fields) = reader.fields(node, "rollout") else { return RolloutText::default() };
    let strategies = [("rolling", Strategy::Rolling), ("recreate", Strategy::Recreate)];
    let failures = [("rollback", OnFailure::Rollback), ("pause", OnFailure::Pause)];
    let span = fields.span;
    let surge = fields.get("surge");
    let rollout = RolloutText {
        strategy: fields.get("strategy").and_then(|node| reader.word(node, &strategies)),
        surge: surge.and_then(|node| reader.number(node, 0, 1_000)),
        unavailable: fields.get("unavailable").and_then(|node| reader.number(node, 0, 1_000)),
        bake: fields.get("bake").and_then(|node| at_most(node, MOST_BAKE, reader)),
        on_failure: fields.get("onFailure").and_then(|node| reader.word(node, &failures)),
    };
    fields.finish(reader, &[]);
    check_rollout(&rollout, surge.map_or(span, |node| node.span), reader);
    rollout
}

fn check_rollout(rollout: &RolloutText, span: Span, reader: &mut Reader<'_>) {
    let recreate = rollout.strategy == Some(Strategy::Recreate);
    if recreate && (rollout.surge.is_some() || rollout.unavailable.is_some()) {
        reader.error(span, "surge and unavailable belong to the strategy rolling", None);
    } else if !recreate && rollout.surge == Some(0) && rollout.unavailable.unwrap_or(0) == 0 {
        let help = "let one be 1, or choose the strategy recreate".to_owned();
        reader.error(span, "with surge 0 and unavailable 0 no instance could ever be replaced", Some(help));
    }
}

/// `stop`.
pub(crate) fn stop(node: &Node, reader: &mut Reader<'_>) -> StopText {
    let Some(mut fields) = reader.fields(node, "stop") else { return StopText::default() };
    let words = SIGNALS.map(|signal| (signal, signal));
    let signal = fields.get("signal").and_then(|node| reader.word(node, &words)).map(str::to_owned);
    let grace = fields.get("grace").and_then(|node| at_most(node, MOST_WAIT, reader));
    fields.finish(reader, &[]);
    StopText { signal, grace }
}

/// A period that is no longer than makes sense where it stands.
pub(crate) fn at_most(node: &Node, most: Period, reader: &mut Reader<'_>) -> Option<Period> {
    let period = reader.parse::<Period>(node)?.value;
    if period > most {
        reader.error(node.span, format!("expected a duration of at most {most}, found {period}"), None);
        return None;
    }
    Some(period)
}

/// The same above zero.
fn above_zero(node: &Node, most: Period, reader: &mut Reader<'_>) -> Option<Period> {
    positive(node, reader).and_then(|_| at_most(node, most, reader))
}

/// A period above zero.
pub(crate) fn positive(node: &Node, reader: &mut Reader<'_>) -> Option<Period> {
    let period = reader.parse::<Period>(node)?.value;
    if period.as_millis() == 0 {
        reader.error(node.span, "expected a duration above zero", None);
        return None;
    }
    Some(period)
}
