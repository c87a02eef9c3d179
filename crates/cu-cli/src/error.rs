//! What can go wrong at the command line: which exit code it has, and what to do about it.

use std::path::{Path, PathBuf};

use cu_core::{Reader, RunDir, RunState};

use crate::backend::kind::Kind;
use crate::config;
use crate::exit_code::ExitCode;
use crate::shell_word::shell_word;

/// A result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments make no sense.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The config is wrong.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// There is no run where one was looked for.
    #[error("{message}")]
    NoRun {
        /// What was looked for.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The run can't be made, read or continued.
    #[error(transparent)]
    Run(#[from] cu_core::Error),
    /// The backend can't be had.
    #[error("can't use {kind}")]
    Backend {
        /// Which.
        kind: Kind,
        /// Why not.
        source: cu_scheduler::Error,
    },
    /// A file or stream can't be read.
    #[error("can't {what} {}", path.display())]
    Read {
        /// What was tried.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file or stream can't be written.
    #[error("can't {what} {}", path.display())]
    Write {
        /// What was tried.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Something of the operating system that should always work does not.
    #[error("can't {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The main process did not do what was asked.
    #[error("the main process refused: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// The main process that was started in the background ended; it has said why.
    #[error("the main process ended before it was ready")]
    NotReady {
        /// Its exit code.
        code: u8,
        /// What it said.
        said: String,
    },
}

impl Error {
    /// Bad usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: None,
        }
    }

    /// Bad usage, and what to do instead.
    pub fn usage_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// Failed to write `path`.
    pub fn write(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { what, path, source }
    }

    /// Failed to read `path`.
    pub fn read(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { what, path, source }
    }

    /// Failed at something of the operating system.
    pub fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        use cu_core::Error as Run;
        let code = match self {
            Self::Usage { .. } | Self::Config(_) => ExitCode::Usage,
            Self::NoRun { .. } | Self::Read { .. } => ExitCode::NoRun,
            Self::Write { .. } => ExitCode::CantWrite,
            Self::System { .. } => ExitCode::Internal,
            Self::Refused { .. } => ExitCode::Refused,
            Self::Backend { source, .. } => match source {
                cu_scheduler::Error::State { .. } => ExitCode::CantWrite,
                _ => ExitCode::SchedulerUnreachable,
            },
            Self::NotReady { code, .. } => return *code,
            Self::Run(error) => match error {
                Run::RunExists { .. } | Run::NoJob { .. } | Run::Plan(_) => ExitCode::Usage,
                Run::InUse { .. } => ExitCode::InUse,
                Run::NoMainProcess { .. } => ExitCode::Refused,
                Run::SchedulerUnreachable { .. } => ExitCode::SchedulerUnreachable,
                Run::NoRun { .. } | Run::NewerVersion { .. } | Run::Damaged { .. } => {
                    ExitCode::NoRun
                }
                Run::File { what, .. } if what.starts_with("read") => ExitCode::NoRun,
                Run::Record { .. } | Run::File { .. } => ExitCode::CantWrite,
                _ => ExitCode::Internal,
            },
        };
        code as u8
    }

    /// What to do about it, if that can be said.
    pub fn hint(&self) -> Option<String> {
        use cu_core::Error as Run;
        Some(match self {
            Self::Usage { hint, .. } => return hint.clone(),
            Self::Config(error) => return error.hint(),
            Self::NoRun { hint, .. } => hint.clone(),
            Self::Run(error) => match error {
                Run::RunExists { path: run } => exists_hint(run),
                Run::NoRun { .. } => "`cu list` shows the runs of a results directory".to_owned(),
                Run::InUse { path: run, .. } => format!(
                    "`cu status {0}` shows what it does; `cu pause` and `cu stop` talk to it",
                    shell_word(run)
                ),
                Run::NoMainProcess { path: run, .. } => {
                    format!("`cu resume {}` starts one", shell_word(run))
                }
                Run::NewerVersion { .. } => "use the newer version of cu".to_owned(),
                Run::Damaged { .. } => {
                    "restore the file from a copy; the jobs' output directories \
                     in working_directories/ are not affected"
                        .to_owned()
                }
                // Without the store there is nothing to go on with.
                Run::Record { path, .. } if !path.exists() => return None,
                Run::Record { .. } => {
                    "make room or mend the permissions, then `cu resume` goes on".to_owned()
                }
                Run::File { source, .. } => return file_hint(source.kind()),
                Run::SchedulerUnreachable { .. } => {
                    "the jobs are as they were: `cu resume` when the scheduler answers again"
                        .to_owned()
                }
                _ => return None,
            },
            Self::Backend { .. } => {
                "`cu doctor` tells more; `cu resume` goes on with a run that is made".to_owned()
            }
            _ => return None,
        })
    }
}

/// What to do about a run where another is to be made.
fn exists_hint(run: &Path) -> String {
    let status = Reader::open(&RunDir::new(run)).and_then(|reader| reader.status());
    let run = shell_word(run);
    let what = match status.map(|status| status.state) {
        Ok(RunState::Running) => format!("it is running, and `cu status {run}` shows it"),
        Ok(RunState::Interrupted) => format!("`cu resume {run}` goes on with it"),
        Ok(RunState::Completed | RunState::Failed | RunState::Stopped) => {
            format!(
                "it has ended, and `cu show 0 {run}` tells of its first job; remove the directory"
            )
        }
        Err(_) => "move it away".to_owned(),
    };
    format!("{what}, or make another with `--name NAME`")
}

/// What to do about a file of the run that can't be used.
fn file_hint(kind: std::io::ErrorKind) -> Option<String> {
    use std::io::ErrorKind::{
        PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, ResourceBusy, StorageFull,
    };
    let hint = match kind {
        StorageFull | QuotaExceeded => "make room on this file system, and try again",
        PermissionDenied | ReadOnlyFilesystem => "mend the permissions, and try again",
        ResourceBusy => "another process has held it for long: try again",
        _ => return None,
    };
    Some(hint.to_owned())
}
