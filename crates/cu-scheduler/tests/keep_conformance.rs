//! The conformance suite with allocations of this machine that submissions share, also behind a wrapper that
//! loses, repeats and delays the answers about allocations.
#![cfg(all(feature = "local", feature = "keep", feature = "conformance"))]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cu_scheduler::conformance::Testbed;
use cu_scheduler::keep::{Keeping, Kept};
use cu_scheduler::local::{Local, LocalOptions};
use cu_scheduler::{
    Cancel, Capabilities, ClusterJobId, Error, Examine, Faults, Faulty, Finding, Found,
    Observation, Scheduler, Submission, SubmissionName, SubmitError,
};
use tempfile::TempDir;

struct Shared {
    directory: TempDir,
}

impl Shared {
    fn local(&self) -> Local {
        let mut options = LocalOptions::new(self.directory.path().join("state"));
        options.cpus = Some(self.slots());
        options.grace = Duration::from_millis(200);
        Local::open(options).expect("the state directory opens")
    }

    fn kept(&self, inner: Arc<dyn Examine>) -> Arc<dyn Scheduler> {
        let keeping = Keeping {
            directory: self.directory.path().join("keep"),
            keep: Some(Duration::from_secs(600)),
            host: vec![env!("CARGO_BIN_EXE_cu-scheduler-keep-host").to_owned()],
        };
        Arc::new(Kept::new(inner, keeping).expect("a thread starts"))
    }
}

#[async_trait]
impl Testbed for Shared {
    async fn fresh() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        Self { directory }
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        self.kept(Arc::new(self.local()))
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    async fn stranger(&self, _command: &[String]) -> Option<ClusterJobId> {
        None // Their ids are names.
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

mod plain {
    cu_scheduler::conformance_tests!(super::Shared);
}

/// Allocations behind a wrapper that loses, repeats and delays answers.
struct BehindABadLine(Shared);

#[derive(Debug)]
struct Unexamined(Faulty);

impl std::fmt::Display for Unexamined {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}

#[async_trait]
impl Scheduler for Unexamined {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        self.0.submit(batch).await
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error> {
        self.0.observe(jobs).await
    }

    async fn changed(&self) {
        self.0.changed().await;
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error> {
        self.0.find(names).await
    }

    async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        self.0.cancel(jobs, how).await
    }
}

#[async_trait]
impl Examine for Unexamined {
    async fn examine(&self) -> Vec<Finding> {
        Vec::new()
    }
}

#[async_trait]
impl Testbed for BehindABadLine {
    async fn fresh() -> Self {
        Self(Shared::fresh().await)
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        let local = Arc::new(self.0.local());
        self.0.kept(Arc::new(Unexamined(Faulty::new(
            local,
            Faults::all(0.2),
            4711,
        ))))
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
}

mod faulty {
    cu_scheduler::conformance_tests!(super::BehindABadLine);
}
