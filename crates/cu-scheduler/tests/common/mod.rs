//! Shared by the tests of the local backend: submissions of shell scripts, and bounded waits.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cu_scheduler::local::{Local, LocalOptions};
use cu_scheduler::{
    ClusterEnd, ClusterJobId, ClusterState, Resources, Scheduler, Submission, SubmissionName,
};

/// The longest wait of these tests, on any busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The state directory below `directory`.
pub fn state(directory: &Path) -> PathBuf {
    directory.join("state")
}

/// The backend on `directory`, with more processors than any test asks for.
pub fn open(directory: &Path) -> Local {
    let mut options = LocalOptions::new(state(directory));
    options.cpus = Some(64);
    options.grace = Duration::from_millis(200);
    Local::open(options).unwrap()
}

pub fn name(attempt: u32) -> SubmissionName {
    SubmissionName::new("local", 1, attempt).unwrap()
}

/// A submission of a shell script, to which `root` is `$1`.
pub fn submission(root: &Path, attempt: u32, script: &str) -> Submission {
    let directory = root.join(format!("attempt-{attempt}"));
    std::fs::create_dir_all(&directory).unwrap();
    let argument = root.to_str().unwrap();
    let command = ["/bin/sh", "-c", script, "sh", argument];
    Submission {
        name: name(attempt),
        command: command.map(str::to_owned).to_vec(),
        environment: BTreeMap::new(),
        working_directory: root.to_path_buf(),
        directory,
        resources: Resources::default(),
        previous: None,
    }
}

/// A script that marks its start, and ends when `go` appears in the directory or the directory is gone.
pub const WAITS: &str = r#"echo x >> "$1/started"
    while [ -d "$1" ] && [ ! -e "$1/go" ]; do sleep 0.02; done"#;

pub async fn submit(cluster: &Local, submission: Submission) -> ClusterJobId {
    cluster.submit(&[submission]).await.remove(0).unwrap()
}

pub async fn state_of(cluster: &Local, job: &ClusterJobId) -> ClusterState {
    let observed = cluster.observe(std::slice::from_ref(job)).await.unwrap();
    observed.into_iter().next().unwrap().state
}

pub async fn end_of(cluster: &Local, job: &ClusterJobId) -> ClusterEnd {
    let end = async {
        loop {
            match state_of(cluster, job).await {
                ClusterState::Ended(end) => return end,
                _ => cluster.changed().await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, end).await.expect("it ends")
}

/// Waits until `condition` holds, where no event reports it.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

pub fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}
