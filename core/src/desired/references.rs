//! What manifests say about each other: dependencies, former names, ports. Cycles are named in full.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::model::{ProviderName, ResourceId};

use super::diagnostic::Diagnostic;
use super::order::cycles;
use super::read::near;
use super::tree::{At, Span};
use super::unit::Unit;

/// For so many mistakes the nearest name is looked for.
pub(super) const NEAR: usize = 100;

type Units = BTreeMap<ResourceId, Unit>;

/// Checks all references; whoever makes a wrong one is held.
pub(super) fn check(
    units: &mut Units,
    held: &BTreeMap<ResourceId, String>,
    default_provider: Option<&ProviderName>,
    found: &mut Vec<Diagnostic>,
) {
    let (wrong, acyclic) = dependencies(units, held);
    report(units, wrong, found);
    services(units, found);
    if !acyclic {
        circles(units, found);
    }
    former_names(units, held, found);
    ports(units, default_provider, found);
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

fn services(units: &mut Units, found: &mut Vec<Diagnostic>) {
    let wrong: Vec<_> = units
        .values()
        .flat_map(|unit| unit.app.uses.iter().map(|service| (unit.id.clone(), service)))
        .map(|(id, service)| {
            let message = format!("there is no service `{}`: kind Service is not built in this version", service.value);
            (id, service.span, message, None)
        })
        .collect();
    report(units, wrong, found);
}

fn circles(units: &mut Units, found: &mut Vec<Diagnostic>) {
    let edges: BTreeMap<ResourceId, Vec<ResourceId>> = units
        .values()
        .map(|unit| (unit.id.clone(), unit.app.after.iter().map(|at| at.value.clone()).collect()))
        .collect();
    let (cycles, others) = cycles(&edges);
    for id in others {
        if let Some(unit) = units.get_mut(&id) {
            unit.hold("it may be part of one of too many cycles of `after`".to_owned());
        }
    }
    for cycle in cycles {
        let mut named: Vec<String> = cycle.iter().map(ToString::to_string).collect();
        named.extend(named.first().cloned());
        let message = format!("these wait for each other: {}", named.join(" → "));
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

fn former_names(units: &mut Units, held: &BTreeMap<ResourceId, String>, found: &mut Vec<Diagnostic>) {
    let mut claims: BTreeMap<ResourceId, Vec<(ResourceId, Span)>> = BTreeMap::new();
    for unit in units.values() {
        for was in &unit.app.was {
            claims.entry(ResourceId::app(was.value.clone())).or_default().push((unit.id.clone(), was.span));
        }
    }
    let mut wrong = Vec::new();
    for (old, claimants) in claims {
        if units.contains_key(&old) || held.contains_key(&old) {
            for (id, span) in claimants {
                let message = format!("`{old}` is still declared, so nothing can have been it");
                wrong.push((id, span, message, Some("remove the old manifest or this former name".to_owned())));
            }
        } else if claimants.len() > 1 {
            let names: Vec<String> = claimants.iter().map(|(id, _)| id.to_string()).collect();
            for (id, span) in claimants {
                let message = format!("`{old}` is claimed as a former name by {}", names.join(" and "));
                wrong.push((id, span, message, Some("only one of them can have been it".to_owned())));
            }
        }
    }
    report(units, wrong, found);
}

/// Who asks for a port: the provider and the number, then the id, the address, and where that is written.
type Asked<'u> = ((Option<&'u ProviderName>, u16), &'u ResourceId, IpAddr, Span);

/// Two apps of one provider cannot have one address.
fn ports(units: &mut Units, default_provider: Option<&ProviderName>, found: &mut Vec<Diagnostic>) {
    let asked = |unit: &'_ Unit| {
        let port = unit.app.port.as_ref()?;
        Some((port.value.number, unit.app.bind.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)), port.span))
    };
    let mut taken: Vec<Asked<'_>> = Vec::with_capacity(units.len());
    for (id, unit) in &*units {
        if let Some((number, bind, span)) = asked(unit) {
            let provider = unit.app.provider.as_ref().map(|at| &at.value).or(default_provider);
            taken.push(((provider, number), id, bind, span));
        }
    }
    taken.sort_by_key(|asked| asked.0);
    let mut wrong = Vec::new();
    for group in taken.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1) {
        wrong.extend(clashes(group, units));
    }
    report(units, wrong, found);
}

/// Everyone in a group that asks for one number whose address somebody else asks for too.
fn clashes(group: &[Asked<'_>], units: &Units) -> Vec<Wrong> {
    let mut by_address: BTreeMap<IpAddr, Vec<&Asked<'_>>> = BTreeMap::new();
    for asked in group {
        by_address.entry(asked.2).or_default().push(asked);
    }
    let everywhere: Vec<&Asked<'_>> = group.iter().filter(|asked| asked.2.is_unspecified()).collect();
    let mut wrong = Vec::new();
    for ((_, number), id, bind, span) in group {
        let same = by_address.get(bind).into_iter().flatten().copied();
        let any = group.iter().filter(|_| bind.is_unspecified());
        let mut others = same.chain(everywhere.iter().copied()).chain(any);
        if let Some((_, other, _, there)) = others.find(|(_, other, _, _)| other != id) {
            let there = units.get(*other).map(|unit| unit.place(*there).to_string()).unwrap_or_default();
            let message = format!("port {number} on {bind} is also asked for by {other} ({there})");
            let help = Some("choose another port or address".to_owned());
            wrong.push(((*id).clone(), *span, message, help));
        }
    }
    wrong
}

type Wrong = (ResourceId, Span, String, Option<String>);

fn report(units: &mut Units, wrong: Vec<Wrong>, found: &mut Vec<Diagnostic>) {
    for (id, span, message, help) in wrong {
        if let Some(unit) = units.get_mut(&id) {
            unit.error(found, span, message, help);
        }
    }
}
