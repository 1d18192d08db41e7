//! Marks: what a playbook's action comes to. A mark changes nothing live by itself; it is remembered, and the ordinary flow acts on
//! it step by step. It is judged here, in the same turns as steps, because both spend one budget.

use std::sync::{Arc, PoisonError};

use codeops_core::model::{Action, ResourceId, Verb};
use codeops_core::policy;
use tokio::sync::oneshot;

use super::{Gate, Passage, Picture, Turns};
use crate::journal::Record;

/// What is to be remembered of one resource, in one transaction.
#[derive(Debug)]
pub struct Mark {
    /// The resource.
    pub resource: ResourceId,
    /// The records.
    pub records: Vec<Record>,
    /// The action that takes away something that works for a while, if it does: that counts against the blast radius.
    pub disturbs: Option<Action>,
}

pub(super) struct MarkAsk {
    mark: Mark,
    picture: Arc<Picture>,
    answer: oneshot::Sender<Passage>,
}

impl Gate {
    /// Takes a mark through the gate: judged, counted and written down in one turn.
    pub async fn mark(&self, mark: Mark, picture: Arc<Picture>) -> Passage {
        let (answer, settled) = oneshot::channel();
        if self.asks.send(super::Ask::Mark(Box::new(MarkAsk { mark, picture, answer }))).await.is_err() {
            return Passage::Closed("the gate is closed".to_owned());
        }
        settled.await.unwrap_or_else(|_| Passage::Closed("the gate is closed".to_owned()))
    }
}

impl Turns {
    pub(super) async fn mark(&mut self, ask: MarkAsk) {
        let MarkAsk { mark, picture, answer } = ask;
        if let Err(why) = self.judge_mark(&mark, &picture) {
            let _ = answer.send(Passage::Refused(why));
            return;
        }
        let mut records = mark.records;
        if mark.disturbs.is_some() {
            let team = picture.desired.resources.get(&mark.resource).map(|resource| resource.team.clone());
            records.push(Record::Removal { verb: Verb::Replace, resource: mark.resource, hold: None, team });
        }
        let passage = match self.parts.journal.record(records).await {
            Ok(_) => Passage::Applied,
            Err(error) => Passage::Closed(error.to_string()),
        };
        let _ = answer.send(passage);
    }

    fn judge_mark(&self, mark: &Mark, picture: &Picture) -> Result<(), String> {
        let memory = self.parts.journal.memory();
        let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
        policy::permit_mark(&mark.resource, mark.disturbs, &picture.desired, &self.facts(picture, &memory))
    }
}
