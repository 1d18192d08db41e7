//! Where the config repository is: a URL of an allowed protocol or a local folder. Parsed once, never shown with credentials.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::SourceError;
use crate::base::percent_decoded;

/// The address of a repository, checked.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// Reached over the network.
    Remote {
        /// As git takes it: without credentials, which every user of the machine could see in the list of processes.
        url: String,
        /// The one protocol git may speak.
        protocol: &'static str,
        /// What stood before the `@` of an http address.
        credentials: Option<String>,
    },
    /// A repository on this machine.
    Folder(PathBuf),
}

/// The protocols that are followed. `git` and `http` prove nothing about who answers: see [`Address::is_unproven`].
const PROTOCOLS: &[&str] = &["https", "ssh", "file", "git", "http"];

impl Address {
    /// Reads `repository.url`.
    pub(super) fn parse(text: &str) -> Result<Self, SourceError> {
        if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
            return Err(bad("it is empty, begins with `-` or holds control characters"));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Self::parse_url(text, scheme, rest);
        }
        if Path::new(text).is_dir() {
            return Self::folder(Path::new(text));
        }
        match text.split_once(':') {
            Some((_, rest)) if rest.starts_with(':') => Err(bad("remote helpers (`name::…`) are not run")),
            // With a password it is a URL without its scheme: ssh would be given that where every user sees it.
            Some((_, rest)) if rest.trim_start_matches('/').split('/').next().is_some_and(|it| it.contains('@')) => {
                Err(bad("it has an `@` behind a `:`, and no `https://` in front"))
            }
            Some((scheme, rest)) if rest.starts_with('/') && PROTOCOLS.contains(&scheme) => {
                Err(bad("its scheme is not followed by `://`"))
            }
            Some((host, path)) if !host.contains('/') => {
                if host.is_empty() || path.is_empty() || path.starts_with('-') {
                    return Err(bad("`host:path` lacks one of the two, or its path begins with `-`"));
                }
                Ok(Self::Remote { url: text.to_owned(), protocol: "ssh", credentials: None })
            }
            _ if text.contains('@') => Err(bad("there is no such folder, and it has no `https://` in front")),
            _ => Err(SourceError(format!(
                "there is no folder `{}`, and `{text}` is no URL either: name a folder that is a Git repository, or a URL, with \
                 --repo, CODEOPS_REPO or repository.url; `codeops init DIR` makes a repository to begin with",
                std::path::absolute(text).unwrap_or_else(|_| text.into()).display()
            ))),
        }
    }

    fn parse_url(text: &str, scheme: &str, rest: &str) -> Result<Self, SourceError> {
        let Some(protocol) = PROTOCOLS.iter().copied().find(|known| *known == scheme) else {
            return Err(bad("its protocol is not one of https, ssh, file, git and http"));
        };
        if protocol == "file" {
            if !rest.starts_with('/') || rest.contains('%') {
                return Err(bad("a file URL is file:// and an absolute path without `%`"));
            }
            return Self::folder(Path::new(rest));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        if host.is_empty() || host.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
            return Err(bad("its host is missing, or host or user begin with `-`"));
        }
        if user.is_some() && host.contains(['"', '\\', '@']) {
            return Err(bad("its host holds characters that no host has"));
        }
        match (protocol, user) {
            ("ssh", Some(user)) if user.contains(':') => Err(bad("ssh takes no password from a URL: use a key")),
            ("https" | "http", Some(user)) => Ok(Self::Remote {
                url: format!("{protocol}://{}", &rest[user.len() + 1..]),
                protocol,
                credentials: Some(user.to_owned()),
            }),
            _ => Ok(Self::Remote { url: text.to_owned(), protocol, credentials: None }),
        }
    }

    fn folder(path: &Path) -> Result<Self, SourceError> {
        let whole = path.canonicalize().map_err(|error| {
            SourceError(format!(
                "the folder `{}` cannot be opened: {error}; correct --repo, CODEOPS_REPO or repository.url",
                path.display()
            ))
        })?;
        Ok(Self::Folder(whole))
    }

    /// The same address, unless it is a folder that holds no repository: asking that again and again brings nothing. One that
    /// cannot be looked into may hold one.
    pub(super) fn with_repository(self) -> Result<Self, SourceError> {
        let Self::Folder(folder) = &self else { return Ok(self) };
        let lacks = |name: &str| matches!(folder.join(name).try_exists(), Ok(false));
        if !(lacks(".git") && lacks("HEAD")) {
            return Ok(self);
        }
        let top = folder.ancestors().skip(1).find(|above| above.join(".git").exists());
        let help = match top.and_then(|top| Some((top, folder.strip_prefix(top).ok()?))) {
            Some((top, below)) => format!(
                "it lies in one: say --repo {} --path {}, or repository.url and repository.path",
                top.display(),
                below.display()
            ),
            None => "make it one with `git init -b main` and commit its files, or name another folder or a URL with \
                     --repo, CODEOPS_REPO or repository.url"
                .to_owned(),
        };
        Err(SourceError(format!("the folder `{}` is no Git repository: {help}", folder.display())))
    }

    /// The one protocol git may speak.
    pub(super) fn protocol(&self) -> &'static str {
        match self {
            Self::Remote { protocol, .. } => protocol,
            Self::Folder(_) => "file",
        }
    }

    /// The lines of a git configuration that present the credentials to their host and to no other.
    pub(super) fn configuration(&self) -> String {
        let Self::Remote { url, protocol, credentials: Some(credentials) } = self else { return String::new() };
        let host = url.split('/').nth(2).unwrap_or_default();
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let basic = STANDARD.encode([&percent_decoded(user)[..], b":", &percent_decoded(password)].concat());
        format!("[http \"{protocol}://{host}/\"]\n\textraHeader = Authorization: Basic {basic}\n")
    }

    /// The lines of a git configuration that let the folder named in the settings, and no other, be read whoever owns it.
    /// Root needs none: it reads with the owner's rights.
    pub(super) fn safe_folders(&self) -> String {
        let Self::Folder(folder) = self else { return String::new() };
        if rustix::process::geteuid().is_root() {
            return String::new();
        }
        let quoted = |path: PathBuf| path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
        let lines: String =
            safe_folders(folder).into_iter().map(|path| format!("\tdirectory = \"{}\"\n", quoted(path))).collect();
        format!("[safe]\n{lines}")
    }

    /// As git takes it; without credentials.
    pub(super) fn argument(&self) -> String {
        match self {
            Self::Remote { url, .. } => url.clone(),
            Self::Folder(path) => path.display().to_string(),
        }
    }

    /// Whether anyone on the network could answer in its place: then commits need signatures.
    pub(super) fn is_unproven(&self) -> bool {
        let Self::Remote { url, protocol: "git" | "http", .. } = self else { return false };
        let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let name = host.strip_prefix('[').and_then(|v6| v6.split(']').next()).or_else(|| host.split(':').next());
        !name.is_some_and(|name| name == "localhost" || name == "::1" || is_loopback_v4(name))
    }

    /// `text` without this address's credentials, in any form that a server may repeat them in, nor any other
    /// `user:password@`.
    pub(super) fn redact(&self, text: &str) -> String {
        let own = self.needles().iter().fold(text.to_owned(), |text, needle| text.replace(needle.as_str(), "***"));
        own.split_inclusive(char::is_whitespace).map(redact_word).collect()
    }

    /// What stands for the credentials, the longest first: both together, and the password alone, or the user where that is
    /// the token; as they stand in the URL, as they are sent, and in base64.
    fn needles(&self) -> Vec<String> {
        let Self::Remote { credentials: Some(own), .. } = self else { return Vec::new() };
        let (user, password) = own.split_once(':').unwrap_or((own, ""));
        // So some servers take a token in the place of the user.
        let is_token = password.is_empty() || password == "x-oauth-basic";
        let secret = if is_token { user } else { password };
        let pair = [&percent_decoded(user)[..], b":", &percent_decoded(password)].concat();
        let plain = percent_decoded(secret);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let base64 = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
        let mut needles =
            vec![own.clone(), secret.to_owned(), text(&pair), text(&plain), base64(&pair), base64(&plain)];
        needles.extend([URL_SAFE_NO_PAD.encode(&pair), URL_SAFE_NO_PAD.encode(&plain)]);
        // What is shorter stands in any text by chance.
        needles.retain(|needle| needle.len() >= 4);
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        needles
    }
}

/// What git asks the owner of: the folder itself, or where its repository lies.
pub(super) fn safe_folders(folder: &Path) -> Vec<PathBuf> {
    let inner = folder.join(".git");
    // In a work tree of its own `.git` is a file that says where the repository is.
    let linked = std::fs::read_to_string(&inner).ok();
    let linked = linked.as_deref().and_then(|text| text.trim_end().strip_prefix("gitdir: "));
    let linked = linked.and_then(|path| folder.join(path).canonicalize().ok());
    [folder.to_owned(), inner].into_iter().chain(linked).collect()
}

fn is_loopback_v4(name: &str) -> bool {
    name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// A word with what stands between `://` and the last `@` of its authority replaced.
fn redact_word(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, host)) if scheme.ends_with("ssh") && !user.contains(':') => {
            format!("{scheme}://{user}@{host}{path}")
        }
        Some((_, host)) => format!("{scheme}://***@{host}{path}"),
        None => word.to_owned(),
    }
}

fn bad(why: &str) -> SourceError {
    // The URL itself is left out: what cannot be parsed cannot be redacted.
    SourceError(format!("repository.url cannot be used: {why}; give https://…, ssh://…, host:path or a folder"))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redact(&self.argument()))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether `branch` may be followed and handed to git.
pub(super) fn check_branch(branch: &str) -> Result<(), SourceError> {
    let ok = !branch.starts_with('-') && git2::Reference::is_valid_name(&format!("refs/heads/{branch}"));
    if ok {
        return Ok(());
    }
    Err(SourceError(format!("`{}` is not a branch name: correct repository.branch", super::text::clean(branch, 80))))
}

/// The segments of `repository.path`; empty for the whole repository.
pub(super) fn check_path(path: &str) -> Result<Vec<String>, SourceError> {
    let segments: Vec<String> =
        path.split('/').filter(|segment| !segment.is_empty() && *segment != ".").map(str::to_owned).collect();
    if path.starts_with('/') || segments.iter().any(|segment| segment == ".." || segment.contains(['\0', '\\'])) {
        return Err(SourceError(format!(
            "`{}` is not a folder inside the repository: repository.path is relative and has no `..`",
            super::text::clean(path, 80)
        )));
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_outside_the_list_and_arguments_in_disguise_are_refused() {
        let bad = ["", "-oProxyCommand=x", "--upload-pack=x", "ext::sh -c x", "fd::3", "ftp://h/x", "ssh://-oX/y"];
        for text in bad.iter().chain(&["https:///x", "file://rel", "h:-x", "a\nb", "/no/such/folder"]) {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        for (text, protocol) in [("https://h/x.git", "https"), ("git@h:x/y.git", "ssh"), ("ssh://git@h:22/x", "ssh")] {
            assert_eq!(Address::parse(text).expect("good").protocol(), protocol, "{text}");
        }
        assert_eq!(Address::parse("/").expect("a folder").protocol(), "file");
        let why = Address::parse("/no/such/folder").expect_err("none").0;
        assert!(why.contains("no folder `/no/such/folder`") && why.contains("--repo"), "{why}");
    }

    #[test]
    fn a_folder_without_a_repository_says_how_to_make_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("ops/prod");
        std::fs::create_dir_all(&below).expect("made");
        let of = |path: &Path| Address::parse(&path.display().to_string()).and_then(Address::with_repository);
        let SourceError(why) = of(&below).expect_err("there is none");
        assert!(why.contains("is no Git repository: make it one with `git init"), "{why}");
        std::fs::create_dir(folder.path().join(".git")).expect("made");
        let SourceError(why) = of(&below).expect_err("it is further up");
        assert!(why.contains("--path ops/prod"), "{why}");
        assert!(of(folder.path()).is_ok());
        std::fs::write(below.join("HEAD"), "ref: refs/heads/main").expect("written");
        assert!(of(&below).is_ok(), "a bare one");
    }

    #[test]
    fn a_url_that_lost_its_scheme_is_not_taken_for_another_with_its_password() {
        for text in [
            "bot:hunter2@git.example/ops.git",
            "bot:hunter2@github.com:ops/ops.git",
            "https:/bot:hunter2@git.example/ops.git",
            "htps:/bot:hunter2@git.example/ops.git",
            "//bot:hunter2@git.example/ops.git",
            "/bot:hunter2@git.example/ops.git",
            "https:/git.example/ops.git",
        ] {
            let SourceError(why) = Address::parse(text).expect_err(text);
            assert!(!why.contains("hunter2") && why.contains("give https://"), "{text}: {why}");
        }
        for text in ["git@github.com:ops/ops.git", "h:a/b@c.git", "h:/srv/ops.git"] {
            assert_eq!(Address::parse(text).expect("good").to_string(), text);
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        let address = Address::parse("https://bot:s3cret@git.example/ops.git").expect("good");
        assert_eq!(address.to_string(), "https://git.example/ops.git");
        assert_eq!(format!("{address:?}"), "https://git.example/ops.git");
        assert_eq!(address.argument(), "https://git.example/ops.git", "nor in the list of processes");
        let expected = "[http \"https://git.example/\"]\n\textraHeader = Authorization: Basic Ym90OnMzY3JldA==\n";
        assert_eq!(address.configuration(), expected);
        let text =
            address.redact("fatal: unable to access 'https://bot:s3cret@git.example/': bot:s3cret, http://u:p@x/y");
        assert!(!text.contains("s3cret") && !text.contains("u:p"), "{text}");
        assert_eq!(Address::parse("ssh://git@h/x").expect("good").to_string(), "ssh://git@h/x");
    }

    #[test]
    fn what_a_server_says_of_credentials_is_not_shown_in_any_form() {
        let address = Address::parse("https://bot:s3cr%40et-t%2fken@git.example/ops.git").expect("good");
        let basic = STANDARD.encode("bot:s3cr@et-t/ken");
        for said in [
            "token s3cr%40et-t%2fken",
            "s3cr@et-t/ken has expired",
            &basic,
            "bot:s3cr@et-t/ken",
            "czNjckBldC10L2tlbg==",
        ] {
            let told = address.redact(&format!("remote: your {said} is no more"));
            let left = ["s3cr", "czNjck", &basic[..12]].into_iter().find(|part| told.contains(part));
            assert!(told.contains("***") && left.is_none(), "{said}: {told}");
        }
        assert!(address.redact("remote: the bot is gone").contains("bot"));
        for url in ["https://ghp_abcdef@h/x", "https://ghp_abcdef:x-oauth-basic@h/x"] {
            let told = Address::parse(url).expect("good").redact("ghp_abcdef is revoked");
            assert_eq!(told, "*** is revoked", "{url}");
        }
    }

    #[test]
    fn only_loopback_is_trusted_without_a_proof() {
        for text in ["git://example.com/x", "http://10.0.0.1/x", "http://127.evil.example/x", "http://localhost.evil/x"]
        {
            assert!(Address::parse(text).expect("good").is_unproven(), "{text}");
        }
        for text in ["git://127.0.0.1:9418/x", "http://[::1]:80/x", "http://localhost/x", "https://example.com/x"] {
            assert!(!Address::parse(text).expect("good").is_unproven(), "{text}");
        }
    }

    #[test]
    fn branches_and_paths_stay_inside() {
        assert!(check_branch("main").is_ok() && check_branch("team/x").is_ok());
        for branch in ["-x", "a..b", "a b", "", "x.lock", "a\u{7}"] {
            assert!(check_branch(branch).is_err(), "{branch}");
        }
        assert_eq!(check_path("./ops//prod/").expect("good"), ["ops", "prod"]);
        assert!(check_path("../x").is_err() && check_path("/x").is_err() && check_path("a/../b").is_err());
    }
}
