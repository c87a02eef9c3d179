//! Shared by the tests of the local backend: submissions of shell scripts, and bounded waits.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cu_scheduler::local::{Local, LocalOptions, Preloaded};
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

/// As [`open`], with attempts that are copies of a program that is loaded already.
pub fn open_warm(directory: &Path) -> Local {
    open_warm_with(directory, 64)
}

/// As [`open_warm`], with so many processors.
pub fn open_warm_with(directory: &Path, cpus: u32) -> Local {
    let mut options = LocalOptions::new(state(directory));
    options.cpus = Some(cpus);
    options.grace = Duration::from_millis(200);
    options.preloaded = Some(preloaded(directory));
    Local::open(options).unwrap()
}

/// A fork server that takes all submissions. Its command line holds `directory`.
pub fn preloaded(directory: &Path) -> Preloaded {
    Preloaded {
        prefix: Vec::new(),
        server: fork_server(directory).map(str::to_owned).to_vec(),
        // So that every attempt is a copy.
        patience: PATIENCE,
    }
}

fn fork_server(directory: &Path) -> [&str; 2] {
    let program = env!("CARGO_BIN_EXE_cu-scheduler-fork-server");
    [program, directory.to_str().unwrap()]
}

/// The fork server below `parent`, or below it one that stands by: they have the same command line.
fn forked_from(parent: u32, directory: &Path) -> Vec<u32> {
    let wanted: Vec<u8> = fork_server(directory)
        .iter()
        .flat_map(|word| word.bytes().chain([0]))
        .collect();
    let is_it = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line == wanted && parent_of(*pid) == Some(parent)
    };
    let processes = std::fs::read_dir("/proc").unwrap();
    let numbers = processes.filter_map(|it| it.unwrap().file_name().to_str()?.parse().ok());
    numbers.filter(is_it).collect()
}

pub fn parent_of(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    parent.trim().parse().ok()
}

/// The fork server of the backend on `directory` in this process.
pub fn server(directory: &Path) -> Option<u32> {
    forked_from(std::process::id(), directory).pop()
}

/// Those who stand by there.
pub fn standbys(directory: &Path) -> Vec<u32> {
    let server = server(directory);
    server.map_or_else(Vec::new, |server| forked_from(server, directory))
}

pub fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Runs an attempt that does nothing, and waits until another process stands by.
pub async fn warm_up(cluster: &Local, directory: &Path, attempt: u32) {
    let nothing = submission(directory, attempt, "exit 0");
    let job = submit(cluster, nothing).await;
    end_of(cluster, &job).await;
    until("a process stands by", || !standbys(directory).is_empty());
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
        avoid_hosts: Vec::new(),
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

/// Waits until it runs.
pub async fn runs(cluster: &Local, job: &ClusterJobId) {
    let begins = async {
        while !matches!(state_of(cluster, job).await, ClusterState::Running { .. }) {
            cluster.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, begins)
        .await
        .expect("it begins");
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
