//! Effects in memory: each is noted with its key, and fares as it is told to. And a monitoring system that can be asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use codeops::journal::StartedEffect;
use codeops::port::{AlertAnswer, AlertSources, Effect, EffectError, Effects, Heartbeat, Performed};
use codeops_core::model::{Alert, AlertId, AlertState, Fingerprint, Name};
use jiff::Timestamp;

/// How an effect fares.
#[derive(Debug, Clone)]
pub(crate) enum Fare {
    /// It is done, with this output.
    Done(serde_json::Value),
    /// It fails.
    Failed,
    /// It takes so many seconds, and is done then.
    Slow(u64),
    /// What does it panics.
    Panics,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ScriptedEffects {
    done: Mutex<Vec<(String, String)>>,
    bodies: Mutex<Vec<String>>,
    fares: Mutex<BTreeMap<String, Fare>>,
    answers: Mutex<BTreeMap<Fingerprint, AlertState>>,
    /// When what fires there began.
    began: Mutex<BTreeMap<Fingerprint, Timestamp>>,
    asked: Mutex<BTreeSet<Fingerprint>>,
}

impl ScriptedEffects {
    /// No effect done yet, and all that come are done at once.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on effects of this word fare so: a script's file, `http`, a channel's word, `git`; and questions, as `ask`, or `ask RECEIVER` for
    /// those of one receiver.
    pub(crate) fn fares(&self, word: &str, fare: Fare) {
        self.fares.lock().expect("no panic").insert(word.to_owned(), fare);
    }

    /// What was done so far, in order: the word and the key of each.
    pub(crate) fn done(&self) -> Vec<(String, String)> {
        self.done.lock().expect("no panic").clone()
    }

    /// How often something of this word was done.
    pub(crate) fn count(&self, word: &str) -> usize {
        self.done().iter().filter(|(done, _)| done == word).count()
    }

    /// What was sent so far, in order: the text of each.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.bodies.lock().expect("no panic").clone()
    }

    /// What the monitoring system says of this alert when asked.
    pub(crate) fn answers(&self, fingerprint: &Fingerprint, state: AlertState) {
        self.answers.lock().expect("no panic").insert(fingerprint.clone(), state);
    }

    /// And since when it fires, if it does.
    pub(crate) fn began(&self, fingerprint: &Fingerprint, at: Timestamp) {
        self.began.lock().expect("no panic").insert(fingerprint.clone(), at);
    }
}

#[async_trait]
impl Heartbeat for ScriptedEffects {
    async fn beat(&self) -> Result<(), String> {
        self.done.lock().expect("no panic").push(("beat".to_owned(), String::new()));
        Ok(())
    }
}

fn word(effect: &Effect) -> String {
    match effect {
        Effect::Script(call) => call.file.clone(),
        Effect::Http(_) => "http".to_owned(),
        Effect::Send(send) if send.over => format!("{} over", send.channel.word()),
        Effect::Send(send) => send.channel.word().to_owned(),
        Effect::Git(_) => "git".to_owned(),
    }
}

#[async_trait]
impl Effects for ScriptedEffects {
    async fn perform(&self, started: &StartedEffect, effect: &Effect) -> Result<Performed, EffectError> {
        let word = word(effect);
        self.done.lock().expect("no panic").push((word.clone(), started.key().to_string()));
        if let Effect::Send(send) = effect {
            self.bodies.lock().expect("no panic").push(send.body.clone());
        }
        let fare = self.fares.lock().expect("no panic").get(&word).cloned();
        match fare {
            None => Ok(Performed::default()),
            Some(Fare::Done(output)) => Ok(Performed { output, evidence: format!("{word} says so") }),
            Some(Fare::Failed) => Err(EffectError::Failed { error: format!("{word} failed"), evidence: String::new() }),
            Some(Fare::Panics) => panic!("{word} panics, as it is told to"),
            Some(Fare::Slow(seconds)) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok(Performed::default())
            }
        }
    }
}

#[async_trait]
impl AlertSources for ScriptedEffects {
    async fn ask(&self, alert: &Alert) -> AlertState {
        self.asked.lock().expect("no panic").insert(alert.id.fingerprint.clone());
        let fare = {
            let fares = self.fares.lock().expect("no panic");
            fares.get(&format!("ask {}", alert.receiver)).or_else(|| fares.get("ask")).cloned()
        };
        match fare {
            Some(Fare::Slow(seconds)) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            Some(Fare::Panics) => panic!("the monitoring system panics, as it is told to"),
            _ => {}
        }
        self.answers.lock().expect("no panic").get(&alert.id.fingerprint).copied().unwrap_or(AlertState::Unknown)
    }

    fn asked_by(&self, alert: &Alert) -> Option<Name> {
        Some(alert.receiver.clone())
    }

    async fn ask_all(&self, _: &Name, alerts: &[Arc<Alert>]) -> Vec<AlertAnswer> {
        let mut answers = Vec::new();
        for alert in alerts {
            let state = self.ask(alert).await;
            let began = self.began.lock().expect("no panic").get(&alert.id.fingerprint).copied();
            let id = |starts_at| AlertId { starts_at, ..alert.id.clone() };
            let anew = began.filter(|at| *at > alert.id.starts_at);
            let anew = anew.map(|at| Arc::new(Alert { id: id(at), ..alert.as_ref().clone() }));
            answers.push(AlertAnswer { id: alert.id.clone(), state, anew });
        }
        answers
    }
}
