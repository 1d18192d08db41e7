//! The binary: hidden helpers first, then the command line.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = codeops::keeper::main(&arguments) {
        return code;
    }
    if let Some(code) = codeops::keeper::init::run_if_pid1(&arguments) {
        return code;
    }
    ExitCode::SUCCESS
}
