//! What the tests of the Slurm backend share: a lane of a cluster, a directory, and the backend on them.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use cu_cluster_tests::instance::WorkDirectory;
use cu_cluster_tests::{SlurmCluster, SlurmLane, Suite};
use cu_scheduler::slurm::{Resume, Slurm, SlurmOptions};
use cu_scheduler::{
    ClusterJobId, ClusterState, EndCause, Resources, Scheduler, Submission, SubmissionName,
};

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

/// A lane, and a directory that jobs see.
pub struct Bed<'cluster> {
    pub cluster: &'cluster SlurmCluster,
    pub lane: SlurmLane<'cluster>,
    directory: WorkDirectory,
}

impl<'cluster> Bed<'cluster> {
    pub fn new(cluster: &'cluster SlurmCluster) -> Self {
        Self {
            cluster,
            lane: cluster.lane(),
            directory: cluster.work_directory(),
        }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// For jobs in the lane.
    pub fn options(&self, resume: Resume) -> SlurmOptions {
        let mut options = SlurmOptions::new(self.directory().join("state"));
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

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(300);

impl Bed<'_> {
    /// A submission of job `job` that runs `script`, in which `$1` is the directory.
    pub fn submission(&self, job: u32, attempt: u32, script: &str) -> Submission {
        let directory = self.directory().join(format!("{job}-{attempt}"));
        std::fs::create_dir_all(&directory).unwrap();
        let first = self.directory().to_str().unwrap();
        let run = self.directory().file_name().unwrap().to_str().unwrap();
        let run: String = run.chars().filter(char::is_ascii_alphanumeric).collect();
        Submission {
            name: SubmissionName::new(run, job, attempt).unwrap(),
            command: ["/bin/sh", "-c", script, "sh", first]
                .map(str::to_owned)
                .to_vec(),
            environment: Default::default(),
            working_directory: self.directory().to_path_buf(),
            directory,
            resources: Resources::default(),
            previous: None,
            avoid_hosts: Vec::new(),
        }
    }

    /// Submits `command` as a person does: a job in the lane that is none of the backend's.
    pub fn stranger(&self, command: &[String]) -> ClusterJobId {
        let mut sbatch = self.cluster.command("sbatch");
        sbatch.args([
            "--parsable",
            "--output=/dev/null",
            "--time=10",
            "--partition",
        ]);
        sbatch.args([self.lane.partition(), "--wrap", &command.join(" ")]);
        let output = sbatch.current_dir(self.directory()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let id = String::from_utf8(output.stdout).unwrap();
        ClusterJobId(id.trim().to_owned())
    }

    pub fn lines(&self, file: &str) -> usize {
        let path: PathBuf = self.directory().join(file);
        std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
    }
}

pub async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it comes to an end")
}

/// The cause of the end of a job.
pub async fn end(slurm: &Slurm, job: &ClusterJobId) -> EndCause {
    bounded(async {
        loop {
            let observed = slurm
                .observe(std::slice::from_ref(job))
                .await
                .unwrap()
                .remove(0);
            match observed.state {
                ClusterState::Ended(end) => return end.cause,
                ClusterState::Gone => panic!("{job} is gone"),
                _ => slurm.changed().await,
            }
        }
    })
    .await
}
