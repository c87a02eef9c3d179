//! Watching: one squeue for all jobs, and sacct for those that it no longer knows.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cu_system::causes::in_one_line;
use cu_system::tail::last_lines;
use tokio::time::Instant;

use super::job_id::JobId;
use super::options::Resume;
use super::row::{self, Row};
use super::script::beside;
use super::{Cluster, sacct, squeue, state};
use crate::{ClusterEnd, ClusterJobId, ClusterState, EndCause, Error, Observation};

/// How long accounting may take to learn of an end, or be away. After that a job that is not in the
/// queue is gone.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a job must be missing where only the queue can tell: one answer may lack it by a hiccup of
/// the controller, or of what a site puts in front of squeue.
const SECOND_LOOK: Duration = Duration::from_secs(5);
/// The words of Slurm about a job that is over its memory, in the last lines of its standard error.
const OVER_MEMORY: [&str; 4] = [
    "exceeded memory limit",
    "oom_kill event",
    "oom-kill event",
    "Out Of Memory",
];
const LAST_LINES: usize = 20;
const LAST_BYTES: u64 = 16 << 10;
/// The most ids in one command line.
pub(super) const IDS_AT_ONCE: usize = 1000;

/// The jobs whose end accounting is still to tell.
#[derive(Debug, Default)]
pub(super) struct Missing {
    causes: Mutex<HashMap<JobId, Cause>>,
    /// Those that we have asked Slurm to end.
    ended_by_us: Mutex<HashSet<JobId>>,
}

/// Why a job is missing.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// Not known, since then.
    Unknown(Instant),
    /// It never started, as accounting has reported since then.
    NeverStarted(Instant),
    /// We cancelled it while it waited. Slurm keeps no trace of a task of an array that ended so.
    Cancelled,
}

impl Missing {
    /// The state of a job whose end accounting does not know, for the reason `why`, until `patience` is over.
    fn state(
        &self,
        job: JobId,
        why: String,
        patience: Duration,
        never_started: bool,
    ) -> ClusterState {
        let now = Instant::now();
        let mut missing = self.lock();
        let cause = missing.entry(job).or_insert(Cause::Unknown(now));
        if let (Cause::Unknown(_), true) = (&cause, never_started) {
            // It may have been away until now, and still have to hear of a start.
            *cause = Cause::NeverStarted(now);
        }
        match *cause {
            Cause::Unknown(since) | Cause::NeverStarted(since) if since.elapsed() < patience => {
                ClusterState::Unknown { reason: why }
            }
            Cause::Unknown(_) => ClusterState::Gone,
            Cause::NeverStarted(_) => cancelled("by somebody while it waited"),
            Cause::Cancelled => cancelled("by us while it waited"),
        }
    }

    fn found(&self, job: JobId) {
        self.lock().remove(&job);
    }

    /// Jobs that waited were cancelled by us.
    pub fn cancelled(&self, jobs: impl IntoIterator<Item = JobId>) {
        let cancelled = jobs.into_iter().map(|job| (job, Cause::Cancelled));
        self.lock().extend(cancelled);
    }

    /// We have asked Slurm to end these jobs.
    pub fn ended_by_us(&self, jobs: &[JobId]) {
        self.ours().extend(jobs);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Cause>> {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ours(&self) -> MutexGuard<'_, HashSet<JobId>> {
        let ours = self.ended_by_us.lock();
        ours.unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a person may expect of a job that is missing.
fn verdict_follows() -> String {
    let seconds = PATIENCE.as_secs();
    format!(
        "it counts as lost or cancelled if nothing else is known {seconds} s after it was missed"
    )
}

fn cancelled(how: &str) -> ClusterState {
    ClusterState::Ended(ClusterEnd {
        cause: EndCause::Cancelled,
        at: None,
        text: format!("cancelled {how}"),
    })
}

/// A job by its id, with its name if it is one of ours; `None` for a text that is not an id of Slurm's.
type Asked = Option<(JobId, Option<String>)>;

impl Cluster {
    /// All our jobs that the controller knows.
    pub(super) async fn queue(&self) -> Result<Vec<Row>, Error> {
        let client = self.client();
        let answer = client
            .ask(client.command("squeue").arguments(squeue::ARGUMENTS))
            .await?;
        self.pace.asked();
        let rows = squeue::parse(&answer.stdout);
        let said = answer.stdout.trim();
        if !rows.is_empty() || said.is_empty() {
            return Ok(rows);
        }
        // A site may print something before a table without rows. The heading shows that there is one.
        let headed = client.command("squeue").arguments(squeue::with_heading());
        let headed = client.ask(headed).await?;
        if squeue::has_heading(&headed.stdout) {
            return Ok(squeue::parse(&headed.stdout));
        }
        Err(Error::Misunderstood {
            scheduler: self.to_string(),
            answer: said.chars().take(500).collect(),
        })
    }

    /// The rows of accounting about jobs and the runs of each, the newest last.
    pub(super) async fn accounts(&self, bases: &BTreeSet<u32>) -> Result<Vec<Row>, Error> {
        let client = self.client();
        let bases: Vec<String> = bases.iter().map(u32::to_string).collect();
        let mut rows = Vec::new();
        for some in bases.chunks(IDS_AT_ONCE) {
            let command = client.command("sacct").arguments(sacct::ARGUMENTS);
            let command = command.argument("--jobs").argument(some.join(","));
            rows.extend(sacct::parse(&client.ask(command).await?.stdout));
        }
        if let Some(user) = self.settings.get().config.site_user() {
            for row in &mut rows {
                state::name_site_user(row, &user);
            }
        }
        Ok(rows)
    }

    pub(super) async fn observe_all(
        &self,
        jobs: &[ClusterJobId],
    ) -> Result<Vec<Observation>, Error> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let queue = self.queue().await?;
        self.observe_in(&queue, jobs).await
    }

    /// The state of `jobs`, where `queue` is the newest answer of the controller.
    pub(super) async fn observe_in(
        &self,
        queue: &[Row],
        jobs: &[ClusterJobId],
    ) -> Result<Vec<Observation>, Error> {
        let asked = self.journal.with(|journal| {
            let asked = jobs.iter().map(|id| {
                let job = JobId::parse(id)?;
                let call = journal.known().call_of(job);
                Some((job, call.map(|call| call.job_name.clone())))
            });
            Ok(asked.collect::<Vec<Asked>>())
        })?;
        let index = row::Index::new(queue);
        let in_queue: Vec<Option<&Row>> = asked
            .iter()
            .map(|asked| {
                let (job, name) = asked.as_ref()?;
                index.row(*job, name.as_deref())
            })
            .collect();
        let ours = asked.iter().zip(&in_queue).filter_map(|(asked, row)| {
            let (job, name) = asked.as_ref()?;
            name.as_ref().and((*row).map(|row| (*job, row)))
        });
        let held = self.held_for_good(ours);
        let cancelled_held = self.end_held(&held).await;
        let left_behind: HashSet<JobId> = asked
            .iter()
            .zip(&in_queue)
            .filter_map(|(asked, row)| asked.as_ref().map(|(job, _)| (*job, *row)))
            .filter(|(job, row)| self.is_left_behind(*job, *row))
            .map(|(job, _)| job)
            .collect();
        let is_open = |(asked, row): &(&Asked, &Option<&Row>)| match (asked, row) {
            (_, None) => true,
            (Some((job, _)), Some(row)) => {
                left_behind.contains(job) || self.is_cancelled_by_someone(*job, row)
            }
            (None, Some(_)) => false,
        };
        let missing: BTreeSet<u32> = asked
            .iter()
            .zip(&in_queue)
            .filter(is_open)
            .filter_map(|(asked, _)| asked.as_ref().map(|(job, _)| job.base))
            .collect();
        let accounts = if !missing.is_empty() && self.settings.get().config.has_accounting() {
            Some(self.accounts(&missing).await)
        } else {
            None
        };
        let known_ends = match &accounts {
            Some(Ok(rows)) => row::Index::new(rows),
            _ => row::Index::new(&[]),
        };
        let observations = jobs.iter().zip(asked).zip(in_queue);
        let observation = |((id, asked), in_queue): ((_, Asked), Option<&Row>)| {
            let Some((job, name)) = asked else {
                return observation(id, ClusterState::Gone, None);
            };
            let known_end = known_ends.row(job, name.as_deref());
            if let (Some(reason), Err(error)) = (held.get(&job), &cancelled_held) {
                let reason = format!("{reason}; it could not be cancelled: {error}");
                return observation(id, ClusterState::Held { reason }, in_queue);
            }
            if let Some(state) = self.end_by_hold(job) {
                return observation(id, state, in_queue);
            }
            if let Some(row) = in_queue.filter(|_| left_behind.contains(&job)) {
                let known = known_end.map(|known| self.state(job, known));
                let ended = known.filter(|state| matches!(state, ClusterState::Ended(_)));
                let is_ours = self.missing.ours().contains(&job);
                let state = ended.unwrap_or_else(|| self.end_of_left_behind(row, is_ours));
                return observation(id, state, Some(row));
            }
            if let Some(row) = in_queue {
                let is_open = accounts.is_some() && self.is_cancelled_by_someone(job, row);
                let state = match is_open {
                    true => self.cancelled_by(job, row, known_end),
                    false => {
                        self.missing.found(job);
                        self.state(job, row)
                    }
                };
                return observation(id, state, Some(row));
            }
            let row = known_end;
            let ended = row.map(|row| self.state(job, row));
            let state = match (ended, &accounts) {
                (Some(state @ ClusterState::Ended(_)), _) => {
                    self.missing.found(job);
                    state
                }
                // Its number is another's.
                (None, None) if index.lists(job) => ClusterState::Gone,
                (_, None) => self.missed(job),
                (None, Some(Ok(_))) if name.is_none() => self.missed(job),
                (ended, Some(Ok(_))) => {
                    let accounting = match ended {
                        Some(_) => row.map_or("", |row| row.state.as_str()),
                        None => "nothing",
                    };
                    let why = format!(
                        "not in the queue, and accounting says {accounting} of it; {}",
                        verdict_follows()
                    );
                    // Had it ever started, accounting would have a row of its own.
                    let name = name.as_deref().filter(|_| ended.is_none());
                    let never_started = name.is_some_and(|it| known_ends.knows_array(job, it))
                        && !self.may_have_started(job);
                    self.missing.state(job, why, PATIENCE, never_started)
                }
                (_, Some(Err(error))) => {
                    let error = in_one_line(&error);
                    let why = format!(
                        "not in the queue, and accounting is silent: {error}; {}",
                        verdict_follows()
                    );
                    self.missing.state(job, why, PATIENCE, false)
                }
            };
            observation(id, state, row)
        };
        Ok(observations.map(observation).collect())
    }

    /// The state of a job that the queue lacks and of which nobody else knows. It is looked for again soon.
    fn missed(&self, job: JobId) -> ClusterState {
        let why = "not in this answer of the queue; it counts as lost if the next ones lack it too";
        let state = self.missing.state(job, why.into(), SECOND_LOOK, false);
        if matches!(state, ClusterState::Unknown { .. }) {
            self.pace.something_is_expected();
        }
        state
    }

    /// Whether a row of the queue reports a cancellation without its author, who is not us. Only
    /// accounting knows the author, and root does not act for the user.
    fn is_cancelled_by_someone(&self, job: JobId, row: &Row) -> bool {
        row.state == "CANCELLED" && !self.missing.ours().contains(&job)
    }

    /// The state of a job that was cancelled, by whom accounting reports in `known_end`. It is waited for,
    /// but not for ever.
    fn cancelled_by(&self, job: JobId, row: &Row, known_end: Option<&Row>) -> ClusterState {
        if let Some(known) = known_end.filter(|known| known.state.starts_with("CANCELLED")) {
            self.missing.found(job);
            return self.state(job, known);
        }
        let why = "it was cancelled, and accounting does not say yet by whom".to_owned();
        match self.missing.state(job, why, PATIENCE, false) {
            ClusterState::Gone => self.state(job, row),
            state => state,
        }
    }

    /// The cause of a cancellation whose row does not show it: it was ours, or a node could not start the job.
    fn cause_of_cancel(&self, job: JobId, row: &Row) -> Option<EndCause> {
        if self.missing.ours().contains(&job) {
            return Some(EndCause::Cancelled);
        }
        let not_started = state::may_be_a_failed_start(row) && !self.may_have_started(job);
        not_started.then_some(EndCause::NotStarted)
    }

    /// Whether Slurm made the file for the output of a job, as it does when it starts it. Returns true for a job whose
    /// call is not in the journal.
    fn may_have_started(&self, job: JobId) -> bool {
        let files = self.files_of(job, "out", "stdout");
        files.is_none_or(|files| files.iter().any(|file| file.exists()))
    }

    /// The places for an output of a job: beside the script of an array or of a job that is put back, else in
    /// the directory of its submission, which has the script, too.
    fn files_of(&self, job: JobId, beside_script: &str, alone: &str) -> Option<[PathBuf; 2]> {
        let files = self.journal.with(|journal| {
            let script = journal.known().call_of(job).map(|call| &call.script);
            Ok(script.map(|script| {
                [
                    beside(script, job.task, beside_script),
                    script.with_file_name(alone),
                ]
            }))
        });
        files.ok().flatten()
    }

    /// The state that a row reports, with our own knowledge.
    fn state(&self, job: JobId, row: &Row) -> ClusterState {
        let state = state::of(row);
        if matches!(state, ClusterState::Queued { .. }) && self.is_put_back(job, row) {
            return state::put_back(row);
        }
        let ClusterState::Ended(end) = &state else {
            return state::with_release(state, job);
        };
        if row.state.starts_with("CANCELLED")
            && let Some(cause) = self.cause_of_cancel(job, row)
        {
            return ClusterState::Ended(ClusterEnd {
                cause,
                ..end.clone()
            });
        }
        // So ends srun in front of a command that is killed for its memory.
        let of_srun =
            matches!(end.cause, EndCause::Exited(1 | 137)) && !self.options.wrapper.is_empty();
        if end.cause != EndCause::Signaled(9) && !of_srun {
            return state;
        }
        let killed = self.journal.with(|journal| Ok(journal.known().killed(job)));
        match killed {
            // Slurm does not know that the signal which it passed on was a cancel.
            Ok(Some(at)) if end.at.is_none_or(|end| end >= at) => ClusterState::Ended(ClusterEnd {
                cause: EndCause::Cancelled,
                at: end.at,
                text: format!("{}, killed by us", end.text),
            }),
            _ if self.exceeded_memory(job) => ClusterState::Ended(ClusterEnd {
                cause: EndCause::OutOfMemory,
                at: end.at,
                text: format!("{}, for its memory", end.text),
            }),
            _ => state,
        }
    }

    /// Whether Slurm has put a job back by itself since its newest submission. Then the next attempt goes
    /// on with it.
    fn is_put_back(&self, job: JobId, row: &Row) -> bool {
        let known = self.journal.with(|journal| {
            let known = journal.known();
            Ok(known.call_of(job).map(|_| known.restarts(job)))
        });
        let known = known.ok().flatten();
        self.options.resume == Resume::Requeue
            && known.is_some_and(|known| row.restarts.is_some_and(|now| now > known))
    }

    /// Whether Slurm wrote to the standard error of a job that it was over its memory. In the state it
    /// says so only where cgroups enforce the limit, and only of the batch step.
    fn exceeded_memory(&self, job: JobId) -> bool {
        let mut files = self.files_of(job, "err", "stderr").into_iter().flatten();
        let Some(file) = files.find(|file| file.exists()) else {
            return false;
        };
        let said = last_lines(&file, LAST_LINES, LAST_BYTES).unwrap_or_default();
        said.iter().any(|line| {
            let is_of_slurm = line.starts_with("slurmstepd") || line.starts_with("srun: ");
            is_of_slurm && OVER_MEMORY.iter().any(|words| line.contains(words))
        })
    }
}

fn observation(id: &ClusterJobId, state: ClusterState, row: Option<&Row>) -> Observation {
    Observation {
        job: id.clone(),
        name: None,
        state,
        host: row.and_then(|row| row.host.clone()),
        restarts: row.and_then(|row| row.restarts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_that_nobody_knows_is_gone_in_the_end() {
        let missing = Missing::default();
        let job = JobId {
            base: 7,
            task: None,
            before: 0,
        };
        let state = || missing.state(job, "why".into(), PATIENCE, false);
        let unknown = ClusterState::Unknown {
            reason: "why".into(),
        };
        assert_eq!(state(), unknown);
        tokio::time::advance(PATIENCE - Duration::from_millis(1)).await;
        assert_eq!(state(), unknown);
        // It was only late: all begins anew.
        missing.found(job);
        assert_eq!(state(), unknown);
        tokio::time::advance(PATIENCE).await;
        assert_eq!(state(), ClusterState::Gone);
    }
}
