//! Whose the settings' `fallback` is, where they name teams: it speaks for everybody, so only who writes for everybody gives it,
//! and nobody takes the place of those whom it tells.

use crate::model::TeamName;

use super::rights::{TOP, may_claim, reaches, speaks};
use crate::desired::Context;
use crate::desired::answering::in_force::{Candidate, InForce, Key};
use crate::desired::answering::telling::tells;
use crate::desired::files::groups::{Bases, Found};
use crate::desired::kinds::header::ManifestKind;
use crate::desired::resolve::Resolver;
use crate::desired::text::mistakes::Mistakes;

/// Whether this team's policy may be the `fallback`.
fn may_give(team: &TeamName, context: &Context) -> bool {
    match &context.fallback_team {
        Some(named) => named == team,
        None => may_claim(team, TOP, context),
    }
}

/// What the `fallback` is.
fn key(context: &Context) -> Option<Key> {
    context.fallback.as_ref().map(|name| (ManifestKind::EscalationPolicy, name.clone()))
}

impl Resolver<'_> {
    /// Turns away the policies that are called as the `fallback` is and are of a team that may not give it.
    pub(crate) fn given<'f>(&mut self, mut bases: Bases<'f>) -> Bases<'f> {
        let Some((kind, name)) = key(self.context) else { return bases };
        let context = self.context;
        let gives = |found: &Found<'_>| {
            let team = speaks(found.document(), &found.file.source.path, context);
            team.is_some_and(|team| may_give(team, context))
        };
        let strangers = bases.get(&(kind, &name)).iter().map(|(key, found)| (*key, *found));
        let strangers: Vec<_> = strangers.filter(|(_, found)| !gives(found)).collect();
        for (key, found) in &strangers {
            let message = format!(
                "{} `{name}` has no effect here: it is the `fallback` of the daemon's settings, which is for everybody",
                kind.word()
            );
            let whose = match &context.fallback_team {
                Some(team) => format!("that is the team `{team}`'s, as `fallbackTeam` in the daemon's settings says"),
                None => format!(
                    "that is of a team whose `paths` in the daemon's settings let it claim `{TOP}`, or which `fallbackTeam` \
                     names there"
                ),
            };
            let help = format!("rename it: {whose}");
            self.turned_away(found, *key, message, help);
        }
        if !strangers.is_empty() {
            bases.0.retain(|(key, found)| *key != (kind, &name) || gives(found));
        }
        bases
    }
}

/// Turns away whoever would take the place of one whom the `fallback` tells, by what it said until now, and whose team that one
/// is not; and forgets a policy that was in force under its name and may not be it.
pub(crate) fn guard(candidates: &mut Vec<Candidate>, before: &mut InForce, context: &Context, found: &mut Mistakes) {
    let Some(policy) = key(context).filter(|_| !context.teams.is_empty()) else { return };
    let Some((declares, _)) = before.get(&policy) else { return };
    let giver = declares.team().clone();
    if !may_give(&giver, context) {
        before.remove(&policy);
        return;
    }
    let mut told = tells(declares);
    while let Some(key) = told.pop() {
        let Some((declares, _)) = before.get(&key) else { continue };
        let holder = declares.team();
        told.extend(tells(declares));
        let takes = |one: &Candidate| {
            let team = one.manifest.team.as_ref().map(|team| &team.value);
            one.key == key && team.is_some_and(|team| team != holder && !reaches(&giver, team, context))
        };
        if let Some(at) = candidates.iter().position(takes) {
            let mut taker = candidates.remove(at);
            let message = format!(
                "{} `{}` is the team `{holder}`'s, for the `fallback` of the daemon's settings tells it, and has no effect here",
                key.0.word(),
                key.1
            );
            taker.error(found, (taker.name, message, Some("rename it".to_owned())));
        }
    }
}
