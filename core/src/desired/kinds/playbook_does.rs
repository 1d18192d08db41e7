//! What one step does, as it is written: each word of the step table with its arguments.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::model::{Action, Channel, DocumentName, Does, GitChange, Period, Template, WaitFor};

use super::app_parts::positive;
use super::header::ManifestKind;
use super::people_channels::{self, CHANNELS};
use super::playbook_http;
use super::playbook_steps::Around;
use super::response::{Body, Refers};
use super::texts::{self, Scope, expression, fixed, template};
use crate::desired::text::read::list;
use crate::desired::text::tree::{At, Node, Value, cut};

/// Reads what a step does; `beside` gives `target`, `with` and `quiet`.
pub(crate) fn read<'n>(
    word: &str,
    node: &'n Node,
    beside: &dyn Fn(&str) -> Option<&'n Node>,
    scope: &Scope,
    around: &Around,
    body: &mut Body<'_, '_>,
) -> Option<Does> {
    match word {
        "action" => action(node, beside("target"), beside("with"), scope, around, body),
        "script" => {
            let file = fixed(node, "a file's path", body.reader)?;
            let file = path(&file, "a script", body)?;
            body.refer(node, Refers::Script(file.clone()));
            Some(Does::Script { file })
        }
        "wait" => {
            let quiet = beside("quiet").map(|node| body.reader.parse::<Period>(node));
            let what = wait(node, scope, around, body);
            let quiet = match quiet {
                Some(quiet) => quiet?.value,
                None => Period::default(),
            };
            Some(Does::Wait { what: what?, quiet })
        }
        "http" => playbook_http::read(node, scope, body).map(Does::Http),
        "notify" => notify(node, scope, body),
        "page" => page(node, body),
        "git" => git(node, scope, around, body),
        _ => body.name(node, Refers::Playbook).map(Does::Playbook),
    }
}

fn action(
    node: &Node,
    target: Option<&Node>,
    with: Option<&Node>,
    scope: &Scope,
    around: &Around,
    body: &mut Body<'_, '_>,
) -> Option<Does> {
    let own = target.map(|node| super::playbook::resource(node, scope, body));
    let text = body.reader.text(node)?;
    let Ok(action) = text.value.parse::<Action>() else {
        let words = Action::ALL.map(Action::word);
        let help = match body.reader.near(&text.value, words.into_iter()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the actions are {}", list(&words)),
        };
        body.reader.error(node.span, format!("unknown action `{}`", cut(&text.value, 60)), Some(help));
        return None;
    };
    if own.is_none() && !around.target {
        let help = "give the playbook or this step a `target`".to_owned();
        body.reader.error(node.span, format!("`{action}` has nothing to act on"), Some(help));
    }
    let with = arguments(action, node, with, scope, body)?;
    let target = match own {
        Some(target) => Some(target?),
        None => None,
    };
    Some(Does::Action { action, target, with })
}

/// `with`: what each action takes.
fn arguments(
    action: Action,
    place: &Node,
    with: Option<&Node>,
    scope: &Scope,
    body: &mut Body<'_, '_>,
) -> Option<BTreeMap<String, Json>> {
    let takes: &[&str] = match action {
        Action::AppReplace => &["instances"],
        Action::AppScale => &["replicas", "by", "max"],
        _ => &[],
    };
    let mut out = BTreeMap::new();
    let before = body.reader.found.len();
    for entry in with.map(|node| body.reader.pairs(node, "arguments")).unwrap_or_default() {
        let key = &*entry.key;
        if !takes.contains(&key) {
            let help = match (body.reader.near(key, takes.iter().copied()), takes) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, []) => "it takes none".to_owned(),
                (None, takes) => format!("it takes {}", list(takes)),
            };
            body.reader.error(entry.key_span, format!("`{action}` takes no `{}`", cut(key, 60)), Some(help));
        } else if let Some(value) = argument(key, &entry.value, scope, body) {
            out.insert(key.to_owned(), value);
        }
    }
    let given = |name: &str| out.contains_key(name);
    let enough =
        given("replicas") && !given("by") && !given("max") || !given("replicas") && given("by") && given("max");
    if action == Action::AppScale && body.reader.found.len() == before && !enough {
        let span = with.map_or(place.span, |node| node.span);
        let help = "such as `with: {replicas: 3}` or `with: {by: 1, max: 5}`".to_owned();
        body.reader.error(span, "`app.scale` needs `replicas`, or `by` and `max`", Some(help));
    }
    (body.reader.found.len() == before).then_some(out)
}

fn argument(name: &str, node: &Node, scope: &Scope, body: &mut Body<'_, '_>) -> Option<Json> {
    if name == "instances" {
        return body.reader.word(node, &[("unhealthy", "unhealthy"), ("one", "one"), ("all", "all")]).map(Json::from);
    }
    // One expression and nothing else keeps its type: a number from a step's output.
    if node.text().is_some_and(|text| text.starts_with("{{")) {
        return texts::value(node, scope, body.reader);
    }
    if name == "replicas" && node.text() == Some("0") {
        let help = "`replicas: 0` in the app's manifest stops it: commit that, or set it in a `git` step".to_owned();
        body.reader.error(node.span, "`app.scale` leaves at least one replica", Some(help));
        return None;
    }
    body.reader.number(node, 1, super::app::MAX_REPLICAS).map(Json::from)
}

fn wait(node: &Node, scope: &Scope, around: &Around, body: &mut Body<'_, '_>) -> Option<WaitFor> {
    if let Value::Map(_) = node.value {
        let mut fields = body.reader.fields(node, "wait")?;
        let time = fields.get("for").map(|node| positive(node, body.reader));
        let until = fields.get("until").map(|node| expression(node, scope, body.reader));
        let span = fields.span;
        fields.finish(body.reader, &[]);
        return match (time, until) {
            (Some(time), None) => time.map(WaitFor::For),
            (None, Some(until)) => until.map(WaitFor::Until),
            _ => {
                body.reader.error(span, "a wait is `resolved`, `healthy`, or one of `for` and `until`", None);
                None
            }
        };
    }
    let words = [("resolved", WaitWord::Resolved), ("healthy", WaitWord::Healthy)];
    match body.reader.word(node, &words)? {
        WaitWord::Resolved => Some(WaitFor::Resolved),
        WaitWord::Healthy if !around.target => {
            let help = "give the playbook a `target`".to_owned();
            body.reader.error(node.span, "there is no target that could become healthy", Some(help));
            None
        }
        WaitWord::Healthy => Some(WaitFor::Healthy),
    }
}

#[derive(Clone, Copy)]
enum WaitWord {
    Resolved,
    Healthy,
}

fn notify(node: &Node, scope: &Scope, body: &mut Body<'_, '_>) -> Option<Does> {
    let mut fields = body.reader.fields(node, "notify")?;
    let words = CHANNELS.into_iter().filter(|word| *word != "pagerduty");
    let channel: Option<Channel> = people_channels::channel(&mut fields, &words.collect::<Vec<_>>(), body);
    let title = fields.get("title").map(|node| template(node, scope, body.reader));
    let text = fields.get("body").map(|node| template(node, scope, body.reader));
    fields.finish(body.reader, &[]);
    let (title, text) = (title.unwrap_or_else(|| plain(&PLAIN[0])), text.unwrap_or_else(|| plain(&PLAIN[1])));
    Some(Does::Notify { channel: channel?, title: title?.value, body: text?.value })
}

const TITLE: &str = "codeops: {{ run.playbook }}";
const BODY: &str = "Run {{ run.id }} of the playbook {{ run.playbook }}.";

/// What is written for whoever leaves it out; read once, not for each.
static PLAIN: LazyLock<[Option<Template>; 2]> =
    LazyLock::new(|| [TITLE, BODY].map(|text| Template::try_from(text.to_owned()).ok()));

fn plain(text: &Option<Template>) -> Option<At<Template>> {
    Some(At { value: text.clone()?, span: crate::desired::text::tree::Span::START })
}

/// `page:` may be empty: the team's own policy.
fn page(node: &Node, body: &mut Body<'_, '_>) -> Option<Does> {
    if matches!(node.value, Value::Null) {
        return Some(Does::Page { policy: None });
    }
    let mut fields = body.reader.fields(node, "page")?;
    let policy = fields.get("policy").map(|node| body.name(node, Refers::Policy));
    fields.finish(body.reader, &[]);
    Some(Does::Page {
        policy: match policy {
            Some(policy) => Some(policy?),
            None => None,
        },
    })
}

fn git(node: &Node, scope: &Scope, around: &Around, body: &mut Body<'_, '_>) -> Option<Does> {
    let mut fields = body.reader.fields(node, "git")?;
    let revert = fields.get("revert");
    let set = fields.get("set");
    let within = fields.get("within");
    let span = fields.span;
    fields.finish(body.reader, &[]);
    if let (Some(within), Some(_)) = (within, set) {
        body.reader.error(within.span, "`within` says how old a commit may be that `revert` takes back", None);
    }
    match (revert, set) {
        (Some(revert), None) => {
            body.reader.word(revert, &[("last", ())])?;
            let within = within.map(|node| body.reader.parse::<Period>(node));
            if !around.target {
                body.reader.error(revert.span, "there is no target whose last commit could be reverted", None);
            }
            match within {
                None => Some(Does::Git(GitChange::RevertLast)),
                Some(within) => Some(Does::Git(GitChange::RevertRecent { within: within?.value })),
            }
        }
        (None, Some(set)) => self::set(set, scope, body).map(Does::Git),
        _ => {
            body.reader.error(span, "git needs one of `revert` and `set`", None);
            None
        }
    }
}

fn set(node: &Node, scope: &Scope, body: &mut Body<'_, '_>) -> Option<GitChange> {
    let mut fields = body.reader.fields(node, "set")?;
    let file_node = fields.require(body.reader, "file");
    let file = file_node.and_then(|node| fixed(node, "a file's path", body.reader));
    let file = file.and_then(|file| path(&file, "a manifest", body));
    let document_node = fields.get("document");
    let document = document_node.map(|node| document(node, body));
    let field = fields.require(body.reader, "path").and_then(|node| fixed(node, "the name of a field", body.reader));
    let value = fields.entry("value");
    if value.is_none() {
        body.reader.error(fields.span, "set needs `value`", None);
    }
    let value = value.and_then(|entry| texts::value(&entry.value, scope, body.reader));
    fields.finish(body.reader, &[]);
    let document = match document {
        Some(document) => Some(document?),
        None => None,
    };
    if let (Some(file), Some(node)) = (&file, document_node.or(file_node)) {
        body.refer(node, Refers::Manifest(file.clone(), document.clone()));
    }
    // Whose a resource is, and what it is called, is for people to change.
    let segment = |part: &str| !part.is_empty() && !part.chars().any(|c| c.is_control() || c.is_whitespace());
    let field = field.filter(|field| {
        let good = field.value.starts_with("spec.") && field.value.len() <= 200 && field.value.split('.').all(segment);
        if !good {
            let help = "dots between the names of fields from `spec` on, such as `spec.replicas`".to_owned();
            body.reader.error(field.span, format!("`{}` is not a path in a spec", cut(&field.value, 60)), Some(help));
        }
        good
    });
    Some(GitChange::Set { file: file?, document, path: field?.value, value: value? })
}

/// `App/shop`: the kind and the name of one document of a file.
fn document(node: &Node, body: &mut Body<'_, '_>) -> Option<DocumentName> {
    let text = fixed(node, "the name of a document", body.reader)?;
    let (kind, name) = text.value.split_once('/').unwrap_or_default();
    let words = ManifestKind::ALL.map(ManifestKind::word);
    if let (true, Ok(name)) = (words.contains(&kind), name.parse()) {
        return Some(DocumentName { kind: kind.to_owned(), name });
    }
    let help = match body.reader.near(kind, words.into_iter()) {
        Some(near) if near != kind => format!("did you mean `{near}/{name}`?"),
        _ => "its kind and its name, such as `App/shop`".to_owned(),
    };
    body.reader.error(text.span, format!("`{}` is not a document", cut(&text.value, 80)), Some(help));
    None
}

/// A path as it is written, normalised, that stays below where it begins.
fn path(text: &At<String>, what: &str, body: &mut Body<'_, '_>) -> Option<String> {
    let parts: Vec<&str> = text.value.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let bad = |part: &&str| *part == ".." || part.starts_with('.') || part.chars().any(|c| c.is_control() || c == '\\');
    if text.value.starts_with('/') || parts.is_empty() || parts.iter().any(bad) || text.value.len() > 500 {
        let help = "a path within the repository, without `..` and hidden folders".to_owned();
        body.reader.error(text.span, format!("`{}` is not a path of {what}", cut(&text.value, 80)), Some(help));
        return None;
    }
    Some(parts.join("/"))
}
