//! The binary: hidden helpers first, then the command line.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let rest = arguments.get(1..).unwrap_or_default();
    if let Some(code) = codeops::keeper::main(rest).or_else(|| codeops::keeper::init::run_if_pid1(rest)) {
        return code;
    }
    codeops::cli::main(arguments)
}
