//! Where the time of a run went, at its end: in a few lines, from what is recorded.

use std::cmp::Reverse;
use std::time::Duration;

use cu_core::{AttemptEnd, AttemptReport, JobReport, RunDir, Status};
use cu_protocol::JobId;
use cu_run_dir::{SignalReason, SignalsFile, read_exit_record};

use crate::text::moment::rounded;
use crate::text::{plural, size};

/// Of more attempts the files are not read: it would take long.
const MOST_READ: usize = 1000;
/// At most this many of the slowest jobs are named.
const SLOWEST: usize = 3;

/// The lines, of a run in which anything was started.
pub fn balance(run: &RunDir, status: &Status, jobs: &[JobReport]) -> Option<String> {
    let attempts = || {
        let of = |job: &JobReport| job.job;
        jobs.iter()
            .flat_map(move |job| job.attempts.iter().map(move |attempt| (of(job), attempt)))
    };
    let ran: Duration = attempts().filter_map(|(_, attempt)| ran(attempt)).sum();
    let count = attempts()
        .filter(|(_, attempt)| attempt.started.is_some())
        .count();
    if count == 0 {
        return None;
    }
    let queued =
        attempts().filter_map(|(_, attempt)| Some(attempt.started?.since(attempt.submitted)));
    let mut text = String::new();
    if let Some(ended) = status.ended {
        let wall = rounded(ended.since(status.created));
        text.push_str(&format!("took {wall}: "));
    }
    text.push_str(&format!(
        "{} of computing in {}, {} in queues",
        rounded(ran),
        plural(count as u64, "attempt"),
        rounded(queued.sum())
    ));
    let lost = lost(jobs);
    if lost > Duration::ZERO {
        text.push_str(&format!(
            "\n{} ({} of it) in attempts that ended without being asked, and were repeated in part",
            rounded(lost),
            share(lost, ran)
        ));
    }
    if count <= MOST_READ {
        let stopping: Duration = attempts()
            .filter_map(|(job, attempt)| stopping(run, job, attempt))
            .sum();
        if stopping.as_secs() > 0 {
            let share = share(stopping, ran);
            text.push_str(&format!(
                "\n{} ({share}) from requests to stop to the ends: saving",
                rounded(stopping)
            ));
        }
        let peak = attempts().filter_map(|(job, attempt)| {
            let record = read_exit_record(&run.exit_record(job, attempt.attempt));
            Some((record.ok().flatten()?.peak_memory_bytes?, job))
        });
        if let Some((bytes, job)) = peak.max_by_key(|(bytes, _)| *bytes) {
            let whose = if jobs.len() > 1 {
                format!(" (job {job})")
            } else {
                String::new()
            };
            text.push_str(&format!("\npeak memory {}{whose}", size(bytes)));
        }
    }
    if jobs.len() > SLOWEST {
        let mut slowest: Vec<_> = jobs
            .iter()
            .map(|job| (Reverse(time_of(job)), job.job))
            .collect();
        slowest.sort();
        let slowest = slowest.iter().take(SLOWEST);
        let slowest: Vec<_> = slowest
            .map(|(time, job)| format!("job {job} ({})", rounded(time.0)))
            .collect();
        text.push_str(&format!("\nslowest: {}", slowest.join(", ")));
    }
    Some(text)
}

fn ran(attempt: &AttemptReport) -> Option<Duration> {
    Some(attempt.ended?.since(attempt.started?))
}

fn time_of(job: &JobReport) -> Duration {
    job.attempts.iter().filter_map(ran).sum()
}

/// The time of attempts that ended without a request and were followed by another one.
fn lost(jobs: &[JobReport]) -> Duration {
    let followed = |job: &JobReport| {
        let (_, earlier) = job.attempts.split_last()?;
        Some(
            earlier
                .iter()
                .filter(|attempt| is_lost(attempt))
                .filter_map(ran)
                .sum::<Duration>(),
        )
    };
    jobs.iter().filter_map(followed).sum()
}

/// Whether the attempt ended without a request. What it had not saved by then is lost.
pub fn is_lost(attempt: &AttemptReport) -> bool {
    !matches!(
        attempt.end,
        None | Some(AttemptEnd::ResumeRequested | AttemptEnd::Completed)
    )
}

/// The time from the first request to stop to the end.
pub fn stopping(run: &RunDir, job: JobId, attempt: &AttemptReport) -> Option<Duration> {
    let ended = attempt.ended?;
    let signals = SignalsFile::read(&run.signals(job, attempt.attempt)).ok()?;
    let asked = signals
        .sent
        .iter()
        .find(|signal| signal.reason == SignalReason::Asked)?;
    Some(ended.since(asked.at))
}

fn share(part: Duration, whole: Duration) -> String {
    let percent = 100.0 * part.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE);
    format!("{:.0} %", percent.min(100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::estimate::tests::status;
    use crate::view::summary::tests::report;
    use cu_core::JobState;
    use cu_protocol::{Attempt, Timestamp};

    #[test]
    fn a_run_ends_with_where_its_time_went() {
        let scratch = tempfile::tempdir().expect("a directory");
        let run = RunDir::new(scratch.path());
        let directory = run.attempt(JobId(1), Attempt(0));
        std::fs::create_dir_all(&directory).expect("a directory");
        let record = r#"{"version":1,"end":{"exited":3},"stop":null,"host":"node1","started":0,
            "ended":61000,"peak_memory_bytes":2684354560,"checkpoint":null,"output_changed":true}"#;
        std::fs::write(directory.join("exit.json"), record).expect("a file");
        let mut jobs: Vec<_> = (0..4)
            .map(|job| report(job, JobState::Completed, job + 1))
            .collect();
        jobs[3].attempts[0].end = Some(AttemptEnd::NodeFailure);
        let mut status = status(1000);
        status.ended = Some(Timestamp::from_millis(status.created.millis() + 600_000));
        let expected = "\
took 10 min: 10 min 10 s of computing in 10 attempts, 0 s in queues
1 min 1 s (10 % of it) in attempts that ended without being asked, and were repeated in part
peak memory 2.5 GiB (job 1)
slowest: job 3 (4 min 4 s), job 2 (3 min 3 s), job 1 (2 min 2 s)";
        assert_eq!(balance(&run, &status, &jobs).as_deref(), Some(expected));
        assert_eq!(
            balance(&run, &status, &[report(0, JobState::Cancelled, 0)]),
            None
        );
    }
}
