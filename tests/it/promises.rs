//! The design's promises, one test a line.
