//! One input as the authentic body of an alert, by each format. Used by the fuzz targets and by the tests.

use axum::http::{HeaderMap, HeaderValue};
use codeops::hooks::format::{Mapping, Parsed, Reading, State, Told, parse, parse_listing};
use codeops_core::config::{MappingSettings, ReceiverFormat};
use codeops_core::model::{Fingerprint, Signal};
use jiff::Timestamp;

/// Whatever is sent: no panic, what is told is within bounds, and the same again.
pub(crate) fn holds(format: ReceiverFormat, body: &[u8]) {
    let contents = match format {
        ReceiverFormat::CloudEvents => {
            &["application/cloudevents+json", "application/cloudevents-batch+json", "application/json"][..]
        }
        _ => &["application/json"][..],
    };
    let now = Timestamp::from_second(1_795_205_000).expect("a time");
    for content in contents {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(content));
        for (name, value) in [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/x"), ("ce-type", "x.firing")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for mapping in [None, mapping(format)] {
            let receiver = Reading { format, mapping };
            let parsed = parse(&headers, body, &receiver, now);
            assert_eq!(parsed, parse(&headers, body, &receiver, now));
            parsed.into_iter().for_each(|parsed| told_well(parsed, now));
        }
    }
    if format == ReceiverFormat::Alertmanager {
        for route in ["", "codeops"] {
            let listed = parse_listing(body, route, &Default::default()).into_iter();
            listed.for_each(|it| told_well(Parsed { told: it.firing, spoiled: it.spoiled, ..Parsed::default() }, now));
        }
    }
}

fn mapping(format: ReceiverFormat) -> Option<Mapping> {
    let text = |text: &str| Some(text.to_owned());
    let label = |name: &str, source: &str| (name.to_owned(), source.to_owned());
    let settings = MappingSettings {
        items: text("body.items"),
        labels: [label("alertname", "item.name"), label("site", "body.site")].into(),
        annotations: [label("text", "item.text")].into(),
        resolved: text("has(item.ok) && item.ok"),
        starts_at: text("has(item.since) ? item.since : null"),
        id: text("body.id"),
    };
    let mapped = [ReceiverFormat::Generic, ReceiverFormat::CloudEvents].contains(&format);
    mapped.then(|| Mapping::new(&settings).expect("a mapping"))
}

fn told_well(parsed: Parsed, now: Timestamp) {
    let (receiver, source) = ("r".parse().expect("a name"), "s".parse().expect("a name"));
    for told in parsed.told {
        let Told { labels, annotations, url, state, .. } = &told;
        let control = |c: char| c.is_control();
        assert!((1..=64).contains(&labels.len()) && annotations.len() <= 64);
        assert!(labels.iter().all(|(n, v)| !n.is_empty() && n.len() <= 128 && !v.is_empty() && v.len() <= 4_096));
        assert!(labels.iter().all(|(n, v)| !n.contains(control) && !v.contains(control)));
        assert!(annotations.values().all(|v| v.len() <= 4_096 && !v.replace(['\n', '\t'], "").contains(control)));
        assert!(url.as_ref().is_none_or(|url| url.to_ascii_lowercase().starts_with("http")));
        let (fires, identity) = (matches!(state, State::Firing { .. }), told.identity.as_ref().unwrap_or(labels));
        let expected = Fingerprint::of(identity);
        match told.signal(&receiver, &source, now, |_| None) {
            Signal::Firing(alert) => assert!(fires && alert.id.fingerprint == expected && alert.id.source == source),
            Signal::Resolved { fingerprint, .. } | Signal::Silenced { fingerprint, .. } => {
                assert!(!fires && fingerprint == expected);
            }
            Signal::Still { .. } => panic!("what is known is the journal's to say"),
        }
    }
}
