//! What manifests say about each other: dependencies and ports.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::model::{ProviderName, ResourceId, StablePort, TeamName};

use super::former;
use super::order::{circle, cycles};
use super::unit::Unit;
use crate::desired::Context;
use crate::desired::resolve::Resolved;
use crate::desired::teams::rights;
use crate::desired::text::mistakes::Mistakes;
use crate::desired::text::read::near;
use crate::desired::text::tree::{At, Span};

/// For so many mistakes the nearest name is looked for.
pub(crate) const NEAR: usize = 100;

pub(crate) type Units = BTreeMap<ResourceId, Unit>;

/// Checks all references; whoever makes a wrong one is held.
pub(crate) fn check(resolved: &mut Resolved, context: &Context) {
    former::check(resolved, context);
    let default = resolved.repository.defaults.provider.clone();
    let Resolved { units, held, found, .. } = resolved;
    let (wrong, acyclic) = dependencies(units, held);
    report(units, wrong, found);
    if !acyclic {
        circles(units, context, found);
    }
    ports(units, held, default.as_ref(), context, found);
}

/// Dependencies on what is not there, and whether nobody waits for himself: in one walk, for it is made over all manifests
/// of every revision.
fn dependencies(units: &Units, held: &BTreeMap<ResourceId, String>) -> (Vec<Wrong>, bool) {
    let places: HashMap<&ResourceId, usize> = units.keys().enumerate().map(|(at, id)| (id, at)).collect();
    let mut wrong = Vec::new();
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); units.len()];
    let mut waiting = vec![0usize; units.len()];
    for (at, unit) in units.values().enumerate() {
        for after in &unit.app.after {
            match places.get(&after.value) {
                Some(before) => {
                    next[*before].push(at);
                    waiting[at] += 1;
                }
                None if held.contains_key(&after.value) => {}
                None => wrong.push(missing(unit, after, units, wrong.len())),
            }
        }
    }
    (wrong, acyclic(&next, waiting))
}

fn missing(unit: &Unit, after: &At<ResourceId>, units: &Units, so_far: usize) -> Wrong {
    let others = units.keys().filter(|id| **id != unit.id).map(|id| id.name.as_str());
    let near = if so_far < NEAR { near(after.value.name.as_str(), others) } else { None };
    let help = near.map(|near| format!("did you mean `{}/{near}`?", after.value.kind));
    (unit.id.clone(), after.span, format!("there is no `{}` to come after", after.value), help)
}

/// Whether nobody waits for himself; the quick answer for a revision that is good. `next` are those that wait for each,
/// `waiting` how many each waits for.
fn acyclic(next: &[Vec<usize>], mut waiting: Vec<usize>) -> bool {
    let mut ready: Vec<usize> = (0..next.len()).filter(|at| waiting[*at] == 0).collect();
    let mut gone = 0;
    while let Some(at) = ready.pop() {
        gone += 1;
        for after in &next[at] {
            waiting[*after] -= 1;
            if waiting[*after] == 0 {
                ready.push(*after);
            }
        }
    }
    gone == next.len()
}

fn circles(units: &mut Units, context: &Context, found: &mut Mistakes) {
    // Who may not come after another, or names no team, is held for that already, and must not hold those that may.
    let may = |unit: &Unit, after: &ResourceId| {
        let theirs = units.get(after).and_then(|unit| unit.app.team.as_ref());
        let teams = unit.app.team.as_ref().zip(theirs);
        let reaches =
            |(team, theirs): (&At<TeamName>, &At<TeamName>)| rights::reaches(&team.value, &theirs.value, context);
        teams.map_or(context.teams.is_empty(), reaches)
    };
    let after = |unit: &Unit| -> Vec<ResourceId> {
        unit.app.after.iter().map(|at| &at.value).filter(|id| may(unit, id)).cloned().collect()
    };
    let edges: BTreeMap<ResourceId, Vec<ResourceId>> =
        units.values().map(|unit| (unit.id.clone(), after(unit))).collect();
    let (cycles, others) = cycles(&edges);
    for id in others {
        if let Some(unit) = units.get_mut(&id) {
            unit.hold("it may be part of one of too many cycles of `after`".to_owned());
        }
    }
    for cycle in cycles {
        let message = format!("these wait for each other: {}", circle(cycle.iter().chain(cycle.first())));
        let next = cycle.get(1).or(cycle.first());
        if let Some(unit) = cycle.first().and_then(|first| units.get_mut(first)) {
            let span =
                unit.app.after.iter().find(|at| Some(&at.value) == next).map_or(unit.header.name.span, |at| at.span);
            unit.error(found, span, message.clone(), Some("remove one of these `after`".to_owned()));
        }
        for id in &cycle {
            if let Some(unit) = units.get_mut(id) {
                unit.hold(message.clone());
            }
        }
    }
}

/// Who asks for a port: whose it is ([`ports_of`]) and the number, then the id, the address, where that is written, and with what right.
type Asked<'u> = ((Option<&'u ProviderName>, u16), &'u ResourceId, IpAddr, Span, Right);

/// With what right something is asked for that only one can have; the greatest wins, and equals stand in each other's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    /// In a file that its team may not claim.
    None,
    /// As good as anybody's.
    Equal,
    /// What it asks for was its team's.
    Team,
    /// It had it at the last accepted revision.
    Holder,
}

impl Right {
    /// The right of a unit to something new.
    pub(crate) fn of(unit: &Unit, context: &Context) -> Self {
        let team = unit.app.team.as_ref();
        let granted = team.is_some_and(|team| rights::may_claim(&team.value, &unit.base.source.path, context));
        if granted { Right::Equal } else { Right::None }
    }
}

/// Whose ports a provider's are: its own, or the machine's, which all that have those share. The first of them stands for it.
fn ports_of<'c>(provider: &'c ProviderName, context: &'c Context) -> &'c ProviderName {
    let has_hosts = context.providers.as_ref().and_then(|known| known.get(provider)).is_some_and(|it| it.host_ports);
    has_hosts.then(|| hosts(context)).flatten().unwrap_or(provider)
}

/// The same of where a port was had: what a provider left that the settings name no more may be on the machine still.
fn had_ports_of<'c>(provider: &'c ProviderName, context: &'c Context) -> &'c ProviderName {
    let is_gone = context.providers.as_ref().is_some_and(|known| !known.contains_key(provider));
    is_gone.then(|| hosts(context)).flatten().unwrap_or_else(|| ports_of(provider, context))
}

fn hosts(context: &Context) -> Option<&ProviderName> {
    context.providers.iter().flatten().find(|(_, facts)| facts.host_ports).map(|(name, _)| name)
}

/// Two apps of one provider, or of one machine, cannot have one address; who had it keeps it. Where teams are kept apart, all of loopback is one:
/// whoever connects to `localhost` would meet another team there.
fn ports(
    units: &mut Units,
    held: &BTreeMap<ResourceId, String>,
    default_provider: Option<&ProviderName>,
    context: &Context,
    found: &mut Mistakes,
) {
    let asked = |unit: &'_ Unit| {
        let port = unit.app.port.as_ref()?;
        Some((port.value.number, unit.app.bind.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)), port.span))
    };
    let mut taken: Vec<Asked<'_>> = Vec::with_capacity(units.len());
    for (id, unit) in &*units {
        if let Some((number, bind, span)) = asked(unit) {
            let provider = unit.app.provider.as_ref().map(|at| &at.value).or(default_provider);
            let provider = provider.map(|provider| ports_of(provider, context));
            taken.push(((provider, number), id, bind, span, Right::Equal));
        }
    }
    taken.sort_by_key(|asked| asked.0);
    let mut wrong = Vec::new();
    let had = OnceCell::new();
    for group in taken.chunk_by_mut(|a, b| a.0 == b.0).filter(|group| group.len() > 1) {
        for asked in group.iter_mut() {
            asked.4 = right(asked, units, context, had.get_or_init(|| had_by_teams(context)));
        }
        group.sort_by_key(|asked| Reverse(asked.4));
        wrong.extend(clashes(group, units, !context.teams.is_empty()));
    }
    // Who is held keeps what it had, which may hold others in turn.
    loop {
        let more = kept_by_others(&taken, (units, held), context, &wrong);
        if more.is_empty() {
            break;
        }
        wrong.extend(more);
    }
    report(units, wrong, found);
}

/// Who has a port still, on which address, and whether he is held.
type Kept<'k> = (&'k ResourceId, IpAddr, bool);

/// Whoever asks for a port that another app has still, though this revision does not say so. What is held, for a mistake or as one
/// of those that are `wrong`, stays as it was. From another team's app also those are kept that it may live on, and, where it
/// is suspended or not gone yet, the one that it had: until it has moved from there. None of those that are `wrong` already.
fn kept_by_others(
    taken: &[Asked<'_>],
    (units, held): (&Units, &BTreeMap<ResourceId, String>),
    context: &Context,
    wrong: &[Wrong],
) -> Vec<Wrong> {
    let wrong: BTreeSet<&ResourceId> = wrong.iter().map(|(id, ..)| id).collect();
    let asked = OnceCell::new();
    let by_id = || -> HashMap<&ResourceId, &Asked<'_>> { taken.iter().map(|asked| (asked.1, asked)).collect() };
    let asks_for = |id, (provider, bind, number): &StablePort| {
        let had = (Some(had_ports_of(provider, context)), *number);
        asked.get_or_init(by_id).get(id).is_some_and(|asked| (asked.0, &asked.2) == (had, bind))
    };
    let mut kept: BTreeMap<(&ProviderName, u16), Vec<Kept<'_>>> = BTreeMap::new();
    for (id, claims) in &context.claims {
        let unit = units.get(id);
        let is_held = unit.map_or(held.contains_key(id), |unit| unit.held.is_some() || wrong.contains(id));
        let stays = is_held || unit.is_none_or(|unit| unit.app.suspend);
        let had = claims.port.iter().filter(|_| stays).map(|had| (had, is_held));
        let all = had.chain(claims.live.iter().map(|live| (live, false)));
        for ((provider, bind, number), is_held) in all.filter(|(port, _)| !asks_for(id, port)) {
            kept.entry((had_ports_of(provider, context), *number)).or_default().push((id, *bind, is_held));
        }
    }
    let mut found = Vec::new();
    let others = taken.iter().filter(|asked| !kept.is_empty() && !wrong.contains(asked.1));
    for ((provider, number), id, bind, span, _) in others {
        let Some(there) = provider.and_then(|provider| kept.get(&(provider, *number))) else { continue };
        let Some(unit) = units.get(*id) else { continue };
        let stands = |(other, address, is_held): &&Kept<'_>| {
            let teams = unit.app.team.as_ref().zip(rights::holder(other, context));
            let apart = teams.is_some_and(|(team, theirs)| !rights::reaches(&team.value, theirs, context));
            let (one, same) = (bind.to_canonical(), address.to_canonical());
            let is_near = one == same || one.is_unspecified() || same.is_unspecified();
            let is_near = is_near || apart && one.is_loopback() && same.is_loopback();
            *other != *id && is_near && (apart || *is_held)
        };
        let had = context.claims.get(*id).and_then(|claims| claims.port.as_ref());
        let is_its =
            had.is_some_and(|(on, at, had)| (Some(had_ports_of(on, context)), at, had) == (*provider, bind, number));
        if let Some((other, ..)) = there.iter().find(stands).filter(|_| !is_its) {
            let message = format!("port {number} on {bind} belongs to {other}, which has it still");
            found.push(((*id).clone(), *span, message, Some("choose another port or address".to_owned())));
        }
    }
    found
}

/// The addresses that some app of a team had at the last accepted revision.
type HadByTeams<'c> = BTreeSet<(&'c ProviderName, IpAddr, u16, &'c TeamName)>;

fn had_by_teams(context: &Context) -> HadByTeams<'_> {
    let each = context.claims.values().filter_map(|claims| Some((claims.port.as_ref()?, claims.team.as_ref()?)));
    each.map(|((provider, bind, number), team)| (had_ports_of(provider, context), *bind, *number, team)).collect()
}

fn right(
    ((provider, number), id, bind, ..): &Asked<'_>,
    units: &Units,
    context: &Context,
    by_teams: &HadByTeams<'_>,
) -> Right {
    let claims = context.claims.get(*id);
    let is = |had: &StablePort| (Some(had_ports_of(&had.0, context)), &had.1, &had.2) == (*provider, bind, number);
    if claims.and_then(|claims| claims.port.as_ref()).is_some_and(is) {
        return Right::Holder;
    }
    let lives_there = claims.is_some_and(|claims| claims.live.iter().any(is));
    let Some(unit) = units.get(*id) else { return Right::None };
    let its = provider.zip(unit.app.team.as_ref()).map(|(provider, team)| (provider, *bind, *number, &team.value));
    match Right::of(unit, context) {
        Right::Equal if lives_there || its.is_some_and(|its| by_teams.contains(&its)) => Right::Team,
        right => right,
    }
}

/// Everyone in a group that asks for one number whose address somebody else asks for too, with no lesser right. Those of the
/// greatest right come first.
fn clashes(group: &[Asked<'_>], units: &Units, apart: bool) -> Vec<Wrong> {
    let mut by_address: BTreeMap<IpAddr, Vec<&Asked<'_>>> = BTreeMap::new();
    for asked in group {
        by_address.entry(asked.2).or_default().push(asked);
    }
    let team = |asked: &Asked<'_>| units.get(asked.1).and_then(|unit| Some(&unit.app.team.as_ref()?.value));
    let on_loopback = |asked: &Asked<'_>| asked.2.to_canonical().is_loopback();
    let mut by_team: BTreeMap<Option<&TeamName>, &Asked<'_>> = BTreeMap::new();
    for asked in group.iter().filter(|asked| apart && on_loopback(asked)) {
        by_team.entry(team(asked)).or_insert(asked);
    }
    let everywhere: Vec<&Asked<'_>> = group.iter().filter(|asked| asked.2.is_unspecified()).collect();
    let mut wrong = Vec::new();
    for asked in group {
        let ((_, number), id, bind, span, right) = asked;
        let same = by_address.get(bind).into_iter().flatten().copied();
        let any = group.iter().filter(|_| bind.is_unspecified());
        // Two that each have had theirs stay as they are.
        let near = by_team.iter().filter(|(other, there)| {
            on_loopback(asked) && **other != team(asked) && (there.4, *right) != (Right::Holder, Right::Holder)
        });
        let near = near.map(|(_, there)| *there);
        let mut others = same.chain(everywhere.iter().copied()).chain(any).chain(near);
        if let Some((_, other, other_address, there, theirs)) =
            others.find(|other| *other.1 != **id && other.4 >= *right)
        {
            let there = units.get(*other).map(|unit| unit.place(*there).to_string()).unwrap_or_default();
            let why = if theirs > right { "belongs to" } else { "is also asked for by" };
            let is_near = other_address != bind && !other_address.is_unspecified() && !bind.is_unspecified();
            let on = if is_near { format!(", on {other_address}") } else { String::new() };
            let message = format!("port {number} on {bind} {why} {other}{on} ({there})");
            let help = Some("choose another port or address".to_owned());
            wrong.push(((*id).clone(), *span, message, help));
        }
    }
    wrong
}

pub(crate) type Wrong = (ResourceId, Span, String, Option<String>);

pub(crate) fn report(units: &mut Units, wrong: Vec<Wrong>, found: &mut Mistakes) {
    for (id, span, message, help) in wrong {
        if let Some(unit) = units.get_mut(&id) {
            unit.error(found, span, message, help);
        }
    }
}
