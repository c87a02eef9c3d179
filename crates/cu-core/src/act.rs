//! Act: replies, submissions, lookups, cancellations, wishes, notices. Each is a task whose outcome is an
//! event again. This file only hands each to the one who does it.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;

use cu_protocol::{Attempt, JobId, Sequence};
use cu_scheduler::{Cancel, ClusterJobId};
use cu_system::causes::in_one_line;
use tokio::task::JoinSet;

use crate::answers::Answers;
use crate::attempt_files::{Readers, Unread};
use crate::connections::Connections;
use crate::context::Context;
use crate::decide::Promise;
use crate::gathering::Company;
use crate::machine::{Action, Job};
use crate::submitter::{Due, Submitter};
use crate::threads::Lane;
use crate::watcher::Watched;

/// Those who do what was decided. Cheap to clone: each task takes one along.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub context: Context,
    pub submitter: Submitter,
    pub readers: Arc<Readers>,
    pub unread: Arc<Unread>,
    pub connections: Arc<Connections>,
    pub answers: Answers,
    pub watched: Arc<Watched>,
    /// For what is written into the run directory, besides the store.
    pub writers: Arc<Lane>,
}

impl Actor {
    /// Sends the replies that were promised for when everything is recorded.
    pub fn send_replies(&self, promises: Vec<Promise>, tasks: &mut JoinSet<()>) {
        let mut taken = Vec::new();
        for promise in promises {
            match promise {
                Promise::Supervisor(asker, answer) => self.answers.give(asker, answer),
                Promise::Operator(asker, answer) => self.answers.give(asker, answer),
                Promise::OutboxTaken {
                    job,
                    attempt,
                    sequence,
                } => taken.push((self.context.run_dir.outbox(job, attempt), sequence)),
            }
        }
        if !taken.is_empty() {
            let removed = self.writers.ask(|| remove_from_outboxes(taken));
            tasks.spawn(async { removed.await.unwrap_or_else(|panic| resume_unwind(panic)) });
        }
    }

    /// Has the scheduler watched for the attempts that these jobs have there now, and their files read.
    pub fn watch(&self, jobs: &[Job]) {
        for job in jobs {
            self.watched.set(job.id, job.active());
            self.unread.set(job);
        }
    }

    /// Begins all of `actions`, as `tasks`. Submissions and lookups go out together, and wait for `company`.
    pub fn act(&self, actions: Vec<Action>, company: Company, tasks: &mut JoinSet<()>) {
        let mut due = Vec::new();
        let mut lookups = Vec::new();
        let mut cancellations = Vec::new();
        for action in actions {
            match action {
                Action::Submit {
                    job,
                    attempt,
                    previous,
                    avoid_hosts,
                    metrics,
                } => due.push(Due {
                    job,
                    attempt,
                    previous,
                    avoid_hosts,
                    metrics,
                }),
                Action::Find { job, attempt } => lookups.push((job, attempt)),
                Action::Withdraw { job, attempt } => self.withdraw(job, attempt, tasks),
                Action::Cancel { cluster_job } => cancellations.push(cluster_job),
                Action::ReadRecords { job, attempt } => {
                    // Its outcome is an event, which nobody awaits for ever.
                    drop(self.readers.read(job, attempt));
                }
                Action::ReadLate { job, attempts } => {
                    let attempts = attempts.into_iter().map(|attempt| (job, attempt));
                    self.read_in_turn(attempts.collect(), tasks);
                }
                Action::Observe { job, attempt } => self.watched.ask_until_over(job, attempt),
                Action::Tell { job, attempt, wish } => self.connections.tell(job, attempt, wish),
                Action::Notify {
                    job,
                    level,
                    text,
                    limit,
                } => self.context.notify_of(Some(job), level, &text, limit),
            }
        }
        if !due.is_empty() {
            self.submitter.begin(due, company, tasks);
        }
        if !lookups.is_empty() {
            let submitter = self.submitter.clone();
            tasks.spawn(async move { submitter.find(lookups).await });
        }
        if !cancellations.is_empty() {
            tasks.spawn(self.clone().cancel(cancellations));
        }
    }

    /// Reads the files of one attempt after the other, as one of `tasks`.
    pub fn read_in_turn(&self, attempts: Vec<(JobId, Attempt)>, tasks: &mut JoinSet<()>) {
        let readers = self.readers.clone();
        tasks.spawn(async move { readers.read_in_turn(attempts).await });
    }

    /// Makes the mark that keeps an attempt's program from being started.
    fn withdraw(&self, job: JobId, attempt: Attempt, tasks: &mut JoinSet<()>) {
        let run_dir = self.context.run_dir.clone();
        let written = self.writers.ask(move || {
            let mark = run_dir.cancelled(job, attempt);
            let written = cu_run_dir::make_dir(&run_dir.attempt(job, attempt)).and_then(|()| {
                cu_run_dir::replace(&mark, b"An operator cancelled this attempt.\n")
            });
            if let Err(error) = written {
                // It is asked for again as long as the attempt may be with the scheduler.
                tracing::warn!("{}", in_one_line(&error));
            }
        });
        tasks.spawn(async { written.await.unwrap_or_else(|panic| resume_unwind(panic)) });
    }

    /// Asks once: the machine has whatever does not end cancelled again.
    async fn cancel(self, jobs: Vec<ClusterJobId>) {
        let scheduler = &self.context.scheduler;
        match scheduler.cancel(&jobs, Cancel::Terminate).await {
            Ok(()) => self.watched.ask_until_all_over(&jobs),
            Err(error) => self.context.silent(&error),
        }
    }
}

fn remove_from_outboxes(taken: Vec<(PathBuf, Sequence)>) {
    for (outbox, sequence) in taken {
        if let Err(error) = cu_run_dir::remove_from_outbox(&outbox, sequence) {
            // It is read again, and is a repeat then.
            tracing::warn!("{}", in_one_line(&error));
        }
    }
}
