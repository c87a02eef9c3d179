//! An independent checker of the promise. It reads the files of a finished run, shares no code with
//! the crates that decide, and relies on the programs' own step logs.

use std::collections::BTreeMap;

use cu_core::machine::Event;
use cu_core::{AttemptEnd, JobReport, JobState};
use cu_protocol::{Attempt, JobId, Message, MetricValue, Metrics};

use crate::history::History;
use crate::steps::{Entry, Kind};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Violation {
    /// Two attempts of a job ran at the same time.
    #[error("job {job}: attempts {first} and {second} overlap by {nanoseconds} ns")]
    Overlap {
        /// The job.
        job: JobId,
        /// The attempt that began first.
        first: u32,
        /// The other attempt.
        second: u32,
        /// The overlap in nanoseconds.
        nanoseconds: u64,
    },
    /// One attempt's program was started more than once.
    #[error("job {job}: attempt {attempt} was started {times} times")]
    StartedAgain {
        /// The job.
        job: JobId,
        /// The number.
        attempt: u32,
        /// The number of starts.
        times: usize,
    },
    /// One attempt was submitted under two cluster job ids.
    #[error("job {job}: attempt {attempt} was submitted as {} and as {}", ids.0, ids.1)]
    SubmittedAgain {
        /// The job.
        job: JobId,
        /// The number.
        attempt: Attempt,
        /// The cluster job ids.
        ids: (String, String),
    },
    /// A step is missing.
    #[error("job {job}: step {step} was lost: {how}")]
    StepLost {
        /// The job.
        job: JobId,
        /// The number.
        step: u64,
        /// The evidence.
        how: &'static str,
    },
    /// A step was done again although a durable checkpoint contained it.
    #[error("job {job}: attempt {attempt} repeated step {step}, which a checkpoint contained")]
    StepRepeated {
        /// The job.
        job: JobId,
        /// The attempt that repeated it.
        attempt: u32,
        /// The number.
        step: u64,
    },
    /// A job is not settled, or settled in two ways.
    #[error("job {job} is not settled exactly once: {how}")]
    NotSettledOnce {
        /// The number.
        job: JobId,
        /// The evidence.
        how: String,
    },
    /// A message that was confirmed to a program is not recorded.
    #[error("job {job}: {what} of attempt {attempt}: acknowledged, but recorded nowhere")]
    MessageLost {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// The message.
        what: &'static str,
    },
    /// The recorded metrics differ from the delivered ones.
    #[error("job {job}: {delivered} was delivered, but {recorded} is recorded")]
    OtherResults {
        /// The job.
        job: JobId,
        /// The metrics of the program.
        delivered: String,
        /// The metrics in the store.
        recorded: String,
    },
}

/// Returns every broken promise of a run whose jobs should all be settled. A completed job has
/// `steps` steps.
#[must_use]
pub fn check(history: &History, steps: u64) -> Vec<Violation> {
    let mut violations = submissions(history);
    for job in &history.jobs {
        let none = Vec::new();
        let entries = history.steps.get(&job.job).unwrap_or(&none);
        let runs = by_attempt(entries);
        violations.extend(overlaps(job.job, &runs));
        violations.extend(repetitions(job.job, entries));
        if job.state == JobState::Completed {
            violations.extend(gaps(job.job, entries, steps));
        }
        violations.extend(settlement(job));
        violations.extend(messages(history, job, entries));
    }
    violations
}

/// Fails the test if a promise was broken.
///
/// # Panics
/// With all violations, one a line.
pub fn assert_kept(history: &History, steps: u64) {
    let violations = check(history, steps);
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "broken promises:\n{}", lines.join("\n"));
}

type Runs<'a> = BTreeMap<u32, Vec<&'a Entry>>;

fn by_attempt(entries: &[Entry]) -> Runs<'_> {
    let mut runs = Runs::new();
    for entry in entries {
        runs.entry(entry.attempt).or_default().push(entry);
    }
    runs
}

/// An attempt ran at least from the beginning of its first entry to the end of its last.
fn overlaps(job: JobId, runs: &Runs<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut spans = Vec::new();
    for (&attempt, entries) in runs {
        let loads = entries.iter().filter(|entry| entry.kind == Kind::Loaded);
        let times = loads.count();
        if times > 1 {
            violations.push(Violation::StartedAgain {
                job,
                attempt,
                times,
            });
        }
        let begin = entries.iter().map(|entry| entry.begin).min();
        let end = entries.iter().map(|entry| entry.end).max();
        spans.push((begin.unwrap_or(0), end.unwrap_or(0), attempt));
    }
    spans.sort_unstable();
    for (place, &(_, end, first)) in spans.iter().enumerate() {
        for &(begin, _, second) in &spans[place + 1..] {
            if begin < end {
                let nanoseconds = end - begin;
                violations.push(Violation::Overlap {
                    job,
                    first,
                    second,
                    nanoseconds,
                });
            }
        }
    }
    violations
}

/// A step in a checkpoint must not be done again after the checkpoint.
fn repetitions(job: JobId, entries: &[Entry]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for step in entries.iter().filter(|entry| entry.kind == Kind::Step) {
        let is_before = |saved: &&Entry| saved.kind == Kind::Saved && saved.end <= step.begin;
        let saved = entries.iter().filter(is_before);
        if saved.map(|saved| saved.number).max() >= Some(step.number) {
            violations.push(Violation::StepRepeated {
                job,
                attempt: step.attempt,
                step: step.number,
            });
        }
    }
    violations
}

/// Each step is done, after the one before it, and from the state of a checkpoint.
fn gaps(job: JobId, entries: &[Entry], steps: u64) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut lost = |step, how| violations.push(Violation::StepLost { job, step, how });
    for step in 1..=steps {
        let done = |entry: &Entry| entry.kind == Kind::Step && entry.number == step;
        if !entries.iter().any(done) {
            lost(step, "no attempt did it");
        }
    }
    let mut held = BTreeMap::from([(0, 0)]);
    let mut state = BTreeMap::new();
    for entry in entries {
        let current = state.entry(entry.attempt).or_insert(0);
        match entry.kind {
            Kind::Loaded => {
                if !held.contains_key(&entry.number) {
                    lost(entry.number, "it was loaded, but never saved");
                }
                *current = entry.number;
            }
            Kind::Step => {
                if entry.number != *current + 1 {
                    lost(*current + 1, "it was skipped");
                }
                *current = entry.number;
            }
            Kind::Saved => {
                held.insert(entry.number, entry.end);
            }
            Kind::Results => {}
        }
    }
    violations
}

/// Checks that the chain is settled: at most one completion, by the last attempt, no attempt
/// without an end, and no missing number.
fn settlement(job: &JobReport) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut broken = |how: String| {
        violations.push(Violation::NotSettledOnce { job: job.job, how });
    };
    if !job.state.is_settled() {
        broken(format!("it is {:?}: {}", job.state, job.why));
    }
    for (place, attempt) in job.attempts.iter().enumerate() {
        if attempt.attempt.0 as usize != place {
            broken(format!("attempt {place} is missing"));
            break;
        }
        if attempt.end.is_none() {
            broken(format!("attempt {place} has no end"));
        }
    }
    let is_completion = |end: Option<AttemptEnd>| end == Some(AttemptEnd::Completed);
    let mut completions = job
        .attempts
        .iter()
        .filter(|attempt| is_completion(attempt.end));
    let first = completions.next();
    let last = job.attempts.last().map(|attempt| attempt.attempt);
    match (job.state, first) {
        (JobState::Completed, None) => broken("no attempt completed it".to_owned()),
        (JobState::Completed, Some(attempt)) if Some(attempt.attempt) != last => {
            broken(format!("attempt {} was not the last", attempt.attempt));
        }
        (JobState::Failed | JobState::Cancelled, Some(attempt)) => {
            broken(format!("attempt {} completed it", attempt.attempt));
        }
        _ => {}
    }
    violations
}

/// Each attempt has one cluster job id, so that it was submitted only once.
fn submissions(history: &History) -> Vec<Violation> {
    let mut known = BTreeMap::new();
    let mut violations = Vec::new();
    for event in &history.events {
        let Event::Submitted {
            attempt,
            cluster_job,
        } = &event.event
        else {
            continue;
        };
        let id = cluster_job.to_string();
        let first = known
            .entry((event.job, *attempt))
            .or_insert_with(|| id.clone());
        if *first != id {
            violations.push(Violation::SubmittedAgain {
                job: event.job,
                attempt: *attempt,
                ids: (first.clone(), id),
            });
        }
    }
    violations
}

/// A message that was confirmed to a program is recorded or lies in an outbox, and the recorded
/// results are the program's.
fn messages(history: &History, job: &JobReport, entries: &[Entry]) -> Vec<Violation> {
    let recorded = history
        .events
        .iter()
        .filter_map(|event| match &event.event {
            Event::Said {
                attempt, message, ..
            } if event.job == job.job => Some((*attempt, message)),
            _ => None,
        });
    let undelivered = history.undelivered.iter();
    let undelivered = undelivered
        .filter(|envelope| envelope.job == job.job)
        .map(|envelope| (envelope.attempt, &envelope.message));
    let said: Vec<_> = recorded.chain(undelivered).collect();
    let lost = |attempt, what| Violation::MessageLost {
        job: job.job,
        attempt,
        what,
    };
    let mut violations = Vec::new();
    for attempt in &job.attempts {
        let asked = |(of, message): &(Attempt, &Message)| {
            *of == attempt.attempt && matches!(message, Message::ResumeRequest(_))
        };
        // The supervisor sends it for a program that has not.
        if attempt.exit_code == Some(RESUME) && !said.iter().any(asked) {
            violations.push(lost(attempt.attempt, "the resume request"));
        }
    }
    for results in entries.iter().filter(|entry| entry.kind == Kind::Results) {
        let attempt = Attempt(results.attempt);
        let delivered = said.iter().find_map(|(of, message)| match message {
            Message::Results(metrics) if *of == attempt => Some(metrics),
            _ => None,
        });
        match delivered {
            None => violations.push(lost(attempt, "the results")),
            Some(delivered) if *delivered != job.metrics || !has_sum(delivered, results) => {
                violations.push(Violation::OtherResults {
                    job: job.job,
                    delivered: format!("{delivered:?} with the sum {}", results.number),
                    recorded: format!("{:?}", job.metrics),
                });
            }
            Some(_) => {}
        }
    }
    violations
}

/// The exit code that means "submit me again".
const RESUME: i32 = 3;

fn has_sum(metrics: &Metrics, results: &Entry) -> bool {
    let sum = i64::try_from(results.number).ok().map(MetricValue::Integer);
    metrics.get("sum") == sum.as_ref()
}

#[cfg(test)]
mod tests;
