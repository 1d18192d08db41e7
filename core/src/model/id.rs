//! Names that identify things: resources, owners, teams, providers, revisions. Each is validated when made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a [`Name`], [`ResourceId`] or [`Revision`]; says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: {expected}")]
pub struct InvalidName {
    /// The text as given, cut to 80 characters.
    pub text: String,
    /// What it should have been, such as `name`.
    pub what: &'static str,
    /// The rule it breaks.
    pub expected: &'static str,
}

impl InvalidName {
    fn new(text: &str, what: &'static str, expected: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), what, expected }
    }

    /// Labels that are none.
    pub(super) fn group(text: &str) -> Self {
        Self::new(text, "group of alerts", "labels as JSON")
    }
}

/// A DNS label (RFC 1123): 1 to 63 of `a-z 0-9 -`, beginning and ending with a letter or digit. Shared: a clone is cheap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    with = "String",
    description = "1 to 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit.",
    extend("pattern" = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "minLength" = 1, "maxLength" = 63)
)]
pub struct Name(Arc<str>);

impl Name {
    /// Makes a name of `text`, or says which rule it breaks.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = text.as_bytes();
        if bytes.len() > 63 || !bytes.iter().all(|b| inner(*b)) || !edge(bytes.first()) || !edge(bytes.last()) {
            return Err(InvalidName::new(
                text,
                "name",
                "1 to 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl FromStr for Name {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The name of a team: the `metadata.name` of a `Team` manifest.
pub type TeamName = Name;
/// The name of a provider: a key of `providers:` in the settings.
pub type ProviderName = Name;
/// The name of a secret: a key of `secrets:` in the settings.
pub type SecretName = Name;
/// The name of an environment: a folder below `environments/`.
pub type Environment = Name;

/// The kinds of manifest that declare a resource, which is a thing with a live state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An application: instances of one command behind one stable port.
    App,
}

impl Kind {
    /// Every kind, in the order they are shown.
    pub const ALL: &'static [Kind] = &[Kind::App];

    /// The lower-case word used in ids, such as `app`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::App => "app",
        }
    }

    /// The plural used in paths, such as `apps`.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::App => "apps",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Kind::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| InvalidName::new(text, "kind of resource", "`app`"))
    }
}

/// `kind/name`, such as `app/shop`: what every journal record, claim and page path is keyed on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    with = "String",
    description = "A resource as kind/name, such as app/shop.",
    extend("pattern" = "^app/[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
)]
pub struct ResourceId {
    /// The kind, before the slash.
    pub kind: Kind,
    /// The manifest's `metadata.name`, after the slash.
    pub name: Name,
}

impl ResourceId {
    /// The id of the app called `name`.
    pub fn app(name: Name) -> Self {
        Self { kind: Kind::App, name }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.kind, self.name))
    }
}

impl FromStr for ResourceId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (kind, name) =
            text.split_once('/').ok_or_else(|| InvalidName::new(text, "resource id", "kind/name, such as app/shop"))?;
        Ok(Self { kind: kind.parse()?, name: name.parse()? })
    }
}

impl TryFrom<String> for ResourceId {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.to_string()
    }
}

/// Who declares a live object: the `Repository`'s name and the environment. Stamped on every live object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner {
    /// `metadata.name` of the `Repository` manifest.
    pub repository: Name,
    /// The environment selected in the settings, if any.
    pub environment: Option<Environment>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.environment {
            Some(environment) => f.pad(&format!("{}/{environment}", self.repository)),
            None => f.pad(self.repository.as_str()),
        }
    }
}

impl FromStr for Owner {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Ok(match text.split_once('/') {
            Some((repository, environment)) => {
                Self { repository: repository.parse()?, environment: Some(environment.parse()?) }
            }
            None => Self { repository: text.parse()?, environment: None },
        })
    }
}

impl TryFrom<String> for Owner {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.to_string()
    }
}

/// A full Git commit id: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision(Arc<str>);

impl Revision {
    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 7 digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..7).unwrap_or(&self.0)
    }
}

impl FromStr for Revision {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !matches!(text.len(), 40 | 64) || !text.bytes().all(hex) {
            return Err(InvalidName::new(text, "revision", "a full commit id of 40 or 64 hex digits"));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Revision {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.0.as_ref().to_owned()
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
