//! Asks a monitoring system itself how an alert is, and for the alerts that a delivery left out, by Alertmanager's API. The
//! settings name the address, so no team's egress stands in the way. Nothing is tried twice; nothing is changed there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use codeops_core::config::{AuthSettings, ReceiverFormat, ReceiverSettings, SecretSource};
use codeops_core::model::{
    Alert, AlertId, AlertState, Fingerprint, Labels, Name, Secret, bounded_annotations, bounded_labels, web_url,
};
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::pieces;
use crate::port::{Absence, AlertAnswer, AlertListing, AlertSources, Clock, GroupListing, UpSince};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long all of a large group may take to be listed.
const LISTING: Duration = Duration::from_secs(8);
/// The longest answer, in bytes: some 80,000 alerts.
const ANSWER: usize = 64 << 20;
/// Answers that are longer are read in turns: one of each system, and a few in all.
const LARGE: usize = 1 << 20;
/// How many of those are in memory at once.
const AT_ONCE: usize = 2;
/// The longest alert that is read.
const ELEMENT: usize = 1 << 20;

/// The monitoring systems whose API the settings name.
pub struct MonitoringApis {
    by_receiver: BTreeMap<Name, Arc<Api>>,
    /// The receiver that is asked about what came by others of its source, which have no API.
    by_source: BTreeMap<Name, Name>,
    /// The receivers to which an Alertmanager sends: what came by one of them, it was told of.
    of_alertmanagers: BTreeSet<Name>,
    clock: Arc<dyn Clock>,
}

struct Api {
    base: String,
    auth: Option<Auth>,
    client: Client,
    /// Turns at large answers: its own, and those of all.
    turns: [Arc<Semaphore>; 2],
}

/// An answer. While a large one is in memory it keeps its turn.
struct Body {
    bytes: Vec<u8>,
    turn: Option<[OwnedSemaphorePermit; 2]>,
}

enum Auth {
    Bearer(Secret<String>),
    Basic(String, Secret<String>),
}

impl MonitoringApis {
    /// Those of these receivers that have one. `read` gives the values of secrets.
    ///
    /// # Errors
    /// In one sentence: a secret that cannot be read, or no HTTP client can be made.
    pub fn new(
        receivers: &BTreeMap<Name, ReceiverSettings>,
        clock: Arc<dyn Clock>,
        read: impl Fn(&SecretSource) -> Result<Secret<String>, String>,
    ) -> Result<Self, String> {
        // Someone else may have installed it first: either way there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("codeops/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .map_err(|error| format!("no HTTP client can be made: {error}"))?;
        let (mut by_receiver, mut by_source) = (BTreeMap::new(), BTreeMap::new());
        let all = Arc::new(Semaphore::new(AT_ONCE));
        for (name, settings) in receivers {
            let Some(base) = &settings.api else { continue };
            let auth = match &settings.api_auth {
                None | Some(AuthSettings::Hmac { .. }) => None,
                Some(AuthSettings::Bearer(token)) => Some(Auth::Bearer(read(token)?)),
                Some(AuthSettings::Basic { user, password }) => Some(Auth::Basic(user.clone(), read(password)?)),
            };
            let base = base.trim_end_matches('/').to_owned();
            let turns = [Arc::new(Semaphore::new(1)), Arc::clone(&all)];
            let api = Arc::new(Api { base, auth, client: client.clone(), turns });
            by_source.insert(settings.source.clone().unwrap_or_else(|| name.clone()), name.clone());
            by_receiver.insert(name.clone(), api);
        }
        let of_alertmanagers = receivers.iter().filter(|(_, it)| it.format == ReceiverFormat::Alertmanager);
        let of_alertmanagers = of_alertmanagers.map(|(name, _)| name.clone()).collect();
        Ok(Self { by_receiver, by_source, of_alertmanagers, clock })
    }

    /// Whom to ask about an alert.
    fn of(&self, alert: &Alert) -> Option<&Name> {
        let own = self.by_receiver.get_key_value(&alert.receiver).map(|(name, _)| name);
        own.or_else(|| self.by_source.get(&alert.id.source))
    }

    /// How one API says that these alerts are: one question, of what they have in common.
    async fn answers(&self, api: &Api, alerts: &[&Alert]) -> Result<Vec<AlertAnswer>, String> {
        let query: Vec<_> = filters(&in_common(alerts)).into_iter().map(|filter| ("filter", filter)).collect();
        let body = api.bytes("/api/v2/alerts", &query, PATIENCE).await?;
        let wanted = alerts.iter().map(|alert| alert.id.fingerprint.clone()).collect();
        // Beside the tasks that answer others: it may be long.
        let known = tokio::task::spawn_blocking(move || among(&body.bytes, &wanted)).await;
        let known = known.ok().flatten().ok_or_else(|| api.is_none("/api/v2/alerts"))?;
        let up = match alerts.iter().all(|alert| known.contains_key(&alert.id.fingerprint)) {
            false => Some(api.up_since().await?),
            true => None,
        };
        let now = self.clock.now();
        let gone = |alert: &Alert| match up.map(|up| up.absence(alert.id.starts_at, now)) {
            Some(Absence::Over) => AlertState::Resolved,
            _ => AlertState::Unknown,
        };
        let answer = |alert: &&Alert| {
            let listed = known.get(&alert.id.fingerprint);
            let state = match listed.map(|listed| listed.status.state == "suppressed") {
                Some(true) => AlertState::Silenced,
                Some(false) => AlertState::Firing,
                None => gone(alert),
            };
            AlertAnswer { id: alert.id.clone(), state, anew: listed.and_then(|listed| listed.anew(alert, now)) }
        };
        Ok(alerts.iter().map(answer).collect())
    }

    /// The same, where there is one and whatever comes of it.
    async fn asked(&self, receiver: Option<&Name>, alerts: &[&Alert]) -> Vec<AlertAnswer> {
        let answers = match receiver.and_then(|receiver| self.by_receiver.get(receiver)) {
            Some(api) => self.answers(api, alerts).await,
            None => Err("its source has no `api`".to_owned()),
        };
        let mut answers = answers.unwrap_or_else(|error| {
            let (alert, many) = (alerts.first().map(|alert| alert.id.to_string()), alerts.len());
            tracing::warn!(alert, many, error, "a source cannot be asked how its alerts are");
            let unknown = |alert: &&Alert| AlertAnswer { id: alert.id.clone(), state: AlertState::Unknown, anew: None };
            alerts.iter().map(unknown).collect()
        });
        // What came by another way may never have come to this one, as where Prometheus cannot reach its Alertmanager.
        for (answer, alert) in answers.iter_mut().zip(alerts) {
            let told = Some(&alert.receiver) == receiver || self.of_alertmanagers.contains(&alert.receiver);
            if answer.state == AlertState::Resolved && !told {
                answer.state = AlertState::Unknown;
            }
        }
        answers
    }
}

#[async_trait]
impl AlertSources for MonitoringApis {
    async fn ask(&self, alert: &Alert) -> AlertState {
        self.asked(self.of(alert), &[alert]).await.first().map_or(AlertState::Unknown, |answer| answer.state)
    }

    // What one system answers differs by who asks, so nothing that has the same address is asked about together.
    fn asked_by(&self, alert: &Alert) -> Option<Name> {
        self.of(alert).cloned()
    }

    async fn ask_all(&self, receiver: &Name, alerts: &[Arc<Alert>]) -> Vec<AlertAnswer> {
        let alerts: Vec<&Alert> = alerts.iter().map(Arc::as_ref).collect();
        self.asked(Some(receiver), &alerts).await
    }
}

#[async_trait]
impl AlertListing for MonitoringApis {
    async fn group(&self, receiver: &Name, labels: &Labels) -> Result<GroupListing, String> {
        let api = self.by_receiver.get(receiver).ok_or_else(|| format!("the receiver `{receiver}` has no `api`"))?;
        let query: Vec<_> = filters(labels).into_iter().map(|filter| ("filter", filter)).collect();
        // Asked first: what is listed after that was listed by one that runs since then, or later.
        let up = api.up_since().await?;
        Ok(GroupListing { body: api.bytes("/api/v2/alerts", &query, LISTING).await?.bytes, up })
    }
}

impl Api {
    async fn up_since(&self) -> Result<UpSince, String> {
        let body = self.bytes("/api/v2/status", &[], PATIENCE).await?;
        let status: Status = serde_json::from_slice(&body.bytes).map_err(|_| self.is_none("/api/v2/status"))?;
        Ok(UpSince(status.uptime))
    }

    fn is_none(&self, path: &str) -> String {
        format!("{}{path} did not answer as an Alertmanager does", self.base)
    }

    async fn bytes(&self, path: &str, query: &[(&str, String)], limit: Duration) -> Result<Body, String> {
        let place = format!("{}{path}", self.base);
        let failed = |error: reqwest::Error| format!("{place}: {}", error.without_url());
        let request = self.client.get(&place).query(query).timeout(limit);
        let mut response = self.with_auth(request).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(format!("{place} answered {}", response.status()));
        }
        let mut body = Body { bytes: Vec::new(), turn: None };
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            let length = body.bytes.len() + chunk.len();
            if length > ANSWER {
                return Err(format!("{place} answered more than {} MiB", ANSWER >> 20));
            }
            if length > LARGE && body.turn.is_none() {
                let turn = tokio::time::timeout(limit, self.turn()).await.ok().flatten();
                body.turn = Some(turn.ok_or_else(|| format!("{place} answered much while others did, too"))?);
            }
            body.bytes.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn turn(&self) -> Option<[OwnedSemaphorePermit; 2]> {
        let [own, all] = self.turns.each_ref().map(Arc::clone);
        Some([own.acquire_owned().await.ok()?, all.acquire_owned().await.ok()?])
    }

    fn with_auth(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.auth {
            None => request,
            Some(Auth::Bearer(token)) => request.bearer_auth(token.reveal()),
            Some(Auth::Basic(user, password)) => request.basic_auth(user, Some(password.reveal())),
        }
    }
}

/// One alert of an Alertmanager's answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    labels: Labels,
    #[serde(default)]
    annotations: Option<Labels>,
    #[serde(default)]
    starts_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: Option<String>,
    status: State,
}

impl Listed {
    /// As it fires now, where that began later than the alert that was asked about.
    fn anew(&self, alert: &Alert, now: Timestamp) -> Option<Arc<Alert>> {
        let starts_at: Timestamp = self.starts_at.as_ref()?.parse().ok()?;
        // What fires has begun: a beginning that is later is somebody's clock, or none at all, and was not taken either.
        if starts_at > now {
            return None;
        }
        let starts_at = Timestamp::from_millisecond(starts_at.as_millisecond()).ok()?;
        (starts_at > alert.id.starts_at).then(|| {
            Arc::new(Alert {
                id: AlertId { starts_at, ..alert.id.clone() },
                receiver: alert.receiver.clone(),
                labels: alert.labels.clone(),
                annotations: bounded_annotations(self.annotations.clone().unwrap_or_default()),
                url: self.generator_url.as_deref().and_then(web_url),
                expires_at: None,
            })
        })
    }
}

#[derive(Deserialize)]
struct State {
    state: String,
}

#[derive(Deserialize)]
struct Status {
    /// Since when it runs.
    uptime: Timestamp,
}

/// Of an Alertmanager's answer what is wanted of it, one alert in memory at a time; none where it is no such answer.
fn among(json: &[u8], wanted: &BTreeSet<Fingerprint>) -> Option<BTreeMap<Fingerprint, Listed>> {
    let all = pieces(json).ok().filter(|_| json.trim_ascii_start().starts_with(b"["))?;
    let mut found = BTreeMap::new();
    for piece in all {
        let listed: Listed = serde_json::from_slice(Some(piece).filter(|piece| piece.len() <= ELEMENT)?).ok()?;
        found.extend(fingerprint(&listed).filter(|it| wanted.contains(it)).map(|fingerprint| (fingerprint, listed)));
    }
    Some(found)
}

/// Computed as when it came in: a fingerprint of the other side's counts for nothing.
fn fingerprint(listed: &Listed) -> Option<Fingerprint> {
    bounded_labels(listed.labels.clone()).ok().map(|labels| Fingerprint::of(&labels))
}

/// The labels that all of them have, with the same values.
fn in_common(alerts: &[&Alert]) -> Labels {
    let Some((first, others)) = alerts.split_first() else { return Labels::new() };
    let mut common = first.labels.clone();
    common.retain(|name, value| others.iter().all(|other| other.labels.get(name) == Some(value)));
    common
}

/// Matchers that let little more through than what is asked for: labels whose value may have been changed when it came in
/// are left out, and so are names that older ones cannot match.
fn filters(labels: &Labels) -> Vec<String> {
    let name = |name: &str| {
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    let plain = |value: &str| value.bytes().all(|b| (b' '..=b'~').contains(&b));
    let good = labels.iter().filter(|(n, v)| name(n) && plain(v));
    good.map(|(n, v)| format!("{n}=\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\""))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_answer_only_what_is_wanted_is_kept() {
        let listed = |name: &str, state: &str| {
            format!("{{\"labels\": {{\"alertname\": \"{name}\"}}, \"status\": {{\"state\": \"{state}\"}}, \"x\": [1]}}")
        };
        let of = |name: &str| Fingerprint::of(&[("alertname".to_owned(), name.to_owned())].into());
        let all = format!(" [{}, {}]", listed("Down", "active"), listed("Other", "active"));
        let found = among(all.as_bytes(), &[of("Down"), of("Gone")].into()).expect("an answer");
        assert_eq!(found.into_keys().collect::<Vec<_>>(), [of("Down")]);
        // What cannot be read may be the one that was asked about: it says of none that it is over.
        for json in ["[1]", "{}", "[", &format!("[{}]", listed(&"x".repeat(ELEMENT), "active"))] {
            assert!(among(json.as_bytes(), &[of("Down")].into()).is_none(), "{}", json.len());
        }
    }

    #[tokio::test]
    async fn large_answers_are_read_in_turns() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = std::io::Read::read(&mut &stream, &mut [0; 4096]);
                let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", 2 * LARGE);
                let _ = std::io::Write::write_all(&mut &stream, head.as_bytes());
                let _ = std::io::Write::write_all(&mut &stream, &vec![b' '; 2 * LARGE]);
            }
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let all = Arc::new(Semaphore::new(AT_ONCE));
        let api = || {
            let turns = [Arc::new(Semaphore::new(1)), Arc::clone(&all)];
            Api { base: base.clone(), auth: None, client: Client::new(), turns }
        };
        let (one, other) = (api(), api());
        let ask = async |api: &Api| api.bytes("/", &[], Duration::from_millis(500)).await;
        let body = ask(&one).await.expect("an answer");
        assert!(ask(&one).await.is_err(), "one of each system");
        let another = ask(&other).await.expect("an answer");
        assert_eq!(all.available_permits(), 0);
        drop((body, another));
        assert!(ask(&one).await.is_ok());
    }

    #[test]
    fn questions_are_quoted() {
        let labels = [("alertname", "a\"b\\c"), ("weird-name", "x"), ("changed", "␛"), ("app", "shop")];
        let labels = labels.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        assert_eq!(filters(&labels), ["alertname=\"a\\\"b\\\\c\"", "app=\"shop\""]);
    }
}
