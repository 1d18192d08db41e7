//! Where an alert goes: the routing tree, the playbooks that answer it, and what keeps it quiet. Pure: alerts, routes and the time
//! come in, decisions go out. Semantics of tree, matchers, inhibition and mute times are Alertmanager's.

mod index;
mod quiet;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use self::index::Index;
use crate::config::{Freeze, FreezeWhat};
use crate::model::{
    Alert, AlertId, AlertMemory, AlertRouteSpec, AlertState, Labels, Matcher, Name, Owned, Period, Response, Route,
    TeamName, Trigger, Whose,
};

pub use quiet::{Quiet, inhibitions, is_by_rule, maintained};

/// Where one alert goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Routed {
    /// The playbooks that answer it: those whose own `on:` matches, then those its routes name.
    pub playbooks: Vec<Name>,
    /// Who is paged for it; the fallback where no route says.
    pub policy: Option<Name>,
    /// Whether a route that was taken names it for itself, and not only its manifest for all.
    #[serde(skip)]
    named: bool,
    /// Whether no route says so, and it is the fallback.
    #[serde(skip)]
    pub by_fallback: bool,
    /// Labels whose values it shares with others of its group.
    pub group_by: Vec<String>,
    /// Mute times of its routes: the manifest's name and the time's.
    pub mute: Vec<(Name, Name)>,
    /// The routes taken, each from the manifest's name to the node: `routing`, `routing > 2 > 1`.
    pub taken: Vec<String>,
    /// The playbooks among them that its routes name.
    pub by_route: Vec<Name>,
    /// Whose it is, as far as its labels tell; asked only where the settings name teams.
    pub owner: Option<TeamName>,
    /// The teams that write for everybody: what is nobody's is theirs.
    #[serde(skip)]
    pub everybodys: BTreeSet<TeamName>,
}

impl Routed {
    /// What alerts that share a run without a target, or a page, have in common.
    pub fn group(&self, labels: &Labels) -> Labels {
        let of = |name: &String| (name.clone(), labels.get(name).cloned().unwrap_or_default());
        self.group_by.iter().map(of).collect()
    }
}

/// All routes and playbooks of one revision, indexed by the labels they ask for, so that thousands of alerts are routed at
/// once.
#[derive(Debug)]
pub struct Router {
    response: Arc<Response>,
    playbooks: Vec<Name>,
    by_trigger: Index,
    /// The manifests: last those whose top asks for nothing, and of these the one that is for everybody.
    trees: Vec<Tree>,
    fallback: Option<Name>,
    whose: Whose,
    /// The team of the manifest whose top asks for nothing, where it may write for everybody: then all its manifests are.
    everybodys: Option<TeamName>,
}

/// One manifest.
#[derive(Debug)]
struct Tree {
    name: Name,
    team: TeamName,
    top: Node,
}

/// One node of a tree with its children indexed.
#[derive(Debug)]
struct Node {
    policy: Option<Name>,
    playbook: Option<Name>,
    group_by: Option<Vec<String>>,
    mute: Vec<Name>,
    matchers: Vec<Matcher>,
    go_on: bool,
    children: Vec<Node>,
    index: Index,
}

/// What a node hands down to its children.
#[derive(Debug, Clone, Copy)]
struct Inherited<'a> {
    manifest: &'a Name,
    policy: Option<&'a Name>,
    /// Whether that is not the top's.
    named: bool,
    is_top: bool,
    playbook: Option<&'a Name>,
    group_by: Option<&'a Vec<String>>,
}

impl<'a> Inherited<'a> {
    fn of(manifest: &'a Name) -> Self {
        Self { manifest, policy: None, named: false, is_top: true, playbook: None, group_by: None }
    }
}

impl Router {
    /// Indexes a revision's routes. `fallback` is paged where no route says who. `whose` says which manifests count for an
    /// alert.
    pub fn new(response: &Arc<Response>, fallback: Option<&Name>, whose: Whose) -> Self {
        let mut triggers = Vec::new();
        let mut playbooks = Vec::new();
        for (name, playbook) in &response.playbooks {
            if let Trigger::Alert(matchers) = &playbook.on {
                playbooks.push(name.clone());
                triggers.push(matchers.as_slice());
            }
        }
        let tree = |(name, route): (&Name, &Arc<Owned<AlertRouteSpec>>)| Tree {
            name: name.clone(),
            team: route.team.clone(),
            top: Node::new(&route.spec.route),
        };
        let mut trees: Vec<Tree> = response.routes.iter().map(tree).collect();
        let is_for_all = |tree: &Tree| tree.top.matchers.is_empty() && whose.writes_for_everybody(&tree.team);
        trees.sort_by_key(|tree| (tree.top.matchers.is_empty(), is_for_all(tree)));
        let everybodys = trees.last().filter(|tree| is_for_all(tree)).map(|tree| tree.team.clone());
        let by_trigger = Index::new(&triggers);
        let (response, fallback) = (Arc::clone(response), fallback.cloned());
        Self { response, playbooks, by_trigger, trees, fallback, whose, everybodys }
    }

    /// Whether what a team's AlertRoutes say counts for an alert: it is the team's own or of one that lets it, or the team
    /// writes for everybody.
    fn counts(&self, team: &TeamName, owner: Option<&TeamName>) -> bool {
        !self.whose.asks()
            || self.everybodys.as_ref() == Some(team)
            || owner.is_some_and(|owner| self.whose.speaks(team, owner))
    }

    /// Where an alert with these labels goes.
    pub fn route(&self, labels: &Labels) -> Routed {
        let mut routed = Routed::default();
        for at in self.by_trigger.candidates(labels) {
            let name = &self.playbooks[at];
            let Some(playbook) = self.response.playbooks.get(name) else { continue };
            if let Trigger::Alert(matchers) = &playbook.on
                && matchers.iter().all(|matcher| matcher.holds(labels))
            {
                routed.playbooks.push(name.clone());
            }
        }
        routed.owner = self.whose.owner(labels).cloned();
        routed.everybodys = self.whose.everybodys().clone();
        for tree in &self.trees {
            if !self.counts(&tree.team, routed.owner.as_ref()) || !tree.top.holds(labels) {
                continue;
            }
            tree.top.descend(labels, Inherited::of(&tree.name), tree.name.as_str(), &mut routed);
            // Of several manifests the first that says whom to page counts.
            routed.named = routed.policy.is_some();
            if !tree.top.go_on {
                break;
            }
        }
        if routed.policy.is_none() {
            routed.by_fallback = true;
            routed.policy.clone_from(&self.fallback);
        }
        routed
    }

    /// Whose alerts are.
    pub fn whose(&self) -> &Whose {
        &self.whose
    }

    /// The revision's routes and playbooks.
    pub fn response(&self) -> &Arc<Response> {
        &self.response
    }
}

impl Node {
    fn new(route: &Route) -> Self {
        let children: Vec<Node> = route.routes.iter().map(Node::new).collect();
        let matchers: Vec<&[Matcher]> = children.iter().map(|child| child.matchers.as_slice()).collect();
        let index = Index::new(&matchers);
        Self {
            policy: route.policy.clone(),
            playbook: route.playbook.clone(),
            group_by: route.group_by.clone(),
            mute: route.mute.clone(),
            matchers: route.matchers.clone(),
            go_on: route.go_on,
            children,
            index,
        }
    }

    fn holds(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.holds(labels))
    }

    /// Takes the first child that matches, and further ones as long as each says `continue`; without one, this node.
    fn descend(&self, labels: &Labels, from: Inherited<'_>, path: &str, routed: &mut Routed) {
        let own = Inherited {
            manifest: from.manifest,
            policy: self.policy.as_ref().or(from.policy),
            named: from.named || !from.is_top && self.policy.is_some(),
            is_top: false,
            playbook: self.playbook.as_ref().or(from.playbook),
            group_by: self.group_by.as_ref().or(from.group_by),
        };
        let mut taken = false;
        for at in self.index.candidates(labels) {
            let child = &self.children[at];
            if !child.holds(labels) {
                continue;
            }
            taken = true;
            child.descend(labels, own, &format!("{path} > {}", at + 1), routed);
            if !child.go_on {
                break;
            }
        }
        if taken {
            return;
        }
        if let Some(playbook) = own.playbook {
            routed.by_route.push(playbook.clone());
            if !routed.playbooks.contains(playbook) {
                routed.playbooks.push(playbook.clone());
            }
        }
        if routed.policy.is_none() || own.named && !routed.named {
            (routed.policy, routed.named) = (own.policy.cloned(), own.named);
        }
        if routed.taken.is_empty() {
            routed.group_by = own.group_by.cloned().unwrap_or_default();
        }
        routed.mute.extend(self.mute.iter().map(|time| (own.manifest.clone(), time.clone())));
        routed.taken.push(path.to_owned());
    }
}

/// How long a source that says when its alerts end takes at most to tell of them again: Prometheus says four minutes, and tells
/// each minute.
const TOLD_AGAIN: SignedDuration = SignedDuration::from_mins(5);

/// When an alert expires that is not told of again: when its source said, or after its receiver's time, reckoned from `began_at` at the
/// earliest, when that was taken over. Since `looks_since` this process hears of it: of what came before, more may have been told
/// while nobody listened.
pub fn expires(
    alert: &AlertMemory,
    rule: Option<Period>,
    began_at: Timestamp,
    looks_since: Timestamp,
) -> Option<Timestamp> {
    let heard_by = looks_since.checked_add(TOLD_AGAIN).unwrap_or(looks_since);
    let said = alert.alert.expires_at.map(|at| if alert.received_at < looks_since { at.max(heard_by) } else { at });
    said.or_else(|| Some(rule?.after(alert.since.max(began_at))))
}

/// The alerts that expire now: firing ones whose source has not told of them again in time. `expires` says when one does.
pub fn expired(
    alerts: &BTreeMap<AlertId, Arc<AlertMemory>>,
    expires: impl Fn(&AlertMemory) -> Option<Timestamp>,
    now: Timestamp,
) -> Vec<AlertId> {
    let firing = alerts.values().filter(|memory| memory.state == AlertState::Firing);
    let over = firing.filter(|memory| expires(memory).is_some_and(|at| at <= now));
    over.map(|memory| memory.alert.id.clone()).collect()
}

/// The next time at which an alert expires.
pub fn next_expiry(
    alerts: &BTreeMap<AlertId, Arc<AlertMemory>>,
    expires: impl Fn(&AlertMemory) -> Option<Timestamp>,
) -> Option<Timestamp> {
    let firing = alerts.values().filter(|memory| memory.state == AlertState::Firing);
    firing.filter_map(|memory| expires(memory)).min()
}

/// The receivers whose Watchdog was not heard in time: its name, when it was last heard, and within what time it should be.
/// One never heard counts from `since`, when the daemon began to listen.
pub fn silent<'a>(
    watched: impl IntoIterator<Item = (&'a Name, Period)>,
    heard: &BTreeMap<Name, Timestamp>,
    since: Timestamp,
    now: Timestamp,
) -> Vec<(Name, Timestamp, Period)> {
    let last = |name: &Name| heard.get(name).copied().unwrap_or(since).max(since);
    watched
        .into_iter()
        .map(|(name, within)| (name.clone(), last(name), within))
        .filter(|(_, last, within)| within.after(*last) < now)
        .collect()
}

/// The alert that freezes everything, by its `alertname`.
pub const FREEZE: &str = "CodeopsFreeze";

/// The freeze from outside the repository: the one that an alert asks for, on a receiver that may, while it fires; else the
/// settings' own.
pub fn freeze(
    alerts: &BTreeMap<AlertId, Arc<AlertMemory>>,
    may_freeze: &BTreeSet<Name>,
    settings: Option<&Freeze>,
) -> Option<Freeze> {
    by_alert(alerts, may_freeze).or_else(|| settings.cloned())
}

fn by_alert(alerts: &BTreeMap<AlertId, Arc<AlertMemory>>, may_freeze: &BTreeSet<Name>) -> Option<Freeze> {
    if may_freeze.is_empty() {
        return None;
    }
    let found = alerts.values().find(|memory| freezes(memory, may_freeze))?;
    let said = found.alert.annotations.get("reason").or_else(|| found.alert.annotations.get("summary"));
    let said = said.map_or_else(String::new, |said| format!(": {said}"));
    let reason = format!("alert {FREEZE} fires on receiver {}{said}", found.alert.receiver);
    Some(Freeze { what: FreezeWhat::All, reason, until: None })
}

/// Whether this is an alert that freezes everything: an order, which calls nobody.
pub fn freezes(memory: &AlertMemory, may_freeze: &BTreeSet<Name>) -> bool {
    memory.state == AlertState::Firing && is_freeze(&memory.alert, may_freeze)
}

/// Whether this is the order to freeze everything, by a sender who may give it.
pub fn is_freeze(alert: &Alert, may_freeze: &BTreeSet<Name>) -> bool {
    alert.name() == FREEZE && may_freeze.contains(&alert.receiver)
}

/// Why this alert starts nothing now, if so: it is muted, in maintenance, or inhibited by another.
pub fn quiet(alert: &Alert, routed: &Routed, quiet: &Quiet<'_>, now: Timestamp) -> Option<String> {
    let owner = hushed_by(routed.owner.as_ref(), quiet.receivers.get(&alert.receiver));
    let maintained = || maintained(quiet.router, &alert.labels, owner, now);
    quiet.muted(routed, owner, now).or_else(maintained).or_else(|| quiet.inhibited(alert, owner))
}

/// The team whose manifests may keep an alert quiet, beside those that are for everybody: its owner, where `receiver`, the teams that
/// the alert's receiver is for, has that one. No label makes what another's monitoring says a team's own.
pub fn hushed_by<'o>(owner: Option<&'o TeamName>, receiver: Option<&BTreeSet<TeamName>>) -> Option<&'o TeamName> {
    owner.filter(|owner| receiver.is_none_or(|teams| teams.contains(*owner)))
}
