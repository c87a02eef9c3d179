//! The process in an allocation for the tests to submit. It is not published.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    ExitCode::from(cu_scheduler::keep::serve(&arguments))
}
