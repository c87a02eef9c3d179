//! The arguments of `cu condor-submit`.

use clap::Args;
use clap::builder::FalseyValueParser;

/// `cu condor-submit`
#[derive(Debug, Args)]
#[command(
    override_usage = "cu [OPTIONS] condor-submit [OPTIONS OF CONDOR_SUBMIT] [KEY=VALUE]... FILE [-queue ARGUMENTS]",
    after_help = HELP
)]
pub struct CondorSubmit {
    /// Make the run even if other users may rename directories above it, and so replace it
    #[arg(long, hide = true, env = "CU_TRUST_PARENTS", value_parser = FalseyValueParser::new())]
    pub trust_parents: bool,
    /// The words that would follow `condor_submit`, and keys of the config
    #[arg(last = true, value_name = "WORD", hide = true)]
    pub words: Vec<String>,
}

const HELP: &str = "\
HTCondor's own condor_submit reads the file (-dry-run), so macros, include, if and every form of
queue mean what they mean there. Each job that it queues becomes a job of the run: a chain of
attempts. What is different for a chain is printed. Options of cu come before `condor-submit`.

The chain ends with an attempt that exits with 0, or fails. The next attempt follows one that
exits with 3 (or checkpoint_exit_code), is evicted, reaches allowed_job_duration, or is asked to
stop. A program that continues from its own checkpoint needs nothing else.

  max_retries = 2             repeats an attempt that failed, at most twice
  stop.after=50min            cu asks the program to stop after 50 minutes; any key of the
                              config that has a dot may stand before the file

- Executable, arguments, environment, input and initialdir are those of the file. getenv = True
  passes on the variables of this shell, else only those of the file, and a PATH.
- request_*, requirements, rank, priority, +attributes, concurrency_limits, accounting groups,
  notification, periodic_hold, periodic_remove and images of containers hold for each attempt.
- Jobs of one file may differ in their program, arguments, variables, directories, input, output,
  CPUs, GPUs, memory and time limit. What else differs is refused.
- $(Cluster) is one number in all attempts. Output and error are copied there while they are
  written, all attempts behind each other; a missing directory is made.
- Files are not transferred: the program starts in initialdir, on a file system that the machines
  share. Input files that it would not find there are refused.
- Without effect, and said so: log (`cu show` has the events), periodic_release, leave_in_queue.
- Refused: other universes than vanilla, container and docker; hold, on_exit_hold, on_exit_remove,
  success_exit_code, deferral and cron times, max_idle, max_materialize, -spool, -remote.

Examples:
  cu condor-submit train.sub
  cu condor-submit stop.after=50min EPOCHS=100 train.sub
  cu condor-submit train.sub -queue lr in 0.1, 0.01";
