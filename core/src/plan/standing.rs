//! How a live object stands to what should run: same spec or not, which instances are of the right template, how healthy.
//!
//! Digests are compared only within their own version; across versions the specs themselves are, so that a daemon's upgrade
//! restarts nothing.

use crate::model::{AppSpec, Digest, Health, Instance, InstanceHealth, InstanceState, Live, Resource, ResourceMemory};

/// One live object held against one resource. Instances that are stopping belong to neither side.
#[derive(Debug)]
pub struct Standing<'a> {
    /// Whether the spec last applied is the resource's.
    pub spec_same: bool,
    /// Whether what is stamped is: the spec, and the team that owns it.
    pub stamp_same: bool,
    /// Instances of the resource's template.
    pub current: Vec<&'a Instance>,
    /// Instances of any other template, those that failed before a commit said to try again, and those that a run told to
    /// make way.
    pub old: Vec<&'a Instance>,
    /// Those of them that nothing but a run told to make way.
    pub renewed: Vec<&'a Instance>,
    /// How many instances are on their way out.
    pub stopping: usize,
}

impl<'a> Standing<'a> {
    /// Holds `live` against `target`.
    pub fn of(target: &Resource, live: &'a Live, memory: Option<&ResourceMemory>) -> Self {
        let witness = Witness { live, memory };
        let (mut current, mut old, mut renewed, mut stopping) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for instance in &live.instances {
            if instance.state == InstanceState::Stopping {
                stopping += 1;
            } else if !witness.same_template(&instance.template, target) || is_stale(instance, target, memory) {
                old.push(instance);
            } else if makes_way(instance, memory) {
                old.push(instance);
                renewed.push(instance);
            } else {
                current.push(instance);
            }
        }
        let spec_same = witness.same_spec(target);
        let stamp_same = spec_same && live.stamp.as_ref().is_some_and(|stamp| stamp.team == target.team);
        Self { spec_same, stamp_same, current, old, renewed, stopping }
    }

    /// How many instances are up, of whatever template.
    pub fn count(&self) -> usize {
        self.current.len() + self.old.len()
    }

    /// Whether more are up than are wanted.
    pub fn is_surplus(&self, target: &Resource) -> bool {
        u32::try_from(self.count()).unwrap_or(u32::MAX) > target.spec.replicas
    }

    /// Whether fewer are up than are wanted.
    pub fn is_short(&self, target: &Resource) -> bool {
        u32::try_from(self.count()).unwrap_or(u32::MAX) < target.spec.replicas
    }

    /// How many instances pass their check, of whatever template.
    pub fn healthy(&self) -> usize {
        self.current.iter().chain(&self.old).filter(|i| is_healthy(i)).count()
    }

    /// The one that no run may take away: told to make way by one, while no instance serves that stays. The oldest, of several.
    pub fn last_renewed(&self) -> Option<&'a Instance> {
        let stays = self.current.iter().any(|i| is_serving(i));
        let serving = self.renewed.iter().copied().filter(|i| !stays && is_serving(i));
        serving.min_by_key(|i| (!is_healthy(i), i.created_at, i.id.ordinal()))
    }

    /// How many instances are sent requests, of whatever template.
    pub fn serving(&self) -> usize {
        self.current.iter().chain(&self.old).filter(|i| is_serving(i)).count()
    }
}

/// Whether an instance passes its check.
pub fn is_healthy(instance: &Instance) -> bool {
    instance.health == InstanceHealth::Healthy
}

/// Whether an instance fails, and not only for being new.
pub fn is_failing(instance: &Instance) -> bool {
    matches!(instance.health, InstanceHealth::Unhealthy | InstanceHealth::CrashLoop)
}

/// Whether an instance is sent requests: what is on trial under a changed check is as before.
pub fn is_serving(instance: &Instance) -> bool {
    is_healthy(instance) || instance.on_trial
}

/// Whether an instance has failed since before a commit said `Codeops-Retry`, or as its template was tried before: trying
/// again means another one. Of a good template it was what judged it that failed, and it stays: it is asked anew.
fn is_stale(instance: &Instance, target: &Resource, memory: Option<&ResourceMemory>) -> bool {
    let Some(memory) = memory.filter(|_| is_failing(instance)) else { return false };
    let pin = memory.pins.get(&target.template_digest);
    let tried = pin.filter(|pin| !pin.holds_for(target) && !is_good(target, memory)).map(|pin| pin.at);
    memory.retried_at.max(tried).is_some_and(|at| instance.created_at < at && instance.health_since <= at)
}

fn makes_way(instance: &Instance, memory: Option<&ResourceMemory>) -> bool {
    memory.and_then(|memory| memory.renewal.as_ref()).is_some_and(|renewal| renewal.concerns(instance))
}

/// How many instances are sent requests, and how many there are, of whatever template; without those that end.
pub fn serving(live: &Live) -> (usize, usize) {
    let up = || live.instances.iter().filter(|i| i.state != InstanceState::Stopping);
    (up().filter(|i| is_serving(i)).count(), up().count())
}

/// The health of a live object that should be `target`.
pub fn health_of(target: &Resource, live: &Live) -> Health {
    health(target.spec.replicas, live)
}

/// The health of a live object of which nobody says now what it should be: held against what was last applied to it.
pub fn health_as_applied(live: &Live) -> Health {
    match &live.spec {
        Some(spec) => match health(spec.replicas, live) {
            // Nobody starts what is missing.
            Health::Progressing if live.instances.iter().all(is_up_and_healthy) => Health::Degraded,
            health => health,
        },
        None if live.instances.is_empty() => Health::Unknown,
        None => health(u32::try_from(live.instances.len()).unwrap_or(u32::MAX), live),
    }
}

fn is_up_and_healthy(instance: &Instance) -> bool {
    instance.state != InstanceState::Stopping && is_healthy(instance)
}

fn health(replicas: u32, live: &Live) -> Health {
    let up = || live.instances.iter().filter(|i| i.state != InstanceState::Stopping);
    let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
    if up().filter(|i| is_healthy(i)).count() >= wanted {
        Health::Healthy
    } else if up().any(is_failing) {
        Health::Degraded
    } else {
        Health::Progressing
    }
}

/// Whether `memory` says that this template finished its bake.
pub fn is_good(target: &Resource, memory: &ResourceMemory) -> bool {
    memory.last_good.as_ref().is_some_and(|good| {
        let good = &good.resource;
        good.template_digest == target.template_digest
            || (!comparable(&good.template_digest, &target.template_digest)
                && same_template_fields(&good.spec, &target.spec))
    })
}

/// Whether `memory` says that this template finished its bake under this very check and protocol.
pub fn is_proven(target: &Resource, memory: &ResourceMemory) -> bool {
    let good = memory.last_good.as_ref().filter(|_| is_good(target, memory));
    good.is_some_and(|good| good.resource.spec.judges_as(&target.spec))
}

/// Whether `memory` says that it was good on another provider, and not yet on this one.
pub fn has_moved(target: &Resource, memory: &ResourceMemory) -> bool {
    memory.last_good.as_ref().is_some_and(|good| good.resource.spec.provider != target.spec.provider)
}

/// Whether what is declared has begun to live: its spec was applied, or an instance of its new template is there.
pub fn is_tried(declared: &Resource, live: &Live, memory: &ResourceMemory) -> bool {
    let standing = Standing::of(declared, live, Some(memory));
    standing.spec_same || (!is_good(declared, memory) && !standing.current.is_empty())
}

/// What is known of the meaning of a digest of another version.
struct Witness<'a> {
    live: &'a Live,
    memory: Option<&'a ResourceMemory>,
}

impl Witness<'_> {
    fn same_spec(&self, target: &Resource) -> bool {
        let Some(stamp) = &self.live.stamp else { return false };
        stamp.spec == target.spec_digest
            || (!comparable(&stamp.spec, &target.spec_digest)
                && self.live.spec.as_ref().is_some_and(|spec| *spec == target.spec))
    }

    fn same_template(&self, found: &Digest, target: &Resource) -> bool {
        if *found == target.template_digest {
            return true;
        }
        if comparable(found, &target.template_digest) {
            return false;
        }
        let stamped = self.live.stamp.as_ref().filter(|s| s.template == *found).and(self.live.spec.as_ref());
        let good = self.memory.and_then(|m| m.last_good.as_ref()).map(|good| &good.resource);
        let good = good.filter(|good| good.template_digest == *found).map(|good| &good.spec);
        stamped.or(good).is_some_and(|spec| same_template_fields(spec, &target.spec))
    }
}

/// Whether two digests are of one version.
fn comparable<'a>(a: &'a Digest, b: &'a Digest) -> bool {
    let version = |digest: &'a Digest| digest.as_str().split_once(':').map(|(version, _)| version);
    version(a) == version(b)
}

/// What a template digest covers, where the digests themselves cannot be compared.
fn same_template_fields(a: &AppSpec, b: &AppSpec) -> bool {
    let listens = a.port.is_some() == b.port.is_some();
    listens && a.run == b.run && a.env == b.env && a.secrets == b.secrets && a.resources == b.resources
}
