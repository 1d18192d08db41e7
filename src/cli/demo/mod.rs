//! `demo`: all of it on one machine, narrated, each claim with live proof.
//!
//! It acts as a user would, through Git and the page's JSON alone; what it kills it kills by process id. Everything it
//! starts runs from a copy of this binary in its own temporary folder, which is how it finds all of it again to clean up.

mod acts;
mod alerts;
mod api;
mod curtain;
mod git;
mod narrator;
mod prober;
mod processes;
mod sink;
mod stage;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::args::DemoArgs;
use super::block_on;
use super::environment::Variables;
use super::exit::Exit;
use super::output::Output;
use narrator::Narrator;
use stage::Stage;

pub(super) use git::Git;

/// Plays every act; with `--exit` cleans up at once, else stays until interrupted. Ends with 1 where one was not proven.
pub(crate) fn demo(args: &DemoArgs, variables: &Variables, output: &Output) -> anyhow::Result<Exit> {
    if variables.which("git").is_none() {
        anyhow::bail!("the demo needs git: install it (apt-get install git) and call it again");
    }
    block_on(async {
        let mut narrator = Narrator::new(*output);
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut stage = Stage::build(variables).await.context("the stage cannot be built")?;
        let interrupted = tokio::select! {
            () = play(&mut stage, &mut narrator, args.exit) => false,
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
        };
        if interrupted {
            narrator.say("interrupted; cleaning up");
        }
        curtain::fall(stage, &mut narrator, !interrupted).await;
        narrator.report()?;
        Ok(if narrator.all_proven() { Exit::Fine } else { Exit::Failed })
    })
}

/// The acts in order; after one that was not proven the rest would prove nothing.
async fn play(stage: &mut Stage, narrator: &mut Narrator, exit: bool) {
    narrator.open(stage);
    for act in acts::ALL {
        narrator.begin(act.title);
        match (act.play)(stage, narrator).await {
            Ok(()) => narrator.proven(),
            Err(error) => {
                narrator.not_proven(&error, &stage.daemon_log());
                break;
            }
        }
    }
    if exit {
        return;
    }
    narrator.stay(stage);
    std::future::pending::<()>().await;
}
