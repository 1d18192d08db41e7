//! Finding the keeper of an app folder: connects to the one that listens, or starts the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Shared, off_thread};
use crate::keeper::client::{self, ConnectError, Reader, Writer};
use crate::keeper::lock::is_held;
use crate::keeper::wire::Welcome;

/// How long a look waits for a keeper: what is slower is `Unknown` until it answers.
pub(super) const LOOK: Duration = Duration::from_secs(3);
/// How long a keeper may take to listen; one that hands over first waits for the requests it has in flight.
pub(super) const START: Duration = Duration::from_secs(15);
/// Between two tries; doubled each time, so that what takes long is not asked hundreds of times.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// A keeper that was started and does not hold its folder by then has died, and the next one is started.
const STILLBORN: Duration = Duration::from_millis(500);

/// A connected keeper, started if none listens.
pub(super) async fn reach(shared: &Arc<Shared>, name: &str) -> Result<(Writer, Reader, Box<Welcome>), String> {
    let folder = shared.home.app(name);
    let mut starting = None;
    let mut started: Option<Instant> = None;
    let mut deadline = Instant::now() + START;
    let mut pause = FIRST_PAUSE;
    loop {
        let connecting = client::connect(&folder, shared.epoch());
        let result = timeout(LOOK, connecting)
            .await
            .map_err(|_| format!("the keeper of {} does not answer: look at its process, its app goes on", name))?;
        match result {
            Ok((writer, reader, welcome)) => return Ok((writer, reader, Box::new(welcome))),
            Err(ConnectError::Absent(_)) if let Some(why) = shared.bars(name) => return Err(why),
            // One that is being replaced by another binary, or that ends, still holds the folder.
            Err(ConnectError::Absent(_))
                if started.is_none_or(|at| at.elapsed() > STILLBORN)
                    && Instant::now() < deadline
                    && !is_held(&folder) =>
            {
                if starting.is_none() {
                    // Held until it listens: after a reboot a thousand apps want theirs at once.
                    starting = Some(shared.starting.acquire().await.map_err(|error| error.to_string())?);
                    deadline = Instant::now() + START;
                }
                if let Some(why) = shared.twin_of(name).await {
                    return Err(why);
                }
                start(shared, name).await?;
                (started, pause) = (Some(Instant::now()), FIRST_PAUSE);
            }
            Err(ConnectError::Absent(_)) if Instant::now() < deadline => {}
            Err(ConnectError::Absent(_)) => {
                return Err(format!("the keeper of {} does not listen: see {}/keeper.log", name, folder.display()));
            }
            Err(error) => return Err(format!("the keeper of {}: {error}", name)),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn start(shared: &Shared, name: &str) -> Result<(), String> {
    let (binary, folder) = (shared.binary.clone(), shared.home.app(name));
    let from = shared.elsewhere.as_ref().map(|elsewhere| elsewhere.app(name));
    let child = off_thread(move || client::start(&binary, &folder, from.as_deref())).await;
    let child = child.map_err(|error| match shared.home.app(name) {
        gone if !gone.is_dir() => format!(
            "no keeper can be started for {name}: its folder {} is gone, and with it all that was known of its instances. Put it \
             back; or end what still runs of it and restart the daemon, which makes it anew",
            gone.display()
        ),
        _ => format!("a keeper for {} cannot be started from {}: {error}", name, shared.binary.display()),
    })?;
    shared.adopt_child(child);
    Ok(())
}
