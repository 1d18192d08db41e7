//! The settings, read again when their file changes or at a SIGHUP: all of them or none.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use codeops_core::config::Settings;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::options::Reload;
use crate::port::SettingsState;

/// How often the file is looked at. Its content is compared, so that a link that is flipped counts as well.
const LOOK: Duration = Duration::from_secs(2);
/// No secret is longer, in bytes.
const LARGEST: u64 = 1 << 20;

/// What is known of the file, from one life of the daemon to the next: what is written while settings are taken over is
/// read after that.
pub(super) struct Watch {
    reload: Option<Reload>,
    /// What the file said when it was last read, whatever came of it.
    seen: Option<Vec<u8>>,
    hangup: Option<Signal>,
    /// Where it is told whether the file can be used.
    state: SettingsState,
}

impl Watch {
    /// Begins before the settings are lived by. A SIGHUP no longer ends the process: also without a file, so that a terminal
    /// that goes does not end the daemon.
    pub(super) async fn begin(reload: Option<Reload>, state: SettingsState) -> Self {
        let seen = match &reload {
            Some(reload) => content(&reload.file).await,
            None => None,
        };
        Self { reload, seen, hangup: signal(SignalKind::hangup()).ok(), state }
    }

    /// Waits until there is something to take over, and answers it: settings that differ, or at a SIGHUP also those in
    /// force, for what they name, such as a secret's file, may have changed. A file that cannot be read or holds mistakes
    /// changes nothing and is told once, and again at every SIGHUP; then what is answered says `false`.
    pub(super) async fn changed(&mut self, in_force: &Settings) -> (Settings, bool) {
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK), if self.reload.is_some() => false,
                () = told(self.hangup.as_mut()) => true,
            };
            let Some(reload) = &self.reload else { return (in_force.clone(), true) };
            let now = content(&reload.file).await;
            if now == self.seen && !asked {
                continue;
            }
            self.seen = now;
            match (reload.read)() {
                Ok(settings) => {
                    let settings = keep_what_needs_a_restart(settings, in_force);
                    self.state.taken();
                    if asked || settings != *in_force {
                        return (settings, true);
                    }
                }
                Err(error) => {
                    let (file, error) = (reload.file.display(), format!("{error:#}"));
                    tracing::error!(%file, error, "the settings cannot be used; those in force stay");
                    self.state.refused(error);
                }
            }
            if asked {
                return (in_force.clone(), false);
            }
        }
    }
}

/// Waits for a SIGHUP.
async fn told(hangup: Option<&mut Signal>) {
    let told = match hangup {
        Some(hangup) => hangup.recv().await,
        None => None,
    };
    if told.is_none() {
        std::future::pending::<()>().await;
    }
}

/// What the files say that the settings name, and those that were generated, as one number. What is none that can be read
/// to its end says nothing.
pub(super) async fn named(settings: &Settings, generated: &[PathBuf]) -> u64 {
    let mut files: Vec<PathBuf> = generated.to_vec();
    if let Ok(value) = serde_json::to_value(settings) {
        paths(&value, &mut files);
    }
    let mut hasher = DefaultHasher::new();
    for file in files {
        let is_file = tokio::fs::metadata(&file).await.is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST);
        let content = if is_file { content(&file).await } else { None };
        (file, content).hash(&mut hasher);
    }
    hasher.finish()
}

fn paths(value: &Value, files: &mut Vec<PathBuf>) {
    match value {
        Value::String(text) if text.starts_with('/') => files.push(PathBuf::from(text)),
        Value::Array(values) => values.iter().for_each(|value| paths(value, files)),
        Value::Object(values) => values.values().for_each(|value| paths(value, files)),
        _ => {}
    }
}

async fn content(file: &Path) -> Option<Vec<u8>> {
    tokio::fs::read(file).await.ok()
}

/// Addresses and the state stay as they are until the daemon is started anew; says so where they differ.
fn keep_what_needs_a_restart(mut settings: Settings, in_force: &Settings) -> Settings {
    let mut differing = Vec::new();
    if settings.listen != in_force.listen {
        differing.push("listen");
        settings.listen.clone_from(&in_force.listen);
    }
    if settings.hooks != in_force.hooks {
        differing.push("hooks.listen");
        settings.hooks.clone_from(&in_force.hooks);
    }
    if settings.state != in_force.state {
        differing.push("state");
        settings.state.clone_from(&in_force.state);
    }
    if settings.store != in_force.store {
        differing.push("store");
        settings.store = in_force.store;
    }
    if !differing.is_empty() {
        tracing::warn!(settings = differing.join(", "), "changed in the file; they need a restart of the daemon");
    }
    settings
}

#[cfg(test)]
mod tests {
    use codeops_core::config::{HooksSettings, Mode};

    use super::*;

    #[test]
    fn addresses_and_state_wait_for_a_restart_and_the_rest_does_not() {
        let in_force = Settings::default();
        let new = Settings {
            mode: Mode::Observe,
            state: Some("/elsewhere".to_owned()),
            hooks: HooksSettings { listen: "127.0.0.1:1".to_owned() },
            ..Settings::default()
        };
        let kept = keep_what_needs_a_restart(new, &in_force);
        assert_eq!(kept, Settings { mode: Mode::Observe, ..in_force });
    }

    #[tokio::test]
    async fn a_hangup_reads_the_settings_at_once_and_ends_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("daemon.yaml");
        std::fs::write(&file, "").expect("written");
        let new = Settings { mode: Mode::Observe, ..Settings::default() };
        let read = {
            let new = new.clone();
            move || Ok(new.clone())
        };
        let reload = Reload { file, read: std::sync::Arc::new(read) };
        let mut watch = Watch::begin(Some(reload), SettingsState::default()).await;
        let hang_up =
            || rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).expect("sent");
        hang_up();
        let limit = Duration::from_secs(20);
        let taken = tokio::time::timeout(limit, watch.changed(&Settings::default())).await;
        assert_eq!(taken.ok(), Some((new.clone(), true)));
        hang_up();
        let again = tokio::time::timeout(limit, watch.changed(&new)).await;
        assert_eq!(again.ok(), Some((new, true)), "secrets may have changed");
    }

    #[tokio::test]
    async fn what_the_settings_name_has_changed_where_a_file_of_it_says_something_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let (secret, other) = (folder.path().join("secret"), folder.path().join("other"));
        for file in [&secret, &other] {
            std::fs::write(file, "one").expect("written");
        }
        let text = serde_json::json!({"secrets": {"a": {"file": secret, "teams": []}}, "state": folder.path()});
        let settings: Settings = serde_json::from_value(text).expect("settings");
        let before = named(&settings, &[]).await;
        std::fs::write(&secret, "one").expect("written");
        std::fs::write(&other, "two").expect("written");
        assert_eq!(named(&settings, &[]).await, before, "as it was");
        std::fs::write(&secret, "two").expect("written");
        assert_ne!(named(&settings, &[]).await, before);
        let with = named(&settings, std::slice::from_ref(&other)).await;
        std::fs::remove_file(&other).expect("removed");
        assert_ne!(named(&settings, &[other]).await, with, "what is gone is other than before");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_while_settings_are_taken_over_is_read_after_that() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("daemon.yaml");
        std::fs::write(&file, "one").expect("written");
        let read = {
            let file = file.clone();
            move || {
                let state = std::fs::read_to_string(&file)?;
                Ok(Settings { environment: state.parse().ok(), ..Settings::default() })
            }
        };
        let settings = |text: &str| Settings { environment: text.parse().ok(), ..Settings::default() };
        let reload = Reload { file: file.clone(), read: std::sync::Arc::new(read) };
        let mut watch = Watch::begin(Some(reload), SettingsState::default()).await;
        std::fs::write(&file, "two").expect("written");
        assert_eq!(watch.changed(&settings("one")).await, (settings("two"), true));
        // The life under it begins, or fails and leaves the old one, and meanwhile comes the next edit.
        std::fs::write(&file, "three").expect("written");
        let next = tokio::time::timeout(Duration::from_secs(60), watch.changed(&settings("two"))).await;
        assert_eq!(next.ok(), Some((settings("three"), true)));
    }

    #[tokio::test(start_paused = true)]
    async fn mistakes_in_the_file_are_told_until_they_are_mended() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("daemon.yaml");
        std::fs::write(&file, "good").expect("written");
        let read = {
            let file = file.clone();
            move || match std::fs::read_to_string(&file)?.as_str() {
                "bad" => anyhow::bail!("an unknown field"),
                "good" => Ok(Settings::default()),
                _ => Ok(Settings { mode: Mode::Observe, ..Settings::default() }),
            }
        };
        let state = SettingsState::default();
        let reload = Reload { file: file.clone(), read: std::sync::Arc::new(read) };
        let mut watch = Watch::begin(Some(reload), state.clone()).await;
        std::fs::write(&file, "bad").expect("written");
        let limit = Duration::from_secs(60);
        assert!(
            tokio::time::timeout(limit, watch.changed(&Settings::default())).await.is_err(),
            "nothing is taken over"
        );
        assert_eq!(state.error().as_deref(), Some("an unknown field"));
        std::fs::write(&file, "good").expect("written");
        assert!(tokio::time::timeout(limit, watch.changed(&Settings::default())).await.is_err(), "it is as it was");
        assert_eq!(state.error(), None);
    }
}
