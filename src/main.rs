//! The binary: hidden helpers first, then the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    codeops::cli::main(std::env::args_os().collect())
}
