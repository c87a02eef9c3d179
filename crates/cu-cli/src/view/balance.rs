//! Where the time of a run went, at its end: in a few lines, from what is recorded.

use std::cmp::Reverse;
use std::time::Duration;

use cu_core::{AttemptEnd, AttemptReport, JobReport, RunDir, Status};
use cu_protocol::{Attempt, JobId, Timestamp};
use cu_run_dir::{SignalReason, SignalsFile, read_early_results, read_exit_record};

use crate::text::moment::rounded;
use crate::text::{plural, size};

/// Of more attempts the files are not read: it would take long.
const MOST_READ: usize = 1000;
/// Longer series of announced metrics, all together, are not read.
const MOST_SERIES_BYTES: u64 = 32 << 20;
/// At most this many of the slowest jobs are named.
const SLOWEST: usize = 3;

/// The sums over the jobs of a run: there may be too many of these for memory.
#[derive(Debug, Default)]
pub struct Balance {
    jobs: usize,
    /// How many attempts were started.
    count: usize,
    ran: Duration,
    queued: Duration,
    lost: Duration,
    /// The attempts whose files are read, as long as they are few.
    few: Vec<(JobId, AttemptReport)>,
    attempts: usize,
    /// The slowest jobs, the slowest first.
    slowest: Vec<(Reverse<Duration>, JobId)>,
}

impl Balance {
    /// The sum over these jobs.
    pub fn of(jobs: &[JobReport]) -> Self {
        let mut balance = Self::default();
        jobs.iter().for_each(|job| balance.add(job));
        balance
    }

    /// Adds a job.
    pub fn add(&mut self, job: &JobReport) {
        self.jobs += 1;
        self.attempts += job.attempts.len();
        let started = |attempt: &AttemptReport| Some(attempt.started?.since(attempt.submitted));
        let queued = job.attempts.iter().filter_map(started);
        self.count += queued.clone().count();
        self.queued += queued.sum::<Duration>();
        let time = time_of(job);
        self.ran += time;
        self.lost += lost(job);
        if self.attempts <= MOST_READ {
            let attempts = job.attempts.iter().cloned();
            self.few.extend(attempts.map(|attempt| (job.job, attempt)));
        } else {
            self.few = Vec::new();
        }
        self.slowest.push((Reverse(time), job.job));
        self.slowest.sort();
        self.slowest.truncate(SLOWEST);
    }

    /// The lines, of a run in which anything was started. Reads the files of its attempts, if they are few.
    pub fn in_words(&self, run: &RunDir, status: &Status) -> Option<String> {
        if self.count == 0 {
            return None;
        }
        let mut text = String::new();
        if let Some(ended) = status.ended {
            let wall = rounded(ended.since(status.created));
            text.push_str(&format!("took {wall}: "));
        }
        text.push_str(&format!(
            "{} of computing in {}, {} in queues",
            rounded(self.ran),
            plural(self.count as u64, "attempt"),
            rounded(self.queued)
        ));
        if self.lost > Duration::ZERO {
            text.push_str(&format!(
                "\n{} ({} of it) in attempts that ended without being asked, and were repeated in part",
                rounded(self.lost),
                share(self.lost, self.ran)
            ));
        }
        let loading = loading(run, &self.few);
        if loading.as_secs() > 0 {
            let share = share(loading, self.ran);
            text.push_str(&format!(
                "\n{} ({share}) from starts of resumed attempts to their first announcements: loading, and a first step",
                rounded(loading)
            ));
        }
        let few = self.few.iter();
        let stopping: Duration = few
            .filter_map(|(job, attempt)| stopping(run, *job, attempt))
            .sum();
        if stopping.as_secs() > 0 {
            let share = share(stopping, self.ran);
            text.push_str(&format!(
                "\n{} ({share}) from requests to stop to the ends: saving",
                rounded(stopping)
            ));
        }
        let peak = self.few.iter().filter_map(|(job, attempt)| {
            let record = read_exit_record(&run.exit_record(*job, attempt.attempt));
            Some((record.ok().flatten()?.peak_memory_bytes?, job))
        });
        if let Some((bytes, job)) = peak.max_by_key(|(bytes, _)| *bytes) {
            let whose = if self.jobs > 1 {
                format!(" (job {job})")
            } else {
                String::new()
            };
            text.push_str(&format!("\npeak memory {}{whose}", size(bytes)));
        }
        if self.jobs > SLOWEST {
            let slowest = self.slowest.iter();
            let slowest: Vec<_> = slowest
                .map(|(time, job)| format!("job {job} ({})", rounded(time.0)))
                .collect();
            text.push_str(&format!("\nslowest: {}", slowest.join(", ")));
        }
        Some(text)
    }
}

fn ran(attempt: &AttemptReport) -> Option<Duration> {
    Some(attempt.ended?.since(attempt.started?))
}

fn time_of(job: &JobReport) -> Duration {
    job.attempts.iter().filter_map(ran).sum()
}

/// The time of attempts that ended without a request and were followed by another one.
fn lost(job: &JobReport) -> Duration {
    let earlier = job.attempts.split_last().map_or(&[][..], |(_, it)| it);
    let lost = earlier.iter().filter(|attempt| is_lost(attempt));
    lost.filter_map(ran).sum()
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

/// The time from the starts of resumed attempts to the first metrics that they announced, as far as they announced
/// any. Nobody else says when a program has loaded what it had saved.
fn loading(run: &RunDir, attempts: &[(JobId, AttemptReport)]) -> Duration {
    let of_jobs = attempts.chunk_by(|(job, _), (other, _)| job == other);
    let resumed = of_jobs.filter(|attempts| attempts.len() > 1);
    let length = |job| run.early_results(job).metadata().map_or(0, |it| it.len());
    let series: Vec<_> = resumed
        .map(|attempts| (attempts, length(attempts[0].0)))
        .filter(|(_, length)| *length > 0)
        .collect();
    if series.iter().map(|(_, length)| length).sum::<u64>() > MOST_SERIES_BYTES {
        return Duration::ZERO;
    }
    let times = series.iter().map(|(attempts, _)| {
        let announced = read_early_results(&run.early_results(attempts[0].0)).unwrap_or_default();
        let first = announced
            .iter()
            .filter(|it| it.number == 0 && it.attempt > Attempt(0));
        let waited = first.filter_map(|first| {
            let mut attempts = attempts.iter().map(|(_, attempt)| attempt);
            let started = attempts.find(|it| it.attempt == first.attempt)?.started?;
            let heard: jiff::Timestamp = first.time.parse().ok()?;
            let heard = u64::try_from(heard.as_millisecond()).ok()?;
            Some(Timestamp::from_millis(heard).since(started))
        });
        waited.sum::<Duration>()
    });
    times.sum()
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
        let words = |jobs: &[JobReport]| Balance::of(jobs).in_words(&run, &status);
        assert_eq!(words(&jobs).as_deref(), Some(expected));
        assert_eq!(words(&[report(0, JobState::Cancelled, 0)]), None);
    }

    #[test]
    fn loading_lasts_until_a_resumed_attempt_announces_something() {
        let scratch = tempfile::tempdir().expect("a directory");
        let run = RunDir::new(scratch.path());
        std::fs::create_dir_all(run.attempts(JobId(0))).expect("a directory");
        let mut job = report(0, JobState::Completed, 4);
        let starts = [1000, 2000, 3000].map(|seconds| Timestamp::from_millis(seconds * 1000));
        for (attempt, start) in job.attempts.iter_mut().zip(starts) {
            attempt.started = Some(start);
        }
        // The second one announces twice, and the first is not a resumed one. The last one says nothing.
        let lines = "attempt,number,time,metric,value\n\
                     0,0,1970-01-01T00:20:00.000Z,loss,3\n\
                     1,0,1970-01-01T00:33:30.000Z,loss,2\n\
                     1,1,1970-01-01T00:40:00.000Z,loss,2\n\
                     2,0,1970-01-01T00:50:02.500Z,loss,1\n";
        std::fs::write(run.early_results(JobId(0)), lines).expect("a file");
        let words = Balance::of(&[job.clone()]).in_words(&run, &status(1000));
        let words = words.expect("attempts were started");
        assert!(words.contains("\n12 s ("), "{words}");
        assert!(words.contains("first announcements: loading"), "{words}");
        let longer = [lines, &"0,9,x,loss,1\n".repeat(3 << 20)].concat();
        std::fs::write(run.early_results(JobId(0)), longer).expect("a file");
        let words = Balance::of(&[job]).in_words(&run, &status(1000));
        assert!(!words.expect("words").contains("loading"));
    }
}
