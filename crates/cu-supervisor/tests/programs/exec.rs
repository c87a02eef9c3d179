//! The least that is a supervisor, for the tests to start: `cu-supervisor-exec RUN_DIR JOB [ATTEMPT]`.
//! It is not published.

use std::error::Error;
use std::process::ExitCode;

use cu_supervisor::{RunDir, supervise};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (run, job, attempt) = match arguments.as_slice() {
        [run, job] => (run, job.parse()?, None),
        [run, job, attempt] => (run, job.parse()?, Some(attempt.parse()?)),
        _ => return Err("usage: cu-supervisor-exec RUN_DIR JOB [ATTEMPT]".into()),
    };
    let outcome = supervise(&RunDir::new(run), job, attempt)?;
    Ok(ExitCode::from(outcome.exit_code()))
}
