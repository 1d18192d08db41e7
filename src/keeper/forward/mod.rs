//! The data plane: the stable port, and how what comes to it reaches an instance.

mod claim;
mod clients;
mod http;
mod pool;
mod port;
mod prompt;
mod rotation;
mod tcp;
mod upload;

pub(super) use port::{Stable, own};
pub(super) use rotation::{Backend, Rotation};
