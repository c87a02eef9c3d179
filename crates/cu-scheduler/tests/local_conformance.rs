//! The conformance suite on this machine.
#![cfg(all(feature = "local", feature = "conformance"))]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cu_scheduler::conformance::Testbed;
use cu_scheduler::local::{Local, LocalOptions, Preloaded};
use cu_scheduler::{ClusterJobId, Faults, Faulty, Scheduler};
use tempfile::TempDir;

struct ThisMachine {
    directory: TempDir,
}

impl ThisMachine {
    fn options(&self) -> LocalOptions {
        let mut options = LocalOptions::new(self.directory.path().join("state"));
        options.cpus = Some(self.slots());
        options.grace = Duration::from_millis(200);
        options
    }
}

#[async_trait]
impl Testbed for ThisMachine {
    async fn fresh() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        Self { directory }
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        Arc::new(Local::open(self.options()).expect("the state directory opens"))
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    async fn stranger(&self, _command: &[String]) -> Option<ClusterJobId> {
        None // Its ids are its own.
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
    cu_scheduler::conformance_tests!(super::ThisMachine);
}

/// This machine with attempts that are copies of a program that is loaded already.
struct Warm(ThisMachine);

#[async_trait]
impl Testbed for Warm {
    async fn fresh() -> Self {
        Self(ThisMachine::fresh().await)
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        let mut options = self.0.options();
        let server = env!("CARGO_BIN_EXE_cu-scheduler-fork-server").to_owned();
        options.preloaded = Some(Preloaded {
            prefix: Vec::new(),
            server: vec![server],
            // So that every attempt is a copy.
            patience: Duration::from_secs(60),
        });
        Arc::new(Local::open(options).expect("the state directory opens"))
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

mod warm {
    cu_scheduler::conformance_tests!(super::Warm);
}

/// This machine behind a wrapper that loses, repeats and delays answers.
struct BehindABadLine(ThisMachine);

#[async_trait]
impl Testbed for BehindABadLine {
    async fn fresh() -> Self {
        Self(ThisMachine::fresh().await)
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        Arc::new(Faulty::new(self.0.open().await, Faults::all(0.2), 4711))
    }

    fn directory(&self) -> &Path {
        self.0.directory()
    }

    async fn stranger(&self, _command: &[String]) -> Option<ClusterJobId> {
        None // Its ids are its own.
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
