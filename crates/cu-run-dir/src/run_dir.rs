//! Every path of a run, named once.

use std::path::{Path, PathBuf};

use cu_protocol::{Attempt, JobId, Sequence};

/// Names of our own files begin so, as those of `cu-checkpoint` do while it writes them.
pub const OUR_PREFIX: &str = ".cu-";

/// The directory of a run.
///
/// ```
/// # use cu_run_dir::RunDir;
/// # use cu_protocol::{Attempt, JobId};
/// let run = RunDir::new("/home/ada/results/digits");
/// assert!(run.stdout(JobId(7), Attempt(3)).ends_with("attempts/7/3/stdout"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// The run in `path`. Give an absolute path: attempts run in other directories.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.0.join("run.sqlite")
    }

    /// The run's config, as it was given, overrides included.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("run.toml")
    }

    /// Where the main process listens now.
    #[must_use]
    pub fn server_file(&self) -> PathBuf {
        self.0.join("server.json")
    }

    /// The 32 bytes that let attempts and operators in.
    #[must_use]
    pub fn secret(&self) -> PathBuf {
        self.0.join("secret")
    }

    /// The main process's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.0.join("main.log")
    }

    /// Locked by the main process while it lives.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Settings and metrics of all completed jobs, one row a job.
    #[must_use]
    pub fn all_data(&self) -> PathBuf {
        self.0.join("all_data.csv")
    }

    /// Where backends keep what they must remember.
    #[must_use]
    pub fn all_backends(&self) -> PathBuf {
        self.0.join("backend")
    }

    /// Where a backend keeps what it must remember.
    #[must_use]
    pub fn backend(&self, name: &str) -> PathBuf {
        self.all_backends().join(name)
    }

    /// The output directories of all jobs.
    #[must_use]
    pub fn all_output_dirs(&self) -> PathBuf {
        self.0.join("working_directories")
    }

    /// A job's output directory, the same for all its attempts.
    #[must_use]
    pub fn output_dir(&self, job: JobId) -> PathBuf {
        self.all_output_dirs().join(job.to_string())
    }

    /// A job's settings.
    #[must_use]
    pub fn settings(&self, job: JobId) -> PathBuf {
        self.output_dir(job).join("settings.json")
    }

    /// What the supervisors of a job are told.
    #[must_use]
    pub fn job_spec(&self, job: JobId) -> PathBuf {
        self.attempts(job).join("job.json")
    }

    /// The number of the job's newest attempt, written before it is submitted: supervisors of
    /// older ones don't start.
    #[must_use]
    pub fn newest_attempt(&self, job: JobId) -> PathBuf {
        self.attempts(job).join("newest")
    }

    /// All attempts of all jobs.
    #[must_use]
    pub fn all_attempts(&self) -> PathBuf {
        self.0.join("attempts")
    }

    /// What the job had measured when its newest attempt was submitted; missing if that is nothing.
    #[must_use]
    pub fn metrics(&self, job: JobId) -> PathBuf {
        self.attempts(job).join("metrics.json")
    }

    /// All attempts of a job.
    #[must_use]
    pub fn attempts(&self, job: JobId) -> PathBuf {
        self.all_attempts().join(job.to_string())
    }

    /// What belongs to one attempt.
    #[must_use]
    pub fn attempt(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempts(job).join(attempt.to_string())
    }

    /// What the attempt wrote to its standard output.
    #[must_use]
    pub fn stdout(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("stdout")
    }

    /// What the attempt wrote to its standard error.
    #[must_use]
    pub fn stderr(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("stderr")
    }

    /// Exists as soon as the attempt's program should save and exit.
    #[must_use]
    pub fn stop_file(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("stop")
    }

    /// Locked as long as any process of the job's running attempt lives that has not closed it.
    #[must_use]
    pub fn attempt_lock(&self, job: JobId) -> PathBuf {
        self.output_dir(job).join(".cu-lock")
    }

    /// Who runs the job's program now: for hosts that don't see each other's locks.
    #[must_use]
    pub fn attempt_holder(&self, job: JobId) -> PathBuf {
        self.output_dir(job).join(".cu-holder.json")
    }

    /// Exists as soon as the attempt's program is about to be started: it is started once.
    #[must_use]
    pub fn started(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("started.json")
    }

    /// Exists once the attempt is cancelled: its program is not started any more.
    #[must_use]
    pub fn cancelled(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("cancelled")
    }

    /// How the attempt ended, as its supervisor saw it.
    #[must_use]
    pub fn exit_record(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("exit.json")
    }

    /// Messages that could not be delivered.
    #[must_use]
    pub fn outbox(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("outbox")
    }

    /// One message that could not be delivered. Names sort by sequence.
    #[must_use]
    pub fn outbox_message(&self, job: JobId, attempt: Attempt, sequence: Sequence) -> PathBuf {
        self.outbox(job, attempt)
            .join(crate::outbox::file_name(sequence))
    }
}
