//! Manifests and settings through the core's compiler, with what a command knows beside them.

use std::collections::BTreeMap;

use codeops_core::config::{ProcessSettings, ProviderSettings, Settings};
use codeops_core::desired::{self, Context, Diagnostic, ProviderFacts, SecretFacts};
use codeops_core::model::Environment;

use super::exit::Coded;
use super::validate;

/// Reads the text of a settings file.
///
/// # Errors
/// Every mistake, rendered.
pub(crate) fn settings(file: &str, text: &str) -> anyhow::Result<Settings> {
    desired::parse_settings(file, text).map_err(|diagnostics| {
        let rendered: Vec<String> = diagnostics.iter().map(|diagnostic| diagnostic.render(false)).collect();
        Coded::usage(format!("the settings {file} hold mistakes\n{}", rendered.join("\n\n")))
    })
}

/// What manifests are checked against: all that `settings` say, or nothing when there are none.
pub(crate) fn context(environment: Option<Environment>, settings: Option<&Settings>) -> Context {
    let Some(settings) = settings else { return Context { environment, ..Context::default() } };
    let secrets = settings.secrets.iter().map(|(name, secret)| {
        let teams = secret.teams.iter().cloned().collect();
        // Values are not read here, so that validate is safe anywhere; a tag only matters to what is applied.
        (name.clone(), SecretFacts { teams, tag: Ok(String::new()) })
    });
    Context {
        environment: environment.or_else(|| settings.environment.clone()),
        providers: Some(providers(settings)),
        unset: None,
        secrets: Some(secrets.collect()),
        teams: settings.teams.clone(),
        reserved: settings.reserved(),
        fallback: settings.fallback.clone(),
        fallback_team: settings.fallback_team.clone(),
        declared: BTreeMap::new(),
        claims: BTreeMap::new(),
        holders: BTreeMap::new(),
        files: BTreeMap::new(),
        looks_back: None,
        deletions_wait: false,
    }
}

fn providers(settings: &Settings) -> BTreeMap<codeops_core::model::ProviderName, ProviderFacts> {
    let facts = |provider: &ProviderSettings| match provider {
        ProviderSettings::Process(_) => {
            ProviderFacts { word: provider.word(), commands: true, images: false, host_ports: true }
        }
    };
    let mut known: BTreeMap<_, _> =
        settings.providers.iter().map(|(name, provider)| (name.clone(), facts(provider))).collect();
    if known.is_empty() {
        // As the daemon does without any.
        let local = ProviderSettings::Process(ProcessSettings::default());
        known.extend(validate::LOCAL.parse().ok().map(|name| (name, facts(&local))));
    }
    known
}

/// Errors first counted, then warnings: `2 errors, 1 warning`.
pub(crate) fn count(diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|d| d.severity == desired::Severity::Error).count();
    let warnings = diagnostics.len() - errors;
    match (errors, warnings) {
        (0, warnings) => number(warnings, "warning"),
        (errors, 0) => number(errors, "error"),
        (errors, warnings) => format!("{}, {}", number(errors, "error"), number(warnings, "warning")),
    }
}

/// `1 error`, `2 errors`.
pub(super) fn number(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
