//! One resource's steps on their way through the gate, one after the other; the first that does not take effect stops the
//! rest, and the next pass looks again.

use std::collections::BTreeSet;
use std::sync::Arc;

use codeops_core::model::Op;

use super::Flow;
use super::events::Event;
use super::pass::Work;
use crate::gate::{Passage, Picture};

impl Flow {
    pub(super) fn step(&mut self, work: Work, picture: Arc<Picture>) {
        let (gate, sender) = (self.tools.gate.clone(), self.sender.clone());
        self.tasks.spawn(async move {
            let Work { id, steps, mut removing, stands: _ } = work;
            let touched: BTreeSet<_> = steps.iter().filter_map(|step| step.op.former()).cloned().collect();
            let mut passage = Passage::Applied;
            let (mut provider, mut did) = (None, Vec::new());
            for step in steps {
                provider = Some(step.provider.clone());
                let counted = takes_away(&step.op).then(|| removing.take()).flatten();
                let what = (step.op.word(), step.op.subject());
                passage = gate.pass(step, Arc::clone(&picture), counted).await;
                if passage != Passage::Applied {
                    break;
                }
                did.push(what);
            }
            if let Some(provider) = provider {
                let _ = sender.send(Event::Stepped { id, provider, touched, did, passage }).await;
            }
        });
    }
}

/// Whether this op is the one that carries out a removal.
fn takes_away(op: &Op) -> bool {
    match op {
        Op::Delete { .. } => true,
        Op::Configure { desired } => desired.spec.replicas == 0,
        _ => false,
    }
}
