//! Pages: calls to people, each the fold of its own log. When one is sent is decided by [`crate::playbook`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AlertId, AlertMemory, AlertState, Group, Name, Notified, PageId, Revision, RunId};

/// A call to people, durable until a channel has accepted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Its id; channels that deduplicate are given it.
    pub id: PageId,
    /// The run it comes from; none for a storm, a silence, a self-test.
    pub run: Option<RunId>,
    /// Who is told.
    pub policy: Option<Name>,
    /// At most 200 characters.
    pub title: String,
    /// The evidence: steps run, their outputs, what changed since the last healthy revision. At most 32 KiB, redacted.
    pub body: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Sends that were tried: who, how often, when last, and the last error.
    #[serde(with = "pairs")]
    pub tries: BTreeMap<Notified, PageTry>,
    /// Who accepted it, and when.
    pub accepted: Option<(Notified, Timestamp)>,
    /// Why it needs nobody any more, if it was taken back before anyone accepted it.
    pub withdrawn: Option<String>,
    /// The alerts it is about, while it is not over.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub alerts: BTreeSet<AlertId>,
    /// Whether one of them was let go of that nobody has said to be over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// What others have in common with them that it tells of as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// The receiver whose silence it tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<Name>,
    /// The receiver of which it tells that it is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<Name>,
    /// The revision under which nothing is done until a commit, of which it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observes: Option<Revision>,
    /// The scheduled playbook whose run called, or [`SELF_TEST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Name>,
    /// What tells its key from that of another page that has its number in a copy of the store; `None` in an older record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
}

/// The name under which the paging test is scheduled.
pub const SELF_TEST: &str = "codeops-self-test";

/// A map whose keys are no texts, as a list of pairs: JSON has no other place for them.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        Vec::<(K, V)>::deserialize(from).map(|pairs| pairs.into_iter().collect())
    }
}

/// Sends to one of those told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageTry {
    /// How many ended without being accepted.
    pub failures: u32,
    /// When the last one began or ended.
    pub at: Timestamp,
    /// The last error, redacted.
    pub error: Option<String>,
    /// The receivers it came to: whose turn it was, of those on call. Older records do not say.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub receivers: BTreeSet<Name>,
    /// Those of them that said no when they were last told.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refused: BTreeSet<Name>,
    /// Those of whom it is not known how an earlier one ended: they may have the page, whatever they say later.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub may_have: BTreeSet<Name>,
}

/// An accepted page whose alerts are not over yet: whoever was told of it is told of its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The run it comes from; none for a storm.
    pub run: Option<RunId>,
    /// By which it was told.
    pub policy: Option<Name>,
    /// In one line.
    pub title: String,
    /// Whom it was sent to, where it is not known to which receiver that led.
    pub told: BTreeSet<Notified>,
    /// The receivers it was sent to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub receivers: BTreeSet<Name>,
    /// Those of them that may have it, whatever they said of it later.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub may_have: BTreeSet<Name>,
    /// What it is about.
    pub alerts: BTreeSet<AlertId>,
    /// What others have in common with them that it tells of as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// The receiver whose silence it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<Name>,
    /// The receiver that it says is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<Name>,
    /// The revision under which nothing is done until a commit, of which it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observes: Option<Revision>,
    /// The scheduled playbook whose run called, or [`SELF_TEST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Name>,
    /// When it was opened. `None` in an older store: long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
    /// Whether one of its alerts was let go of that nobody has said to be over. `None` in an older store, whose calls forget
    /// those that are over: one that is not remembered is such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<bool>,
    /// What tells its key from that of another page that has its number in a copy of the store; `None` in an older record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// How far its end has been told; `None` where that was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
}

/// How far the end of a page has been told, from just before the first try on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Tries after which somebody did not know.
    pub tries: u32,
    /// When the last of them ended.
    pub at: Timestamp,
    /// Who knows: once is enough.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub knows: BTreeSet<Name>,
}

impl Call {
    /// Who did not accept the page has nothing to be told the end of.
    pub fn refused_by(&mut self, receiver: &Name) {
        if !self.may_have.contains(receiver) {
            self.receivers.remove(receiver);
        }
    }

    /// Its end is about to be told: what comes back from now on calls anew.
    pub fn ends(&mut self, at: Timestamp) -> &mut Ending {
        self.ending.get_or_insert_with(|| Ending { tries: 0, at, knows: BTreeSet::new() })
    }

    /// Takes in how a try to tell of its end went: who knows now, and who does not. Of nobody, it goes on, and all are told anew.
    pub fn told(&mut self, at: Timestamp, knows: &[Name], untold: &[Name]) {
        if knows.is_empty() && untold.is_empty() {
            return self.ending = None;
        }
        let ending = self.ends(at);
        ending.knows.extend(knows.iter().cloned());
        if !untold.is_empty() {
            (ending.tries, ending.at) = (ending.tries.saturating_add(1), at);
        }
    }
}

/// What a page begins with. Of `silent`, `full`, `observes` and `schedule` it has one at most: what it is about where no alerts are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageOpened {
    /// The run it comes from.
    pub run: Option<RunId>,
    /// Who is told.
    pub policy: Option<Name>,
    /// In one line.
    pub title: String,
    /// The evidence.
    pub body: String,
    /// What it is about, where that is not what its run answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<AlertId>,
    /// The receiver whose silence it tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<Name>,
    /// The receiver of which it tells that it is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<Name>,
    /// The revision under which nothing is done until a commit, where it tells of that, or of alerts because of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observes: Option<Revision>,
    /// What is scheduled and called, where that is no run's playbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Name>,
    /// What tells its key from that of another page that has its number in a copy of the store; `None` in an older record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
}

/// One thing that happened to a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum PageEvent {
    /// It was opened.
    Opened(PageOpened),
    /// More alerts came that it tells of: nobody is called again for them.
    Joined {
        /// The alerts.
        alerts: Vec<AlertId>,
    },
    /// A send is about to be made.
    Begun {
        /// To whom.
        notified: Notified,
        /// The receiver that is. Older records do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receiver: Option<Name>,
        /// Whether it tells of its end. Older records do not say.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        over: bool,
    },
    /// A send was not accepted; it is tried again.
    Failed {
        /// To whom.
        notified: Notified,
        /// Why, redacted.
        error: String,
        /// The receiver that said no. Where that is not known, it may have arrived; older records do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Name>,
    },
    /// A channel accepted it.
    Accepted {
        /// To whom.
        notified: Notified,
    },
    /// It needs nobody any more.
    Withdrawn {
        /// Why.
        why: String,
    },
    /// A try to tell of its end. Both empty: it goes on, and its end will be told anew; or such a try is about to be made.
    Told {
        /// Who knows now.
        knows: Vec<Name>,
        /// Who does not.
        untold: Vec<Name>,
        /// Whether it is about to be made. Older records do not say.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        begins: bool,
    },
    /// It was accepted, and nothing more is to be told of it.
    Closed {
        /// Why.
        why: String,
    },
}

impl Page {
    /// A page from the first event of its log.
    pub fn open(id: PageId, at: Timestamp, event: &PageEvent) -> Option<Self> {
        let PageEvent::Opened(PageOpened { run, policy, title, body, alerts, silent, full, observes, schedule, mark }) =
            event.clone()
        else {
            return None;
        };
        Some(Self {
            id,
            run,
            policy,
            title,
            body,
            opened_at: at,
            tries: BTreeMap::new(),
            accepted: None,
            withdrawn: None,
            alerts: alerts.into_iter().collect(),
            lost: false,
            group: None,
            silent,
            full,
            observes,
            schedule,
            mark,
        })
    }

    /// Takes in one event of its log.
    pub fn take(&mut self, at: Timestamp, event: &PageEvent) {
        let (notified, receiver, failed) = match event {
            PageEvent::Opened(_) | PageEvent::Told { .. } | PageEvent::Closed { .. } => return,
            PageEvent::Withdrawn { why } => return self.withdrawn = Some(why.clone()),
            PageEvent::Accepted { notified } => return self.accepted = Some((notified.clone(), at)),
            PageEvent::Joined { alerts } => return self.alerts.extend(alerts.iter().cloned()),
            PageEvent::Begun { notified, receiver, .. } => (notified, receiver.clone(), None),
            PageEvent::Failed { notified, error, refused } => (notified, None, Some((error, refused))),
        };
        let (receivers, refused, may_have) = Default::default();
        let new = PageTry { failures: 0, at, error: None, receivers, refused, may_have };
        let before = self.tries.entry(notified.clone()).or_insert(new);
        before.at = at;
        if let Some(receiver) = receiver {
            // Until it says no again. Where it did not, nobody knows how the one before ended.
            let said_no = before.refused.remove(&receiver);
            if !before.receivers.insert(receiver.clone()) && !said_no {
                before.may_have.insert(receiver);
            }
        }
        if let Some((error, refused)) = failed {
            before.failures += 1;
            before.error = Some(error.clone());
            before.refused.extend(refused.clone());
        }
    }

    /// Its end, once it is accepted: its alerts, which receiver is silent or full, or what was scheduled, go over to what is left to be told. Of a page about none,
    /// that is nothing. `lost` says whether nothing is known of one of them any more.
    pub fn call(&mut self, lost: impl Fn(&AlertId) -> bool) -> Option<Call> {
        let (alerts, group) = (std::mem::take(&mut self.alerts), self.group.take());
        let about = [&self.silent, &self.full, &self.schedule].into_iter().any(Option::is_some);
        // What tells of alerts is over with those.
        let observes = self.observes.clone().filter(|_| alerts.is_empty());
        let about = about || observes.is_some();
        if self.accepted.is_none() || (alerts.is_empty() && !about) {
            return None;
        }
        let unknown = self.tries.iter().filter(|(_, tried)| tried.receivers.is_empty());
        let told = unknown.map(|(notified, _)| notified.clone()).collect();
        let may_have: BTreeSet<Name> = self.tries.values().flat_map(|tried| tried.may_have.clone()).collect();
        // Who said no each time has no page whose end could be told.
        let said_no = |tried: &PageTry, it: &Name| tried.refused.contains(it) && !may_have.contains(it);
        let reached =
            |tried: &PageTry| tried.receivers.iter().filter(|it| !said_no(tried, it)).cloned().collect::<Vec<_>>();
        let receivers = self.tries.values().flat_map(reached).collect();
        let (policy, title, lost) = (self.policy.clone(), self.title.clone(), Some(alerts.iter().any(lost)));
        let opened_at = Some(self.opened_at);
        let (silent, full, schedule) = (self.silent.clone(), self.full.clone(), self.schedule.clone());
        let (run, mark, ending) = (self.run, self.mark.clone(), None);
        Some(Call {
            run,
            policy,
            title,
            told,
            receivers,
            may_have,
            alerts,
            group,
            silent,
            full,
            observes,
            schedule,
            opened_at,
            lost,
            mark,
            ending,
        })
    }

    /// Whether all its alerts are over, as their sources say. One that is not remembered any more was, unless it is `lost`.
    pub fn is_about_what_is_over(&self, alerts: &BTreeMap<AlertId, Arc<AlertMemory>>) -> bool {
        let over = |id: &AlertId| alerts.get(id).is_none_or(|alert| alert.state == AlertState::Resolved);
        !self.lost && !self.alerts.is_empty() && self.alerts.iter().all(over)
    }

    /// Whether it only tries whether paging works.
    pub fn is_test(&self) -> bool {
        self.schedule.as_ref().is_some_and(|name| name.as_str() == SELF_TEST)
    }

    /// Whether nothing more is sent.
    pub fn is_over(&self) -> bool {
        self.accepted.is_some() || self.withdrawn.is_some()
    }
}
