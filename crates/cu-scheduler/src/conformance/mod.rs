//! One suite for every backend: a case for each promise of the contract of [`Scheduler`].
//!
//! A backend brings a [`Testbed`], and [`conformance_tests!`](crate::conformance_tests) makes one
//! `#[test]` of each case. A new case applies to every backend. The cases ask a cluster's
//! [`Capabilities`](crate::Capabilities) about what it can't do; no backend leaves out a case.
//!
//! The suite treats uncertain answers as any caller must: it looks up a submission before it
//! repeats it, and repeats calls that were unavailable. So a wrapper that loses answers passes,
//! too.
//!
//! # For authors of backends
//! Most of a backend is right at the first try. These three hazards are not, and each has cost users
//! their results:
//!
//! | hazard | what goes wrong | case |
//! | --- | --- | --- |
//! | Nothing started | A node lacks the program or the directory, and the scheduler reports the exit code of the script around the command. It is taken for the command's own. | [`observe::what_cant_start_is_no_success`] |
//! | Lost answer | The caller gives up or dies while it submits. The job is on the cluster, and the caller submits a second one. | [`recover::a_lost_answer_starts_nothing_twice`] |
//! | Foreign id | A scheduler that lost its state gives an id again, to another program's job. That job is cancelled. | [`cancel::a_strangers_job_is_left_alone`] |
//!
//! - **Nothing started.** A script in front of the command ends with 126 or 127 if it can't start the
//!   command, also if it can't enter the working directory, and says why on stderr. `cd DIRECTORY ||
//!   exit` ends with 1 or 2, which looks like the command's own failure.
//! - **Lost answer.** Before the call that submits, write down that it is made, or carry the
//!   [`SubmissionName`](crate::SubmissionName) to the cluster, so that `find` finds it. `find` waits for
//!   a call that may still be under way: a name that it does not find never comes.
//! - **Foreign id.** Compare the name or the mark of a job with what was submitted under its id, before its
//!   state is believed and before it is cancelled. [`Testbed::stranger`] is where a cluster has such jobs.
//!
//! The cases are not a stable interface: a new version may have more of them.

mod case;
mod program;

pub mod cancel;
pub mod limits;
pub mod observe;
pub mod recover;
pub mod submit;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{ClusterJobId, Scheduler};

pub use case::Case;
pub use program::{Program, Step};

/// A cluster for testing a backend. Each case gets a fresh one, and dropping it cleans up.
#[async_trait]
pub trait Testbed: Sized + Send + Sync + 'static {
    /// Makes a cluster without jobs of ours and with free slots.
    async fn fresh() -> Self;

    /// Opens the backend on this cluster. The suite calls this again after dropping the last one,
    /// as a new process does after a crash.
    async fn open(&self) -> Arc<dyn Scheduler>;

    /// The directory of this case, which the jobs see under the same path.
    fn directory(&self) -> &Path;

    /// The command that runs `program` with `arguments`. By default a script for `/bin/sh` in the
    /// [directory](Testbed::directory).
    fn command(&self, program: &Program, arguments: &[String]) -> Vec<String> {
        case::shell_command(self.directory(), program, arguments)
    }

    /// Hands `command` to the cluster past the backend, as another program of the same user does, and
    /// returns its id as the backend would write it. The command takes no slot longer than it runs.
    ///
    /// `None` only where no job of others can ever have an id that the backend is asked about: where the
    /// backend makes up ids that are never given again.
    async fn stranger(&self, command: &[String]) -> Option<ClusterJobId>;

    /// The longest time that the suite waits for one event.
    fn patience(&self) -> Duration;

    /// The number of jobs with one processor that run at once. At least 2; the suite submits a few
    /// more.
    fn slots(&self) -> u32;

    /// The shortest time limit that this cluster enforces.
    fn shortest_time_limit(&self) -> Duration;

    /// The runtime a case runs on.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the system has a thread's resources left")
    }
}

/// Runs one case on a fresh cluster. [`conformance_tests!`](crate::conformance_tests) calls it.
pub fn run<B: Testbed>(case: impl AsyncFnOnce(Case<B>)) {
    B::runtime().block_on(async { case(Case::prepare().await).await });
}

/// Makes a `#[test]` of each case of the conformance suite, on the given
/// [`Testbed`](crate::conformance::Testbed).
///
/// For the local backend:
///
#[cfg_attr(feature = "local", doc = "```")]
#[cfg_attr(not(feature = "local"), doc = "```ignore")]
/// use std::path::Path;
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use cu_scheduler::conformance::Testbed;
/// use cu_scheduler::local::{Local, LocalOptions};
/// use cu_scheduler::{ClusterJobId, Scheduler};
///
/// struct ThisMachine(tempfile::TempDir);
///
/// #[async_trait::async_trait]
/// impl Testbed for ThisMachine {
///     async fn fresh() -> Self {
///         Self(tempfile::tempdir().expect("a directory can be made"))
///     }
///     async fn open(&self) -> Arc<dyn Scheduler> {
///         let mut options = LocalOptions::new(self.0.path().join("state"));
///         options.cpus = Some(self.slots());
///         Arc::new(Local::open(options).expect("nobody else has it open"))
///     }
///     fn directory(&self) -> &Path {
///         self.0.path()
///     }
///     async fn stranger(&self, _command: &[String]) -> Option<ClusterJobId> {
///         None // Its ids are its own.
///     }
///     fn patience(&self) -> Duration {
///         Duration::from_secs(60)
///     }
///     fn slots(&self) -> u32 {
///         2
///     }
///     fn shortest_time_limit(&self) -> Duration {
///         Duration::from_secs(4)
///     }
/// }
///
/// mod conformance {
///     cu_scheduler::conformance_tests!(super::ThisMachine);
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! conformance_tests {
    ($testbed:ty) => {
        $crate::conformance_tests! { @cases $testbed =>
            submit::a_command_runs_once,
            submit::arguments_are_unchanged,
            submit::variables_are_unchanged,
            submit::the_command_starts_where_told,
            submit::output_goes_to_the_files_of_the_submission,
            submit::no_more_run_at_once_than_there_are_slots,
            submit::those_that_wait_start_in_order,
            submit::many_are_taken_in_one_batch,
            submit::a_rejected_submission_leaves_nothing,
            submit::a_name_that_was_submitted_before_is_not_refused,
            submit::a_resubmission_runs_after_its_predecessor,
            observe::an_exit_code_is_told,
            observe::a_killing_signal_is_told,
            observe::a_missing_program_is_an_end,
            observe::what_cant_start_is_no_success,
            observe::an_unknown_job_is_gone,
            observe::nothing_asked_is_nothing_answered,
            observe::an_observation_names_no_other_submission,
            observe::answers_stand_in_the_order_of_the_question,
            observe::a_change_wakes_who_waits,
            cancel::a_queued_job_never_starts,
            cancel::a_running_job_gets_a_signal_it_can_act_on,
            cancel::who_ignores_the_signal_is_killed,
            cancel::a_kill_is_a_kill,
            cancel::children_end_with_it,
            cancel::unknown_and_ended_jobs_are_no_error,
            cancel::a_strangers_job_is_left_alone,
            limits::a_warning_comes_before_the_limit,
            limits::the_time_limit_ends_it,
            limits::the_time_limit_ends_who_ignores_it,
            recover::a_lost_answer_starts_nothing_twice,
            recover::what_runs_goes_on_without_us,
            recover::what_waits_still_gets_its_turn,
            recover::an_end_meanwhile_is_an_end,
            recover::an_end_told_before_is_not_taken_back,
            recover::no_cluster_job_id_is_given_twice,
            recover::names_are_found_queued_running_and_absent,
            recover::names_are_found_after_reopening,
            recover::an_ended_name_is_found_as_over_or_not_at_all,
        }
    };
    (@cases $testbed:ty => $($room:ident::$case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::run::<$testbed>($crate::conformance::$room::$case);
            }
        )*
    };
}
