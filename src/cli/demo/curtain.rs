//! The end: everything the demo started is gone afterwards, whatever happened before.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

use super::api;
use super::narrator::Narrator;
use super::processes::{running, sweep};
use super::stage::Stage;

/// How long the daemon may take to drain.
const DRAIN: Duration = Duration::from_secs(10);

/// Ends what runs and removes the folder. Where all went well, the apps are first deleted as a user would: by the commit
/// that carries the hold's trailer, which is the last act.
pub(super) async fn fall(mut stage: Stage, narrator: &mut Narrator, politely: bool) {
    stage.prober = None;
    if politely && narrator.all_proven() {
        narrator.begin("The same deletion, with its trailer, goes through");
        match delete_all(&stage, narrator).await {
            Ok(()) => narrator.proven(),
            Err(error) => narrator.not_proven(&error, &stage.daemon_log()),
        }
    }
    end_daemon(&mut stage).await;
    let left = running(&stage.binary).len();
    let (_, stubborn) = sweep(&stage.binary, Duration::from_secs(5)).await;
    if stubborn > 0 {
        narrator.notes(format!("{stubborn} of {left} processes could not be ended"));
    }
    let folder = stage.repository();
    match stage.remove() {
        Ok(()) => narrator.say("\nEverything the demo made is removed."),
        Err(error) => narrator.say(format!("\n{error:#}; the repository was {}", folder.display())),
    }
}

async fn delete_all(stage: &Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    let trailer = stage.trailer.clone().unwrap_or_default();
    stage.git.run(&["rm", "--quiet", "-r", "apps"]).await?;
    let revision = stage.git.commit(&format!("Retire front and shop\n\n{trailer}")).await?;
    let short = revision.get(..7).unwrap_or(&revision);
    narrator.does(format!("git rm -r apps && git commit -m \"Retire front and shop\" -m \"{trailer}\"   {short}"));
    api::until_nothing(&stage.client).await?;
    narrator.sees("nothing is left: both apps are deleted");
    let keepers = || running(&stage.binary).len() > 1;
    for _ in 0..100 {
        if !keepers() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::ensure!(!keepers(), "keepers or instances still run after their apps were deleted");
    narrator.sees("their keepers have ended too");
    Ok(())
}

async fn end_daemon(stage: &mut Stage) {
    let Some(mut daemon) = stage.daemon.take() else { return };
    let pid = daemon.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(DRAIN, daemon.wait()).await.is_err() {
        let _ = daemon.kill().await;
    }
}
