//! A program that is a job and writes down when it began and ended, by the clock that all processes share. It
//! asks to be resumed until its attempt has the number in `RESUMES`.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    let begun = now();
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let code = match (number("CU_ATTEMPT"), number("RESUMES")) {
        (Some(attempt), Some(resumes)) if attempt < resumes => ExitCode::from(3),
        (Some(_), Some(_)) => ExitCode::SUCCESS,
        _ => return ExitCode::FAILURE,
    };
    let times = OpenOptions::new().create(true).append(true).open("times");
    let written = times.and_then(|mut times| writeln!(times, "{begun} {}", now()));
    match written {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// In nanoseconds.
fn now() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_nanos()
}
