//! A scheduler of our own: it runs two commands at a time as child processes.
//!
//! It forgets its jobs when this process ends. A backend for runs that another main process may
//! resume must store them.

use std::fmt;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use cu_scheduler::{
    Cancel, Capabilities, ClusterEnd, ClusterJobId, ClusterState, EndCause, Error, ExitCodes,
    Found, Observation, Reach, Scheduler, Submission, SubmissionName, SubmitError, TimeLimits,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, Semaphore, watch};

/// Runs two commands at a time.
#[derive(Debug)]
pub struct TwoAtATime {
    table: Arc<Table>,
    slots: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Table {
    /// The jobs, by number.
    jobs: Mutex<Vec<Job>>,
    changed: Notify,
}

#[derive(Debug)]
struct Job {
    name: SubmissionName,
    state: ClusterState,
    cancel: watch::Sender<Option<Cancel>>,
}

impl TwoAtATime {
    /// Makes a scheduler without jobs.
    pub fn new() -> Self {
        Self {
            table: Arc::default(),
            slots: Arc::new(Semaphore::new(2)),
        }
    }
}

impl fmt::Display for TwoAtATime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("two at a time")
    }
}

#[async_trait]
impl Scheduler for TwoAtATime {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(
            1000,
            TimeLimits::Coarse,
            ExitCodes::WhileWeLive,
            Reach::ThisMachine,
        )
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        let submit = |submission: &Submission| {
            if submission.resources.time_limit.is_some() {
                return Err(SubmitError::Rejected {
                    name: submission.name.clone(),
                    reason: "there are no time limits here".to_owned(),
                });
            }
            let (cancel, cancelled) = watch::channel(None);
            let number = self.table.add(Job {
                name: submission.name.clone(),
                state: ClusterState::Queued { reason: None },
                cancel,
            });
            let (table, slots) = (self.table.clone(), self.slots.clone());
            let submission = submission.clone();
            tokio::spawn(async move {
                let end = run(&table, &slots, number, &submission, cancelled).await;
                table.set(number, ClusterState::Ended(end));
            });
            Ok(cluster_job_id(number))
        };
        batch.iter().map(submit).collect()
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error> {
        let table = self.table.lock();
        let observe = |id: &ClusterJobId| observation(id, number(id).and_then(|n| table.get(n)));
        Ok(jobs.iter().map(observe).collect())
    }

    async fn changed(&self) {
        self.table.changed.notified().await;
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error> {
        let table = self.table.lock();
        let jobs = table.iter().enumerate();
        let wanted = jobs.filter(|(_, job)| names.contains(&job.name));
        let found = wanted.map(|(number, job)| Found {
            name: job.name.clone(),
            observation: observation(&cluster_job_id(number), Some(job)),
        });
        Ok(found.collect())
    }

    async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        let table = self.table.lock();
        for job in jobs.iter().filter_map(number).filter_map(|n| table.get(n)) {
            job.cancel.send_replace(Some(how));
        }
        Ok(())
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Vec<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, job: Job) -> usize {
        let mut jobs = self.lock();
        jobs.push(job);
        jobs.len() - 1
    }

    fn set(&self, number: usize, state: ClusterState) {
        self.lock()[number].state = state;
        self.changed.notify_one();
    }
}

/// Runs one command, from its turn to its end.
async fn run(
    table: &Table,
    slots: &Semaphore,
    number: usize,
    submission: &Submission,
    mut cancelled: watch::Receiver<Option<Cancel>>,
) -> ClusterEnd {
    let _slot = tokio::select! {
        slot = slots.acquire() => slot,
        _ = cancelled.changed() => return end(EndCause::Cancelled, "cancelled before its turn"),
    };
    let mut child = match start(submission) {
        Ok(child) => child,
        Err(error) => return end(EndCause::NotStarted, error),
    };
    let since = Some(SystemTime::now());
    table.set(number, ClusterState::Running { since });
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            Ok(()) = cancelled.changed() => {
                let signal = match *cancelled.borrow_and_update() {
                    Some(Cancel::Kill) => Signal::KILL,
                    _ => Signal::TERM,
                };
                send(&child, signal);
            }
        }
    };
    let was_cancelled = cancelled.borrow().is_some();
    match status {
        Ok(status) if was_cancelled => end(EndCause::Cancelled, status),
        Ok(status) => end(cause(status), status),
        Err(error) => end(EndCause::Unknown, error),
    }
}

fn start(submission: &Submission) -> std::io::Result<Child> {
    let output = |name| File::create(submission.directory.join(name));
    Command::new(&submission.command[0])
        .args(&submission.command[1..])
        .envs(&submission.environment)
        .current_dir(&submission.working_directory)
        .stdin(Stdio::null())
        .stdout(output("stdout")?)
        .stderr(output("stderr")?)
        .spawn()
}

fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // It may have ended already, which is fine.
        let _ = kill_process(pid, signal);
    }
}

fn cause(status: ExitStatus) -> EndCause {
    match (status.code(), status.signal()) {
        (Some(code), _) => EndCause::Exited(code),
        (None, Some(signal)) => EndCause::Signaled(signal),
        (None, None) => EndCause::Unknown,
    }
}

fn end(cause: EndCause, text: impl fmt::Display) -> ClusterEnd {
    ClusterEnd {
        cause,
        at: Some(SystemTime::now()),
        text: text.to_string(),
    }
}

fn observation(id: &ClusterJobId, job: Option<&Job>) -> Observation {
    Observation::new(
        id.clone(),
        job.map_or_else(unknown, |job| job.state.clone()),
    )
}

/// It knows nothing of another process's jobs, which does not mean that they are gone.
fn unknown() -> ClusterState {
    ClusterState::Unknown {
        reason: "another process submitted it".to_owned(),
    }
}

fn cluster_job_id(number: usize) -> ClusterJobId {
    ClusterJobId(format!("two-{number}"))
}

fn number(id: &ClusterJobId) -> Option<usize> {
    id.0.strip_prefix("two-")?.parse().ok()
}
