//! The clients that are connected: no more than there are descriptors for. The one that was idle longest makes room for
//! the next; while none is idle, who comes waits in the kernel's queue. Who stops in the middle of what it sends is idle too.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Who has just come, or was just answered, makes no room yet: what he asks next may be on its way.
const SETTLED: Duration = Duration::from_millis(100);

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
    all: HashMap<u64, One>,
    idle: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
struct One {
    /// Answers it waits for.
    asked: usize,
    /// It has stopped in the middle of what it sends.
    stalled: bool,
    /// Since when it is idle, if it is.
    idle: Option<Instant>,
    /// How to end it.
    end: CancellationToken,
}

impl Open {
    fn change(&mut self, id: u64, change: impl FnOnce(&mut One)) {
        let Some(one) = self.all.get_mut(&id) else { return };
        change(one);
        let is_idle = one.asked == 0 || one.stalled;
        if is_idle == one.idle.is_some() {
            return;
        }
        if let Some(since) = one.idle.take() {
            self.idle.remove(&(since, id));
        } else {
            let now = Instant::now();
            one.idle = Some(now);
            self.idle.insert((now, id));
        }
    }

    fn forget(&mut self, id: u64) {
        if let Some(since) = self.all.remove(&id).and_then(|one| one.idle) {
            self.idle.remove(&(since, id));
        }
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
        while let Err(next) = self.make_room() {
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = due => {}
            }
        }
    }

    /// Otherwise tells when the first of the idle ones may have to go, if any is idle.
    fn make_room(&self) -> Result<(), Option<Instant>> {
        let mut open = self.open();
        if open.all.len() < self.most {
            return Ok(());
        }
        let (since, oldest) = open.idle.first().copied().ok_or(None)?;
        if since + SETTLED > Instant::now() {
            return Err(Some(since + SETTLED));
        }
        let gone = open.all.get(&oldest).map(|one| one.end.clone());
        open.forget(oldest);
        gone.iter().for_each(CancellationToken::cancel);
        Ok(())
    }

    /// Takes one in, idle.
    pub(super) fn take_in(self: &Arc<Self>) -> Arc<Client> {
        let (mut open, end) = (self.open(), CancellationToken::new());
        let id = open.next;
        open.next += 1;
        open.all.insert(id, One { asked: 0, stalled: false, idle: None, end: end.clone() });
        open.change(id, |_| {});
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
        self.clients.open().change(self.id, |one| one.asked += 1);
        Busy(self.clone())
    }

    /// How it is told that this client has stopped sending. It keeps no connection open.
    pub(super) fn stall(&self) -> Stall {
        Stall { clients: self.clients.clone(), id: self.id }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.open().forget(self.id);
        self.clients.changed.notify_one();
    }
}

/// A client that makes no room, unless it stalls.
#[derive(Debug)]
pub(super) struct Busy(Arc<Client>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.clients.open().change(self.0.id, |one| one.asked = one.asked.saturating_sub(1));
        self.0.clients.changed.notify_one();
    }
}

/// Tells whether a client that asks for something has stopped in the middle of it; it has not once this is dropped.
#[derive(Debug)]
pub(super) struct Stall {
    clients: Arc<Clients>,
    id: u64,
}

impl Stall {
    pub(super) fn set(&self, stalled: bool) {
        self.clients.open().change(self.id, |one| one.stalled = stalled);
        if stalled {
            self.clients.changed.notify_one();
        }
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_one_that_is_idle_longest_makes_room_and_a_busy_one_never() {
        let clients = Clients::new(2);
        let (first, second) = (clients.take_in(), clients.take_in());
        let asking = first.busy();
        assert!(clients.room().now_or_never().is_none(), "the other has only just come");
        tokio::time::advance(SETTLED).await;
        assert!(clients.room().now_or_never().is_some());
        assert!(second.end.is_cancelled() && !first.end.is_cancelled());
        let third = clients.take_in();
        let waiting = third.busy();
        assert!(clients.room().now_or_never().is_none(), "all are busy");
        drop(waiting);
        tokio::time::advance(Duration::from_millis(1)).await;
        drop(asking);
        tokio::time::advance(SETTLED).await;
        assert!(clients.room().now_or_never().is_some());
        assert!(third.end.is_cancelled() && !first.end.is_cancelled());
        drop((second, third));
        let fourth = clients.take_in();
        tokio::time::advance(SETTLED).await;
        assert!(clients.room().now_or_never().is_some());
        assert!(first.end.is_cancelled() && !fourth.end.is_cancelled());
        let open = clients.open();
        assert_eq!(open.idle.len(), open.all.len());
        drop(open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_one_that_stalls_makes_room_until_it_goes_on() {
        let clients = Clients::new(1);
        let client = clients.take_in();
        let (asking, stall) = (client.busy(), client.stall());
        assert!(clients.room().now_or_never().is_none(), "it is busy");
        stall.set(true);
        stall.set(false);
        assert!(clients.room().now_or_never().is_none(), "it went on");
        stall.set(true);
        tokio::time::advance(SETTLED).await;
        assert!(clients.room().now_or_never().is_some());
        assert!(client.end.is_cancelled());
        // What is left of it, in any order, changes nothing.
        drop((client, stall, asking));
        let open = clients.open();
        assert!(open.idle.is_empty() && open.all.is_empty());
    }
}
