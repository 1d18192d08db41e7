//! Wide updates in waves: one resource, then a tenth, then the rest; each wave only after all before it are baked and
//! healthy, and none after a failure: what failed for good holds them, what is tried again lets them wait.
//!
//! Where teams are kept apart each has waves of its own for what is its own, so that what fails or bakes in one holds up no
//! other. What changes several from outside goes in waves over all: the value of a secret that they share, a commit over the
//! manifests of several teams or over what all of them take.

use std::collections::{BTreeMap, BTreeSet};

use super::wait::Waits;
use super::{Decision, Facts, Judged, is_suspended};
use crate::desired::Desired;
use crate::model::{Cause, ChangedBy, Health, Kind, Live, Observed, ResourceId, SecretName, TeamName, Verb, Waves};
use crate::plan::{Change, Plan, effective, has_moved, health_of, is_proven, pin_of};

const ALWAYS_AT_ONCE: usize = 2;
const WIDE_PERCENT: usize = 25;
const SECOND_WAVE_PERCENT: usize = 10;

/// Decides on the members of wide updates that may not go yet, and says what is to be remembered of them.
pub(super) fn guard(
    plan: &Plan,
    desired: &Desired,
    facts: &Facts<'_>,
    waits: &Waits<'_>,
    judged: &mut Judged,
) -> BTreeMap<ResourceId, Decision> {
    let pending: BTreeSet<&ResourceId> = plan.changes.iter().filter(|c| counts(c, desired)).map(|c| &c.id).collect();
    if pending.is_empty() && facts.memory.waves.is_none() {
        return BTreeMap::new();
    }
    let changing = plan.changes.iter().map(|c| (&c.id, c)).collect();
    let look = Look { plan, desired, facts, waits, changing, pending, shared: shared(desired) };
    let mut decisions = BTreeMap::new();
    let mut waves = Waves { revision: facts.revision.clone(), members: Vec::new(), own: BTreeMap::new() };
    for (team, members) in look.under_way() {
        let all: Vec<(&ResourceId, State<'_>)> = members.iter().map(|id| (*id, look.state(id))).collect();
        if all.iter().all(|(_, state)| matches!(state, State::Done | State::Failed(_))) {
            continue;
        }
        let remembered = members.into_iter().cloned().collect();
        match team {
            Some(team) => drop(waves.own.insert(team.clone(), remembered)),
            None => waves.members = remembered,
        }
        // Who is silent proves nothing and holds nobody up: the waves are made of those that answer.
        let (members, states): (Vec<_>, Vec<_>) =
            all.into_iter().filter(|(_, state)| !matches!(state, State::Silent)).unzip();
        decisions.extend(look.decide(&members, &states));
    }
    judged.waves = Some(waves).filter(|waves| waves.all().next().is_some());
    decisions
}

/// What a wide update is made of: changes that a revision brings and that have not begun.
fn counts(change: &Change, desired: &Desired) -> bool {
    matches!(change.verb, Verb::Update | Verb::Replace)
        && matches!(change.cause, Cause::Revision { .. })
        && !change.begun
        && change.held.is_none()
        && !is_suspended(&change.id, desired)
}

/// Of whom a wide update is: of one team, or of everybody.
type Of<'a> = Option<&'a TeamName>;

/// All that a decision on waves looks at.
struct Look<'a> {
    plan: &'a Plan,
    desired: &'a Desired,
    facts: &'a Facts<'a>,
    waits: &'a Waits<'a>,
    changing: BTreeMap<&'a ResourceId, &'a Change>,
    /// What counts and has not begun.
    pending: BTreeSet<&'a ResourceId>,
    /// The secrets that more than one team uses.
    shared: BTreeSet<&'a SecretName>,
}

impl<'a> Look<'a> {
    /// The waves to follow: the remembered ones, with what this look adds to them, and new ones when a revision changes many.
    ///
    /// An update that another revision overtakes goes on with the members that are not done, those under way or failed before
    /// the rest: an unrelated commit neither forgets a bake nor carries a failure to the next resource.
    fn under_way(&self) -> BTreeMap<Of<'a>, Vec<&'a ResourceId>> {
        let before = self.facts.memory.waves.as_ref();
        let same = before.is_some_and(|waves| waves.revision == *self.facts.revision);
        let mut updates: BTreeMap<Of<'a>, Vec<&ResourceId>> = BTreeMap::new();
        let mut known: BTreeMap<&ResourceId, Of<'a>> = BTreeMap::new();
        for (team, id) in before.into_iter().flat_map(Waves::all) {
            if same || !matches!(self.state(id), State::Done) {
                let whose = if same { team } else { self.whose(id) };
                updates.entry(whose).or_default().push(id);
                known.insert(id, whose);
            }
        }
        let mut pending: BTreeMap<Of<'a>, Vec<&ResourceId>> = BTreeMap::new();
        for id in &self.pending {
            let whose = known.get(id).copied().unwrap_or_else(|| self.whose(id));
            pending.entry(whose).or_default().push(id);
        }
        for (whose, pending) in &pending {
            let new: Vec<_> = self.wide(*whose, pending).filter(|id| !known.contains_key(id)).collect();
            if !new.is_empty() {
                updates.entry(*whose).or_default().extend(new);
            }
        }
        let places = self.places();
        updates.retain(|whose, members| {
            // What others depend on goes first: it is what they would fail by.
            members.sort_by_key(|id| places.get(id));
            same || pending.get(whose).is_some_and(|pending| members.iter().any(|id| pending.contains(id)))
        });
        updates
    }

    /// In which order those go that have not begun.
    fn places(&self) -> BTreeMap<&'a ResourceId, usize> {
        let has_place = |change: &Change| self.pending.contains(&change.id) || self.waits.dependency(change).is_some();
        let order = self.plan.changes.iter().enumerate().filter(|(_, change)| has_place(change));
        order.map(|(place, change)| (&change.id, place)).collect()
    }

    /// Whose update a member belongs to: its team's where teams are kept apart, unless a commit over several teams changed it, or
    /// nothing but the values of secrets has changed, and those of shared ones.
    fn whose(&self, id: &ResourceId) -> Of<'a> {
        let declared = self.desired.resources.get(id).filter(|_| self.desired.keeps_teams_apart())?;
        let memory = self.facts.memory.resources.get(id);
        if memory.is_some_and(|memory| memory.changed_by == Some(ChangedBy::Several)) {
            return None;
        }
        let good = memory.and_then(|memory| memory.last_good.as_ref());
        let from_outside = good.is_some_and(|good| {
            let same =
                |variable: &String| good.resource.secret_tags.get(variable) == declared.secret_tags.get(variable);
            let mut changed = declared.spec.secrets.iter().filter(|(variable, _)| !same(variable));
            good.resource.spec == declared.spec && changed.all(|(_, secret)| self.shared.contains(secret))
        });
        (!from_outside).then_some(&declared.team)
    }

    /// The pending changes of each kind of which too many are pending.
    fn wide(&self, whose: Of<'a>, pending: &[&'a ResourceId]) -> impl Iterator<Item = &'a ResourceId> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let of_kind: Vec<&ResourceId> = pending.iter().filter(|id| id.kind == *kind).copied().collect();
            if !of_kind.is_empty() && of_kind.len() > self.at_once(*kind, whose) {
                all.extend(of_kind);
            }
        }
        all.into_iter()
    }

    /// What others made does not count: it makes no update of ours less wide.
    fn at_once(&self, kind: Kind, whose: Of<'a>) -> usize {
        let owner = self.facts.memory.revision.owner.as_ref().or(self.desired.owner.as_ref());
        let ours = |live: &Live| {
            let ours = |owner_of| owner.is_none_or(|owner| owner_of == owner);
            live.stamp.as_ref().is_some_and(|stamp| ours(&stamp.owner) && whose.is_none_or(|team| stamp.team == *team))
        };
        let live = self.facts.snapshot.objects().filter(|(_, id, live)| id.kind == kind && ours(live)).count();
        ALWAYS_AT_ONCE.max(live * WIDE_PERCENT / 100)
    }

    fn state(&self, id: &ResourceId) -> State<'a> {
        let Some(declared) = self.desired.resources.get(id) else { return State::Done };
        let memory = self.facts.memory.resources.get(id);
        if let Some(pin) = memory.and_then(|memory| pin_of(declared, memory)) {
            return State::Failed(&pin.why);
        }
        if declared.spec.suspend || self.desired.held.contains_key(id) {
            return State::Done; // It will not move; the others need not wait for it.
        }
        let target = effective(declared, memory).resource();
        if let Observed::Unknown(_) = self.facts.snapshot.observed(&target.spec.provider, id) {
            return State::Silent;
        }
        let change = self.changing.get(id);
        // Who waits for another, of another team even, keeps none waiting that does not: also where it failed before.
        if change.is_some_and(|change| self.waits.dependency(change).is_some()) {
            return State::Silent;
        }
        if let Some(error) = change.and_then(|change| self.waits.stuck(change)) {
            return State::Stuck(error);
        }
        let live = self.facts.snapshot.live(&target.spec.provider, id);
        let healthy = live.is_some_and(|live| health_of(target, live) == Health::Healthy);
        let baked = target.spec.replicas == 0
            || memory.is_some_and(|memory| is_proven(target, memory) && !has_moved(target, memory));
        if healthy && baked && change.is_none() { State::Done } else { State::Going }
    }

    fn decide(&self, members: &[&ResourceId], states: &[State<'_>]) -> BTreeMap<ResourceId, Decision> {
        let failure = members.iter().zip(states).find_map(|(id, state)| match state {
            State::Failed(why) => Some((*id, *why)),
            State::Done | State::Silent | State::Going | State::Stuck(_) => None,
        });
        let open_until = open(states);
        let later = self.later(members.iter().skip(open_until).copied().collect());
        let mut decisions = BTreeMap::new();
        for (at, (id, state)) in
            members.iter().zip(states).enumerate().filter(|(_, (id, _))| self.pending.contains(*id))
        {
            // What had its turn and cannot be applied is tried again.
            let had_its_turn = at < open_until && matches!(state, State::Stuck(_));
            if let Some((failed, why)) = failure.filter(|_| !had_its_turn) {
                decisions.insert((*id).clone(), self.stopped(id, failed, why));
            } else if later.contains(*id) {
                decisions.insert((*id).clone(), waiting(members, states, open_until));
            }
        }
        decisions
    }

    /// Those of a later wave that go later. One that is to leave a port to another that goes now goes with it: else that waits
    /// for the port, and the port for the next wave.
    fn later<'m>(&self, mut later: BTreeSet<&'m ResourceId>) -> BTreeSet<&'m ResourceId> {
        loop {
            let now = self.changing.keys().filter(|id| !later.contains(*id));
            let wanted: BTreeSet<u16> = now.filter_map(|id| self.ports(id).1).collect();
            let before = later.len();
            later.retain(|id| match self.ports(id) {
                (Some(has), wants) => wants == Some(has) || !wanted.contains(&has),
                (None, _) => true,
            });
            if later.len() == before {
                return later;
            }
        }
    }

    /// The port that it has, and the one that it is to have.
    fn ports(&self, id: &ResourceId) -> (Option<u16>, Option<u16>) {
        let Some(declared) = self.desired.resources.get(id) else { return (None, None) };
        let target = effective(declared, self.facts.memory.resources.get(id)).resource();
        let live = self.facts.snapshot.live(&target.spec.provider, id).and_then(|live| live.spec.as_ref());
        (live.and_then(|spec| Some(spec.port?.number)), target.spec.port.map(|port| port.number))
    }

    fn stopped(&self, id: &ResourceId, failed: &ResourceId, why: &str) -> Decision {
        let team = |id| self.desired.resources.get(id).map(|resource| &resource.team);
        let others = team(failed).filter(|theirs| self.desired.keeps_teams_apart() && team(id) != Some(*theirs));
        let release = match others {
            Some(team) => format!(
                "a change of its own manifest goes without it; or the team `{team}` commits a fix, or tries again with \
                 `Codeops-Retry: {failed}`"
            ),
            None => format!("commit a fix, or try again with `Codeops-Retry: {failed}`"),
        };
        Decision::Held { why: format!("stopped: {failed} failed in an earlier wave: {why}"), release, hold: None }
    }
}

/// The secrets that more than one team uses; asked only where teams are kept apart.
fn shared(desired: &Desired) -> BTreeSet<&SecretName> {
    let mut users: BTreeMap<&SecretName, &TeamName> = BTreeMap::new();
    let mut shared = BTreeSet::new();
    for resource in desired.resources.values().filter(|_| desired.keeps_teams_apart()) {
        for secret in resource.spec.secrets.values() {
            if *users.entry(secret).or_insert(&resource.team) != &resource.team {
                shared.insert(secret);
            }
        }
    }
    shared
}

/// How far one member is.
enum State<'a> {
    /// There, no longer changing, healthy and baked; or not wanted any more.
    Done,
    /// Its template failed: this ends the update until a commit.
    Failed(&'a str),
    /// It cannot be applied, and is tried again: until it can, no later wave begins.
    Stuck(&'a str),
    /// Nothing is known of it, or it waits for another: nothing is done to it until then, and after it is under way like any
    /// other.
    Silent,
    /// Anything between.
    Going,
}

fn waiting(members: &[&ResourceId], states: &[State<'_>], open_until: usize) -> Decision {
    let before = || members.iter().zip(states).take(open_until);
    let stuck = before().find_map(|(id, state)| match state {
        State::Stuck(error) => Some((id, error)),
        State::Done | State::Failed(_) | State::Silent | State::Going => None,
    });
    let why = match stuck {
        Some((id, error)) => format!(
            "its wave comes later: it goes on by itself once {id} can be applied, which is tried again, or with a commit that \
             mends that: {error}"
        ),
        None => {
            let behind = before().filter(|(_, state)| !matches!(state, State::Done)).map(|(id, _)| id.to_string());
            let behind: Vec<String> = behind.take(3).collect();
            format!(
                "its wave comes later: {} of {} may change now, waiting for {} to finish the bake",
                open_until,
                members.len(),
                behind.join(", ")
            )
        }
    };
    Decision::Waiting { why, until: None }
}

/// How many members, from the first, may change: all of the waves up to the first that is not done.
fn open(states: &[State<'_>]) -> usize {
    let tenth = (states.len() * SECOND_WAVE_PERCENT / 100).max(1);
    let ends = [1, 1 + tenth, states.len()];
    let done = |end: &usize| states.iter().take(*end).all(|state| matches!(state, State::Done));
    ends.into_iter().find(|end| !done(end)).unwrap_or(states.len())
}
