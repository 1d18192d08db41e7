//! What holds a run beside a freeze: what people keep still, and what it waits for because that goes on by itself.

use codeops_core::alert;
use codeops_core::model::{AlertState, Memory, Period, ResourceMemory, ResponseMemory, RevisionState, Run, RunCause};
use codeops_core::plan::{Effective, effective};
use codeops_core::playbook::{Hold, SUSPENDED, ahead};
use jiff::Timestamp;

use super::Flow;

/// How long what a revision is just bringing may be out of sight.
const UNSEEN: Period = Period::from_secs(120);

impl Flow {
    /// Why people keep still what it is about: its target is suspended, or all that fires is in maintenance.
    pub(super) fn kept_still(&self, run: &Run, response: &ResponseMemory, now: Timestamp) -> Option<Hold> {
        if let Some(target) = &run.target
            && self.declared(target).is_some_and(|declared| declared.spec.suspend)
        {
            return Some(Hold::Suspended(format!("{target} {SUSPENDED}")));
        }
        let known = run.alerts.iter().filter_map(|id| response.alerts.get(id));
        let fires = known.filter(|alert| alert.state != AlertState::Resolved);
        let mut whys = fires.map(|it| {
            let labels = &it.alert.labels;
            let receiver = self.tools.rules.receivers.get(&it.alert.receiver);
            alert::maintained(&self.router, labels, alert::hushed_by(self.router.whose().owner(labels), receiver), now)
        });
        let first = whys.next()??;
        whys.all(|why| why.is_some()).then_some(Hold::Still(first))
    }

    /// The run before it, whose end it waits for. One that another called is a part of that.
    pub(super) fn waits_for_turn(&self, run: &Run, memory: &Memory, now: Timestamp) -> Option<Hold> {
        if let RunCause::Call { .. } = run.cause {
            return None;
        }
        let still = |run: &Run| self.kept_still(run, &memory.response, now).is_some();
        let other = ahead(run, &memory.response, &still)?;
        let on = other.target.as_ref().map(|target| format!(" on {target}")).unwrap_or_default();
        Some(Hold::Queued(format!("run {}{on} is ahead of it", other.id)))
    }

    /// A commit outranks a run: while its target goes from one version to the next, it waits, though no longer than its
    /// steps may take, since a version may hang on its way.
    pub(super) fn changing(&self, run: &Run, memory: &Memory, now: Timestamp) -> Option<String> {
        let target = run.target.as_ref()?;
        let revision = self.board.revision.as_ref().filter(|it| it.state == RevisionState::Applying)?;
        if run.playbook.limits.timeout.ends(run.opened_at.max(revision.accepted_at), now) <= now {
            return None;
        }
        let declared = self.declared(target)?;
        let nothing = ResourceMemory::default();
        let remembered = memory.resources.get(target).unwrap_or(&nothing);
        if let Effective::RolledBack { .. } = effective(declared, Some(remembered)) {
            return None;
        }
        let Some(live) = self.live(declared, Some(remembered)) else {
            // It is just being made, or was not looked at yet: nobody is called for that at once.
            let seen_by = UNSEEN.ends(run.opened_at.max(revision.accepted_at), now);
            let why = || format!("{target} is not there yet: revision {} is on its way", revision.id.short());
            return (now < seen_by).then(why);
        };
        let before = live.instances.iter().any(|instance| instance.template != declared.template_digest);
        before.then(|| format!("{target} is on its way to revision {}", revision.id.short()))
    }
}
