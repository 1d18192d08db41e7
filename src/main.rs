//! The binary: hidden helpers first, then the command line.

fn main() {}
