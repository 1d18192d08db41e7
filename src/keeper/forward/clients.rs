//! The clients that are connected: no more than there are descriptors for. The one that was idle longest makes room for
//! the next; while none is idle, who comes waits in the kernel's queue.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// All clients of one port.
#[derive(Debug)]
pub(super) struct Clients {
    most: usize,
    open: Mutex<Open>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// Since when each is idle, if it is, and how to end it.
    all: HashMap<u64, (Option<Instant>, CancellationToken)>,
    idle: BTreeSet<(Instant, u64)>,
}

impl Open {
    fn set(&mut self, id: u64, now: Option<Instant>) {
        let Some((since, _)) = self.all.get_mut(&id) else { return };
        if let Some(since) = since.take() {
            self.idle.remove(&(since, id));
        }
        *since = now;
        self.idle.extend(now.map(|now| (now, id)));
    }
}

impl Clients {
    /// For at most so many.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default(), changed: Notify::new() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more may come.
    pub(super) async fn room(&self) {
        while !self.make_room() {
            self.changed.notified().await;
        }
    }

    fn make_room(&self) -> bool {
        let mut open = self.open();
        if open.all.len() < self.most {
            return true;
        }
        let Some((_, oldest)) = open.idle.pop_first() else { return false };
        if let Some((_, end)) = open.all.remove(&oldest) {
            end.cancel();
        }
        true
    }

    /// Takes one in, idle.
    pub(super) fn take_in(self: &Arc<Self>) -> Arc<Client> {
        let (mut open, end) = (self.open(), CancellationToken::new());
        let id = open.next;
        open.next += 1;
        open.all.insert(id, (None, end.clone()));
        open.set(id, Some(Instant::now()));
        Arc::new(Client { clients: self.clone(), id, end })
    }
}

/// One client's connection; dropped when it is closed.
#[derive(Debug)]
pub(super) struct Client {
    clients: Arc<Clients>,
    id: u64,
    /// Cancelled when it has to make room.
    pub(super) end: CancellationToken,
}

impl Client {
    /// It is asking for something, until the answer is dropped.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.clients.open().set(self.id, None);
        Busy(self.clone())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut open = self.clients.open();
        open.set(self.id, None);
        open.all.remove(&self.id);
        self.clients.changed.notify_one();
    }
}

/// A client that makes no room.
#[derive(Debug)]
pub(super) struct Busy(Arc<Client>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.clients.open().set(self.0.id, Some(Instant::now()));
        self.0.clients.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_one_that_is_idle_longest_makes_room_and_a_busy_one_never() {
        let clients = Clients::new(2);
        let (first, second) = (clients.take_in(), clients.take_in());
        let asking = first.busy();
        assert!(clients.room().now_or_never().is_some());
        assert!(second.end.is_cancelled() && !first.end.is_cancelled());
        let third = clients.take_in();
        let waiting = third.busy();
        assert!(clients.room().now_or_never().is_none(), "all are busy");
        drop(waiting);
        drop(asking);
        assert!(clients.room().now_or_never().is_some());
        assert!(third.end.is_cancelled() && !first.end.is_cancelled());
        drop((second, third));
        let fourth = clients.take_in();
        assert!(clients.room().now_or_never().is_some());
        assert!(first.end.is_cancelled() && !fourth.end.is_cancelled());
        let open = clients.open();
        assert_eq!(open.idle.len(), open.all.len());
        drop(open);
    }
}
