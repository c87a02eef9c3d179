//! The least that is a supervisor: `exec RUN_DIR JOB [ATTEMPT]`. The crate's tests run it.

use std::process::ExitCode;

use cu_supervisor::{RunDir, supervise};

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (run, job, attempt) = match arguments.as_slice() {
        [run, job] => (run, job.parse()?, None),
        [run, job, attempt] => (run, job.parse()?, Some(attempt.parse()?)),
        _ => anyhow::bail!("usage: exec RUN_DIR JOB [ATTEMPT]"),
    };
    let outcome = supervise(&RunDir::new(run), job, attempt)?;
    Ok(ExitCode::from(outcome.exit_code()))
}
