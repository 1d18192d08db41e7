//! The daemon's settings read as strictly as manifests: every mistake in one run, with places and near names.
//!
//! It reads text only: whether files and addresses exist is found out where they are used. Anybody who sees the page reads
//! its mistakes: they tell no value that may be a secret in the wrong place.

mod answers;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use crate::config::{
    HookSettings, HooksSettings, JournalSettings, Mode, PageSettings, ProcessSettings, ProviderSettings,
    RepositorySettings, SecretSettings, SecretSource, Settings, SignerSettings, StoreSettings, TeamSettings,
};
use crate::model::{Bytes, Name, Period, is_variable};

use super::files::file;
use super::kinds::{app_parts, people};
use super::text::diagnostic::Diagnostic;
use super::text::read::{Fields, Reader};
use super::text::tree::{Node, Source, Span, cut};
use super::text::yaml;

/// Kinds of provider that the language has and this version has not.
const PROVIDERS_NOT_BUILT: [&str; 5] = ["alertmanager", "docker", "kubernetes", "postgres", "swarm"];

/// Reads the settings. `file` is what the text is called in diagnostics. An empty text gives the defaults.
pub fn parse_settings(file: &str, text: &str) -> Result<Settings, Vec<Diagnostic>> {
    let source = Source::confidential(Arc::from(file), Arc::from(text.as_bytes()));
    let text = file::text(&source).map_err(|found| vec![*found])?;
    let mut reader = Reader::new(vec![&source]);
    let documents = yaml::documents(text);
    for mistake in documents.iter().flat_map(|document| document.error.iter().chain(&document.mistakes)) {
        let (message, help) = mistake.value.clone();
        reader.error(mistake.span, message, help);
    }
    if let Some(second) = documents.get(1) {
        let span = second.root.as_ref().map_or(Span::START, |root| root.span);
        reader.error(span, "the settings are one document", None);
    }
    let root = documents.first().and_then(|document| document.root.as_ref());
    let settings = match root {
        Some(root) if reader.found.is_empty() => settings(root, &mut reader),
        _ => Settings::default(),
    };
    reader.found.sort_by(|a, b| a.place.cmp(&b.place));
    if reader.found.is_empty() { Ok(settings) } else { Err(reader.found) }
}

fn settings(root: &Node, reader: &mut Reader<'_>) -> Settings {
    let mut out = Settings::default();
    let Some(mut fields) = reader.fields(root, "the settings") else { return out };
    if let Some(node) = fields.get("repository") {
        out.repository = repository(node, reader);
    }
    out.environment = fields.get("environment").and_then(|node| reader.parse(node)).map(|at| at.value);
    let modes = [("apply", Mode::Apply), ("observe", Mode::Observe)];
    out.mode = fields.get("mode").and_then(|node| reader.word(node, &modes)).unwrap_or_default();
    out.listen = fields.get("listen").and_then(|node| page(node, reader));
    out.page_url = fields.get("pageUrl").and_then(|node| page_url(node, reader));
    if let Some(mut hooks) = fields.get("hooks").and_then(|node| reader.fields(node, "hooks")) {
        let listen = hooks.get("listen").and_then(|node| address(node, reader));
        out.hooks = listen.map_or_else(HooksSettings::default, |listen| HooksSettings { listen });
        hooks.finish(reader, &[]);
    }
    out.state = fields.get("state").and_then(|node| absolute(node, reader));
    out.store = fields.get("store").and_then(|node| store(node, reader)).unwrap_or_default();
    out.journal = fields.get("journal").map(|node| journal(node, reader)).unwrap_or_default();
    if let Some(node) = fields.get("teams") {
        out.teams = reader.named(node, "teams by name", team);
    }
    if let Some(node) = fields.get("secrets") {
        out.secrets = reader.named(node, "secrets by name", secret);
    }
    if let Some(node) = fields.get("providers") {
        out.providers = reader.named(node, "providers by name", provider);
    }
    out.freeze = fields.get("freeze").and_then(|node| people::freeze(node, reader));
    answers::read(&mut fields, reader, &mut out);
    fields.finish(reader, &[]);
    out
}

fn repository(node: &Node, reader: &mut Reader<'_>) -> RepositorySettings {
    let default = RepositorySettings::default();
    let Some(mut fields) = reader.fields(node, "repository") else { return default };
    let out = RepositorySettings {
        url: fields.get("url").and_then(|node| argument(node, reader, "a repository")),
        branch: fields.get("branch").and_then(|node| branch(node, reader)),
        path: fields.get("path").and_then(|node| inside(node, reader)).unwrap_or(default.path),
        poll: fields.get("poll").and_then(|node| poll(node, reader)).unwrap_or(default.poll),
        hook: fields.get("hook").and_then(|node| {
            let mut fields = reader.fields(node, "hook")?;
            let secret = fields.require(reader, "secret").and_then(|node| source(node, reader));
            fields.finish(reader, &[]);
            Some(HookSettings { secret: secret? })
        }),
        signers: fields.get("signers").and_then(|node| {
            let mut fields = reader.fields(node, "signers")?;
            let file = fields.require(reader, "file").and_then(|node| absolute(node, reader));
            fields.finish(reader, &[]);
            Some(SignerSettings { file: file? })
        }),
        accept: fields.get("accept").and_then(|node| reader.parse(node)).map(|at| at.value),
    };
    fields.finish(reader, &[]);
    out
}

fn poll(node: &Node, reader: &mut Reader<'_>) -> Option<Period> {
    app_parts::positive(node, reader)
}

/// A text that will be an argument of git: not empty and no option.
fn argument(node: &Node, reader: &mut Reader<'_>, what: &str) -> Option<String> {
    let text = reader.text(node)?.value;
    if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
        reader.error(node.span, format!("this does not name {what}"), None);
        return None;
    }
    Some(text)
}

fn branch(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let name = argument(node, reader, "a branch")?;
    let bad = |c: char| c.is_whitespace() || "~^:?*[\\".contains(c);
    if name.chars().any(bad) || name.contains("..") || name.starts_with('/') || name.ends_with(['/', '.']) {
        reader.error(node.span, format!("`{}` does not name a branch", cut(&name, 60)), None);
        return None;
    }
    Some(name)
}

/// A folder inside the repository.
fn inside(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(node)?.value;
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        let help = "a path relative to the repository's top, without `..`".to_owned();
        reader.error(node.span, format!("`{}` is not a folder inside the repository", cut(&text, 60)), Some(help));
        return None;
    }
    Some(text)
}

fn absolute(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(node)?.value;
    if !Path::new(&text).is_absolute() {
        let help = "paths in the settings are absolute: they do not depend on where the daemon is started".to_owned();
        reader.error(node.span, "this is not an absolute path", Some(help));
        return None;
    }
    Some(text)
}

/// `host:port`.
fn address(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(node)?.value;
    let named = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains([':', '/', ' ']) && port.parse::<u16>().is_ok());
    if !named && text.parse::<SocketAddr>().is_err() {
        let help = "host:port, such as 127.0.0.1:8080".to_owned();
        reader.error(node.span, format!("`{}` is not an address to listen on", cut(&text, 60)), Some(help));
        return None;
    }
    Some(text)
}

/// The page's address: a text, or a mapping with the token that every address but loopback needs.
fn page(node: &Node, reader: &mut Reader<'_>) -> Option<PageSettings> {
    if node.entries().is_none() {
        let text = address(node, reader)?;
        let open = text.parse::<SocketAddr>().map_or(!text.starts_with("localhost:"), |at| !at.ip().is_loopback());
        if open {
            let help = format!("listen: {{address: \"{text}\", token: {{file: /run/secrets/page-token}}}}");
            reader.error(node.span, "an address that others can reach needs a token", Some(help));
            return None;
        }
        return Some(PageSettings::Address(text));
    }
    let mut fields = reader.fields(node, "listen")?;
    let address = fields.require(reader, "address").and_then(|node| address(node, reader));
    let token = fields.require(reader, "token").and_then(|node| source(node, reader));
    let hosts = fields.get("hosts").map(|node| texts(node, reader, "host names")).unwrap_or_default();
    fields.finish(reader, &[]);
    Some(PageSettings::Guarded { address: address?, token: token?, hosts })
}

/// `https://HOST[:PORT][/PATH]`, as people would type it.
fn page_url(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(node)?.value;
    let url = text.trim_end_matches('/');
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]".contains(c);
    if !rest.is_some_and(|rest| !rest.starts_with(['/', ':']) && !rest.is_empty() && rest.chars().all(plain)) {
        let help = "where people reach the page, such as https://ops.acme.example".to_owned();
        reader.error(node.span, "this is not the URL of a page", Some(help));
        return None;
    }
    Some(url.to_owned())
}

fn texts(node: &Node, reader: &mut Reader<'_>, what: &str) -> Vec<String> {
    reader.items(node, what).iter().filter_map(|item| reader.text(item)).map(|at| at.value).collect()
}

/// Globs of paths in the repository; one that begins elsewhere would match nothing, and silently grant nothing.
fn globs(node: &Node, reader: &mut Reader<'_>) -> Vec<String> {
    let texts = reader.items(node, "paths").iter().filter_map(|item| reader.text(item)).collect::<Vec<_>>();
    let elsewhere =
        |text: &str| text.starts_with('/') || text.starts_with("./") || text.split('/').any(|part| part == "..");
    for at in texts.iter().filter(|at| at.value.contains(['[', ']', '{', '}'])) {
        let help = "`*`, `**` and `?` stand for others: write one path for each".to_owned();
        reader.error(
            at.span,
            format!("`{}` stands for itself alone: there are no sets", cut(&at.value, 60)),
            Some(help),
        );
    }
    for at in texts.iter().filter(|at| elsewhere(&at.value)) {
        let help = "write it as it is in the repository, such as payments/".to_owned();
        reader.error(
            at.span,
            format!("`{}` matches nothing: paths are from the repository's top", cut(&at.value, 60)),
            Some(help),
        );
    }
    texts.into_iter().map(|at| at.value).collect()
}

fn ports(node: &Node, reader: &mut Reader<'_>) -> Vec<u16> {
    let items = reader.items(node, "ports");
    let numbers = items.iter().filter_map(|item| reader.number(item, 1, 65_535));
    numbers.filter_map(|number| u16::try_from(number).ok()).collect()
}

fn store(node: &Node, reader: &mut Reader<'_>) -> Option<StoreSettings> {
    if let Some(entry) = node.entries().and_then(|entries| entries.iter().find(|entry| &*entry.key == "postgres")) {
        reader.error(entry.key_span, "the store `postgres` is not built in this version", None);
        return None;
    }
    reader.word(node, &[("sqlite", StoreSettings::Sqlite)])
}

/// A day and a few thousand entries are needed to tell what happened; less room than this, and they may not find it.
const LEAST_ENTRIES: u32 = 10_000;
const LEAST_SIZE: Bytes = Bytes(256 << 20);

fn journal(node: &Node, reader: &mut Reader<'_>) -> JournalSettings {
    let default = JournalSettings::default();
    let Some(mut fields) = reader.fields(node, "journal") else { return default };
    let size = fields.get("size").and_then(|node| {
        let size = reader.parse::<Bytes>(node)?.value;
        if size < LEAST_SIZE {
            reader.error(
                node.span,
                format!("`{size}` is too little for a journal"),
                Some(format!("at least {LEAST_SIZE}")),
            );
        }
        Some(size)
    });
    let mut number = |key, from, to| fields.get(key).and_then(|node| reader.number(node, from, to));
    let (days, entries) = (number("days", 1, 3_650), number("entries", LEAST_ENTRIES, 1_000_000_000));
    fields.finish(reader, &[]);
    JournalSettings {
        days: days.unwrap_or(default.days),
        entries: entries.unwrap_or(default.entries),
        size: size.unwrap_or(default.size),
    }
}

fn team(reader: &mut Reader<'_>, node: &Node) -> Option<TeamSettings> {
    let mut fields = reader.fields(node, "a team's settings")?;
    let team = TeamSettings {
        paths: fields.get("paths").map(|node| globs(node, reader)).unwrap_or_default(),
        egress: fields.get("egress").map(|node| texts(node, reader, "hosts")).unwrap_or_default(),
        allow: fields
            .get("allow")
            .map(|node| reader.list::<Name>(node, "teams").into_iter().map(|at| at.value).collect())
            .unwrap_or_default(),
        ports: fields.get("ports").map(|node| ports(node, reader)).unwrap_or_default(),
        bind: fields
            .get("bind")
            .map(|node| reader.list::<IpAddr>(node, "addresses").into_iter().map(|at| at.value).collect())
            .unwrap_or_default(),
    };
    fields.finish(reader, &[]);
    Some(team)
}

/// `{file: PATH}` or `{env: NAME}`.
fn source(node: &Node, reader: &mut Reader<'_>) -> Option<SecretSource> {
    let mut fields = reader.fields(node, "a secret's source")?;
    let source = source_of(&mut fields, reader);
    fields.finish(reader, &[]);
    source
}

fn source_of(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Option<SecretSource> {
    match (fields.get("file"), fields.get("env")) {
        (Some(node), None) => absolute(node, reader).map(SecretSource::File),
        (None, Some(node)) => {
            let name = reader.text(node)?.value;
            if !is_variable(&name) {
                reader.error(node.span, "this cannot name an environment variable", None);
                return None;
            }
            Some(SecretSource::Env(name))
        }
        _ => {
            let help = "such as {file: /run/secrets/NAME} or {env: NAME}".to_owned();
            reader.error(fields.span, "a secret comes from exactly one of `file` and `env`", Some(help));
            None
        }
    }
}

fn secret(reader: &mut Reader<'_>, node: &Node) -> Option<SecretSettings> {
    let mut fields = reader.fields(node, "a secret")?;
    let source = source_of(&mut fields, reader);
    let teams = fields.get("teams").map(|node| reader.list::<Name>(node, "teams")).unwrap_or_default();
    fields.finish(reader, &[]);
    Some(SecretSettings { source: source?, teams: teams.into_iter().map(|at| at.value).collect() })
}

fn provider(reader: &mut Reader<'_>, node: &Node) -> Option<ProviderSettings> {
    let mut fields = reader.fields(node, "a provider")?;
    let process = fields.entry("process");
    let provider = process.and_then(|entry| {
        if matches!(entry.value.value, super::text::tree::Value::Null) {
            return Some(ProcessSettings::default());
        }
        let mut fields = reader.fields(&entry.value, "process")?;
        let run_as = fields.get("runAs").and_then(|node| argument(node, reader, "a user"));
        fields.finish(reader, &[]);
        Some(ProcessSettings { run_as })
    });
    let before = reader.found.len();
    fields.not_built(reader, &PROVIDERS_NOT_BUILT);
    if process.is_none() && reader.found.len() == before {
        reader.error(fields.span, "a provider says what it is, such as `process: {}`", None);
    }
    fields.finish(reader, &PROVIDERS_NOT_BUILT);
    provider.map(ProviderSettings::Process)
}
