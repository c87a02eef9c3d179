//! The conformance suite on four versions of Slurm, in both ways of resuming, and with shared allocations.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cu_cluster_tests::Suite;
use cu_scheduler::conformance::Testbed;
use cu_scheduler::slurm::Resume;
use cu_scheduler::{ClusterJobId, Scheduler};

use crate::keeping::kept;
use crate::slurm::{self, Bed};

/// A version, and a way of resuming.
trait Kind: Send + Sync + 'static {
    const SUITE: Suite;
    const RESUME: Resume;
}

struct Lane<K> {
    bed: Bed<'static>,
    kind: PhantomData<K>,
}

#[async_trait]
impl<K: Kind> Testbed for Lane<K> {
    async fn fresh() -> Self {
        Self {
            bed: Bed::new(slurm::cluster(K::SUITE)),
            kind: PhantomData,
        }
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        Arc::new(self.bed.open(K::RESUME).await)
    }

    fn directory(&self) -> &Path {
        self.bed.directory()
    }

    async fn stranger(&self, command: &[String]) -> Option<ClusterJobId> {
        Some(self.bed.stranger(command))
    }

    fn patience(&self) -> Duration {
        // A time limit of a minute is noticed up to 30 s late.
        Duration::from_secs(240)
    }

    fn slots(&self) -> u32 {
        self.bed.lane.slots()
    }

    fn shortest_time_limit(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn runtime() -> tokio::runtime::Runtime {
        slurm::runtime(slurm::cluster(K::SUITE))
    }
}

/// Submissions that share allocations.
struct Sharing<K>(Lane<K>);

#[async_trait]
impl<K: Kind> Testbed for Sharing<K> {
    async fn fresh() -> Self {
        Self(Lane::fresh().await)
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        kept(self.0.bed.open(K::RESUME).await, self.directory())
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
        Lane::<K>::runtime()
    }
}

macro_rules! suite {
    ($module:ident, $suite:ident, $resume:ident) => {
        suite!($module, $suite, $resume, Lane);
    };
    ($module:ident, $suite:ident, $resume:ident, $bed:ident) => {
        mod $module {
            struct This;

            impl super::Kind for This {
                const SUITE: super::Suite = super::Suite::$suite;
                const RESUME: super::Resume = super::Resume::$resume;
            }

            cu_scheduler::conformance_tests!(super::$bed<This>);
        }
    };
}

suite!(slurm_20_11, Bullseye, Submit);
suite!(slurm_22_05, Bookworm, Submit);
suite!(slurm_24_11, Trixie, Submit);
suite!(slurm_26_05, Forky, Submit);
suite!(slurm_20_11_requeue, Bullseye, Requeue);
suite!(slurm_22_05_requeue, Bookworm, Requeue);
suite!(slurm_24_11_requeue, Trixie, Requeue);
suite!(slurm_26_05_requeue, Forky, Requeue);
suite!(slurm_24_11_sharing, Trixie, Submit, Sharing);
