//! What is latched: it came back too often, and no playbook tries anything on it for now.

use codeops_core::model::{Health, Labels, Name, ResourceId, ResponseMemory, RunId, Subject, TeamName};
use codeops_core::playbook::unlatches_at;
use jiff::Timestamp;
use serde::Serialize;

use crate::web::Web;

/// One latch.
#[derive(Debug, Clone, Serialize)]
pub(in crate::web) struct Latch {
    pub(in crate::web) target: Option<ResourceId>,
    /// Without a target, whose runs are counted.
    pub(in crate::web) playbook: Option<Name>,
    /// And what the alerts that they answer have in common.
    pub(in crate::web) labels: Labels,
    pub(in crate::web) team: Option<TeamName>,
    pub(in crate::web) since: Timestamp,
    /// When it ends if nothing more happens; not before something is better.
    pub(in crate::web) until: Option<Timestamp>,
    /// What ends it, in words.
    pub(in crate::web) ends: String,
}

impl Latch {
    fn of(web: &Web, subject: &Subject, response: &ResponseMemory) -> Option<Self> {
        let since = response.ledger.get(subject)?.latched_at?;
        let (mut target, mut playbook, mut labels, mut team) = (None, None, Labels::new(), None);
        let mut healthy = Some(Timestamp::MIN);
        match subject {
            Subject::Resource(id) => {
                let view = web.board().resources.get(id).cloned();
                healthy = view.as_ref().filter(|view| view.health == Health::Healthy).map(|view| view.since);
                team = view.and_then(|view| view.team.clone());
                target = Some(id.clone());
            }
            Subject::Playbook(name) => playbook = Some(name.clone()),
            Subject::Group { playbook: name, labels: common } => {
                (playbook, labels) = (Some(name.clone()), common.clone());
            }
        }
        let ends = match &target {
            Some(id) => format!(
                "once it has been healthy and nothing of it has fired for an hour, or a commit says `Codeops-Retry: {id}`"
            ),
            None => "once nothing of it has fired for an hour".to_owned(),
        };
        let until = unlatches_at(subject, healthy, response);
        Some(Self { target, playbook, labels, team, since, until, ends })
    }

    /// What is latched.
    pub(in crate::web) fn what(&self) -> String {
        match (&self.target, &self.playbook) {
            (Some(id), _) => id.to_string(),
            (None, Some(playbook)) => format!("what playbook {playbook} answers"),
            (None, None) => "something".to_owned(),
        }
    }

    /// Until when, in words.
    pub(in crate::web) fn until(&self) -> String {
        match self.until {
            Some(at) => format!("until {} if nothing of it fires", at.strftime("%Y-%m-%d %H:%M UTC")),
            None => format!("until it is better: it ends {}", self.ends),
        }
    }
}

/// All that is latched.
pub(in crate::web) fn latches(web: &Web) -> Vec<Latch> {
    web.page
        .journal
        .response(|response| response.ledger.keys().filter_map(|subject| Latch::of(web, subject, response)).collect())
}

/// The latch on a resource.
pub(in crate::web) fn latch_on(web: &Web, id: &ResourceId) -> Option<Latch> {
    web.page.journal.response(|response| Latch::of(web, &Subject::Resource(id.clone()), response))
}

/// The latch on what a run is about that is on, or whose page is out.
pub(in crate::web) fn latch_of(web: &Web, run: RunId) -> Option<Latch> {
    web.page.journal.response(|response| {
        let own = response.runs.get(&run).map(|run| run.subject());
        let of_page = || response.pages.values().find(|page| page.run == Some(run))?.group.as_ref();
        let of_call = || response.calls.values().find(|call| call.run == Some(run))?.group.as_ref();
        let subject = own.or_else(|| of_page().or_else(of_call).map(|group| group.subject()))?;
        Latch::of(web, &subject, response)
    })
}
