//! Act: keep what was promised, submit, look up, cancel, tell. Each as a task whose outcome is an
//! event again.

use std::io::ErrorKind;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cu_protocol::{Attempt, JobId, Metrics, RunId, Sequence, Timestamp};
use cu_scheduler::{
    Cancel, ClusterJobId, Reach, Scheduler, Submission, SubmissionName, SubmitError,
};
use cu_system::causes::in_one_line;
use cu_system::files;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::decide::Promise;
use crate::inbox::{Item, Reply, Sender};
use crate::machine::{Action, Event, Job, Level, one_line};
use crate::records::{Readers, Unread};
use crate::recovery::read_in_turn;
use crate::server::Connections;
use crate::submitter::{Due, Gathering, submit_all};
use crate::threads::Lane;
use crate::watcher::{Watched, submission_name};
use crate::{Error, JobPlan, Result, RunDir, create};

/// An attempt's number is not longer than this, in bytes.
const LONGEST_NUMBER: u64 = 64;

/// Something that people should read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When it was decided.
    pub at: Timestamp,
    /// About which job; `None` if it is about the run.
    pub job: Option<JobId>,
    /// How much it matters.
    pub level: Level,
    /// A sentence, to follow "job 3: " if it is about a job. Of several jobs it may be the same.
    pub text: String,
}

impl std::fmt::Display for Notice {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.job {
            Some(job) => write!(out, "job {job}: {}", self.text),
            None => out.write_str(&self.text),
        }
    }
}

/// Has all that acting takes. Cheap to clone: tasks take one along.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub run_dir: RunDir,
    pub run: RunId,
    pub plans: Arc<[JobPlan]>,
    pub supervisor: Vec<String>,
    pub scheduler: Arc<dyn Scheduler>,
    pub clock: Clock,
    pub sender: Sender,
    pub connections: Arc<Connections>,
    pub watched: Arc<Watched>,
    pub unread: Arc<Unread>,
    pub readers: Arc<Readers>,
    /// For what is written into the run directory, besides the store.
    pub writers: Arc<Lane>,
    pub gathering: Arc<Gathering>,
    pub notify: mpsc::UnboundedSender<Notice>,
}

impl Actor {
    /// Says what may be said now that all is recorded. Who does not listen any more asks again.
    pub fn keep(&self, promises: Vec<Promise>, tasks: &mut JoinSet<()>) {
        let mut taken = Vec::new();
        for promise in promises {
            match promise {
                Promise::Supervisor(to, answer) => {
                    let _ = to.send(answer);
                }
                Promise::Operator(to, answer) => {
                    let _ = to.send(answer);
                }
                Promise::OutboxTaken {
                    job,
                    attempt,
                    sequence,
                } => taken.push((self.run_dir.outbox(job, attempt), sequence)),
            }
        }
        if !taken.is_empty() {
            let removed = self.writers.ask(|| remove_from_outboxes(taken));
            tasks.spawn(async { removed.await.unwrap_or_else(|panic| resume_unwind(panic)) });
        }
    }

    /// Begins all of `actions`, as `tasks`. Submissions and lookups go out together.
    pub fn act(&self, actions: Vec<Action>, tasks: &mut JoinSet<()>) {
        let mut submissions = Vec::new();
        let mut lookups = Vec::new();
        let mut cancellations = Vec::new();
        for action in actions {
            match action {
                Action::Submit {
                    job,
                    attempt,
                    previous,
                    metrics,
                } => submissions.push((job, attempt, previous, metrics)),
                Action::Find { job, attempt } => lookups.push((job, attempt)),
                Action::Cancel { cluster_job } => cancellations.push(cluster_job),
                Action::ReadRecords { job, attempt } => {
                    // Its outcome is an event; if none comes, that is not waited for for ever.
                    drop(self.readers.read(job, attempt));
                }
                Action::ReadLate { job, attempts } => {
                    let attempts = attempts.into_iter().map(|attempt| (job, attempt));
                    tasks.spawn(read_in_turn(self.clone(), attempts.collect()));
                }
                Action::Observe { job, attempt } => self.watched.doubt(job, attempt),
                Action::Tell { job, attempt, wish } => self.connections.tell(job, attempt, wish),
                Action::Notify { job, level, text } => {
                    self.notify(Some(job), level, &text);
                }
            }
        }
        if !submissions.is_empty() {
            match self.scheduler.capabilities().reach {
                Reach::ThisMachine => {
                    tasks.spawn(self.clone().submit(submissions));
                }
                Reach::OtherMachines if self.gathering.add(submissions) => {
                    tasks.spawn(submit_all(self.clone()));
                }
                Reach::OtherMachines => {}
            }
        }
        if !lookups.is_empty() {
            tasks.spawn(self.clone().find(lookups));
        }
        if !cancellations.is_empty() {
            tasks.spawn(self.clone().cancel(cancellations));
        }
    }

    /// Has the scheduler watched for what these jobs have with it now, and their files read.
    pub fn watch(&self, jobs: &[Job]) {
        for job in jobs {
            self.watched.set(job.id, job.active());
            self.unread.set(job);
        }
    }

    pub fn happened(&self, job: JobId, event: Event, reply: Reply) {
        // Without a loop there is nobody whom it concerns: the next one finds out by itself.
        let _ = self.sender.send(Item::Happened { job, event, reply });
    }

    pub fn notify(&self, job: Option<JobId>, level: Level, text: &str) {
        let notice = Notice {
            at: self.clock.now(),
            job,
            level,
            text: one_line(text),
        };
        match level {
            Level::Info => tracing::info!("{notice}"),
            Level::Warning => tracing::warn!("{notice}"),
            Level::Error => tracing::error!("{notice}"),
        }
        let _ = self.notify.send(notice);
    }

    pub async fn submit(self, due: Vec<Due>) {
        let actor = self.clone();
        let prepared = self.writers.ask(move || actor.prepare(due)).await;
        // The submissions stay intents, and the next main process finds them as such.
        let batch = prepared.unwrap_or_else(|panic| resume_unwind(panic));
        let most = self.scheduler.capabilities().batch.max(1);
        for chunk in batch.chunks(most) {
            let mut outcomes = self.scheduler.submit(chunk).await.into_iter();
            for submission in chunk {
                let attempt = Attempt(submission.name.attempt());
                let event = match outcomes.next() {
                    Some(Ok(cluster_job)) => Event::Submitted {
                        attempt,
                        cluster_job,
                    },
                    Some(Err(error)) => unsubmitted(attempt, error),
                    None => Event::SubmitUncertain {
                        attempt,
                        reason: "the scheduler gave fewer answers than it was asked for".to_owned(),
                    },
                };
                self.happened(JobId(submission.name.job()), event, Reply::Nobody);
            }
        }
    }

    /// Makes what each attempt needs in the run directory. What can't be made is not submitted now.
    fn prepare(&self, due: Vec<Due>) -> Vec<Submission> {
        let mut batch = Vec::with_capacity(due.len());
        for (job, attempt, previous, metrics) in due {
            match self.prepare_one(job, attempt, previous, &metrics) {
                Ok(submission) => batch.push(submission),
                Err(error) => self.happened(
                    job,
                    Event::SubmitDelayed {
                        attempt,
                        reason: in_one_line(&error),
                        retry_after: None,
                    },
                    Reply::Nobody,
                ),
            }
        }
        batch
    }

    fn prepare_one(
        &self,
        job: JobId,
        attempt: Attempt,
        previous: Option<ClusterJobId>,
        metrics: &Metrics,
    ) -> Result<Submission> {
        let plan = &self.plans[job.0 as usize];
        if create::restore_job(&self.run_dir, self.run, job, plan)? {
            self.happened(job, Event::OutputRemade { attempt }, Reply::Nobody);
        }
        let directory = self.run_dir.attempt(job, attempt);
        create::make_dir(&directory)?;
        let newest = self.run_dir.newest_attempt(job);
        // A store that was restored from a copy is behind. An attempt before those that have run would
        // begin with their checkpoints, and its own would count for less: it is not to start.
        if newest_submitted(&newest)?.is_none_or(|newest| newest < attempt) {
            create::replace(&newest, attempt.to_string().as_bytes())?;
        }
        // Most jobs have none, and no such file.
        if !metrics.is_empty() {
            let path = self.run_dir.metrics(job);
            let text = cu_supervisor::metrics_file(metrics)
                .map_err(|error| Error::file("write", &path)(error.into()))?;
            create::replace(&path, &text)?;
        }
        let run_dir = self.run_dir.path().to_str().ok_or_else(|| {
            Error::Plan(format!(
                "the path of the run directory is no UTF-8: {}",
                self.run_dir.path().display()
            ))
        })?;
        let mut command = self.supervisor.clone();
        command.extend([run_dir.to_owned(), job.to_string(), attempt.to_string()]);
        Ok(Submission {
            name: self.name(job, attempt),
            command,
            environment: std::collections::BTreeMap::new(),
            working_directory: self.run_dir.output_dir(job),
            directory,
            resources: plan.resources.clone(),
            previous,
        })
    }

    fn name(&self, job: JobId, attempt: Attempt) -> SubmissionName {
        submission_name(self.run, job, attempt)
    }

    /// Asks the scheduler for attempts by their names, until it answers.
    pub async fn find(self, lookups: Vec<(JobId, Attempt)>) {
        let names: Vec<_> = lookups
            .iter()
            .map(|(job, attempt)| self.name(*job, *attempt))
            .collect();
        let mut backoff = Backoff::SILENCE;
        let found = loop {
            match self.scheduler.find(&names).await {
                Ok(found) => break found,
                Err(error) => self.silent(&error),
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
            self.happened(job, event, Reply::Nobody);
        }
    }

    /// Asks once: what has not ended by then is cancelled again.
    async fn cancel(self, jobs: Vec<ClusterJobId>) {
        match self.scheduler.cancel(&jobs, Cancel::Terminate).await {
            Ok(()) => self.watched.doubt_all(&jobs),
            Err(error) => self.silent(&error),
        }
    }

    fn silent(&self, error: &cu_scheduler::Error) {
        tracing::warn!("{}", in_one_line(error));
        let _ = self.sender.send(Item::from(error));
    }
}

/// The attempt in a job's file of its newest one; `None` if there is none, or none can be read in it.
fn newest_submitted(path: &Path) -> Result<Option<Attempt>> {
    match files::read(path, LONGEST_NUMBER) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().parse().ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if files::refusal(&error).is_some() => Ok(None),
        Err(error) => Err(Error::read(path)(error)),
    }
}

fn remove_from_outboxes(taken: Vec<(PathBuf, Sequence)>) {
    for (outbox, sequence) in taken {
        if let Err(error) = cu_supervisor::remove_from_outbox(&outbox, sequence) {
            // It is read again, and is a repeat then.
            tracing::warn!("{error}");
        }
    }
}

fn unsubmitted(attempt: Attempt, error: SubmitError) -> Event {
    match error {
        SubmitError::Rejected { reason, .. } => Event::SubmitRejected { attempt, reason },
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
