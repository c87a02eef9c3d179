//! The failed jobs of a run, one paragraph for all that failed alike: what happened, the last lines of
//! one of them, and what to type next.

use std::collections::HashMap;
use std::fmt::Write;

use cu_core::{AttemptEnd, AttemptReport, JobReport, JobState, RunDir, Status};
use cu_protocol::{ProgramEnd, signal_name};

use super::{Files, hints, limit};
use crate::shell_word::shell_word;
use crate::text::{last_line, plural};

/// At most this many last lines of stderr are shown.
const LINES: usize = 6;
/// The stderr of at most this many failed jobs is read; the others are grouped by their end alone.
const MOST_READ: usize = 2000;
/// At most this many kinds of failures are explained.
const MOST_KINDS: usize = 10;
/// At most this many ranges of jobs are listed.
const MOST_RANGES: usize = 8;

/// Jobs that failed alike.
struct Kind<'a> {
    /// The first of them.
    example: &'a JobReport,
    jobs: Vec<u32>,
    what: String,
    lines: Vec<String>,
}

/// A paragraph for each kind of failure; empty if no job has failed.
pub fn failures(status: &Status, jobs: &[JobReport]) -> String {
    let run = RunDir::new(&status.run_dir);
    let mut kinds: Vec<Kind> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let failed = jobs.iter().filter(|job| job.state == JobState::Failed);
    for (count, job) in failed.enumerate() {
        let what = what(&run, job);
        let lines = match (count < MOST_READ, last_of(job)) {
            (true, Some(attempt)) => {
                last_line::of_attempt(&run.attempt(job.job, attempt.attempt), LINES)
            }
            _ => Vec::new(),
        };
        let last = lines.last().map_or("", String::as_str);
        // Exit codes are numbers that differ on purpose.
        let key = match what.starts_with('(') {
            true => format!("{what}\n{}", without_numbers(last)),
            false => without_numbers(&format!("{what}\n{last}")),
        };
        match places.get(&key) {
            Some(place) => kinds[*place].jobs.push(job.job.0),
            None => {
                places.insert(key, kinds.len());
                kinds.push(Kind {
                    example: job,
                    jobs: vec![job.job.0],
                    what,
                    lines,
                });
            }
        }
    }
    let mut text = String::new();
    for kind in kinds.iter().take(MOST_KINDS) {
        paragraph(&mut text, status, &run, kind);
    }
    if kinds.len() > MOST_KINDS {
        let rest = &kinds[MOST_KINDS..];
        let count = rest.iter().map(|kind| kind.jobs.len() as u64).sum();
        let (jobs, command) = (plural(count, "more job"), command(status, "status", ""));
        // Writing to a String can't fail.
        let _ = writeln!(text, "{jobs} failed in other ways; see `{command}`");
    }
    text
}

fn paragraph(text: &mut String, status: &Status, run: &RunDir, kind: &Kind) {
    let job = kind.example;
    let Kind { what, lines, .. } = kind;
    let who = match kind.jobs.len() {
        1 => format!("job {}", job.job),
        count => format!("{count} jobs"),
    };
    let (last, before) = match lines.split_last() {
        // The supervisor's words on what it says already.
        Some((last, before)) if last.ends_with(what) => ("", before),
        Some((last, before)) => (last.trim(), before),
        None => ("", &lines[..]),
    };
    // Writing to a String can't fail.
    let _ = match (what.strip_prefix('('), last) {
        (Some(_), "") => writeln!(text, "{who} failed {what}"),
        (Some(_), last) => writeln!(text, "{who} failed {what}: {last}"),
        (None, _) => writeln!(text, "{who} failed: {what}"),
    };
    if kind.jobs.len() > 1 {
        let example = match before.is_empty() && (what.starts_with('(') || last.is_empty()) {
            true => String::new(),
            false => format!("; for example job {}:", job.job),
        };
        let _ = writeln!(text, "  jobs {}{example}", ranges(&kind.jobs));
    }
    for line in before {
        let _ = writeln!(text, "  | {line}");
    }
    if !what.starts_with('(') && !last.is_empty() {
        let _ = writeln!(text, "  | {last}");
    }
    if let Some(attempt) = last_of(job) {
        let files = Files::read(run, job.job, attempt.attempt);
        if let Some(hint) = hints::hint(run, job, attempt, &files) {
            let _ = writeln!(text, "  hint: {hint}");
        }
        if was_never_taken(attempt) {
            let (config, retry) = (run.config(), command(status, "retry", "--failed"));
            let resume = command(status, "resume", "");
            let _ = writeln!(
                text,
                "  hint: if a key of `[backend]` is at fault, correct it in {} and run `{retry}`, then \
                 `{resume}`; other keys can be changed in a new run only",
                config.display()
            );
        }
    }
    let see = match job.attempts.is_empty() {
        true => command(status, "show", &job.job.to_string()),
        false => command(status, "logs", &job.job.to_string()),
    };
    let _ = writeln!(text, "  see `{see}`");
}

/// `(exit code 1)` for a program that failed by itself, else a sentence.
fn what(run: &RunDir, job: &JobReport) -> String {
    let plain = job.limit.is_none().then(|| last_of(job)).flatten();
    let plain = plain.filter(|attempt| attempt.end == Some(AttemptEnd::Failed));
    let Some(attempt) = plain else {
        return limit::why(job);
    };
    match (attempt.exit_code, attempt.signal) {
        (Some(code), _) => format!("(exit code {code})"),
        (None, Some(signal)) => format!("({})", signal_name(signal)),
        (None, None) => match Files::read(run, job.job, attempt.attempt).end() {
            Some(ProgramEnd::NotStarted(text)) => text.clone(),
            _ => limit::why(job),
        },
    }
}

/// Whether the scheduler refused the attempt.
fn was_never_taken(attempt: &AttemptReport) -> bool {
    let was_taken = attempt.cluster_job_id.is_some() || attempt.started.is_some();
    let has_ended = attempt.exit_code.is_some() || attempt.signal.is_some();
    attempt.end == Some(AttemptEnd::Failed) && !was_taken && !has_ended
}

fn last_of(job: &JobReport) -> Option<&AttemptReport> {
    job.attempts.last()
}

/// `text` with each number as one sign: messages that differ in numbers alone are alike.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_ascii_digit() {
            true if out.ends_with('#') => {}
            true => out.push('#'),
            false => out.push(character),
        }
    }
    out
}

/// `0-3, 7`: numbers in order.
fn ranges(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let texts = ranges
        .iter()
        .take(MOST_RANGES)
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
    let mut text = texts.collect::<Vec<_>>().join(",");
    if ranges.len() > MOST_RANGES {
        text.push_str(",…");
    }
    text
}

/// `cu logs 0`, with the run if it is not where runs are looked for by default.
pub fn command(status: &Status, name: &str, job: &str) -> String {
    let mut words = format!("cu {name}");
    if !job.is_empty() {
        let _ = write!(words, " {job}");
    }
    let usual = std::env::var_os("CU_RESULTS_DIR");
    let usual = usual.map_or_else(|| crate::runs::RESULTS_DIR.into(), std::path::PathBuf::from);
    let usual = std::path::absolute(usual).ok();
    if status.run_dir.parent() != usual.as_deref() {
        let _ = write!(words, " {}", shell_word(&status.run_dir));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::estimate::tests;
    use cu_protocol::{Attempt, JobId, Timestamp};

    fn failed(job: u32) -> JobReport {
        let mut attempt = AttemptReport::new(Attempt(0), Timestamp::from_millis(0));
        attempt.end = Some(AttemptEnd::Failed);
        attempt.exit_code = Some(1);
        let mut report = JobReport::new(JobId(job), JobState::Failed);
        report.attempts = vec![attempt];
        report
    }

    #[test]
    fn equal_failures_are_one_paragraph() {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut status = tests::status(1000);
        status.run_dir = scratch.path().to_owned();
        let run = RunDir::new(scratch.path());
        let mut jobs: Vec<_> = (0..500).map(failed).collect();
        jobs.push(failed(700));
        jobs[7].attempts[0].exit_code = Some(127);
        for job in &jobs {
            let directory = run.attempt(job.job, Attempt(0));
            std::fs::create_dir_all(&directory).expect("a directory");
            let text = format!("starts\nERROR: no GPU for job {}\n", job.job);
            std::fs::write(directory.join("stderr"), text).expect("a file");
        }
        let run_dir = scratch.path().display();
        let expected = format!(
            "500 jobs failed (exit code 1): ERROR: no GPU for job 0\n  \
             jobs 0-6,8-499,700; for example job 0:\n  \
             | starts\n  \
             see `cu logs 0 {run_dir}`\n\
             job 7 failed (exit code 127): ERROR: no GPU for job 7\n  \
             | starts\n  \
             hint: 127 is what a shell exits with when it can't find a command: is it installed, and in PATH \
             on that host?\n  \
             see `cu logs 7 {run_dir}`\n"
        );
        assert_eq!(failures(&status, &jobs), expected);
        // No example is announced where the heading has all of it.
        for job in &jobs {
            let stderr = run.attempt(job.job, Attempt(0)).join("stderr");
            std::fs::write(stderr, "ERROR: no GPU\n").expect("a file");
        }
        let expected = format!(
            "500 jobs failed (exit code 1): ERROR: no GPU\n  jobs 0-6,8-499,700\n  \
             see `cu logs 0 {run_dir}`\n"
        );
        let text = failures(&status, &jobs);
        assert!(text.starts_with(&expected), "{text}");
    }
}
