//! Effects of playbooks on the outside world: scripts, requests, messages to people, commits. Each is done once when it is
//! asked for, within its time, and says plainly what is known of it: done, failed, or not known. It decides nothing, tries
//! nothing twice and remembers nothing; no secret leaves it but to whom it is for.

mod ask;
mod git;
mod heartbeat;
mod http;
mod script;
mod seal;
mod send;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use codeops_core::config::{BotSettings, ScriptsMode, TeamSettings};
use codeops_core::model::{SecretName, TeamName};

use crate::base::Egress;
use crate::journal::StartedEffect;
use crate::port::{Clock, Committer, Effect, EffectError, Effects, Performed, Secrets, Source, Vault, Veil};

pub use self::ask::MonitoringApis;
pub use self::heartbeat::Beats;
pub use self::script::{Scripts, UIDS, confinement};
pub use self::seal::Seal;

/// What effects need of the rest.
pub struct Parts {
    /// Who holds secrets and takes them out of texts.
    pub vault: Arc<dyn Vault>,
    /// Where scripts come from.
    pub source: Arc<dyn Source>,
    /// Who makes commits.
    pub committer: Arc<dyn Committer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What each team may reach. Empty: everything.
    pub teams: BTreeMap<TeamName, TeamSettings>,
    /// Whether scripts may run where they cannot be confined.
    pub scripts: ScriptsMode,
    /// Who commits.
    pub bot: BotSettings,
    /// What its commits are told by.
    pub seal: Seal,
    /// Where the page is, such as `http://127.0.0.1:8080`: messages link to it.
    pub page: Option<String>,
    /// This binary, which `launch` is a command of; `/proc/self/exe` in a daemon.
    pub launcher: PathBuf,
}

/// Does effects.
pub struct Performer {
    parts: Parts,
    scripts: Scripts,
}

impl Performer {
    /// One that runs its scripts there.
    pub fn new(parts: Parts, scripts: Scripts) -> Self {
        Self { parts, scripts }
    }

    async fn outcome(&self, key: &str, effect: &Effect) -> Result<Performed, EffectError> {
        match effect {
            Effect::Script(call) => self.scripts.run(&self.parts, key, call).await,
            Effect::Http(request) => http::perform(&self.parts, key, request).await,
            Effect::Send(send) => send::perform(&self.parts, key, send).await,
            Effect::Git(order) => git::perform(&self.parts, key, order).await,
        }
    }
}

impl Parts {
    /// What is taken out of the texts of a team's effects.
    fn veil<'a>(&'a self, team: &'a TeamName) -> Veil<'a> {
        Veil::of(&*self.vault, team)
    }

    fn egress(&self, team: &TeamName) -> Egress {
        Egress::of(team, &self.teams)
    }

    /// The values of secrets that the team is granted.
    fn secrets(&self, team: &TeamName, names: &BTreeSet<SecretName>) -> Result<Secrets, EffectError> {
        if names.is_empty() {
            return Ok(Secrets::default());
        }
        self.vault.values(team, names).map_err(failed)
    }
}

#[async_trait]
impl Effects for Performer {
    async fn perform(&self, started: &StartedEffect, effect: &Effect) -> Result<Performed, EffectError> {
        let veil = self.parts.veil(effect.team());
        let redact = |text: &str, most| text::cut(&veil.redact(text), most);
        match self.outcome(&started.key().0, effect).await {
            Ok(Performed { output, evidence }) => Ok(Performed { output, evidence: redact(&evidence, text::EVIDENCE) }),
            Err(EffectError::Failed { error, evidence }) => Err(EffectError::Failed {
                error: redact(&error, text::ERROR),
                evidence: redact(&evidence, text::EVIDENCE),
            }),
            Err(EffectError::Unknown { error, evidence }) => Err(EffectError::Unknown {
                error: redact(&error, text::ERROR),
                evidence: redact(&evidence, text::EVIDENCE),
            }),
        }
    }
}

fn failed(error: impl Into<String>) -> EffectError {
    EffectError::Failed { error: error.into(), evidence: String::new() }
}

fn unknown(error: impl Into<String>) -> EffectError {
    EffectError::Unknown { error: error.into(), evidence: String::new() }
}
