//! Commands that read a running daemon: they ask its JSON twins and print what they say.

mod alerts;
mod events;
mod get;
mod http;
mod instead;
mod logs;
mod runs;
mod sse;
mod status;

pub(crate) use http::Client;

pub(crate) use alerts::alerts;
pub(crate) use events::events;
pub(crate) use get::get;
pub(crate) use logs::logs;
pub(crate) use runs::runs;
pub(crate) use status::status;

use serde_json::Value;

/// The text at a path of keys, or nothing.
fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    path.iter().try_fold(value, |value, key| value.get(key)).and_then(Value::as_str).unwrap_or("")
}

/// A time as people read it in a column: `16:04:05` of the day in UTC, with the date once it is another day's.
fn moment(stamp: &str) -> String {
    let Some((date, time)) = stamp.split_once('T') else { return stamp.to_owned() };
    format!("{date} {}", time.get(..8).unwrap_or(time))
}

/// What is latched, since when and until when.
fn latched(latch: &Value) -> String {
    let (what, since) = (text(latch, &["target"]), moment(text(latch, &["since"])));
    let playbook = text(latch, &["playbook"]);
    let what = if what.is_empty() { format!("what playbook {playbook} answers") } else { what.to_owned() };
    let until = match text(latch, &["until"]) {
        "" => format!("until it is better: it ends {}", text(latch, &["ends"])),
        at => format!("until {} UTC if nothing of it fires", moment(at)),
    };
    format!("{what} since {since} UTC, {until}; no playbook tries anything on it")
}

/// The first digits of a revision or digest, for people; `v1:` and the like stay out.
fn short(id: &str) -> &str {
    let id = id.rsplit_once(':').map_or(id, |(_, hex)| hex);
    id.get(..7).unwrap_or(id)
}
