//! What `plan`, `apply` and `run` are asked to do: the settings file with flags and variables laid over it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use codeops_core::config::{PAGE, PageSettings, Settings};
use codeops_core::model::Period;

use super::args::{RepositoryArgs, RunArgs};
use super::compile;
use super::environment::Variables;
use super::exit::Coded;
use crate::daemon::{Options, Reload};

/// What was said on the command line or in variables. It outweighs the settings file, also when that is read again.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    repository: RepositoryArgs,
    listen: Option<String>,
    hooks_listen: Option<String>,
    poll: Option<Period>,
}

/// Options of a command that works on a repository once.
///
/// # Errors
/// No repository is named, the settings file cannot be read or holds mistakes, or an address is none.
pub(crate) fn once(args: &RepositoryArgs, variables: &Variables) -> anyhow::Result<Options> {
    merge(&Flags { repository: args.clone(), ..Flags::default() }, variables)
}

/// Options of the daemon; errors as in [`once`].
pub(crate) fn daemon(args: &RunArgs, variables: &Variables) -> anyhow::Result<Options> {
    let flags = Flags {
        repository: args.repository.clone(),
        listen: args.listen.clone(),
        hooks_listen: args.hooks_listen.clone(),
        poll: args.poll,
    };
    let file = args.repository.settings.clone();
    let options = merge(&flags, variables)?;
    let reload = file.map(|file| Reload { file, read: Arc::new(move || flags.settings()) });
    Ok(Options { reload, ..options })
}

fn merge(flags: &Flags, variables: &Variables) -> anyhow::Result<Options> {
    let settings = flags.settings()?;
    Ok(Options {
        state: state_folder(settings.state.as_deref(), variables)?,
        variables: variables.all().clone(),
        binary: std::env::current_exe().context("this program's own file cannot be found")?,
        settings,
        reload: None,
        known: Default::default(),
    })
}

impl Flags {
    /// The settings file as it is now, with these flags over it: at the start, and for a reload, all or nothing.
    ///
    /// # Errors
    /// The file cannot be read or holds mistakes, or no repository is named; the settings in force stay.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        self.over(read_settings(self.repository.settings.as_deref())?)
    }

    fn over(&self, mut settings: Settings) -> anyhow::Result<Settings> {
        let flags = &self.repository;
        let repository = &mut settings.repository;
        if let Some(url) = &flags.repo {
            repository.url = Some(url.clone());
        }
        repository.url = match repository.url.take() {
            Some(url) => Some(absolute_if_folder(&url)?),
            None => {
                return Err(Coded::usage(
                    "no config repository is named: say --repo URL|DIR, set CODEOPS_REPO, or write `repository.url` in the settings",
                ));
            }
        };
        if let Some(branch) = &flags.branch {
            repository.branch = Some(branch.clone());
        }
        if let Some(path) = &flags.path {
            repository.path = path.clone();
        }
        if let Some(poll) = self.poll {
            repository.poll = poll;
        }
        if let Some(environment) = &flags.environment {
            settings.environment = Some(environment.clone());
        }
        if let Some(state) = &flags.state {
            settings.state = Some(state.to_string_lossy().into_owned());
        }
        if let Some(address) = &self.listen {
            settings.listen = Some(match settings.listen.take() {
                Some(PageSettings::Guarded { token, hosts, .. }) => {
                    PageSettings::Guarded { address: address.clone(), token, hosts }
                }
                _ => PageSettings::Address(address.clone()),
            });
        }
        if let Some(address) = &self.hooks_listen {
            settings.hooks.listen = address.clone();
        }
        check_address("listen", settings.page_address())?;
        check_address("hooks.listen", &settings.hooks.listen)?;
        Ok(settings)
    }
}

fn check_address(what: &str, address: &str) -> anyhow::Result<()> {
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(()),
        _ => Err(Coded::usage(format!("{what} is `{address}`: expected host:port, such as {}", PAGE))),
    }
}

/// A local folder is meant from where the command was given, wherever the daemon works later.
fn absolute_if_folder(url: &str) -> anyhow::Result<String> {
    let path = Path::new(url);
    if url.contains("://") || !path.is_dir() {
        return Ok(url.to_owned());
    }
    let absolute = path.canonicalize().with_context(|| format!("{url} cannot be opened"))?;
    Ok(absolute.to_string_lossy().into_owned())
}

/// The state folder, absolute: as the settings say, or where the system keeps such things.
pub(crate) fn state_folder(configured: Option<&str>, variables: &Variables) -> anyhow::Result<PathBuf> {
    match configured {
        Some(folder) => std::path::absolute(folder).with_context(|| format!("the state folder `{folder}`")),
        None => variables.state_folder(),
    }
}

/// Reads a settings file; without one, every default.
///
/// # Errors
/// It cannot be read, or it holds mistakes: all of them, each with its line.
pub(crate) fn read_settings(file: Option<&Path>) -> anyhow::Result<Settings> {
    let Some(file) = file else { return Ok(Settings::default()) };
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Coded::usage(format!("the settings file {shown} cannot be read: {error}")))?;
    warn_if_open(file);
    compile::settings(&shown.to_string(), &text)
}

/// Settings hold no secrets, but they say where secrets lie; only others' writing is a danger.
fn warn_if_open(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::metadata(file).is_ok_and(|meta| meta.permissions().mode() & 0o022 != 0);
    if open {
        tracing::warn!(file = %file.display(), "the settings file can be written by others: chmod go-w it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        [("HOME".to_owned(), "/home/ada".to_owned())].into_iter().collect()
    }

    fn with(repo: Option<&str>, settings: Option<PathBuf>) -> RunArgs {
        RunArgs {
            repository: RepositoryArgs { repo: repo.map(str::to_owned), settings, ..RepositoryArgs::default() },
            listen: None,
            hooks_listen: None,
            poll: None,
        }
    }

    #[test]
    fn a_laptop_needs_no_settings() {
        let options = daemon(&with(Some("https://git.example/ops.git"), None), &variables()).expect("options");
        assert_eq!(options.settings.repository.branch, None);
        assert_eq!(options.settings.repository.branch(), "main");
        assert!(options.state.is_absolute());
    }

    #[test]
    fn a_flag_outweighs_the_settings_file_and_keeps_the_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("daemon.yaml");
        let text = "repository: {url: https://git.example/a.git, branch: live}\n\
                    listen: {address: 0.0.0.0:80, token: {env: TOKEN}}\n";
        std::fs::write(&file, text).expect("written");
        let mut args = with(Some("https://git.example/b.git"), Some(file));
        args.listen = Some("127.0.0.1:9000".to_owned());
        let options = daemon(&args, &variables()).expect("options");
        assert_eq!(options.settings.repository.url.as_deref(), Some("https://git.example/b.git"));
        assert_eq!(options.settings.repository.branch(), "live");
        assert!(
            matches!(&options.settings.listen, Some(PageSettings::Guarded { address, .. }) if address == "127.0.0.1:9000")
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        let error = daemon(&with(None, None), &variables()).expect_err("no repository");
        assert!(error.to_string().contains("--repo"), "{error}");
        let mut args = with(Some("https://git.example/b.git"), None);
        args.listen = Some("9000".to_owned());
        let error = daemon(&args, &variables()).expect_err("no host");
        assert!(error.to_string().contains("host:port"), "{error}");
    }
}
