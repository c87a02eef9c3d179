//! What the tests of the HTCondor backend share: a lane of the pool, a directory of one test's own, and
//! attempts that are submitted and watched.
#![allow(dead_code, reason = "each test file uses its part")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use cu_cluster_tests::instance::WorkDirectory;
use cu_cluster_tests::{CondorLane, CondorPool, wait};
use cu_scheduler::htcondor::{Htcondor, HtcondorOptions, Resume};
use cu_scheduler::{
    ClusterEnd, ClusterJobId, ClusterState, Observation, Resources, Scheduler, Submission,
    SubmissionName,
};

pub static POOL: LazyLock<CondorPool> = LazyLock::new(CondorPool::up);

/// A lane of the pool, and a directory.
pub struct Bed {
    pub lane: CondorLane<'static>,
    directory: WorkDirectory,
}

impl Bed {
    pub fn new() -> Self {
        Self {
            lane: POOL.lane(),
            directory: POOL.work_directory(),
        }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What suits a pool that is quick, and a test that does not wait.
    pub fn options(&self, resume: Resume) -> HtcondorOptions {
        let mut options = HtcondorOptions::new(self.directory().join("state"));
        options.label = "a label with \"quotes\", $(x), ä and \\".into();
        options.resume = resume;
        options.grace = Duration::from_secs(2);
        options.poll = Duration::from_secs(2);
        options.extra = vec![self.lane.submit_line()];
        options.commands = Some(POOL.commands());
        options
    }

    pub async fn open(&self, resume: Resume) -> Htcondor {
        let opened = Htcondor::open(self.options(resume)).await;
        opened.expect("the pool's commands are there")
    }
}

impl Bed {
    /// Submits `command` as a person does: a job in the lane that is none of the backend's.
    pub fn stranger(&self, command: &[String]) -> ClusterJobId {
        let (program, arguments) = command.split_first().expect("a program");
        let description = format!(
            "executable = {program}\narguments = {}\ntransfer_executable = false\n\
             should_transfer_files = no\nrequest_memory = 100\n{}\nqueue\n",
            arguments.join(" "),
            self.lane.submit_line(),
        );
        let path = self.directory().join("stranger.sub");
        std::fs::write(&path, description).expect("the directory is the user's");
        let said = ask("condor_submit", &["-terse", path.to_str().expect("UTF-8")]);
        let id = said.split_whitespace().next().expect("FIRST - LAST");
        ClusterJobId(id.to_owned())
    }
}

/// A runtime that acts as the user: HTCondor takes no jobs of root's.
pub fn runtime() -> tokio::runtime::Runtime {
    // The thread is the test's own, and stays the user's.
    std::mem::forget(POOL.become_user());
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system has a thread's resources left")
}

/// Runs `test` with a fresh bed and a backend that resumes so.
pub fn on_the_pool(resume: Resume, test: impl AsyncFnOnce(&Bed, Htcondor)) {
    runtime().block_on(async {
        let bed = Bed::new();
        let pool = bed.open(resume).await;
        test(&bed, pool).await;
    });
}

/// Attempt `attempt` of a job, which does `script` in `directory`.
pub fn attempt(directory: &Path, attempt: u32, script: &str) -> Submission {
    let run = directory.file_name().expect("it has a name");
    let own = directory.join(format!("attempt-{attempt}"));
    std::fs::create_dir_all(&own).expect("the directory is the user's");
    let name = SubmissionName::new(run.to_string_lossy(), 7, attempt);
    Submission {
        name: name.expect("a directory's name and numbers"),
        command: ["/bin/sh", "-c", script].map(String::from).to_vec(),
        environment: Default::default(),
        working_directory: directory.into(),
        directory: own,
        resources: Resources::default(),
        previous: None,
        avoid_hosts: Vec::new(),
    }
}

pub async fn submit(pool: &Htcondor, submission: &Submission) -> ClusterJobId {
    let answers = pool.submit(std::slice::from_ref(submission)).await;
    let answer = answers.into_iter().next().expect("one answer for each");
    answer.expect("it is taken")
}

pub async fn observe(pool: &Htcondor, job: &ClusterJobId) -> Observation {
    let observed = pool.observe(std::slice::from_ref(job)).await;
    observed.expect("the pool answers").remove(0)
}

pub async fn until(
    pool: &Htcondor,
    job: &ClusterJobId,
    what: &str,
    wanted: impl Fn(&ClusterState) -> bool,
) -> ClusterState {
    let wait = async {
        loop {
            let state = observe(pool, job).await.state;
            if wanted(&state) {
                return state;
            }
            let over = state.is_over();
            assert!(!over, "{job} is {state:?}, and was to be {what}");
            pool.changed().await;
        }
    };
    let waited = tokio::time::timeout(wait::BOUND, wait).await;
    waited.unwrap_or_else(|_| panic!("waited in vain until {job} is {what}"))
}

pub async fn until_running(pool: &Htcondor, job: &ClusterJobId) {
    let running = |state: &ClusterState| matches!(state, ClusterState::Running { .. });
    until(pool, job, "running", running).await;
}

pub async fn end(pool: &Htcondor, job: &ClusterJobId) -> ClusterEnd {
    let ended = |state: &ClusterState| matches!(state, ClusterState::Ended(_));
    match until(pool, job, "ended", ended).await {
        ClusterState::Ended(end) => end,
        other => unreachable!("`until` waits for an end, not {other:?}"),
    }
}

pub fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

pub fn until_exists(path: &Path) {
    let what = path.display().to_string();
    wait::until(&what, wait::BOUND, || path.exists().then_some(()));
}

/// A command of the pool's, as the user, which must succeed.
pub fn ask(command: &str, arguments: &[&str]) -> String {
    let mut command = POOL.command(command);
    let output = command.args(arguments).current_dir("/tmp").output();
    let output = output.expect("the wrapper is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An attribute of a job that has ended, from the history. The schedd writes it there when it clears the job
/// away, which is later than the end in the event log.
pub fn in_history(pool: &CondorPool, id: &str, attribute: &str) -> String {
    let what = format!("{attribute} of {id} in the history");
    wait::until(&what, wait::BOUND, || {
        let said = pool.ask("condor_history", &["-limit", "1", id, "-af", attribute]);
        (!said.is_empty()).then(|| said.trim().to_owned())
    })
}

/// Whether the job is in the queue.
pub fn is_queued(job: &ClusterJobId) -> bool {
    !ask("condor_q", &[&job.0, "-af", "ClusterId"]).is_empty()
}

pub fn until_left(job: &ClusterJobId) {
    let what = format!("{job} to leave the queue");
    wait::until(&what, wait::BOUND, || (!is_queued(job)).then_some(()));
}

/// A script that notes its start, and ends when `go` is there.
pub const STARTED: &str = "echo $PPID >>started; while [ ! -e go ] && [ -d . ]; do sleep 0.1; done";

pub struct Files {
    pub started: PathBuf,
    pub go: PathBuf,
}

pub fn files(directory: &Path) -> Files {
    Files {
        started: directory.join("started"),
        go: directory.join("go"),
    }
}

pub async fn until_held(pool: &Htcondor, job: &ClusterJobId) -> String {
    let held = |state: &ClusterState| matches!(state, ClusterState::Held { .. });
    match until(pool, job, "held", held).await {
        ClusterState::Held { reason } => reason,
        other => unreachable!("`until` waits for a hold, not {other:?}"),
    }
}

/// The pool's commands, but that these are scripts, in which `$REAL` is the pool's own.
pub fn commands_with(pool: &CondorPool, directory: &Path, changed: &[(&str, &str)]) -> PathBuf {
    let commands = directory.join("commands");
    std::fs::create_dir(&commands).expect("the directory is the user's");
    for entry in std::fs::read_dir(pool.commands()).expect("it is there") {
        let name = entry.expect("it can be read").file_name();
        if changed.iter().all(|(changed, _)| name != *changed) {
            symlink(pool.commands().join(&name), commands.join(&name)).expect("a new directory");
        }
    }
    for (name, script) in changed {
        let (real, path) = (pool.commands().join(name), commands.join(name));
        let text = format!("#!/bin/sh\nREAL={}\n{script}\n", real.display());
        std::fs::write(&path, text).expect("a new directory");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("it is the user's");
    }
    commands
}
