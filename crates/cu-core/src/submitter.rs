//! Submits what is due, and finds what may have been submitted. On a cluster what is due gathers for a
//! moment, so that it goes out in few calls: a call takes a controller almost the same time however much
//! it hands over, and a cluster keeps a job waiting far longer than anything waits here.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cu_protocol::{Attempt, JobId, Metrics};
use cu_run_dir::{make_dir, read_newest_attempt, write_metrics, write_newest_attempt};
use cu_scheduler::{ClusterJobId, Reach, Submission, SubmitError};
use cu_system::causes::in_one_line;
use cu_system::files;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::backoff::Backoff;
use crate::context::Context;
use crate::machine::Event;
use crate::store::PlanText;
use crate::threads::Lane;
use crate::{Error, Result, RunDir, create};

/// The time between two calls of a run that always has something due.
const BETWEEN_CALLS: Duration = Duration::from_secs(2);
/// How many calls a run that had little due has in hand at most: they go out sooner after each other.
const MOST_SAVED: f64 = 8.0;

/// An attempt that is due.
#[derive(Debug)]
pub(crate) struct Due {
    pub job: JobId,
    pub attempt: Attempt,
    /// The cluster job of the attempt before.
    pub previous: Option<ClusterJobId>,
    /// The hosts to keep it off.
    pub avoid_hosts: Vec<String>,
    /// What the job has measured so far.
    pub metrics: Arc<Metrics>,
}

/// Cheap to clone: each task takes one along.
#[derive(Clone, Debug)]
pub(crate) struct Submitter {
    context: Context,
    plans: Arc<[PlanText]>,
    /// The command of the supervisor.
    supervisor: Arc<[String]>,
    writers: Arc<Lane>,
    gathering: Arc<Gathering>,
}

impl Submitter {
    pub fn new(
        context: Context,
        plans: Vec<PlanText>,
        supervisor: Vec<String>,
        writers: Arc<Lane>,
    ) -> Self {
        Self {
            context,
            plans: plans.into(),
            supervisor: supervisor.into(),
            writers,
            gathering: Arc::default(),
        }
    }

    /// Begins to submit `due`, as one of `tasks`.
    pub fn begin(&self, due: Vec<Due>, tasks: &mut JoinSet<()>) {
        let submitter = self.clone();
        match self.context.scheduler.capabilities().reach {
            Reach::ThisMachine => {
                tasks.spawn(async move { submitter.submit(due).await });
            }
            Reach::OtherMachines if self.gathering.add(due) => {
                tasks.spawn(async move { submitter.submit_gathered().await });
            }
            Reach::OtherMachines => {}
        }
    }

    /// Submits until nothing is due. What becomes due meanwhile gathers for the next call.
    async fn submit_gathered(&self) {
        while let Some(at) = self.gathering.next_call_or_resign() {
            sleep_until(at).await;
            self.submit(self.gathering.take()).await;
        }
    }

    async fn submit(&self, mut due: Vec<Due>) {
        let most = self.context.scheduler.capabilities().batch.max(1);
        while !due.is_empty() {
            let rest = due.split_off(due.len().min(most));
            self.submit_batch(std::mem::replace(&mut due, rest)).await;
        }
    }

    async fn submit_batch(&self, due: Vec<Due>) {
        let submitter = self.clone();
        let prepared = self.writers.ask(move || submitter.prepare(due)).await;
        // If this panics, the submissions stay intents, and the next main process looks them up.
        let batch = prepared.unwrap_or_else(|panic| resume_unwind(panic));
        let scheduler = &self.context.scheduler;
        let reach = scheduler.capabilities().reach;
        let mut outcomes = scheduler.submit(&batch).await.into_iter();
        for submission in &batch {
            let attempt = Attempt(submission.name.attempt());
            let event = match outcomes.next() {
                Some(Ok(cluster_job)) => Event::Submitted {
                    attempt,
                    cluster_job,
                },
                Some(Err(error)) => unsubmitted(attempt, error, reach),
                None => Event::SubmitUncertain {
                    attempt,
                    reason: "the scheduler gave fewer answers than it was asked for".to_owned(),
                },
            };
            self.context.happened(JobId(submission.name.job()), event);
        }
    }

    /// Makes what each attempt needs in the run directory. If that fails, the attempt is not submitted now.
    fn prepare(&self, due: Vec<Due>) -> Vec<Submission> {
        let mut batch = Vec::with_capacity(due.len());
        for due in due {
            let (job, attempt) = (due.job, due.attempt);
            match self.prepare_one(due) {
                Ok(submission) => batch.push(submission),
                Err(error) => self.context.happened(
                    job,
                    Event::SubmitDelayed {
                        attempt,
                        reason: in_one_line(&error),
                        retry_after: None,
                    },
                ),
            }
        }
        batch
    }

    fn prepare_one(&self, due: Due) -> Result<Submission> {
        let Due {
            job,
            attempt,
            previous,
            avoid_hosts,
            metrics,
        } = due;
        let run_dir = &self.context.run_dir;
        let plan = &self.plans[job.0 as usize].plan();
        if create::prepare_job(run_dir, self.context.run, (job, attempt), plan)? {
            self.context.happened(job, Event::OutputRemade { attempt });
        }
        let directory = run_dir.attempt(job, attempt);
        make_dir(&directory)?;
        // A store that was restored from a copy is behind. An attempt older than those that have run
        // must not start: it would begin with their checkpoints, and its own would rank below them.
        if newest_submitted(run_dir, job)?.is_none_or(|newest| newest < attempt) {
            write_newest_attempt(run_dir, job, attempt)?;
        }
        // Most jobs have no metrics, and no such file.
        if !metrics.is_empty() {
            write_metrics(&run_dir.metrics(job), &metrics)?;
        }
        let run_path = run_dir.path().to_str().ok_or_else(|| {
            Error::Plan(format!(
                "the path of the run directory is not valid UTF-8: {}",
                run_dir.path().display()
            ))
        })?;
        let mut command = self.supervisor.to_vec();
        command.extend([run_path.to_owned(), job.to_string(), attempt.to_string()]);
        Ok(Submission {
            name: self.context.submission_name(job, attempt),
            command,
            environment: std::collections::BTreeMap::new(),
            working_directory: run_dir.output_dir(job),
            directory,
            resources: plan.resources.clone(),
            previous,
            avoid_hosts,
        })
    }

    /// Asks the scheduler for attempts by their names, until it answers.
    pub async fn find(&self, lookups: Vec<(JobId, Attempt)>) {
        let names: Vec<_> = lookups
            .iter()
            .map(|(job, attempt)| self.context.submission_name(*job, *attempt))
            .collect();
        let mut backoff = Backoff::SILENCE;
        let found = loop {
            match self.context.scheduler.find(&names).await {
                Ok(found) => break found,
                Err(error) => self.context.silent(&error),
            }
            sleep(backoff.wait()).await;
        };
        for ((job, attempt), name) in lookups.into_iter().zip(&names) {
            let found = found.iter().find(|found| found.name == *name);
            let event = match found {
                Some(found) => Event::Submitted {
                    attempt,
                    cluster_job: found.observation.job.clone(),
                },
                None => Event::NotFound { attempt },
            };
            self.context.happened(job, event);
        }
    }
}

/// What waits for the next call.
#[derive(Debug, Default)]
struct Gathering(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    due: Vec<Due>,
    /// A task submits whatever is due.
    is_tended: bool,
    last_call: Option<Call>,
}

/// A call that was made.
///
/// In the long run there is one call in [`BETWEEN_CALLS`]. But what is due seldom comes evenly: jobs that were
/// submitted together end together, and then nothing is due for a while. So calls that were not made are
/// saved, and the more are saved, the sooner the next one follows.
#[derive(Clone, Copy, Debug)]
struct Call {
    at: Instant,
    /// How many are saved after it.
    saved: f64,
}

impl Call {
    fn first(at: Instant) -> Self {
        let saved = MOST_SAVED;
        Self { at, saved }
    }

    /// The next one, made at this time.
    fn then(self, at: Instant) -> Self {
        let waited = at.saturating_duration_since(self.at).as_secs_f64();
        let saved = self.saved + waited / BETWEEN_CALLS.as_secs_f64() - 1.0;
        let saved = saved.clamp(0.0, MOST_SAVED);
        Self { at, saved }
    }

    /// When the next one may be made.
    fn next(self) -> Instant {
        self.at + BETWEEN_CALLS.div_f64(1.0 + self.saved)
    }
}

impl Gathering {
    /// Adds what has become due. `true` if no task tends the gathering: the caller must start one.
    fn add(&self, due: Vec<Due>) -> bool {
        let mut state = self.lock();
        state.due.extend(due);
        !std::mem::replace(&mut state.is_tended, true)
    }

    /// When the next call may be made. `None` if nothing is due: then the caller has resigned, and tends
    /// the gathering no more.
    fn next_call_or_resign(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.is_tended = !state.due.is_empty();
        let now = Instant::now;
        state
            .is_tended
            .then(|| state.last_call.map_or_else(now, Call::next))
    }

    /// Takes all that is due, for a call that is made now.
    fn take(&self) -> Vec<Due> {
        let mut state = self.lock();
        let now = Instant::now();
        let last = state.last_call;
        state.last_call = Some(last.map_or_else(|| Call::first(now), |last| last.then(now)));
        std::mem::take(&mut state.due)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The attempt in a job's file `newest`; `None` if the file is missing, or no supervisor would believe it.
fn newest_submitted(run_dir: &RunDir, job: JobId) -> Result<Option<Attempt>> {
    match read_newest_attempt(run_dir, job) {
        Err(cu_run_dir::Error::Content { .. }) => Ok(None),
        Err(cu_run_dir::Error::Read { source, .. }) if files::refusal(&source).is_some() => {
            Ok(None)
        }
        found => Ok(found?),
    }
}

fn unsubmitted(attempt: Attempt, error: SubmitError, reach: Reach) -> Event {
    match error {
        SubmitError::Rejected { reason, .. } => Event::SubmitRejected {
            attempt,
            reason,
            is_final: reach == Reach::ThisMachine,
        },
        SubmitError::Unavailable {
            reason,
            retry_after,
            ..
        } => Event::SubmitDelayed {
            attempt,
            reason,
            retry_after,
        },
        uncertain => Event::SubmitUncertain {
            attempt,
            reason: uncertain.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls for what becomes due at these times, in seconds, and how long each of these waits.
    fn calls(due: impl IntoIterator<Item = f64>) -> (usize, Vec<f64>) {
        let begun = Instant::now();
        let mut last: Option<Call> = None;
        let mut waits = Vec::new();
        let (mut count, mut open) = (0, None);
        for at in due {
            let due = begun + Duration::from_secs_f64(at);
            // What waits for the same call costs nothing more.
            let call = match open.filter(|call| due <= *call) {
                Some(call) => call,
                None => {
                    let call = last.map_or(due, |last| last.next().max(due));
                    last = Some(last.map_or_else(|| Call::first(call), |last| last.then(call)));
                    count += 1;
                    *open.insert(call)
                }
            };
            waits.push(call.saturating_duration_since(due).as_secs_f64());
        }
        (count, waits)
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_stream_makes_one_call_in_two_seconds() {
        let (calls, _) = calls((0..50_000).map(|number| f64::from(number) / 50.0));
        assert!((500..=510).contains(&calls), "{calls} calls in 1000 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_job_waits_for_nothing() {
        let (calls, waits) = calls((0..100).map(|number| f64::from(number) * 2.0));
        assert_eq!((calls, mean(&waits)), (100, 0.0));
    }

    /// 60 jobs that end within 4 s of each other every 12 s, as jobs do that were submitted together.
    #[tokio::test(start_paused = true)]
    async fn jobs_that_end_together_wait_for_a_moment_with_no_more_calls() {
        let job = |number: u32| f64::from(number / 60) * 12.0 + f64::from(number % 60) / 15.0;
        let (calls, waits) = calls((0..60 * 15).map(job));
        assert!(mean(&waits) < 0.5, "{}", mean(&waits));
        assert!(calls <= 15 * 12 / 2 + 8, "{calls}");
    }
}
