//! A cluster in memory for main processes that are measured: it takes any number of attempts at once, and
//! needs no more memory than those that have not ended.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cu_protocol::{ExitRecord, Noticed, OutputChange, ProgramEnd};
use cu_scheduler::{
    Cancel, Capabilities, ClusterEnd, ClusterJobId, ClusterState, EndCause, Error, ExitCodes,
    Found, Observation, Reach, Scheduler, Submission, SubmissionName, SubmitError, TimeLimits,
};
use tokio::sync::Notify;

/// How often a cluster is worth a look, if nothing is said of a change.
const INTERVAL: Duration = Duration::from_secs(5);

/// The behaviour of an attempt on this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempts {
    /// It runs, and says nothing.
    Run,
    /// It asks to be resumed, by its exit code and exit record, until it has this number; then it is done.
    ResumeUntil(u32),
}

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    attempts: Attempts,
    /// The attempts that run, or whose end nobody has asked for.
    jobs: Mutex<BTreeMap<String, Option<i32>>>,
    changed: Arc<Notify>,
}

impl Cluster {
    /// An empty one.
    #[must_use]
    pub fn new(attempts: Attempts) -> Self {
        Self {
            attempts,
            jobs: Mutex::default(),
            changed: Arc::default(),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<String, Option<i32>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The exit code of an attempt that has ended, with the files that its supervisor leaves.
    fn run(&self, submission: &Submission) -> Option<i32> {
        let Attempts::ResumeUntil(last) = self.attempts else {
            return None;
        };
        let code = if submission.name.attempt() < last {
            3
        } else {
            0
        };
        let record = ExitRecord {
            end: ProgramEnd::Exited(code),
            stop: None,
            host: "n1".to_owned(),
            started: None,
            ended: std::time::SystemTime::now().into(),
            peak_memory_bytes: None,
            checkpoint: None,
            output_changed: OutputChange::Changed,
            condition: None,
            noticed: Noticed::default(),
        };
        // Without them the attempt counts as one that never began, which the benchmark shows.
        let _ = std::fs::write(submission.directory.join("started.json"), "{}");
        let _ = cu_run_dir::write_exit_record(&submission.directory.join("exit.json"), &record);
        Some(code)
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a cluster in memory")
    }
}

#[async_trait]
impl Scheduler for Cluster {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(1000, TimeLimits::Exact, ExitCodes::Kept, Reach::ThisMachine)
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        let mut answers = Vec::with_capacity(batch.len());
        let mut has_ended = false;
        for submission in batch {
            let end = self.run(submission);
            has_ended |= end.is_some();
            let id = submission.name.to_string();
            self.jobs().insert(id.clone(), end);
            answers.push(Ok(ClusterJobId(id)));
        }
        if has_ended {
            self.changed.notify_one();
        }
        answers
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error> {
        let mut known = self.jobs();
        let observe = |job: &ClusterJobId| {
            let state = match known.get(&job.0).copied() {
                None => ClusterState::Gone,
                Some(None) => ClusterState::Running { since: None },
                Some(Some(code)) => {
                    known.remove(&job.0);
                    ClusterState::Ended(ClusterEnd {
                        cause: EndCause::Exited(code),
                        at: None,
                        text: String::new(),
                    })
                }
            };
            Observation::new(job.clone(), state)
        };
        Ok(jobs.iter().map(observe).collect())
    }

    async fn changed(&self) {
        // Nothing is said of a change within this time.
        let _ = tokio::time::timeout(INTERVAL, self.changed.notified()).await;
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error> {
        let known = self.jobs();
        let found = names.iter().filter_map(|name| {
            let id = name.to_string();
            let end = known.get(&id)?;
            let state = match end {
                None => ClusterState::Running { since: None },
                Some(_) => ClusterState::Unknown {
                    reason: String::new(),
                },
            };
            Some(Found {
                name: name.clone(),
                observation: Observation::new(ClusterJobId(id), state),
            })
        });
        Ok(found.collect())
    }

    async fn cancel(&self, jobs: &[ClusterJobId], _: Cancel) -> Result<(), Error> {
        let mut known = self.jobs();
        for job in jobs {
            known.remove(&job.0);
        }
        Ok(())
    }
}
