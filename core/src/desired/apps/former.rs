//! Former names: nothing can have been what is still declared, and only one can have been what is gone. Who said so before, or
//! whose team had it, keeps the name when somebody else comes to want it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{ResourceId, TeamName};

use super::references::{Right, Units, Wrong, report};
use super::unit::Unit;
use super::wanted::{Came, Wanted};
use crate::desired::Context;
use crate::desired::files::file::Body;
use crate::desired::files::groups::Found;
use crate::desired::kinds::app::AppManifest;
use crate::desired::resolve::Resolved;
use crate::desired::teams::rights;
use crate::desired::text::tree::Span;

/// Who says that it had a name, where that is written, and with what right.
type Claimant = (ResourceId, Span, Right);

/// So many of those who claim one name are named.
const NAMED: usize = 8;

/// The former names in a document without effect, or of one that is held: who may say so, where, and why they do not count.
#[derive(Debug)]
pub(crate) struct Said {
    olds: Vec<ResourceId>,
    team: Option<TeamName>,
    path: Arc<str>,
    place: String,
    why: String,
    /// Whether its file came or changed since the revision that was looked at before.
    begun: bool,
}

impl Said {
    /// What a document without effect says, if anything.
    pub(crate) fn of(found: &Found<'_>, why: &str, came: &Came) -> Option<Self> {
        let Body::App(app) = &found.document().body else { return None };
        let path = &found.file.source.path;
        Self::by(app, path, || found.place(), why, came.has(path))
    }

    fn of_held(unit: &Unit, came: &Came) -> Option<Self> {
        let (path, why) = (&unit.base.source.path, unit.held.as_ref()?);
        let place = || unit.place(unit.app.was.first().map_or(unit.begin, |was| was.span)).to_string();
        Self::by(&unit.app, path, place, why, came.has_of(unit))
    }

    fn by(app: &AppManifest, path: &Arc<str>, place: impl FnOnce() -> String, why: &str, begun: bool) -> Option<Self> {
        (!app.was.is_empty()).then(|| Self {
            olds: app.was.iter().map(|was| ResourceId::app(was.value.clone())).collect(),
            team: app.team.as_ref().map(|team| team.value.clone()),
            path: Arc::clone(path),
            place: place(),
            why: why.to_owned(),
            begun,
        })
    }

    /// What stands for these by where it stands.
    pub(crate) fn astray(
        olds: Vec<ResourceId>,
        team: Option<TeamName>,
        (path, place): (&Arc<str>, String),
        (why, begun): (String, bool),
    ) -> Self {
        Self { olds, team, path: Arc::clone(path), place, why, begun }
    }

    /// Whether one of those may say so whose file it is; in a file that nobody may claim the team that is named.
    pub(crate) fn is_its(&self, old: &ResourceId, context: &Context) -> bool {
        let Some(theirs) = rights::holder(old, context) else { return true };
        let hands = rights::hands(&self.path, context);
        let named = self.team.as_ref().filter(|_| hands.is_empty());
        named.is_some_and(|team| rights::reaches(team, theirs, context))
            || hands.iter().any(|team| rights::may_act_for(team, theirs, context))
    }

    /// Whoever else says so asks for it: it may have been moved there by mistake.
    fn ask(&self, old: ResourceId, wanted: &mut Wanted, context: &Context) {
        if let Some(team) = rights::whose(&self.path, context).or(self.team.as_ref()) {
            wanted.ask(old, team, self.begun, || self.place.clone());
        }
    }
}

/// Checks all former names; whoever claims a wrong one is held.
pub(crate) fn check(resolved: &mut Resolved, context: &Context) {
    let mut claims: BTreeMap<ResourceId, Vec<Claimant>> = BTreeMap::new();
    let Resolved { units, came, wanted, .. } = &mut *resolved;
    for unit in units.values() {
        let team = unit.app.team.as_ref().map(|team| &team.value);
        for was in &unit.app.was {
            let old = ResourceId::app(was.value.clone());
            let theirs = rights::holder(&old, context);
            if let Some((team, _)) = team.zip(theirs).filter(|(team, theirs)| !rights::reaches(team, theirs, context)) {
                // It has no say in that, and is told so already.
                wanted.ask(old, team, came.has_of(unit), || unit.place(was.span).to_string());
                continue;
            }
            let right = right(unit, &old, context);
            claims.entry(old).or_default().push((unit.id.clone(), was.span, right));
        }
    }
    for (old, mut claimants) in claims {
        let mut wrong = Vec::new();
        claimants.sort_by_key(|claimant| std::cmp::Reverse(claimant.2));
        let is_declared = resolved.units.contains_key(&old) || resolved.held.contains_key(&old);
        if is_declared && !retake(resolved, &old, &claimants, context) {
            for (id, span, _) in claimants {
                let message = format!("`{old}` is still declared, so nothing can have been it");
                wrong.push((id, span, message, Some("remove the old manifest or this former name".to_owned())));
            }
        } else {
            wrong.extend(contest(&old, claimants, &resolved.units));
        }
        report(&mut resolved.units, wrong, &mut resolved.found);
    }
    renamed_back(resolved, context);
    keep(resolved, context);
}

/// What comes back by a name that another app had before, and that one goes with the same revision: it was meant to be renamed back, and
/// has to say so, or all that the other has would be deleted. It is not remembered as declared: so it stays until one is said. Where
/// it has no effect, for the other is another team's, that team asks for the other by it.
fn renamed_back(resolved: &mut Resolved, context: &Context) {
    let Resolved { units, held, found, declared, wanted, .. } = resolved;
    let named: OnceCell<BTreeSet<ResourceId>> = OnceCell::new();
    let before: OnceCell<BTreeSet<&ResourceId>> = OnceCell::new();
    let was_declared =
        |id| before.get_or_init(|| context.declared.values().flat_map(|ids| ids.iter()).collect()).contains(id);
    for (id, claims) in &context.claims {
        let all = || units.values().flat_map(|unit| unit.app.was.iter().map(|was| ResourceId::app(was.value.clone())));
        let had = || claims.was.iter().chain(&claims.before);
        let is_gone = had().next().is_some() && !units.contains_key(id) && !held.contains_key(id) && was_declared(id);
        if !is_gone || named.get_or_init(|| all().collect()).contains(id) {
            continue;
        }
        for old in had() {
            let Some(unit) = units.get_mut(old).filter(|_| !was_declared(old)) else {
                let asks = wanted.of(old).filter(|_| !units.contains_key(old)).cloned();
                for (team, asks) in asks.into_iter().flatten() {
                    wanted.ask(id.clone(), &team, asks.begun, || asks.place);
                }
                continue;
            };
            let message = format!("`{old}` became {id}, which is not declared any more");
            let help = format!(
                "with `was: [{}]` it is renamed back, with its data; to remove {id} instead, push that alone, and this once it is gone",
                id.name
            );
            unit.error(found, unit.header.name.span, message.clone(), Some(help));
            held.insert(id.clone(), format!("no longer declared, and not deleted: {message}"));
            if let Some(ids) = declared.get_mut(&unit.base.source.path) {
                Arc::make_mut(ids).remove(old);
            }
        }
    }
}

/// What somebody who is held, or has no effect, says he was is not gone: it stays until that is mended, where it was his team's.
/// In a file of another team he asks for it as that one does, which keeps it only from going with the revision that brings him.
pub(crate) fn keep(resolved: &mut Resolved, context: &Context) {
    let mut kept: BTreeMap<ResourceId, String> = BTreeMap::new();
    let declared: OnceCell<BTreeSet<&ResourceId>> = OnceCell::new();
    let was_there = |old: &ResourceId| {
        let all = || context.declared.values().flat_map(|ids| ids.iter()).collect();
        context.claims.contains_key(old) || declared.get_or_init(all).contains(old)
    };
    let Resolved { units, came, wanted, were, .. } = &mut *resolved;
    let held = units.values().filter_map(|unit| Said::of_held(unit, came));
    for said in held.chain(std::mem::take(were)) {
        for old in said.olds.iter().filter(|old| was_there(old) && !units.contains_key(*old)) {
            if said.is_its(old, context) {
                kept.entry(old.clone()).or_insert_with(|| said.why.clone());
            } else {
                said.ask(old.clone(), wanted, context);
            }
        }
    }
    for (old, why) in kept {
        resolved.held.entry(old).or_insert(why);
    }
}

fn right(unit: &Unit, old: &ResourceId, context: &Context) -> Right {
    if context.claims.get(&unit.id).is_some_and(|claims| claims.was.contains(old)) {
        return Right::Holder;
    }
    let right = Right::of(unit, context);
    let was_there = context.claims.contains_key(old);
    let Some(team) = unit.app.team.as_ref().filter(|_| right > Right::None && was_there) else { return right };
    let mut before = context.declared.iter().filter(|(_, ids)| ids.contains(old)).peekable();
    let theirs = before.peek().is_some() && before.all(|(path, _)| rights::may_claim(&team.value, path, context));
    if theirs && !context.teams.is_empty() { Right::Team } else { right }
}

/// Takes a name back from a manifest that came to declare it after it was a former name of another's, or another team's:
/// such a one has no effect. Whether it was so.
fn retake(resolved: &mut Resolved, old: &ResourceId, claimants: &[Claimant], context: &Context) -> bool {
    let Some((holder, span, right)) = claimants.first() else { return false };
    let Some(unit) = resolved.units.get(old) else {
        // Some file cannot be read and may declare it; but when the name became a former one, none did.
        return *right == Right::Holder && resolved.held.remove(old).is_some();
    };
    let path = &unit.base.source.path;
    let had = context.declared.get(path).is_some_and(|ids| ids.contains(old));
    let Some(first) = resolved.units.get(holder) else { return false };
    let team = |unit: &Unit| unit.app.team.as_ref().map(|team| team.value.clone());
    let same = team(unit) == team(first) && Right::of(unit, context) > Right::None;
    if had || context.teams.is_empty() || same || *right < Right::Team {
        return false;
    }
    let message = format!("`{old}` is the former name of {holder} ({}), and has no effect here", first.place(*span));
    let help = "choose another name, or remove that former name first".to_owned();
    let found = crate::desired::text::diagnostic::Diagnostic::error(
        &unit.base.source,
        unit.header.name.span,
        message,
        Some(help),
    );
    if let Some(ids) = resolved.declared.get_mut(path) {
        Arc::make_mut(ids).remove(old);
    }
    resolved.found.push(found);
    resolved.units.remove(old);
    true
}

/// Whoever claims a name that another has a better right to, or an equal one. Those of the greatest right come first.
fn contest(old: &ResourceId, claimants: Vec<Claimant>, units: &Units) -> Vec<Wrong> {
    let [(holder, there, most), (_, _, next), ..] = &claimants[..] else { return Vec::new() };
    if most > next {
        let place = units.get(holder).map(|unit| unit.place(*there).to_string()).unwrap_or_default();
        let message = format!("`{old}` is the former name of {holder} ({place})");
        let others = claimants[1..].iter();
        let help = || Some("only one of them can have been it".to_owned());
        return others.map(|(id, span, _)| (id.clone(), *span, message.clone(), help())).collect();
    }
    let mut ids: Vec<&ResourceId> = claimants.iter().map(|(id, ..)| id).collect();
    ids.sort();
    let mut names: Vec<String> = ids.iter().take(NAMED).map(ToString::to_string).collect();
    names.extend(ids.len().checked_sub(NAMED + 1).map(|more| format!("{} more", more + 1)));
    let message = format!("`{old}` is claimed as a former name by {}", names.join(" and "));
    let help = || Some("only one of them can have been it".to_owned());
    claimants.into_iter().map(|(id, span, _)| (id, span, message.clone(), help())).collect()
}
