//! What a manifest of how alerts are answered names: whether it is there, and whether its team may reach it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{Egress, host};
use crate::model::{DocumentName, Does, Name, Period, PlaybookStep, ResourceId, TeamName};

use super::in_force::{Candidate, Key, id};
use crate::desired::Context;
use crate::desired::apps::references::NEAR;
use crate::desired::files::file::{Class, Document, ParsedFile, SCRIPTS};
use crate::desired::kinds::header::ManifestKind;
use crate::desired::kinds::response::{Declares, Refers};
use crate::desired::resolve::Resolved;
use crate::desired::teams::grants::{self, Note, foreign};
use crate::desired::teams::rights;
use crate::desired::text::mistakes::Mistakes;
use crate::desired::text::read::near;
use crate::desired::text::tree::{At, Span};

/// How long a proof that has no timeout waits beyond that, as [`crate::playbook::pin`] fills in.
const PROOF_MARGIN: u64 = 180_000;
/// Steps that a run has beyond those written.
const IMPLIED: [&str; 3] = ["proof", "replace", "call"];

/// All there is to name.
pub(crate) struct Named<'a> {
    context: &'a Context,
    files: &'a [Arc<ParsedFile>],
    /// Whose each manifest is, broken ones as well, and those that stay though nobody may declare them where they stood.
    declared: BTreeMap<Key, Option<TeamName>>,
    resolved: &'a Resolved,
    teams: BTreeSet<TeamName>,
    /// The steps of each playbook.
    steps: BTreeMap<Name, Vec<Step>>,
    /// How late a resolved signal may come; `None` while the Repository cannot be read.
    resolve_delay: Option<Period>,
    /// Whether a file cannot be read: what is not there may stand in it.
    uncertain: bool,
    /// How often it is still looked for what was meant.
    hints: Cell<usize>,
}

impl<'a> Named<'a> {
    pub(crate) fn of(
        candidates: &[Candidate],
        resolved: &'a Resolved,
        files: &'a [Arc<ParsedFile>],
        context: &'a Context,
        stays: &BTreeMap<Key, TeamName>,
    ) -> Self {
        let whose = |candidate: &Candidate| candidate.manifest.team.as_ref().map(|team| team.value.clone());
        let stays = stays.iter().map(|(key, team)| (key.clone(), Some(team.clone())));
        Self {
            context,
            files,
            declared: stays.chain(candidates.iter().map(|one| (one.key.clone(), whose(one)))).collect(),
            resolved,
            teams: resolved.teams.keys().cloned().collect(),
            steps: candidates.iter().filter_map(steps).collect(),
            resolve_delay: resolved.repository_broken.is_none().then(|| resolved.repository.resolve_delay()),
            uncertain: resolved.unread.is_some() || files.iter().any(|file| !file.lost.is_empty()),
            hints: Cell::new(NEAR),
        }
    }

    /// Whether there is a manifest of this kind and name.
    pub(crate) fn has(&self, kind: ManifestKind, name: &Name) -> bool {
        self.declared.contains_key(&(kind, name.clone()))
    }

    /// Whether somebody is paged where no route says.
    pub(crate) fn has_fallback(&self) -> bool {
        self.context.fallback.is_some()
    }

    /// Who is paged where no route says.
    pub(crate) fn fallback(&self) -> Option<&Name> {
        self.context.fallback.as_ref()
    }

    /// Whether the settings name teams.
    pub(crate) fn keeps_teams_apart(&self) -> bool {
        !self.context.teams.is_empty()
    }

    /// Whether a manifest's team is granted the Repository's file.
    pub(crate) fn writes_for_everybody(&self, candidate: &Candidate) -> bool {
        let team = candidate.manifest.team.as_ref();
        team.is_some_and(|team| rights::may_claim(&team.value, rights::TOP, self.context))
    }

    /// Whether some team is granted it.
    pub(crate) fn lets_some_team_write_for_everybody(&self) -> bool {
        !rights::granted(rights::TOP, self.context).is_empty()
    }

    /// Whether a file cannot be read, so that what is not there may stand in it.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    /// The name of this kind that is most like one.
    pub(crate) fn near(&self, kind: ManifestKind, name: &Name) -> Option<&str> {
        let names = self.declared.keys().filter(|(other, _)| *other == kind).map(|(_, name)| name.as_str());
        self.nearest(name.as_str(), names)
    }

    /// The same of any names.
    fn nearest<'c>(&self, text: &str, names: impl Iterator<Item = &'c str>) -> Option<&'c str> {
        self.hints.set(self.hints.get().checked_sub(1)?);
        near(text, names)
    }

    /// Whether a resource is declared, and whose it is, as far as that is known.
    fn resource(&self, id: &ResourceId) -> Option<Option<&TeamName>> {
        let unit = self.resolved.units.get(id).map(|unit| unit.app.team.as_ref().map(|team| &team.value));
        unit.or_else(|| self.resolved.held.contains_key(id).then_some(None))
    }

    fn file(&self, path: &str) -> Option<&ParsedFile> {
        let at = self.files.binary_search_by(|file| (*file.source.path).cmp(path)).ok()?;
        Some(&self.files[at])
    }
}

/// A step by its name, and the playbook that it calls, if it does.
struct Step {
    name: Name,
    calls: Option<Name>,
}

fn steps(candidate: &Candidate) -> Option<(Name, Vec<Step>)> {
    let Some(Declares::Playbook(playbook)) = &candidate.manifest.declares else { return None };
    let all = playbook.steps.iter().chain(playbook.otherwise.iter().flatten());
    let step = |step: &PlaybookStep| Step {
        name: step.name.clone(),
        calls: match &step.does {
            Does::Playbook(called) => Some(called.clone()),
            _ => None,
        },
    };
    Some((candidate.key.1.clone(), all.map(step).collect()))
}

/// What is wrong with something named.
enum Wrong {
    /// It is not there.
    Missing(Note),
    /// It is there, and may not be used like that.
    Refused(Note),
    /// It may be written, and will not work as the settings are.
    Useless(Note),
}

/// Checks a manifest's team, its place, and all it names.
pub(crate) fn check(candidate: &mut Candidate, named: &Named<'_>, found: &mut Mistakes) {
    let manifest = Arc::clone(&candidate.manifest);
    let Some(team) = &manifest.team else { return };
    if let (false, Some(why)) = (named.teams.contains(&team.value), &named.resolved.unread) {
        candidate.broken.get_or_insert_with(|| format!("the team `{}` is not known: {why}", team.value));
    } else if !named.teams.contains(&team.value) {
        let hints = if found.len() < NEAR { usize::MAX } else { 0 };
        let names = named.teams.iter().map(Name::as_str).take(hints);
        let note = grants::unknown(team, "team", "declare it with a manifest of kind Team", names);
        candidate.error(found, note);
    }
    let key = id(&candidate.key);
    // Another's was turned away then.
    let its = named.context.holders.get(&key).is_none_or(|holder| *holder == team.value);
    let was_good = its && named.context.looks_back.as_ref().is_some_and(|good| good.contains(&key));
    let unclaimed = rights::unclaimed(&team.value, &candidate.base.source.path, team.span, named.context);
    if let Some(note) = unclaimed.filter(|_| !was_good) {
        candidate.error(found, note);
    }
    for At { value, span } in &manifest.names {
        let near = found.len() < NEAR;
        match wrong(candidate, &team.value, value, *span, named) {
            None => {}
            Some(Wrong::Missing(_)) if named.resolved.unread.is_some() => {}
            Some(Wrong::Missing(note)) if named.uncertain => candidate.warning(found, note),
            Some(Wrong::Missing((span, message, help))) => {
                candidate.error(found, (span, message, help.filter(|_| near)));
            }
            Some(Wrong::Refused(note)) => candidate.error(found, note),
            Some(Wrong::Useless(note)) => candidate.warning(found, note),
        }
    }
}

fn wrong(candidate: &Candidate, team: &TeamName, refers: &Refers, span: Span, named: &Named<'_>) -> Option<Wrong> {
    // A route hands no authority over: whoever answers acts for himself. Whom it calls says `routed`.
    let asks = candidate.key.0 != ManifestKind::AlertRoute;
    match refers {
        Refers::Policy(name) if !asks => routed(name, team, span, named),
        Refers::Policy(name) => manifest(ManifestKind::EscalationPolicy, name, team, asks, span, named),
        Refers::Receiver(name) => manifest(ManifestKind::Receiver, name, team, asks, span, named),
        Refers::OnCall(name) => manifest(ManifestKind::OnCall, name, team, asks, span, named),
        Refers::Playbook(name) if candidate.key.0 == ManifestKind::Playbook => called(name, team, span, named),
        Refers::Playbook(name) => manifest(ManifestKind::Playbook, name, team, false, span, named),
        Refers::Secret(name) => {
            let secret = At { value: name.clone(), span };
            grants::secret(&secret, team, named.context.secrets.as_ref()?).map(Wrong::Refused)
        }
        Refers::Target(id) => target(id, team, span, named),
        Refers::Script(file) => script(candidate, file, team, span, named),
        Refers::Manifest(path, document) => changed(path, document.as_ref(), team, span, named),
        Refers::Proof { timeout, within, quiet } => {
            proof(*timeout, *within, *quiet, span, named.resolve_delay?).map(Wrong::Refused)
        }
        Refers::Longer { time, within } => {
            let message =
                format!("this may take {time}, and all `steps` together have {within}: then it is broken off");
            let help = "give the playbook's `limits.timeout` more, or this less".to_owned();
            Some(Wrong::Useless((span, message, Some(help))))
        }
        Refers::Step(name) => step(candidate, name, span, named).map(Wrong::Refused),
        Refers::Address(url) => barred(url, team, span, named.context).map(Wrong::Useless),
    }
}

/// An address that requests made for a team may not reach, as far as that is known without looking it up.
fn barred(url: &str, team: &TeamName, span: Span, context: &Context) -> Option<Note> {
    Egress::of(team, &context.teams).bars(url).then(|| {
        let message = format!("requests made for the team `{team}` may not reach `{}`, so that this fails", host(url));
        (span, message, Some(format!("add it to `teams.{team}.egress` in the daemon's settings")))
    })
}

fn manifest(
    kind: ManifestKind,
    name: &Name,
    team: &TeamName,
    asks: bool,
    span: Span,
    named: &Named<'_>,
) -> Option<Wrong> {
    match named.declared.get(&(kind, name.clone())) {
        None => {
            let help = match named.near(kind, name) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("declare it with a manifest of kind {}", kind.word()),
            };
            Some(Wrong::Missing((span, format!("there is no {} `{name}`", kind.word()), Some(help))))
        }
        Some(Some(theirs)) if asks && !named.context.teams.is_empty() => {
            foreign(team, theirs, &format!("{}/{name}", kind.word()), span, named.context).map(Wrong::Refused)
        }
        Some(_) => None,
    }
}

/// Whom a route calls: its own team's people, those whose team lets it, or who answers for everybody; whoever writes for everybody
/// may call all.
fn routed(name: &Name, team: &TeamName, span: Span, named: &Named<'_>) -> Option<Wrong> {
    let theirs = named.declared.get(&(ManifestKind::EscalationPolicy, name.clone())).and_then(Option::as_ref);
    let is_everybodys = |team: &TeamName| rights::may_claim(team, rights::TOP, named.context);
    let asks = !is_everybodys(team) && theirs.is_some_and(|theirs| !is_everybodys(theirs));
    manifest(ManifestKind::EscalationPolicy, name, team, asks, span, named)
}

/// A playbook that is called has its caller's authority, so whoever writes it must be trusted with that.
fn called(name: &Name, team: &TeamName, span: Span, named: &Named<'_>) -> Option<Wrong> {
    if let Some(missing) = manifest(ManifestKind::Playbook, name, team, false, span, named) {
        return Some(missing);
    }
    let theirs = named.declared.get(&(ManifestKind::Playbook, name.clone()))?.as_ref()?;
    (!rights::may_act_for(theirs, team, named.context)).then(|| {
        let message = format!("`Playbook/{name}` is the team `{theirs}`'s, and would act with the authority of `{team}`");
        let help = format!(
            "call one of `{team}`'s own or of a team that may claim `{}`, or add `{theirs}` to `teams.{team}.allow` in the \
             daemon's settings",
            rights::TOP
        );
        Wrong::Refused((span, message, Some(help)))
    })
}

fn target(id: &ResourceId, team: &TeamName, span: Span, named: &Named<'_>) -> Option<Wrong> {
    match named.resource(id) {
        None => {
            let near = named.nearest(id.name.as_str(), named.resolved.units.keys().map(|other| other.name.as_str()));
            let help = near.map(|near| format!("did you mean `{}/{near}`?", id.kind));
            Some(Wrong::Missing((span, format!("there is no `{id}` to act on"), help)))
        }
        Some(Some(theirs)) if !named.context.teams.is_empty() => {
            foreign(team, theirs, id, span, named.context).map(Wrong::Refused)
        }
        Some(_) => None,
    }
}

fn script(candidate: &Candidate, file: &str, team: &TeamName, span: Span, named: &Named<'_>) -> Option<Wrong> {
    let folder = candidate.base.source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") };
    let Some(file) = named.file(&path).filter(|file| file.class == Class::Script) else {
        let scripts = named.files.iter().filter(|file| file.class == Class::Script);
        let below = scripts.filter_map(|file| file.source.path.strip_prefix(folder));
        let help = match named.nearest(file, below.map(|path| path.trim_start_matches('/'))) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("a script is a file, no link, in a folder called `{SCRIPTS}`"),
        };
        return Some(Wrong::Refused((span, format!("there is no script `{path}`"), Some(help))));
    };
    if file.left_out.is_some() {
        return Some(Wrong::Refused((span, format!("`{path}` is not read, for it is beyond a limit"), None)));
    }
    if !file.source.bytes.starts_with(b"#!") {
        let help = "its first line says what runs it, such as #!/bin/sh".to_owned();
        return Some(Wrong::Refused((span, format!("`{path}` does not begin with `#!`"), Some(help))));
    }
    rights::unclaimed(team, &path, span, named.context).map(Wrong::Refused)
}

/// A manifest that a step changes.
fn changed(
    path: &str,
    document: Option<&DocumentName>,
    team: &TeamName,
    span: Span,
    named: &Named<'_>,
) -> Option<Wrong> {
    let is = |class: &Class| matches!(class, Class::Manifest | Class::Overlay(_));
    let Some(file) = named.file(path).filter(|file| is(&file.class)) else {
        let manifests = named.files.iter().filter(|file| is(&file.class));
        let near = named.nearest(path, manifests.map(|file| &*file.source.path));
        let help = near.map(|near| format!("did you mean `{near}`?"));
        return Some(Wrong::Refused((span, format!("there is no manifest `{path}`"), help)));
    };
    let unclaimed = rights::unclaimed(team, path, span, named.context);
    unclaimed.or_else(|| which(file, document, span)).map(Wrong::Refused)
}

/// Whether it is clear which document of a file is meant, as far as the file can be read.
fn which(file: &ParsedFile, document: Option<&DocumentName>, span: Span) -> Option<Note> {
    let word = |of: &Document| format!("{}/{}", of.header.kind.word(), of.header.name.value);
    let words: Vec<String> = file.documents.iter().map(word).collect();
    let path = &file.source.path;
    match document.map(ToString::to_string) {
        Some(meant) if file.lost.is_empty() && !words.contains(&meant) => {
            let help = match near(&meant, words.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it holds {}", words.join(", ")),
            };
            Some((span, format!("`{path}` holds no `{meant}`"), Some(help)))
        }
        None if words.len() > 1 => {
            let message = format!("`{path}` holds {} documents, and this does not say which one is meant", words.len());
            Some((span, message, Some(format!("add `document: {}`, or another of them", words[0]))))
        }
        _ => None,
    }
}

/// A wait that would end before the signal can have come.
fn proof(own: Option<Period>, within: Option<Period>, quiet: Period, span: Span, delay: Period) -> Option<Note> {
    let least = Period::from_millis(delay.as_millis() + quiet.as_millis());
    let waits = own.unwrap_or(Period::from_millis(delay.as_millis() + PROOF_MARGIN));
    let (time, whose) = match within {
        Some(within) if within < waits => (within, "the playbook's `limits.timeout`"),
        _ => (waits, "it"),
    };
    (time < least).then(|| {
        let message = format!(
            "the resolved signal may come {delay} late and must stay quiet for {quiet}; {whose} ends after {time}"
        );
        let help =
            format!("give it at least {least}, or set `resolveDelay` in the Repository to how late it really comes");
        (span, message, Some(help))
    })
}

/// A step that a test names. One of a called playbook is none of the caller's: a test says how the call ends.
fn step(candidate: &Candidate, name: &Name, span: Span, named: &Named<'_>) -> Option<Note> {
    let Some(Declares::Test(test)) = &candidate.manifest.declares else { return None };
    let steps = named.steps.get(&test.spec.playbook)?;
    let known = || steps.iter().map(|step| step.name.as_str());
    if known().chain(IMPLIED).any(|known| known == name.as_str()) {
        return None;
    }
    let is_its = |called: &Name| named.steps.get(called).is_some_and(|its| its.iter().any(|step| step.name == *name));
    let inner = steps.iter().find_map(|step| Some((&step.name, step.calls.as_ref().filter(|called| is_its(called))?)));
    let mut help = match inner {
        Some((step, called)) => format!(
            "it is a step of `{called}`, which `{step}` calls: say how `{step}` ends, and test `{called}` by itself; "
        ),
        None => match named.nearest(name.as_str(), known().chain(IMPLIED)) {
            Some(near) => format!("did you mean `{near}`? "),
            None => String::new(),
        },
    };
    let distinct: Vec<&str> = known().collect::<BTreeSet<_>>().into_iter().collect();
    help += &format!("its steps are {}; a run may add {}", distinct.join(", "), IMPLIED.join(", "));
    Some((span, format!("the playbook `{}` has no step `{name}`", test.spec.playbook), Some(help)))
}
