//! The conformance suite on a real HTCondor pool, in each of the three ways of resuming, and with shared cluster
//! jobs.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cu_scheduler::conformance::Testbed;
use cu_scheduler::htcondor::Resume;
use cu_scheduler::{ClusterJobId, Scheduler};

use crate::htcondor::{self, Bed};
use crate::keeping::kept;

/// One of the ways of resuming.
trait Way: Send + Sync + 'static {
    const RESUME: Resume;
}

struct Pool<W> {
    bed: Bed,
    way: PhantomData<W>,
}

#[async_trait]
impl<W: Way> Testbed for Pool<W> {
    async fn fresh() -> Self {
        Self {
            bed: Bed::new(),
            way: PhantomData,
        }
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        Arc::new(self.bed.open(W::RESUME).await)
    }

    fn directory(&self) -> &Path {
        self.bed.directory()
    }

    async fn stranger(&self, command: &[String]) -> Option<ClusterJobId> {
        Some(self.bed.stranger(command))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(240)
    }

    fn slots(&self) -> u32 {
        self.bed.lane.slots()
    }

    fn shortest_time_limit(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn runtime() -> tokio::runtime::Runtime {
        htcondor::runtime()
    }
}

struct NewSubmission;

impl Way for NewSubmission {
    const RESUME: Resume = Resume::Submit;
}

struct SameJob;

impl Way for SameJob {
    const RESUME: Resume = Resume::Requeue;
}

struct SameSlot;

impl Way for SameSlot {
    const RESUME: Resume = Resume::Checkpoint {
        max_restarts: None,
        wait: Duration::from_secs(60),
    };
}

/// Submissions that share cluster jobs.
struct Sharing(Pool<NewSubmission>);

#[async_trait]
impl Testbed for Sharing {
    async fn fresh() -> Self {
        Self(Pool::fresh().await)
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        kept(self.0.bed.open(Resume::Submit).await, self.directory())
    }

    fn directory(&self) -> &Path {
        self.0.directory()
    }

    async fn stranger(&self, command: &[String]) -> Option<ClusterJobId> {
        self.0.stranger(command).await
    }

    fn patience(&self) -> Duration {
        self.0.patience()
    }

    fn slots(&self) -> u32 {
        self.0.slots()
    }

    fn shortest_time_limit(&self) -> Duration {
        self.0.shortest_time_limit()
    }

    fn runtime() -> tokio::runtime::Runtime {
        htcondor::runtime()
    }
}

mod sharing {
    cu_scheduler::conformance_tests!(super::Sharing);
}

mod submit {
    cu_scheduler::conformance_tests!(super::Pool<super::NewSubmission>);
}

mod requeue {
    cu_scheduler::conformance_tests!(super::Pool<super::SameJob>);
}

mod checkpoint {
    cu_scheduler::conformance_tests!(super::Pool<super::SameSlot>);
}
