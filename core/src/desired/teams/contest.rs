//! Which of several documents on one thing count, where the settings name teams: who has a right to it, or had it before,
//! keeps it, and only the intruder is told so. Without teams all count.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{ResourceId, TeamName};

use super::grants::foreign;
use super::holder::Holders;
use super::rights;
use crate::desired::Context;
use crate::desired::answering::referred::Referred;
use crate::desired::apps::former::Said;
use crate::desired::files::groups::{Bases, Found, Key, Overlays};
use crate::desired::kinds::header::ManifestKind;
use crate::desired::resolve::Resolver;
use crate::desired::text::diagnostic::Diagnostic;
use crate::desired::text::tree::At;

/// What is known of names: who had them, and, once it is asked for, who refers to them.
struct Names<'n, 'f> {
    holders: &'n Holders<'n>,
    bases: &'n Bases<'f>,
    referred: &'n OnceCell<Referred>,
}

impl Resolver<'_> {
    /// The documents that may speak for their id: a file that its team may not claim loses to one that its team may, and
    /// among several teams' the one that had it before stays in force.
    pub(crate) fn in_force<'f>(&mut self, mut bases: Bases<'f>) -> Bases<'f> {
        if self.context.teams.is_empty() {
            return bases;
        }
        bases = self.given(bases);
        let mut intruders = BTreeSet::new();
        let holders = Holders::new(self.context, self.in_force);
        let referred = OnceCell::new();
        let names = Names { holders: &holders, bases: &bases, referred: &referred };
        for (key, group) in bases.iter() {
            let own = self.without_strangers(*key, group, &names, &mut intruders);
            if own.len() > 1 {
                self.contest(*key, &own, &holders, &mut intruders);
            }
        }
        if !intruders.is_empty() {
            bases.0.retain(|(_, found)| !intruders.contains(&at(found)));
        }
        bases
    }

    /// The manifests that may speak for what a team had at the last accepted revision: all but those of teams that it does not
    /// let take it over, even where it has none any more. So nobody keeps another team from renaming or removing what is its
    /// own, takes back that it did, or takes its place by its mistake. A name of how alerts are answered stays its own as long as
    /// others refer to it, and is not inherited by who asked for it while it was.
    fn without_strangers<'f>(
        &mut self,
        key: Key<'f>,
        group: &[(Key<'f>, Found<'f>)],
        names: &Names<'_, 'f>,
        intruders: &mut BTreeSet<Position>,
    ) -> Vec<Found<'f>> {
        let (context, holders) = (self.context, names.holders);
        let all = group.iter().map(|(_, found)| *found);
        let formerly = holders.formerly(key);
        let holder = holders.team(key).or_else(|| Some(formerly?.1));
        let Some(holder) = holder.filter(|holder| context.teams.contains_key(*holder)).cloned() else {
            return all.collect();
        };
        let (in_force, all_asked) = (self.in_force, self.asked);
        let is_resource = key.0.resource(key.1).is_some();
        // Where it stood until now it is no stranger's: its team has come to have no right to the file, and that holds it. With
        // what answers alerts that is so only of what says that it is its own, for nothing else guards that.
        let stands = |found: &Found<'f>| {
            let path = &found.file.source.path;
            holders.stood_in(key, path)
                && (is_resource
                    || rights::team_of(found.document()) == Some(&holder)
                    || rights::may_claim(&holder, path, context))
        };
        let settled = |team: &TeamName| {
            let asked = all_asked.is_none_or(|asked| asked.contains(&(key.0, key.1.clone(), team.clone())));
            let referred = || Referred::by_all(names.bases, in_force, context);
            let keeps = is_resource || holders.is_there(key) || asked;
            !keeps && !names.referred.get_or_init(referred).by_others(key, team)
        };
        let stranger = |found: &Found<'f>| {
            let team = writer(found, context).filter(|_| !stands(found))?;
            (!rights::reaches(team, &holder, context) && !settled(team)).then(|| team.clone())
        };
        let (strangers, own): (Vec<_>, Vec<_>) = all.partition(|found| stranger(found).is_some());
        if !strangers.is_empty() && !is_resource {
            self.resolved.holders.insert(shown(key), holder.clone());
        }
        for found in strangers {
            let Some(team) = stranger(&found) else { continue };
            let (message, help) = match own.first() {
                Some(first) => another(key, first),
                None if let Some((id, _)) = formerly => (
                    format!("`{}` is the former name of {id}, and has no effect here", shown(key)),
                    "choose another name, or remove that former name first".to_owned(),
                ),
                None => (
                    format!("{} `{}` is the team `{holder}`'s, and has no effect here", key.0.word(), key.1),
                    for_others(is_resource, &team, &holder),
                ),
            };
            if !is_resource {
                self.resolved.asked.insert((key.0, key.1.clone(), team.clone()));
            }
            if let Some(id) = key.0.resource(key.1) {
                let begun = self.resolved.came.has(&found.file.source.path);
                self.resolved.wanted.ask(id, &team, begun, || found.place());
            }
            self.turned_away(&found, key, message, help);
            intruders.insert(at(&found));
        }
        own
    }

    fn contest<'f>(
        &mut self,
        key: Key<'f>,
        group: &[Found<'f>],
        holders: &Holders<'_>,
        intruders: &mut BTreeSet<Position>,
    ) {
        if matches!(key.0, ManifestKind::Repository | ManifestKind::Team) {
            return;
        }
        let context = self.context;
        let of_whom = |found: &Found<'f>| rights::speaks(found.document(), &found.file.source.path, context);
        let rightful = group.iter().filter_map(|found| Some((found, of_whom(found)?)));
        let mut stay: Vec<(&Found<'f>, &TeamName)> = rightful.collect();
        let teams: BTreeSet<&TeamName> = stay.iter().map(|(_, team)| *team).collect();
        if teams.len() > 1 {
            let before = holders.among(key, &stay);
            if !before.is_empty() {
                stay.retain(|(_, team)| before.contains(team));
            }
        }
        let Some((first, holder)) = stay.first().copied() else { return };
        let stays = |other: &Found<'f>| stay.iter().any(|(found, _)| Arc::ptr_eq(found.file, other.file));
        let others: Vec<Found<'f>> = group.iter().filter(|found| !stays(found)).copied().collect();
        if key.0.resource(key.1).is_none() && !others.is_empty() {
            self.resolved.holders.insert(shown(key), holder.clone());
        }
        for intruder in others {
            let (message, help) = another(key, first);
            self.turned_away(&intruder, key, message, help);
            intruders.insert(at(&intruder));
        }
    }

    /// Says of a document that it has no effect, with its own mistakes.
    pub(crate) fn turned_away(&mut self, found: &Found<'_>, key: Key<'_>, message: String, help: String) {
        let mistake = found.error(message, Some(help));
        self.resolved.were.extend(Said::of(found, &mistake.why(), &self.resolved.came));
        self.resolved.found.push(mistake);
        self.resolved.found.extend(found.document().found.iter().cloned());
        self.disown(found, key);
    }

    /// The overlays whose writer may claim their path and reach what they change; the others have no effect.
    pub(crate) fn permitted<'f>(&mut self, mut overlays: Overlays<'f>, bases: &Bases<'f>) -> Overlays<'f> {
        if self.context.teams.is_empty() {
            return overlays;
        }
        overlays.0.retain(|((environment, key), patch)| {
            let Some((_, base)) = bases.get(key).first() else { return true };
            let Some(mistake) = self.refused(*key, base, patch) else { return true };
            let concerns = environment.is_some() && *environment == self.context.environment.as_ref();
            self.found(std::iter::once(mistake).chain(patch.document().found.iter().cloned()), concerns);
            self.disown(patch, *key);
            false
        });
        overlays
    }

    /// Why this overlay may not change what it names, if it may not.
    fn refused(&self, key: Key<'_>, base: &Found<'_>, patch: &Found<'_>) -> Option<Diagnostic> {
        let theirs = rights::team_of(base.document())?;
        let named = written_by(patch);
        let span = named.as_ref().map_or(patch.document().header.name.span, |team| team.span);
        let writer = named.map_or_else(|| theirs.clone(), |team| team.value);
        let (span, message, help) = rights::unclaimed(&writer, &patch.file.source.path, span, self.context)
            .or_else(|| foreign(&writer, theirs, &shown(key), span, self.context))?;
        Some(Diagnostic::error(&patch.file.source, span, message, help))
    }

    /// What a document without effect says of an id is not remembered: it must not have had it at the next revision.
    fn disown(&mut self, found: &Found<'_>, (kind, name): Key<'_>) {
        let ids = self.resolved.declared.get_mut(&found.file.source.path);
        if let (Some(ids), Some(id)) = (ids, kind.resource(name)) {
            Arc::make_mut(ids).remove(&id);
        }
    }
}

/// What a manifest is about, as it is said to people: `app/shop`, `Playbook/shop-down`.
fn shown((kind, name): Key<'_>) -> String {
    kind.resource(name).map_or_else(|| format!("{}/{name}", kind.word()), |id: ResourceId| id.to_string())
}

/// That another manifest is in force, and where it is.
fn another((kind, name): Key<'_>, first: &Found<'_>) -> (String, String) {
    let message = format!("{} `{name}` is another manifest's and has no effect here", kind.word());
    (message, format!("the one in force is at {}; rename or remove this one", first.place()))
}

/// What helps who asks for a name that another team had.
fn for_others(is_resource: bool, team: &TeamName, holder: &TeamName) -> String {
    let allowed = format!("with `{team}` in `teams.{holder}.allow` of the daemon's settings `{team}` may have it");
    if is_resource {
        return format!("choose another name; {allowed}, with its data");
    }
    format!(
        "choose another name, or take this away until `{holder}` has it no more and nobody else's manifest and no setting names \
         it; {allowed} at once"
    )
}

/// The team that a document speaks for where it may, else the one whose file it is in.
fn writer<'f>(found: &Found<'f>, context: &'f Context) -> Option<&'f TeamName> {
    let path = &found.file.source.path;
    rights::speaks(found.document(), path, context).or_else(|| rights::whose(path, context))
}

/// A document by its file's path and its place there.
type Position = (Arc<str>, usize);

fn at(found: &Found<'_>) -> Position {
    (Arc::clone(&found.file.source.path), found.index)
}

/// The team an overlay says it is written by.
fn written_by(patch: &Found<'_>) -> Option<At<TeamName>> {
    let node = patch.document().patch.as_ref()?.get("metadata")?.get("team")?;
    Some(At { value: node.text()?.parse().ok()?, span: node.span })
}
