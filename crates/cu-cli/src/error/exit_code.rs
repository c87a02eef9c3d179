//! The exit codes of `cu`: documented numbers, one per kind of outcome. Never 3, which a job's
//! program uses to ask for resume, and never 101, a Rust panic.

/// How `cu` ends. `cu exec` is no part of this: it mirrors the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// What was asked for is done. `cu run`, `cu resume`: all jobs are completed.
    Done = 0,
    /// All jobs are settled, and at least one failed or was cancelled.
    JobsFailed = 1,
    /// Bad usage or config; nothing was done.
    Usage = 2,
    /// Another main process works on the run.
    InUse = 4,
    /// The scheduler did not answer for as long as `backend.patience` says, or the backend has ended.
    SchedulerUnreachable = 5,
    /// There is no such run, or it is damaged or of a newer version.
    NoRun = 6,
    /// The machine refuses what it takes: a file or directory can't be written (permissions, a full
    /// disk, a quota), or there are no threads, file descriptors or memory left.
    CantWrite = 7,
    /// The main process refused a request or does not answer.
    Refused = 8,
    /// `cu doctor` found a problem: jobs will not run.
    ProblemFound = 9,
    /// An error in `cu` itself.
    Internal = 70,
    /// Interrupted or detached before all jobs were settled.
    Interrupted = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
