//! The conformance suite on a real HTCondor pool, in each of the three ways of resuming.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use cu_cluster_tests::instance::WorkFolder;
use cu_cluster_tests::{CondorLane, CondorPool};
use cu_scheduler::conformance::Testbed;
use cu_scheduler::htcondor::{Htcondor, HtcondorOptions, Resume};
use cu_scheduler::{
    Cancel, Capabilities, ClusterJobId, Error, Found, Observation, Scheduler, Submission,
    SubmissionName, SubmitError,
};

static POOL: LazyLock<CondorPool> = LazyLock::new(CondorPool::up);

/// One of the ways of resuming.
trait Way: Send + Sync + 'static {
    const RESUME: Resume;
}

/// A lane of the pool, and a folder.
struct Pool<W> {
    lane: CondorLane<'static>,
    folder: WorkFolder,
    /// All cases call their run the same, and share a pool.
    run: String,
    way: PhantomData<W>,
}

#[async_trait]
impl<W: Way> Testbed for Pool<W> {
    async fn fresh() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = POOL.work_folder();
        let made = folder.path().file_name().expect("it has a name");
        let made = made.to_string_lossy();
        Self {
            lane: POOL.lane(),
            run: format!("{made}-{}-{number}", std::process::id()),
            folder,
            way: PhantomData,
        }
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        let mut options = HtcondorOptions::new(self.folder().join("state"));
        options.label = "conformance \"ä\" $(x) \\".into();
        options.resume = W::RESUME;
        options.grace = Duration::from_secs(2);
        options.default_memory = 128 << 20;
        options.poll = Duration::from_secs(2);
        options.extra = vec![self.lane.submit_line()];
        options.commands = Some(POOL.commands());
        let pool = Htcondor::open(options)
            .await
            .expect("the pool's commands are there");
        Arc::new(Renamed {
            pool,
            run: self.run.clone(),
        })
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(240)
    }

    fn slots(&self) -> u32 {
        self.lane.slots()
    }

    fn shortest_time_limit(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn runtime() -> tokio::runtime::Runtime {
        // The thread is the case's own, and stays the user's.
        std::mem::forget(POOL.become_user());
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the system has a thread's resources left")
    }
}

/// The backend with another name for the run.
#[derive(Debug)]
struct Renamed {
    pool: Htcondor,
    run: String,
}

impl Renamed {
    fn name(&self, name: &SubmissionName) -> SubmissionName {
        let renamed = SubmissionName::new(&*self.run, name.job(), name.attempt());
        renamed.expect("a folder's name and numbers")
    }
}

impl fmt::Display for Renamed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(out)
    }
}

#[async_trait]
impl Scheduler for Renamed {
    fn capabilities(&self) -> Capabilities {
        self.pool.capabilities()
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        let renamed = batch.iter().map(|submission| Submission {
            name: self.name(&submission.name),
            ..submission.clone()
        });
        let renamed: Vec<Submission> = renamed.collect();
        let mut answers = self.pool.submit(&renamed).await;
        for (answer, submission) in answers.iter_mut().zip(batch) {
            if let Err(
                SubmitError::Rejected { name, .. }
                | SubmitError::Unavailable { name, .. }
                | SubmitError::Uncertain { name, .. },
            ) = answer
            {
                *name = submission.name.clone();
            }
        }
        answers
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error> {
        self.pool.observe(jobs).await
    }

    async fn changed(&self) {
        self.pool.changed().await;
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error> {
        let renamed: HashMap<_, _> = names.iter().map(|name| (self.name(name), name)).collect();
        let asked: Vec<SubmissionName> = names.iter().map(|name| self.name(name)).collect();
        let mut found = self.pool.find(&asked).await?;
        for found in &mut found {
            found.name = renamed[&found.name].clone();
        }
        Ok(found)
    }

    async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        self.pool.cancel(jobs, how).await
    }
}

struct AnewEachTime;

impl Way for AnewEachTime {
    const RESUME: Resume = Resume::Submit;
}

struct SameJob;

impl Way for SameJob {
    const RESUME: Resume = Resume::Requeue;
}

struct SameSlot;

impl Way for SameSlot {
    const RESUME: Resume = Resume::Checkpoint {
        max_restarts: Some(50),
        wait: Duration::from_secs(60),
    };
}

mod submit {
    cu_scheduler::conformance_tests!(super::Pool<super::AnewEachTime>);
}

mod requeue {
    cu_scheduler::conformance_tests!(super::Pool<super::SameJob>);
}

mod checkpoint {
    cu_scheduler::conformance_tests!(super::Pool<super::SameSlot>);
}
