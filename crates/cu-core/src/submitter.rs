//! Submits what is due, and finds what may have been submitted.

use std::panic::resume_unwind;
use std::sync::{Arc, PoisonError, RwLock};

use cu_protocol::{Attempt, JobId, Metrics};
use cu_run_dir::write_metrics;
use cu_scheduler::{ClusterJobId, Reach, Submission, SubmitError};
use cu_system::causes::in_one_line;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::context::Context;
use crate::gathering::{Company, Gathering};
use crate::job_files::JobFiles;
use crate::machine::Event;
use crate::store::{PlanText, Plans};
use crate::succession::{AFTER_LEAVING, Stay, Succession};
use crate::threads::Lane;
use crate::{Error, Result};

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
    plans: Arc<RwLock<Plans>>,
    /// The command of the supervisor.
    supervisor: Arc<[String]>,
    writers: Arc<Lane>,
    files: Arc<JobFiles>,
    gathering: Arc<Gathering<Due>>,
    succession: Arc<Succession>,
}

impl Submitter {
    pub fn new(
        context: Context,
        plans: Plans,
        supervisor: Vec<String>,
        writers: Arc<Lane>,
        succession: Succession,
    ) -> Self {
        Self {
            context,
            plans: Arc::new(RwLock::new(plans)),
            supervisor: supervisor.into(),
            writers,
            files: Arc::default(),
            gathering: Arc::default(),
            succession: succession.into(),
        }
    }

    /// Whether an attempt that is over is to stay until the next one is submitted.
    pub fn stay(&self) -> Stay {
        self.succession.stay()
    }

    /// Takes in the plans of jobs that are new.
    pub fn add(&self, plans: impl Iterator<Item = PlanText>) {
        let mut all = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        plans.for_each(|plan| all.push(plan.as_str()));
    }

    fn plan(&self, job: JobId) -> PlanText {
        let all = self.plans.read().unwrap_or_else(PoisonError::into_inner);
        all.get(job.0 as usize)
    }

    /// Begins to submit `due`, as one of `tasks`.
    pub fn begin(&self, due: Vec<Due>, company: Company, tasks: &mut JoinSet<()>) {
        let submitter = self.clone();
        match self.context.scheduler.capabilities().reach {
            Reach::ThisMachine => {
                tasks.spawn(async move { submitter.submit(due).await });
            }
            Reach::OtherMachines if self.gathering.add(due, company) => {
                tasks.spawn(async move { submitter.submit_gathered().await });
            }
            Reach::OtherMachines => {}
        }
    }

    /// Submits until nothing is due. What becomes due meanwhile gathers for the next call.
    async fn submit_gathered(&self) {
        while let Some(due) = self.gathering.next().await {
            self.submit(due).await;
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
        let attempts: Vec<_> = due.iter().map(|due| (due.job, due.attempt)).collect();
        let prepared = self.writers.ask(move || submitter.prepare(due)).await;
        // If this panics, the submissions stay intents, and the next main process looks them up.
        let batch = prepared.unwrap_or_else(|panic| resume_unwind(panic));
        let scheduler = &self.context.scheduler;
        let reach = scheduler.capabilities().reach;
        let mut outcomes = scheduler.submit(&batch).await.into_iter();
        let stayed = self.succession.is_submitted(&attempts);
        for submission in &batch {
            let attempt = Attempt(submission.name.attempt());
            let event = match outcomes.next() {
                Some(Ok(cluster_job)) => Event::Submitted {
                    attempt,
                    cluster_job,
                },
                Some(Err(mut error)) => {
                    if let SubmitError::Unavailable { retry_after, .. } = &mut error
                        && retry_after.is_some()
                        && stayed.contains(&JobId(submission.name.job()))
                    {
                        self.succession.takes_room();
                        *retry_after = Some(AFTER_LEAVING);
                    }
                    unsubmitted(attempt, error, reach)
                }
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
        let plan = self.plan(job);
        let prepared = self
            .files
            .prepare(run_dir, self.context.run, (job, attempt), &plan);
        if prepared? {
            self.context.happened(job, Event::OutputRemade { attempt });
        }
        self.files.name_newest(run_dir, job, attempt)?;
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
            directory: run_dir.attempt(job, attempt),
            resources: plan.resources(),
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
