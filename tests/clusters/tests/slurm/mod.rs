//! What the tests of the Slurm backend share: a lane of a cluster, a folder, and the backend on them.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use cu_cluster_tests::instance::WorkFolder;
use cu_cluster_tests::{SlurmCluster, SlurmLane, Suite};
use cu_scheduler::slurm::{Resume, Slurm, SlurmOptions};

/// The cluster that all tests share.
pub fn cluster(suite: Suite) -> &'static SlurmCluster {
    static CLUSTERS: [LazyLock<SlurmCluster>; 4] = [
        LazyLock::new(|| SlurmCluster::up(Suite::Bullseye)),
        LazyLock::new(|| SlurmCluster::up(Suite::Bookworm)),
        LazyLock::new(|| SlurmCluster::up(Suite::Trixie)),
        LazyLock::new(|| SlurmCluster::up(Suite::Forky)),
    ];
    &CLUSTERS[suite as usize]
}

/// A lane, and a folder that jobs see.
pub struct Bed<'cluster> {
    pub cluster: &'cluster SlurmCluster,
    pub lane: SlurmLane<'cluster>,
    folder: WorkFolder,
}

impl<'cluster> Bed<'cluster> {
    pub fn new(cluster: &'cluster SlurmCluster) -> Self {
        Self {
            cluster,
            lane: cluster.lane(),
            folder: cluster.work_folder(),
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// For jobs in the lane.
    pub fn options(&self, resume: Resume) -> SlurmOptions {
        let mut options = SlurmOptions::new(self.folder().join("state"));
        options.label = "conformance \"ä\", $(x) %j \\".into();
        options.partition = Some(self.lane.partition().to_owned());
        options.resume = resume;
        options.poll = Some(Duration::from_secs(1));
        options.commands = Some(self.cluster.commands());
        options
    }

    pub async fn open(&self, resume: Resume) -> Slurm {
        let opened = Slurm::open(self.options(resume)).await;
        opened.expect("the controller answers")
    }
}

/// A runtime on which everything is done as the user of the clusters. The thread, which is that of
/// the test alone, stays the user's.
pub fn runtime(cluster: &SlurmCluster) -> tokio::runtime::Runtime {
    std::mem::forget(cluster.become_user());
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system has a thread's resources left")
}
