//! What a program's exit code or signal usually means, and what to do about it.

use cu_core::{AttemptEnd, AttemptReport, JobReport, Limit, RunDir};
use cu_protocol::{Attempt, ProgramEnd, signal_name};

use super::{Files, limit};

/// What to do about the end of `attempt`, the last one of `job`.
pub fn hint(
    run: &RunDir,
    job: &JobReport,
    attempt: &AttemptReport,
    files: &Files,
) -> Option<String> {
    if let Some(stopped) = &files.signals.stopped
        && let Some(hint) = limit::more_grace(stopped)
    {
        return Some(hint);
    }
    let is_stuck = matches!(job.limit, Some(Limit::StuckAfter(_)));
    if is_stuck && attempt.exit_code == Some(3) {
        let text = "exit code 3 means \"submit me again\"; if 3 is a failure of your program, choose \
                    another code for that: --resume-exit-code 85; if it saves somewhere else, link that \
                    place into its output directory";
        return Some(text.to_owned());
    }
    if is_stuck {
        let text = "if it saves somewhere else, link that place into its output directory, or raise \
                    --stuck-after";
        return Some(text.to_owned());
    }
    if attempt.end != Some(AttemptEnd::Failed) {
        return None;
    }
    let text = match (attempt.exit_code, attempt.signal) {
        (Some(code), _) => of_code(code),
        (None, Some(signal)) => of_code(128 + signal),
        (None, None) => None,
    };
    text.map(str::to_owned)
        .or_else(|| torn_file(run, job, attempt))
}

/// A suspicion, if the program was killed the time before: it may have been about to save, and now fails because
/// it takes half a file for its newest state.
fn torn_file(run: &RunDir, job: &JobReport, attempt: &AttemptReport) -> Option<String> {
    let before = Attempt(attempt.attempt.0.checked_sub(1)?);
    let files = Files::read(run, job.job, before);
    let ProgramEnd::Signaled(signal) = files.end()? else {
        return None;
    };
    let signal = files
        .signals
        .stopped
        .as_ref()
        .map(|_| signal_name(*signal))?;
    Some(format!(
        "attempt {before} was ended by {signal}, perhaps while it wrote a file: if attempt {} could not read \
         that file, remove it, so that the program takes an older one, and retry the job",
        attempt.attempt
    ))
}

/// As shells have it: 128 and a signal's number for a program that it killed.
fn of_code(code: i32) -> Option<&'static str> {
    Some(match code {
        124 => "124 is what `timeout` exits with when it has ended its command",
        126 => "126 is what a shell exits with when a command is not executable, or is a directory",
        127 => {
            "127 is what a shell exits with when it can't find a command: is it installed, and in PATH \
             on that host?"
        }
        132 => "SIGILL: the program may have been built for another kind of processor",
        134 => "SIGABRT: the program ended itself, after an error that it found",
        135 | 139 => {
            "the program used memory that it does not have, which is an error in it or its libraries"
        }
        137 => {
            "SIGKILL often means that memory ran out: compare the peak memory in `cu show`, and ask for \
             more with --memory"
        }
        _ => return None,
    })
}
