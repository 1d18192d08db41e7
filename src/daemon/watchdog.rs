//! The watchdog: a thread of its own, since what it watches may hold up every task. It says which worker makes no progress, and
//! tells the supervisor that the process lives for as long as a restart would not help.

use std::sync::mpsc::{self, RecvTimeoutError};

use crate::port::{LOOK, Stuck, Vitals, Watchdog};

/// Ends with this.
pub(super) struct Kennel(Option<mpsc::Sender<Vitals>>);

impl Kennel {
    /// Starts the thread, which watches nobody yet.
    pub(super) fn open() -> Self {
        let (sender, told) = mpsc::channel();
        let spawned = std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(&told));
        match spawned {
            Ok(_) => Self(Some(sender)),
            Err(error) => {
                tracing::error!(%error, "no thread for the watchdog: nobody notices when a part stands still");
                Self(None)
            }
        }
    }

    /// Watches these workers from now on, and no others.
    pub(super) fn watch(&self, vitals: Vitals) {
        if let Some(sender) = &self.0 {
            let _ = sender.send(vitals);
        }
    }
}

fn watch(told: &mpsc::Receiver<Vitals>) {
    let (mut dog, mut before) = (None, None);
    loop {
        match told.recv_timeout(LOOK) {
            Ok(vitals) => (dog, before) = (Some(Watchdog::new(vitals)), None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let stuck = dog.as_mut().and_then(Watchdog::look);
        tell(stuck, before);
        before = stuck.map(|stuck| stuck.worker);
        if !stuck.is_some_and(Stuck::is_dead) {
            // Where no supervisor asked for it, nobody hears it. That crate reads the address from the environment itself.
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }
}

/// Says it once.
fn tell(stuck: Option<Stuck>, before: Option<&str>) {
    match (stuck, before) {
        (Some(stuck), before) if before != Some(stuck.worker) => {
            let Stuck { worker, .. } = stuck;
            tracing::error!(worker, "a part of the daemon makes no progress: /readyz and /healthz say so; restart it");
        }
        (None, Some(worker)) => tracing::info!(worker, "it makes progress again"),
        _ => {}
    }
}
