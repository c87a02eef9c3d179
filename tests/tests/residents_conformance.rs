//! The conformance suite on this machine with supervisors that serve one command after another. Each has served before.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cu_scheduler::conformance::Testbed;
use cu_scheduler::local::{Local, LocalOptions, Preloaded};
use cu_scheduler::{ClusterJobId, ClusterState, Resources, Scheduler, Submission, SubmissionName};
use cu_tests::wait::BOUND;
use tempfile::TempDir;

struct Residents {
    directory: TempDir,
    have_served: AtomicBool,
}

impl Residents {
    /// A command that ends once as many as there are slots run at once.
    fn first_order(&self, number: u32) -> Submission {
        let directory = self.directory.path().join(format!("first-{number}"));
        std::fs::create_dir(&directory).expect("a new directory");
        let script = format!(
            "while [ -d ../first-0 ] && [ \"$(ls ../first-*/here | wc -l)\" -lt {} ]; do sleep 0.02; done",
            self.slots()
        );
        let script = format!(": > here; {script}");
        Submission {
            name: SubmissionName::new("first", 0, number).expect("plain letters"),
            command: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(),
            environment: Default::default(),
            working_directory: directory.clone(),
            directory,
            resources: Resources::default(),
            previous: None,
            avoid_hosts: Vec::new(),
        }
    }

    /// Has each of those that may run at once serve an order.
    async fn serve(&self, local: &Local) {
        let orders: Vec<_> = (0..self.slots())
            .map(|number| self.first_order(number))
            .collect();
        let ids = local.submit(&orders).await.into_iter();
        let ids: Vec<_> = ids.map(|id| id.expect("it is taken")).collect();
        let over = async {
            loop {
                let seen = local.observe(&ids).await.expect("it answers").into_iter();
                if seen
                    .map(|it| it.state)
                    .all(|it| matches!(it, ClusterState::Ended(_)))
                {
                    return;
                }
                local.changed().await;
            }
        };
        tokio::time::timeout(BOUND, over).await.expect("they end");
    }
}

#[async_trait]
impl Testbed for Residents {
    async fn fresh() -> Self {
        Self {
            directory: TempDir::new().expect("a temporary directory"),
            have_served: AtomicBool::new(false),
        }
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        let mut options = LocalOptions::new(self.directory.path().join("state"));
        options.cpus = Some(self.slots());
        options.grace = Duration::from_millis(200);
        options.preloaded = Some(Preloaded {
            prefix: Vec::new(),
            server: vec![env!("CARGO_BIN_EXE_resident").to_owned()],
            // So that every command is an order of a copy.
            patience: BOUND,
        });
        let local = Local::open(options).expect("the state directory opens");
        // Opened again, its slots may be taken by what ran before.
        if !self.have_served.swap(true, Ordering::Relaxed) {
            self.serve(&local).await;
        }
        Arc::new(local)
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    async fn stranger(&self, _command: &[String]) -> Option<ClusterJobId> {
        None // Its ids are its own.
    }

    fn patience(&self) -> Duration {
        BOUND
    }

    fn slots(&self) -> u32 {
        3
    }

    fn shortest_time_limit(&self) -> Duration {
        Duration::from_secs(4)
    }
}

cu_scheduler::conformance_tests!(Residents);
