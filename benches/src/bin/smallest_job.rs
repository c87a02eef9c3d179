//! The smallest program that is a job: it loads, saves 4 KiB, asks to be resumed a given number of
//! times, and finishes.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;

use cu_client::Job;
use serde::{Deserialize, Serialize};

/// The size of the checkpoint without its header.
const STATE_BYTES: usize = 4096;

#[derive(Deserialize)]
struct Settings {
    /// How often this job asks to be resumed.
    resumes: u32,
}

#[derive(Serialize, Deserialize)]
struct State {
    attempts: u32,
    filling: Vec<u8>,
}

fn main() -> ExitCode {
    cu_client::run(work)
}

fn work(mut job: Job<Settings>) -> Result<(), Box<dyn Error>> {
    let mut state = job.load()?.unwrap_or_else(|| State {
        attempts: 0,
        filling: vec![0; STATE_BYTES],
    });
    state.attempts += 1;
    job.save(&state)?;
    if state.attempts <= job.settings().resumes {
        job.exit_for_resume();
    }
    job.finalize(&BTreeMap::from([("attempts", state.attempts)]))?;
    Ok(())
}
