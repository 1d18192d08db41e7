//! A provider in memory that does what it is told, fails when it is told, and counts: the live system of tests and benches.
//!
//! It keeps every promise of the ports, so the conformance suite holds it to them like any other provider.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use codeops::journal::Started;
use codeops::port::{
    Abilities, Actuator, Applied, ApplyError, Clock, Hint, LogLine, LogQuery, LogStream, Observer, Secrets, Stat,
    Unreachable,
};
use codeops_core::model::{
    AppSpec, Digest, FieldDrift, Instance, InstanceHealth, InstanceId, InstanceState, Key, Kind, Listing, Live, Op,
    Period, Probe, Resource, ResourceId, Scope, Stamp, SystemId, Why,
};
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, unfold};
use jiff::Timestamp;
use tokio::sync::broadcast;

const ABILITIES: Abilities =
    Abilities { word: "memory", kinds: &[Kind::App], commands: true, images: true, host_ports: false };

/// How the next call of `apply` fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is done: not now.
    Retry,
    /// Nothing is done yet: something that it needs is under way.
    UnderWay,
    /// Nothing is done: not like this.
    Reject,
    /// Nothing is done: not as things are.
    Barred,
    /// Nothing is done, and the caller is not told so.
    LostBefore,
    /// It is done, and the caller is not told so.
    LostAfter,
}

/// How instances of a template fare, by the clock. Healthy at once when nothing is scripted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// Healthy this long after the start.
    HealthyAfter(Period),
    /// Starting for this long, then unhealthy for good.
    UnhealthyAfter(Period),
    /// Healthy for this long, then unhealthy.
    HealthyFor(Period),
    /// Unhealthy until so long after the start.
    UnhealthyUntil(Period),
    /// It ends again and again.
    CrashLoop,
    /// Starting for ever.
    Starting,
}

/// See the module.
pub(crate) struct MemoryProvider {
    clock: Arc<dyn Clock>,
    hints: broadcast::Sender<Hint>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    system: Option<SystemId>,
    objects: BTreeMap<ResourceId, Live>,
    mute: BTreeMap<ResourceId, String>,
    unreachable: Option<String>,
    lists_nothing: bool,
    restless: bool,
    lingers: bool,
    answers_after: Duration,
    faults: VecDeque<Fault>,
    faults_of: BTreeMap<&'static str, Fault>,
    stubborn: BTreeMap<ResourceId, FieldDrift>,
    scripts: BTreeMap<Digest, Script>,
    sick: BTreeSet<InstanceId>,
    /// When what judges an object's instances last changed under them.
    judged: BTreeMap<ResourceId, Timestamp>,
    /// Templates whose release command fails.
    barren: BTreeSet<Digest>,
    /// What each key did, once.
    results: BTreeMap<Key, Result<Applied, ApplyError>>,
    effects: BTreeMap<Key, usize>,
    applied: Vec<(ResourceId, String)>,
    secrets: BTreeMap<Key, Vec<String>>,
    observed: usize,
    observed_whole: usize,
    highest_epoch: u64,
    logs: BTreeMap<ResourceId, Vec<LogLine>>,
    /// What apps wrote, also where they no longer live.
    written: BTreeMap<ResourceId, String>,
}

impl MemoryProvider {
    /// An empty one that answers.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let state = State { system: Some(SystemId("memory:1".to_owned())), ..State::default() };
        Arc::new(Self { clock, hints: broadcast::channel(1_024).0, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An app writes what outlives its instances.
    pub(crate) fn write(&self, id: &ResourceId, text: &str) {
        self.state().written.insert(id.clone(), text.to_owned());
    }

    /// What an app finds of what it wrote.
    pub(crate) fn written(&self, id: &ResourceId) -> Option<String> {
        let state = self.state();
        state.objects.contains_key(id).then(|| state.written.get(id).cloned()).flatten()
    }

    /// Hints that something of it may have changed, as at the end of what is under way.
    pub(crate) fn changed(&self, id: &ResourceId) {
        let _ = self.hints.send(Hint::Changed(id.clone()));
    }

    /// Says that this befell an object.
    pub(crate) fn befall(&self, id: &ResourceId, what: &str) {
        let _ = self.hints.send(Hint::Befell(id.clone(), what.to_owned()));
    }

    /// The next call of `apply` that would do something fails so; calls queue up.
    pub(crate) fn fail_next(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// The next call of `apply` with an op of this word fails so.
    pub(crate) fn fail_next_of(&self, word: &'static str, fault: Fault) {
        self.state().faults_of.insert(word, fault);
    }

    /// From now on nothing is answered, or, with `None`, everything again.
    pub(crate) fn set_unreachable(&self, why: Option<&str>) {
        self.state().unreachable = why.map(str::to_owned);
    }

    /// From now on it answers for what is asked for by id alone, and not for everything; or for all again.
    pub(crate) fn set_lists_nothing(&self, is: bool) {
        self.state().lists_nothing = is;
    }

    /// From now on every look finds each instance restarted once more, and asks for another look; or no longer.
    pub(crate) fn set_restless(&self, is: bool) {
        self.state().restless = is;
        let _ = self.hints.send(Hint::Lost);
    }

    /// From now on each step's answer comes this long after its effect, and its hints at once.
    pub(crate) fn set_answers_after(&self, wait: Duration) {
        self.state().answers_after = wait;
    }

    /// From now on what is deleted ends its instances by itself, until [`MemoryProvider::remove`] says that it is gone.
    pub(crate) fn set_lingers(&self) {
        self.state().lingers = true;
    }

    /// From now on this object alone is not answered for, or, with `None`, again.
    pub(crate) fn mute(&self, id: &ResourceId, why: Option<&str>) {
        let mut state = self.state();
        match why {
            Some(why) => state.mute.insert(id.clone(), why.to_owned()),
            None => state.mute.remove(id),
        };
    }

    /// It is another system from now on.
    pub(crate) fn set_system(&self, system: &str) {
        self.state().system = Some(SystemId(system.to_owned()));
    }

    /// How instances of `template` fare, also those that live.
    pub(crate) fn set_health(&self, template: &Digest, script: Script) {
        self.state().scripts.insert(template.clone(), script);
        let _ = self.hints.send(Hint::Lost);
    }

    /// From now on one instance fails its check, or passes it again.
    pub(crate) fn set_sick(&self, id: &ResourceId, instance: &InstanceId, is_sick: bool) {
        let mut state = self.state();
        if is_sick {
            state.sick.insert(instance.clone())
        } else {
            state.sick.remove(instance)
        };
        drop(state);
        self.changed(id);
    }

    /// The release command of `template` runs and fails.
    pub(crate) fn fail_release(&self, template: &Digest) {
        self.state().barren.insert(template.clone());
    }

    /// Takes an instance away behind codeops's back.
    pub(crate) fn kill(&self, id: &ResourceId, instance: &InstanceId) {
        self.edit(id, |live| live.instances.retain(|i| i.id != *instance));
    }

    /// Changes an object behind codeops's back.
    pub(crate) fn edit(&self, id: &ResourceId, edit: impl FnOnce(&mut Live)) {
        if let Some(live) = self.state().objects.get_mut(id) {
            edit(live);
        }
        self.changed(id);
    }

    /// Makes a field of an object differ from what was applied; `Configure` mends it.
    pub(crate) fn drift(&self, id: &ResourceId, field: &str) {
        let drift = FieldDrift {
            field: field.to_owned(),
            expected: "declared".into(),
            found: "edited by hand".into(),
            waits: None,
        };
        self.edit(id, |live| live.drift.push(drift));
    }

    /// The same, but `Configure` takes effect and the field is off again at once.
    pub(crate) fn drift_for_good(&self, id: &ResourceId, field: &str) {
        self.drift(id, field);
        let drift = self.live(id).and_then(|live| live.drift.last().cloned());
        self.state().stubborn.extend(drift.map(|drift| (id.clone(), drift)));
    }

    /// Puts an object there that carries no stamp.
    pub(crate) fn put_foreign(&self, id: &ResourceId) {
        self.put(id, empty());
    }

    /// Puts an object there as it is given.
    pub(crate) fn put(&self, id: &ResourceId, live: Live) {
        self.state().objects.insert(id.clone(), live);
        self.changed(id);
    }

    /// Removes an object behind codeops's back.
    pub(crate) fn remove(&self, id: &ResourceId) {
        self.state().objects.remove(id);
        self.changed(id);
    }

    /// An object as it is, without a look at the clock.
    pub(crate) fn live(&self, id: &ResourceId) -> Option<Live> {
        self.state().objects.get(id).cloned()
    }

    /// How often each key had an effect: 1, or something is wrong.
    pub(crate) fn effects(&self) -> BTreeMap<Key, usize> {
        self.state().effects.clone()
    }

    /// What had an effect, oldest first: the resource and the op's word.
    pub(crate) fn applied(&self) -> Vec<(ResourceId, String)> {
        self.state().applied.clone()
    }

    /// The names of the secrets that came with each key.
    pub(crate) fn secrets(&self) -> BTreeMap<Key, Vec<String>> {
        self.state().secrets.clone()
    }

    /// How often it was observed.
    pub(crate) fn observed(&self) -> usize {
        self.state().observed
    }

    /// How often it was asked for everything.
    pub(crate) fn observed_whole(&self) -> usize {
        self.state().observed_whole
    }
}

fn empty() -> Live {
    Live {
        stamp: None,
        spec: None,
        drift: Vec::new(),
        released: None,
        leaves: false,
        renews: Vec::new(),
        instances: Vec::new(),
        address: None,
        notes: Vec::new(),
    }
}

#[async_trait]
impl Observer for MemoryProvider {
    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    async fn observe(&self, scope: &Scope) -> Result<Listing, Unreachable> {
        let mut state = self.state();
        state.observed += 1;
        state.observed_whole += usize::from(*scope == Scope::All);
        if let Some(why) = &state.unreachable {
            return Err(Unreachable(why.clone()));
        }
        if state.lists_nothing && *scope == Scope::All {
            return Err(Unreachable("told to list nothing".to_owned()));
        }
        if state.restless {
            let instances = state.objects.values_mut().flat_map(|live| &mut live.instances);
            instances.for_each(|instance| instance.restarts += 1);
            let ids: Vec<ResourceId> = state.objects.keys().filter(|id| scope.covers(id)).cloned().collect();
            ids.iter().for_each(|id| self.changed(id));
        }
        let at = self.clock.now();
        let seen = |id: &&ResourceId| scope.covers(id) && !state.mute.contains_key(id);
        let objects = state
            .objects
            .iter()
            .filter(|(id, _)| seen(id))
            .map(|(id, live)| {
                let mut live = live.clone();
                live.instances.iter_mut().for_each(|i| fare(i, state.scripts.get(&i.template).copied(), at));
                let sick = live.instances.iter_mut().filter(|instance| state.sick.contains(&instance.id));
                sick.for_each(|instance| instance.fail("GET / answered 503".to_owned(), true, at));
                if let Some(judged) = state.judged.get(id) {
                    let wrong = live.spec.as_ref().is_some_and(is_wrong);
                    live.instances.iter_mut().for_each(|instance| judge(instance, wrong, *judged, at));
                }
                (id.clone(), live)
            })
            .collect();
        let unknown = state
            .mute
            .iter()
            .filter(|(id, _)| scope.covers(id))
            .map(|(id, why)| (id.clone(), Why(why.clone())))
            .collect();
        let system = state.system.clone().unwrap_or_else(|| SystemId("memory".to_owned()));
        Ok(Listing { system, at, scope: scope.clone(), epoch: state.highest_epoch, objects, unknown })
    }

    fn hints(&self) -> BoxStream<'static, Hint> {
        unfold(self.hints.subscribe(), |mut hints| async move {
            match hints.recv().await {
                Ok(hint) => Some((hint, hints)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((Hint::Lost, hints)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
        .boxed()
    }

    async fn logs(&self, id: &ResourceId, query: LogQuery) -> Result<LogStream, Unreachable> {
        let state = self.state();
        let lines = state.logs.get(id).ok_or_else(|| Unreachable(format!("{id} is not there")))?;
        let wanted: Vec<LogLine> =
            lines.iter().filter(|l| query.instance.as_ref().is_none_or(|i| *i == l.instance)).cloned().collect();
        let skip = wanted.len().saturating_sub(query.tail);
        Ok(futures_util::stream::iter(wanted.into_iter().skip(skip)).boxed())
    }

    async fn stats(&self, scope: &Scope) -> Result<Vec<Stat>, Unreachable> {
        let state = self.state();
        let at = self.clock.now();
        let objects = state.objects.iter().filter(|(id, _)| scope.covers(id));
        Ok(objects
            .flat_map(|(id, live)| {
                live.instances.iter().map(move |instance| Stat {
                    id: id.clone(),
                    instance: instance.id.clone(),
                    at,
                    cpu_micros: 1_000,
                    memory_bytes: 1 << 20,
                    requests: Some(0),
                })
            })
            .collect())
    }
}

/// Sets an instance's health to what the script and the clock say.
fn fare(instance: &mut Instance, script: Option<Script>, now: Timestamp) {
    let since = |period: Period| {
        let at = period.after(instance.created_at);
        (at <= now).then_some(at)
    };
    let created = instance.created_at;
    let (health, at) = match script {
        None => (InstanceHealth::Healthy, created),
        Some(Script::Starting) => (InstanceHealth::Starting, created),
        Some(Script::CrashLoop) => (InstanceHealth::CrashLoop, created),
        Some(Script::HealthyAfter(period)) => {
            since(period).map_or((InstanceHealth::Starting, created), |at| (InstanceHealth::Healthy, at))
        }
        Some(Script::UnhealthyAfter(period)) => {
            since(period).map_or((InstanceHealth::Starting, created), |at| (InstanceHealth::Unhealthy, at))
        }
        Some(Script::UnhealthyUntil(period)) => {
            since(period).map_or((InstanceHealth::Unhealthy, created), |at| (InstanceHealth::Healthy, at))
        }
        Some(Script::HealthyFor(period)) => {
            since(period).map_or((InstanceHealth::Healthy, created), |at| (InstanceHealth::Unhealthy, at))
        }
    };
    instance.health = health;
    instance.health_since = at;
    if health == InstanceHealth::CrashLoop {
        instance.state = InstanceState::Backoff;
    }
    instance.why =
        matches!(health, InstanceHealth::Unhealthy | InstanceHealth::CrashLoop).then(|| "scripted to fail".to_owned());
}

/// Whether no instance passes its check.
fn is_wrong(spec: &AppSpec) -> bool {
    spec.health.as_ref().is_some_and(|check| matches!(&check.probe, Probe::Http(path) if path.starts_with("/wrong")))
}

/// What a check that changed at `judged` has found out by now of an instance that was there.
fn judge(instance: &mut Instance, wrong: bool, judged: Timestamp, now: Timestamp) {
    if instance.created_at > judged || instance.health != InstanceHealth::Healthy {
        return;
    }
    let told = Period::from_secs(6).after(judged);
    (instance.health, instance.health_since, instance.on_trial) = match wrong {
        false => (InstanceHealth::Healthy, instance.health_since.max(judged), false),
        true if now < told => (InstanceHealth::Starting, judged, true),
        true => (InstanceHealth::Unhealthy, told, true),
    };
    instance.why = (instance.health == InstanceHealth::Unhealthy).then(|| "it answered 404".to_owned());
}

#[async_trait]
impl Actuator for MemoryProvider {
    async fn apply(&self, started: &Started, secrets: &Secrets) -> Result<Applied, ApplyError> {
        let id = &started.step().resource;
        let result = self.do_once(started, secrets);
        if matches!(result, Err(ApplyError::UnderWay(_))) {
            return result;
        }
        self.changed(id);
        if let Op::Rename { from, .. } = &started.step().op {
            self.changed(from);
        }
        let wait = self.state().answers_after;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        result
    }
}

impl MemoryProvider {
    fn do_once(&self, started: &Started, secrets: &Secrets) -> Result<Applied, ApplyError> {
        let now = self.clock.now();
        let mut state = self.state();
        if let Some(why) = &state.unreachable {
            return Err(ApplyError::Retry(why.clone()));
        }
        let from = match &started.step().op {
            Op::Rename { from, .. } => Some(from),
            _ => None,
        };
        if let Some(why) = [&started.step().resource].into_iter().chain(from).find_map(|id| state.mute.get(id)) {
            return Err(ApplyError::Retry(why.clone()));
        }
        if started.epoch() < state.highest_epoch {
            return Err(ApplyError::Barred("a newer daemon has been here".to_owned()));
        }
        state.highest_epoch = started.epoch();
        if let Some(result) = state.results.get(started.key()) {
            return result.clone();
        }
        let of_word = state.faults_of.remove(started.step().op.word());
        let fault = of_word.or_else(|| state.faults.pop_front());
        match fault {
            Some(Fault::Retry) => return Err(ApplyError::Retry("told to fail for now".to_owned())),
            Some(Fault::UnderWay) => return Err(ApplyError::UnderWay("fetching it: 57 %".to_owned())),
            Some(Fault::Reject) => return Err(ApplyError::Reject("told to refuse".to_owned())),
            Some(Fault::Barred) => return Err(ApplyError::Barred("told to bar it".to_owned())),
            Some(Fault::LostBefore) => return Err(ApplyError::OutcomeUnknown("told to hang up first".to_owned())),
            Some(Fault::LostAfter) | None => {}
        }
        let result = state.apply(started, now);
        let id = &started.step().resource;
        if let (Some(drift), true) =
            (state.stubborn.get(id).cloned(), matches!(started.step().op, Op::Configure { .. }))
            && let Some(live) = state.objects.get_mut(id)
        {
            live.drift = vec![drift];
        }
        // A release command that fails has run all the same.
        if result.is_ok() || matches!(started.step().op, Op::Release { .. }) {
            let key = started.key().clone();
            *state.effects.entry(key.clone()).or_default() += 1;
            state.results.insert(key.clone(), result.clone());
            state.secrets.insert(key, secrets.keys().map(ToString::to_string).collect());
            state.applied.push((started.step().resource.clone(), started.step().op.word().to_owned()));
        }
        if fault == Some(Fault::LostAfter) {
            return Err(ApplyError::OutcomeUnknown("told to hang up after".to_owned()));
        }
        result
    }
}

impl State {
    fn apply(&mut self, started: &Started, now: Timestamp) -> Result<Applied, ApplyError> {
        let step = started.step();
        let gone = || ApplyError::Retry(format!("{} is not there any more", step.resource));
        match &step.op {
            Op::Create { desired } => {
                let there = self.objects.entry(desired.id.clone()).or_insert_with(|| {
                    let mut live = empty();
                    live.stamp = Some(stamp(started, desired));
                    live
                });
                if there.stamp.as_ref().is_none_or(|s| s.owner != step.owner) {
                    return Err(ApplyError::Reject(format!("{} is there and not ours", desired.id)));
                }
                configure(there, started, desired);
            }
            Op::Adopt { desired } | Op::Configure { desired } => {
                let there = self.objects.get_mut(&desired.id).ok_or_else(gone)?;
                if there.spec.as_ref().is_some_and(|spec| !spec.judges_as(&desired.spec)) {
                    self.judged.insert(desired.id.clone(), now);
                }
                configure(there, started, desired);
            }
            Op::Rename { from, ours, desired } => {
                match self.objects.get(from).map(|live| live.stamp.as_ref() == Some(ours.stamp())) {
                    Some(true) => {}
                    Some(false) => return Err(ApplyError::Retry(format!("{from} has changed since it was looked at"))),
                    None => return Err(gone()),
                }
                if let Some(mut live) = self.objects.remove(from) {
                    configure(&mut live, started, desired);
                    self.objects.insert(desired.id.clone(), live);
                }
            }
            Op::Release { desired } => {
                let fails = self.barren.contains(&desired.template_digest);
                let there = self.objects.get_mut(&step.resource).ok_or_else(gone)?;
                if fails {
                    return Err(ApplyError::Reject("scripted to fail".to_owned()));
                }
                there.released = Some(desired.template_digest.clone());
            }
            Op::Start { instance, desired } => {
                let there = self.objects.get_mut(&step.resource).ok_or_else(gone)?;
                if there.instances.iter().any(|i| i.id == *instance) {
                    return Err(ApplyError::Retry(format!("{instance} lives already")));
                }
                there.instances.push(new_instance(instance, desired, now));
                there.instances.sort_by(|a, b| a.id.cmp(&b.id));
                let line =
                    LogLine { at: now, instance: instance.clone(), stream: "stdout", line: "started".to_owned() };
                self.logs.entry(step.resource.clone()).or_default().push(line);
            }
            Op::Stop { instance } => {
                if let Some(there) = self.objects.get_mut(&step.resource) {
                    there.instances.retain(|i| i.id != *instance);
                }
            }
            Op::Delete { ours, moved_to } => {
                match self.objects.get(&step.resource).map(|l| l.stamp.as_ref() == Some(ours.stamp())) {
                    Some(true) if self.lingers => {
                        let there = self.objects.get_mut(&step.resource).expect("just seen");
                        there.leaves = true;
                        there.instances.iter_mut().for_each(|it| it.state = InstanceState::Stopping);
                    }
                    Some(true) => {
                        self.objects.remove(&step.resource);
                        self.logs.remove(&step.resource);
                        if moved_to.is_none() {
                            self.written.remove(&step.resource);
                        }
                    }
                    Some(false) => {
                        return Err(ApplyError::Retry(format!("{} has changed since it was looked at", step.resource)));
                    }
                    None => {}
                }
            }
        }
        Ok(Applied::default())
    }
}

fn stamp(started: &Started, desired: &Resource) -> Stamp {
    Stamp {
        owner: started.step().owner.clone(),
        id: desired.id.clone(),
        team: desired.team.clone(),
        spec: desired.spec_digest.clone(),
        template: desired.template_digest.clone(),
        key: started.key().clone(),
    }
}

fn configure(live: &mut Live, started: &Started, desired: &Resource) {
    live.stamp = Some(stamp(started, desired));
    live.spec = Some(desired.spec.clone());
    live.drift.clear();
    live.address = desired.spec.port.map(|port| format!("{}:{}", desired.spec.bind, port.number));
}

fn new_instance(id: &InstanceId, desired: &Resource, now: Timestamp) -> Instance {
    Instance {
        id: id.clone(),
        template: desired.template_digest.clone(),
        state: InstanceState::Running,
        health: InstanceHealth::Starting,
        created_at: now,
        health_since: now,
        on_trial: false,
        started_at: Some(now),
        restarts: 0,
        losses: 0,
        pid: None,
        port: None,
        why: None,
    }
}
