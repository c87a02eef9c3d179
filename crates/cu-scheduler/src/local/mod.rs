//! The backend for this machine: slots, process groups, time limits with a warning, and jobs that
//! outlive us.
//!
//! Jobs wait in the order of their submission until their processors are free; second and later attempts come
//! before first ones. Each attempt is a
//! process group of its own, with `/dev/null` as standard input and its output appended to `stdout`
//! and `stderr` in its directory. A Ctrl-C or a hangup of the terminal does not reach it, and a
//! signal to it reaches all of it. When the first process has ended, all others are killed; the
//! attempt has ended when none is left.
//!
//! In addition to the submitted variables, an attempt's environment has `CU_SUBMISSION` (its
//! [`SubmissionName`]), `CU_DEADLINE` (Unix seconds, with a time limit), `CU_KILL_WAIT` (the seconds
//! from SIGTERM to SIGKILL), `CUDA_VISIBLE_DEVICES` (if graphics processors are handed out) and
//! `CU_LOCAL_JOB`, by which its processes are recognised. Graphics processors that an attempt of another run of this
//! user has on this machine are not handed out: `CU_LOCAL_GPUS` names them in its environment.
//!
//! # Files
//! The state directory holds a `lock` and a `journal`. Each promise and each start is written to the
//! journal first. When the backend is opened again, attempts that still run are recognised by process id
//! *and* start time *and* boot, so that no other process is taken for one of them; their time limits
//! continue. If the record of a start is missing, the process is searched for by its mark in `/proc`,
//! and the start is never repeated. An end while no process held the backend is reported as
//! [`EndCause::Unknown`](crate::EndCause::Unknown). The newest 10,000 ends are remembered; older ones
//! are [`ClusterState::Gone`](crate::ClusterState::Gone).
//!
//! # Many short attempts
//! Loading a large program costs more than many a short attempt. With [`LocalOptions::preloaded`] one
//! process loads it once, and attempts are given to copies of that process, made in advance. Each copy has one
//! attempt at a time, with variables and output of its own, and stands by for another one if nothing of it is
//! left. If the process that makes the copies is killed, running attempts go on.
//!
//! # Limits
//! Memory is neither limited nor counted. While no process holds the backend, nothing is started and
//! no limit is enforced. A reboot ends everything, the queue too.

mod attempts;
mod examine;
mod gpus;
mod journal;
mod keeper;
mod lock;
mod proc_fs;
mod process;
mod record;
mod recover;
mod signals;
mod slots;
mod table;
mod warm;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{oneshot, watch};

use crate::{
    Cancel, Capabilities, ClusterJobId, Error, ExitCodes, Found, Observation, Reach, Scheduler,
    Submission, SubmissionName, SubmitError, TimeLimits,
};
use keeper::{Keeper, Request};
pub use warm::Preloaded;

/// How many submissions one call takes. What a job needs is made before it is submitted, and the first of
/// thousands should not wait for that of the last.
const MOST_AT_ONCE: usize = 256;

/// The options of [`Local::open`].
///
/// ```
/// use cu_scheduler::local::LocalOptions;
///
/// let mut options = LocalOptions::new("results/digits/local");
/// options.cpus = Some(4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalOptions {
    /// The directory for the records of the queue and of running attempts. It is made if it is
    /// missing. It is refused if others may write to it, since the backend starts the commands that
    /// are queued there. It is faster on a local file system; a shared one works while only one
    /// machine uses it.
    pub state_dir: PathBuf,
    /// The number of processors for jobs; `None` for all that this process may use.
    pub cpus: Option<u32>,
    /// The number of graphics processors for jobs. The default is 0.
    pub gpus: u32,
    /// Which ones, as `CUDA_VISIBLE_DEVICES` names them: `2,3`, or a list of UUIDs. `None` for those
    /// with an index from 0. [`Local::open`] refuses fewer than `gpus`.
    pub visible_gpus: Option<String>,
    /// The greatest number of attempts that run at once; `None` for no such limit.
    pub max_running: Option<usize>,
    /// The time from SIGTERM to SIGKILL, after a cancel and at the time limit. The default is 30 s.
    pub grace: Duration,
    /// A program that is loaded once for many attempts, if there is one. It changes nothing about an
    /// attempt but how long it takes to start.
    pub preloaded: Option<Preloaded>,
}

impl LocalOptions {
    /// The defaults: all processors of this machine, and the state in `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            cpus: None,
            gpus: 0,
            visible_gpus: None,
            max_running: None,
            grace: Duration::from_secs(30),
            preloaded: None,
        }
    }

    /// How many processors the attempts may use in all.
    #[must_use]
    pub fn offered_cpus(&self) -> u32 {
        let available = || std::thread::available_parallelism().map(|count| count.get());
        self.cpus.unwrap_or_else(|| {
            available().map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX))
        })
    }

    /// How many graphics processors are visible, if these are fewer than are to be handed out.
    #[must_use]
    pub fn too_few_visible_gpus(&self) -> Option<usize> {
        slots::names(self.gpus, self.visible_gpus.as_deref()).err()
    }
}

/// This machine as a [`Scheduler`].
///
/// Dropping it waits for its thread, so that the state directory can be opened again at once. The
/// jobs continue.
#[derive(Debug)]
pub struct Local {
    cpus: u32,
    /// `None` only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    wake: Arc<OwnedFd>,
    changes: watch::Receiver<u64>,
    /// The last change that `changed` has reported.
    reported: AtomicU64,
    keeper: Option<JoinHandle<()>>,
}

impl Local {
    /// Opens the state directory and continues with the jobs in it.
    ///
    /// # Errors
    /// [`Error::InUse`] if another living process has it open, or this one does already;
    /// [`Error::State`] if it can't be read or written; [`Error::Refused`] if its attempts may run
    /// on another machine, or this kernel lacks pidfds (Linux 5.4).
    pub fn open(options: LocalOptions) -> Result<Self, Error> {
        let failed = |source| Error::State {
            path: options.state_dir.clone(),
            source,
        };
        let cpus = options.offered_cpus();
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = Arc::new(eventfd(0, flags).map_err(|errno| failed(errno.into()))?);
        let (requests, receiver) = mpsc::channel();
        let (sender, changes) = watch::channel(0);
        let keeper = Keeper::open(&options, cpus, wake.clone(), receiver, sender)?;
        let keeper = std::thread::Builder::new()
            .name("cu-local".into())
            .spawn(move || keeper.run())
            .map_err(Error::no_thread)?;
        Ok(Self {
            cpus,
            requests: Some(requests),
            wake,
            changes,
            reported: AtomicU64::new(0),
            keeper: Some(keeper),
        })
    }

    /// Asks the keeper. `None` if it is gone, which only a bug of ours can cause.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.requests.as_ref()?.send(request(answer)).ok()?;
        self.wake();
        answered.await.ok()
    }

    fn wake(&self) {
        // It fails only if the counter is full, and then the keeper wakes anyway.
        rustix::io::write(&*self.wake, &1_u64.to_ne_bytes()).ok();
    }

    fn keeper_is_gone(&self) -> Error {
        Error::Ended {
            scheduler: self.to_string(),
            reason: "the thread that keeps its jobs has panicked".into(),
        }
    }
}

impl fmt::Display for Local {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.cpus == 1 { "" } else { "s" };
        write!(out, "this machine ({} CPU{plural})", self.cpus)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.requests = None;
        self.wake();
        if let Some(keeper) = self.keeper.take() {
            // It panicked, or it ended: in either case the directory is free.
            keeper.join().ok();
        }
    }
}

#[async_trait]
impl Scheduler for Local {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(
            MOST_AT_ONCE,
            TimeLimits::Exact,
            ExitCodes::WhileWeLive,
            Reach::ThisMachine,
        )
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        let request = |answer| Request::Submit(batch.to_vec(), answer);
        match self.ask(request).await {
            Some(answers) => answers,
            None => {
                let uncertain = |submission: &Submission| {
                    Err(SubmitError::Uncertain {
                        name: submission.name.clone(),
                        reason: self.keeper_is_gone().to_string(),
                    })
                };
                batch.iter().map(uncertain).collect()
            }
        }
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error> {
        self.ask(|answer| Request::Observe(jobs.to_vec(), answer))
            .await
            .ok_or_else(|| self.keeper_is_gone())
    }

    async fn changed(&self) {
        let reported = self.reported.load(Ordering::Acquire);
        let mut changes = self.changes.clone();
        let now = match changes.wait_for(|count| *count > reported).await {
            Ok(count) => *count,
            // The keeper is gone: `observe` says so.
            Err(_) => return,
        };
        self.reported.fetch_max(now, Ordering::AcqRel);
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error> {
        self.ask(|answer| Request::Find(names.to_vec(), answer))
            .await
            .ok_or_else(|| self.keeper_is_gone())
    }

    async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        self.ask(|answer| Request::Cancel(jobs.to_vec(), how, answer))
            .await
            .unwrap_or_else(|| Err(self.keeper_is_gone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_backend_without_its_keeper_says_that_it_has_ended() {
        let directory = tempfile::tempdir().expect("the disk has room");
        let mut cluster =
            Local::open(LocalOptions::new(directory.path())).expect("the directory is ours");
        let (requests, receiver) = mpsc::channel();
        drop(receiver);
        cluster.requests = Some(requests);
        let job = ClusterJobId("local-1".into());
        let jobs = std::slice::from_ref(&job);
        let name = SubmissionName::new("run", 1, 0).expect("a valid name");
        let errors = [
            cluster.observe(jobs).await.err(),
            cluster.find(&[name]).await.err(),
            cluster.cancel(jobs, Cancel::Kill).await.err(),
        ];
        for error in errors {
            assert!(matches!(error, Some(Error::Ended { .. })), "{error:?}");
        }
    }
}
