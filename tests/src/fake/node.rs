//! The node of a fake cluster: starts what a job executes, waits for its end, and notes it.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::{HOME, htcondor, lock, now, write};
use crate::process::{kill_marked, marked};

/// The argument by which the binary is the node.
pub const WORD: &str = "--node";

/// The mark of all processes of a job, in their environment.
const MARK: &str = "FAKE_JOB";

/// How long after SIGTERM a job is killed.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// The state of a job that a person held.
pub const HELD: &str = "HELD";

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A job as the cluster knows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Job {
    pub id: String,
    pub name: String,
    /// What the node executes, in `directory`, with these variables.
    pub command: Vec<String>,
    pub directory: PathBuf,
    pub environment: Vec<(String, String)>,
    /// Where its output is appended.
    pub stdout: PathBuf,
    pub stderr: PathBuf,
    /// HTCondor's log of events.
    pub log: PathBuf,
    /// `PENDING`, `RUNNING`, or how it ended, in Slurm's words.
    pub state: String,
    /// Why it waits, or was ended.
    pub reason: String,
    /// HTCondor's number for the reason of a hold.
    pub hold_code: u32,
    pub exit_code: i32,
    pub exit_signal: i32,
    pub starts: u32,
    pub submitted: u64,
    pub started: u64,
    pub ended: u64,
}

impl Job {
    pub fn waits(&self) -> bool {
        self.state == "PENDING"
    }

    pub fn runs(&self) -> bool {
        self.state == "RUNNING"
    }

    pub fn is_held(&self) -> bool {
        self.state == HELD
    }

    pub fn is_over(&self) -> bool {
        !self.waits() && !self.runs() && !self.is_held()
    }

    fn mark(&self, home: &Path) -> String {
        format!("{MARK}={}:{}", home.display(), self.id)
    }
}

fn path(home: &Path, id: &str) -> PathBuf {
    home.join("jobs").join(format!("{id}.json"))
}

pub fn load(home: &Path, id: &str) -> Option<Job> {
    let text = fs::read(path(home, id)).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

pub fn save(home: &Path, job: &Job) {
    write(&path(home, &job.id), job);
}

/// All jobs, the oldest first.
pub fn all(home: &Path) -> Vec<Job> {
    let entries = fs::read_dir(home.join("jobs")).unwrap().flatten();
    let paths = entries.map(|entry| entry.path());
    let jobs = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
    let mut jobs: Vec<Job> = jobs
        .map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
        .collect();
    jobs.sort_by_key(|job| (job.submitted, numbers(&job.id)));
    jobs
}

/// The numbers in an id, such as that of an array and its task.
fn numbers(id: &str) -> Vec<u64> {
    let numbers = id.split(|character: char| !character.is_ascii_digit());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// Takes a job into the queue: its node waits for its time.
pub fn submit(home: &Path, mut job: Job) {
    job.state = "PENDING".into();
    job.submitted = now();
    save(home, &job);
    wait_in_queue(home, &job);
}

/// A process of its own that starts the job later.
pub fn wait_in_queue(home: &Path, job: &Job) {
    let mut node = Command::new(std::env::current_exe().unwrap());
    node.args([WORD, &job.id]).env(HOME, home).process_group(0);
    node.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // The command ends at once, and leaves its node to init.
    #[allow(clippy::zombie_processes)]
    node.spawn().unwrap();
}

/// Ends a job: its processes get `signal`, and after some seconds SIGKILL.
pub fn end(home: &Path, id: &str, signal: i32, state: &str, reason: &str) {
    let _locked = lock(home);
    end_locked(home, id, signal, state, reason);
}

/// The same, for who holds the lock.
pub fn end_locked(home: &Path, id: &str, signal: i32, state: &str, reason: &str) {
    let Some(mut job) = load(home, id).filter(|job| !job.is_over()) else {
        return;
    };
    let ran = job.runs();
    job.state = state.into();
    job.reason = reason.into();
    job.ended = now();
    save(home, &job);
    if ran {
        send(&job.mark(home), signal);
    } else {
        htcondor::note_end(&job);
    }
}

fn send(mark: &str, signal: i32) {
    for pid in marked(mark) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
            let _ = kill_process(pid, signal); // It may be gone.
        }
    }
}

/// The life of a job on its node.
pub fn run(home: &Path, id: &str) {
    let delay = fs::read_to_string(home.join("delay")).ok();
    let delay = delay.and_then(|text| text.parse().ok()).unwrap_or(0);
    std::thread::sleep(Duration::from_millis(delay));
    let Some(mut child) = start(home, id) else {
        return; // It was ended while it waited.
    };
    let mut dying = None;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        let job = load(home, id).unwrap();
        if !job.runs() && dying.is_none() {
            dying = Some(std::time::Instant::now());
        }
        if dying.is_some_and(|since| since.elapsed() > KILL_WAIT) {
            kill_marked(&job.mark(home));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    };
    let _locked = lock(home);
    let mut job = load(home, id).unwrap();
    job.exit_code = status.code().unwrap_or(0);
    job.exit_signal = status.signal().unwrap_or(0);
    if job.runs() {
        let good = job.exit_code == 0 && job.exit_signal == 0;
        job.state = if good { "COMPLETED" } else { "FAILED" }.into();
    }
    job.ended = now();
    save(home, &job);
    htcondor::note_end(&job);
    drop(_locked);
    // Whatever the job leaves behind ends with it.
    kill_marked(&job.mark(home));
}

fn start(home: &Path, id: &str) -> Option<Child> {
    let _locked = lock(home);
    let mut job = load(home, id).filter(Job::waits)?;
    job.state = "RUNNING".into();
    job.started = now();
    job.starts += 1;
    save(home, &job);
    htcondor::note_start(&job);
    let open = |path: &Path| {
        let file = File::options().append(true).create(true).open(path);
        file.map_or_else(|_| Stdio::null(), Stdio::from)
    };
    let (program, arguments) = job.command.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&job.directory);
    command.envs(job.environment.iter().cloned());
    let (name, value) = (MARK, format!("{}:{}", home.display(), job.id));
    command.env(name, value).env("HOME", home.join("home"));
    command.stdin(Stdio::null()).process_group(0);
    command.stdout(open(&job.stdout)).stderr(open(&job.stderr));
    Some(command.spawn().unwrap())
}

/// Sends a signal to all processes of a job that runs.
pub fn signal(home: &Path, id: &str, signal: i32) {
    if let Some(job) = load(home, id).filter(Job::runs) {
        send(&job.mark(home), signal);
    }
}

/// Notes why the job is about to be held.
pub fn set_hold_code(home: &Path, id: &str, code: u32) {
    let _locked = lock(home);
    let mut job = load(home, id).unwrap();
    job.hold_code = code;
    save(home, &job);
}

/// Says why a job that waits does so.
pub fn wait_for(home: &Path, id: &str, reason: &str) {
    let _locked = lock(home);
    let mut job = load(home, id).filter(Job::waits).unwrap();
    job.reason = reason.into();
    save(home, &job);
}
