//! Keepers of an earlier version that cannot hand over: they put nothing on trial. What passed the check before they go on
//! calling healthy since then, and a changed check would be through its bake before it was ever asked.

use codeops_core::model::{InstanceHealth, Live, Resource};

use super::{App, View, held};
use crate::keeper::wire::State;

impl App {
    /// Whether `desired` judges instances otherwise than its keeper does now, and that does not see to it.
    pub(in super::super) fn is_judged_unseen(&self, desired: &Resource) -> bool {
        let View::Known(state) = self.view() else { return false };
        let before = state.resource.as_ref().filter(|it| it.template_digest == desired.template_digest);
        !state.trials && before.is_some_and(|before| !before.spec.judges_as(&desired.spec))
    }

    /// Nothing has passed a check for longer than it is asked.
    pub(in super::super) fn judge(&self, state: &State, live: &mut Live) {
        let since = held(&self.record).judged_since.filter(|_| !state.trials);
        let (Some(since), Some(stamp)) = (since, &state.stamp) else { return };
        let passes = live.instances.iter_mut().filter(|it| it.health == InstanceHealth::Healthy);
        for instance in passes.filter(|it| it.template == stamp.template) {
            instance.health_since = instance.health_since.max(since);
        }
    }
}
