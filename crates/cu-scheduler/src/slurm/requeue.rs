//! Puts the same job back in the queue instead of submitting a new one.
//!
//! Each start of the job reads in a file what to execute, so that file is changed first. Slurm
//! requeues a job that has ended as long as its controller knows it; whatever it can't requeue is
//! submitted anew.
//!
//! Slurm itself puts a job back that it preempted or whose node it lost. Such a job has to wait, by
//! default two minutes. It would start with the attempt that has ended, end at once, and wait once more.
//! So while it waits, it becomes the next attempt.

use std::sync::Arc;

use cu_system::causes::in_one_line;

use super::find::is_again;
use super::job_id::JobId;
use super::known::{Line, Requeue};
use super::{Cluster, client, files, row, script, state};
use crate::Submission;
use crate::cluster::{Batch, Refusal};

/// A job to be put back, for the submission with this index.
struct Again {
    index: usize,
    job: JobId,
    job_name: String,
    restarts: u32,
    /// Slurm has put it back by itself.
    waits: bool,
}

impl Cluster {
    /// Puts back the jobs of submissions that have a previous one. What is not answered then is to be
    /// submitted.
    pub(super) async fn requeue_all(self: &Arc<Self>, batch: &mut Batch<'_>) {
        let again = match self.candidates(batch).await {
            Ok(again) => again,
            Err(error) => return batch.refuse_open(&error.into()),
        };
        if again.is_empty() {
            return;
        }
        let with_submission = |again: Again| {
            let submission = batch.submission(again.index).clone();
            (again, submission)
        };
        let again: Vec<_> = again.into_iter().map(with_submission).collect();
        let cluster = self.clone();
        let prepared = self.writer.write(move || {
            let prepare = |(again, submission): (Again, Submission)| {
                let prepared = cluster.prepare_again(&again, &submission);
                (again, prepared)
            };
            again.into_iter().map(prepare).collect::<Vec<_>>()
        });
        let Ok(prepared) = prepared.await else { return };
        let mut again = Vec::new();
        for (one, prepared) in prepared {
            match prepared {
                Ok(()) if one.waits => {
                    let name = batch.submission(one.index).name.to_string();
                    self.note(Line::Requeued { name });
                    batch.accept(one.index, one.job.to_cluster());
                }
                Ok(()) => again.push(one),
                Err(reason) if one.waits => batch.refuse(one.index, &Refusal::unavailable(reason)),
                Err(_) => {} // It is submitted.
            }
        }
        let ids: Vec<String> = again.iter().map(|again| again.job.to_string()).collect();
        if ids.is_empty() {
            return;
        }
        let client = self.client();
        let command = client.command("scontrol").argument("requeue");
        let said = match command.argument(ids.join(",")).run().await {
            Ok(output) => Ok(output.words()),
            Err(failure) => Err(failure.to_string()),
        };
        let unclear = match said {
            Ok(words) if client::is_out_of_reach(&words) => {
                for one in &again {
                    self.not_requeued(batch.submission(one.index));
                }
                return batch.refuse_open(&Refusal::unavailable(words));
            }
            Ok(words) if client::is_unclear(&words) => Some(words),
            Ok(_) => None,
            Err(reason) => Some(reason),
        };
        // The queue shows which jobs were put back, whatever the command said.
        let queue = match (unclear, self.queue().await) {
            (None, Ok(queue)) => queue,
            (unclear, looked) => {
                let looked = looked.err().map(|error| in_one_line(&error));
                let refusal = Refusal::uncertain(unclear.or(looked).unwrap_or_default());
                for one in &again {
                    batch.refuse(one.index, &refusal);
                }
                return;
            }
        };
        let index = row::Index::new(&queue);
        for one in again {
            let submission = batch.submission(one.index);
            let row = index.row(one.job, Some(&one.job_name));
            if row.is_some_and(|row| is_again(row, one.restarts)) {
                self.note(Line::Requeued {
                    name: submission.name.to_string(),
                });
                batch.accept(one.index, one.job.to_cluster());
            } else {
                self.not_requeued(submission);
            }
        }
    }

    /// The previous jobs that have ended and can be put back, or that Slurm has put back. Others that have
    /// not ended are refused.
    async fn candidates(&self, batch: &mut Batch<'_>) -> Result<Vec<Again>, crate::Error> {
        let mut again = Vec::new();
        for (index, submission) in batch.open() {
            // A job that is put back keeps the nodes that it may have.
            let previous = submission.previous.as_ref();
            let previous = previous.filter(|_| submission.avoid_hosts.is_empty());
            if let Some(job) = previous.and_then(JobId::parse) {
                let job_name = self.journal.with(|journal| {
                    let known = journal.known();
                    // What was cancelled because of its hold would be held again.
                    let call = known
                        .call_of(job)
                        .filter(|_| known.ended_hold(job).is_none());
                    Ok(call.map(|call| (call.job_name.clone(), known.restarts(job))))
                })?;
                again.extend(job_name.map(|(job_name, known)| (index, job, job_name, known)));
            }
        }
        if again.is_empty() {
            return Ok(Vec::new());
        }
        let queue = self.queue().await?;
        let rows = row::Index::new(&queue);
        let mut candidates = Vec::new();
        for (index, job, job_name, known) in again {
            let Some(row) = rows.row(job, Some(&job_name)) else {
                continue; // Slurm has forgotten it.
            };
            if self.is_left_behind(job, Some(row)) {
                continue; // Slurm puts it back only once its node has cleared it away.
            }
            let restarts = row.restarts.unwrap_or(0);
            let waits = state::waits(row) && restarts > known;
            if is_again(row, u32::MAX) && !waits {
                let reason = format!("job {job}, which it continues, is {}", row.state);
                batch.refuse(index, &Refusal::unavailable(reason));
                continue;
            }
            candidates.push(Again {
                index,
                job,
                job_name,
                restarts: if waits { restarts - 1 } else { restarts },
                waits,
            });
        }
        Ok(candidates)
    }

    fn not_requeued(&self, submission: &Submission) {
        self.note(Line::NotRequeued {
            name: submission.name.to_string(),
        });
    }
}

impl Cluster {
    /// Makes the next start of a job execute `submission`, and writes down that it is to be put
    /// back.
    fn prepare_again(&self, again: &Again, submission: &Submission) -> Result<(), String> {
        let start = script::start(submission, &self.options)?;
        let requeue = Requeue {
            name: submission.name.to_string(),
            job: again.job.to_cluster().0,
            restarts: again.restarts,
        };
        let prepared = self.journal.with(|journal| {
            let call = journal.known().call_of(again.job);
            let script = call.map(|call| call.script.clone());
            if script.is_some() {
                journal.intend(Line::Requeue(requeue))?;
            }
            Ok(script)
        });
        match prepared {
            Ok(Some(script)) => files::point(&script, again.job.task, submission, &start),
            Ok(None) => Err("the call that made it is not known".into()),
            Err(error) => Err(in_one_line(&error)),
        }
    }
}
