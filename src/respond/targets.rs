//! What many alerts are on, as texts that people read: each target once, with how often, in as few bytes as can be.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeops_core::model::AlertMemory;

/// The labels that name what an alert is on.
const NAMES: [&str; 6] = ["app", "service", "instance", "job", "node", "host"];
/// About how long a line is, in bytes.
const LINE: usize = 1 << 10;

/// By the label that names it, nothing where several do; then by target: how many alerts are on it.
type Targets = BTreeMap<&'static str, BTreeMap<String, usize>>;

/// Every target, in texts of at most so many bytes each; a line is never cut.
pub(super) fn told(alerts: &[Arc<AlertMemory>], most: usize) -> Vec<String> {
    let mut all: BTreeMap<&str, Targets> = BTreeMap::new();
    for alert in alerts {
        let (kind, target) = target(alert);
        *all.entry(alert.alert.name()).or_default().entry(kind).or_default().entry(target).or_default() += 1;
    }
    let mut texts = vec![String::new()];
    for line in all.iter().flat_map(|(name, targets)| lines(name, targets)) {
        match texts.last_mut() {
            Some(text) if text.is_empty() || text.len() + line.len() <= most => text.push_str(&line),
            _ => texts.push(line),
        }
    }
    texts
}

fn lines(name: &str, kinds: &Targets) -> Vec<String> {
    let count: usize = kinds.values().flat_map(BTreeMap::values).sum();
    let mut lines = vec![format!("{name}: {count}\n")];
    for (kind, targets) in kinds {
        let (head, between) =
            if kind.is_empty() { (format!("- {name}"), ";") } else { (format!("- {name} {kind}"), "") };
        let mut line = String::new();
        for (target, times) in targets {
            if !line.is_empty() && line.len() + target.len() > LINE {
                lines.push(format!("{head}:{line}\n"));
                line.clear();
            }
            let times = if *times > 1 { format!(" (x{times})") } else { String::new() };
            let between = if line.is_empty() { "" } else { between };
            line.push_str(&format!("{between} {target}{times}"));
        }
        lines.push(format!("{head}:{line}\n"));
    }
    lines
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
        Arc::new(AlertMemory { alert, state, since: at, received_at: at, disposition })
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
        assert_eq!(told(&few, 30 << 10), [text]);

        let hosts: Vec<String> = (0..20_000).map(|n| format!("h{n}")).collect();
        let many: Vec<_> =
            (0..).zip(&hosts).map(|(n, host)| alert(&[("alertname", "Down"), ("host", host)], n)).collect();
        let texts = told(&many, 30 << 10);
        assert!(texts.len() > 1 && texts.iter().all(|text| text.len() <= 30 << 10), "{}", texts.len());
        let words: std::collections::BTreeSet<&str> = texts.iter().flat_map(|text| text.split_whitespace()).collect();
        assert!(hosts.iter().all(|host| words.contains(host.as_str())));
    }
}
