//! The conformance suite on a real HTCondor pool, in each of the three ways of resuming.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use cu_cluster_tests::instance::WorkFolder;
use cu_cluster_tests::{CondorLane, CondorPool};
use cu_scheduler::Scheduler;
use cu_scheduler::conformance::Testbed;
use cu_scheduler::htcondor::{Htcondor, HtcondorOptions, Resume};

static POOL: LazyLock<CondorPool> = LazyLock::new(CondorPool::up);

/// One of the ways of resuming.
trait Way: Send + Sync + 'static {
    const RESUME: Resume;
}

/// A lane of the pool, and a folder.
struct Pool<W> {
    lane: CondorLane<'static>,
    folder: WorkFolder,
    way: PhantomData<W>,
}

#[async_trait]
impl<W: Way> Testbed for Pool<W> {
    async fn fresh() -> Self {
        Self {
            lane: POOL.lane(),
            folder: POOL.work_folder(),
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
        Arc::new(pool)
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
