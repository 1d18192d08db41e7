//! The `http` step as it is written. Where a request goes stands as written: a value is never scheme, host or port, and never
//! the name of a header.

use std::collections::BTreeMap;

use crate::model::{HttpCall, SecretName, Template, TemplatePart};

use super::response::{Body, Refers};
use super::texts::{Scope, template};
use crate::desired::text::tree::{At, Node, Value, cut};

const METHODS: [(&str, &str); 6] =
    [("GET", "GET"), ("HEAD", "HEAD"), ("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("DELETE", "DELETE")];
/// Headers that the request itself decides on.
const OWN: [&str; 6] = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te"];
/// The most headers of one request.
const MOST_HEADERS: usize = 64;

/// Reads one request.
pub(crate) fn read(node: &Node, scope: &Scope, body: &mut Body<'_, '_>) -> Option<HttpCall> {
    let mut fields = body.reader.fields(node, "http")?;
    let method = fields.get("method").map(|node| body.reader.word(node, &METHODS));
    let url = fields.require(body.reader, "url").and_then(|node| url_template(node, scope, body));
    let headers = fields.get("headers");
    let headers = named(headers, body, |node, body| template(node, scope, body.reader).map(|at| at.value));
    let secret_headers = fields.get("secretHeaders");
    let secret_headers: Option<BTreeMap<String, SecretName>> =
        named(secret_headers, body, |node, body| body.secret(node));
    let content = fields.get("body").map(|node| template(node, scope, body.reader));
    let expect = fields.get("expect").map(|node| statuses(node, body)).unwrap_or_default();
    let span = fields.span;
    fields.finish(body.reader, &[]);
    let (headers, secret_headers) = (headers?, secret_headers?);
    let twice = secret_headers.keys().find(|name| headers.keys().any(|other| other.eq_ignore_ascii_case(name)));
    if let Some(twice) = twice {
        body.reader.error(span, format!("the header `{twice}` is given twice"), None);
    }
    Some(HttpCall {
        method: match method {
            Some(method) => method?.to_owned(),
            None => "GET".to_owned(),
        },
        url: url?,
        headers,
        secret_headers,
        body: match content {
            Some(content) => Some(content?.value),
            None => None,
        },
        expect,
    })
}

/// A URL whose scheme, host and port come before the first value.
fn url_template(node: &Node, scope: &Scope, body: &mut Body<'_, '_>) -> Option<Template> {
    let At { value: found, span } = template(node, scope, body.reader)?;
    let first = match found.parts.first() {
        Some(TemplatePart::Text(text)) => text.as_str(),
        _ => "",
    };
    let values = found.parts.len() > 1;
    let authority = first.split_once("://").map_or("", |(_, rest)| rest);
    if !is_http(first) || (values && !authority.contains(['/', '?', '#'])) {
        let help = "such as https://api.example/orders/{{ alert.labels.order }}; no value in scheme, host or port";
        let message = format!("`{}` is not an http or https URL", cut(&found.source, 80));
        body.reader.error(span, message, Some(help.to_owned()));
        return None;
    }
    body.refer(node, Refers::Address(first.to_owned()));
    Some(found)
}

/// A URL without any template.
pub(crate) fn url(node: &Node, body: &mut Body<'_, '_>) -> Option<String> {
    let text = super::texts::fixed(node, "the address of a channel", body.reader)?;
    if !is_http(&text.value) {
        let help = "an http or https URL without a user name or password".to_owned();
        let message = format!("`{}` is not an http or https URL", cut(&text.value, 80));
        body.reader.error(node.span, message, Some(help));
        return None;
    }
    body.refer(node, Refers::Address(text.value.clone()));
    Some(text.value)
}

/// Whether a text begins as a URL with a host, and holds nothing that no URL holds.
fn is_http(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an address in brackets are its own.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let letters =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') || (bracketed && "[]:".contains(c));
    matches!(scheme, "http" | "https")
        && !host.is_empty()
        && host.chars().all(letters)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\')
}

/// Headers by name.
fn named<T>(
    node: Option<&Node>,
    body: &mut Body<'_, '_>,
    read: impl Fn(&Node, &mut Body<'_, '_>) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let mut out = BTreeMap::new();
    let Some(node) = node else { return Some(out) };
    let entries = body.reader.pairs(node, "headers");
    if entries.len() > MOST_HEADERS {
        body.reader.error(node.span, format!("a request has at most {MOST_HEADERS} headers"), None);
        return None;
    }
    for entry in entries {
        let value = read(&entry.value, body);
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let name = &*entry.key;
        if name.is_empty() || name.len() > 100 || !name.bytes().all(token) {
            body.reader.error(entry.key_span, format!("`{}` cannot name a header", cut(name, 60)), None);
        } else if OWN.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            body.reader.error(entry.key_span, format!("the header `{name}` is the request's own"), None);
        } else if out.keys().any(|other: &String| other.eq_ignore_ascii_case(name)) {
            body.reader.error(entry.key_span, format!("the header `{name}` is given twice"), None);
        } else if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    }
    Some(out)
}

/// One status code, or a list of them.
fn statuses(node: &Node, body: &mut Body<'_, '_>) -> Vec<u16> {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    items.iter().filter_map(|item| body.reader.number(item, 100, 599)).filter_map(|code| code.try_into().ok()).collect()
}
