//! A backend from outside of this crate, on a batch system of a few files, and the conformance suite on
//! it. It was written from "How to add a backend" in ARCHITECTURE.md and nothing else.
#![cfg(all(feature = "cluster", feature = "conformance"))]
#![allow(clippy::unwrap_used)]

mod backend;
mod keeper;
mod queue;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cu_scheduler::conformance::Testbed;
use cu_scheduler::{ClusterJobId, Examine, Level, Scheduler, Subject};
use tempfile::TempDir;

use backend::{Spool, SpoolOptions};
use keeper::Keeper;

/// A spool with a keeper that starts what lies in it.
struct Cluster {
    /// Dropped first: it ends what still runs.
    _keeper: Keeper,
    directory: TempDir,
}

impl Cluster {
    fn new(slots: u32) -> Self {
        let directory = TempDir::new().unwrap();
        let spool = directory.path().join("spool");
        Self {
            _keeper: Keeper::start(&spool, slots),
            directory,
        }
    }

    fn options(&self) -> SpoolOptions {
        SpoolOptions::new(self.directory.path().join("spool"))
    }
}

#[async_trait]
impl Testbed for Cluster {
    async fn fresh() -> Self {
        Self::new(3)
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        Arc::new(Spool::open(self.options()).unwrap())
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    async fn stranger(&self, _command: &[String]) -> Option<ClusterJobId> {
        None // A number is never given again.
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn slots(&self) -> u32 {
        3
    }

    fn shortest_time_limit(&self) -> Duration {
        Duration::from_secs(4)
    }
}

mod conformance {
    cu_scheduler::conformance_tests!(super::Cluster);
}

#[tokio::test]
async fn a_spool_without_a_keeper_is_a_problem() {
    let cluster = Cluster::new(1);
    let spool = Spool::open(cluster.options()).unwrap();
    let of = |findings: Vec<cu_scheduler::Finding>| (findings[0].subject, findings[0].level);
    assert_eq!(of(spool.examine().await), (Subject::Scheduler, Level::Good));
    std::fs::remove_dir_all(cluster.directory.path().join("spool/jobs")).unwrap();
    let gone = of(spool.examine().await);
    assert_eq!(gone, (Subject::Scheduler, Level::Problem));
    spool.find(&[]).await.unwrap_err();
}
