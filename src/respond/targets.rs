//! What many alerts are on, as texts that people read: each target once, with how often, in as few bytes as can be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codeops_core::model::{AlertId, AlertMemory};

/// The labels that name what an alert is on.
const NAMES: [&str; 6] = ["app", "service", "instance", "job", "node", "host"];
/// About how long a line is, in bytes.
const LINE: usize = 1 << 10;

/// The most alerts on one target whose labels are told apart, and the most of each, in bytes.
const APART: usize = 5;
const LABELS: usize = 100;

/// By the label that names it, nothing where several do; then by target: the alerts on it.
type Targets<'a> = BTreeMap<&'static str, BTreeMap<String, Vec<&'a Arc<AlertMemory>>>>;

/// By alert name.
fn by_name(alerts: &[Arc<AlertMemory>]) -> BTreeMap<&str, Targets<'_>> {
    let mut all: BTreeMap<&str, Targets<'_>> = BTreeMap::new();
    for alert in alerts {
        let (kind, target) = target(alert);
        all.entry(alert.alert.name()).or_default().entry(kind).or_default().entry(target).or_default().push(alert);
    }
    all
}

/// Every target, in texts of at most so many bytes each, with the alerts that each tells of; a line is never cut. Of several on one
/// target the labels are told by which they differ; `among` are those that they may differ from.
pub(super) fn told(
    alerts: &[Arc<AlertMemory>],
    among: &[Arc<AlertMemory>],
    most: usize,
) -> Vec<(String, Vec<AlertId>)> {
    let (all, among) = (by_name(alerts), by_name(among));
    let mut texts = vec![(String::new(), Vec::new())];
    for (line, on) in all.into_iter().flat_map(|(name, targets)| lines(name, targets, among.get(name))) {
        match texts.last_mut() {
            Some((text, about)) if text.is_empty() || text.len() + line.len() <= most => {
                text.push_str(&line);
                about.extend(on);
            }
            _ => texts.push((line, on)),
        }
    }
    texts
}

fn lines(name: &str, kinds: Targets<'_>, among: Option<&Targets<'_>>) -> Vec<(String, Vec<AlertId>)> {
    let count: usize = kinds.values().flat_map(BTreeMap::values).map(Vec::len).sum();
    let mut lines = vec![(format!("{name}: {count}\n"), Vec::new())];
    for (kind, targets) in kinds {
        let (head, between) =
            if kind.is_empty() { (format!("- {name}"), ";") } else { (format!("- {name} {kind}"), "") };
        let (mut line, mut about) = (String::new(), Vec::new());
        for (target, on) in targets {
            let others = among.and_then(|among| among.get(kind)?.get(&target)).map_or(&[][..], Vec::as_slice);
            let told = format!("{target}{}", times(&on, others));
            if !line.is_empty() && line.len() + told.len() > LINE {
                lines.push((format!("{head}:{line}\n"), std::mem::take(&mut about)));
                line.clear();
            }
            about.extend(on.into_iter().map(|it| it.alert.id.clone()));
            let between = if line.is_empty() { "" } else { between };
            line.push_str(&format!("{between} {told}"));
        }
        lines.push((format!("{head}:{line}\n"), about));
    }
    lines
}

/// How many there are on one target, and the labels by which they differ among these.
fn times(on: &[&Arc<AlertMemory>], among: &[&Arc<AlertMemory>]) -> String {
    let count = if on.len() > 1 { format!("x{}", on.len()) } else { String::new() };
    let names: BTreeSet<&String> = among.iter().flat_map(|it| it.alert.labels.keys()).collect();
    let differs = |name: &&String| {
        let mut values = among.iter().map(|it| it.alert.labels.get(*name));
        values.next().is_some_and(|first| values.any(|value| value != first))
    };
    let names: Vec<&String> = if among.len() > 1 { names.into_iter().filter(differs).collect() } else { Vec::new() };
    let labels = |it: &&Arc<AlertMemory>| {
        let own = names.iter().filter_map(|name| Some(format!("{name}={}", it.alert.labels.get(*name)?)));
        // A value is shown whole or not at all: half a secret is not known for one.
        let fits = |text: String, label: String| match text.len() + label.len() <= LABELS {
            true if text.is_empty() => label,
            true => format!("{text} {label}"),
            false => text,
        };
        own.fold(String::new(), fits)
    };
    let apart: BTreeSet<String> = on.iter().take(APART).map(labels).filter(|labels| !labels.is_empty()).collect();
    let rest = if apart.is_empty() || on.len() <= APART { "" } else { "; …" };
    let apart = apart.into_iter().collect::<Vec<_>>().join("; ");
    match (count.is_empty(), apart.is_empty()) {
        (true, true) => String::new(),
        (false, true) | (true, false) => format!(" ({count}{apart}{rest})"),
        (false, false) => format!(" ({count}: {apart}{rest})"),
    }
}

/// The one label that names what it is on, and its value; all of them where there are several.
fn target(alert: &AlertMemory) -> (&'static str, String) {
    let value = |name: &&'static str| Some((*name, alert.alert.labels.get(*name)?));
    let named: Vec<_> = NAMES.iter().filter_map(value).collect();
    match &named[..] {
        [] => ("", alert.alert.id.fingerprint.to_string()),
        [(name, value)] => (name, (*value).clone()),
        several => ("", several.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use codeops_core::model::{Alert, AlertId, AlertState, Disposition, Fingerprint, Labels, Name};
    use jiff::Timestamp;

    use super::*;

    fn alert(labels: &[(&str, &str)], nth: usize) -> Arc<AlertMemory> {
        let labels: Labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let source = Name::new("main").expect("a name");
        let mut told = labels.clone();
        told.insert("nth".to_owned(), nth.to_string());
        let (at, fingerprint) = (Timestamp::UNIX_EPOCH, Fingerprint::of(&told));
        let id = AlertId { source: source.clone(), fingerprint, starts_at: at };
        let alert = Alert { id, receiver: source, labels, annotations: Labels::new(), url: None, expires_at: None };
        let (alert, state, disposition) = (Arc::new(alert), AlertState::Firing, Disposition::Received);
        Arc::new(AlertMemory { alert, state, since: at, received_at: at, disposition, asked: false })
    }

    #[test]
    fn every_target_is_told_once_and_counted_however_many_there_are() {
        let few = [
            alert(&[("alertname", "Down"), ("app", "shop")], 0),
            alert(&[("alertname", "Down"), ("app", "shop")], 1),
            alert(&[("alertname", "Down"), ("app", "auth")], 2),
            alert(&[("alertname", "Slow"), ("app", "shop"), ("host", "a")], 3),
        ];
        let text = "Down: 3\n- Down app: auth shop (x2)\nSlow: 1\n- Slow: app=shop host=a\n";
        let all: BTreeSet<AlertId> = few.iter().map(|it| it.alert.id.clone()).collect();
        let told_of = told(&few, &few, 30 << 10);
        assert_eq!(told_of.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), [text]);
        assert_eq!(told_of[0].1.iter().cloned().collect::<BTreeSet<_>>(), all);

        let hosts: Vec<String> = (0..20_000).map(|n| format!("h{n}")).collect();
        let many: Vec<_> =
            (0..).zip(&hosts).map(|(n, host)| alert(&[("alertname", "Down"), ("host", host)], n)).collect();
        let texts = told(&many, &many, 30 << 10);
        assert!(texts.len() > 1 && texts.iter().all(|(text, _)| text.len() <= 30 << 10), "{}", texts.len());
        let words: BTreeSet<&str> = texts.iter().flat_map(|(text, _)| text.split_whitespace()).collect();
        let about: Vec<&AlertId> = texts.iter().flat_map(|(_, about)| about).collect();
        assert_eq!(
            (about.len(), about.into_iter().collect::<BTreeSet<_>>().len()),
            (20_000, 20_000),
            "each in one text"
        );
        assert!(hosts.iter().all(|host| words.contains(host.as_str())));
    }

    #[test]
    fn of_several_on_one_target_the_labels_are_told_by_which_they_differ() {
        fn on(severity: &str, nth: usize) -> Arc<AlertMemory> {
            alert(&[("alertname", "Down"), ("app", "shop"), ("severity", severity)], nth)
        }
        let all = [on("warning", 0), on("critical", 1), alert(&[("alertname", "Down"), ("app", "auth")], 2)];
        let told_of = |alerts: &[Arc<AlertMemory>]| told(alerts, &all, 30 << 10)[0].0.clone();
        assert_eq!(told_of(&all), "Down: 3\n- Down app: auth shop (x2: severity=critical; severity=warning)\n");
        assert_eq!(told_of(&all[1..2]), "Down: 1\n- Down app: shop (severity=critical)\n");
        let many: Vec<_> = (0..7).map(|n| on(&"x".repeat(80 + n), n)).collect();
        let text = told(&many, &many, 30 << 10)[0].0.clone();
        assert!(text.len() < 700 && text.ends_with("; …)\n"), "{text}");
        let long: Vec<_> = (0..2).map(|n| on(&"x".repeat(200 + n), n)).collect();
        assert_eq!(told(&long, &long, 30 << 10)[0].0, "Down: 2\n- Down app: shop (x2)\n");
    }
}
