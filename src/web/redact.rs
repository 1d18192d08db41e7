//! What every answer passes on its way out: values of secrets are taken out of lines, reasons, differences and events alike.
//! In JSON only texts are touched, so that it stays JSON. Of what one team wrote only its own are: one that had others' taken
//! out of its texts would find them by guessing, and so would anybody where it is not known who wrote. An item says whose it is:
//! in JSON by its field `team`, on a page by marks that no text can hold, since the escaper leaves no control character in one.
//! Names of resources and playbooks, and what a request itself says, stay as they are.

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::header;
use axum::response::Response;
use codeops_core::model::TeamName;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde_json::Value;

use super::Redact;
use crate::port::Whose;

/// An answer is an item, or holds a list of items: so many levels down.
const ITEM: usize = 3;
/// An item of such a list holds a list of items itself, which say whose they are.
pub(super) const ITEM_OF_ITEM: usize = ITEM + 2;

#[derive(Clone, Copy)]
enum Form {
    Text,
    Page,
    Json,
    Events,
}

/// Fields of an item that name something: a name is in every address, and one team's stands in others' items.
const NAMES: [&str; 6] = ["id", "resource", "target", "playbook", "depends_on", "used_by"];
/// The field of a run that holds what another sent: whoever made the item has masked it as the sender's.
const SENT: &str = "alert";

/// Before and after the name of the team whose part of a page follows, and where that part ends.
const PART: char = '\u{1}';
const NAMED: char = '\u{2}';
const END: char = '\u{3}';
/// In a name's place: nothing is taken out of this part.
const AS_IS: &str = "=";

/// The mark before a part of a page that is one team's.
pub(super) fn part_of<'a>(team: impl Into<Option<&'a TeamName>>) -> String {
    format!("{PART}{}{NAMED}", team.into().map_or("", TeamName::as_str))
}

/// The mark before a part that anybody may have written, or that was masked as its writer's.
pub(super) fn anybodys() -> String {
    part_of(None)
}

/// The mark before a part of which nothing is taken out: a name, or what the request itself says.
pub(super) fn as_is() -> String {
    format!("{PART}{AS_IS}{NAMED}")
}

/// The mark after a part. Parts may hold parts.
pub(super) fn end() -> char {
    END
}

/// Says of an answer that all of it is one team's: what it wrote, for its people. In JSON all but the items of its `lists`.
#[derive(Clone)]
pub(super) struct Of {
    pub(super) team: Option<TeamName>,
    pub(super) lists: &'static [&'static str],
}

impl Of {
    pub(super) fn team(team: Option<TeamName>) -> Self {
        Self { team, lists: &[] }
    }
}

/// Says of an answer that nothing is taken out of it: it holds names, or what was asked for.
#[derive(Clone, Copy)]
pub(super) struct AsIs;

/// Says of an answer that its items hold items: so many levels down. None may hold JSON that others wrote.
#[derive(Clone, Copy)]
pub(super) struct Deep(pub(super) usize);

/// What is taken out of one answer.
#[derive(Clone)]
struct Cleaner {
    redact: Redact,
    team: Option<TeamName>,
    levels: usize,
    /// Of an answer that is all one team's, those of its fields that are not.
    lists: Option<&'static [&'static str]>,
}

/// The answer without what must not be shown. A stream's frames are whole lines and events, and are cleaned one by one.
pub(super) async fn answer(mut response: Response, redact: &Redact) -> Response {
    if response.extensions_mut().remove::<AsIs>().is_some() {
        return response;
    }
    let of = response.extensions_mut().remove::<Of>();
    let (team, lists) = of.map_or((None, None), |of| (of.team, Some(of.lists)));
    let levels = response.extensions_mut().remove::<Deep>().map_or(ITEM, |Deep(levels)| levels);
    let cleaner = Cleaner { redact: Redact::clone(redact), team, levels, lists };
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let form = match kind {
        kind if kind.starts_with("text/event-stream") => Form::Events,
        kind if kind.contains("json") => Form::Json,
        kind if kind.starts_with("text/html") => Form::Page,
        _ => Form::Text,
    };
    let (mut parts, body) = response.into_parts();
    if body.size_hint().exact().is_none() {
        let clean = move |frame: Frame<Bytes>| frame.map_data(|data| cleaner.cleaned(data, form));
        return Response::from_parts(parts, Body::new(body.map_frame(clean)));
    }
    // An answer that has its length is in memory already.
    let Ok(whole) = body.collect().await else { return Response::from_parts(parts, Body::empty()) };
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(cleaner.cleaned(whole.to_bytes(), form)))
}

impl Cleaner {
    fn plain(&self, text: &str) -> String {
        (self.redact)(Whose::of(self.team.as_ref()), text)
    }

    /// The same for what may be anybody's.
    fn anybodys(&self) -> Self {
        Self { team: None, lists: None, ..self.clone() }
    }

    fn cleaned(&self, data: Bytes, form: Form) -> Bytes {
        let Ok(text) = std::str::from_utf8(&data) else { return data };
        // What holds nothing of everybody's holds nothing of anybody's.
        if !matches!(form, Form::Page) && (self.redact)(Whose::Everybody, text) == text {
            return data;
        }
        match form {
            Form::Text => self.plain(text).into(),
            Form::Page => self.page(text).into(),
            Form::Json => self.json(text).into(),
            Form::Events => {
                let lines = text.split_inclusive('\n').map(|line| match line.split_once(": ") {
                    Some(("data", value)) => format!("data: {}", self.json(value)),
                    _ => self.plain(line),
                });
                lines.collect::<String>().into()
            }
        }
    }

    /// Each part of a page as whose it is, without the marks.
    fn page(&self, text: &str) -> String {
        let (mut clean, mut rest, mut inside) = (String::new(), text, Vec::new());
        loop {
            let at = rest.find([PART, END]).unwrap_or(rest.len());
            let (said, marked) = rest.split_at(at);
            clean.push_str(&self.said(inside.last().copied(), said));
            if let Some(part) = marked.strip_prefix(PART) {
                let (name, part) = part.split_once(NAMED).unwrap_or(("", part));
                inside.push(name);
                rest = part;
            } else if let Some(after) = marked.strip_prefix(END) {
                inside.pop();
                rest = after;
            } else {
                return clean;
            }
        }
    }

    /// Text of a part of this name, or of none.
    fn said(&self, part: Option<&str>, text: &str) -> String {
        match part {
            None => self.plain(text),
            Some(AS_IS) => text.to_owned(),
            Some(name) => (self.redact)(Whose::of(TeamName::new(name).ok().as_ref()), text),
        }
    }

    fn json(&self, text: &str) -> String {
        let end = &text[text.trim_end().len()..];
        match serde_json::from_str::<Value>(text) {
            Ok(mut value) => {
                self.texts(&mut value, self.levels);
                format!("{value}{end}")
            }
            Err(_) => self.plain(text),
        }
    }

    /// An item says whose it is. What is deeper than `levels` below does not: a team or a stranger wrote it.
    fn texts(&self, value: &mut Value, levels: usize) {
        let deeper = levels.saturating_sub(1);
        match value {
            Value::String(text) => *text = self.plain(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.texts(item, deeper)),
            Value::Object(fields) => {
                let trusted = levels > 0;
                let team = fields.get("team").filter(|_| trusted).and_then(Value::as_str);
                let team = team.and_then(|team| TeamName::new(team).ok());
                let inner = Self { team: self.team.clone().or(team), ..self.clone() };
                // Below the first level of what is one team's, fields may have any name that it chose.
                let item = self.lists.map_or(trusted, |_| levels == self.levels);
                for (name, field) in fields {
                    let name = name.as_str();
                    match self.lists {
                        _ if item && NAMES.contains(&name) => {}
                        Some(lists) if item && lists.contains(&name) => self.anybodys().texts(field, ITEM - 1),
                        _ if item && name == SENT => self.anybodys().texts(field, 0),
                        _ => inner.texts(field, deeper),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}
