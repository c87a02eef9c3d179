//! The least that says when it takes its first step, and then ends to be resumed: with the client or, if an
//! argument is given, without.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use cu_client::{Job, RESUME_EXIT_CODE};
use serde_json::{Map, Value};

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some() {
        return match step() {
            Ok(()) => ExitCode::from(RESUME_EXIT_CODE as u8),
            Err(_) => ExitCode::FAILURE,
        };
    }
    cu_client::run(work)
}

fn work(job: Job<Map<String, Value>>) -> Result<(), Box<dyn Error>> {
    let _: Option<u32> = job.load()?;
    step()?;
    job.exit_for_resume()
}

fn step() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(b".")?;
    out.flush()
}
