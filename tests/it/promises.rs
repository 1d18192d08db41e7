//! The design's promises at the nasty moments, one test a line.

mod alerts;
mod alerts_called;
mod alerts_held;
mod alerts_paged;
mod alerts_queued;
mod alerts_scheduled;
mod alerts_silenced;
mod apply;
mod checks;
mod crash;
mod daemon;
mod emptied;
mod gate;
mod guards;
mod latched;
mod owners;
mod providers;
mod random;
mod repository;
mod restart;
mod silence;
mod squatted;
mod storm;
mod strangers;
mod versions;
mod waves;
