//! A simulated cluster as if it were far away: asked at intervals, its calls counted, its answers as
//! a test wants them.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cu_scheduler::simulated::Simulated;
use cu_scheduler::{
    Cancel, Capabilities, ClusterJobId, ClusterState, Error, ExitCodes, Found, Observation, Reach,
    Scheduler, Starts, Submission, SubmissionName, SubmitError, TimeLimits,
};

/// How many jobs there may be at a time, and when to ask again beyond that.
#[derive(Clone, Debug)]
struct Room {
    most: usize,
    retry_after: Duration,
    jobs: Vec<ClusterJobId>,
}

/// When such a cluster calls for a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// When something has changed.
    AtOnce,
    /// At intervals.
    Every(Duration),
    Never,
}

#[derive(Debug)]
pub struct Remote {
    pub inner: Simulated,
    calls: Calls,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    looks: usize,
    batches: Vec<usize>,
    limit: Option<(String, Option<Duration>)>,
    room: Option<Room>,
    answers_after: Duration,
}

impl Remote {
    pub fn new(inner: Simulated, calls: Calls) -> Self {
        let log = Mutex::default();
        Self { inner, calls, log }
    }

    /// How often it was asked what became of its jobs.
    pub fn looks(&self) -> usize {
        self.with(|log| log.looks)
    }

    /// Counts them anew.
    pub fn forget_looks(&self) {
        self.with(|log| log.looks = 0);
    }

    /// How many submissions each call handed over.
    pub fn batches(&self) -> Vec<usize> {
        self.with(|log| log.batches.clone())
    }

    /// From now on nothing can be submitted, for this reason, perhaps with the time to ask again.
    pub fn set_limit(&self, limit: Option<(&str, Option<Duration>)>) {
        let limit = limit.map(|(reason, retry_after)| (reason.to_owned(), retry_after));
        self.with(|log| log.limit = limit);
    }

    /// From now on there may be at most `most` jobs at a time.
    pub fn set_room(&self, most: usize, retry_after: Duration) {
        let jobs = Vec::new();
        let room = Room {
            most,
            retry_after,
            jobs,
        };
        self.with(|log| log.room = Some(room));
    }

    /// How many of `batch` there is room for.
    async fn room_for(&self, batch: usize) -> usize {
        let Some(room) = self.with(|log| log.room.clone()) else {
            return batch;
        };
        let seen = self.inner.observe(&room.jobs).await.expect("it answers");
        let is_over =
            |state: &ClusterState| matches!(state, ClusterState::Ended(_) | ClusterState::Gone);
        let live = seen.iter().filter(|it| !is_over(&it.state)).count();
        batch.min(room.most.saturating_sub(live))
    }

    /// So long it takes to answer a submission that it has taken.
    pub fn set_answers_after(&self, duration: Duration) {
        self.with(|log| log.answers_after = duration);
    }

    fn with<T>(&self, act: impl FnOnce(&mut Log) -> T) -> T {
        act(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, far away", self.inner)
    }
}

#[async_trait]
impl Scheduler for Remote {
    fn capabilities(&self) -> Capabilities {
        let (limits, codes) = (TimeLimits::Coarse, ExitCodes::Kept);
        let all = Capabilities::new(1000, limits, codes, Reach::OtherMachines);
        all.starting(Starts::WhenAJobEnds)
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        let (limit, answers_after) = self.with(|log| {
            log.batches.push(batch.len());
            (log.limit.clone(), log.answers_after)
        });
        let Some((reason, retry_after)) = limit else {
            let fits = self.room_for(batch.len()).await;
            let mut answer = self.inner.submit(&batch[..fits]).await;
            self.with(|log| {
                if let Some(room) = &mut log.room {
                    room.jobs.extend(answer.iter().flatten().cloned());
                    let full = |submission: &Submission| {
                        Err(SubmitError::Unavailable {
                            name: submission.name.clone(),
                            reason: "MaxSubmitJobs".to_owned(),
                            retry_after: Some(room.retry_after),
                        })
                    };
                    answer.extend(batch[fits..].iter().map(full));
                }
            });
            tokio::time::sleep(answers_after).await;
            return answer;
        };
        let refuse = |submission: &Submission| {
            Err(SubmitError::Unavailable {
                name: submission.name.clone(),
                reason: reason.clone(),
                retry_after,
            })
        };
        batch.iter().map(refuse).collect()
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error> {
        self.with(|log| log.looks += 1);
        self.inner.observe(jobs).await
    }

    async fn changed(&self) {
        match self.calls {
            Calls::AtOnce => self.inner.changed().await,
            Calls::Every(interval) => tokio::time::sleep(interval).await,
            Calls::Never => std::future::pending().await,
        }
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error> {
        self.inner.find(names).await
    }

    async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        self.inner.cancel(jobs, how).await
    }
}
