//! The receivers of alerts that the settings declare, each ready: its door, how its bodies are read, and what it may send.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use codeops_core::config::{AuthSettings, ReceiverFormat, ReceiverSettings, SecretSource, WatchdogSettings};
use codeops_core::model::{Fingerprint, Name, Period, Secret, Signal};
use jiff::{SignedDuration, Timestamp};

use super::AlertLimits;
use super::door::Door;
use super::format::{Mapping, Reading, Told};
use super::intake::Intake;
use super::rate::Rate;
use super::turns::Turns;
use crate::edge::Seldom;

/// All receivers, and the door of those that there are not.
#[derive(Debug)]
pub struct Receivers {
    all: BTreeMap<Name, Receiver>,
    shut: Door,
}

/// One receiver.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) name: Name,
    pub(super) source: Name,
    pub(super) door: Door,
    pub(super) reading: Arc<Reading>,
    pub(super) rate: Rate,
    pub(super) turns: Turns,
    pub(super) body_bytes: usize,
    /// Whether its source can be asked for what a delivery left out.
    pub(super) has_api: bool,
    /// Whether its source is asked what it holds back, of which what comes by this receiver says nothing.
    pub(super) source_is_asked: bool,
    /// Whether it was said lately that no more of its alerts are taken.
    pub(super) full: Seldom,
    /// After what time its alerts expire whose sender says no end of them.
    pub(super) expire: Option<Period>,
    /// The Watchdogs of its source: what another receiver of that is watched by is no alert, whichever way it comes.
    watchdogs: Vec<Arc<Watchdog>>,
}

/// The sign of life that a receiver is watched by.
#[derive(Debug)]
pub(super) struct Watchdog {
    pub(super) receiver: Name,
    alertname: String,
    within: Period,
    /// When it was last written down.
    heard: Mutex<Option<Timestamp>>,
}

impl Receivers {
    /// The name of the one that there is where the settings declare none.
    pub const DEFAULT: &str = "alerts";

    /// Makes receivers of the settings. `read` gives the values of secrets.
    ///
    /// # Errors
    /// In one sentence, which receiver cannot be made, and why.
    pub fn new(
        settings: &BTreeMap<Name, ReceiverSettings>,
        limits: AlertLimits,
        read: impl Fn(&SecretSource) -> Result<Secret<String>, String>,
    ) -> Result<Self, String> {
        let shut = Door::shut().map_err(|error| error.to_string())?;
        let mut all: BTreeMap<Name, Receiver> = BTreeMap::new();
        for (name, settings) in settings {
            let receiver = Receiver::new(name, settings, limits, &read);
            all.insert(name.clone(), receiver.map_err(|error| format!("the receiver `{name}`: {error}"))?);
        }
        let askable: BTreeSet<Name> = all.values().filter(|it| it.has_api).map(|it| it.source.clone()).collect();
        let own = all.values().flat_map(|it| it.watchdogs.iter().map(|watchdog| (&it.source, watchdog)));
        let own: Vec<(Name, Arc<Watchdog>)> = own.map(|(source, it)| (source.clone(), Arc::clone(it))).collect();
        for receiver in all.values_mut() {
            let of_prometheus = receiver.reading.format == ReceiverFormat::Prometheus;
            receiver.source_is_asked = of_prometheus && askable.contains(&receiver.source);
            let of_source = own.iter().filter(|(source, _)| *source == receiver.source);
            receiver.watchdogs = of_source.map(|(_, watchdog)| Arc::clone(watchdog)).collect();
        }
        Ok(Self { all, shut })
    }

    /// The one receiver where the settings declare none: `alerts`, generic, with this token.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn only_default(limits: AlertLimits, token: &Secret<String>) -> Result<Self, String> {
        let name = Name::new(Self::DEFAULT).map_err(|error| error.to_string())?;
        let settings = ReceiverSettings {
            format: ReceiverFormat::Generic,
            source: None,
            // Where it comes from is not looked at: `read` knows it.
            auth: AuthSettings::Bearer(SecretSource::Env(String::new())),
            api: None,
            api_auth: None,
            mapping: None,
            watchdog: None,
            expire: None,
            may_freeze: false,
            teams: None,
        };
        Self::new(&BTreeMap::from([(name, settings)]), limits, |_| Ok(token.clone()))
    }

    /// The receiver of this name, if there is one, and the door to try in any case.
    pub(super) fn named(&self, name: &str) -> (Option<&Receiver>, &Door) {
        let receiver = Name::new(name).ok().and_then(|name| self.all.get(&name));
        (receiver, receiver.map_or(&self.shut, |receiver| &receiver.door))
    }

    /// The one receiver of what is posted to the Alertmanager API.
    pub(super) fn of_prometheus(&self) -> Option<&Receiver> {
        self.all.values().find(|receiver| receiver.reading.format == ReceiverFormat::Prometheus)
    }
}

impl Receiver {
    fn new(
        name: &Name,
        settings: &ReceiverSettings,
        limits: AlertLimits,
        read: &impl Fn(&SecretSource) -> Result<Secret<String>, String>,
    ) -> Result<Self, String> {
        let format = settings.format;
        let many = matches!(format, ReceiverFormat::Alertmanager | ReceiverFormat::Prometheus);
        Ok(Self {
            name: name.clone(),
            source: settings.source.clone().unwrap_or_else(|| name.clone()),
            door: Door::new(&settings.auth, format, read)?,
            reading: Arc::new(Reading { format, mapping: settings.mapping.as_ref().map(Mapping::new).transpose()? }),
            rate: Rate::new(limits.per_second, limits.burst),
            turns: Turns::of_one(limits.concurrency),
            body_bytes: if many { limits.many_bytes } else { limits.body_bytes },
            has_api: settings.api.is_some(),
            source_is_asked: false,
            full: Seldom::default(),
            expire: settings.expire,
            watchdogs: settings.watchdog.iter().map(|watchdog| Arc::new(Watchdog::new(name, watchdog))).collect(),
        })
    }

    /// What the journal is told of what it brought. When an alert began is looked up once for all that is said of it: there may
    /// be as many of one fingerprint as a delivery has room for.
    pub(super) fn signals(
        &self,
        intake: &dyn Intake,
        told: impl IntoIterator<Item = Told>,
        now: Timestamp,
    ) -> Vec<Signal> {
        let known = RefCell::new(HashMap::new());
        let began =
            |of: &Fingerprint| *known.borrow_mut().entry(of.clone()).or_insert_with(|| intake.began(&self.source, of));
        let told = told.into_iter().map(|told| told.expiring(self.expire, now));
        told.map(|told| told.signal(&self.name, &self.source, now, began)).collect()
    }

    /// The Watchdogs that this is: then it is no alert.
    pub(super) fn watchdogs_of(&self, told: &Told) -> Vec<Arc<Watchdog>> {
        let name = told.labels.get("alertname");
        self.watchdogs.iter().filter(|watchdog| Some(&watchdog.alertname) == name).cloned().collect()
    }
}

impl Watchdog {
    fn new(receiver: &Name, settings: &WatchdogSettings) -> Self {
        Self {
            receiver: receiver.clone(),
            alertname: settings.alertname.clone().unwrap_or_else(|| "Watchdog".to_owned()),
            within: settings.within,
            heard: Mutex::default(),
        }
    }

    /// Whether it, heard now, is to be written down: at most ten times in the time it has.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let pause = SignedDuration::from_millis((self.within.as_millis() / 10).cast_signed());
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not silence it.
        heard.is_none_or(|at| now.duration_since(at) >= pause || now < at)
    }

    /// It was written down that it was heard.
    pub(super) fn note(&self, now: Timestamp) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }
}
