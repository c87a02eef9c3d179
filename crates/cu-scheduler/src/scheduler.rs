//! The trait that every backend implements, with its contract in prose.

use std::fmt::{Debug, Display};

use async_trait::async_trait;

use crate::{ClusterJobId, Error, Found, Observation, Submission, SubmissionName, SubmitError};

/// A scheduler: it takes commands, runs each at most once, and reports what became of it.
///
/// `Display` names it for people: `Slurm 24.11 (cluster "abc")`, `this machine (8 CPUs)`.
///
/// # Contract
/// A backend keeps all of this; the conformance suite checks it case by case.
///
/// - **Names.** Each submission carries its [`SubmissionName`] to the cluster, where
///   [`find`](Scheduler::find) finds it, from another process too. A name that was submitted before
///   is not a reason to reject: the caller may have forgotten it. [`SubmitError::Uncertain`] makes the
///   caller look for it.
/// - **One id, one submission.** An id is given once, also after a crash or the loss of the
///   backend's own files. Where a scheduler may give an id twice, its observations name their
///   submission ([`Observation::name`]).
/// - **Nothing twice.** A submission is handed to the cluster at most once by one call. A backend
///   never repeats a call whose outcome it does not know: it returns
///   [`SubmitError::Uncertain`], and the caller looks before it repeats the call.
/// - **Arguments unchanged.** The command gets each argument and variable byte for byte; no shell
///   reads them.
/// - **Unknown is unknown.** An outage is an [`Error`] or [`ClusterState::Unknown`], never an end.
///   Only a scheduler that answered can make a job [`ClusterState::Gone`].
/// - **In order.** Submissions of equal needs start in the order of their submission, unless the
///   cluster's own priorities differ.
/// - **An end is final.** Once an id was observed as ended or gone it is never queued or running
///   again, unless it was handed in again as [`Submission::previous`], or the cluster restarts
///   jobs by itself and [`Observation::restarts`] says so. Its cause may still become more precise,
///   from [`EndCause::Unknown`] to what accounting learns later.
/// - **A job kept for resubmission has ended.** A backend that leaves the cluster job in the queue
///   for the next attempt (a hold in HTCondor, a requeue in Slurm) reports its end all the same, and
///   lets it go on only when it is handed in as [`Submission::previous`]. Cancelling an ended job
///   frees what was kept of it.
/// - **Bounded.** Every call returns within about a minute, with an error if need be. Only
///   [`changed`](Scheduler::changed) may wait longer.
/// - **Jobs outlive the backend.** Dropping the backend, or killing its process, does not touch what
///   was submitted.
/// - **Cancellation-safe.** A dropped `observe`, `find` or `changed` loses nothing. A dropped
///   `submit` is as uncertain as a crash.
///
/// # For wrappers
/// A wrapper forwards every method, `changed` too, and passes the conformance suite itself.
///
/// [`ClusterState::Unknown`]: crate::ClusterState::Unknown
/// [`ClusterState::Gone`]: crate::ClusterState::Gone
/// [`EndCause::Unknown`]: crate::EndCause::Unknown
/// [`Observation::restarts`]: crate::Observation::restarts
/// [`Submission::previous`]: crate::Submission::previous
#[async_trait]
pub trait Scheduler: Display + Debug + Send + Sync + 'static {
    /// The abilities of this scheduler.
    fn capabilities(&self) -> Capabilities;

    /// Hands over a batch of any size, in as few calls to the cluster as possible. Returns one answer
    /// for each submission, in the order of `batch`.
    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>>;

    /// Asks what became of `jobs`. Returns one observation for each, in their order. Makes one call to
    /// the cluster for any number of jobs, and none for an empty list.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the scheduler doesn't answer: nothing follows for the jobs.
    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error>;

    /// Waits until it is worth observing again: something changed, or as much time has passed as is
    /// gentle to this scheduler.
    async fn changed(&self);

    /// Looks submissions up by name, after a crash or an uncertain answer. A name that is missing in the
    /// answer is not on the cluster, and will not appear later.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the scheduler doesn't know: nothing follows for the names.
    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error>;

    /// Ends `jobs`, in one call. Returns when the scheduler has taken note; the ends are observed
    /// later. Ignores ids that are unknown or have ended.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the scheduler doesn't answer: some of them may end all the same.
    async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error>;
}

/// How to end a cluster job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cancel {
    /// SIGTERM, then SIGKILL after the cluster's grace time. Where a cluster knows one signal only
    /// (HTCondor's `kill_sig`), that of the submission's warning takes the place of SIGTERM.
    Terminate,
    /// SIGKILL at once, where the cluster can.
    Kill,
}

/// The abilities of a scheduler. The conformance suite asks for them, so that no backend leaves out a
/// case by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The most submissions that one call of [`Scheduler::submit`] takes well. Callers cut a longer
    /// batch.
    pub batch: usize,
    /// How precisely a time limit is kept.
    pub time_limits: TimeLimits,
    /// Whether exit codes are known after this process was restarted.
    pub exit_codes: ExitCodes,
    /// Whether commands run on this machine, so that a server needs only the loopback address.
    pub reach: Reach,
    /// When a job that waits in the queue is started if there is a place for it.
    pub starts: Starts,
}

impl Capabilities {
    /// A scheduler with these abilities.
    #[must_use]
    pub const fn new(
        batch: usize,
        time_limits: TimeLimits,
        exit_codes: ExitCodes,
        reach: Reach,
    ) -> Self {
        Self {
            batch,
            time_limits,
            exit_codes,
            reach,
            starts: Starts::AtAnyTime,
        }
    }

    /// The same scheduler, which starts jobs at these moments.
    #[must_use]
    pub const fn starting(self, starts: Starts) -> Self {
        Self { starts, ..self }
    }
}

/// How a scheduler keeps time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeLimits {
    /// To the second, while the process that holds the backend lives.
    Exact,
    /// In minutes, by the cluster itself.
    Coarse,
}

/// How long a scheduler knows exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitCodes {
    /// Only the process that submitted learns them.
    WhileWeLive,
    /// The cluster keeps them for a while.
    Kept,
}

/// When a scheduler starts a job that waits in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Starts {
    /// An end of another job makes no difference that is worth a wait.
    AtAnyTime,
    /// Soon if another job ends, and at longer intervals else: a job that is submitted before its predecessor
    /// ends starts sooner.
    WhenAJobEnds,
}

/// The machines on which commands run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// On this machine.
    ThisMachine,
    /// On other machines that share a file system.
    OtherMachines,
}
