//! Receivers as the settings declare them, as far as who answers an alert depends on the one that brings it.

use std::collections::{BTreeMap, BTreeSet};

use codeops_core::alert::Routed;
use codeops_core::config::Settings;
use codeops_core::desired::near;
use codeops_core::model::{Name, TeamName};
use codeops_core::playbook::{Answer, World};
use serde_json::Value;

use super::exit::Coded;

/// The receivers of the settings.
pub(super) struct Receivers {
    names: BTreeSet<Name>,
    /// Of those that are not for all: the teams whose things their alerts may reach.
    pub(super) limited: BTreeMap<Name, BTreeSet<TeamName>>,
}

impl Receivers {
    /// Those of these settings; none without.
    pub(super) fn of(settings: Option<&Settings>) -> Self {
        let all = || settings.iter().flat_map(|settings| &settings.receivers);
        Self {
            names: all().map(|(name, _)| name.clone()).collect(),
            limited: all().filter_map(|(name, it)| Some((name.clone(), it.teams.clone()?))).collect(),
        }
    }

    /// The teams that this one is for; none where it is for all, or nobody said which one it is.
    ///
    /// # Errors
    /// There is no such receiver.
    pub(super) fn teams(&self, named: Option<&Name>) -> anyhow::Result<Option<&BTreeSet<TeamName>>> {
        let Some(name) = named else { return Ok(None) };
        if self.names.contains(name) {
            return Ok(self.limited.get(name));
        }
        let names = || self.names.iter().map(Name::as_str);
        let help = match near(name.as_str(), names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.names.is_empty() => "give the daemon's settings with --settings FILE".to_owned(),
            None => format!("they declare {}", names().collect::<Vec<_>>().join(", ")),
        };
        Err(Coded::usage(format!("the settings declare no receiver `{name}`: {help}")))
    }

    /// That who answers is not known, where nobody said by which receiver the alert comes and that makes a difference.
    pub(super) fn unknown(&self, world: &World<'_>, routed: &Routed, seen: &Value) -> Option<String> {
        let answer = |teams| world.answer(routed, seen, teams);
        let told = answer(None);
        let others: Vec<String> = self
            .limited
            .iter()
            .filter_map(|(name, teams)| {
                let other = Some(answer(Some(teams))).filter(|other| *other != told)?;
                Some(format!("by {name} {}", in_words(&other)))
            })
            .collect();
        let others = Some(others.join(", ")).filter(|others| !others.is_empty())?;
        Some(format!("who answers depends on the receiver, and --receiver names none: {others}"))
    }
}

fn in_words(answer: &Answer) -> String {
    let policy = |policy: &Option<Name>| policy.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
    match answer {
        Answer::Runs { playbook, .. } => format!("playbook {} runs", playbook.name),
        Answer::Pages { policy: told, .. } | Answer::Held { policy: told, .. } => {
            format!("only {} is paged", policy(told))
        }
    }
}
