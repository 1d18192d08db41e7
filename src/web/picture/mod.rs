//! Pictures drawn on the server as SVG, each with its text alternative. They are markup: templates pass them through
//! `|safe`, so every text that goes in is escaped here.

mod bar;
mod graph;
mod plot;
mod timeline;

pub(super) use bar::bar;
pub(super) use graph::graph;
pub(super) use plot::{Series, plot};
pub(super) use timeline::timeline;
