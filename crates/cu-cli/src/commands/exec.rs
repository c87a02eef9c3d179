//! `cu exec RUN_DIR JOB ATTEMPT`: the supervisor, the parent of a job's program. The scheduler
//! starts it. It is part of every attempt, so nothing that it does not need is
//! started before it.

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

use cu_protocol::{Attempt, JobId};
use cu_supervisor::{Error, Outcome, Resident, RunDir};
use cu_system::causes::in_one_line;
use cu_system::fork_server::{Afterwards, Owner};

use crate::backend::{STAND_BY, serves_in_allocation};
use crate::error::ExitCode;
use crate::terminal::{data, say};

/// What `--help` prints.
pub const HELP: &str = "\
Runs a job's program and supervises it. The scheduler calls it for each attempt.

usage: cu exec RUN_DIR JOB [ATTEMPT]

Without ATTEMPT it takes the job's newest. The program's environment has CU_JOB_ID,
CU_ATTEMPT, CU_RUN_DIR, CU_OUTPUT_DIR, CU_SETTINGS, CU_SOCKET, CU_STOP_FILE, and CU_DEADLINE if it is
known. `cu config reference` explains under [stop] how the program is asked to stop.

exit codes:
  0 to 255  the program's own, if it exited
  128 + N   signal N killed the program
  2         bad usage
  127       the job's program can't be started
  200       nothing was started, because of another attempt, a machine or a file system; or the
            supervisor itself failed. The job has not failed: it is resumed
The attempt's exit.json says exactly how it ended.";

/// Supervises one attempt. Returns the exit code: the program's where that is possible. If the
/// supervisor itself fails, nobody takes its code for a failure of the program.
pub fn exec(arguments: &[OsString]) -> u8 {
    if let [word] = arguments
        && ["--help", "-h"].iter().any(|help| word == help)
    {
        // A reader that has gone away is harmless.
        let _ = data(HELP);
        return ExitCode::Done as u8;
    }
    if arguments == [STAND_BY] {
        let served = cu_system::fork_server::serve(|| {
            let mut resident = Resident::prepared();
            move |words: &[String], owner: &Owner| {
                let words: Vec<_> = words.iter().map(OsString::from).collect();
                supervise(&mut resident, &words, &|| owner.done())
            }
        });
        // Its owner starts attempts without it then.
        return served.map_or(ExitCode::Internal as u8, |()| ExitCode::Done as u8);
    }
    if let Some(code) = serves_in_allocation(arguments) {
        return code;
    }
    match supervise(&mut Resident::default(), arguments, &|| {}) {
        Afterwards::StandsBy(code) | Afterwards::Exits(code) => code,
    }
}

/// As [`exec`], for one attempt. `is_over` is called once nothing of the program is left.
fn supervise(resident: &mut Resident, arguments: &[OsString], is_over: &dyn Fn()) -> Afterwards {
    let Some((run, job, attempt)) = parse(arguments) else {
        say(HELP);
        return Afterwards::Exits(ExitCode::Usage as u8);
    };
    // After a panic nothing of it is used again.
    let supervised = AssertUnwindSafe(|| resident.supervise(&run, job, attempt, is_over));
    let supervised = std::panic::catch_unwind(supervised);
    match supervised {
        Ok(Ok(outcome)) if outcome.is_settled => Afterwards::StandsBy(outcome.exit_code()),
        Ok(Ok(outcome)) => Afterwards::Exits(outcome.exit_code()),
        Ok(Err(error)) => {
            say(&format!("cu exec: {}", in_one_line(&error)));
            if let Error::NotSubmitted { job, .. } = error {
                say(&format!(
                    "hint: nothing was started; `cu show {job}` lists the job's attempts, and the main \
                     process submits the next one"
                ));
            }
            Afterwards::Exits(Outcome::FENCED)
        }
        // The panic has printed its message already.
        Err(_) => Afterwards::Exits(Outcome::FENCED),
    }
}

fn parse(arguments: &[OsString]) -> Option<(RunDir, JobId, Option<Attempt>)> {
    let (run, job, attempt) = match arguments {
        [run, job] => (run, job, None),
        [run, job, attempt] => (run, job, Some(attempt.to_str()?.parse().ok()?)),
        _ => return None,
    };
    Some((
        RunDir::new(PathBuf::from(run)),
        job.to_str()?.parse().ok()?,
        attempt,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_job_attempt() {
        let parse_words = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            parse(&words)
        };
        let run = RunDir::new("/results/a");
        let whole = (run.clone(), JobId(7), Some(Attempt(3)));
        assert_eq!(parse_words(&["/results/a", "7", "3"]), Some(whole));
        assert_eq!(
            parse_words(&["/results/a", "7"]),
            Some((run, JobId(7), None))
        );
        for wrong in [
            &["/results/a"][..],
            &["/results/a", "x", "3"],
            &["a", "1", "2", "3"],
            &[],
        ] {
            assert_eq!(parse_words(wrong), None, "{wrong:?}");
        }
    }
}
