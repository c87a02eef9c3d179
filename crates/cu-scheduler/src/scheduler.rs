//! The trait every backend implements, with its contract in prose.

use std::fmt::{Debug, Display};

use async_trait::async_trait;

use crate::{ClusterJobId, Error, Found, Observation, Submission, SubmissionName, SubmitError};

/// A scheduler: it takes commands, runs each at most once, and tells what became of it.
///
/// `Display` names it for people: `Slurm 24.11 (cluster "abc")`, `this machine (8 CPUs)`.
///
/// # Contract
/// A backend keeps all of this; the conformance suite checks it case by case.
///
/// - **Names.** Each submission carries its [`SubmissionName`] to the cluster, where
///   [`find`](Scheduler::find) finds it, from another process too. A name that was submitted before
///   is no reason to reject: its caller may have lost the memory of it, and is told
///   [`SubmitError::Uncertain`], so that it looks for it.
/// - **One id, one submission.** An id is given once, also after a crash or the loss of the
///   backend's own files. Where a scheduler may give one twice, its observations say of which
///   submission they are ([`Observation::name`]).
/// - **Nothing twice.** A submission is handed to the cluster at most once by one call. A backend
///   never repeats a call whose outcome it does not know: that is
///   [`SubmitError::Uncertain`], and the caller looks before it repeats.
/// - **Arguments unchanged.** The command gets each argument and variable byte for byte; no shell
///   reads them.
/// - **Unknown is unknown.** An outage is an [`Error`] or [`ClusterState::Unknown`], never an end.
///   [`ClusterState::Gone`] is the word of a scheduler that answered.
/// - **In order.** Submissions of equal needs start in the order of their submission, as long as
///   the cluster's own priorities have no reason against it.
/// - **An end is final.** Once an id was observed as ended or gone it is never queued or running
///   again, unless it was handed in again as [`Submission::previous`], or the cluster restarts
///   jobs by itself and [`Observation::restarts`] says so. Its cause may still become more precise,
///   from [`EndCause::Unknown`] to what accounting learns later.
/// - **A job kept for resubmission has ended.** A backend that leaves the cluster job in the queue
///   for the next attempt (a hold in HTCondor, a requeue in Slurm) tells its end all the same, and
///   lets it go on only when it is handed in as [`Submission::previous`]. Cancelling an ended job
///   frees what was kept of it.
/// - **Bounded.** Every call returns within about a minute, with an error if need be.
///   [`changed`](Scheduler::changed) alone waits as long as nothing happens.
/// - **Jobs outlive us.** Dropping the backend, or killing the process that holds it, leaves what
///   was submitted alone.
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
    /// What this scheduler can do and what it can't.
    fn capabilities(&self) -> Capabilities;

    /// Hands over a batch, whatever its size, in as few calls to the cluster as it can. The answers
    /// stand in the order of `batch`, one for each.
    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>>;

    /// What became of `jobs`: one observation for each, in their order. One call to the cluster,
    /// however many they are; none for an empty list.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the scheduler doesn't answer: nothing follows for the jobs.
    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error>;

    /// Returns when observing again is worth it: something changed, or the interval that is gentle
    /// to this scheduler is over.
    async fn changed(&self);

    /// Looks submissions up by name, after a crash or an uncertain answer. A name that is missing
    /// from the answer is not on the cluster, and will not appear later.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the scheduler can't tell: nothing follows for the names.
    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error>;

    /// Ends `jobs`, in one call. Returns when the scheduler has taken note; the ends are observed
    /// later. Unknown or ended ids are no error.
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

/// What a scheduler can do. The conformance suite asks these, so that no case is left out by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The most submissions that one call of [`Scheduler::submit`] takes well; a longer batch is
    /// cut by the caller.
    pub batch: usize,
    /// How precisely a time limit is kept.
    pub time_limits: TimeLimits,
    /// Whether an end is told with its exit code after this process was restarted.
    pub exit_codes: ExitCodes,
    /// Whether the commands run where this process runs, so that a server needs no more than the
    /// loopback address.
    pub reach: Reach,
}

impl Capabilities {
    /// Those of a scheduler that can do what is said here.
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
        }
    }
}

/// How a scheduler keeps time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeLimits {
    /// To the second, while the process that holds the backend lives.
    Exact,
    /// In minutes, looked at every so often, by the cluster itself.
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

/// Where commands run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// On this machine.
    ThisMachine,
    /// On other machines that share a file system.
    OtherMachines,
}
