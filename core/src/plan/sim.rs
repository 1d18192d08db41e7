//! A pure simulator for tests: live objects that obey steps, a clock that is moved by hand, and a pass like the daemon's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::desired::Desired;
use crate::model::{
    AppSpec, Claims, Digest, Health, Instance, InstanceHealth, InstanceId, InstanceState, Key, LastGood, Listing, Live,
    Memory, Name, Op, Owner, Pin, Place, Probe, ProviderName, Removal, Resource, ResourceId, ResourceMemory, Revision,
    Scope, Snapshot, Stamp, Step, Sync, SystemId, Verb, Why,
};
use crate::plan::{Plan, is_serving, plan};
use crate::policy::{Decision, Facts, Judged, judge, permit};
use crate::rollout::{Finding, Next, Planned, Sight};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn app(text: &str) -> ResourceId {
    ResourceId::app(name(text))
}

pub(crate) fn owner() -> Owner {
    "acme-ops/prod".parse().unwrap()
}

pub(crate) fn revision(n: u8) -> Revision {
    format!("{n:040x}").parse().unwrap()
}

/// A plain app of one instance, then changed, then digested as the compiler would.
pub(crate) fn resource(id: &str, change: impl FnOnce(&mut AppSpec)) -> Arc<Resource> {
    let spec = json!({
        "provider": "local",
        "run": {"command": {"command": ["./app"]}},
        "rollout": {"surge": 1, "unavailable": 0, "bake": "30s"}
    });
    let mut spec: AppSpec = serde_json::from_value(spec).unwrap();
    change(&mut spec);
    digested(Resource {
        id: app(id),
        team: name("payments"),
        spec_digest: Digest::of(&Value::Null),
        template_digest: Digest::of(&Value::Null),
        secret_tags: BTreeMap::new(),
        was: Vec::new(),
        adopt: false,
        place: Place { file: format!("apps/{id}.yaml").into(), line: 1, column: 1 },
        spec,
    })
}

pub(crate) fn digested(mut resource: Resource) -> Arc<Resource> {
    let spec = serde_json::to_value(&resource.spec).unwrap();
    let template = json!([spec["run"], spec["env"], spec["secrets"], spec["resources"], resource.secret_tags]);
    resource.template_digest = Digest::of(&template);
    resource.spec_digest = Digest::of(&json!([spec, resource.secret_tags]));
    Arc::new(resource)
}

pub(crate) fn desired(resources: impl IntoIterator<Item = Arc<Resource>>) -> Desired {
    let resources = resources.into_iter().map(|r| (r.id.clone(), r)).collect();
    Desired { owner: Some(owner()), resources, ..Desired::default() }
}

/// One pass's outcome.
pub(crate) struct Passed {
    pub(crate) plan: Plan,
    pub(crate) judged: Judged,
    pub(crate) looks: BTreeMap<ResourceId, Next>,
    pub(crate) applied: Vec<Step>,
}

/// The live world and the daemon's memory.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) live: BTreeMap<ProviderName, BTreeMap<ResourceId, Live>>,
    pub(crate) down: BTreeSet<ProviderName>,
    /// Objects that alone are not answered for.
    pub(crate) mute: BTreeSet<ResourceId>,
    pub(crate) memory: Memory,
    /// What instances of a template come to; healthy when not named.
    pub(crate) bad: BTreeMap<Digest, InstanceHealth>,
    /// Paths that no instance answers well at.
    pub(crate) bad_paths: BTreeSet<String>,
    /// The least number of serving instances each resource has had since this was cleared.
    pub(crate) least: BTreeMap<ResourceId, usize>,
    /// Every step ever applied.
    pub(crate) history: Vec<(ResourceId, &'static str)>,
    /// How many revisions were declared; each is later than the one before, also where the clock stands.
    pub(crate) declared: i64,
    /// How many steps may yet be applied before everything is cut off.
    pub(crate) fuse: Option<usize>,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut memory = Memory::default();
        memory.revision.owner = Some(owner());
        memory.revision.blast_percent = Some(100);
        Self {
            now: "2026-11-20T10:00:00Z".parse().unwrap(),
            live: BTreeMap::from([(name("local"), BTreeMap::new()), (name("edge"), BTreeMap::new())]),
            down: BTreeSet::new(),
            mute: BTreeSet::new(),
            memory,
            bad: BTreeMap::new(),
            bad_paths: BTreeSet::new(),
            least: BTreeMap::new(),
            history: Vec::new(),
            declared: 0,
            fuse: None,
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let listing = |provider: &ProviderName, objects: &BTreeMap<ResourceId, Live>| {
            if self.down.contains(provider) {
                return Err(Why(format!("{provider} does not answer")));
            }
            let system = SystemId(format!("{provider}-1"));
            let heard = |(id, _): &(&ResourceId, &Live)| !self.mute.contains(*id);
            Ok(Listing {
                system,
                at: self.now,
                scope: Scope::All,
                epoch: 0,
                objects: objects.iter().filter(heard).map(|(id, live)| (id.clone(), live.clone())).collect(),
                unknown: self.mute.iter().map(|id| (id.clone(), Why(format!("{id} does not answer")))).collect(),
            })
        };
        Snapshot { providers: self.live.iter().map(|(p, objects)| (p.clone(), listing(p, objects))).collect() }
    }

    pub(crate) fn object(&mut self, provider: &str, id: &str) -> &mut Live {
        self.live.get_mut(&name(provider)).unwrap().get_mut(&app(id)).unwrap()
    }

    pub(crate) fn remembered(&mut self, id: &ResourceId) -> &mut ResourceMemory {
        self.memory.resources.entry(id.clone()).or_default()
    }

    /// One pass as the daemon makes it: observe, plan, judge, look, permit, apply, remember.
    pub(crate) fn pass(&mut self, desired: &Desired, revision: &Revision) -> Passed {
        self.accept(desired);
        let snapshot = self.snapshot();
        let memory = self.memory.clone();
        let facts = Facts { now: self.now, memory: &memory, snapshot: &snapshot, revision, freeze: None };
        let plan = plan(desired, revision, &owner(), &snapshot, &memory);
        let judged = judge(&plan, desired, &facts);
        for id in judged.holds.iter().flat_map(|hold| &hold.removals) {
            self.remembered(id).removal_held = true;
        }
        for id in &judged.taken_back {
            self.remembered(id).removal_held = false;
        }
        assert_eq!(judged, judge(&plan, desired, &facts), "judging twice differs");
        self.memory.waves = judged.waves.clone();
        self.memory.allowed.retain(|hold, _| !judged.spent.contains(hold));
        self.memory.systems.extend(judged.accepted.clone());
        let mut passed = Passed { plan, judged, looks: BTreeMap::new(), applied: Vec::new() };
        let ids: Vec<ResourceId> = passed.plan.changes.iter().map(|c| c.id.clone()).collect();
        let quiet = desired.resources.keys().filter(|id| !ids.contains(id)).cloned();
        for id in ids.iter().cloned().chain(quiet).collect::<Vec<_>>() {
            let look = self.look(&id, desired, revision, &snapshot, &memory, &passed.plan);
            if let Some(finding) = look.finding.clone() {
                self.remember(&id, finding, revision);
            }
            let decision = passed.judged.decisions.get(&id);
            if matches!(decision, None | Some(Decision::Go)) {
                self.carry_out(&look, desired, revision, &mut passed);
            }
            passed.looks.insert(id, look);
        }
        passed
    }

    /// Remembers what a revision declares, and what it does not any more.
    fn accept(&mut self, desired: &Desired) {
        self.declared += 1;
        let at = Timestamp::from_second(self.declared).unwrap();
        for (id, memory) in &mut self.memory.resources {
            if memory.file.is_some() && !desired.resources.contains_key(id) && !desired.held.contains_key(id) {
                memory.drop_declaration(at);
            }
        }
        for (id, resource) in &desired.resources {
            self.remembered(id).declare(&resource.place.file, at);
        }
    }

    fn look(
        &self,
        id: &ResourceId,
        desired: &Desired,
        revision: &Revision,
        snapshot: &Snapshot,
        memory: &Memory,
        plan: &Plan,
    ) -> Next {
        let cause = crate::model::Cause::Revision { revision: revision.clone() };
        let owner = owner();
        let sight = Sight { owner: &owner, snapshot, memory, cause: &cause, now: self.now };
        let change = plan.changes.iter().find(|c| c.id == *id);
        let unknown = plan.unknown.iter().find(|(unknown, _)| unknown == id).map(|(_, why)| why);
        let look = || sight.look(id, desired.resources.get(id), Planned { change, unknown }).unwrap();
        let (look, again) = (look(), look());
        assert_eq!(format!("{look:?}"), format!("{again:?}"), "looking twice differs");
        look.next
    }

    fn carry_out(&mut self, look: &Next, desired: &Desired, revision: &Revision, passed: &mut Passed) {
        for step in &look.steps {
            let (memory, snapshot) = (self.memory.clone(), self.snapshot());
            let facts = Facts { now: self.now, memory: &memory, snapshot: &snapshot, revision, freeze: None };
            if permit(step, desired, &facts).is_err() || self.fuse == Some(0) {
                break;
            }
            self.fuse = self.fuse.map(|left| left - 1);
            let change = passed.plan.changes.iter().find(|c| c.id == step.resource);
            let leaves = matches!(step.op, Op::Delete { .. }) || change.is_some_and(|c| c.verb == Verb::ScaleToZero);
            if let Some(change) = change.filter(|c| c.verb.is_removal() && leaves) {
                let hold = passed.judged.released.get(&change.id).cloned();
                let (id, team) = (change.id.clone(), Some(step.team.clone()));
                self.memory.removals.push(Removal { at: self.now, verb: change.verb, id, hold, team });
            }
            self.apply(step);
            passed.applied.push(step.clone());
        }
    }

    fn remember(&mut self, id: &ResourceId, finding: Finding, revision: &Revision) {
        let (at, revision) = (self.now, Some(revision.clone()));
        let memory = self.remembered(id);
        match finding {
            Finding::Baked(resource) => {
                memory.last_good = Some(LastGood { resource, revision, at });
                memory.changed_by = None;
            }
            Finding::Failed { template, tried, why, check_only } => {
                memory.pins.insert(template, Pin { at, revision, why, tried: Some(tried), check_only });
            }
        }
    }

    /// What a provider does with one step; breaks the test when it should never have been asked.
    pub(crate) fn apply(&mut self, step: &Step) {
        let now = self.now;
        self.history.push((step.resource.clone(), step.op.word()));
        let id = step.resource.clone();
        let stamp = |r: &Resource| Stamp {
            owner: step.owner.clone(),
            id: r.id.clone(),
            team: r.team.clone(),
            spec: r.spec_digest.clone(),
            template: r.template_digest.clone(),
            key: Key("k".to_owned()),
        };
        let objects = self.live.get_mut(&step.provider).unwrap();
        match &step.op {
            Op::Create { desired } => {
                assert!(!objects.contains_key(&id), "{id} created twice on {}", step.provider);
                objects.insert(id.clone(), empty(Some(stamp(desired)), desired.spec.clone()));
            }
            Op::Adopt { desired } | Op::Configure { desired } => {
                let live = objects.get_mut(&id).unwrap();
                let judged = live.spec.as_ref().is_none_or(|spec| spec.judges_as(&desired.spec));
                let same = |i: &&mut Instance| !judged && i.template == desired.template_digest;
                live.instances.iter_mut().filter(same).for_each(|instance| instance.put_on_trial(now));
                live.stamp = Some(stamp(desired));
                live.spec = Some(desired.spec.clone());
                live.drift.clear();
            }
            Op::Rename { from, desired, .. } => {
                let mut live = objects.remove(from).unwrap();
                live.stamp = Some(stamp(desired));
                assert!(objects.insert(id.clone(), live).is_none(), "renamed over {id}");
                let memory = self.memory.resources.remove(from).unwrap_or_default();
                self.memory.resources.insert(id.clone(), memory);
            }
            Op::Release { desired } => {
                objects.get_mut(&id).unwrap().released = Some(desired.template_digest.clone());
                self.remembered(&id).released = Some(desired.template_digest.clone());
            }
            Op::Start { instance, desired } => {
                let live = objects.get_mut(&id).unwrap();
                assert!(live.instances.iter().all(|i| i.id != *instance), "{instance} of {id} started twice");
                live.instances.push(started(instance, &desired.template_digest, now));
                live.instances.sort_by(|a, b| a.id.cmp(&b.id));
            }
            Op::Stop { instance } => {
                let live = objects.get_mut(&id).unwrap();
                let instance = live.instances.iter_mut().find(|i| i.id == *instance).unwrap();
                assert_ne!(instance.state, InstanceState::Stopping, "{} of {id} stopped twice", instance.id);
                instance.state = InstanceState::Stopping;
            }
            Op::Delete { ours, .. } => {
                assert_eq!(objects[&id].stamp.as_ref(), Some(ours.stamp()));
                objects.remove(&id);
                let remembered = self.memory.resources.get_mut(&id).filter(|it| it.file.is_none());
                // Forgotten, as far as anything here asks for it.
                let none = || (None, false, Claims::default());
                remembered.into_iter().for_each(|it| (it.dropped_at, it.removal_held, it.claims) = none());
            }
        }
        self.count(&id);
    }

    fn count(&mut self, id: &ResourceId) {
        let healthy = |live: &Live| {
            let up = live.instances.iter().filter(|i| i.state != InstanceState::Stopping);
            up.filter(|i| is_serving(i)).count()
        };
        let healthy = self.live.values().filter_map(|objects| objects.get(id)).map(healthy).sum();
        let least = self.least.entry(id.clone()).or_insert(usize::MAX);
        *least = (*least).min(healthy);
    }

    /// Time passes: what is stopping is gone, what starts shows what it is worth.
    pub(crate) fn tick(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        for live in self.live.values_mut().flat_map(BTreeMap::values_mut) {
            live.instances.retain(|i| i.state != InstanceState::Stopping);
            let check = live.spec.as_ref().and_then(|spec| spec.health.as_ref());
            let bad = check.is_some_and(|it| matches!(&it.probe, Probe::Http(path) if self.bad_paths.contains(path)));
            for instance in live.instances.iter_mut().filter(|i| i.health == InstanceHealth::Starting) {
                let why = "exited with status 1".to_owned();
                match self.bad.get(&instance.template) {
                    Some(InstanceHealth::Unhealthy) => instance.fail(why, false, self.now),
                    None if bad => instance.fail(why, false, self.now),
                    None | Some(InstanceHealth::Healthy) => instance.pass(self.now),
                    Some(other) => {
                        (instance.health, instance.health_since) = (*other, self.now);
                        (instance.on_trial, instance.why) = (false, Some(why));
                    }
                }
            }
        }
    }

    /// Passes and time until nothing happens any more and no wake is due.
    pub(crate) fn settle(&mut self, desired: &Desired, revision: &Revision) -> Passed {
        for _ in 0..400 {
            let passed = self.pass(desired, revision);
            let busy = !passed.applied.is_empty() || passed.looks.values().any(|l| l.finding.is_some());
            let wake = passed.looks.values().filter_map(|l| l.wake).filter(|at| *at > self.now).min();
            let unsettled = self.live.values().flat_map(BTreeMap::values).flat_map(|l| &l.instances);
            let moving = unsettled
                .into_iter()
                .any(|i| i.state == InstanceState::Stopping || i.health == InstanceHealth::Starting);
            match wake {
                _ if busy || moving => self.tick(1),
                Some(at) => self.tick((at.duration_since(self.now).as_secs() + 1).max(1)),
                None => return passed,
            }
        }
        panic!("it never settles: {:#?}", self.history.iter().rev().take(20).collect::<Vec<_>>());
    }

    /// What lives, without what depends on the way there: specs, and how many instances of which template.
    pub(crate) fn essence(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (provider, objects) in &self.live {
            for (id, live) in objects {
                let spec = live.stamp.as_ref().map(|s| s.spec.short().to_owned());
                let mut templates: Vec<&str> = live.instances.iter().map(|i| i.template.short()).collect();
                templates.sort_unstable();
                out.push(format!("{provider} {id} {spec:?} {templates:?}"));
            }
        }
        out
    }
}

/// The look at one resource after everything settled.
pub(crate) fn status(passed: &Passed, id: &str) -> (Sync, Health, String) {
    let look = &passed.looks[&app(id)];
    (look.sync, look.health, look.why.clone().unwrap_or_default())
}

pub(crate) fn empty(stamp: Option<Stamp>, spec: AppSpec) -> Live {
    Live {
        stamp,
        spec: Some(spec),
        drift: Vec::new(),
        released: None,
        leaves: false,
        renews: Vec::new(),
        instances: Vec::new(),
        address: None,
        notes: Vec::new(),
    }
}

fn started(id: &InstanceId, template: &Digest, now: Timestamp) -> Instance {
    Instance {
        id: id.clone(),
        template: template.clone(),
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
