//! Playbooks that call playbooks: never in a circle, never deeper than a person can follow, never for a proof that no alert
//! can give.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Does, Name, Playbook, PlaybookStep, Trigger, WaitFor};

use super::in_force::Candidate;
use crate::desired::apps::order::circle;
use crate::desired::kinds::header::ManifestKind;
use crate::desired::kinds::response::{Declares, Refers};
use crate::desired::teams::grants::Note;
use crate::desired::text::mistakes::Mistakes;
use crate::desired::text::tree::Span;

/// A playbook that is called by one that is called …: so many below the first.
const DEEPEST: usize = 4;

/// Which playbooks each calls, with where it says so.
type Calls = BTreeMap<Name, Vec<(Name, Span)>>;

/// What is wrong with one call, once however many circles go through it.
type Wrong = BTreeMap<(Name, Span), String>;

/// Reports circles, by their names, and calls that go too deep.
pub(crate) fn check(candidates: &mut [Candidate], found: &mut Mistakes) {
    let calls: Calls = candidates.iter().filter_map(calls_of).collect();
    if calls.values().all(Vec::is_empty) {
        return;
    }
    let mut done: BTreeMap<&Name, usize> = BTreeMap::new();
    let mut wrong = Wrong::new();
    for name in calls.keys() {
        depth(name, &calls, &mut Vec::new(), &mut done, &mut wrong);
    }
    for (name, depth) in &done {
        if let Some((_, span)) = calls[*name].first().filter(|_| *depth > DEEPEST) {
            let message = format!("calls go {depth} playbooks deep from here; at most {DEEPEST} are allowed");
            wrong.entry(((*name).clone(), *span)).or_insert(message);
        }
    }
    let wrong = wrong.into_iter().map(|((name, span), message)| (name, (span, message, None)));
    let unproven: Vec<(Name, Note)> = unproven(candidates, &calls).collect();
    let notes: Vec<(Name, Note)> = wrong.chain(unproven).collect();
    let of_playbook = |it: &(usize, &Candidate)| it.1.key.0 == ManifestKind::Playbook;
    let numbered = candidates.iter().enumerate().filter(of_playbook);
    let numbers: BTreeMap<Name, usize> = numbered.map(|(number, it)| (it.key.1.clone(), number)).collect();
    for (name, note) in notes {
        if let Some(number) = numbers.get(&name) {
            candidates[*number].error(found, note);
        }
    }
}

/// Scheduled playbooks that call one which waits for an alert to be resolved: they have none, so that it would always fail.
fn unproven(candidates: &[Candidate], calls: &Calls) -> impl Iterator<Item = (Name, Note)> {
    let playbooks = || candidates.iter().filter_map(|it| Some((&it.key.1, it.manifest.declares.as_ref()?)));
    let proof = |step: &PlaybookStep| matches!(step.does, Does::Wait { what: WaitFor::Resolved, .. });
    let proving: BTreeSet<&Name> = playbooks()
        .filter(|(_, it)| matches!(it, Declares::Playbook(it) if steps(it).any(proof)))
        .map(|(name, _)| name)
        .collect();
    let reached = reached(&proving, calls);
    let scheduled =
        playbooks().filter(|(_, it)| matches!(it, Declares::Playbook(it) if matches!(it.on, Trigger::Schedule(_))));
    let mut found = Vec::new();
    for (name, _) in scheduled {
        for (called, span) in calls.get(name).into_iter().flatten() {
            if let Some(last) = reached.get(called) {
                let message = format!("a scheduled playbook has no alert, and `{last}` waits for it to be resolved");
                let help = format!("let `{last}` wait for `healthy`, or `{{until: …}}`");
                found.push((name.clone(), (*span, message, Some(help))));
            }
        }
    }
    found.into_iter()
}

/// The first of these playbooks that each reaches by calls, at whatever depth; each reaches itself.
fn reached<'c>(these: &BTreeSet<&'c Name>, calls: &'c Calls) -> BTreeMap<&'c Name, &'c Name> {
    let mut callers: BTreeMap<&Name, Vec<&Name>> = BTreeMap::new();
    for (caller, called) in calls {
        for (called, _) in called {
            callers.entry(called).or_default().push(caller);
        }
    }
    let mut reached = BTreeMap::new();
    for this in these {
        let mut next = vec![*this];
        while let Some(name) = next.pop() {
            if reached.contains_key(name) {
                continue;
            }
            reached.insert(name, *this);
            next.extend(callers.get(name).into_iter().flatten());
        }
    }
    reached
}

fn steps(playbook: &Playbook) -> impl Iterator<Item = &PlaybookStep> {
    playbook.steps.iter().chain(playbook.otherwise.iter().flatten())
}

/// The playbooks that one calls.
pub(crate) fn called(playbook: &Playbook) -> impl Iterator<Item = &Name> {
    steps(playbook).filter_map(|step| match &step.does {
        Does::Playbook(name) => Some(name),
        _ => None,
    })
}

/// The policies that its steps page.
pub(crate) fn paged(playbook: &Playbook) -> impl Iterator<Item = &Name> {
    steps(playbook).filter_map(|step| match &step.does {
        Does::Page { policy } => policy.as_ref(),
        _ => None,
    })
}

fn calls_of(candidate: &Candidate) -> Option<(Name, Vec<(Name, Span)>)> {
    let Some(Declares::Playbook(playbook)) = &candidate.manifest.declares else { return None };
    let place = |name: &Name| {
        let at = candidate.manifest.names.iter().find(|at| at.value == Refers::Playbook(name.clone()));
        (name.clone(), at.map_or(candidate.name, |at| at.span))
    };
    Some((candidate.key.1.clone(), called(playbook).map(place).collect()))
}

/// How many playbooks deep calls go below one. `above` are those whose calls led here. A circle counts as no depth of its own.
fn depth<'c>(
    name: &'c Name,
    calls: &'c Calls,
    above: &mut Vec<&'c Name>,
    done: &mut BTreeMap<&'c Name, usize>,
    wrong: &mut Wrong,
) -> usize {
    if let Some(depth) = done.get(name) {
        return *depth;
    }
    let Some((name, called)) = calls.get_key_value(name) else { return 0 };
    above.push(name);
    let mut deepest = 0;
    for (next, span) in called {
        if let Some(at) = above.iter().position(|other| *other == next) {
            let message =
                format!("these playbooks call each other: {}", circle(above[at..].iter().copied().chain([next])));
            // Each of them calls the next; the last one, which is looked at now, the first.
            for pair in above[at..].windows(2) {
                let call = calls[pair[0]].iter().find(|(to, _)| to == pair[1]);
                wrong.insert((pair[0].clone(), call.map_or(*span, |(_, span)| *span)), message.clone());
            }
            wrong.insert((name.clone(), *span), message);
            continue;
        }
        // Beyond this depth it is wrong already; the stack is not to pay for it.
        if above.len() <= DEEPEST * 16 {
            deepest = deepest.max(1 + depth(next, calls, above, done, wrong));
        } else {
            deepest = deepest.max(DEEPEST + 1);
        }
    }
    above.pop();
    done.insert(name, deepest);
    deepest
}
