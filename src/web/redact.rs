//! What every answer passes on its way out: values of secrets are taken out of lines, reasons, differences and events alike,
//! whoever wrote them. In JSON only texts are touched, so that it stays JSON. Of what one team wrote only its own are: one
//! that had others' taken out of its texts would find them by guessing. An item says whose it is: in JSON by its field
//! `team`, on a page by marks that no text can hold, since the escaper leaves no control character in one.

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::header;
use axum::response::Response;
use codeops_core::model::TeamName;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde_json::Value;

use super::Redact;

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

/// Before and after the name of the team whose part of a page follows, and where that part ends.
const PART: char = '\u{1}';
const NAMED: char = '\u{2}';
const END: char = '\u{3}';

/// The mark before a part of a page that is one team's.
pub(super) fn part_of<'a>(team: impl Into<Option<&'a TeamName>>) -> String {
    format!("{PART}{}{NAMED}", team.into().map_or("", TeamName::as_str))
}

/// The mark after it.
pub(super) fn end() -> char {
    END
}

/// Says of an answer that all of it is one team's: what it wrote, for its people.
#[derive(Clone)]
pub(super) struct Of(pub(super) Option<TeamName>);

/// Says of an answer that its items hold items: so many levels down. None may hold JSON that others wrote.
#[derive(Clone, Copy)]
pub(super) struct Deep(pub(super) usize);

/// What is taken out of one answer.
#[derive(Clone)]
struct Cleaner {
    redact: Redact,
    team: Option<TeamName>,
    levels: usize,
}

/// The answer without what must not be shown. A stream's frames are whole lines and events, and are cleaned one by one.
pub(super) async fn answer(mut response: Response, redact: &Redact) -> Response {
    let team = response.extensions_mut().remove::<Of>().and_then(|Of(team)| team);
    let levels = response.extensions_mut().remove::<Deep>().map_or(ITEM, |Deep(levels)| levels);
    let cleaner = Cleaner { redact: Redact::clone(redact), team, levels };
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
        (self.redact)(self.team.as_ref(), text)
    }

    fn cleaned(&self, data: Bytes, form: Form) -> Bytes {
        let Ok(text) = std::str::from_utf8(&data) else { return data };
        // Nothing is another team's secret that is nobody's.
        if !matches!(form, Form::Page) && (self.redact)(None, text) == text {
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
        let mut parts = text.split(PART);
        let mut clean = self.plain(parts.next().unwrap_or_default());
        for part in parts {
            let (name, part) = part.split_once(NAMED).unwrap_or(("", part));
            let (item, rest) = part.split_once(END).unwrap_or((part, ""));
            let team = TeamName::new(name).ok().or_else(|| self.team.clone());
            clean.push_str(&(self.redact)(team.as_ref(), item));
            clean.push_str(&self.plain(rest));
        }
        clean
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
                let team = fields.get("team").filter(|_| levels > 0).and_then(Value::as_str);
                let team = team.and_then(|team| TeamName::new(team).ok());
                let team = self.team.clone().or(team);
                let inner = Self { redact: Redact::clone(&self.redact), team, levels };
                fields.values_mut().for_each(|field| inner.texts(field, deeper));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}
