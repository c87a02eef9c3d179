//! Putting the same job back in the queue instead of submitting a new one.
//!
//! Each start of the job reads in a file what to execute, so that file is changed first. Slurm
//! requeues a job that has ended as long as its controller knows it; whatever it can't requeue is
//! submitted anew.

use std::sync::Arc;

use cu_system::causes::in_one_line;

use super::find::is_again;
use super::job_id::JobId;
use super::known::{Line, Requeue};
use super::{Cluster, client, files, row, script};
use crate::{ClusterJobId, Submission, SubmitError};

type Answer = Option<Result<ClusterJobId, SubmitError>>;

/// A job to be put back, for the submission with this index.
struct Again {
    index: usize,
    job: JobId,
    job_name: String,
    restarts: u32,
}

impl Cluster {
    /// Puts back the jobs of those that have a previous one. Who is not answered is to be submitted.
    pub(super) async fn requeue_all(
        self: &Arc<Self>,
        batch: &[Submission],
        answers: &mut [Answer],
    ) {
        let mut again = match self.candidates(batch, answers).await {
            Ok(again) => again,
            Err(error) => return refuse(batch, answers, &in_one_line(&error)),
        };
        if again.is_empty() {
            return;
        }
        let (cluster, members) = (self.clone(), batch.to_vec());
        let prepared = self.writer.ask(move || {
            again.retain(|again| cluster.prepare_again(again, &members[again.index]).is_ok());
            again
        });
        let Ok(again) = prepared.await else { return };
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
                    self.not_requeued(&batch[one.index]);
                }
                return refuse(batch, answers, &words);
            }
            Ok(words) if client::is_unclear(&words) => Some(words),
            Ok(_) => None,
            Err(reason) => Some(reason),
        };
        // What was put back and what wasn't is seen in the queue, whatever the command said.
        let queue = match (unclear, self.queue().await) {
            (None, Ok(queue)) => queue,
            (unclear, looked) => {
                let looked = looked.err().map(|error| error.to_string());
                let reason = unclear.or(looked).unwrap_or_default();
                for one in &again {
                    answers[one.index] = Some(Err(SubmitError::Uncertain {
                        name: batch[one.index].name.clone(),
                        reason: reason.clone(),
                    }));
                }
                return;
            }
        };
        let index = row::Index::new(&queue);
        for one in again {
            let submission = &batch[one.index];
            let row = index.row(one.job, Some(&one.job_name));
            if row.is_some_and(|row| is_again(row, one.restarts)) {
                self.note(Line::Requeued {
                    name: submission.name.to_string(),
                });
                answers[one.index] = Some(Ok(one.job.to_cluster()));
            } else {
                self.not_requeued(submission);
            }
        }
    }

    /// The previous jobs that have ended and can be put back. Those that have not are refused.
    async fn candidates(
        &self,
        batch: &[Submission],
        answers: &mut [Answer],
    ) -> Result<Vec<Again>, crate::Error> {
        let mut again = Vec::new();
        for (index, submission) in batch.iter().enumerate() {
            let previous = submission.previous.as_ref().and_then(JobId::parse);
            if let (Some(job), None) = (previous, &answers[index]) {
                let job_name = self.journal.with(|journal| {
                    let call = journal.known().call_of(job.base);
                    Ok(call.map(|call| call.job_name.clone()))
                })?;
                again.extend(job_name.map(|job_name| (index, job, job_name)));
            }
        }
        if again.is_empty() {
            return Ok(Vec::new());
        }
        let queue = self.queue().await?;
        let rows = row::Index::new(&queue);
        let mut candidates = Vec::new();
        for (index, job, job_name) in again {
            let Some(row) = rows.row(job, Some(&job_name)) else {
                continue; // Slurm has forgotten it.
            };
            if is_again(row, u32::MAX) {
                answers[index] = Some(Err(SubmitError::Unavailable {
                    name: batch[index].name.clone(),
                    reason: format!("job {job}, which it continues, is {}", row.state),
                    retry_after: None,
                }));
                continue;
            }
            candidates.push(Again {
                index,
                job,
                job_name,
                restarts: row.restarts.unwrap_or(0),
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
            job: again.job.to_string(),
            restarts: again.restarts,
        };
        let prepared = self.journal.with(|journal| {
            let call = journal.known().call_of(again.job.base);
            let script = call.map(|call| call.script.clone());
            if script.is_some() {
                journal.intend(Line::Requeue(requeue))?;
            }
            Ok(script)
        });
        match prepared {
            Ok(Some(script)) => files::point(&script, again.job.task, submission, &start),
            Ok(None) => Err("its call is not known".into()),
            Err(error) => Err(in_one_line(&error)),
        }
    }
}

fn refuse(batch: &[Submission], answers: &mut [Answer], reason: &str) {
    for (submission, answer) in batch.iter().zip(answers) {
        if answer.is_none() {
            *answer = Some(Err(SubmitError::Unavailable {
                name: submission.name.clone(),
                reason: reason.to_owned(),
                retry_after: None,
            }));
        }
    }
}
