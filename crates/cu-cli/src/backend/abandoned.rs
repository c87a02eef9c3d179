//! Attempts that were given up with `cu resume --abandon-attempts`, since the cluster or access point that has
//! them is gone for good. A file in the run directory lists them until each has ended as lost.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cu_core::{JobState, Reader, RunDir};
use cu_protocol::{Attempt, JobId};
use cu_scheduler::{
    Cancel, Capabilities, ClusterEnd, ClusterJobId, ClusterState, EndCause, Error as Outage, Found,
    Observation, Scheduler, Submission, SubmissionName, SubmitError,
};
use cu_system::files;

use super::kind::Kind;
use crate::error::{Error, Result};

/// More than the file holds, in bytes.
const LONGEST: u64 = 1 << 26;
/// How long a submission waits until the given up attempts have ended.
const SETTLING: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

/// An attempt that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GivenUp {
    job: JobId,
    attempt: Attempt,
}

/// The attempts by their cluster job ids.
type Attempts = BTreeMap<ClusterJobId, GivenUp>;

/// Gives up all attempts that are queued or running, and moves the state of the backend `before` aside, which
/// is about these alone. Returns their number.
///
/// # Errors
/// If the run can't be read, or its directory can't be written.
pub fn give_up(run: &RunDir, before: Kind) -> Result<usize> {
    let active = active(run)?;
    let line = |(id, it): (&ClusterJobId, &GivenUp)| format!("{} {} {id}\n", it.job, it.attempt);
    let text: String = active.iter().map(line).collect();
    let path = list(run);
    let written = files::write_whole(&path, text.as_bytes(), files::PRIVATE_FILE);
    written.map_err(Error::write("write", &path))?;
    let state = run.backend(before.name());
    let mut aside =
        (1..).map(|number| run.backend(&format!("{}-abandoned-{number}", before.name())));
    let aside = aside.find(|path| !path.exists());
    match aside.map(|aside| std::fs::rename(&state, aside)) {
        Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::write("move aside", &state)(error));
        }
        _ => {}
    }
    Ok(active.len())
}

/// The attempts on the list that have not ended. Without any, the list is removed.
///
/// # Errors
/// If the list or the run can't be read.
fn unsettled(run: &RunDir) -> Result<Attempts> {
    let path = list(run);
    let text = match files::read_own(&path, LONGEST) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Attempts::new()),
        Err(error) => return Err(Error::read("read", &path)(error)),
    };
    let listed: Vec<&str> = text.lines().collect();
    let mut active = active(run)?;
    active.retain(|id, it| listed.contains(&&*format!("{} {} {id}", it.job, it.attempt)));
    if active.is_empty() {
        // If that fails, the next main process removes it.
        let _ = std::fs::remove_file(&path);
    }
    Ok(active)
}

/// Whether every attempt that is queued or running was given up, and at least one.
///
/// # Errors
/// As [`unsettled`].
pub fn are_all(run: &RunDir) -> Result<bool> {
    let unsettled = unsettled(run)?;
    Ok(!unsettled.is_empty() && unsettled.len() == active(run)?.len())
}

/// The scheduler, which reports the attempts that were given up as over, whatever has their ids there.
///
/// # Errors
/// As [`unsettled`].
pub fn reported(run: &RunDir, scheduler: Arc<dyn Scheduler>) -> Result<Arc<dyn Scheduler>> {
    let attempts = unsettled(run)?;
    if attempts.is_empty() {
        return Ok(scheduler);
    }
    Ok(Arc::new(Abandoned {
        inner: scheduler,
        run: run.clone(),
        attempts: Mutex::new(attempts),
    }))
}

fn list(run: &RunDir) -> PathBuf {
    run.path().join("abandoned")
}

/// The attempts that are queued or running, as recorded.
fn active(run: &RunDir) -> Result<Attempts> {
    let reader = Reader::open(run)?;
    let mut active = Attempts::new();
    for job in reader.jobs()? {
        if !matches!(job.state, JobState::Queued | JobState::Running) {
            continue;
        }
        let attempts = reader.job(job.job)?.attempts;
        if let Some(last) = attempts.last().filter(|last| last.end.is_none())
            && let Some(id) = &last.cluster_job_id
        {
            let (job, attempt) = (job.job, last.attempt);
            active.insert(ClusterJobId(id.clone()), GivenUp { job, attempt });
        }
    }
    Ok(active)
}

/// A scheduler that was asked for attempts of another one, which is gone.
#[derive(Debug)]
struct Abandoned {
    inner: Arc<dyn Scheduler>,
    run: RunDir,
    attempts: Mutex<Attempts>,
}

impl Abandoned {
    fn is_given_up(&self, id: &ClusterJobId) -> bool {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.contains_key(id)
    }

    /// The ids are of new jobs now.
    fn forget<'a>(&self, ids: impl Iterator<Item = &'a ClusterJobId>) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        ids.for_each(|id| {
            attempts.remove(id);
        });
    }

    /// Waits until the attempts have ended: the next job here may get one of their ids.
    async fn settled(&self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < SETTLING {
            if unsettled(&self.run).is_ok_and(|attempts| attempts.is_empty()) {
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
        false
    }
}

impl fmt::Display for Abandoned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(out)
    }
}

#[async_trait]
impl Scheduler for Abandoned {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        if !self.settled().await {
            let wait = |submission: &Submission| {
                Err(SubmitError::Unavailable {
                    name: submission.name.clone(),
                    reason: "the attempts that were given up have not ended yet".to_owned(),
                    retry_after: None,
                })
            };
            return batch.iter().map(wait).collect();
        }
        let answers = self.inner.submit(batch).await;
        self.forget(answers.iter().filter_map(|answer| answer.as_ref().ok()));
        answers
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Outage> {
        let here: Vec<ClusterJobId> = jobs
            .iter()
            .filter(|id| !self.is_given_up(id))
            .cloned()
            .collect();
        let mut here = self.inner.observe(&here).await?.into_iter().peekable();
        let one = |id: &ClusterJobId| {
            here.next_if(|it| it.job == *id).unwrap_or_else(|| {
                let end = ClusterEnd {
                    cause: EndCause::Unknown,
                    at: None,
                    text: "given up with --abandon-attempts".to_owned(),
                };
                Observation::new(id.clone(), ClusterState::Ended(end))
            })
        };
        Ok(jobs.iter().map(one).collect())
    }

    async fn changed(&self) {
        self.inner.changed().await;
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Outage> {
        self.inner.find(names).await
    }

    async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Outage> {
        let here: Vec<ClusterJobId> = jobs
            .iter()
            .filter(|id| !self.is_given_up(id))
            .cloned()
            .collect();
        self.inner.cancel(&here, how).await
    }
}
