//! The settings, read again when their file changes or at a SIGHUP: all of them or none.

use std::path::Path;
use std::time::Duration;

use codeops_core::config::Settings;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::options::Reload;

/// How often the file is looked at. Its content is compared, so that a link that is flipped counts as well.
const LOOK: Duration = Duration::from_secs(2);

/// Waits until the file says something else that can be used, and answers it. A file that cannot be read or holds mistakes
/// changes nothing and is told once, and again at every SIGHUP.
pub(super) async fn changed(reload: Option<&Reload>, in_force: &Settings) -> Settings {
    // Also without a file: a terminal that goes does not end the daemon.
    let mut hangup = signal(SignalKind::hangup()).ok();
    let Some(reload) = reload else { return std::future::pending().await };
    let mut seen = content(&reload.file).await;
    loop {
        let asked = tokio::select! {
            () = tokio::time::sleep(LOOK) => false,
            () = told(hangup.as_mut()) => true,
        };
        let now = content(&reload.file).await;
        if now == seen && !asked {
            continue;
        }
        seen = now;
        match (reload.read)() {
            Ok(settings) => {
                let settings = keep_what_needs_a_restart(settings, in_force);
                if settings != *in_force {
                    return settings;
                }
            }
            Err(error) => tracing::error!(
                file = %reload.file.display(),
                error = format!("{error:#}"),
                "the settings cannot be used; those in force stay"
            ),
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
        let in_force = Settings::default();
        let mut changed = std::pin::pin!(changed(Some(&reload), &in_force));
        // The handler is there from its first step on.
        let early = tokio::time::timeout(Duration::ZERO, changed.as_mut()).await;
        assert!(early.is_err(), "the file is as it was");
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).expect("sent");
        let taken = tokio::time::timeout(Duration::from_secs(20), changed).await;
        assert_eq!(taken.ok(), Some(new));
    }
}
