//! One declared resource against where it lives: unchanged, unknown, or one change with its verb, cause and differences.

use std::sync::Arc;

use serde_json::Value;

use super::locate::Located;
use super::{Change, Difference, Effective, Known, Look, Plan, Standing, difference, effective, is_good};
use crate::model::{Cause, Live, Owner, Renewal, Resource, ResourceId, ResourceMemory, Stamp, TeamName, Verb};

impl Look<'_> {
    /// Adds to `plan` what is to be said of one declared resource.
    pub(super) fn at(&self, declared: &Arc<Resource>, known: &Known<'_>, plan: &mut Plan) {
        let (id, effective) = (&declared.id, effective(declared, known.memory));
        if let Some(why) = effective.why() {
            plan.kept.insert(id.clone(), why);
        }
        let target = effective.resource();
        let located = self.locate(target, known);
        if let Some(held) = self.takeover(declared, &effective, &located) {
            plan.changes.push(held);
            return;
        }
        let mut change = match located {
            Located::Unknown(why) => {
                plan.unknown.push((id.clone(), why));
                return;
            }
            Located::Here { live, also } => match (self.here(declared, &effective, live, known.memory), also) {
                (Some(change), None) => change,
                (Some(change), Some(_)) if change.held.is_some() => change,
                (change, Some(from)) => self.moving(declared, &effective, live, change, from.clone()),
                (None, None) => {
                    plan.unchanged.push(id.clone());
                    return;
                }
            },
            Located::Elsewhere { provider, live } => {
                let differences = self.differences(target, live);
                let from = Some(provider.clone());
                Change { from_provider: from, differences, ..self.change(declared, &effective, Verb::Move) }
            }
            Located::Formerly { id: was, live } => {
                let mut differences = vec![name_change(was, id)];
                differences.extend(self.differences(target, live));
                let from_id = Some(was.clone());
                Change { from_id, differences, ..self.change(declared, &effective, Verb::Rename) }
            }
            Located::FormerlyElsewhere { id: was, provider } => {
                let held = format!(
                    "{was} lives on provider {provider}: rename it in one commit and move it to {} in the next",
                    target.spec.provider
                );
                let differences = vec![name_change(was, id)];
                Change { held: Some(held), differences, ..self.change(declared, &effective, Verb::Rename) }
            }
            Located::Nowhere => {
                let differences = difference::created(target);
                Change { differences, ..self.change(declared, &effective, Verb::Create) }
            }
        };
        change.place = Some(declared.place.clone());
        plan.changes.push(change);
    }

    /// The change to an object that is where it should be, if any.
    fn here(
        &self,
        declared: &Arc<Resource>,
        effective: &Effective<'_>,
        live: &Live,
        memory: Option<&ResourceMemory>,
    ) -> Option<Change> {
        let target = effective.resource();
        if let Some(held) = not_ours(live, self.owner, self.is_ours(live), declared) {
            return Some(Change { held: Some(held), ..self.change(declared, effective, Verb::Adopt) });
        }
        if !self.is_ours(live) {
            let differences = self.differences(target, live);
            return Some(Change { differences, ..self.change(declared, effective, Verb::Adopt) });
        }
        let standing = Standing::of(target, live, memory);
        let verb = verb(effective, &standing, live, memory)?;
        let mut differences = self.differences(target, live);
        differences.extend(counted(target, &standing));
        let mut change = Change { differences, ..self.change(declared, effective, verb) };
        change.begun = standing.stamp_same && verb != Verb::Repair;
        if verb == Verb::Repair {
            change.cause = Cause::Drift { what: what_moved(target, &standing, live) };
        }
        // What a commit brings is the commit's, whatever a run does to what was there before.
        let renewal = memory.and_then(|memory| memory.renewal.as_ref()).filter(|_| standing.stamp_same);
        let is_cause = |renewal: &&Renewal| match renewal.over {
            // What it took away and has not brought back is its own, too.
            false => {
                live.instances.iter().any(|i| renewal.concerns(i)) || (verb == Verb::Repair && live.drift.is_empty())
            }
            // What it began anew and was not needed goes.
            true => {
                verb == Verb::Repair && standing.is_surplus(target) && live.instances.iter().any(|i| renewal.began(i))
            }
        };
        if let Some(renewal) = renewal.filter(is_cause) {
            change.cause = Cause::Run { run: renewal.run, playbook: renewal.playbook.clone() };
        }
        Some(change)
    }

    /// It lives here already and is still to be removed there.
    fn moving(
        &self,
        declared: &Arc<Resource>,
        effective: &Effective<'_>,
        live: &Live,
        change: Option<Change>,
        from: crate::model::ProviderName,
    ) -> Change {
        let mut change = change.unwrap_or_else(|| self.change(declared, effective, Verb::Move));
        change.verb = Verb::Move;
        change.begun = true;
        // What it waits for until its old place is empty, such as its port, has not moved away.
        if matches!(change.cause, Cause::Drift { .. }) {
            change.cause = self.cause(effective);
        }
        change.from_provider = Some(from);
        if change.differences.is_empty() {
            change.differences = self.differences(effective.resource(), live);
        }
        change
    }

    fn cause(&self, effective: &Effective<'_>) -> Cause {
        match effective {
            Effective::RolledBack { failed, pin, .. } => {
                Cause::Rollback { failed: (*failed).clone(), why: pin.why.clone() }
            }
            _ => Cause::Revision { revision: self.revision.clone() },
        }
    }

    pub(super) fn change(&self, declared: &Arc<Resource>, effective: &Effective<'_>, verb: Verb) -> Change {
        Change {
            id: declared.id.clone(),
            team: Some(declared.team.clone()),
            provider: effective.resource().spec.provider.clone(),
            from_provider: None,
            from_id: None,
            verb,
            differences: Vec::new(),
            cause: self.cause(effective),
            desired: Some(Arc::clone(declared)),
            // `uses` binds to services, which are no kind of their own yet; `after` is what orders apps.
            after: effective.resource().spec.after.clone(),
            place: None,
            held: None,
            begun: false,
        }
    }

    fn differences(&self, target: &Resource, live: &Live) -> Vec<Difference> {
        let good = self.memory.resources.get(&target.id).and_then(|memory| memory.last_good.as_ref());
        let stamp = live.stamp.as_ref();
        let good = good.map(|good| &good.resource).filter(|g| stamp.is_some_and(|s| s.spec == g.spec_digest));
        let spec = live.spec.as_ref().or(good.map(|good| &good.spec));
        let mut out = spec.map(|spec| difference::between(spec, &target.spec)).unwrap_or_default();
        out.extend(good.map(|good| difference::secrets(&good.secret_tags, &target.secret_tags)).unwrap_or_default());
        if out.is_empty() && stamp.is_some_and(|stamp| stamp.spec != target.spec_digest) {
            out.push(unexplained(spec.is_some(), target));
        }
        out.extend(stamp.filter(|stamp| stamp.owner == *self.owner).and_then(|stamp| team_change(stamp, target)));
        out.extend(difference::drifted(&live.renews));
        out.extend(difference::drifted(&live.drift));
        out
    }
}

/// How what lives differs from what is declared, whatever may be done about it.
pub fn apart(declared: &Resource, live: &Live) -> Vec<Difference> {
    let mut out = live.spec.as_ref().map(|spec| difference::between(spec, &declared.spec)).unwrap_or_default();
    out.extend(counted(declared, &Standing::of(declared, live, None)));
    out
}

/// The digests differ and no field does: a secret's value, or a spec that the provider does not keep.
fn unexplained(known: bool, target: &Resource) -> Difference {
    let field = if known && !target.secret_tags.is_empty() { "secrets" } else { "spec" };
    difference::hidden(field.to_owned())
}

fn verb(
    effective: &Effective<'_>,
    standing: &Standing<'_>,
    live: &Live,
    memory: Option<&ResourceMemory>,
) -> Option<Verb> {
    let target = effective.resource();
    let wanted = usize::try_from(target.spec.replicas).unwrap_or(usize::MAX);
    if wanted == 0 && standing.count() > 0 {
        return Some(Verb::ScaleToZero);
    }
    if let Effective::Stuck { fill, .. } = effective {
        let most = if fill.is_none() { wanted } else { wanted + surge(target) };
        return match standing.count() {
            count if count < wanted && fill.is_some() => Some(Verb::Repair),
            _ if !live.drift.is_empty() => Some(Verb::Repair),
            count if !standing.stamp_same || count > most => Some(Verb::Update),
            _ => None,
        };
    }
    if !standing.old.is_empty() {
        return Some(Verb::Replace);
    }
    if !standing.stamp_same {
        return Some(Verb::Update);
    }
    if live.drift.is_empty() && standing.current.len() == wanted {
        return None;
    }
    Some(unfinished(target, memory))
}

/// Nothing is declared anew and yet something is missing: has it never been whole, or did it move away?
fn unfinished(target: &Resource, memory: Option<&ResourceMemory>) -> Verb {
    match memory.and_then(|memory| memory.last_good.as_ref().map(|good| (memory, good))) {
        None => Verb::Create,
        Some((_, good)) if good.resource.spec_digest == target.spec_digest => Verb::Repair,
        Some((memory, _)) if is_good(target, memory) => Verb::Update,
        Some(_) => Verb::Replace,
    }
}

fn surge(target: &Resource) -> usize {
    usize::try_from(target.spec.rollout.surge).unwrap_or(usize::MAX / 2)
}

/// Why an object in the way is left alone, if it is.
fn not_ours(live: &Live, owner: &Owner, ours: bool, declared: &Resource) -> Option<String> {
    match &live.stamp {
        _ if ours => None,
        stamp if declared.adopt && stamp.as_ref().is_none_or(|stamp| may_adopt(stamp, owner)) => None,
        None => Some(format!(
            "an object called {} is there already and is not ours: remove it, or say `adopt: true` in its metadata",
            declared.id
        )),
        Some(stamp) if may_adopt(stamp, owner) => Some(format!(
            "it belongs to {} and this is {owner}: put the environment back, or say `adopt: true` in its metadata to take it over",
            stamp.owner
        )),
        Some(Stamp { owner: other, .. }) => Some(format!(
            "it belongs to {other} and this repository is {owner}: put the repository's name back, or remove it there first"
        )),
    }
}

/// Whether `adopt: true` takes over what another owner stamped: only within one repository, whose environment is called
/// otherwise now.
pub fn may_adopt(stamp: &Stamp, owner: &Owner) -> bool {
    stamp.owner.repository == owner.repository
}

fn name_change(was: &ResourceId, id: &ResourceId) -> Difference {
    let name = |id: &ResourceId| Some(Value::from(id.name.as_str()));
    Difference { field: "metadata.name".to_owned(), from: name(was), to: name(id) }
}

/// Whose it is, where it comes to another team: nothing but the stamp changes for that.
fn team_change(stamp: &Stamp, target: &Resource) -> Option<Difference> {
    let team = |team: &TeamName| Some(Value::from(team.as_str()));
    let (from, to) = (team(&stamp.team), team(&target.team));
    (stamp.team != target.team).then(|| Difference { field: "metadata.team".to_owned(), from, to })
}

/// How many instances there are against how many should be, when all else is the same.
fn counted(target: &Resource, standing: &Standing<'_>) -> Option<Difference> {
    let wanted = usize::try_from(target.spec.replicas).unwrap_or(usize::MAX);
    let field = if standing.old.is_empty() { "instances" } else { "instances.new" };
    let have = standing.current.len();
    (standing.spec_same && have != wanted).then(|| Difference {
        field: field.to_owned(),
        from: Some(Value::from(have)),
        to: Some(Value::from(wanted)),
    })
}

fn what_moved(target: &Resource, standing: &Standing<'_>, live: &Live) -> String {
    match live.drift.first() {
        Some(first) => {
            let more = live.drift.len() - 1;
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let why = live.waits().map(|waits| format!(": {waits}")).unwrap_or_default();
            format!("{} is {} where {} was applied{more}{why}", first.field, first.found, first.expected)
        }
        None => format!("{} of {} instances are there", standing.count(), target.spec.replicas),
    }
}
