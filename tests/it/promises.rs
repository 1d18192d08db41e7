//! The design's promises at the nasty moments, one test a line.

mod guards;
mod providers;
mod repository;
mod versions;
