//! Finding the keeper of an app folder: connects to the one that listens, or starts the next one.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::home::KEEPER_LOCK;
use crate::keeper::client::{self, ConnectError, Reader, Writer};
use crate::keeper::wire::Welcome;

/// How long a look waits for a keeper: what is slower is `Unknown` until it answers.
pub(super) const LOOK: Duration = Duration::from_secs(3);
/// How long a keeper may take to listen; one that hands over first waits for the requests it has in flight.
pub(super) const START: Duration = Duration::from_secs(15);

/// A keeper that was started and does not hold its folder by then has died, and the next one is started.
const STILLBORN: Duration = Duration::from_millis(500);

/// A connected keeper, started if none listens.
pub(super) async fn reach(shared: &Shared, name: &str) -> Result<(Writer, Reader, Box<Welcome>), String> {
    let folder = shared.home.app(name);
    let mut started: Option<Instant> = None;
    let deadline = Instant::now() + START;
    loop {
        let connecting = client::connect(&folder, shared.epoch());
        let result = timeout(LOOK, connecting)
            .await
            .map_err(|_| format!("the keeper of {} does not answer: look at its process, its app goes on", name))?;
        match result {
            Ok((writer, reader, welcome)) => return Ok((writer, reader, Box::new(welcome))),
            // One that is being replaced by another binary, or that ends, still holds the folder.
            Err(ConnectError::Absent(_)) if !shared.starts => {
                return Err(format!("no keeper runs for {}; the daemon starts one", name));
            }
            Err(ConnectError::Absent(_))
                if started.is_none_or(|at| at.elapsed() > STILLBORN)
                    && Instant::now() < deadline
                    && !is_held(&folder) =>
            {
                let child = client::start(&shared.binary, &folder).map_err(|error| {
                    format!("a keeper for {} cannot be started from {}: {error}", name, shared.binary.display())
                })?;
                shared.adopt_child(child);
                started = Some(Instant::now());
            }
            Err(ConnectError::Absent(_)) if Instant::now() < deadline => {}
            Err(ConnectError::Absent(_)) => {
                return Err(format!("the keeper of {} does not listen: see {}/keeper.log", name, folder.display()));
            }
            Err(error) => return Err(format!("the keeper of {}: {error}", name)),
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// Whether a keeper process holds the folder, listening or not.
fn is_held(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(KEEPER_LOCK)) else { return false };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => false,
        Err(error) => error == rustix::io::Errno::WOULDBLOCK,
    }
}
