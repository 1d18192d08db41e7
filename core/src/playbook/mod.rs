//! Runs: what follows, from the log so far and the facts of this moment. Pure; the same for live, recovered, tested and
//! replayed runs.
