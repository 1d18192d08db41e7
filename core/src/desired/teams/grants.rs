//! What the settings allow: which team may claim which file and reach whose resources, which secrets and providers there are.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::model::{Name, ProviderName, ResourceId, RunSpec, SecretName, TeamName};

use super::rights;
use crate::desired::apps::listening;
use crate::desired::apps::references::NEAR;
use crate::desired::apps::unit::Unit;
use crate::desired::resolve::Resolved;
use crate::desired::text::read::near;
use crate::desired::text::tree::{At, Span};
use crate::desired::{Context, SecretFacts};

/// Checks every manifest against the settings; what reaches further is held.
pub(crate) fn check(resolved: &mut Resolved, context: &Context) {
    let granted = !context.teams.is_empty();
    let teams: BTreeMap<ResourceId, TeamName> = resolved
        .units
        .iter()
        .filter(|_| granted)
        .filter_map(|(id, unit)| unit.app.team.as_ref().map(|team| (id.clone(), team.value.clone())))
        .collect();
    let known: Vec<String> = resolved.teams.keys().map(ToString::to_string).collect();
    let mut unchecked = BTreeMap::new();
    for unit in resolved.units.values_mut() {
        let mut notes = Vec::new();
        let known = if resolved.found.len() < NEAR { &known[..] } else { &[] };
        if let Some(team) = &std::sync::Arc::clone(&unit.app).team {
            if let (false, Some(why)) = (resolved.teams.contains_key(&team.value), &resolved.unread) {
                unit.hold(format!("the team `{}` is not known: {why}", team.value));
            } else if !resolved.teams.contains_key(&team.value) {
                let names = known.iter().map(String::as_str);
                notes.push(unknown(team, "team", "declare it with a manifest of kind Team", names));
            }
            if let Some(why) = resolved.teams_broken.get(&team.value) {
                unit.hold(format!("the team `{}` cannot be resolved: {why}", team.value));
            }
            for (span, message, help) in outlived(unit, team, &teams, context) {
                unit.warning(&mut resolved.found, span, message, help);
            }
            reach(unit, team, &teams, context, &mut notes);
            secrets(unit, team, context, &mut notes);
            unreadable(unit, context);
            listening::check(unit, team, context, &mut notes);
        }
        // What the Repository gives by default is not known while it cannot be read: that holds it already.
        let default = resolved.repository.defaults.provider.as_ref();
        let known = resolved.repository_broken.is_none() || default.is_some() || unit.app.provider.is_some();
        if let Some(name) = known.then(|| provider(unit, default, context, &mut notes)).flatten() {
            unchecked.entry(name.value).or_insert_with(|| (unit.id.clone(), name.span));
        }
        for (span, message, help) in notes {
            unit.error(&mut resolved.found, span, message, help);
        }
        if let Some((span, message, help)) = image_without_settings(unit, default, context) {
            unit.warning(&mut resolved.found, span, message, help);
        }
    }
    for (name, (id, span)) in unchecked {
        let (Some(unset), Some(unit)) = (&context.unset, resolved.units.get(&id)) else { continue };
        let help = match near(name.as_str(), std::iter::once(unset.as_str())) {
            Some(near) => format!("did you mean `{near}`? For others, {SETTINGS}"),
            None => SETTINGS.to_owned(),
        };
        let message = format!("the provider `{name}` is not checked: without settings there is only `{unset}`");
        unit.warning(&mut resolved.found, span, message, Some(help));
    }
}

/// An image on the provider that there is without settings, which runs none: what they make of it is not known.
fn image_without_settings(unit: &Unit, default: Option<&ProviderName>, context: &Context) -> Option<Note> {
    let unset = context.unset.as_ref()?;
    let named = unit.app.provider.as_ref().map(|at| &at.value).or(default)?;
    let run = unit.app.run.as_ref().filter(|run| matches!(run.value, RunSpec::Image(_)) && named == unset)?;
    let message = format!("without settings the provider `{unset}` runs no images");
    Some((run.span, message, Some(format!("give a `command` instead; or, where they say otherwise, {SETTINGS}"))))
}

/// How providers come to be known.
const SETTINGS: &str = "give the daemon's settings with --settings FILE";

/// A mistake: where, what, and what to do.
pub(crate) type Note = (Span, String, Option<String>);

pub(crate) fn unknown<'c>(name: &At<Name>, what: &str, otherwise: &str, known: impl Iterator<Item = &'c str>) -> Note {
    let help = match near(name.value.as_str(), known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => otherwise.to_owned(),
    };
    (name.span, format!("there is no {what} `{}`", name.value), Some(help))
}

/// Takes those former names out of what was there before that it never had, and that have come to be another team's: nobody holds
/// another team's app by declaring a name that it says it had.
fn outlived(
    unit: &mut Unit,
    team: &At<TeamName>,
    teams: &BTreeMap<ResourceId, TeamName>,
    context: &Context,
) -> Vec<Note> {
    let Some(before) = context.claims.get(&unit.id).filter(|_| !context.teams.is_empty()) else { return Vec::new() };
    let others = |was: &At<Name>| {
        let id = ResourceId::app(was.value.clone());
        // What another team lets this one have and removes is handed over.
        let removed = || rights::holder(&id, context).filter(|it| !rights::reaches(&team.value, it, context));
        let theirs = teams.get(&id).or_else(removed).filter(|theirs| **theirs != team.value)?;
        (!before.was.contains(&id))
            .then(|| (was.span, format!("`{id}` is the team `{theirs}`'s, and was never this app's"), id))
    };
    let notes: Vec<_> = unit.app.was.iter().filter_map(others).collect();
    if !notes.is_empty() {
        let is_its = |was: &At<Name>| !notes.iter().any(|(.., id)| id.name == was.value);
        std::sync::Arc::make_mut(&mut unit.app).was.retain(is_its);
    }
    let help = || Some("it counts for nothing here: take it out".to_owned());
    notes.into_iter().map(|(span, message, _)| (span, message, help())).collect()
}

/// Paths and other teams' resources.
fn reach(
    unit: &Unit,
    team: &At<TeamName>,
    teams: &BTreeMap<ResourceId, TeamName>,
    context: &Context,
    notes: &mut Vec<Note>,
) {
    if context.teams.is_empty() {
        return;
    }
    notes.extend(rights::unclaimed(&team.value, &unit.base.source.path, team.span, context));
    for was in &unit.app.was {
        let id = ResourceId::app(was.value.clone());
        // What is not declared any more is still its team's until it is gone.
        if let Some(theirs) = teams.get(&id).or_else(|| rights::holder(&id, context)) {
            notes.extend(foreign(&team.value, theirs, &id, was.span, context));
        }
    }
    for after in &unit.app.after {
        if let Some(theirs) = teams.get(&after.value) {
            notes.extend(foreign(&team.value, theirs, &after.value, after.span, context));
        }
    }
}

/// Why `team` may not reach what is of `theirs`, if it may not; asked only where the settings name teams.
pub(crate) fn foreign(
    team: &TeamName,
    theirs: &TeamName,
    id: &dyn Display,
    span: Span,
    context: &Context,
) -> Option<Note> {
    (!rights::reaches(team, theirs, context)).then(|| {
        let help = format!("add `{team}` to `teams.{theirs}.allow` in the daemon's settings");
        (span, format!("`{id}` belongs to the team `{theirs}`, which `{team}` may not reach"), Some(help))
    })
}

fn secrets(unit: &Unit, team: &At<TeamName>, context: &Context, notes: &mut Vec<Note>) {
    let Some(secrets) = &context.secrets else { return };
    notes.extend(unit.app.secrets.values().filter_map(|name| secret(name, &team.value, secrets)));
}

/// Why a team may not use a secret, if it may not.
pub(crate) fn secret(
    secret: &At<SecretName>,
    team: &TeamName,
    secrets: &BTreeMap<SecretName, SecretFacts>,
) -> Option<Note> {
    match secrets.get(&secret.value) {
        Some(facts) if facts.teams.contains(team) => None,
        Some(_) => {
            let help = format!("add it to `secrets.{}.teams` in the daemon's settings", secret.value);
            let message = format!("the secret `{}` is not granted to the team `{team}`", secret.value);
            Some((secret.span, message, Some(help)))
        }
        None => {
            // Names of secrets that the team has not been granted are not given away.
            let own = secrets.iter().filter(|(_, facts)| facts.teams.contains(team));
            let own = own.map(|(name, _): (&SecretName, _)| name.as_str());
            Some(unknown(secret, "secret", "add it to `secrets` in the daemon's settings", own))
        }
    }
}

/// Holds what uses a secret whose value is not known.
fn unreadable(unit: &mut Unit, context: &Context) {
    let Some(secrets) = &context.secrets else { return };
    let why = unit.app.secrets.values().find_map(|secret| secrets.get(&secret.value)?.tag.as_ref().err().cloned());
    if let Some(why) = why {
        unit.hold(why);
    }
}

/// Checks the provider against the settings; it is given back where there are none to know it by.
fn provider(
    unit: &Unit,
    default: Option<&ProviderName>,
    context: &Context,
    notes: &mut Vec<Note>,
) -> Option<At<ProviderName>> {
    let Some(name) = unit
        .app
        .provider
        .clone()
        .or_else(|| default.map(|name| At { value: name.clone(), span: unit.header.name.span }))
    else {
        let help = "name one here, or in `defaults` of the Repository manifest".to_owned();
        notes.push((unit.header.name.span, format!("`{}` has no provider", unit.id), Some(help)));
        return None;
    };
    let Some(providers) = &context.providers else {
        return context.unset.as_ref().is_some_and(|unset| *unset != name.value).then_some(name);
    };
    let Some(facts) = providers.get(&name.value) else {
        let names = providers.keys().map(Name::as_str);
        notes.push(unknown(&name, "provider", "add it to `providers` in the daemon's settings", names));
        return None;
    };
    let (what, able, other) = match unit.app.run.as_ref().map(|run| &run.value) {
        Some(RunSpec::Image(_)) => ("images", facts.images, "give a `command` instead, with an `artifact` if needed"),
        Some(RunSpec::Command { .. }) => ("commands", facts.commands, "give an `image` instead"),
        None => return None,
    };
    if let (false, Some(run)) = (able, &unit.app.run) {
        let message = format!("the provider `{}` ({}) does not run {what}", name.value, facts.word);
        notes.push((run.span, message, Some(other.to_owned())));
    }
    None
}
