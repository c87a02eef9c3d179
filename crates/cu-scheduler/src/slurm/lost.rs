//! Submissions whose call of sbatch the journal does not know, because the state directory was lost.
//!
//! A job of one submission bears its name. The script of an array, which Slurm keeps, lists those of
//! its tasks. A job that was put back in the queue still bears the name of an earlier attempt of the
//! same job.

use std::collections::{BTreeMap, BTreeSet};

use super::job_id::{JobId, Listed};
use super::options::Resume;
use super::row::Row;
use super::{Cluster, names, script, state};
use crate::{ClusterState, Error, SubmissionName};

/// A cluster job that bears a name of ours, though the journal does not know its call.
struct Stranger<'a> {
    name: SubmissionName,
    call: u64,
    job: JobId,
    row: &'a Row,
}

impl Cluster {
    /// Finds those of `names` that the queue knows and the journal does not.
    ///
    /// # Errors
    /// If the submissions of an array that may be alive can't be read.
    pub(super) async fn find_lost(
        &self,
        names: &[SubmissionName],
        queue: &[Row],
    ) -> Result<BTreeMap<SubmissionName, JobId>, Error> {
        let lost: Vec<&SubmissionName> = self.journal.with(|journal| {
            let known = journal.known();
            Ok(names
                .iter()
                .filter(|it| known.place(it).is_none())
                .collect())
        })?;
        if lost.is_empty() {
            return Ok(BTreeMap::new());
        }
        let strangers = self.strangers(&lost, queue).await?;
        let found = lost.into_iter().filter_map(|name| {
            let is_it = |it: &&Stranger| match self.options.resume {
                Resume::Submit => it.name == *name,
                Resume::Requeue => it.name == *name || may_have_become(it, name),
            };
            let newest = strangers.iter().filter(is_it).max_by_key(|it| it.call)?;
            Some((name.clone(), newest.job))
        });
        Ok(found.collect())
    }

    /// All strangers of the runs of `lost`.
    async fn strangers<'a>(
        &self,
        lost: &[&SubmissionName],
        queue: &'a [Row],
    ) -> Result<Vec<Stranger<'a>>, Error> {
        let runs: BTreeSet<&str> = lost.iter().map(|it| it.run()).collect();
        let is_unknown = |call: u64| {
            self.journal
                .with(|journal| Ok(journal.known().call(call).is_none()))
        };
        let mut strangers = Vec::new();
        let mut arrays: BTreeMap<(u32, u64), Vec<&Row>> = BTreeMap::new();
        for row in queue.iter().filter(|row| !state::is_refusal(row)) {
            let Some(job_name) = &row.name else { continue };
            if let (Some((name, call)), Listed::One(job)) = (names::read(job_name), &row.listed) {
                if runs.contains(name.run()) && is_unknown(call)? {
                    let job = *job;
                    strangers.push(Stranger {
                        name,
                        call,
                        job,
                        row,
                    });
                }
            } else if let Some((run, call)) = names::read_array(job_name)
                && runs.contains(run)
                && is_unknown(call)?
            {
                arrays
                    .entry((row.listed.base(), call))
                    .or_default()
                    .push(row);
            }
        }
        for ((base, call), rows) in arrays {
            let listed = match self.tasks(base).await {
                Ok(listed) => listed,
                Err(_) if rows.iter().all(|row| is_over(row)) => continue,
                Err(error) => return Err(error),
            };
            for (task, name) in (0..).zip(listed) {
                let job = JobId {
                    base,
                    task: Some(task),
                    before: 0,
                };
                let row = rows.iter().find(|row| row.listed.includes(job));
                strangers.extend(row.map(|row| Stranger {
                    name,
                    call,
                    job,
                    row,
                }));
            }
        }
        Ok(strangers)
    }

    /// The submissions that are the tasks of an array, by number, as its script says.
    async fn tasks(&self, base: u32) -> Result<Vec<SubmissionName>, Error> {
        let client = self.client();
        let command = client.command("scontrol");
        let command = command.arguments(["write", "batch_script"]);
        let text = client
            .ask(command.arguments([&base.to_string(), "-"]))
            .await?;
        let tasks = script::listed(&text.stdout);
        if tasks.is_empty() {
            return Err(Error::Misunderstood {
                scheduler: self.to_string(),
                answer: format!("the script of array {base} lists no tasks"),
            });
        }
        Ok(tasks)
    }
}

fn is_over(row: &Row) -> bool {
    matches!(state::of(row), ClusterState::Ended(_))
}

/// Whether a job that bears another name may have been put back in the queue for `name`. Of the
/// attempts of a job at most one is alive, and this one is.
fn may_have_become(stranger: &Stranger, name: &SubmissionName) -> bool {
    let (run, job) = (stranger.name.run(), stranger.name.job());
    (run, job) == (name.run(), name.job())
        && stranger.name.attempt() < name.attempt()
        && !is_over(stranger.row)
}
