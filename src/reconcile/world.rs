//! What the flow knows between two events. Everything here can be lost: after a restart it is observed, fetched and folded
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use codeops_core::desired::{Compiler, Desired, Diagnostic};
use codeops_core::model::{
    AsDeclared, Health, InstanceId, Live, ProviderName, ResourceId, Revision, RevisionState, Scope, Snapshot, Sync,
    TeamName, Why,
};
use codeops_core::plan::{self, Difference};
use codeops_core::policy::{Decision, Hold};
use jiff::{SignedDuration, Timestamp};

use super::Rules;
use super::flaps::{self, Flaps};
use super::repeats::Repeats;
use super::standing::Standing;
use crate::journal::Journal;
use crate::port::{Clock, Observer, ProviderView, ResourceView, SourceView};

/// The longest the flow sleeps without looking at the clock again.
const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);
/// A wait that one `apply` sits out.
const SHORT_WAIT: SignedDuration = SignedDuration::from_secs(10);
/// How long beyond its own times a rollout may show no progress before one `apply` calls it an end.
const STALLED: SignedDuration = SignedDuration::from_secs(120);
/// The age to which a look counts as fresh.
const FRESH: SignedDuration = SignedDuration::from_secs(2);

pub(super) struct World {
    /// What providers last said.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) providers: BTreeMap<ProviderName, Watched>,
    /// The revision in force, loaded.
    pub(super) current: Option<Current>,
    /// With what stands otherwise than it is declared, where there is such.
    pub(super) standing: Option<Standing>,
    /// Lent to the task that loads a revision.
    pub(super) compiler: Option<Compiler>,
    /// A revision to load once the present load is done.
    pub(super) load_next: Option<Revision>,
    pub(super) fetching: bool,
    pub(super) fetch_again: bool,
    /// Set once the first fetch has answered, well or not.
    pub(super) fetched_once: bool,
    pub(super) source: SourceView,
    /// A revision that could not be read, and why.
    pub(super) unread: Option<(Revision, String)>,
    /// Resources with a step under way, or whose last step has not been observed since.
    pub(super) busy: BTreeMap<ResourceId, Busy>,
    /// Resources that were refused at the gate and wait a moment.
    pub(super) cooling: BTreeMap<ResourceId, Timestamp>,
    /// How often in a row a resource was refused or its outcome was lost.
    pub(super) unsettled: BTreeMap<ResourceId, u32>,
    /// Resources whose step waits for what is under way beside it.
    pub(super) under_way: BTreeMap<ResourceId, UnderWay>,
    /// Resources that were hinted at while a step of theirs was under way.
    pub(super) hinted: BTreeSet<ResourceId>,
    /// Steps that took effect and came again.
    pub(super) repeats: Repeats,
    pub(super) status: BTreeMap<ResourceId, Status>,
    pub(super) restarts: BTreeMap<(ResourceId, InstanceId), u32>,
    pub(super) drifting: BTreeSet<ResourceId>,
    pub(super) differences: BTreeMap<ResourceId, Vec<Difference>>,
    pub(super) holds: Vec<Hold>,
    /// What has failed for so long that somebody has to look.
    pub(super) stuck: BTreeSet<ResourceId>,
    /// What changes often, and what of that is still to be told.
    pub(super) flaps: BTreeMap<ResourceId, Flaps>,
    pub(super) views: BTreeMap<ResourceId, Arc<ResourceView>>,
    /// Whether steps go, and when they do at the latest.
    pub(super) acts: bool,
    pub(super) act_at: Option<Timestamp>,
    /// When the last look began.
    pub(super) looked_at: Option<Timestamp>,
    /// Whether the store had accepted no revision when the daemon started.
    pub(super) fresh_store: bool,
    /// The number of the daemon before this one on the store, where that is still known.
    pub(super) daemon_before: Option<u64>,
    /// How resources stood when the daemon before ended, and since when.
    pub(super) stood: BTreeMap<ResourceId, (Sync, Health, Timestamp)>,
    /// The newest key, as (daemon, count), that the store had minted when the daemon started.
    pub(super) newest_key: (u64, u64),
    /// Whether something live carries a newer key of this store.
    pub(super) is_older: bool,
    /// The first tip that the repository gave this daemon.
    pub(super) first_tip: Option<Revision>,
    /// When to pass again though nothing happened.
    pub(super) wake: Option<Timestamp>,
    pub(super) dirty: bool,
    /// When a resource last came further.
    pub(super) moved_at: Timestamp,
    pub(super) passed_once: bool,
    pub(super) pass_micros: u64,
    pub(super) observe_only: Option<String>,
    pub(super) broken: Option<String>,
}

/// One provider and what is under way with it.
pub(super) struct Watched {
    pub(super) view: ProviderView,
    /// Counts observations begun; what a step changed is seen by one begun after it.
    pub(super) begun: u64,
    pub(super) observing: bool,
    pub(super) wanted: Option<Scope>,
    pub(super) failures: u32,
    /// Whether a look after a failed one is pending.
    pub(super) look_due: bool,
    /// When it last told of everything, and of what it told since then, when.
    pub(super) seen_all: Option<Timestamp>,
    pub(super) seen: BTreeMap<ResourceId, Timestamp>,
}

/// A resource whose live state is about to differ from the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Busy {
    /// A step is under way.
    Stepping,
    /// Its step has ended; known again when the provider's observation of this number is in.
    Until(ProviderName, u64),
}

/// What a step waits for that is under way beside it and does well, such as a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnderWay {
    /// Since when.
    pub(super) since: Timestamp,
    /// How far it is.
    pub(super) how: String,
}

/// The revision in force.
pub(super) struct Current {
    pub(super) revision: Revision,
    pub(super) desired: Arc<Desired>,
    /// Resources kept as they were because this revision cannot say what they should be, and why.
    pub(super) kept: BTreeMap<ResourceId, String>,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) subject: String,
    pub(super) author: String,
    /// Whose words these are, as far as its files show.
    pub(super) teams: BTreeSet<TeamName>,
    pub(super) accepted_at: Timestamp,
    pub(super) state: RevisionState,
    /// How often that is told.
    pub(super) flaps: Flaps<RevisionState>,
}

/// A resource's last status and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) sync: Sync,
    pub(super) health: Health,
    pub(super) why: Option<String>,
    pub(super) since: Timestamp,
    pub(super) next_at: Option<Timestamp>,
    /// Whether it has instances and none of them works.
    pub(super) none_serves: bool,
}

impl Current {
    /// What this revision itself declares a resource as.
    pub(super) fn declares(&self, id: &ResourceId) -> Option<AsDeclared> {
        let resource = self.desired.resources.get(id).filter(|_| !self.kept.contains_key(id))?;
        Some(AsDeclared { resource: Arc::clone(resource), revision: self.revision.clone() })
    }
}

impl World {
    pub(super) fn new(rules: &Rules, observers: &BTreeMap<ProviderName, Arc<dyn Observer>>, journal: &Journal) -> Self {
        let unseen = || Err(Why("not observed yet since the daemon started".to_owned()));
        let snapshot = Snapshot { providers: observers.keys().map(|name| (name.clone(), unseen())).collect() };
        Self {
            snapshot: Arc::new(snapshot),
            providers: observers.iter().map(|(name, observer)| (name.clone(), Watched::new(&**observer))).collect(),
            current: None,
            standing: None,
            compiler: Some(Compiler::default()),
            load_next: None,
            fetching: false,
            fetch_again: false,
            fetched_once: false,
            source: SourceView { url: rules.url.clone(), branch: rules.branch.clone(), ..SourceView::default() },
            unread: None,
            busy: BTreeMap::new(),
            cooling: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            under_way: BTreeMap::new(),
            hinted: BTreeSet::new(),
            repeats: Repeats::default(),
            status: BTreeMap::new(),
            restarts: BTreeMap::new(),
            drifting: BTreeSet::new(),
            differences: BTreeMap::new(),
            holds: Vec::new(),
            stuck: BTreeSet::new(),
            flaps: BTreeMap::new(),
            views: BTreeMap::new(),
            acts: false,
            act_at: None,
            looked_at: None,
            fresh_store: journal.memory().read().unwrap_or_else(PoisonError::into_inner).revision.accepted.is_none(),
            daemon_before: None,
            stood: BTreeMap::new(),
            newest_key: (u64::MAX, u64::MAX),
            is_older: false,
            first_tip: None,
            wake: None,
            dirty: false,
            moved_at: Timestamp::MIN,
            passed_once: false,
            pass_micros: 0,
            observe_only: rules.observe.then(|| "`mode: observe` in the settings".to_owned()),
            broken: None,
        }
    }

    /// How long until something is due by itself.
    pub(super) fn wake_after(&self, clock: &dyn Clock) -> Duration {
        let Some(wake) = self.wake else { return LONGEST_SLEEP };
        Duration::try_from(wake.duration_since(clock.now())).unwrap_or(Duration::ZERO).min(LONGEST_SLEEP)
    }

    /// Whether the time that was asked for has come.
    pub(super) fn is_due(&self, clock: &dyn Clock) -> bool {
        self.wake.is_some_and(|wake| wake <= clock.now())
    }

    /// Whether every provider has answered, well or not, since the start.
    pub(super) fn all_answered(&self) -> bool {
        self.providers.values().all(|watched| watched.view.answered_at.is_some() || watched.view.error.is_some())
    }

    /// Whether nothing more happens without a commit or a change from outside.
    pub(super) fn settled(&self) -> bool {
        let quiet = self.busy.is_empty() && !self.fetching && self.compiler.is_some() && !self.dirty;
        let over = self.current.as_ref().is_none_or(|current| current.state != RevisionState::Applying);
        quiet && over && self.fetched_once && self.all_answered() && (self.passed_once || self.current.is_none())
    }

    /// Whether anything is on its way, or goes on by itself some day. What is stuck is not, though it is tried again; and what
    /// waits for others may wait for that.
    pub(super) fn moves(&self, decisions: &BTreeMap<ResourceId, Decision>) -> bool {
        let stuck = &self.stuck;
        let waits = |decision: &Decision| matches!(decision, Decision::Waiting { until: None, .. });
        let waits_for_others = |id: &ResourceId| decisions.get(id).is_some_and(waits);
        // What is held and never came to run is not on its way: only a commit says what becomes of it.
        let waits_for_a_commit = |id: &ResourceId, status: &Status| status.sync == Sync::Held && !self.runs(id);
        let moves = |(id, status): (&ResourceId, &Status)| {
            status.is_on_its_way() && !waits_for_others(id) && !waits_for_a_commit(id, status)
        };
        let others = || self.status.iter().filter(|(id, _)| !stuck.contains(*id));
        let later = |(id, decision): (&ResourceId, &Decision)| {
            matches!(decision, Decision::Waiting { until: Some(_), .. }) && !stuck.contains(id)
        };
        self.fetches(decisions).any(|id| !stuck.contains(id))
            || others().any(moves)
            || decisions.iter().any(later)
            || stuck.is_empty() && decisions.values().any(waits)
    }

    fn runs(&self, id: &ResourceId) -> bool {
        let live = |provider| self.snapshot.live(provider, id);
        self.providers.keys().filter_map(live).any(|live| !live.instances.is_empty())
    }

    /// What may go and waits for nothing but what is under way beside it.
    fn fetches(&self, decisions: &BTreeMap<ResourceId, Decision>) -> impl Iterator<Item = &ResourceId> {
        self.under_way.keys().filter(|id| matches!(decisions.get(*id), Some(Decision::Go) | None))
    }

    /// Whether anything goes on by itself soon: what one `apply` waits for. It does not wait out a freeze, a long backoff,
    /// or something that waits for what does not move either.
    pub(super) fn moves_soon(&self, decisions: &BTreeMap<ResourceId, Decision>, now: Timestamp) -> bool {
        let soon = |at: Timestamp| at.duration_since(now) <= SHORT_WAIT;
        let held_up = |id: &ResourceId| decisions.get(id).filter(|decision| !matches!(decision, Decision::Go));
        let moving = self.status.iter().any(|(id, status)| match held_up(id) {
            Some(Decision::Waiting { until: Some(until), .. }) => soon(*until),
            Some(_) => false,
            None => status.is_on_its_way(),
        });
        let waits = decisions.values().any(|d| matches!(d, Decision::Waiting { until: None, .. }));
        // What waits for a later wave waits for bakes, and a bake shows only as a time to look again.
        let bakes = || self.status.values().any(|s| s.sync == Sync::Synced && s.next_at.is_some_and(|at| at > now));
        (moving || self.fetches(decisions).next().is_some() || waits && bakes())
            && now.duration_since(self.moved_at) <= self.patience()
    }

    /// The longest time in which nothing need happen though all goes well.
    fn patience(&self) -> SignedDuration {
        let specs = self.current.iter().flat_map(|current| current.desired.resources.values()).map(|r| &r.spec);
        let starts = specs.map(|spec| {
            spec.rollout.bake.max(spec.health.as_ref().map(|check| check.start_timeout).unwrap_or_default())
        });
        let ends = self.snapshot.objects().filter_map(|(_, _, live)| live.spec.as_ref()).map(|spec| spec.stop.grace);
        let slowest = starts.chain(ends).max().unwrap_or_default().as_duration();
        STALLED.saturating_add(SignedDuration::try_from(slowest).unwrap_or(SignedDuration::MAX))
    }

    /// Asks for `at` as the latest time of the next pass.
    pub(super) fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

impl Status {
    /// What of it is told anew when it changes.
    pub(super) fn standing(&self) -> flaps::Standing {
        (self.sync, self.health, self.none_serves)
    }

    /// Tells one sick instance from an outage.
    pub(super) fn tell_how_many(&mut self, live: &Live) {
        let (serving, up) = plan::serving(live);
        if self.health != Health::Degraded || up == 0 || serving == up {
            return;
        }
        self.none_serves = serving == 0;
        let many = match serving {
            0 if up == 1 => return,
            0 => format!("none of its {up} instances is healthy"),
            some => format!("{some} of its {up} instances healthy"),
        };
        self.why = Some(self.why.take().map_or_else(|| many.clone(), |why| format!("{many}: {why}")));
    }

    /// Says what keeps from it what it is to have; what is held says so itself.
    pub(super) fn blame(&mut self, taken: String) {
        if self.sync != Sync::Held && self.health != Health::Healthy {
            self.why = Some(taken);
        }
    }

    fn is_on_its_way(&self) -> bool {
        // A time to look again at what is as declared and well is the end of its bake.
        let bakes = self.sync == Sync::Synced && self.next_at.is_some();
        let comes = self.sync == Sync::OutOfSync && self.health != Health::Degraded;
        comes || bakes || self.health == Health::Progressing && self.sync != Sync::Suspended
    }
}

impl Watched {
    fn new(observer: &dyn Observer) -> Self {
        let word = observer.abilities().word;
        Self {
            view: ProviderView { word, system: None, answered_at: None, error: None },
            begun: 0,
            observing: false,
            wanted: None,
            failures: 0,
            look_due: false,
            seen_all: None,
            seen: BTreeMap::new(),
        }
    }

    /// Remembers that all of `scope` was seen now.
    pub(super) fn saw(&mut self, scope: &Scope, now: Timestamp) {
        match scope {
            Scope::All => {
                self.seen_all = Some(now);
                self.seen.clear();
            }
            Scope::Ids(ids) => self.seen.extend(ids.iter().map(|id| (id.clone(), now))),
        }
    }

    /// Whether what is known of `id` is of this very moment.
    pub(super) fn has_just_seen(&self, id: &ResourceId, now: Timestamp) -> bool {
        let seen = self.seen.get(id).copied().or(self.seen_all);
        seen.is_some_and(|at| now.duration_since(at) <= FRESH)
    }

    /// Adds to what the next observation must cover.
    pub(super) fn want(&mut self, scope: Scope) {
        self.wanted = Some(match (self.wanted.take(), scope) {
            (Some(Scope::Ids(mut wanted)), Scope::Ids(more)) => {
                wanted.extend(more);
                Scope::Ids(wanted)
            }
            (None, scope) => scope,
            (Some(Scope::All), _) | (_, Scope::All) => Scope::All,
        });
    }
}
