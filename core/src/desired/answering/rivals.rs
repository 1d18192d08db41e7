//! Playbooks that are on the same alerts and act on the same target: one alert has one run, so that only one of them answers.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::expression::{Budget, fill, weight_of_template};
use crate::model::{MatchOperator, Matcher, Playbook, TeamName, Trigger};

use super::in_force::Candidate;
use super::named::Named;
use crate::desired::kinds::response::Declares;
use crate::desired::text::mistakes::Mistakes;

/// How much is compared: so many pairs, or expressions of a twentieth as many words and signs. What is only a warning is not
/// looked for any longer.
const MOST_COMPARED: u64 = 2_000_000;
const OF_A_WORD: u64 = 20;

/// One playbook on alerts.
struct Rival<'a> {
    at: usize,
    team: Option<&'a TeamName>,
    on: BTreeSet<String>,
    playbook: &'a Playbook,
}

/// Warns of each that answers nothing of its own, or takes from another what that is on.
pub(crate) fn check(candidates: &[Candidate], named: &Named<'_>, found: &mut Mistakes) {
    let rivals: Vec<Rival<'_>> = candidates.iter().enumerate().filter_map(rival).collect();
    // Each is looked up by the rarest thing it asks for, so that thousands on one alert's name are not compared in pairs.
    let mut common: BTreeMap<&str, usize> = BTreeMap::new();
    rivals.iter().flat_map(|rival| &rival.on).for_each(|on| *common.entry(on).or_default() += 1);
    let mut by_rarest: BTreeMap<&str, Vec<&Rival<'_>>> = BTreeMap::new();
    for rival in &rivals {
        if let Some(rarest) = rival.on.iter().min_by_key(|on| common.get(on.as_str())) {
            by_rarest.entry(rarest).or_default().push(rival);
        }
    }
    let left = Cell::new(MOST_COMPARED);
    for narrow in &rivals {
        let wider = narrow.on.iter().filter_map(|on| by_rarest.get(on.as_str())).flatten();
        let same = |wide: &&&Rival<'_>| {
            // Of two on the very same alerts, the later is told of.
            taken(&left, 1)
                && (wide.on.len() < narrow.on.len() || wide.at < narrow.at)
                && wide.on.is_subset(&narrow.on)
                && (wide.team == narrow.team || !named.keeps_teams_apart())
                && same_target(wide.playbook, narrow.playbook, &left)
        };
        let Some(wide) = wider.clone().find(same) else { continue };
        let (own, other) = (&candidates[narrow.at], &candidates[wide.at]);
        let first = (&own.key.1).min(&other.key.1);
        let message = format!(
            "`{}` and `{}` answer the same alerts on the same target: what both are on, `{first}` takes, the first by name",
            own.key.1, other.key.1
        );
        let place = other.base.source.place(other.name);
        let help = format!("`{}` is at {place}; let one match what the other does not, or make them one", other.key.1);
        own.warning(found, (own.name, message, Some(help)));
    }
}

fn rival((at, candidate): (usize, &Candidate)) -> Option<Rival<'_>> {
    let Some(Declares::Playbook(playbook)) = &candidate.manifest.declares else { return None };
    let Trigger::Alert(matchers) = &playbook.on else { return None };
    if candidate.broken.is_some() {
        return None;
    }
    let team = candidate.manifest.team.as_ref().map(|team| &team.value);
    Some(Rival { at, team, on: matchers.iter().map(Matcher::to_string).collect(), playbook })
}

/// Takes so much of what is left; whether there was as much.
fn taken(left: &Cell<u64>, much: u64) -> bool {
    left.set(left.get().saturating_sub(much));
    left.get() > 0
}

/// Whether both act on the same thing, for the alerts that the narrower one is on, as far as its labels tell.
fn same_target(wide: &Playbook, narrow: &Playbook, left: &Cell<u64>) -> bool {
    let (Some(one), Some(other)) = (&wide.target, &narrow.target) else {
        return wide.target.is_none() && narrow.target.is_none();
    };
    if one.source == other.source {
        return true;
    }
    let Trigger::Alert(matchers) = &narrow.on else { return false };
    let weight = weight_of_template(&one.source) + weight_of_template(&other.source);
    if !taken(left, OF_A_WORD * weight) {
        return false;
    }
    let equal = matchers.iter().filter(|matcher| matcher.operator == MatchOperator::Equal);
    let labels: Map<String, Value> = equal.map(|it| (it.label.clone(), Value::from(it.value.as_str()))).collect();
    let facts = json!({"alert": {"labels": labels}});
    let budget = Budget::of_a_look();
    let filled = |template| fill(template, &facts, &budget, str::to_owned).ok();
    filled(one).is_some_and(|one| filled(other) == Some(one))
}
