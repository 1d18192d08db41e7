//! The keeper: one small process per app that owns its stable port and its instances, and outlives the daemon. It never
//! decides what should run; it does what the daemon asks and keeps doing it when nobody asks.
//!
//! Rooms: [`wire`] and [`frame`] are what is said, [`client`] the daemon's side of it, [`logs`] the reading of log files;
//! `run` wires a keeper, `server` and `requests` hear the daemon, `table` remembers and `slots` keeps that, `supervise` lives an instance
//! as far as [`allowed`], `lock` says whose a folder is and `twins` who else runs its app,
//! `process` starts one through [`launch`](crate::launch), `ports` gives it a port, `holder` and `listeners` see that it is its own,
//! `forward` carries its traffic, `descriptors` says how much of it; [`init`] is for process 1.

pub mod allowed;
mod backoff;
pub mod client;
mod descriptors;
mod family;
mod forward;
pub mod frame;
mod health;
mod holder;
pub mod init;
mod instance;
mod judged;
mod listeners;
pub mod lock;
pub mod logs;
mod moved;
mod ports;
mod process;
mod release;
mod requests;
mod run;
mod server;
mod slots;
mod stats;
mod supervise;
mod table;
mod tasks;
pub mod twins;
pub mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::launch;

pub use client::{ConnectError, binary_id};

/// The hidden commands `keeper DIR`, `launch`, `launch --warden` and `launch --as USER`, from the process's arguments without the first. `None` when they are
/// something else. Called before anything else is set up: both must stay small.
pub fn main(arguments: &[OsString]) -> Option<ExitCode> {
    match arguments {
        [first, rest @ ..] if first == "keeper" => Some(run::main(rest)),
        [only] if only == "launch" => Some(launch::main()),
        [first, second] if first == "launch" && second == launch::warden::WORD => Some(launch::warden::main()),
        [first, second, user, command @ ..] if first == "launch" && second == "--as" => {
            Some(launch::stand_in::main(user, command))
        }
        _ => None,
    }
}
