//! Which instances are in rotation, and which is next: the one with the least in flight, in turn among equals.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use codeops_core::model::InstanceId;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::pool::Pool;
use super::prompt::Prompt;
use crate::keeper::holder::{Held, Holder};

/// One instance as the forwarder sees it.
#[derive(Debug)]
pub(in crate::keeper) struct Backend {
    id: InstanceId,
    port: AtomicU16,
    holder: Mutex<Option<Holder>>,
    ready: AtomicBool,
    in_flight: AtomicUsize,
    requests: AtomicU64,
    idle: Notify,
    /// Cancelled when time is up: what is still in flight is cut.
    pub(in crate::keeper) cut: CancellationToken,
    pub(super) pool: Pool,
}

impl Backend {
    /// An instance that is not in rotation yet.
    pub(in crate::keeper) fn new(id: InstanceId, port: Option<u16>) -> Self {
        Self {
            id,
            port: AtomicU16::new(port.unwrap_or(0)),
            holder: Mutex::default(),
            ready: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            idle: Notify::new(),
            cut: CancellationToken::new(),
            pool: Pool::default(),
        }
    }

    /// Puts it in rotation, or takes it out. Idle connections to it are dropped when it goes.
    pub(in crate::keeper) fn set_ready(&self, ready: bool) {
        if self.ready.swap(ready, Ordering::Relaxed) && !ready {
            self.pool.clear();
        }
    }

    /// Gives it another port, for its next process.
    pub(in crate::keeper) fn set_port(&self, port: u16) {
        self.port.store(port, Ordering::Relaxed);
        self.pool.clear();
    }

    /// Says whose its port has to be from now on.
    pub(in crate::keeper) fn set_holder(&self, holder: Option<Holder>) {
        *self.holder.lock().unwrap_or_else(PoisonError::into_inner) = holder;
    }

    /// Whose its port is. Asked after a connection was made, it tells to whom.
    pub(in crate::keeper) fn held(&self) -> Held {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(Held::Own, Holder::held)
    }

    /// Whether its port was ever found to be its own.
    pub(in crate::keeper) fn has_listened(&self) -> bool {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(Holder::has_listened)
    }

    /// Connects to it, and to nobody else.
    ///
    /// # Errors
    /// When nobody listens, or not the instance.
    pub(super) async fn connect(&self) -> io::Result<Prompt> {
        let stream = TcpStream::connect(self.address()).await?;
        match self.held() {
            Held::Own => Ok(Prompt::new(stream)),
            Held::Other | Held::Nobody => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    /// Where it listens.
    pub(in crate::keeper) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.load(Ordering::Relaxed)).into()
    }

    /// Requests or connections it was sent so far.
    pub(in crate::keeper) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Waits until nothing is in flight.
    pub(in crate::keeper) async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            if self.in_flight.load(Ordering::Relaxed) == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// One request or connection in flight; dropped when it is through.
#[derive(Debug)]
pub(super) struct Flight(pub(super) Arc<Backend>);

impl Drop for Flight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// The instances of an app.
#[derive(Debug, Default)]
pub(in crate::keeper) struct Rotation {
    backends: Mutex<Vec<Arc<Backend>>>,
    turn: AtomicUsize,
}

impl Rotation {
    /// Adds one.
    pub(in crate::keeper) fn add(&self, backend: Arc<Backend>) {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner).push(backend);
    }

    /// Forgets one.
    pub(in crate::keeper) fn remove(&self, id: &InstanceId) {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner).retain(|backend| backend.id != *id);
    }

    /// The one called `id`.
    pub(in crate::keeper) fn get(&self, id: &InstanceId) -> Option<Arc<Backend>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|backend| backend.id == *id).cloned()
    }

    /// The next one that is ready and not among `tried`.
    pub(super) fn pick(&self, tried: &[Arc<Backend>]) -> Option<Flight> {
        let backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let count = backends.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let chosen = (0..count)
            .filter_map(|n| backends.get((turn.wrapping_add(n)) % count))
            .filter(|backend| backend.ready.load(Ordering::Relaxed))
            .filter(|backend| !tried.iter().any(|other| Arc::ptr_eq(other, backend)))
            .min_by_key(|backend| backend.in_flight.load(Ordering::Relaxed))?;
        chosen.in_flight.fetch_add(1, Ordering::Relaxed);
        chosen.requests.fetch_add(1, Ordering::Relaxed);
        Some(Flight(chosen.clone()))
    }
}

#[cfg(test)]
mod tests {
    use codeops_core::model::Digest;

    use super::*;

    #[test]
    fn the_least_loaded_is_next_and_equals_take_turns() {
        let template = Digest::of(&serde_json::json!(1));
        let rotation = Rotation::default();
        for n in 1..=2 {
            let backend = Backend::new(InstanceId::new(&template, n).expect("valid"), Some(80));
            backend.set_ready(true);
            rotation.add(Arc::new(backend));
        }
        let first = rotation.pick(&[]).expect("one is ready");
        let second = rotation.pick(&[]).expect("one is ready");
        assert_ne!(first.0.id, second.0.id);
        drop(first);
        let third = rotation.pick(&[]).expect("one is ready");
        assert_ne!(third.0.id, second.0.id);
        assert!(rotation.pick(&[third.0.clone(), second.0.clone()]).is_none());
    }
}
