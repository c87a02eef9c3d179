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

    /// The run's config, overrides included.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("run.toml")
    }

    /// What bash sources before each program, if `cu grid-search` has made it.
    #[must_use]
    pub fn activation_script(&self) -> PathBuf {
        self.0.join("environment.sh")
    }

    /// The file with digests of the variables that `cu run` had.
    #[must_use]
    pub fn environment(&self) -> PathBuf {
        self.0.join("environment.json")
    }

    /// The config from which the run was made, as it was then.
    #[must_use]
    pub fn origin(&self) -> PathBuf {
        self.0.join("origin.json")
    }

    /// The file with the commit that the run's programs come from.
    #[must_use]
    pub fn git(&self) -> PathBuf {
        self.0.join("git.json")
    }

    /// The clone of a git repository in which the run's programs are, if its config asks for one.
    #[must_use]
    pub fn clone_dir(&self) -> PathBuf {
        self.0.join("clone")
    }

    /// Holds what `cu update` changes, until a main process has recorded it.
    #[must_use]
    pub fn updates(&self) -> PathBuf {
        self.0.join("updates")
    }

    /// One of these.
    #[must_use]
    pub fn update(&self, id: &str) -> PathBuf {
        self.updates().join(format!("{id}.json"))
    }

    /// The file that says where the main process listens.
    #[must_use]
    pub fn server_file(&self) -> PathBuf {
        self.0.join("server.json")
    }

    /// The key of the connections to the main process.
    #[must_use]
    pub fn secret(&self) -> PathBuf {
        self.0.join("secret")
    }

    /// The main process's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.0.join("main.log")
    }

    /// The file that the main process keeps locked while it lives.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The table of settings and metrics of all completed jobs, one row a job.
    #[must_use]
    pub fn all_data(&self) -> PathBuf {
        self.0.join("all_data.csv")
    }

    /// The directory of all backends' own files.
    #[must_use]
    pub fn all_backends(&self) -> PathBuf {
        self.0.join("backend")
    }

    /// The directory of a backend's own files.
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

    /// A job's settings, out of the reach of a program that clears its output directory.
    #[must_use]
    pub fn settings(&self, job: JobId) -> PathBuf {
        self.attempts(job).join("settings.json")
    }

    /// A copy of the settings in the output directory, renewed for each attempt.
    #[must_use]
    pub fn settings_copy(&self, job: JobId) -> PathBuf {
        self.output_dir(job).join("settings.json")
    }

    /// The file that says what the supervisors of a job need to know.
    #[must_use]
    pub fn job_spec(&self, job: JobId) -> PathBuf {
        self.attempts(job).join("job.json")
    }

    /// The file with the number of the job's newest attempt, written before that is submitted.
    /// Supervisors of older attempts don't start.
    #[must_use]
    pub fn newest_attempt(&self, job: JobId) -> PathBuf {
        self.attempts(job).join("newest")
    }

    /// The directory of all attempts of all jobs.
    #[must_use]
    pub fn all_attempts(&self) -> PathBuf {
        self.0.join("attempts")
    }

    /// The file of what the job had measured when its newest attempt was submitted; missing if that was
    /// nothing.
    #[must_use]
    pub fn metrics(&self, job: JobId) -> PathBuf {
        self.attempts(job).join("metrics.json")
    }

    /// The table of all that the job announced before its end.
    #[must_use]
    pub fn early_results(&self, job: JobId) -> PathBuf {
        self.attempts(job).join("early_results.csv")
    }

    /// What the job's first attempt found where the file will be that shows that the job is done.
    #[must_use]
    pub fn found_before(&self, job: JobId) -> PathBuf {
        self.attempts(job).join("found_before.json")
    }

    /// How many messages for cluster_utils were refused, and why.
    #[must_use]
    pub fn refused_messages(&self, job: JobId) -> PathBuf {
        self.attempts(job).join("refused_messages.json")
    }

    /// The settings of a program for cluster_utils, if they are too long for an argument.
    #[must_use]
    pub fn parameters(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("parameters.json")
    }

    /// The note of the file by which a supervisor of the job asked its program to stop.
    #[must_use]
    pub fn made_file(&self, job: JobId) -> PathBuf {
        self.attempts(job).join("made.json")
    }

    /// The directory of all attempts of a job.
    #[must_use]
    pub fn attempts(&self, job: JobId) -> PathBuf {
        self.all_attempts().join(job.to_string())
    }

    /// The directory of one attempt.
    #[must_use]
    pub fn attempt(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempts(job).join(attempt.to_string())
    }

    /// The file of the attempt's standard output.
    #[must_use]
    pub fn stdout(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("stdout")
    }

    /// The file of the attempt's standard error.
    #[must_use]
    pub fn stderr(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("stderr")
    }

    /// The file that exists as soon as the attempt's program should save and exit.
    #[must_use]
    pub fn stop_file(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("stop")
    }

    /// The file that is locked while a process of the job's running attempt lives that has not closed it.
    #[must_use]
    pub fn attempt_lock(&self, job: JobId) -> PathBuf {
        self.attempts(job).join("lock")
    }

    /// The record of the supervisor that runs the job's program: for hosts that don't see each other's
    /// locks.
    #[must_use]
    pub fn attempt_holder(&self, job: JobId) -> PathBuf {
        self.attempts(job).join("holder.json")
    }

    /// Where attempts of earlier versions have their lock and their record: in the output directory.
    #[must_use]
    pub fn former_lock_and_holder(&self, job: JobId) -> [PathBuf; 2] {
        [".cu-lock", ".cu-holder.json"].map(|name| self.output_dir(job).join(name))
    }

    /// The file that decides an attempt's fate: its program is started at most once.
    #[must_use]
    pub fn started(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("started.json")
    }

    /// The signals that the supervisor sent to the attempt's processes.
    #[must_use]
    pub fn signals(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("signals.json")
    }

    /// The mark of a cancelled attempt: while it exists, its program is not started.
    #[must_use]
    pub fn cancelled(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("cancelled")
    }

    /// The record of how the attempt ended, as its supervisor saw it.
    #[must_use]
    pub fn exit_record(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("exit.json")
    }

    /// The directory of messages that could not be delivered.
    #[must_use]
    pub fn outbox(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.attempt(job, attempt).join("outbox")
    }

    /// The file of one message that could not be delivered. Names sort by sequence.
    #[must_use]
    pub fn outbox_message(&self, job: JobId, attempt: Attempt, sequence: Sequence) -> PathBuf {
        self.outbox(job, attempt)
            .join(crate::outbox::file_name(sequence))
    }
}
